"""Columns with a cast through the weeks: its value on the target, in quarantine the source's."""

from pathlib import Path
from typing import Any

import pytest

from migration_assets import standing
from migration_assets.errors import DriftError, SettingsError, SourceError
from migration_assets.migration import Migration
from migration_assets.model import Kind
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    entries,
    load_week,
    mapping_of,
    migration_of,
    run_week,
    target_rows,
    write_on_target,
)
from migration_assets_tests.fixtures_sqlite import ENCODINGS

ITEMS = """
PRAGMA encoding = '{}';
CREATE TABLE item (code TEXT PRIMARY KEY, sold INTEGER, price TEXT, extra TEXT);
INSERT INTO item VALUES ('ä', 86400, '1,50', NULL), ('b', 0, '2,25', '{{"a": 1}}');
"""
LINES = """
PRAGMA encoding = '{}';
CREATE TABLE item (code TEXT, sold INTEGER, price TEXT, extra TEXT);
INSERT INTO item VALUES ('ä', 86400, '1,50', NULL), ('ä', 86400, '1,50', NULL),
    ('b', 0, '2,25', '');
"""
CASTS = {
    "sold": "datetime(sold, 'unixepoch')",
    "price": "iif(price LIKE '%,%', CAST(replace(price, ',', '.') AS REAL), price)",
    "extra": "coalesce(json_extract(nullif(extra, ''), '$.a'), 0) * 0.5",
}
TYPES = {"sold": "timestamp", "price": "double precision", "extra": "double precision"}
TABLES = {
    "item": {"columns": {name: {"cast": cast, "type": TYPES[name]} for name, cast in CASTS.items()}}
}


def load_first(make_migration: MakeMigration, schema: str) -> Migration:
    """Return a migration whose first week is carried with casts."""
    migration = make_migration(schema, quarantine_rows=10, tables=TABLES)
    load_week(migration, 1)
    return migration


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("schema", [ITEMS, LINES])
def test_a_column_with_a_cast_lives_through_its_weeks(
    make_migration: MakeMigration, schema: str, encoding: str
) -> None:
    """First load, changes of what a cast reads, misfits that come and go; all of it proved."""
    migration = load_first(make_migration, schema.format(encoding))
    assert target_rows(
        migration, "SELECT DISTINCT code, sold::text, price, extra FROM item ORDER BY code"
    ) == [
        ("b", "1970-01-01 00:00:00", 2.25, 0.5 if schema is ITEMS else 0.0),
        ("ä", "1970-01-02 00:00:00", 1.5, 0.0),
    ]
    change(
        migration,
        "UPDATE item SET sold = 172800 WHERE code = 'ä'",
        "UPDATE item SET price = 'dear' WHERE code = 'b'",
        "INSERT INTO item VALUES ('c', NULL, '3,00', '{\"a\": 3}')",
    )
    load_week(migration, 2)
    assert target_rows(migration, "SELECT DISTINCT code, sold::text, price, extra FROM item") == [
        ("c", None, 3.0, 1.5),
        ("ä", "1970-01-03 00:00:00", 1.5, 0.0),
    ]
    assert target_rows(
        migration, 'SELECT unfit_columns, storage_classes[3], "values"[3] FROM migration.quarantine'
    ) == [(["price"], "text", b"dear")]
    assert_proved(migration, "item")
    change(
        migration,
        "UPDATE item SET price = '4,75' WHERE code = 'b'",
        "DELETE FROM item WHERE code = 'c'",
    )
    load_week(migration, 3)
    assert entries(migration, "item")[-1][2:] == (1, 0, 1)
    assert_proved(migration, "item")


def test_a_write_into_a_cast_column_is_seen(make_migration: MakeMigration) -> None:
    """By the digest, which is of the cast's value, and by reading rows back."""
    migration = load_first(make_migration, ITEMS.format("UTF-8"))
    write_on_target(migration, "UPDATE item SET price = 9 WHERE code = 'b'")
    found = standing.verify(migration, "item")
    assert found is not None
    (difference,) = found[0].differences
    assert (difference.key, difference.columns) == ("code='b'", ("price",))
    (read_back,) = found[2].round_trip.differences
    assert (read_back.key, read_back.columns) == ("code='b'", ("price",))


def test_a_cast_that_stops_at_a_value_stops_its_table(make_migration: MakeMigration) -> None:
    """It is an error of that week, which says nothing of the value; what stands stays."""
    migration = load_first(make_migration, ITEMS.format("UTF-8"))
    change(migration, "UPDATE item SET extra = 'no secret JSON' WHERE code = 'b'")
    error = run_week(migration, 2)["item"]
    assert isinstance(error, SourceError)
    assert "`cast`" in error.hint
    assert "secret" not in str(error)
    change(migration, "UPDATE item SET extra = NULL WHERE code = 'b'")
    load_week(migration, 3)
    assert_proved(migration, "item")


