"""Weeks that changed a table's schema are taken back: columns, key and indexes as they were."""

from typing import Any

import pytest

from migration_assets import holds, undo
from migration_assets.errors import TargetError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    NOTHING,
    MakeMigration,
    Row,
    assert_proved,
    change,
    load_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.integration.test_drift import rebuilt
from migration_assets_tests.telling import columns, telling

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER DEFAULT 1);
INSERT INTO item VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30), (4, 'd', NULL);
CREATE INDEX by_amount ON item (amount);
"""
ROWS = ("DELETE FROM item WHERE id = 3", "UPDATE item SET amount = 21 WHERE id = 2")
SAID: dict[str, Any] = {
    "renamed": {"columns": columns(title={"renamed_from": "name"})},
    "key renamed": {"columns": columns(number={"renamed_from": "id"})},
    "rekeyed": {"key": ["name"]},
    "key gone": {"key": []},
}
DRIFTS: dict[str, tuple[str, ...]] = {
    "added": (
        "ALTER TABLE item ADD COLUMN note TEXT NOT NULL DEFAULT 'n'",
        "INSERT INTO item VALUES (5, 'e', 50, 'new')",
    ),
    "added with an index": (
        "ALTER TABLE item ADD COLUMN note TEXT",
        "CREATE UNIQUE INDEX by_note ON item (note)",
    ),
    "generated added": ("ALTER TABLE item ADD COLUMN twice INTEGER AS (2 * amount)",),
    "dropped": ("ALTER TABLE item DROP COLUMN name", "INSERT INTO item VALUES (5, 50)"),
    "dropped and another of its name": (
        "ALTER TABLE item DROP COLUMN name",
        "ALTER TABLE item ADD COLUMN name INTEGER",
        "UPDATE item SET name = id",
    ),
    "renamed": ("ALTER TABLE item RENAME COLUMN name TO title",),
    "key renamed": ("ALTER TABLE item RENAME COLUMN id TO number",),
    "retyped": ("UPDATE item SET amount = 'many' || id",),
    "reordered": rebuilt(
        "amount INTEGER DEFAULT 1, id INTEGER PRIMARY KEY, name TEXT NOT NULL", "amount, id, name"
    ),
    "relaxed": (
        *rebuilt("id INTEGER PRIMARY KEY, name TEXT, amount INTEGER"),
        "INSERT INTO item VALUES (5, NULL, 50)",
    ),
    "reindexed": ("DROP INDEX by_amount", "CREATE UNIQUE INDEX by_name ON item (name, amount)"),
    "rekeyed": rebuilt("id INTEGER, name TEXT NOT NULL PRIMARY KEY, amount INTEGER"),
    "key gone": rebuilt("id INTEGER, name TEXT, amount INTEGER"),
}
WIDENED = {"retyped"}


def told(migration: Migration, drift: str) -> Migration:
    """Return the migration with what has to be said of a drift in the settings."""
    settings: dict[str, Any] = dict(SAID.get(drift, {}))
    if drift in WIDENED:
        settings = {"columns": columns(amount={"type": "text"})}
    return telling(migration, **settings) if settings else migration


def catalogue(migration: Migration) -> dict[str, list[Row]]:
    """Return what stands of the table on the target: columns by name, indexes, constraints."""
    return {
        "columns": target_rows(
            migration,
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attgenerated,"
            " attidentity, pg_get_expr(adbin, adrelid) FROM pg_attribute"
            " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
            " WHERE attrelid = 'public.item'::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY 1",
        ),
        "indexes": target_rows(
            migration, "SELECT indexdef FROM pg_indexes WHERE tablename = 'item' ORDER BY 1"
        ),
    }


def rows(migration: Migration) -> list[Row]:
    """Return all rows of the table, in a form that doesn't depend on the order of columns."""
    return target_rows(migration, "SELECT to_jsonb(t)::text FROM item AS t ORDER BY 1")


def back(
    migration: Migration,
    *,
    number: int | None = None,
    entry: int | None = None,
    acknowledged: frozenset[str] = NOTHING,
) -> Moved:
    """Take a week or an entry back."""
    moved = undo.rollback(
        migration,
        "item",
        week=week(number) if number else None,
        entry=entry,
        run="test",
        acknowledged=acknowledged,
    )
    assert moved is not None
    return moved


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_change_of_the_schema_is_taken_back_and_comes_again(
    make_migration: MakeMigration, drift: str
) -> None:
    """Columns, values, key and indexes as they were; forward again they are as they became."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    first = catalogue(migration), rows(migration)
    change(migration, *ROWS, *DRIFTS[drift])
    load_week(told(migration, drift), 2)
    second = catalogue(migration), rows(migration)
    assert first != second
    moved = back(migration, number=2)
    assert (catalogue(migration), rows(migration)) == first
    assert_proved(migration, "item")
    assert moved.mapping.hash == mapping_at(migration, 1)
    back(migration, entry=moved.entry)
    assert (catalogue(migration), rows(migration)) == second
    assert_proved(migration, "item")
    assert mapping_at(migration, 4) == mapping_at(migration, 2)
    back(migration, number=2)
    assert (catalogue(migration), rows(migration)) == first
    holds.release(migration, "item")
    change(told(migration, drift), "DELETE FROM item WHERE amount = 21")
    load_week(told(migration, drift), 3)
    assert_proved(migration, "item")
    assert catalogue(migration) == second[0]


def mapping_at(migration: Migration, entry: int) -> str:
    """Return the mapping of an entry by its hash."""
    [(found,)] = target_rows(
        migration, f"SELECT mapping FROM migration.ledger WHERE entry = {entry}"
    )
    return found


KEYED = """
CREATE TABLE item (id TEXT PRIMARY KEY, name TEXT, amount INTEGER);
INSERT INTO item VALUES ('00000000-0000-4000-8000-000000000001', 'a', 10),
    ('00000000-0000-4000-8000-000000000002', 'b', 20);
