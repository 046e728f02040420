"""300 tables in one source: every one carried, twice, and proved by both judges."""

import sqlite3
from contextlib import closing

import pytest

from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.source import reader
from migration_assets_tests import many
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    entries,
    load_week,
    target_rows,
    week,
)

COUNT = 300


def live(migration: Migration) -> None:
    """Change the source as in its second week."""
    with closing(sqlite3.connect(migration.settings.source)) as connection:
        connection.executescript(many.second_week(COUNT))


@pytest.mark.timeout(600)  # 600 loads: half a minute on a quiet machine
def test_300_tables_of_mixed_shapes_are_carried_for_two_weeks(
    make_migration: MakeMigration,
) -> None:
    """All of them, each with an entry a week; a cut's catalog is read once, not once a table."""
    migration = make_migration(many.first_week(COUNT))
    read_before = reader.catalog_in.cache_info().misses
    for number in (1, 2):
        moved = load_week(migration, number)
        assert moved.keys() == set(many.names(COUNT))
        assert {m.outcome for m in moved.values()} == {Outcome.LOADED}
        assert all(m.proof.holds and m.proof.week == week(number) for m in moved.values())
        assert_equal(migration)
        if number == 1:
            live(migration)
    assert reader.catalog_in.cache_info().misses - read_before == 2
    assert entries(migration, "t0004")[1][2:] == (0, 0, 0), "a quiet week"
    assert entries(migration, "t0006")[1][2:] == (1, 1, 0)
    count = "SELECT count(*), count(DISTINCT table_name) FROM migration.ledger"
    assert target_rows(migration, count) == [(2 * COUNT, COUNT)]
