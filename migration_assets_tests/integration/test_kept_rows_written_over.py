"""Rows that are kept on the target are written over where that is acknowledged, and only there."""

import pytest

from migration_assets import repair, undo
from migration_assets.errors import GuardError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    load_week,
    run_week,
    target_rows,
    write_on_target,
)

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'c');
"""


def with_kept_row(make_migration: MakeMigration) -> Migration:
    """Return a migration that stands at week 2, with a row that is kept as somebody wrote it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET name = 'z' WHERE id = 3")
    load_week(migration, 2)
    write_on_target(migration, "UPDATE item SET name = 'theirs' WHERE id = 1")
    assert len(repair.keep_target(migration, "item", reason="a test")) == 1
    return migration


def test_a_rollback_may_write_over_kept_rows_when_told(make_migration: MakeMigration) -> None:
    """Both guards are acknowledged; nothing stands in the way any more."""
    migration = with_kept_row(make_migration)
    entry = target_rows(migration, "SELECT max(entry) - 1 FROM migration.ledger")[0][0]
    with pytest.raises(GuardError, match="kept as they are"):
        undo.rollback(migration, "item", entry=entry, run="test", acknowledged=DISPLACE)
    told = frozenset({"foreign_writes", "kept_rows"})
    assert undo.rollback(migration, "item", entry=entry, run="test", acknowledged=told)
    assert target_rows(migration, "SELECT name FROM item WHERE id = 3") == [("c",)]
    assert_proved(migration, "item")


def test_a_delta_left_by_a_run_that_was_to_displace_is_in_nobodys_way(
    make_migration: MakeMigration,
) -> None:
    """That run stops for the kept row; the next one, told nothing, leaves the row alone."""
    migration = with_kept_row(make_migration)
    change(migration, "INSERT INTO item VALUES (4, 'd')")
    stopped = run_week(migration, 3, acknowledged=DISPLACE)["item"]
    assert isinstance(stopped, GuardError)
    assert carry(migration, 3, "item").outcome is Outcome.LOADED
    assert target_rows(migration, "SELECT name FROM item ORDER BY id") == [
        *[("theirs",), ("b",), ("z",), ("d",)]
    ]
    assert_proved(migration, "item")
    write_on_target(migration, "UPDATE item SET name = 'a' WHERE id = 1")
    assert_equal(migration, "item")