"""
WIDE: dict[str, Any] = {"columns": columns(id={"type": "uuid"})}


def narrow_key(make_migration: MakeMigration) -> Migration:
    """Load a key of UUIDs, then one that is no UUID, and its column as text."""
    migration = make_migration(KEYED)
    load_week(telling(migration, **WIDE), 1)
    change(migration, "INSERT INTO item VALUES ('abc', 'c', 30)", "DELETE FROM item WHERE name='a'")
    load_week(telling(migration, columns=columns(id={"type": "text"})), 2)
    return migration


def test_a_key_that_was_widened_is_narrowed_again(make_migration: MakeMigration) -> None:
    """Rows whose keys don't fit the earlier type came later, and go first."""
    migration = narrow_key(make_migration)
    moved = back(migration, number=2)
    assert (moved.inserted, moved.deleted) == (1, 1)
    assert target_rows(migration, "SELECT id::text, pg_typeof(id)::text FROM item ORDER BY 1") == [
        ("00000000-0000-4000-8000-000000000001", "uuid"),
        ("00000000-0000-4000-8000-000000000002", "uuid"),
    ]
    assert_proved(migration, "item")


def test_a_key_is_not_narrowed_under_columns_of_the_target_s_own(
    make_migration: MakeMigration,
) -> None:
    """Their values might be parted from their rows; the error says what to do."""
    migration = narrow_key(make_migration)
    write_on_target(migration, "ALTER TABLE item ADD ours text DEFAULT 'x'")
    before = snapshot(migration)
    with pytest.raises(TargetError, match="can't be turned into its new type"):
        back(migration, number=2)
    assert snapshot(migration) == before


@pytest.mark.parametrize(
    "own",
    [
        "CREATE INDEX theirs ON item (note)",
        "ALTER TABLE item ADD CONSTRAINT theirs CHECK (note <> 'x')",
        "CREATE VIEW theirs AS SELECT note FROM item",
        "ALTER TABLE item ADD theirs text GENERATED ALWAYS AS (note || '!') STORED",
        "CREATE STATISTICS theirs ON name, note FROM item",
    ],
    ids=["index", "check", "view", "generated column", "statistics"],
)
def test_a_column_that_came_later_is_not_dropped_under_what_depends_on_it(
    make_migration: MakeMigration, own: str
) -> None:
    """It is named, and nothing is changed."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item ADD COLUMN note TEXT")
    load_week(migration, 2)
    write_on_target(migration, own)
    before = snapshot(migration)
    with pytest.raises(TargetError, match="theirs") as error:
        back(migration, number=2)
    assert "drop" in error.value.hint
    assert snapshot(migration) == before


def test_columns_of_the_target_s_own_survive_the_way_back(make_migration: MakeMigration) -> None:
    """With their values, on the rows that stand in both cuts."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(
        migration, "ALTER TABLE item ADD ours text", "UPDATE item SET ours = 'mine' || id"
    )
    change(migration, *ROWS, "ALTER TABLE item ADD COLUMN note TEXT")
    load_week(migration, 2)
    back(migration, number=2)
    assert target_rows(migration, "SELECT id, ours FROM item ORDER BY id") == [
        (1, "mine1"),
        (2, "mine2"),
        (3, None),
        (4, "mine4"),
    ]
    assert_proved(migration, "item")


def test_a_column_that_came_and_went_stays_and_says_so(make_migration: MakeMigration) -> None:
    """No proof covers its values any more, so it isn't dropped either."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'n'")
    load_week(migration, 2)
    change(migration, "ALTER TABLE item DROP COLUMN note")
    load_week(migration, 3)
    moved = back(migration, number=2)
    assert "column note of the target stays as it is: no mapping writes it" in moved.changes
    assert target_rows(migration, "SELECT DISTINCT note FROM item WHERE id <> 3") == [("n",)]
    back(migration, entry=3)
    assert target_rows(migration, "SELECT DISTINCT note FROM item") == [("n",)]
    assert_proved(migration, "item")
    back(migration, entry=moved.entry)
    assert_proved(migration, "item")
    back(migration, entry=3)
    assert target_rows(migration, "SELECT DISTINCT note FROM item") == [("n",)]
    assert_proved(migration, "item")
