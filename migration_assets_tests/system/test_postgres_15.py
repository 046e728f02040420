"""A whole migration onto PostgreSQL 15: every kind of table, every kind of week."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets import step
from migration_assets.demo import business, life
from migration_assets.errors import GuardError, TargetError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets.model import SqliteValue
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    entries,
    load_week,
    migration_of,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.fixtures_sqlite import TRICKY, insert
from migration_assets_tests.system.conftest import OLDER

KEYLESS = "audit_log"


@pytest.fixture
def shop(tmp_path: Path, target_url: str) -> Migration:
    """Return a migration of the demo's business: keys of every kind, one table without, misfits."""
    migration = migration_of(tmp_path / "business.sqlite", tmp_path / "state", target_url)
    business.create(migration.settings.source, scale=1)
    return migration


def live(shop: Migration, number: int) -> None:
    """Let a week of business pass at the source."""
    life.live_one_week(shop.settings.source, week=number, scale=1)


def test_six_weeks_of_a_business_are_carried(shop: Migration) -> None:
    """Every week equals its source: keys changed and swapped, misfits in and out, a late table."""
    with on_target(shop) as connection:
        assert connection.info.server_version // 10_000 == int(OLDER)
    load_week(shop, 1)
    assert_equal(shop)
    for number in range(2, 7):
        live(shop, number)
        cut = step.take_cut(shop, week(number))
        late = {"orders"} if number == 3 else set[str]()  # carried along by the fourth
        load_week(shop, number, tables=sorted(set(business.INSERTS) - late))
        assert_equal(shop, *sorted(set(business.INSERTS) - late), file=cut.path)
    assert_proved(shop, *business.INSERTS)
    out = target_rows(shop, "SELECT DISTINCT table_name FROM migration.quarantine ORDER BY 1")
    assert ("order_lines",) in out
    assert len(entries(shop, KEYLESS)) == 6
    assert len(entries(shop, "orders")) == 5


def test_a_failed_step_is_rolled_back_and_the_next_run_completes(shop: Migration) -> None:
    """A rule of the target's refuses one row: nothing of that table's week shows."""
    load_week(shop, 1)
    write_on_target(shop, "ALTER TABLE payments ADD CONSTRAINT no_refunds CHECK (amount >= 0)")
    for number in range(2, 5):  # refunds begin in the fourth week
        live(shop, number)
    before = snapshot(shop)
    failed = run_week(shop, 4, tables=["payments"])["payments"]
    assert isinstance(failed, TargetError)
    assert "no_refunds" in failed.what
    assert snapshot(shop) == before
    write_on_target(shop, "ALTER TABLE payments DROP CONSTRAINT no_refunds")
    load_week(shop, 4)
    assert_equal(shop)


@pytest.mark.parametrize("table", ["settings", KEYLESS])
def test_a_foreign_write_stops_a_table_and_is_displaced(shop: Migration, table: str) -> None:
    """With a key and without one: seen, nothing changed; acknowledged, kept and replaced."""
    load_week(shop, 1)
    write_on_target(shop, f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})")
    live(shop, 2)
    before = snapshot(shop)
    stopped = run_week(shop, 2, tables=[table])[table]
    assert isinstance(stopped, GuardError)
    assert snapshot(shop) == before
    moved = run_week(shop, 2, tables=[table], acknowledged=DISPLACE)[table]
    assert isinstance(moved, Moved)
    assert_equal(shop, table)
    assert_proved(shop, table)


@pytest.mark.parametrize("key", ["id INTEGER PRIMARY KEY", "id INTEGER"])
def test_edge_values_are_equal_on_both_sides(make_migration: MakeMigration, key: str) -> None:
    """Limits, zeros of either sign, undecodable text: loaded, changed and proved by the judge."""
    columns = "anything, whole INTEGER, number NUMERIC, real REAL, words TEXT, bytes BLOB"
    migration = make_migration(f"CREATE TABLE edge ({key}, {columns})", quarantine_rows=1_000)
    fill(migration, enumerate(TRICKY))
    load_week(migration, 1)
    assert_equal(migration)
    change(migration, "DELETE FROM edge WHERE id % 3 = 0")
    fill(migration, ((len(TRICKY) + at, value) for at, value in enumerate(reversed(TRICKY))))
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "edge")


def fill(migration: Migration, rows: Iterable[tuple[int, SqliteValue]]) -> None:
    """Insert each value into every column of a row."""
    with closing(sqlite3.connect(migration.settings.source)) as connection, connection:
        insert(connection, "edge", [(number, *[value] * 6) for number, value in rows])
