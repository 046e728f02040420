"""Check a table's foreign keys, in the cut and on the target, weeks before they are created.

The target gets its foreign keys at the cutover only: until then tables move one by one, and a row
may stand without its parent for a while. What would keep a key from being created is found here:
rows that the source itself left without a parent, parents in quarantine, types that differ.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple, cast

import psycopg
from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.findings import ForeignKeyCheck
from migration_assets.mapping.affinity import affinity_of, apply_affinity
from migration_assets.mapping.values import render
from migration_assets.model import (
    ColumnMapping,
    Cut,
    SourceForeignKey,
    SourceTable,
    TableMapping,
    TargetRow,
)
from migration_assets.source.connection import open_cut, translated
from migration_assets.source.reader import orphans, row_exists
from migration_assets.target import ledger
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.target.sqlstate import translate
from migration_assets.verify.schema import columns_differ

_LOOKED_UP = 10_000  # distinct missing parents that are looked for in the cut
_UNCHECKABLE = (
    "SQLite can't check it: a foreign key of this table names no unique key of its parent"
)


class _Pair(NamedTuple):
    """The two ends of a foreign key on the target, column by column."""

    child: TableMapping
    parent: TableMapping
    columns: tuple[tuple[ColumnMapping, ColumnMapping], ...]


def check_foreign_keys(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    *,
    tables: Collection[str],
    left_out: Mapping[str, str],
) -> tuple[ForeignKeyCheck, ...]:
    """Check every foreign key of a table that stands at this cut.

    `tables` are those of the cut that are carried, `left_out` the others with the reason.
    """
    if not table.foreign_keys:
        return ()
    counts = orphans(cut, table)
    found: list[ForeignKeyCheck] = []
    for number, key in enumerate(table.foreign_keys):
        count = counts[number] if counts is not None else None
        obstacle = _obstacle_at_source(key, tables, left_out)
        if not obstacle and count is None:
            obstacle = _UNCHECKABLE
        if obstacle:
            found.append(ForeignKeyCheck(key=key, source_orphans=count, obstacle=obstacle))
        else:
            found.append(_on_target(connection, mapping, cut, key, count))
    return tuple(found)


def _obstacle_at_source(
    key: SourceForeignKey, tables: Collection[str], left_out: Mapping[str, str]
) -> str:
    if key.parent in left_out:
        return f"{key.parent} is not carried: {left_out[key.parent]}"
    if key.parent not in tables:
        return f"the source has no table {key.parent}"
    return "" if key.parent_columns else f"{key.parent} has no key that this could refer to"


def _on_target(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    key: SourceForeignKey,
    source_orphans: int | None,
) -> ForeignKeyCheck:
    try:
        week, parent = _parent(connection, mapping, cut, key)
    except TargetError as error:
        return ForeignKeyCheck(key=key, source_orphans=source_orphans, obstacle=error.what)
    pending = "" if week == cut.week else f"{key.parent} stands at {week}"
    pair = _pair(mapping, parent, key) if parent else None
    if pair is None:
        pending = pending if parent else f"{key.parent} isn't on the target yet"
        return ForeignKeyCheck(key=key, source_orphans=source_orphans, pending=pending)
    obstacle = _obstacle_on_target(connection, pair)
    if obstacle:
        return ForeignKeyCheck(key=key, source_orphans=source_orphans, obstacle=obstacle)
    try:
        with connection.transaction():  # a savepoint: what the target refuses here ends nothing
            missing = _count_orphans(connection, pair)
            withheld = _withheld(connection, cut, pair) if missing else 0
    except psycopg.Error as error:
        if connection.broken:
            raise
        obstacle = translate(error, "").what
        return ForeignKeyCheck(key=key, source_orphans=source_orphans, obstacle=obstacle)
    return ForeignKeyCheck(
        key=key,
        source_orphans=source_orphans,
        target_orphans=missing,
        withheld=withheld,
        pending=pending,
    )


def _parent(
    connection: Connection, mapping: TableMapping, cut: Cut, key: SourceForeignKey
) -> tuple[date | None, TableMapping | None]:
    if key.parent == mapping.table:
        return cut.week, mapping
    head = ledger.head(connection, mapping.source, key.parent)
    if head is None:
        return None, None
    return head.week, ledger.sealed_mapping(connection, head.mapping_hash)


def _pair(child: TableMapping, parent: TableMapping, key: SourceForeignKey) -> _Pair | None:
    """Return both ends; None where the parent was loaded before it had these columns."""
    ours = {c.name: c for c in child.columns}
    theirs = {c.name: c for c in parent.columns}
    if not (theirs.keys() >= set(key.parent_columns) and ours.keys() >= set(key.columns)):
        return None
    ends = zip(key.columns, key.parent_columns, strict=True)
    return _Pair(child, parent, tuple((ours[a], theirs[b]) for a, b in ends))


def _obstacle_on_target(connection: Connection, pair: _Pair) -> str:
    """Say why the key can't be created on the target, whatever its rows are."""
    differ = [
        f"{ours.target} {ours.type.sql}, {pair.parent.target_table}.{theirs.target}"
        f" {theirs.type.sql}"
        for ours, theirs in pair.columns
        if ours.type.kind is not theirs.type.kind
    ]
    if differ:
        return f"types differ: {'; '.join(differ)}"
    wanted = {theirs.name for _, theirs in pair.columns}
    unique = [
        set(i.columns) for i in pair.parent.indexes if i.unique and not (i.nocase or i.definition)
    ]
    if wanted not in (set(pair.parent.key), *unique):
        return f"no unique key of {pair.parent.target_table} over {', '.join(sorted(wanted))}"
    for end in (pair.child, pair.parent):
        if columns_differ(connection, end):
            return f"the target's columns of {end.target_table} are not those of its mapping"
    return ""


def _orphans_on_target(pair: _Pair) -> sql.Composed:
    """Return the FROM clause of the rows, as `c`, that have no parent on the target."""
    present = [
        sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(a.target)) for a, _ in pair.columns
    ]
    same = [
        sql.SQL("p.{} = c.{}").format(sql.Identifier(b.target), sql.Identifier(a.target))
        for a, b in pair.columns
    ]
    return sql.SQL("FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {})").format(
        table_name(pair.child),
        sql.SQL(" AND ").join(present),
        table_name(pair.parent),
        sql.SQL(" AND ").join(same),
    )


def _count_orphans(connection: Connection, pair: _Pair) -> int:
    query = sql.SQL("SELECT count(*) ") + _orphans_on_target(pair)
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0


def _withheld(connection: Connection, cut: Cut, pair: _Pair) -> int:
    """Count the rows whose parent is in the cut although it isn't on the target.

    The first distinct parents are looked for; rows beyond count as the source's own orphans.
    """
    columns = sql.SQL(", ").join([sql.Identifier("c", a.target) for a, _ in pair.columns])
    query = sql.SQL("SELECT count(*), {0} {1} GROUP BY {0} LIMIT {2}").format(
        columns, _orphans_on_target(pair), sql.Literal(_LOOKED_UP)
    )
    names = [theirs.name for _, theirs in pair.columns]
    found = 0
    with open_cut(cut) as source, translated(f"cut {cut.id}, table {pair.parent.table}"):
        for count, *values in connection.execute(query):
            stored = [
                apply_affinity(render(value, ours.type), affinity_of(ours.stored_as))
                for (ours, _), value in zip(pair.columns, cast("TargetRow", values), strict=True)
            ]
            if row_exists(source, pair.parent.table, dict(zip(names, stored, strict=True))):
                found += int(str(count))
    return found
