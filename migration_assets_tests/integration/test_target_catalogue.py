"""What the target's catalogue shows after a load: types, keys, indexes, nothing left over."""

from pathlib import Path

import pytest

from migration_assets_tests import independent
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    run_week,
    snapshot,
    target_rows,
    write_on_target,
)

HOUSE = """
CREATE TABLE Room (
    Id INTEGER PRIMARY KEY,
    Name VARCHAR(20) NOT NULL UNIQUE,
    Label TEXT COLLATE NOCASE UNIQUE,
    Area DECIMAL(10, 2),
    Height REAL,
    Open BOOLEAN,
    Built DATE,
    Cleaned DATETIME,
    Plan BLOB,
    Anything
);
INSERT INTO Room VALUES
    (1, 'hall', 'H', 12.5, 2.5, 1, '1999-12-31', '2026-10-04 01:02:03', x'00', 'one'),
    (2, 'attic', 'A', 0.25, 1, 0, NULL, '2026-10-04 00:00:00', NULL, 'two');
CREATE INDEX room_by_area ON Room (Area, Height);
CREATE INDEX room_open ON Room (Name) WHERE Open;
CREATE INDEX room_lower ON Room (lower(Name));
"""
COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
WHERE attrelid = 'room'::regclass AND attnum > 0 ORDER BY attnum
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'room' ORDER BY 1"
COLLATIONS = """
SELECT attname, collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = 'room'::regclass ORDER BY attnum
"""


def test_columns_have_the_types_of_their_declarations(make_migration: MakeMigration) -> None:
    """Lower case as unquoted SQL has them; NOT NULL where the source says so."""
    migration = make_migration(HOUSE)
    load_week(migration, 1)
    assert target_rows(migration, COLUMNS) == [
        ("id", "bigint", True),
        ("name", "text", True),
        ("label", "text", False),
        ("area", "numeric(10,2)", False),
        ("height", "double precision", False),
        ("open", "boolean", False),
        ("built", "date", False),
        ("cleaned", "timestamp without time zone", False),
        ("plan", "bytea", False),
        ("anything", "text", False),
    ]


def test_a_column_of_mixed_values_takes_the_type_of_most_and_keeps_the_rest_aside(
    make_migration: MakeMigration,
) -> None:
    """No type gives back both 1 and '1' from a column without affinity; nothing is bent to fit."""
    migration = make_migration(
        "CREATE TABLE mixed (id INTEGER PRIMARY KEY, v);"
        "INSERT INTO mixed VALUES (1, 1), (2, '1'), (3, 3), (4, x'31');"
    )
    assert load_week(migration, 1)["mixed"].proof.quarantined_rows == 2
    assert target_rows(migration, "SELECT v FROM mixed ORDER BY id") == [(1,), (3,)]
    assert_equal(migration)


def test_keys_and_indexes_of_every_kind_are_made(make_migration: MakeMigration) -> None:
    """Plain ones, NOCASE folded, partial ones and those over expressions."""
    migration = make_migration(HOUSE)
    mapping = load_week(migration, 1)["Room"].mapping
    found = [row[0] for row in target_rows(migration, INDEXES)]
    assert len(found) == 6
    assert any("UNIQUE" in d and "room_pkey" in d and "(id)" in d for d in found)
    assert any("UNIQUE" in d and "(name)" in d for d in found)
    assert any("UNIQUE" in d and "lower(" in d for d in found)
    assert any("UNIQUE" not in d and "(area, height)" in d for d in found)
    assert (mapping.notes, [o.kind for o in mapping.deferred]) == ((), ["length"])
    assert independent.compare_schema(migration.settings.source, migration.target.url) == []


def test_text_in_keys_and_indexes_compares_by_bytes(make_migration: MakeMigration) -> None:
    """As SQLite's BINARY does, whatever the database's own collation."""
    migration = make_migration(HOUSE)
    load_week(migration, 1)
    assert target_rows(migration, COLLATIONS) == [
        ("name", "C"),
        ("label", "C"),
        ("anything", "default"),
    ]


def test_a_nocase_index_of_the_target_refuses_what_the_source_would(
    make_migration: MakeMigration,
) -> None:
    """The successor may not write a label that differs in case only."""
    migration = make_migration(HOUSE)
    load_week(migration, 1)
    with pytest.raises(Exception, match="room_label_key"):
        write_on_target(migration, "INSERT INTO room (id, name, label) VALUES (3, 'x', 'h')")


def test_tables_indexes_and_keys_of_the_same_name_stand_side_by_side(
    make_migration: MakeMigration,
) -> None:
    """PostgreSQL keeps them in one namespace, SQLite doesn't; no table is pushed aside."""
    migration = make_migration(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, b TEXT UNIQUE);"
        "CREATE TABLE a_pkey (id INTEGER PRIMARY KEY);"
        "CREATE TABLE a_b_key (id INTEGER PRIMARY KEY);"
        "INSERT INTO a VALUES (1, 'x'); INSERT INTO a_pkey VALUES (2);"
        "INSERT INTO a_b_key VALUES (3);"
    )
    load_week(migration, 1)
    change(migration, "INSERT INTO a VALUES (2, 'y')", "DELETE FROM a_pkey")
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "a", "a_b_key", "a_pkey")


