"""An independent judge of whether a PostgreSQL target holds what a SQLite file holds.

The pipeline proves its own loads. Whether that proof can be believed must be judged by something
that shares nothing with it: no code, no hashes, no mapping, no ledger. So this module reads both
databases value by value, renders every target value back to SQLite's form by storing it in a
SQLite table with the source column's affinity, and demands, as multisets of exact rows,
``source rows = target rows + quarantined rows``. ``compare_schema`` asks the same of keys,
NOT NULL, uniqueness and indexes.

What is missing or cannot be judged is a difference, never an exception: only a database that
cannot be read at all raises. An empty table has to stand at the target like any other. Rows are
remembered as 16-byte hashes, so tables of a million rows can be judged.
"""

import math
import re
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from migration_assets_tests.independent_forms import WRITTEN, Form, FormCount, Value

Row = tuple[Value, ...]

DIFFERENCES_PER_TABLE: Final = 20  # rows opened and named per table; the count has no limit
_BATCH: Final = 5_000  # rows held at a time while reading the target
_SHOWN: Final = 80  # characters of a value in a description

# The types the judge can render, and the type it fetches each of them as. Dates and timestamps
# come as text: Python's end at the year 9999. `real` widens, so a value it rounded shows.
_FETCHED_AS: Final = {
    "bigint": sql.SQL("bigint"),
    "integer": sql.SQL("bigint"),
    "smallint": sql.SQL("bigint"),
    "double precision": sql.SQL("double precision"),
    "real": sql.SQL("double precision"),
    "numeric": sql.SQL("text"),
    "text": sql.SQL("text"),
    "character varying": sql.SQL("text"),
    "bytea": sql.SQL("bytea"),
    "date": sql.SQL("text"),
    "json": sql.SQL("text"),
    "jsonb": sql.SQL("text"),
}
_FLOATS: Final = frozenset({"double precision", "real"})
_JUDGED: Final = _FETCHED_AS.keys() | WRITTEN