NAMED = """
CREATE TABLE named (id INTEGER PRIMARY KEY, Word TEXT NOT NULL);
INSERT INTO named VALUES (1, '1'), (2, '2');
"""


def cast_as(cast: str, **more: str) -> dict[str, object]:
    """Return settings that cast the column `Word` of the table `named`."""
    return {
        "quarantine_rows": 10,
        "tables": {"named": {"columns": {"Word": {"cast": cast, **more}}}},
    }


def settled(migration: Migration, **settings: object) -> Migration:
    """Return the migration with other settings."""
    source, state = Path(migration.settings.source), Path(migration.settings.state)
    return migration_of(source, state, migration.target.url, **settings)


def test_a_cast_may_give_null_where_its_column_never_does(make_migration: MakeMigration) -> None:
    """From the first load on, and in a column that comes later."""
    migration = make_migration(NAMED, **cast_as("nullif(Word, '1')"))
    load_week(migration, 1)
    assert target_rows(migration, "SELECT * FROM named ORDER BY id") == [(1, None), (2, "2")]
    change(migration, "ALTER TABLE named ADD COLUMN late TEXT NOT NULL DEFAULT 'x'")
    tables: dict[str, Any] = {
        "named": {
            "columns": {
                "Word": {"cast": "nullif(Word, '1')"},
                "late": {"cast": "iif(id = 2, NULL, late)"},
            }
        }
    }
    load_week(settled(migration, tables=tables), 2)
    assert target_rows(migration, "SELECT * FROM named ORDER BY id") == [
        (1, None, "x"),
        (2, "2", None),
    ]
    assert_proved(migration, "named")


def test_a_cast_of_a_loaded_table_s_key_waits(make_migration: MakeMigration) -> None:
    """Whether the source says the key, or the settings: rows are told apart as they stand there."""
    migration = make_migration(NAMED)
    load_week(migration, 1)
    on_key = {"named": {"columns": {"id": {"cast": "id + 1"}}}}
    keyed = {"named": {"key": ["Word"], "columns": {"Word": {"cast": "Word || '!'"}}}}
    for number, tables in enumerate((on_key, keyed), 2):
        error = run_week(settled(migration, tables=tables), number)["named"]
        assert isinstance(error, DriftError)
        assert "can't be in the key: it has a `cast`" in error.what


def test_a_cast_of_a_column_that_changed_its_case_is_not_forgotten(
    make_migration: MakeMigration,
) -> None:
    """It stops with the line to mend: the target never gets the values without their cast."""
    migration = make_migration(NAMED, **cast_as("Word || '!'"))
    load_week(migration, 1)
    change(migration, "ALTER TABLE named RENAME COLUMN Word TO word")
    error = run_week(migration, 2)["named"]
    assert isinstance(error, SettingsError)
    assert "did you mean `word`?" in error.hint
    load_week(
        settled(migration, tables={"named": {"columns": {"word": {"cast": "word || '!'"}}}}), 2
    )
    assert target_rows(migration, "SELECT word FROM named ORDER BY 1") == [("1!",), ("2!",)]


NUMBERS = "iif(Word GLOB '[0-9]*', CAST(Word AS INTEGER), Word)"


def test_the_policy_of_a_cast_column_counts(make_migration: MakeMigration) -> None:
    """What doesn't fit is the cast's value: it stops the table, or makes the column wider."""
    migration = make_migration(NAMED, **cast_as(NUMBERS, policy="fail"))
    load_week(migration, 1)
    change(migration, "INSERT INTO named VALUES (3, 'abc')")
    error = run_week(migration, 2)["named"]
    assert isinstance(error, DriftError)
    assert "1 value doesn't fit bigint, and its policy is to fail" in error.what
    wide = settled(migration, **cast_as(NUMBERS, policy="widen"))
    change(migration, "UPDATE named SET Word = 'word ' || id")
    load_week(wide, 3)
    assert mapping_of(wide, "named").column("Word").type.kind is Kind.TEXT
    assert_proved(wide, "named")


def test_the_first_values_of_a_cast_column_ask_nothing_of_the_others(
    make_migration: MakeMigration,
) -> None:
    """A form that was settled before there were values stays; what has another is quarantined."""
    columns = {
        "a": {"cast": "upper(a)"},
        "at": {"cast": "trim(at)", "type": "timestamp"},
    }
    migration = make_migration(
        "CREATE TABLE named (id INTEGER PRIMARY KEY, a TEXT, at TEXT)",
        quarantine_rows=10,
        tables={"named": {"columns": columns}},
    )
    load_week(migration, 1)
    change(migration, "INSERT INTO named VALUES (1, 'x', 'some day')")
    moved = load_week(migration, 2)["named"]
    assert "column a: its first values; it is text" in moved.changes
    assert moved.proof.quarantined_rows == 1
    assert_proved(migration, "named")
