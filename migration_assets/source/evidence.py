"""Look up in the cuts what has to be known before a sealed mapping can follow its table."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from migration_assets.mapping.evidence import Evidence, Likeness, Questions
from migration_assets.mapping.values import fitter
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Cut,
    SourceColumn,
    SourceTable,
    TableMapping,
    TableOverride,
    TargetType,
)
from migration_assets.source.casts import rows_for
from migration_assets.source.chosen import take_census_for
from migration_assets.source.connection import open_cut, quote, translated
from migration_assets.source.reader import encoding_in, rows

_Types = Mapping[str, Sequence[TargetType]]


def gather(
    questions: Questions,
    sealed: TableMapping,
    table: SourceTable,
    *,
    cut: Cut,
    older: Cut | None,
    renamed: Mapping[str, str],
    override: TableOverride,
) -> Evidence:
    """Answer the questions from a cut and, where columns are to be compared, an older one.

    Without an older cut nothing is known of how columns compare. `renamed` leads from new names
    of columns to their old ones.
    """
    if questions.none:
        return Evidence()
    # Cuts of different encodings can't be compared by SQLite.
    if older is not None and questions.pairs and encoding_in(older) != encoding_in(cut):
        older = None
    return Evidence(
        census=_census(cut, table, questions.census, override),
        misfits=_misfits(cut, table, questions.fits, override),
        likeness=_likeness(questions, sealed, table, cut=cut, older=older, renamed=renamed)
        if older is not None and questions.pairs
        else {},
    )


def _census(
    cut: Cut, table: SourceTable, names: Sequence[str], override: TableOverride
) -> dict[str, ColumnCensus]:
    """Take the census of some columns; where there are casts, which may name any, of all.

    Those without a value are told by SQLite alone: most columns that are asked for stay empty, and
    every week asks for them.
    """
    if not names:
        return {}
    if any(override.column(name).cast for name in names):
        found = take_census_for(cut, table, override)
        return {name: found[name] for name in names}
    counts = ", ".join(f"count({quote(name)})" for name in names)
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        rows_there, *filled = connection.execute(
            f"SELECT count(*), {counts} FROM main.{quote(table.name)}"
        ).fetchone()
    full = [name for name, count in zip(names, filled, strict=True) if count]
    found = take_census_for(cut, _only(table, full), override) if full else {}
    empty = ColumnCensus(nulls=rows_there, classes={}, fits={})
    return {name: found.get(name, empty) for name in names}


def _only(table: SourceTable, names: Sequence[str]) -> SourceTable:
    return replace(table, columns=tuple(c for c in table.columns if c.name in names))


def _misfits(
    cut: Cut, table: SourceTable, types: _Types, override: TableOverride
) -> dict[str, dict[TargetType, int]]:
    """Count the values that don't fit each type.

    The others of a column's types are only tried where its first one doesn't hold all values.
    """
    found = _count(cut, table, {name: kinds[:1] for name, kinds in types.items()}, override)
    rest = {
        name: kinds[1:] for name, kinds in types.items() if kinds[1:] and any(found[name].values())
    }
    for name, counts in _count(cut, table, rest, override).items():
        found[name] |= counts
    return found


def _count(
    cut: Cut, table: SourceTable, types: _Types, override: TableOverride
) -> dict[str, dict[TargetType, int]]:
    """Count in one reading: of the columns alone, or of all where a cast may name any of them."""
    counts = {name: dict.fromkeys(kinds, 0) for name, kinds in types.items()}
    if not types:
        return counts
    casts = {name for name in types if override.column(name).cast}
    read = table if casts else _only(table, list(types))
    tried = [
        (place, counts[c.name], kind, fitter(_column(c, kind, cast=c.name in casts)))
        for place, c in enumerate(read.columns)
        for kind in types.get(c.name, ())
    ]
    for row in rows_for(cut, read, override) if casts else rows(cut, read):
        for place, count, kind, fit in tried:
            if fit(row[place]).reason:
                count[kind] += 1
    return counts


def _column(column: SourceColumn, kind: TargetType, *, cast: bool) -> ColumnMapping:
    declared = "" if cast else column.declared  # a cast's value is converted by none
    return ColumnMapping(name=column.name, declared=declared, target="", type=kind, not_null=False)


def _likeness(
    questions: Questions,
    sealed: TableMapping,
    table: SourceTable,
    *,
    cut: Cut,
    older: Cut,
    renamed: Mapping[str, str],
) -> dict[tuple[str, str], Likeness]:
    now = {old: new for new, old in renamed.items()}
    there = {c.name for c in table.columns}
    key = [(now.get(name, name), name) for name in sealed.key]
    stands = bool(key) and all(new in there for new, _ in key)
    with (
        open_cut(cut, other=older) as connection,
        translated(f"cuts {older.id} and {cut.id}, table {table.name}"),
    ):
        return {
            (gone, new): _by_key(connection, table.name, key, gone, new)
            if stands
            else _by_values(connection, table.name, gone, new)
            for gone, new in questions.pairs
        }


def _by_key(
    connection: sqlite3.Connection,
    table: str,
    key: Sequence[tuple[str, str]],
    gone: str,
    new: str,
) -> Likeness:
    """Compare two columns over the rows that stand in both cuts."""
    o, n = quote(gone), quote(new)
    same_key = " AND ".join(
        f"o.{old} = n.{now} AND o.{old} = n.{now} COLLATE BINARY AND typeof(o.{old}) ="
        f" typeof(n.{now})"
        for now, old in ((quote(now), quote(old)) for now, old in key)
    )
    same = f"n.{n} COLLATE BINARY IS o.{o}"
    counted, alike, distinct = connection.execute(
        f"SELECT count(*), coalesce(sum({same}), 0), count(DISTINCT CASE WHEN {same} THEN n.{n}"
        f" END) FROM main.{quote(table)} AS n JOIN older.{quote(table)} AS o ON {same_key}"
        f" WHERE n.{n} IS NOT NULL OR o.{o} IS NOT NULL"
    ).fetchone()
    return Likeness(rows=counted, alike=alike, distinct=distinct)


def _by_values(connection: sqlite3.Connection, table: str, gone: str, new: str) -> Likeness:
    """Compare what two columns hold, value by value; nothing tells which row is which.

    Rows that came or went count for nothing, so the shorter column is measured.
    """
    sides = [
        f"{side} AS (SELECT typeof(c) AS kind, c, count(*) AS copies FROM (SELECT {quote(column)}"
        f" COLLATE BINARY AS c FROM {schema}.{quote(table)}) WHERE c IS NOT NULL GROUP BY 1, 2)"
        for side, schema, column in (("o", "older", gone), ("n", "main", new))
    ]
    counted, alike, distinct = connection.execute(
        f"WITH {', '.join(sides)} SELECT (SELECT min(coalesce((SELECT sum(copies) FROM o),"
        " 0), coalesce((SELECT sum(copies) FROM n), 0))),"
        " coalesce(sum(min(o.copies, n.copies)), 0), count(*)"
        " FROM o JOIN n ON o.kind = n.kind AND o.c = n.c COLLATE BINARY"
    ).fetchone()
    return Likeness(rows=counted, alike=alike, distinct=distinct)