_QUARANTINE: Final = frozenset(
    {"source", "table_name", "column_names", "storage_classes", "values"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that keeps a table from being equal; `row` and `column` only where they apply."""

    table: str
    what: str
    row: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        place = [self.table, *(part for part in (self.row, self.column) if part is not None)]
        return f"{' / '.join(place)}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableComparison:
    """One source table: rows on each side, and what differs.

    `differing_rows` counts row copies that stand on one side only, so a changed row counts twice;
    `differences` names the first of them.
    """

    table: str
    source_rows: int
    target_rows: int
    quarantined_rows: int
    differing_rows: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether every source row stands exactly once in target or quarantine, and no other."""
        return (
            not self.differences
            and self.differing_rows == 0
            and self.source_rows == self.target_rows + self.quarantined_rows
        )

    def describe(self) -> str:
        """One line with the counts, and one per named difference."""
        verdict = "equal" if self.equal else f"DIFFERENT ({self.differing_rows} rows)"
        counts = (
            f"{self.source_rows} in source, {self.target_rows} in target, "
            f"{self.quarantined_rows} in quarantine"
        )
        lines = [f"{self.table}: {verdict}; {counts}"]
        return "\n".join([*lines, *(f"  {difference}" for difference in self.differences)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdict on a whole database; `elsewhere` holds what belongs to no compared table."""

    tables: tuple[TableComparison, ...]
    elsewhere: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every table is equal and nothing is wrong elsewhere."""
        return not self.elsewhere and all(table.equal for table in self.tables)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every named difference."""
        of_tables = (difference for table in self.tables for difference in table.differences)
        return (*self.elsewhere, *of_tables)

    def describe(self) -> str:
        """Say the verdict, then one paragraph per table."""
        unequal = sum(not table.equal for table in self.tables)
        verdict = "equal" if self.equal else f"DIFFERENT in {unequal}"
        head = f"{verdict}: {len(self.tables)} tables compared"
        elsewhere = (f"  {difference}" for difference in self.elsewhere)
        return "\n".join([head, *elsewhere, *(table.describe() for table in self.tables)])


def compare(
    sqlite_file: Path,
    dsn: str,
    *,
    target_schema: str = "public",
    tables: Sequence[str] | None = None,
    source: str | None = None,
) -> Comparison:
    """Compare every value of the source with target and quarantine, in one snapshot of each.

    `tables` are names at the source (None: all of them). `source` narrows the quarantine to one
    source's rows (None: the target has one source only).
    """
    with _source(sqlite_file) as origin, _target(dsn, target_schema) as target:
        present = origin.tables()
        names, elsewhere = _chosen(present, tables)
        quarantine = _Quarantine(target.connection, source)
        if not quarantine.readable:
            what = "is missing, or lacks a column the judge reads"
            elsewhere.append(Difference(table="migration.quarantine", what=what))
        elif tables is None:
            elsewhere.extend(
                Difference(table=name, what="is quarantined but no table of the source")
                for name in sorted(quarantine.tables() - set(names))
            )
        compared = tuple(_compare_table(origin, target, quarantine, name) for name in names)
    return Comparison(tables=compared, elsewhere=tuple(elsewhere))


def compare_schema(
    sqlite_file: Path,
    dsn: str,
    *,
    target_schema: str = "public",
    tables: Sequence[str] | None = None,
) -> list[str]:
    """Say which keys, NOT NULLs, unique sets and plain indexes of the source the target lacks.

    Partial indexes and indexes over expressions are left out. A key column compared by NOCASE or
    RTRIM needs `lower(…)` or `rtrim(…)` to be unique in the same sense.
    """
    with _source(sqlite_file) as origin, _target(dsn, target_schema) as target:
        names, elsewhere = _chosen(origin.tables(), tables)
        lacks = [str(difference) for difference in elsewhere]
        for name in names:
            lacks += [f"{name}: {what}" for what in _missing_from_schema(origin, target, name)]
    return lacks


def fold(name: str) -> str:
    """Fold ASCII letters to lower case, as SQLite compares names and the target spells them."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def _chosen(
    present: Sequence[str], wanted: Sequence[str] | None
) -> tuple[list[str], list[Difference]]:
    """Match wanted names to the source's tables; an unknown one is a difference."""
    if wanted is None:
        return list(present), []
    by_name = {fold(name): name for name in present}
    known = [by_name[fold(name)] for name in wanted if fold(name) in by_name]
    unknown = [name for name in wanted if fold(name) not in by_name]
    return known, [Difference(table=name, what="is no table of the source") for name in unknown]


# ------------------------------------------------------------------------------------- the source


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceColumn:
    name: str
    key_position: int  # from 1 within the primary key, 0 outside it
    not_null: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceIndex:
    keys: tuple[str, ...]  # folded column names, `lower(name)` where NOCASE, `rtrim(name)` so
    columns: tuple[str, ...]
    unique: bool


@dataclass(frozen=True, slots=True)
class _Source:
    connection: sqlite3.Connection

    def tables(self) -> list[str]:
        query = (
            "SELECT name FROM main.sqlite_master"
            r" WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"
        )
        return [_text(name) for (name,) in self.connection.execute(query)]

    def columns(self, table: str) -> list[_SourceColumn]:
        """Answer the columns a query can name: generated ones too, hidden ones not."""
        info = self.connection.execute(f"PRAGMA main.table_xinfo({_quote(table)})")
        return [
            _SourceColumn(name=_text(name), key_position=key, not_null=bool(not_null))
            for _, name, _, not_null, _, key, hidden in info
            if hidden != 1
        ]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        (encoding,) = self.connection.execute("PRAGMA main.encoding").fetchone()
        names = list(map(_quote, columns))
        if encoding == b"UTF-8":
            return self.connection.execute(f"SELECT {', '.join(names)} FROM main.{_quote(table)}")
        # Read as text it would be converted, and lone surrogates with it: so as digits of its bytes
        digits = [f"CASE typeof({n}) WHEN 'text' THEN hex({n}) ELSE {n} END" for n in names]
        found = self.connection.execute(f"SELECT {', '.join(digits)} FROM main.{_quote(table)}")
        return (tuple(_utf16(value, _text(encoding)) for value in row) for row in found)

    def indexes(self, table: str) -> Iterator[_SourceIndex]:
        """Answer whole-table indexes over columns; the primary key is asked for by itself."""
        listed = self.connection.execute(f"PRAGMA main.index_list({_quote(table)})").fetchall()
        for _, name, unique, origin, partial in listed:
            info = self.connection.execute(f"PRAGMA main.index_xinfo({_quote(_text(name))})")
            keys = [(cid, column, collation) for _, cid, column, _, collation, key in info if key]
            if _text(origin) == "pk" or partial or any(cid < 0 for cid, _, _ in keys):
                continue
            yield _SourceIndex(
                keys=tuple(_key(fold(_text(column)), _text(coll)) for _, column, coll in keys),
                columns=tuple(fold(_text(column)) for _, column, _ in keys),
                unique=bool(unique),
            )


def _key(column: str, collation: str) -> str:
    function = {"NOCASE": "lower", "RTRIM": "rtrim"}.get(collation.upper())
    return column if function is None else f"{function}({column})"


@contextmanager
def _source(sqlite_file: Path) -> Iterator[_Source]:
    """Open the file read-only in one read transaction, text as its exact bytes."""
    uri = f"{sqlite_file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.text_factory = bytearray
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN")
        yield _Source(connection)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: bytearray) -> str:
    return value.decode()


def _utf16(value: Value, encoding: str) -> Value:
    """Return text, read as hexadecimal digits, in UTF-8; what has no UTF-8 as its own bytes."""
    if not isinstance(value, bytearray):
        return value
    raw = bytes.fromhex(_text(value))
    try:
        return bytearray(raw.decode(encoding).encode())
    except UnicodeDecodeError:
        return _undecodable(raw, encoding)


def _undecodable(raw: bytes, encoding: str) -> Value:
    return f"text of a {encoding} database that has no UTF-8: {raw.hex()}"


# ------------------------------------------------------------------------------------- the target


@dataclass(frozen=True, slots=True)
class _Target:
    connection: psycopg.Connection[tuple[Any, ...]]
    schema: str

    def has(self, table: str) -> bool:
        return self._oid(table) is not None

    def column_types(self, table: str) -> dict[str, str]:
        """Answer every column's type without its modifiers."""
        query = """
            SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
            WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """
        return dict(self.connection.execute(query, [self._oid(table)]).fetchall())

    def not_null(self, table: str) -> set[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnotnull"
        return {name for (name,) in self.connection.execute(query, [self._oid(table)])}

    def indexes(self, table: str) -> set[tuple[bool, tuple[str, ...]]]:
        """Answer the valid whole-table indexes: unique or not, and the key columns in order."""
        query = """
            SELECT indisunique, ARRAY(
                SELECT coalesce(attname::text, pg_get_indexdef(indexrelid, position::int, true))
                FROM unnest(indkey::int2[]) WITH ORDINALITY AS key (number, position)
                LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = number AND number <> 0
                WHERE position <= indnkeyatts ORDER BY position
            )
            FROM pg_index WHERE indrelid = %s AND indpred IS NULL AND indisvalid
        """
        found = self.connection.execute(query, [self._oid(table)])
        return {(unique, tuple(map(_expression, keys))) for unique, keys in found}

    def count(self, table: str) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(self._name(table))
        return self.connection.execute(query).fetchall()[0][0]

    def rows(
        self, table: str, columns: dict[str, str], forms: dict[int, Form]
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield batches of rows through a server-side cursor; `columns` are names and types."""
        fetched = [
            forms[at].fetch(sql.Identifier(name))
            if at in forms
            else sql.SQL("{}::{}").format(sql.Identifier(name), _FETCHED_AS[kind])
            for at, (name, kind) in enumerate(columns.items())
        ]
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(fetched), self._name(table))
        with self.connection.cursor("judge_rows", binary=True) as cursor:
            cursor.execute(query)
            while batch := cursor.fetchmany(_BATCH):
                yield batch

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, fold(table))

    def _oid(self, table: str) -> int | None:
        query = """
            SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p')
        """
        found = self.connection.execute(query, [self.schema, fold(table)]).fetchone()
        return None if found is None else found[0]


def _expression(key: str) -> str:
    """Reduce `lower(("Name" COLLATE "C"))` and the like to `lower(Name)`."""
    pattern = r'(lower|rtrim)\(+(?:"((?:[^"]|"")+)"|(\w+))(?:\)?::text)?(?: COLLATE [^)]+)?\)+'
    found = re.fullmatch(pattern, key)
    if found is None:
        return key
    function, quoted, bare = found.groups()
    name = bare or quoted.replace('""', '"')
    return f"{function}({name})"


@contextmanager
def _target(dsn: str, schema: str) -> Iterator[_Target]:
    """Connect for one read-only REPEATABLE READ transaction that sees every row or fails."""
    with psycopg.connect(dsn, client_encoding="UTF8") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("SET LOCAL datestyle = 'ISO, YMD'")
        connection.execute("SET LOCAL timezone = 'UTC'")
        connection.execute("SET LOCAL row_security = off")
        yield _Target(connection, schema)


# --------------------------------------------------------------------------------- the quarantine


class _Quarantine:
    """The rows of `migration.quarantine`, decoded; nothing where the table is not readable."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], source: str | None) -> None:
        self._connection = connection
        self._source = source
        query = """
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass('migration.quarantine') AND NOT attisdropped
        """
        self.readable = {name for (name,) in connection.execute(query)} >= _QUARANTINE

    def tables(self) -> set[str]:
        query = """
            SELECT DISTINCT table_name FROM migration.quarantine
            WHERE source = coalesce(%s, source)
        """
        return {name for (name,) in self._connection.execute(query, [self._source])}

    def column_names(self, table: str) -> list[list[str]]:
        """Answer every list of column names the table's rows were quarantined with."""
        query = """
            SELECT DISTINCT column_names FROM migration.quarantine
            WHERE table_name = %s AND source = coalesce(%s, source)
        """
        if not self.readable:
            return []
        found = self._connection.execute(query, [table, self._source])
        return [names for (names,) in found]

    def rows(self, table: str) -> Iterator[Row]:
        query = """
            SELECT storage_classes, "values" FROM migration.quarantine
            WHERE table_name = %s AND source = coalesce(%s, source)
        """
        if not self.readable:
            return
        with self._connection.cursor("judge_quarantine") as cursor:
            cursor.execute(query, [table, self._source])
            for classes, values in cursor:
                yield tuple(
                    _decode(kind, value) for kind, value in zip_longest(classes or (), values or ())
                )


def _decode(storage_class: str | None, value: bytes | None) -> Value:  # noqa: PLR0911 - a class each
    """Read a quarantined value; what no SQLite value can be becomes a str that equals none."""
    match storage_class, value:
        case "null", None:
            return None
        case "integer", bytes() if len(value) == 8:
            return int.from_bytes(value, "big", signed=True)
        case "real", bytes() if len(value) == 8:
            return struct.unpack(">d", value)[0]
        case "text", bytes():
            return bytearray(value)
        case (("text/UTF-16le" | "text/UTF-16be"), bytes()):
            return _undecodable(value, storage_class.removeprefix("text/"))
        case "blob", bytes():
            return value
    return f"no value: storage class {storage_class}, bytes {value!r}"


# ---------------------------------------------------------------------------------- the rendering


class _Forms:
    """Counts, per column that is written in one of many ways, the ways of its values.

    Only values that ought to stand in the target count: quarantined ones are taken off.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._counts = {at: FormCount(kind) for at, kind in enumerate(kinds) if kind in WRITTEN}

    def count(self, row: Row, step: int) -> None:
        for at, forms in self._counts.items():
            forms.count(row[at], step)

    def chosen(self) -> dict[int, Form]:
        return {at: forms.chosen() for at, forms in self._counts.items()}


class _Renderer:
    """Renders target rows to what SQLite would hold, by having SQLite hold them.

    `CREATE TABLE … AS SELECT` gives the columns the affinities of the source's and none of its
    constraints, also where the declared type alone would not do (ANY in a STRICT table).
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: str,
        columns: Sequence[str],
        *,
        floats: Sequence[int],
        forms: dict[int, Form],
    ) -> None:
        self._connection = connection
        self._floats = floats
        self._forms = forms
        names = ", ".join(f"{_quote(name)} AS c{at}" for at, name in enumerate(columns))
        connection.execute("DROP TABLE IF EXISTS temp.rendered")
        connection.execute(
            f"CREATE TEMP TABLE rendered AS SELECT {names} FROM main.{_quote(table)} WHERE 0"
        )
        self._insert = f"INSERT INTO temp.rendered VALUES ({', '.join('?' * len(columns))})"

    def render(self, fetched: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
        rows = [self._written(row) for row in fetched] if self._forms else fetched
        self._connection.executemany(self._insert, rows)
        held = self._connection.execute("SELECT * FROM temp.rendered ORDER BY rowid").fetchall()
        self._connection.execute("DELETE FROM temp.rendered")
        for given, row in zip(rows, held, strict=True):
            yield self._unsoftened(given, row) if self._floats else row

    def _written(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for at, form in self._forms.items():
            if values[at] is not None:
                values[at] = form.write(values[at])
        return tuple(values)

    def _unsoftened(self, given: tuple[Any, ...], held: Row) -> Row:
        """Keep NaN and -0.0, which SQLite would turn into NULL and 0: they are not equal."""
        values = list(held)
        for at in self._floats:
            value = given[at]
            if value is not None and (math.isnan(value) or (value == 0 > math.copysign(1, value))):
                values[at] = value
        return tuple(values)


# --------------------------------------------------------------------------------- the comparison


@dataclass(slots=True, kw_only=True)
class _Judged:
    """One table being compared: where its rows come from, and the columns both sides have."""

    origin: _Source
    target: _Target
    quarantine: _Quarantine
    table: str
    width: int  # columns of the source
    columns: dict[str, str]  # source name → target type, those that both sides have
    positions: list[int]  # of those among the source's columns
    key: list[int]  # of the primary key among `columns`
    forms: dict[int, Form] = field(default_factory=dict)

    def source_rows(self) -> Iterator[Row]:
        return self.origin.rows(self.table, list(self.columns))

    def quarantined_rows(self) -> Iterator[Row]:
        for row in self.quarantine.rows(self.table):
            if len(row) == self.width:
                yield tuple(row[at] for at in self.positions)
            else:
                yield (f"{len(row)} values instead of {self.width}: {row!r}",)

    def target_rows(self) -> Iterator[Row]:
        renderer = _Renderer(
            self.origin.connection,
            self.table,
            list(self.columns),
            floats=[at for at, kind in enumerate(self.columns.values()) if kind in _FLOATS],
            forms=self.forms,
        )
        columns = {fold(name): kind for name, kind in self.columns.items()}
        for batch in self.target.rows(self.table, columns, self.forms):
            yield from renderer.render(batch)


def _compare_table(
    origin: _Source, target: _Target, quarantine: _Quarantine, table: str
) -> TableComparison:
    columns = origin.columns(table)
    names = [column.name for column in columns]
    differences = [
        Difference(table=table, what=f"quarantined with columns {found}, source has {names}")
        for found in quarantine.column_names(table)
        if [fold(name) for name in found] != [fold(name) for name in names]
    ]
    if not target.has(table):
        differences.append(Difference(table=table, what="is missing at the target"))
        rows = sum(1 for _ in origin.rows(table, names))
        return TableComparison(
            table=table,
            source_rows=rows,
            target_rows=0,
            quarantined_rows=sum(1 for _ in quarantine.rows(table)),
            differing_rows=rows,
            differences=tuple(differences),
        )
    types = target.column_types(table)
    differences += _differing_columns(table, names, types)
    judged = [at for at, name in enumerate(names) if types.get(fold(name)) in _JUDGED]
    return _compare_rows(
        _Judged(
            origin=origin,
            target=target,
            quarantine=quarantine,
            table=table,
            width=len(columns),
            columns={names[at]: types[fold(names[at])] for at in judged},
            positions=judged,
            key=_key_positions(columns, judged),
        ),
        differences,
    )


def _differing_columns(
    table: str, names: Sequence[str], types: dict[str, str]
) -> Iterator[Difference]:
    for name in names:
        kind = types.get(fold(name))
        if kind is None:
            yield Difference(table=table, column=name, what="is missing at the target")
        elif kind not in _JUDGED:
            yield Difference(
                table=table, column=name, what=f"has type {kind}, unknown to the judge"
            )
    for name in sorted(types.keys() - {fold(name) for name in names}):
        yield Difference(table=table, column=name, what="stands at the target only")


def _key_positions(columns: Sequence[_SourceColumn], judged: Sequence[int]) -> list[int]:
    """Answer where the primary key stands among the judged columns; nothing if it is not whole."""
    key = sorted(
        (at for at, column in enumerate(columns) if column.key_position),
        key=lambda at: columns[at].key_position,
    )
    return [judged.index(at) for at in key] if set(key) <= set(judged) else []


def _compare_rows(judged: _Judged, differences: list[Difference]) -> TableComparison:
    """Take target and quarantine off the source's multiset, and open what is left."""
    balance: dict[bytes, int] = {}
    forms = _Forms(judged.columns.values())
    counts = [0, 0, 0]
    if judged.columns:
        counts[0] = _add(balance, judged.source_rows(), +1, forms)
        counts[1] = _add(balance, judged.quarantined_rows(), -1, forms)
        judged.forms = forms.chosen()
        counts[2] = _add(balance, judged.target_rows(), -1)
        if balance:
            differences += _opened(judged, balance)
    return TableComparison(
        table=judged.table,
        source_rows=counts[0],
        target_rows=counts[2],
        quarantined_rows=counts[1],
        differing_rows=sum(map(abs, balance.values())),
        differences=tuple(differences),
    )


def _add(
    balance: dict[bytes, int],
    rows: Iterable[Row],
    step: int,
    forms: _Forms | None = None,
) -> int:
    """Add `step` for every row, forget what balances, and answer how many rows there were."""
    count = 0
    for row in rows:
        count += 1
        found = _hash(row)
        total = balance.get(found, 0) + step
        if total:
            balance[found] = total
        else:
            del balance[found]
        if forms is not None:
            forms.count(row, step)
    return count


def _hash(row: Row) -> bytes:
    """Hash a row by its repr: exact for every value, and another one for every storage class."""
    return blake2b(repr(row).encode(), digest_size=16).digest()


@dataclass(slots=True)
class _Opened:
    """The differing rows under one key: each distinct row with its copies, per place."""

    source: Counter[str] = field(default_factory=Counter)
    target: Counter[str] = field(default_factory=Counter)
    quarantine: Counter[str] = field(default_factory=Counter)
    rows: dict[str, Row] = field(default_factory=dict)


def _opened(judged: _Judged, balance: dict[bytes, int]) -> list[Difference]:
    """Read everything again and name the first rows that do not balance, paired by key."""
    found: dict[str, _Opened] = {}
    places = (
        ("source", judged.source_rows()),
        ("quarantine", judged.quarantined_rows()),
        ("target", judged.target_rows()),
    )
    for place, rows in places:
        for row in rows:
            if _hash(row) not in balance:
                continue
            whole = not judged.key or len(row) != len(judged.columns)
            key = repr(row if whole else [row[at] for at in judged.key])
            if key not in found and len(found) == DIFFERENCES_PER_TABLE:
                continue
            opened = found.setdefault(key, _Opened())
            getattr(opened, place)[repr(row)] += 1
            opened.rows[repr(row)] = row
    named = (difference for opened in found.values() for difference in _named(judged, opened))
    return [difference for difference, _ in zip(named, range(DIFFERENCES_PER_TABLE), strict=False)]


def _named(judged: _Judged, opened: _Opened) -> Iterator[Difference]:
    names = list(judged.columns)
    for place in ("target", "quarantine"):
        held: Counter[str] = getattr(opened, place)
        lone = opened.source.total() == held.total() == 1
        if lone and len(opened.rows) == 2 and opened.source.keys() != held.keys():
            (before,), (after,) = opened.source, held
            pairs = zip(names, opened.rows[before], opened.rows[after], strict=False)
            for name, expected, got in pairs:
                if repr(expected) != repr(got):
                    yield Difference(
                        table=judged.table,
                        row=_row(judged, opened.rows[before]),
                        column=name,
                        what=f"source has {_show(expected)}, {place} has {_show(got)}",
                    )
            return
    for written, row in opened.rows.items():
        counts = (
            f"{opened.source[written]} in source, {opened.target[written]} in target, "
            f"{opened.quarantine[written]} in quarantine"
        )
        yield Difference(table=judged.table, row=_row(judged, row), what=counts)


def _row(judged: _Judged, row: Row) -> str:
    names = list(judged.columns)
    shown = judged.key or range(len(names))
    return ", ".join(f"{names[at]} = {_show(row[at])}" for at in shown if at < len(row))


def _show(value: Value) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int():
            return f"integer {value}"
        case float():
            return f"real {value!r}"
        case bytearray():
            shown = f"text {value.decode(errors='backslashreplace')!r}"
        case bytes():
            shown = f"blob x'{value.hex()}'"
        case str():
            shown = value
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(value)} bytes)"


# ------------------------------------------------------------------------------------- the schema


def _missing_from_schema(origin: _Source, target: _Target, table: str) -> Iterator[str]:
    if not target.has(table):
        yield "is missing at the target"
        return
    columns = origin.columns(table)
    not_null = target.not_null(table)
    for column in columns:
        if column.not_null and fold(column.name) not in not_null:
            yield f"column {column.name} is not NOT NULL"
    indexes = target.indexes(table)
    unique = {keys for is_unique, keys in indexes if is_unique}
    key = sorted((c for c in columns if c.key_position), key=lambda c: c.key_position)
    keys = tuple(fold(column.name) for column in key)
    if keys and keys not in unique:
        yield f"primary key ({', '.join(keys)}) is no unique key"
    present = {keys for _, keys in indexes}
    for index in origin.indexes(table):
        if index.unique and index.keys not in unique:
            yield f"({', '.join(index.keys)}) is not unique"
        elif not index.unique and not {index.keys, index.columns} & present:
            yield f"({', '.join(index.keys)}) has no index"
