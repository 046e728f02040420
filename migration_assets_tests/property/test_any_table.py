"""Any table whatever its key: no row is lost and no two become one, judged by independent eyes."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.model import SqliteValue, UndecodableText
from migration_assets.source.connection import exact_text
from migration_assets_tests.fixtures_migration import (
    assert_equal,
    assert_proved,
    carry,
    load_week,
    migration_of,
    run_week,
)
from migration_assets_tests.fixtures_sqlite import TRICKY, insert, values

DECLARED = (
    *("", "INTEGER", "INT", "TEXT", "TEXT COLLATE NOCASE", "VARCHAR(5) COLLATE RTRIM", "ANY"),
    *("REAL", "NUMERIC", "DECIMAL(10,2)", "BLOB", "BOOLEAN", "DATE", "DATETIME"),
)
KEYS = (
    "",
    ", PRIMARY KEY (k)",
    ", PRIMARY KEY (k DESC)",
    ", PRIMARY KEY (k, l)",
    ", PRIMARY KEY (l, v, k)",
    ", UNIQUE (k)",
    ", UNIQUE (k, l), UNIQUE (v)",
    ", PRIMARY KEY (k), UNIQUE (l)",
)
# Few enough that weeks share keys, and alike enough that something takes two of them for one.
VALUES: tuple[SqliteValue, ...] = (
    *(None, 0, 1, 2, 1.0, 0.0, -0.0, 1.5, 2**53, 2**53 + 1, 2.0**53, 1e300),
    *("", "a", "A", "a ", "1", "1.0", "0", "é", "e\u0301", "a\0b", "2024-02-29"),
    *(b"", b"a", b"1", b"\0", UndecodableText(b"\xff"), UndecodableText(b"a\xff")),
)
_cell = st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), st.sampled_from(TRICKY), values)
_rows = st.lists(st.tuples(_cell, _cell, _cell), max_size=7)
_numbers = count(1)

Rows = list[tuple[SqliteValue, ...]]


def fill(migration: Migration, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Let the source hold these rows, less those that its keys refuse."""
    with closing(sqlite3.connect(migration.settings.source)) as source, source:
        source.text_factory = exact_text
        source.execute(f"DELETE FROM {table}")
        insert(source, table, rows)


@settings(max_examples=50)
@given(
    declared=st.tuples(*[st.sampled_from(DECLARED)] * 2),
    key=st.sampled_from(KEYS),
    not_null=st.booleans(),
    without_rowid=st.booleans(),
    weeks=st.lists(_rows, min_size=3, max_size=3),
    kept=st.integers(0, 7),
    turned=st.booleans(),
    skipped=st.booleans(),
)
@example(
    declared=("TEXT", ""),
    key=", PRIMARY KEY (k)",
    not_null=False,
    without_rowid=False,
    weeks=[[("a", 1, 1)], [(None, 1, 1), (None, 1, 1), (None, 2, 1)], [(None, 1, 1), ("A", 1, 1)]],
    kept=1,
    turned=False,
    skipped=False,
)
@example(
    declared=("", "NUMERIC"),
    key=", PRIMARY KEY (k, l)",
    not_null=False,
    without_rowid=True,
    weeks=[[(1, 1, 1), ("1", 1, 1)], [(1.5, 1, 1), ("1", None, 1)], [(b"1", "x", 1), (1, 1, 1)]],
    kept=2,
    turned=True,
    skipped=True,
)
def test_every_row_of_any_table_stands_in_target_or_quarantine(
    url: str,
    folder: Path,
    *,
    declared: tuple[str, str],
    key: str,
    weeks: list[Rows],
    kept: int,
    not_null: bool,
    without_rowid: bool,
    turned: bool,
    skipped: bool,
) -> None:
    """Three weeks of any values under any key, in any order, the second of them maybe skipped."""
    table = f"t{next(_numbers)}"
    columns = f"k {declared[0]}{' NOT NULL' if not_null else ''}, l {declared[1]}, v"
    ending = " WITHOUT ROWID" if without_rowid and "PRIMARY" in key else ""
    source = folder / f"{table}.sqlite"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(f"CREATE TABLE {table} ({columns}{key}){ending}")
    migration = migration_of(source, folder / table, url, quarantine_rows=1000)
    before: Rows = []
    for number, new in enumerate(weeks, 1):
        rows = [*before[:kept], *new]
        fill(migration, table, rows[::-1] if turned else rows)
        before = rows
        if skipped and number == 2:
            run_week(migration, 2, tables=[])
            continue
        load_week(migration, number)
        assert_equal(migration, table)
        assert_proved(migration, table)
        assert carry(migration, number, table).outcome is Outcome.COVERED
    shutil.rmtree(folder / table)
