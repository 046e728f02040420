"""Columns with a cast through the weeks: its value on the target, in quarantine the source's."""

import dataclasses

import pytest

from migration_assets import standing, step
from migration_assets.errors import SourceError
from migration_assets.mapping.document import sealed
from migration_assets.mapping.types import DOUBLE
from migration_assets.model import Kind, Scope, TableMapping, TargetType
from migration_assets.source import delta_files
from migration_assets.source.delta import everything
from migration_assets.step import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    run_week,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.fixtures_sqlite import ENCODINGS, proposed, table_of

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
TYPES = {"sold": TargetType(kind=Kind.TIMESTAMP, form=" 0"), "price": DOUBLE, "extra": DOUBLE}


def load_first(migration: Migration) -> None:
    """Carry the first week by a mapping with casts."""
    cut = step.take_cut(migration, week(1))
    table, plain = table_of(cut, "item"), proposed(cut, "item")
    columns = tuple(
        dataclasses.replace(c, cast=CASTS.get(c.name, ""), type=TYPES.get(c.name, c.type))
        for c in plain.columns
    )
    mapping: TableMapping = sealed(dataclasses.replace(plain, columns=columns))
    steps = everything(cut, table, mapping)
    delta_files.write(
        migration.state, steps, mapping, week=week(1), base=None, cut=cut, scope=Scope.EVERYTHING
    )
    carry(migration, 1, "item")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("schema", [ITEMS, LINES])
def test_a_column_with_a_cast_lives_through_its_weeks(
    make_migration: MakeMigration, schema: str, encoding: str
) -> None:
    """First load, changes of what a cast reads, misfits that come and go; all of it proved."""
    migration = make_migration(schema.format(encoding), quarantine_rows=10)
    load_first(migration)
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
    migration = make_migration(ITEMS.format("UTF-8"))
    load_first(migration)
    write_on_target(migration, "UPDATE item SET price = 9 WHERE code = 'b'")
    found = standing.verify(migration, "item")
    assert found is not None
    (difference,) = found[0].differences
    assert (difference.key, difference.columns) == ("code='b'", ("price",))
    (read_back,) = found[2].round_trip.differences
    assert (read_back.key, read_back.columns) == ("code='b'", ("price",))


def test_a_cast_that_stops_at_a_value_stops_its_table(make_migration: MakeMigration) -> None:
    """It is an error of that week, which says nothing of the value; what stands stays."""
    migration = make_migration(ITEMS.format("UTF-8"))
    load_first(migration)
    change(migration, "UPDATE item SET extra = 'no secret JSON' WHERE code = 'b'")
    error = run_week(migration, 2)["item"]
    assert isinstance(error, SourceError)
    assert "`cast`" in error.hint
    assert "secret" not in str(error)
    change(migration, "UPDATE item SET extra = NULL WHERE code = 'b'")
    load_week(migration, 3)
    assert_proved(migration, "item")
