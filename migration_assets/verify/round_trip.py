"""Read rows back from the target, as SQLite would hold them, and compare them with the raw cut.

A second witness beside the digest, and none of its code: rows that the step wrote and a sample of
all are fetched through psycopg, every value is rendered to SQLite's storage form and sent through
its column's affinity, and must be what the cut holds, by storage class and bytes; a value with a
cast must be what SQLite makes of it, and has no affinity. It can't see
rows that are missing on the target: those are counted and digested. A table without a key is
compared by copies, in one scan of the cut. Of a table with a transform nothing can be rendered back
but the key: there the cut's row goes through the transform too, and values are compared as they
stand on the target.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from typing import NamedTuple, TypeAlias, cast
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.string import TextBinaryLoader

from migration_assets.findings import Difference, RoundTrip
from migration_assets.mapping.affinity import affinity_of, apply_affinity, identical
from migration_assets.mapping.raw import row_parts
from migration_assets.mapping.rows import as_cast, key_text
from migration_assets.mapping.transform import fitter_of
from migration_assets.mapping.values import render
from migration_assets.model import (
    AcceptedRow,
    Cut,
    Delta,
    Kind,
    Op,
    RawRow,
    SourceTable,
    SqliteValue,
    TableMapping,
    TargetRow,
    TargetValue,
)
from migration_assets.source.connection import open_cut, translated
from migration_assets.source.reader import row_by_key, rows
from migration_assets.target.apply import same_key
from migration_assets.target.connection import Connection, streaming
from migration_assets.target.ddl import raw, table_name
from migration_assets.target.staging import STAGED, staged_value
from migration_assets.verify import digest_sql

CHANGED_ROWS = 1_000  # of those that a step wrote
SAMPLED_ROWS = 1_000  # of all rows of the target, on average
_ROWS = 2_000  # in one reading: copies of one row are drawn together, however many there are
_BYTES = 64 * 2**20  # of text and blobs in one reading, which then ends early
_CHUNK_BYTES = 4 * 2**20  # fetched at once, as far as the table's average row tells
_CHUNK_ROWS = 200
SHOWN = 20  # differing rows that are named
DIFFERS = "comes back otherwise than it stands in the cut"
UNKNOWN = "comes back as a row that the cut doesn't have"
UNREADABLE = "a value of the target has no form in SQLite"

_Exact: TypeAlias = tuple[tuple[str, ...], tuple[bytes | None, ...]]


class _Reading(NamedTuple):
    """Target rows in SQLite's storage form; `whole` unless a bound was met before the end."""

    rows: list[RawRow]
    whole: bool
    readable: bool


def round_trip(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    *,
    target_rows: int,
    delta: Delta | None = None,
    accepted: Iterable[AcceptedRow] = (),
) -> RoundTrip:
    """Read back a sample of the target, and rows that a staged `delta` wrote.

    The sample is drawn by key hash: the same one all through a week, another in the next; rows that
    exceptions keep are left out. Needs an open transaction. Memory is bounded, by rows and by
    bytes.
    """
    chunk = _chunk(connection, mapping, target_rows)
    drawn = _sample(mapping, cut.week, target_rows) + _but_for(mapping, accepted)
    sample = _read(connection, mapping, drawn, chunk)
    changed = (
        _read(connection, mapping, _changed(connection, mapping, cut.week, delta), chunk)
        if delta
        else _Reading([], whole=True, readable=True)
    )
    readings = (changed, sample)
    found = (
        _compare_by_key(cut, table, mapping, readings)
        if mapping.key
        else _compare_copies(cut, table, mapping, readings)
    )
    if not (changed.readable and sample.readable):
        found.append(Difference(key="unknown", what=UNREADABLE))
    return RoundTrip(
        week=cut.week,
        cut=cut.id,
        changed_rows=len(changed.rows),
        sampled_rows=len(sample.rows),
        differences=tuple(found[:SHOWN]),
    )


def _sample(mapping: TableMapping, week: date, target_rows: int) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        _columns(mapping),
        table_name(mapping),
        _one_in(_share(target_rows, SAMPLED_ROWS), mapping, week, "t"),
    )


def _but_for(mapping: TableMapping, accepted: Iterable[AcceptedRow]) -> sql.Composable:
    """Return the condition that leaves rows out which are to differ."""
    hashes = ",".join(str(row.key_hash) for row in accepted)
    if not hashes:
        return sql.SQL("")
    return sql.SQL(" AND {} <> ALL ({}::pg_catalog.int8[])").format(
        digest_sql.key_hash(mapping, "t"), sql.Literal(f"{{{hashes}}}")
    )


