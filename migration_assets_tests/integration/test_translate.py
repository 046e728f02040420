"""Translated expressions, each computed by both databases over the same rows: no other value."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from migration_assets.mapping.objects import operands_of
from migration_assets.mapping.translate import expression
from migration_assets.mapping.typed import Shape, UntranslatableError, as_condition
from migration_assets.migration import Migration
from migration_assets.model import Kind, TableMapping
from migration_assets.target.embedded import EmbeddedServer
from migration_assets_tests.fixtures_migration import (
    load_week,
    mapping_of,
    migration_of,
    on_target,
)
from migration_assets_tests.fixtures_postgres import own_database
from migration_assets_tests.fixtures_sqlite import as_cut, table_of

SCHEMA = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, x REAL, y REAL, s TEXT, p TEXT,
    n TEXT COLLATE NOCASE, r TEXT COLLATE RTRIM, f BOOLEAN, d DATE, at DATETIME, z BLOB,
    price DECIMAL(10,2), w
);
"""
ROWS = [
    (1, 5, 2, 1.5, -2.0, "Abc", "%b_", "ABC", "x ", 1, "2026-02-28", "2026-02-28 23:59:59"),
    (2, -5, 2, 0.1, 0.2, "", "", "abc", "x", 0, "1999-12-31", "1999-12-31 00:00:00"),
    (3, 0, 0, -0.0, 0.0, " a@b.c ", "a", "É", "X", None, None, None),
    (4, None, 3, None, 1e300, None, "x", None, None, 1, "2026-02-28", "2026-03-01 12:30:00"),
    (5, 7, None, 2.5, None, "a]b^c", None, "é", " ", 0, "0001-01-01", "0001-01-01 00:00:00"),
    (
        6,
        2**61,
        10,
        7.0,
        3.0,
        "Ünï\U0001f600ß",
        "x",
        "z",
        "",
        1,
        "9999-12-31",
        "9999-12-31 23:00:00",
    ),
    (
        7,
        -7,
        -2,
        -1.5,
        2.0,
        "a\\b.c*d[1]",
        "100%",
        "a",
        "b",
        None,
        "2000-02-29",
        "2000-02-29 01:02:03",
    ),
    (8, 1, 1, 1.0, 1.0, "B", "b", "B", "b", 1, "2020-01-01", "2020-01-01 00:00:01"),
]
REST = [(b"\x00\xff", 19.99, 1), (None, 5, -1), (b"", 0.1, 2), *[(b"z", None, None)] * 5]

