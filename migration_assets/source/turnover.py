"""How many rows of a table went or changed between two cuts; SQLite counts, no row is read out.

For moves that stage a whole cut, which have no delta that says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from migration_assets.model import Cut, SourceTable
from migration_assets.source.conditions import differs_in, prepare
from migration_assets.source.connection import open_cut, quote, translated
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
    same = " AND ".join(
        f"o.{old} = n.{new} AND o.{old} = n.{new} COLLATE BINARY"
        f" AND typeof(o.{old}) = typeof(n.{new})"
        for old, new in ((quote(renamed.get(c, c)), quote(c)) for c in key)
    )
    compared = {
        c.name: old.name
        for c in table.columns
        if (old := pairs[c.name]) and old.declared == c.declared
    }
    name = quote(table.name)
    with (
        open_cut(newer, other=older) as connection,
        translated(f"cuts {older.id} and {newer.id}, table {table.name}"),
    ):
        prepare(connection)
        (deleted,) = connection.execute(
            f"SELECT count(*) FROM older.{name} AS o"
            f" WHERE NOT EXISTS (SELECT 1 FROM main.{name} AS n WHERE {same})"
        ).fetchone()
        (changed,) = connection.execute(
            f"SELECT count(*) FROM main.{name} AS n JOIN older.{name} AS o ON {same}"
            f" WHERE {differs_in(compared)}"
        ).fetchone()
    return Turnover(deleted=deleted, changed=changed)