def _changed(
    connection: Connection, mapping: TableMapping, week: date, delta: Delta
) -> sql.Composed:
    """Return the query of target rows that the staged delta wrote."""
    written = sql.SQL("FROM {} AS s WHERE s.{} <> {} AND {} LIMIT {}").format(
        STAGED,
        sql.Identifier(delta.op_column),
        sql.Literal(Op.DELETE.value),
        _one_in(_share(delta.inserts + delta.updates, CHANGED_ROWS), mapping, week, "s"),
        sql.Literal(CHANGED_ROWS),
    )
    if mapping.key:
        keys = [sql.Identifier("s", mapping.column(name).target) for name in mapping.key]
        return sql.SQL("SELECT {} FROM {} AS t JOIN (SELECT {} {}) AS s ON {}").format(
            _columns(mapping),
            table_name(mapping),
            sql.SQL(", ").join(keys),
            written,
            same_key(mapping, "t", "s"),
        )
    # As a constant the hashes are looked up; from a subquery the planner would compare each row
    # of the table with each of them.
    query = sql.SQL("SELECT {} ").format(_hash(mapping, week, "s")) + written
    hashes = ",".join(str(value) for (value,) in connection.execute(query))
    return sql.SQL("SELECT {} FROM {} AS t WHERE {} = ANY ({}::pg_catalog.int8[])").format(
        _columns(mapping),
        table_name(mapping),
        _hash(mapping, week, "t"),
        sql.Literal(f"{{{hashes}}}"),
    )


def _columns(mapping: TableMapping) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier("t", c.target) for c in mapping.columns])


def _share(count: int, wanted: int) -> int:
    """Return n so that one row in n makes about `wanted` rows of `count`."""
    return max(1, -(-count // wanted))


def _one_in(n: int, mapping: TableMapping, week: date, alias: str) -> sql.Composable:
    if n == 1:
        return sql.SQL("true")
    return sql.SQL("{} % {} = 0").format(_hash(mapping, week, alias), sql.Literal(n))


def _hash(mapping: TableMapping, week: date, alias: str) -> sql.Composed:
    """Hash a row's key, seeded with the week; the whole row where the table has no key.

    Each column's hash is the seed of the next, so that equal columns don't cancel out.
    """
    seed: sql.Composable = sql.Literal(week.toordinal())
    seed = sql.SQL("{}::pg_catalog.int8").format(seed)
    if not mapping.key:
        cells = [
            sql.SQL("{}::{}").format(
                staged_value(c, alias) if alias == "s" else sql.Identifier(alias, c.target),
                raw(c.type.sql),  # a staged numeric has no scale of its own
            )
            for c in mapping.columns
        ]
        return sql.SQL("pg_catalog.hashtextextended(ROW({})::pg_catalog.text, {})").format(
            sql.SQL(", ").join(cells), seed
        )
    for name in mapping.key:
        column = mapping.column(name)
        value = sql.Identifier(alias, column.target)
        if column.type.kind is Kind.BIGINT:
            seed = sql.SQL("pg_catalog.hashint8extended({}, {})").format(value, seed)
        else:
            seed = sql.SQL("pg_catalog.hashtextextended({}::pg_catalog.text, {})").format(
                value, seed
            )
    return sql.SQL("({})").format(seed)


def _read(
    connection: Connection, mapping: TableMapping, query: sql.Composed, chunk: int
) -> _Reading:
    """Fetch rows through a cursor on the server, each in SQLite's storage form.

    Binary, since bytes as text take twice the room, and PostgreSQL ends a message at 1 GB.
    """
    found: list[RawRow] = []
    size = 0
    with streaming(connection, "round_trip") as cursor:
        cursor.itersize = chunk
        cursor.adapters.register_loader("json", TextBinaryLoader)  # its text, as it stands
        cursor.execute(query + sql.SQL(" LIMIT {}").format(sql.Literal(_ROWS + 1)))
        try:
            for row in cursor:
                if len(found) == _ROWS or size >= _BYTES:
                    return _Reading(found, whole=False, readable=True)
                found.append(as_stored(mapping, cast("TargetRow", row)))
                size += sum(len(v) for v in found[-1] if isinstance(v, str | bytes))
        except psycopg.DataError as error:
            if error.sqlstate is not None:
                raise
            # psycopg's own: a date such as infinity, which our loads never write
            return _Reading(found, whole=False, readable=False)
    return _Reading(found, whole=True, readable=True)


def _chunk(connection: Connection, mapping: TableMapping, target_rows: int) -> int:
    """Return how many rows to fetch at once: fewer where they are large."""
    name = table_name(mapping).as_string(None)
    row = connection.execute("SELECT pg_catalog.pg_table_size(%s::regclass)", (name,)).fetchone()
    average = int(str(row[0])) // max(1, target_rows) if row else 0
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(1, average)))