TRANSLATED = [
    *("a + b", "a - b * 2", "(a + b) * 2", "-a", "- (a)", "a / b", "a / 2", "a % b", "a % 3 / 2"),
    *("x + y", "x * 2", "a * 0.5", "a + x", "x / y", "x / 0", "a / 0", "x - 1", "3", "2.5", "-7"),
    *("a = 5", "a == '5'", "a <> 5", "a != 5", "a >= 0.5", "a < b", "x > y", "x <= 1", "x = 1.5"),
    *("a IS b", "a IS NOT b", "a IS NULL", "a IS NOT NULL", "a ISNULL", "a NOTNULL", "a IS 5"),
    *("a BETWEEN -5 AND 5", "a NOT BETWEEN 0 AND b", "a IN (5, 7, b)", "a NOT IN (5, NULL)"),
    *("a > 0 AND b > 0", "a > 0 OR b > 0", "NOT a > 0", "a AND b", "NOT a", "a > 0 IS TRUE"),
    *("f", "f = 1", "f <> 0", "f IN (0, 1)", "f IS 1", "f + 1", "NOT f", "f AND a > 0", "f = 2"),
    *("f > 0", "f = a", "f IS NOT NULL", "f = '1'", "f BETWEEN 0 AND 1", "f || ''", "f IS TRUE"),
    *("s = 'Abc'", "s < 'a'", "s >= p", "s || p", "s || a", "a || b", "'x' || s || f", "s <> ''"),
    *("n = 'abc'", "'abc' = n", "n < 'b'", "n = 'É'", "n = s", "s = n", "n IN ('ABC')", "r = 'x'"),
    *("s COLLATE NOCASE = 'abc'", "n COLLATE BINARY = 'abc'", "s = 'abc' COLLATE NOCASE"),
    *(
        "s BETWEEN 'A' AND 'C'",
        's = "Abc"',
        "s = 5",
        "a = '05'",
        "s > 'É'",
        "n BETWEEN 'a' AND 'C'",
    ),
    *("s LIKE 'a%'", "s NOT LIKE '%B%'", "s LIKE p", "s LIKE '%\\%'", "p LIKE '100!%' ESCAPE '!'"),
    *("s LIKE 'ü%'", "a LIKE '-%'", "s LIKE '_bc'", "s LIKE ''", "d LIKE '2026-%'", "n LIKE 'É'"),
    *("s GLOB 'A*'", "s GLOB '*[a-c]'", "s GLOB '[^a-z]*'", "s GLOB '*.*[*]*'", "s GLOB '?'"),
    *("s GLOB '*[]^]b*'", "s NOT GLOB 'A*'", "s GLOB 'a\\b*'", "a GLOB '-*'", "s GLOB 'a]b^c'"),
    *("length(s)", "length(z)", "length(a)", "length(d)", "upper(s)", "lower(s)", "trim(s)"),
    *(
        "ltrim(s)",
        "rtrim(s, ' c.')",
        "trim(s, 'Ac')",
        "replace(s, 'b', 'xy')",
        "replace(s, '', 'x')",
    ),
    *("substr(s, 2)", "substr(s, 2, 2)", "substr(s, -2)", "substr(s, 1, b)", "substr(s, b)"),
    *("substr(s, instr(s, '@') + 1)", "substr(s, 1, instr(s, '@') - 1)", "substr(s, 0)"),
    *("substring(s, 1, 1)", "substr(d, 1, 4)", "substr(d, 6, 2)", "instr(s, 'b')", "instr(s, '')"),
    *("ifnull(a, 0)", "coalesce(s, p, '-')", "nullif(a, 5)", "nullif(s, '')", "abs(a)", "abs(x)"),
    *("max(a, b)", "min(a, b)", "max(x, y)", "iif(a > 0, 'y', 'n')", "iif(a, a, b)"),
    *("CASE WHEN a > 0 THEN 'p' WHEN a < 0 THEN 'm' END", "CASE a WHEN 5 THEN 1 ELSE b END"),
    *(
        "CASE WHEN f THEN s ELSE p END",
        "CASE n WHEN 'abc' THEN 1 ELSE 0 END",
        "CASE s WHEN 1 THEN 2 END",
    ),
    *(
        "CAST(a AS TEXT)",
        "CAST(a AS REAL)",
        "CAST(x AS INTEGER)",
        "CAST(f AS INT)",
        "CAST(s AS TEXT)",
    ),
    *("CAST(strftime('%Y', d) AS INTEGER)", "CAST(a AS VARCHAR(3))", "CAST(price AS REAL)"),
    *("typeof(a)", "typeof(s)", "typeof(x)", "typeof(z)", "typeof(f)", "typeof(d)", "typeof(at)"),
    *("d = '2026-02-28'", "d < '2000-01-01'", "d IN ('2026-02-28')", "d IS NULL", "d >= d"),
    *("at = '2026-02-28 23:59:59'", "at > '2000-01-01 00:00:00'", "date(at)", "time(at)"),
    *(
        "datetime(at)",
        "date(d)",
        "datetime(d)",
        "strftime('%Y-%m', at)",
        "strftime('%d.%m.%Y %H:%M', at)",
    ),
    *("strftime('%j', d)", "strftime('%Y', d) = '2026'", "d || '!'", "at || ''", "length(at)"),
    *("price >= 0", "price = 19.99", "price < 5", "price = 5.0", "price IS NULL", "price = price"),
    *("z = x'00ff'", "z IS NULL", "z <> x''", "w = 1", "w > 0", "a = w", "price > a"),
    *(
        "NULL",
        "a + NULL",
        "a = NULL",
        "a IS NULL OR a > b",
        "TRUE",
        "a = TRUE",
    ),
    *(
        "(a = b) IS NULL",
        "a = b IS NULL",
        "a IS b IS NULL",
        "a < b = 1",
        "a = b = 0",
        "-a + 1",
        "- a || 'x'",
    ),
    *(
        "a > 9223372036854775807",
        "a < -9223372036854775808",
        "x < 9e999",
        "x = 9223372036854775808",
    ),
]
REFUSED = {
    "round(x, 2)": "ROUND has no rule",
    "random()": "has no rule",
    "a = s": "different types",
    "a = x": "different types",
    "price * 2": "exact in PostgreSQL",
    "price / 2": "exact in PostgreSQL",
    "x || ''": "in its own way",
    "price || ''": "in its own way",
    "z || ''": "in its own way",
    "s + 1": "no number",
    "s AND a": "as a condition",
    "CAST(s AS INTEGER)": "no number",
    "CAST(a AS NUMERIC)": "without a rule",
    "d = '2026-2-28'": "the form YYYY-MM-DD",
    "d = 5": "a constant beside d",
    "d = at": "different types",
    "d < s": "different types",
    "at > '2026-01-01'": "a constant beside at",
    "date(s)": "no date",
    "date(at, '+1 day')": "number of arguments",
    "strftime('%s', at)": "strftime() with %s",
    "a & 1": "has no rule",
    "s REGEXP 'a'": "has no rule",
    "s MATCH 'a'": "has no rule",
    "x'41' = 'A'": "different types",
    "any = 1": "can't read",
    "a + b || 'x'": "no number",
    "s GLOB p": "no constant",
    "s GLOB '[a'": "isn't closed",
    "s LIKE 'ab' ESCAPE 'b'": "a letter as its escape",
    "substr(s, 0, 2)": "from 1 on",
    "substr(s, 2, a)": "may be negative",
    "nosuch = 1": "no column on the target",
    "x % 2": "rest of a division",
    "a LIKE 'x' = b": "without brackets",
    "a = b LIKE 'x'": "without brackets",
    "s COLLATE german = 'a'": "collation GERMAN",
    "a IN (SELECT 1)": "another query",
    "count(a)": "has no rule",
    "typeof(price)": "several storage classes",
    "coalesce(a, s)": "different types",
    "max(s, p)": "no number",
    "'a' || char(0)": "has no rule",
    "json_valid(s)": "has no rule",
    "a = x'41'": "different types",
    "(" * 200 + "a" + ")" * 200: "too many brackets",
}


