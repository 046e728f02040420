"""What a rollback would do is said before, and nothing is changed by saying it."""

import pytest

from migration_assets import undo
from migration_assets.errors import RollbackError
from migration_assets.findings import Preview, RowCounts
from migration_assets.migration import Migration
from migration_assets.source import cut as cuts
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    change,
    load_week,
    snapshot,
    week,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER);
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30), (4, 'jar', 40);
"""
KEYLESS = STOCK.replace(" PRIMARY KEY", "")
WEEK = (
    "UPDATE stock SET amount = 11 WHERE id = 1",
    "DELETE FROM stock WHERE id > 2",
    "INSERT INTO stock VALUES (5, 'hat', 50)",
)


def said(migration: Migration, number: int = 2) -> Preview:
    """Preview a week's rollback, which changes nothing."""
    before = snapshot(migration)
    found = undo.preview(migration, "stock", week=week(number))
    assert found is not None
    assert snapshot(migration) == before
    return found


def done(migration: Migration) -> RowCounts:
    """Take the second week back; return the rows by operation."""
    moved = undo.rollback(migration, "stock", week=week(2), run="test")
    assert moved is not None
    return RowCounts(inserted=moved.inserted, updated=moved.updated, deleted=moved.deleted)


@pytest.mark.parametrize("schema", [STOCK, KEYLESS], ids=["by key", "without a key"])
def test_moves_and_rows_are_told_as_they_come_true(
    make_migration: MakeMigration, schema: str
) -> None:
    """From where to where, which entries, how many rows by operation."""
    migration = make_migration(schema)
    load_week(migration, 1)
    change(migration, *WEEK)
    load_week(migration, 2)
    load_week(migration, 3)
    found = said(migration)
    assert (found.head.entry, found.head.week) == (3, week(3))
    assert (found.to.entry, found.to.week) == (1, week(1))
    assert [(m.entry, m.kind, m.week) for m in found.taken] == [
        (2, "load", week(2)),
        (3, "load", week(3)),
    ]
    assert (found.foreign_rows, found.displaced, found.obstacle) == (0, 0, "")
    assert found.rows == done(migration)


def test_a_change_of_the_schema_is_said_in_words(make_migration: MakeMigration) -> None:
    """And the rows that are rewritten as a bound."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    change(
        migration,
        *WEEK,
        "ALTER TABLE stock ADD COLUMN note TEXT",
        "ALTER TABLE stock DROP COLUMN article",
        "CREATE INDEX by_amount ON stock (amount)",
    )
    load_week(migration, 2)
    found = said(migration)
    assert found.changes == (
        "column article is filled anew: text",
        "column note is dropped on the target; its values stay in the cut",
        "index stock_amount_idx is dropped",
    )
    assert found.rows == RowCounts(inserted=2, updated=2, deleted=1, at_most=True)
    counted = done(migration)
    assert (counted.inserted, counted.deleted) == (2, 1)
    assert counted.updated <= 2


def test_rows_under_another_name_of_a_column_are_compared(make_migration: MakeMigration) -> None:
    """A column that comes and goes is no reason to rewrite all rows."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    change(migration, *WEEK, "ALTER TABLE stock ADD COLUMN note TEXT")
    load_week(migration, 2)
    assert said(migration).rows == RowCounts(inserted=2, updated=1, deleted=1, at_most=True)
    assert done(migration) == RowCounts(inserted=2, updated=1, deleted=1)


def test_what_somebody_else_wrote_since_is_counted_and_named(
    make_migration: MakeMigration,
) -> None:
    """By key, where keys may be shown; and what comes back of what was displaced before."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "INSERT INTO stock VALUES (7, 'cap', 1)")
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=DISPLACE)
    write_on_target(
        migration,
        "UPDATE stock SET amount = 99 WHERE id = 2",
        "INSERT INTO stock VALUES (8, 'bag', 1)",
        "DELETE FROM stock WHERE id = 5",
    )
    found = said(migration)
    assert (found.foreign_rows, found.displaced) == (3, 1)
    assert [d.key for d in found.foreign] == ["id=2", "id=5", "id=8"]


def test_keys_are_not_named_where_they_are_not_shown(make_migration: MakeMigration) -> None:
    """`show_keys: false` keeps them out of everything."""
    migration = make_migration(STOCK, show_keys=False)
    load_week(migration, 1)
    load_week(migration, 2)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    found = said(migration)
    assert found.foreign_rows == 1
    assert [d.key for d in found.foreign] == [""]


def test_a_cut_that_is_gone_is_said(make_migration: MakeMigration) -> None:
    """The older one is needed; without the newer one rows can't be counted."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    change(migration, *WEEK)
    load_week(migration, 2)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    older, newer = cuts.cuts(migration.state, "main")
    newer.path.unlink()
    found = said(migration)
    assert (found.rows, found.foreign_rows, found.obstacle) == (None, None, "")
    older.path.unlink()
    assert "needed for the way back" in said(migration).obstacle


def test_there_is_no_preview_where_nothing_is_taken_back(make_migration: MakeMigration) -> None:
    """Nothing loaded, nothing later, and no first load."""
    migration = make_migration(STOCK)
    assert undo.preview(migration, "stock", week=week(1)) is None
    load_week(migration, 1)
    assert undo.preview(migration, "stock", week=week(2)) is None
    with pytest.raises(RollbackError, match="nothing before it"):
        undo.preview(migration, "stock", week=week(1))
    with pytest.raises(RollbackError, match="either a week or an entry"):
        undo.preview(migration, "stock")