def as_stored(mapping: TableMapping, row: TargetRow) -> RawRow:
    """Return a target row as the source's columns store it; what a transform made, as it stands."""
    transformed = set[str]()
    if mapping.transform:
        transformed = {c.name for c in mapping.columns} - set(mapping.key)
    return tuple(
        _plain(value)
        if column.name in transformed
        else apply_affinity(render(value, column.type), affinity_of(column.stored_as))
        for column, value in zip(mapping.columns, row, strict=True)
    )


def _plain(value: TargetValue) -> SqliteValue:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time | UUID):
        return str(value)
    return value


def _compare_by_key(
    cut: Cut, table: SourceTable, mapping: TableMapping, readings: Iterable[_Reading]
) -> list[Difference]:
    found: list[Difference] = []
    places = mapping.key_positions
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        for reading in readings:
            keys = (_named(mapping.key, row, places) for row in reading.rows)
            stand = (row_by_key(connection, table, key, mapping.casts) for key in keys)
            for row, stands in zip(reading.rows, _as_compared(mapping, stand), strict=True):
                found.extend(_difference(mapping, row, stands))
                if len(found) >= SHOWN:
                    return found
    return list(dict.fromkeys(found))  # a changed row may be drawn again


def _named(key: Sequence[str], row: RawRow, places: Sequence[int]) -> dict[str, SqliteValue]:
    return {name: row[i] for name, i in zip(key, places, strict=True)}


def _as_compared(mapping: TableMapping, stand: Iterable[RawRow | None]) -> Iterator[RawRow | None]:
    """Yield rows of the cut as target rows are compared with them; None where there is no such."""
    if not mapping.transform:
        yield from (row and as_cast(mapping, row) for row in stand)
        return
    there: deque[bool] = deque()

    def present() -> Iterator[RawRow]:
        for row in stand:
            there.append(row is not None)
            if row is not None:
                yield row

    for _, (values, _) in fitter_of(mapping).all(present()):
        while not there.popleft():
            yield None
        yield None if values is None else as_stored(mapping, values)
    yield from (None for _ in there)


def _difference(mapping: TableMapping, row: RawRow, stands: RawRow | None) -> list[Difference]:
    key = key_text(mapping, row)
    if stands is None:
        return [Difference(key=key, what=UNKNOWN)]
    columns = tuple(
        column.name
        for column, ours, theirs in zip(mapping.columns, stands, row, strict=True)
        if not identical(ours, theirs)
    )
    return [Difference(key=key, what=DIFFERS, columns=columns)] if columns else []


def _compare_copies(
    cut: Cut, table: SourceTable, mapping: TableMapping, readings: Iterable[_Reading]
) -> list[Difference]:
    """Compare how often each row that was read stands in the cut, which is scanned once.

    A reading that met a bound may have left copies out, so it may have fewer.
    """
    wanted = [(Counter(map(_exact, r.rows)), r.whole) for r in readings if r.rows]
    alike = {row for r in readings for row in r.rows}  # 1 and 1.0 are alike, so this only sifts
    there: Counter[_Exact] = Counter()
    stand = rows(cut, table, mapping.casts) if alike else ()
    for row in _as_compared(mapping, stand):
        if row is not None and row in alike:
            there[_exact(row)] += 1
    found: dict[_Exact, str] = {}  # by row: one that was changed may be drawn again
    for read, whole in wanted:
        for exact, copies in read.items():
            if not there[exact]:
                found[exact] = UNKNOWN
            elif copies > there[exact] or (whole and copies < there[exact]):
                found[exact] = f"comes back in {copies} copies, the cut has {there[exact]}"
    return [
        Difference(key=f"{number} rows without a key", what=what)
        for what, number in Counter(found.values()).items()
    ]


def _exact(row: RawRow) -> _Exact:
    classes, values = row_parts(row)
    return tuple(classes), tuple(values)