class Both:
    """The same rows in both databases."""

    def __init__(self, migration: Migration, target: psycopg.Connection) -> None:
        self.mapping: TableMapping = mapping_of(migration, "t")
        self.source = sqlite3.connect(migration.settings.source)
        table = table_of(as_cut(migration.settings.source))
        self.operands = operands_of(table, self.mapping.columns)
        self.target = target

    def at_source(self, text: str) -> list[object]:
        """Return what SQLite makes of an expression, row by row."""
        query = f"SELECT {text} FROM t ORDER BY id"
        return [value for (value,) in self.source.execute(query)]

    def at_target(self, text: str) -> list[object]:
        """Return what PostgreSQL makes of its translation; booleans as 0 and 1."""
        found = expression(text, self.operands)
        shown = f"({as_condition(found)})::int" if found.shape is Shape.CONDITION else found.sql
        query = f'SELECT {shown} FROM t ORDER BY "id"'
        return [value for (value,) in self.target.execute(query.encode())]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedServer) -> Iterator[Both]:
    """Load a table with a column of every kind."""
    with own_database(postgres) as url:
        yield from loaded(tmp_path_factory.mktemp("translate"), url)


def loaded(folder: Path, url: str) -> Iterator[Both]:
    """Yield both databases once the rows are carried."""
    with closing(sqlite3.connect(folder / "app.sqlite")) as connection, connection:
        connection.executescript(SCHEMA)
        rows = [(*row, *rest) for row, rest in zip(ROWS, REST, strict=True)]
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * 15)})", rows)
    migration = migration_of(folder / "app.sqlite", folder / "state", url)
    load_week(migration, 1)
    with on_target(migration) as target:
        kinds = {c.name: c.type.kind for c in mapping_of(migration, "t").columns}
        assert kinds["f"] is Kind.BOOLEAN
        assert kinds["d"] is Kind.DATE
        assert kinds["at"] is Kind.TIMESTAMP
        found = Both(migration, target)
        yield found
        found.source.close()


@pytest.mark.parametrize("text", TRANSLATED)
def test_both_databases_compute_the_same(both: Both, text: str) -> None:
    """Values and NULLs alike, in the storage class that SQLite has."""
    expected, found = both.at_source(text), both.at_target(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_what_could_differ_is_refused_with_a_reason(both: Both, text: str, reason: str) -> None:
    """Never a guess."""
    with pytest.raises(UntranslatableError) as refused:
        expression(text, both.operands)
    assert reason in str(refused.value)


def test_the_present_moment_is_the_text_that_sqlite_writes(both: Both) -> None:
    """In UTC, in whole seconds, whatever the session's time zone is."""
    both.target.execute("SET TimeZone = 'Asia/Kathmandu'")
    for text in ("CURRENT_TIMESTAMP", "datetime('now')", "CURRENT_DATE", "date('now')"):
        # Between the two answers the second may change: the first one is asked for twice.
        first, found, last = both.at_source(text), both.at_target(text), both.at_source(text)
        assert first[0] <= found[0] <= last[0]  # type: ignore[operator]
        assert len(str(found[0])) == len(str(first[0]))


def test_names_of_the_target_are_quoted(both: Both) -> None:
    """A hostile name stays a name."""
    assert sql.Identifier('a"b').as_string(None) == '"a""b"'
    assert expression("A = 5", both.operands).sql == '("a" = 5)'
