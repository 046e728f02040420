"""How many rows of a table went or changed between two cuts.

For moves that stage a whole cut, which have no delta that says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from migration_assets.model import Cut, SourceTable
from migration_assets.source.counting import matched
from migration_assets.source.reader import encoding_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """Rows of an older cut that are gone in a newer one, and rows that changed."""

    deleted: int
    changed: int


def turnover(
    older: Cut,
    newer: Cut,
    before: SourceTable,
    table: SourceTable,
    *,
    key: tuple[str, ...],
    renamed: Mapping[str, str],
) -> Turnover | None:
    """Count the rows of a table that went or changed between two cuts, matched by `key`.

    `before` is the table in the older cut; `renamed` leads from a column's new name to its old one.
    Compared are columns that both have under the same declaration: another type alone makes no row
    another. None where the rows can't be matched: without a key that both have, or where the two
    are encoded differently.
    """
    known = {c.name: c for c in before.columns}
    pairs = {c.name: known.get(renamed.get(c.name, c.name)) for c in table.columns}
    if not key or any(pairs.get(name) is None for name in key):
        return None
    if encoding_in(older) != encoding_in(newer):
        return None
    compared = {
        c.name: old.name
        for c in table.columns
        if (old := pairs[c.name]) and old.declared == c.declared
    }
    names = {name: renamed.get(name, name) for name in key}
    with matched(older, newer, table.name, names) as rows:
        return Turnover(deleted=rows.deleted(), changed=rows.changed(compared))
