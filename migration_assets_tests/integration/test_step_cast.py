"""Columns with a cast through the weeks: its value on the target, in quarantine the source's."""

import pytest

from migration_assets import standing
from migration_assets.errors import SourceError
from migration_assets.step import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    entries,
    load_week,
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
