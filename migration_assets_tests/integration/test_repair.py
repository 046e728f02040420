"""A table that somebody changed is put right, row by row, proved, and the other's rows are kept."""

import pytest

from migration_assets import repair
from migration_assets.findings import Moved, Outcome
from migration_assets.step import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    target_rows,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER, price DECIMAL(40,2));
INSERT INTO stock VALUES (1, 'pen', 10, 1), (2, 'ink', 20, 2), (3, 'cup', 30, 3);
"""
UNIQUE_STOCK = STOCK.replace("article TEXT", "article TEXT UNIQUE")
COPIES = STOCK.replace("id INTEGER PRIMARY KEY", "id INTEGER")
# What somebody did on the target, and what of theirs is kept in `migration.displaced`.
FOREIGN = {
    "a changed row": (["UPDATE stock SET amount = 99 WHERE id = 1"], ["(1,pen,99,1.00)"]),
    "a deleted row": (["DELETE FROM stock WHERE id = 2"], []),
    "added rows": (
        ["INSERT INTO stock VALUES (50, 'hat', 5, 'NaN'), (51, 'cap', 5, 1e30)"],
        ["(50,hat,5,NaN)", f"(51,cap,5,1{'0' * 30}.00)"],
    ),
    "swapped values": (
        [
            "UPDATE stock SET article = '-' WHERE id = 2",
            "UPDATE stock SET article = 'ink' WHERE id = 3",
            "UPDATE stock SET article = 'cup' WHERE id = 2",
        ],
        ["(2,cup,20,2.00)", "(3,ink,30,3.00)"],
    ),
    "a changed key": (["UPDATE stock SET id = 7 WHERE id = 3"], ["(7,cup,30,3.00)"]),
    "everything gone": (["TRUNCATE stock"], []),
}


def right(migration: Migration, table: str = "stock", *, kept: bool = False) -> Moved:
    """Repair a table that was loaded."""
    found = repair.repair(migration, table, run="test", kept=kept)
    assert found is not None
    return found


def displaced(migration: Migration) -> list[str]:
    """Return the rows that were kept, in order."""
    rows = target_rows(migration, "SELECT target_row, column_names FROM migration.displaced")
    assert all(names == ["id", "article", "amount", "price"] for _, names in rows)
    return sorted(row for row, _ in rows)


@pytest.mark.parametrize(
    "schema", [STOCK, UNIQUE_STOCK, COPIES], ids=["upsert", "delete and insert", "no key"]
)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_exactly_the_differing_rows_are_put_right_and_kept(
    make_migration: MakeMigration, foreign: str, schema: str
) -> None:
    """Whatever was done, with a key or without one; the entry counts no other row."""
    statements, kept = FOREIGN[foreign]
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    moved = right(migration)
    assert moved.outcome is Outcome.LOADED
    assert displaced(migration) == kept
    assert moved.displaced == len(kept)
    assert moved.inserted + moved.updated + moved.deleted <= 4
    assert_equal(migration)
    assert_proved(migration, "stock")
    assert target_rows(migration, "SELECT kind FROM migration.ledger ORDER BY entry") == [
        ("load",),
        ("repair",),
    ]
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    load_week(migration, 2)
    assert_equal(migration)


def test_where_nothing_differs_nothing_is_written(make_migration: MakeMigration) -> None:
    """A repair of an equal table is covered by its head; one never loaded has nothing to repair."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    assert right(migration).outcome is Outcome.COVERED
    assert len(target_rows(migration, "SELECT FROM migration.ledger")) == 1
    assert repair.repair(migration, "nothing", run="test") is None


def test_quarantine_that_somebody_changed_is_made_anew(make_migration: MakeMigration) -> None:
    """Rows taken out of it, added or changed in place are what the cut says again."""
    migration = make_migration(
        STOCK,
        quarantine_rows=5,
        tables={"stock": {"columns": {"amount": {"type": "bigint"}}}},
    )
    change(migration, "INSERT INTO stock VALUES (8, 'odd', 'many', 1)")
    load_week(migration, 1, tables=["stock"])
    assert target_rows(migration, "SELECT count(*) FROM migration.quarantine") == [(1,)]
    write_on_target(migration, "DELETE FROM migration.quarantine")
    moved = right(migration)
    assert (moved.inserted, moved.updated, moved.deleted) == (0, 0, 0)
    assert target_rows(migration, "SELECT key FROM migration.quarantine") == [("id=8",)]
    assert_proved(migration, "stock")


def test_a_table_that_is_gone_is_made_anew_from_its_cut(make_migration: MakeMigration) -> None:
    """Columns, key and rows as the sealed mapping has them, at the week where it stood."""
    migration = make_migration(UNIQUE_STOCK)
    load_week(migration, 1)
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    write_on_target(migration, "DROP TABLE stock")
    moved = right(migration)
    assert moved.inserted == 3
    assert_proved(migration, "stock")
    load_week(migration, 2)
    assert_equal(migration)