def test_columns_that_differ_in_case_or_system_names_stand_side_by_side(
    make_migration: MakeMigration,
) -> None:
    """Beyond ASCII SQLite tells cases apart, and so does the target."""
    migration = make_migration(
        'CREATE TABLE c (Id INTEGER PRIMARY KEY, "É" TEXT, "é" TEXT);'
        "INSERT INTO c VALUES (1, 'upper', 'lower');"
    )
    load_week(migration, 1)
    assert target_rows(migration, 'SELECT id, "É", "é" FROM c') == [(1, "upper", "lower")]
    assert_equal(migration)


def test_views_triggers_and_virtual_tables_of_the_source_are_left_out(
    make_migration: MakeMigration,
) -> None:
    """They hold no rows of their own; the tables beside them are loaded."""
    migration = make_migration(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a VALUES (1, 'x');"
        "CREATE VIEW b AS SELECT * FROM a;"
        "CREATE TRIGGER c AFTER INSERT ON a BEGIN UPDATE a SET v = 'y'; END;"
    )
    assert set(load_week(migration, 1)) == {"a"}
    assert_equal(migration, "a")


def test_generated_columns_are_carried_as_values(make_migration: MakeMigration) -> None:
    """Stored and virtual ones, and they change with what they are made of."""
    migration = make_migration(
        "CREATE TABLE g (id INTEGER PRIMARY KEY, n INTEGER,"
        " twice INTEGER GENERATED ALWAYS AS (2 * n) VIRTUAL,"
        " word TEXT GENERATED ALWAYS AS ('n' || n) STORED);"
        "INSERT INTO g (id, n) VALUES (1, 10), (2, NULL);"
    )
    load_week(migration, 1)
    change(migration, "UPDATE g SET n = 11 WHERE id = 1")
    load_week(migration, 2)
    assert target_rows(migration, "SELECT twice, word FROM g WHERE id = 1") == [(22, "n11")]
    assert_equal(migration)


def test_a_load_leaves_nothing_of_its_own_but_the_ledger(make_migration: MakeMigration) -> None:
    """No staging table, no function, no extension, no setting of the database."""
    migration = make_migration(HOUSE)
    load_week(migration, 1)
    load_week(migration, 2)
    assert sorted(snapshot(migration)) == [
        "displaced",
        "exception",
        "foreign_write",
        "hold",
        "ledger",
        "mapping",
        "quarantine",
        "room",
        "version",
    ]
    left = target_rows(
        migration,
        "SELECT proname::text FROM pg_proc WHERE pronamespace IN"
        " (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'migration'))"
        " UNION ALL SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'"
        " UNION ALL SELECT nspname FROM pg_namespace"
        " WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'migration', 'information_schema')",
    )
    assert left == []


def test_settings_of_the_database_do_not_change_what_is_loaded(
    make_migration: MakeMigration,
) -> None:
    """A time zone, styles and a search path of its own, as a DBA may have set them."""
    migration = make_migration(HOUSE)
    name = target_rows(migration, "SELECT current_database()")[0][0]
    write_on_target(
        migration,
        *(
            f"ALTER DATABASE {name} SET {setting}"
            for setting in (
                "timezone TO 'Pacific/Chatham'",
                "datestyle TO 'SQL, DMY'",
                "extra_float_digits TO -15",
                "bytea_output TO 'escape'",
                "search_path TO nowhere",
                "standard_conforming_strings TO off",
                "default_transaction_isolation TO 'serializable'",
                "intervalstyle TO 'iso_8601'",
                "lc_numeric TO 'C'",
            )
        ),
    )
    load_week(migration, 1)
    change(migration, "UPDATE Room SET Height = 0.1, Cleaned = '2026-10-11 23:59:59' WHERE Id = 1")
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "Room")


def test_a_namesake_on_the_target_does_not_take_a_functions_place(
    make_migration: MakeMigration,
) -> None:
    """Somebody's own sha256 or operator in public must not decide what is equal."""
    migration = make_migration(HOUSE)
    name = target_rows(migration, "SELECT current_database()")[0][0]
    write_on_target(
        migration,
        "CREATE FUNCTION public.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT ''::bytea$$",
        "CREATE FUNCTION public.encode(bytea, text) RETURNS text LANGUAGE sql AS $$SELECT 'f'$$",
        "CREATE FUNCTION public.nothing(bytea, bytea) RETURNS bytea LANGUAGE sql AS"
        " $$SELECT ''::bytea$$",
        "CREATE OPERATOR public.|| (FUNCTION = public.nothing, LEFTARG = bytea, RIGHTARG = bytea)",
        f"ALTER DATABASE {name} SET search_path TO public, pg_catalog",
    )
    load_week(migration, 1)
    write_on_target(migration, "UPDATE room SET area = 0 WHERE id = 1")
    change(migration, "UPDATE Room SET Height = 3 WHERE Id = 2")
    assert "id=1" in str(run_week(migration, 2)["Room"]).lower()


def test_the_source_is_left_as_it_was(make_migration: MakeMigration, tmp_path: Path) -> None:
    """Not a byte of it changes, and nothing is left beside it."""
    migration = make_migration(HOUSE)
    source = migration.settings.source
    before = (source.read_bytes(), source.stat().st_mtime_ns)
    load_week(migration, 1)
    load_week(migration, 2)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["app.sqlite", "state"]
