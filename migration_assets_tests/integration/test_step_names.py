"""Names that SQLite allows and that PostgreSQL, Polars or SQL of our own could stumble over."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

import pytest
from psycopg import sql

from migration_assets.migration import Migration
from migration_assets.model import TableMapping
from migration_assets.source.connection import quote
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_proved,
    change,
    load_week,
    on_target,
)

RESERVED = ("select", "table", "user", "order", "default", "null", "primary", "array", "only")
SYSTEM = (
    "ctid",
    "xmin",
    "tableoid",
    "cmax",
    "rowid",
    "oid",
    "_rowid_",
    "sqlite",
    "sqlitex",
    "pg_x",
)
OURS = (
    *("op", "old_hash", "_op", "week", "staged", "excluded", "head_rows", "carried", "leaving"),
    *(
        "standing",
        "written",
        "found",
        "wanted",
        "gone",
        "copies",
        "copy",
        "digest",
        "hash",
        "place",
    ),
    *("part", "kept", "ours", "move", "source", "migration", "ledger", "net"),
    *("t", "s", "n", "o", "w", "f", "l", "d", "h", "k", "kh", "k0", "c0"),
)
SPELLED = (
    *('say "hi"', "it's", "two  blanks ", " ", "", "100%s %(x)s %%", "{curly} {}", "{", "a;b"),
    *(
        'x"; drop table y; --',
        "/* no */",
        "back\\slash",
        "dot.ted",
        "$1 :name ?",
        "@v",
        "[x]",
        "`x`",
    ),
    *("new\nline", "\ttab", "größe", "GRÖSSE", "大小 😀", "É", "é", "e\u0301", "MixedCase", "İ"),
    *("n" * 63, "n" * 64, "n" * 200, "n" * 199 + "m", "ü" * 100, "ü" * 31 + "n", "CamelCase" * 20),
)
NAMES = (*RESERVED, *SYSTEM, *OURS, *SPELLED)


def _foreign(migration: Migration, mapping: TableMapping) -> None:
    """Write on the target as somebody else would: a row more."""
    columns = sql.SQL(", ").join([sql.Identifier(c.target) for c in mapping.columns])
    # Literals: with parameters, psycopg would take a `%` in a name for a placeholder.
    values = [sql.Literal(99 if c.type.sql == "bigint" else "foreign") for c in mapping.columns]
    with on_target(migration) as connection:
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(mapping.target_table), columns, sql.SQL(", ").join(values)
            )
        )


def _assert_same_rows(migration: Migration, mappings: Iterable[TableMapping]) -> None:
    """Compare rows by the mapping's names; the judge knows none but folded ones."""
    with (
        closing(sqlite3.connect(migration.settings.source)) as source,
        on_target(migration) as target,
    ):
        for mapping in mappings:
            ours = source.execute(f"SELECT * FROM {quote(mapping.table)}").fetchall()
            columns = [sql.Identifier(c.target) for c in mapping.columns]
            theirs = target.execute(
                sql.SQL("SELECT {} FROM {}").format(
                    sql.SQL(", ").join(columns), sql.Identifier(mapping.target_table)
                )
            ).fetchall()
            assert ours, mapping.table
            assert sorted(ours, key=repr) == sorted(theirs, key=repr), mapping.table


def _three_weeks(migration: Migration, changes: list[str], more: list[str]) -> None:
    """Load, load the changes, then load more of them over somebody else's rows."""
    mappings = [moved.mapping for moved in load_week(migration, 1).values()]
    change(migration, *changes)
    load_week(migration, 2)
    _assert_same_rows(migration, mappings)
    for mapping in mappings:
        _foreign(migration, mapping)
    change(migration, *more)
    moved = load_week(migration, 3, acknowledged=DISPLACE)
    assert {table: m.displaced for table, m in moved.items()} == dict.fromkeys(moved, 1)
    _assert_same_rows(migration, mappings)
    assert_proved(migration, *moved)


@pytest.mark.parametrize("key", ["", "INTEGER PRIMARY KEY"])
def test_tables_of_any_name_live_side_by_side(make_migration: MakeMigration, key: str) -> None:
    """Each with a column of its own name: loaded, changed, displaced, none in another's way."""
    migration = make_migration(
        "".join(
            f"CREATE TABLE {name} ({name} {key or 'INTEGER'}, value_ TEXT UNIQUE, note_ TEXT);"
            f"INSERT INTO {name} VALUES (1, NULL, 'x'), (2, 'b', 'y'), (3, 'c', 'z');"
            for name in map(quote, NAMES)
        )
    )
    names = list(map(quote, NAMES))
    _three_weeks(
        migration,
        [
            *(f"DELETE FROM {name} WHERE value_ = 'b'" for name in names),
            *(f"UPDATE {name} SET note_ = note_ || '!' WHERE value_ IS NULL" for name in names),
            *(f"INSERT INTO {name} VALUES (NULL, 'b', NULL)" for name in names if "INT" in key),
        ],
        [
            *(f"INSERT INTO {name} VALUES (5, 'q', 'q')" for name in names),
            *(f"UPDATE {name} SET {name} = 77 WHERE value_ = 'c'" for name in names),
        ],
    )


@pytest.mark.parametrize("key", ["", "one of many", "each"])
def test_columns_of_any_name_stand_side_by_side(make_migration: MakeMigration, key: str) -> None:
    """All of them in one table: as values, as a key of many columns, each with an index."""
    columns = [quote(name) for name in NAMES]
    unique = " UNIQUE" if key == "each" else ""
    declared = ", ".join(f"{column} TEXT NOT NULL{unique}" for column in columns)
    members = f", PRIMARY KEY ({', '.join(columns[:30])})" if key == "one of many" else ""
    row = ", ".join(f"'{{0}}{i}'" for i in range(len(columns)))
    migration = make_migration(
        f"CREATE TABLE t ({declared}{members});"
        f"INSERT INTO t VALUES ({row.format('a')}), ({row.format('b')}), ({row.format('c')});"
    )
    _three_weeks(
        migration,
        [f"UPDATE t SET {column} = {column} || '!' WHERE {column} LIKE 'a%'" for column in columns],
        [
            f"DELETE FROM t WHERE {columns[-1]} LIKE 'b%'",
            f"UPDATE t SET {columns[5]} = 'changed' WHERE {columns[-1]} LIKE 'c%'",
            f"INSERT INTO t VALUES ({row.format('d')})",
        ],
    )
