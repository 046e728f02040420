"""Wide tables: up to PostgreSQL's own limits, and a clear stop beyond each of them."""

import pytest

from migration_assets.errors import GuardError, MigrationError, TargetError, UnsupportedError
from migration_assets.findings import Moved
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    run_week,
    snapshot,
    write_on_target,
)

BESIDE = "CREATE TABLE beside (id INTEGER PRIMARY KEY); INSERT INTO beside VALUES (1);"


def wide(columns: int, key: str, declared: str = "TEXT") -> str:
    """Return the schema of a table of so many columns, the first of them called `k`."""
    rest = ", ".join(f"c{i} {declared}" for i in range(1, columns))
    return f"CREATE TABLE wide (k {key}, {rest});{BESIDE}"


def row(columns: int, first: object, rest: object) -> tuple[str, list[object]]:
    """Return the statement that inserts one row, with its values."""
    slots = ", ".join("?" * columns)
    return f"INSERT INTO wide VALUES ({slots})", [first, *[rest] * (columns - 1)]


@pytest.mark.parametrize("columns", [1001, 1598])
@pytest.mark.parametrize("key", ["INTEGER PRIMARY KEY", "INTEGER", "TEXT UNIQUE NOT NULL"])
def test_a_wide_table_is_carried_every_week(
    make_migration: MakeMigration, columns: int, key: str
) -> None:
    """Inserted, updated, deleted, unfit and displaced, with a key and without."""
    migration = make_migration(wide(columns, key))
    change(migration, *(row(columns, first, "v") for first in (1, 2, 3, 4)))
    load_week(migration, 1)
    change(
        migration,
        f"UPDATE wide SET c{columns - 1} = 'w' WHERE k = 1",
        f"UPDATE wide SET c{columns - 1} = CAST(x'ff' AS TEXT) WHERE k = 2",
        "DELETE FROM wide WHERE k = 3",
        row(columns, 5, None),
    )
    moved = load_week(migration, 2)["wide"]
    assert moved.proof.quarantined_rows == 1
    assert moved.inserted + moved.updated == 2
    assert_equal(migration)
    write_on_target(migration, f"UPDATE wide SET c{columns - 1} = 'foreign' WHERE k = '4'")
    change(migration, "UPDATE wide SET c1 = '' WHERE k = 1")
    error = run_week(migration, 3)["wide"]
    assert isinstance(error, GuardError)
    assert (f"(c{columns - 1})" in str(error)) is bool(moved.mapping.key)
    load_week(migration, 3, acknowledged=DISPLACE)
    assert_equal(migration)
    assert_proved(migration, "wide")


@pytest.mark.parametrize("columns", [1599, 1700])
def test_a_table_wider_than_postgresql_is_refused_before_anything_is_loaded(
    make_migration: MakeMigration, columns: int
) -> None:
    """By name, with what to do; every other table goes on."""
    migration = make_migration(wide(columns, "INTEGER PRIMARY KEY"))
    change(migration, row(columns, 1, "v"))
    done = run_week(migration, 1)
    error = done["wide"]
    assert isinstance(error, UnsupportedError)
    assert f"table wide: {columns} columns" in str(error)
    assert "exclude" in error.hint
    assert "split" in error.hint
    assert isinstance(done["beside"], Moved)
    assert "wide" not in snapshot(migration)


@pytest.mark.parametrize("declared", ["INTEGER", "TEXT"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_row_longer_than_a_page_of_postgresql_stops_its_table(
    make_migration: MakeMigration, declared: str, number: int
) -> None:
    """8 kB a row, whatever is moved out of line: named by table, and nothing else is stopped."""
    columns = 1500
    migration = make_migration(wide(columns, "INTEGER PRIMARY KEY", declared))
    change(migration, row(columns, 1, None))
    before = None
    if number == 2:
        load_week(migration, 1)
        before = snapshot(migration)["wide"]
    change(migration, row(columns, 2, 2**40 if declared == "INTEGER" else "S3CRET" * 20))
    done = run_week(migration, number)
    error = done["wide"]
    assert isinstance(error, TargetError)
    assert not isinstance(error, UnsupportedError)
    assert "table wide, week" in error.where
    assert "8 kB" in error.hint
    assert "exclude" in error.hint
    assert "S3CRET" not in str(error)
    assert isinstance(done["beside"], Moved)
    assert snapshot(migration).get("wide") == before


def test_a_value_too_long_for_an_index_says_so(make_migration: MakeMigration) -> None:
    """The other limit of that kind: an index entry of PostgreSQL ends at a third of a page."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);CREATE INDEX i ON t (v);"
    )
    load_week(migration, 1)
    change(migration, "INSERT INTO t SELECT 1, hex(randomblob(9000))")
    error = run_week(migration, 2)["t"]
    assert isinstance(error, MigrationError)
    assert "index" in error.hint


def test_an_index_whose_values_are_too_long_is_listed(make_migration: MakeMigration) -> None:
    """The first load goes on without it: the rows are what matters."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);CREATE INDEX i ON t (v);"
    )
    change(migration, "INSERT INTO t SELECT 1, hex(randomblob(9000))")
    moved = load_week(migration, 1)["t"]
    (listed,) = moved.mapping.deferred
    assert (listed.kind, listed.original) == ("index", "CREATE INDEX i ON t (v)")
    assert "index row" in listed.problem
    assert_equal(migration, "t")
