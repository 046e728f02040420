"""Real SQLite for the tests: databases, cuts of them, and strategies of every stored value."""

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import strategies as st

from migration_assets.mapping.names import allocate
from migration_assets.mapping.propose import propose
from migration_assets.model import (
    Cut,
    RawRow,
    SourceTable,
    SqliteValue,
    TableMapping,
    TableOverride,
    UndecodableText,
)
from migration_assets.source.catalog import read_catalog
from migration_assets.source.chosen import take_census_for
from migration_assets.source.connection import exact_text, open_cut, quote

WEEK = date(2026, 10, 4)
LATER = date(2026, 10, 11)
# Nothing in there has to outlive a test, and syncing to a disk takes most of an example's time.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - with random names below
NOBODY = 65534  # a user who owns nothing: `nobody` by convention

CODECS = {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
ENCODINGS = ("UTF-8", *CODECS)

DECLARED = (
    *("INTEGER", "INT", "BIGINT", "INT UNSIGNED", "BOOLEAN", "BOOL"),
    *("TEXT", "VARCHAR(20)", "CHAR(5)", "CLOB", "REAL", "DOUBLE", "FLOAT"),
    *("NUMERIC", "DECIMAL", "DECIMAL(10,2)", "DECIMAL(38,10)", "NUMERIC(60,20)", "MONEY"),
    *("DATE", "DATETIME", "TIMESTAMP", "TIMESTAMPTZ", "TIME", "JSON", "UUID", "STRING", "BLOB", ""),
)

# Whatever SQLite takes for equal although it isn't, and what lies at the edges of its types.
TRICKY: tuple[SqliteValue, ...] = (
    *(None, 0, 1, -1, 2, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.0, -0.0, 1.0, 1.5, 0.1, 2.0**53, 2.0**63, -(2.0**63), 1e15, 1e16, 1e20, 5e-324),
    *(float("inf"), float("-inf"), 0.1 + 0.2, 12345.67),
    *("", "abc", "ABC", "abc ", "1", "1.0", "1.50", "ü", "Ü", "\U0001f600", "a\0b", "a\0c"),
    *("2024-02-29", "0001-01-01", "2024-02-29 10:00:00", "2024-02-29T10:00:00.123"),
    *("2024-02-29 10:00:00Z", "2024-02-29 10:00:00+02:00", "10:00", "23:59:60", "true", "No"),
    *("3f2504e0-4f89-41d3-9a0c-0305e82c3301", "12345678901234567890123456789012", "[1]", '{"a":1}'),
    *(b"", b"abc", b"\0", UndecodableText(b"\xff"), UndecodableText(b"\xed\xa0\x80")),
)


def _undecodable(raw: bytes) -> UndecodableText:
    value = exact_text(b"\xff" + raw)
    assert isinstance(value, UndecodableText)
    return value


_digits = st.from_regex(r"[ ]?[+-]?[0-9]{0,20}(\.[0-9]{0,6})?(e[+-]?[0-9]{1,3})?", fullmatch=True)
_dates = st.dates().map(date.isoformat)
_timestamps = st.datetimes().flatmap(
    lambda moment: st.sampled_from(
        [
            moment.isoformat(separator, precision)
            for separator in " T"
            for precision in ("seconds", "milliseconds", "microseconds")
        ]
    )
)

integers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.sampled_from([0, 1]))
reals = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([-0.0, 0.5, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 5e-324, 2.0**63]),
    st.integers(-(10**12), 10**12).map(lambda cents: cents / 100),
)
_zoned = st.tuples(_timestamps, st.sampled_from(["Z", "+00:00", "-03:30", " +0200", "+15:59"])).map(
    "".join
)
_uuids = st.tuples(st.uuids().map(str), st.sampled_from([str, str.upper])).map(lambda u: u[1](u[0]))
_words = st.sampled_from(["true", "FALSE", "yes", "N", "on", "{}", "[1, 2]", '"x"', "null"])
texts = st.one_of(
    *(st.text(max_size=12), _digits, _dates, _timestamps),
    *(_zoned, st.times().map(time.isoformat), _uuids, _words),
)
values: st.SearchStrategy[SqliteValue] = st.one_of(
    st.none(),
    integers,
    reals,
    texts,
    st.binary(max_size=8),
    st.binary(max_size=4).map(_undecodable),
    st.sampled_from(TRICKY),
)


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows; one that a constraint of the table refuses is left out."""
    for row in rows:
        slots = ", ".join("CAST(? AS TEXT)" if isinstance(v, UndecodableText) else "?" for v in row)
        plain = [v.raw if isinstance(v, UndecodableText) else v for v in row]
        with suppress(sqlite3.IntegrityError):  # OR IGNORE leaves a rowid of another type to raise
            connection.execute(f"INSERT OR IGNORE INTO {quote(table)} VALUES ({slots})", plain)


def insert_utf16(
    connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[object]], codec: str
) -> None:
    """Insert rows into a UTF-16 database; undecodable text becomes lone surrogates, one a byte.

    SQLite takes a bound BLOB for UTF-8 when it casts it, and one that stands in a column for what
    it is: so all text goes by way of a column.
    """
    connection.execute("CREATE TEMP TABLE raw (place INTEGER PRIMARY KEY, bytes)")
    for row in rows:
        slots = [
            f"CAST((SELECT bytes FROM temp.raw WHERE place = {i}) AS TEXT)"
            if isinstance(v, UndecodableText | str)
            else f"(SELECT bytes FROM temp.raw WHERE place = {i})"
            for i, v in enumerate(row)
        ]
        connection.execute("DELETE FROM temp.raw")
        connection.executemany(
            "INSERT INTO temp.raw VALUES (?, ?)",
            [(i, utf16(v, codec)) for i, v in enumerate(row)],
        )
        with suppress(sqlite3.IntegrityError):
            connection.execute(f"INSERT OR IGNORE INTO {quote(table)} VALUES ({', '.join(slots)})")
    connection.execute("DROP TABLE temp.raw")


def utf16(value: object, codec: str) -> object:
    """Return a value as what `insert_utf16` binds for it."""
    if isinstance(value, UndecodableText):
        value = "".join(chr(0xD800 + byte) for byte in value.raw)
    return value.encode(codec, "surrogatepass") if isinstance(value, str) else value


def stored(declared: str, values: Sequence[SqliteValue]) -> list[SqliteValue]:
    """Return what a real SQLite column of that declared type holds after these were inserted."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = exact_text
        connection.execute(f"CREATE TABLE t (v {declared})")
        insert(connection, "t", [(v,) for v in values])
        return [v for (v,) in connection.execute("SELECT v FROM t ORDER BY rowid")]


