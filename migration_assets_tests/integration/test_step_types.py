"""Zones, times, JSON, UUIDs and words through whole weeks: loaded, changed, refused, mended."""

import pytest

from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    load_week,
    mapping_of,
    target_rows,
)

ONE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
TWO = "00000000-0000-0000-0000-000000000002"
SIX = "00000000-0000-0000-0000-000000000006"
COLUMNS = "id UUID{key}, at TIMESTAMPTZ{unique}, opens TIME, active BOOL, doc JSON"
ROWS = f"""
INSERT INTO event VALUES
    ('{ONE}', '2026-10-04T09:30:00.5+02:00', '09:30', 'yes', '{{"a" : 1.50, "a": null}}'),
    ('{TWO}', '2026-10-04T00:30:00.0+02:00', '00:00', 'no', '[]'),
    ('00000000-0000-0000-0000-000000000003', NULL, NULL, NULL, NULL);
"""
QUERY = (
    "SELECT id::text, (at AT TIME ZONE 'UTC')::text, opens::text, active, doc::text"
    " FROM event ORDER BY id"
)
TABLES = pytest.mark.parametrize(
    "table",
    [
        COLUMNS.format(key=" PRIMARY KEY", unique=""),
        COLUMNS.format(key=" PRIMARY KEY", unique=" UNIQUE"),
        COLUMNS.format(key="", unique=""),
    ],
    ids=["keyed", "unique", "keyless"],
)


def _migration(make_migration: MakeMigration, table: str) -> Migration:
    return make_migration(f"CREATE TABLE event ({table}); {ROWS}", quarantine_rows=2)


@TABLES
def test_new_types_are_loaded_and_changed(make_migration: MakeMigration, table: str) -> None:
    """By upsert, by delete and insert where values swap, and as copies without a key."""
    migration = _migration(make_migration, table)
    load_week(migration, 1)
    assert [c.type.sql for c in mapping_of(migration, "event").columns] == [
        *("uuid", "timestamptz", "time", "boolean", "json")
    ]
    assert target_rows(migration, QUERY)[0] == (TWO, "2026-10-03 22:30:00", "00:00:00", False, "[]")
    change(
        migration,
        f"UPDATE event SET at = NULL WHERE id = '{TWO}'",
        f"UPDATE event SET at = '2026-10-04T00:30:00.0+02:00', opens = '23:59' WHERE id = '{ONE}'",
        f"UPDATE event SET at = '2026-10-04T09:30:00.5+02:00', doc = '[ ]' WHERE id = '{TWO}'",
        "DELETE FROM event WHERE at IS NULL",
        f"INSERT INTO event VALUES ('{SIX}', '0001-01-01T02:00:00.0+02:00', NULL, 'no', '\"x\"')",
    )
    load_week(migration, 2)
    assert target_rows(migration, QUERY) == [
        (TWO, "2026-10-04 07:30:00.5", "00:00:00", False, "[ ]"),
        (SIX, "0001-01-01 00:00:00", None, False, '"x"'),
        (ONE, "2026-10-03 22:30:00", "23:59:00", True, '{"a" : 1.50, "a": null}'),
    ]
    assert_proved(migration, "event")


@TABLES
def test_a_value_of_another_form_is_quarantined_until_it_is_mended(
    make_migration: MakeMigration, table: str
) -> None:
    """Another suffix, broken JSON, an upper-case UUID: the row leaves the target and comes back."""
    migration = _migration(make_migration, table)
    load_week(migration, 1)
    change(
        migration,
        f"UPDATE event SET at = '2026-10-04T09:30:00.5+01:00', doc = '{{' WHERE id = '{ONE}'",
        f"UPDATE event SET id = upper('aa' || substr(id, 3)) WHERE id = '{TWO}'",
    )
    load_week(migration, 2)
    assert len(target_rows(migration, QUERY)) == 1
    assert target_rows(
        migration, "SELECT unfit_columns, reasons FROM migration.quarantine ORDER BY unfit_columns"
    ) == [
        (
            ["at", "doc"],
            [
                "text is no timestamptz of the form YYYY-MM-DDTHH:MM:SS.f+02:00",
                "text is no json",
            ],
        ),
        (["id"], ["text is no uuid of the form dashed lower"]),
    ]
    change(
        migration,
        f"UPDATE event SET at = '2026-10-04T09:30:00.5+02:00', doc = '1' WHERE id = '{ONE}'",
        "UPDATE event SET id = lower(id)",
    )
    load_week(migration, 3)
    assert len(target_rows(migration, QUERY)) == 3
    assert target_rows(migration, "SELECT count(*) FROM migration.quarantine") == [(0,)]
    assert_proved(migration, "event")


def test_moments_and_times_can_be_keys(make_migration: MakeMigration) -> None:
    """Rows change under them as under any key."""
    migration = make_migration(
        "CREATE TABLE slot (at TIMESTAMPTZ, opens TIME, open BOOL, guest TEXT,"
        " PRIMARY KEY (at, opens, open)) WITHOUT ROWID;"
        "INSERT INTO slot VALUES ('2026-10-04 10:00Z', '10:00', 'Y', 'a'),"
        " ('2026-10-04 10:00Z', '10:00', 'N', 'b'), ('2026-10-04 11:00Z', '10:30', 'Y', NULL)"
    )
    load_week(migration, 1)
    change(
        migration,
        "UPDATE slot SET guest = 'c' WHERE open = 'N'",
        "DELETE FROM slot WHERE guest = 'a'",
        "UPDATE slot SET at = '2026-10-04 12:00Z' WHERE guest IS NULL",
    )
    load_week(migration, 2)
    assert mapping_of(migration, "slot").key == ("at", "opens", "open")
    assert target_rows(
        migration, "SELECT (at AT TIME ZONE 'UTC')::text, open, guest FROM slot ORDER BY 1"
    ) == [("2026-10-04 10:00:00", False, "c"), ("2026-10-04 12:00:00", True, None)]
    assert_proved(migration, "slot")