def storage_classes(declared: str, values: Sequence[SqliteValue]) -> list[str]:
    """Return what SQLite's typeof says after these were inserted in a column of that type."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t (v {declared})")
        insert(connection, "t", [(v,) for v in values])
        return [v for (v,) in connection.execute("SELECT typeof(v) FROM t ORDER BY rowid")]


def make(
    path: Path,
    schema: str,
    rows: Iterable[Sequence[object]] = (),
    table: str = "t",
    *,
    encoding: str = "UTF-8",
) -> Path:
    """Make a database by script and fill one of its tables."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.executescript(schema)
        if encoding == "UTF-8":
            insert(connection, table, rows)
        else:
            insert_utf16(connection, table, rows, CODECS[encoding])
    return path


def sha256(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_cut(path: Path, week: date = WEEK) -> Cut:
    """Return a database file as if it were the sealed cut of a week."""
    return Cut(
        source="main",
        week=week,
        path=path,
        sha256=sha256(path),
        size=path.stat().st_size,
        pages=1,
        page_size=4096,
        fingerprint="",
        taken_at="",
    )


def table_of(cut: Cut, name: str = "t") -> SourceTable:
    """Return a table that is known to be in the cut."""
    with open_cut(cut) as connection:
        table = read_catalog(connection, "main").table(name)
    assert table is not None
    return table


def rows_of(cut: Cut, name: str = "t") -> list[RawRow]:
    """Return a table's rows, read without the code under test."""
    with closing(sqlite3.connect(cut.path)) as connection:
        (encoding,) = connection.execute("PRAGMA encoding").fetchone()
        if encoding != "UTF-8":
            return _utf16_rows(connection, name, encoding)
        connection.text_factory = exact_text
        return connection.execute(f"SELECT * FROM {quote(name)}").fetchall()


def _utf16_rows(connection: sqlite3.Connection, table: str, encoding: str) -> list[RawRow]:
    """Read text as the hexadecimal digits of its bytes, so that nothing is converted."""
    info = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    names = [quote(name) for _, name, *_, hidden in info if hidden != 1]
    connection.text_factory = bytearray
    texts = ", ".join(f"iif(typeof({n}) = 'text', hex({n}), {n})" for n in names)
    return [
        tuple(_unhexed(v, encoding) if isinstance(v, bytearray) else v for v in row)
        for row in connection.execute(f"SELECT {texts} FROM {quote(table)}")
    ]


def _unhexed(digits: bytearray, encoding: str) -> SqliteValue:
    raw = bytes.fromhex(digits.decode())
    text = raw.decode(CODECS[encoding], "surrogatepass")
    alone = any("\ud800" <= character <= "\udfff" for character in text)
    return UndecodableText(raw, encoding) if alone else text


def proposed(cut: Cut, name: str = "t", schema: str = "public") -> TableMapping:
    """Return the mapping that is proposed for a table of a cut."""
    with open_cut(cut) as connection:
        tables = read_catalog(connection, "main").tables
    table = table_of(cut, name)
    return propose(
        table,
        take_census_for(cut, table, TableOverride()),
        target_schema=schema,
        names=allocate(tables)[name],
    )


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """Return a folder that every user may enter, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="migration-assets-test-"))
    folder.chmod(0o755)
    yield folder
    for found in folder.rglob("*"):
        if found.is_dir():
            found.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def plain_user() -> Generator[int]:
    """Act as a user without privileges: root drops to one, everybody else is one."""
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield NOBODY
    finally:
        os.seteuid(0)
        os.setegid(0)
