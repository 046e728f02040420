"""What a source may do to its rows in a week, and how each of it stands on the target after."""

import sqlite3
from contextlib import closing

import pytest
from psycopg import sql

from migration_assets.errors import MigrationError, TargetError, UnsupportedError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.source.connection import quote
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    entries,
    load_week,
    mapping_of,
    on_target,
    run_week,
    snapshot,
    target_rows,
    write_on_target,
)

PEOPLE = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born DATE, weight REAL);
INSERT INTO person VALUES
    (1, 'Ada', '1815-12-10', 61.5), (2, 'Bob', NULL, 0.5), (3, '', '1999-01-01', 1e300);
"""
SEATS = """
CREATE TABLE seat (id INTEGER PRIMARY KEY, place TEXT UNIQUE, guest TEXT);
INSERT INTO seat VALUES (1, 'a', 'Ada'), (2, 'b', 'Bob'), (3, 'c', 'Cy'), (4, NULL, 'Di');
"""


def load_two_weeks(migration: Migration, *statements: str) -> None:
    """Load week 1, change the source, load week 2; both judges have to be content."""
    tables = load_week(migration, 1)
    change(migration, *statements)
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, *tables)


def result_of(migration: Migration, number: int, table: str) -> MigrationError:
    """Run a week in which this table has to fail; return its error."""
    result = run_week(migration, number, tables=[table])[table]
    assert isinstance(result, MigrationError)
    return result


def test_inserts_updates_and_deletes_are_carried_and_counted(make_migration: MakeMigration) -> None:
    """Each kind of change arrives, and the result says how many of each there were."""
    migration = make_migration(PEOPLE)
    first = load_week(migration, 1)["person"]
    change(
        migration,
        "INSERT INTO person VALUES (4, 'Dan', '2001-02-03', 0.1), (5, NULL, NULL, NULL)",
        "UPDATE person SET name = NULL, weight = 0.0 WHERE id = 2",
        "DELETE FROM person WHERE id = 3",
    )
    second = load_week(migration, 2)["person"]
    assert (first.inserted, first.updated, first.deleted) == (3, 0, 0)
    assert (second.inserted, second.updated, second.deleted) == (2, 1, 1)
    assert second.outcome is Outcome.LOADED
    assert_equal(migration)
    assert_proved(migration, "person")


def test_a_changed_key_moves_the_row(make_migration: MakeMigration) -> None:
    """The row stands under its new key only, also where two rows exchanged their keys."""
    migration = make_migration(PEOPLE)
    load_two_weeks(
        migration,
        "UPDATE person SET id = 9 WHERE id = 1",
        "UPDATE person SET id = -2 WHERE id = 2",
        "UPDATE person SET id = 2 WHERE id = 3",
        "UPDATE person SET id = 3 WHERE id = -2",
    )
    assert [key for (key,) in target_rows(migration, "SELECT id FROM person ORDER BY 1")] == [
        2,
        3,
        9,
    ]


def test_two_rows_swap_their_unique_values(make_migration: MakeMigration) -> None:
    """Neither order of the two updates would pass the unique index; the move does."""
    migration = make_migration(SEATS)
    load_two_weeks(
        migration,
        "UPDATE seat SET place = 'x' WHERE id = 1",
        "UPDATE seat SET place = 'a' WHERE id = 2",
        "UPDATE seat SET place = 'b' WHERE id = 1",
    )


def test_unique_values_move_along_a_chain(make_migration: MakeMigration) -> None:
    """Row by row a → b → c: every new value is still held by the next row; the last lets go."""
    migration = make_migration(SEATS)
    load_two_weeks(
        migration,
        "DELETE FROM seat WHERE id = 4",
        "UPDATE seat SET place = NULL WHERE id = 3",
        "UPDATE seat SET place = 'c' WHERE id = 2",
        "UPDATE seat SET place = 'b' WHERE id = 1",
        "INSERT INTO seat VALUES (7, 'a', 'Gus')",
    )


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(
            "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT);"
            "INSERT INTO t VALUES ('a', '1'), ('A', '2'), ('ä', '3'), ('', '4'), (' a', '5')",
            id="text",
        ),
        pytest.param(
            "CREATE TABLE t (k TEXT, n INTEGER, v TEXT, PRIMARY KEY (n, k));"
            "INSERT INTO t VALUES ('a', 1, '1'), ('a', 2, '2'), ('b', 1, '3'), ('', 0, '4')",
            id="composite",
        ),
        pytest.param(
            "CREATE TABLE t (k BLOB PRIMARY KEY, v TEXT) WITHOUT ROWID;"
            "INSERT INTO t VALUES (x'00', '1'), (x'', '2'), (x'ff00', '3'), (x'ff', '4')",
            id="without rowid",
        ),
        pytest.param(
            "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);"
            "INSERT INTO t VALUES ('Ab', '1'), ('b', '2'), ('É', '3'), ('é', '4')",
            id="nocase",
        ),
        pytest.param(
            "CREATE TABLE t (k TEXT NOT NULL UNIQUE, v TEXT);"
            "INSERT INTO t VALUES ('a', '1'), ('b', '2'), ('c', '3'), ('d', '4')",
            id="unique not null in place of a key",
        ),
        pytest.param(
            "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT, code TEXT NOT NULL UNIQUE);"
            "INSERT INTO t VALUES ('a', '1', 'p'), (NULL, '2', 'q'), (NULL, '3', 'r')",
            id="unique not null beside a key with nulls",
        ),
        pytest.param(
            "CREATE TABLE t (k DATE PRIMARY KEY, v TEXT);"
            "INSERT INTO t VALUES ('2026-01-01', '1'), ('2026-01-02', '2'), ('0001-01-01', '3')",
            id="date",
        ),
    ],
)
def test_every_kind_of_key_carries_every_kind_of_change(
    make_migration: MakeMigration, schema: str
) -> None:
    """Updated, deleted, moved to a new key and back, in three weeks."""
    migration = make_migration(schema)
    assert load_week(migration, 1)["t"].mapping.key
    with closing(sqlite3.connect(migration.settings.source)) as source:
        kind = source.execute("SELECT typeof(k), max(k) FROM t WHERE k IS NOT NULL").fetchone()
    moved = {"text": "'2030-12-31'", "blob": "x'00ff00'"}[kind[0]]
    change(
        migration,
        "UPDATE t SET v = v || '!' WHERE v > '1'",
        f"UPDATE t SET k = {moved} WHERE v = '1'",
    )
    load_week(migration, 2)
    assert_equal(migration)
    change(migration, "DELETE FROM t WHERE v LIKE '2%'", f"UPDATE t SET v = NULL WHERE k = {moved}")
    load_week(migration, 3)
    assert_equal(migration)
    assert_proved(migration, "t")
    assert len(entries(migration, "t")) == 3


@pytest.mark.parametrize("declared", ["INTEGER PRIMARY KEY", "INTEGER NOT NULL UNIQUE"])
@pytest.mark.parametrize("acknowledged", [frozenset[str](), DISPLACE], ids=["ordinary", "displace"])
def test_a_key_that_is_no_longer_unique_is_refused_by_name(
    make_migration: MakeMigration, declared: str, acknowledged: frozenset[str]
) -> None:
    """The table was made anew without its key; two rows that share one can't both be carried."""
    migration = make_migration(
        f"CREATE TABLE seat (id {declared}, guest TEXT); INSERT INTO seat VALUES (1, 'Ada');"
    )
    load_week(migration, 1)
    rest = " NOT NULL" if "NULL" in declared else ""
    change(
        migration,
        "DROP TABLE seat",
        f"CREATE TABLE seat (id INTEGER{rest}, guest TEXT)",
        "INSERT INTO seat VALUES (1, 'Ada'), (2, 'Bob'), (2, 'Cy'), ('2', 'Di'), (3, 'Eve')",
    )
    before = snapshot(migration)
    error = run_week(migration, 2, acknowledged=acknowledged)["seat"]
    assert isinstance(error, UnsupportedError)
    assert "1 keys (id) stand in more than one row" in str(error)
    assert snapshot(migration) == before
    change(migration, "DELETE FROM seat WHERE id = 2 AND guest <> 'Bob'")
    if not rest:
        change(migration, *["INSERT INTO seat VALUES (NULL, 'Flo')"] * 2)  # quarantined, not shared
    load_week(migration, 3, acknowledged=acknowledged)
    assert_equal(migration)


def test_a_nocase_key_that_changes_case_is_a_change(make_migration: MakeMigration) -> None:
    """SQLite takes 'ab' and 'AB' for equal there; the target shows the new spelling."""
    migration = make_migration(
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;"
        "INSERT INTO t VALUES ('ab'), ('cd');"
    )
    load_two_weeks(migration, "UPDATE t SET k = 'AB' WHERE k = 'ab'")
    assert target_rows(migration, "SELECT k FROM t ORDER BY 1") == [("AB",), ("cd",)]


@pytest.mark.parametrize(
    ("declared", "before", "after"),
    [
        ("TEXT COLLATE NOCASE", "'ab'", "'AB'"),
        ("TEXT COLLATE RTRIM", "'ab'", "'ab  '"),
        ("TEXT", "NULL", "''"),
        ("REAL", "0.1", "0.10000000000000002"),
        ("TEXT", "'é'", "'e\u0301'"),
        ("NUMERIC", "1", "1.5"),
    ],
)
def test_a_change_that_a_comparison_could_overlook_is_carried(
    make_migration: MakeMigration, declared: str, before: str, after: str
) -> None:
    """Values that a collation or the eye takes for equal are other values."""
    migration = make_migration(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared}); INSERT INTO t VALUES (1, {before})"
    )
    load_week(migration, 1)
    change(migration, f"UPDATE t SET v = {after}")
    assert load_week(migration, 2)["t"].updated == 1
    assert_equal(migration)


@pytest.mark.parametrize(
    ("before", "after"), [("1", "1.0"), ("1", "'1'"), ("'a'", "x'61'"), ("0.0", "-0.0")]
)
def test_a_change_of_storage_class_alone_is_carried(
    make_migration: MakeMigration, before: str, after: str
) -> None:
    """A column without affinity keeps both; the new one fits the sealed type or is quarantined."""
    migration = make_migration(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, {before})"
    )
    load_week(migration, 1)
    change(migration, f"UPDATE t SET v = {after}")
    moved = load_week(migration, 2)["t"]
    assert moved.updated + moved.proof.quarantined_rows == 1
    assert_equal(migration)
    assert_proved(migration, "t")


def test_a_table_that_is_only_its_key_is_carried(make_migration: MakeMigration) -> None:
    """There is nothing to update; rows come and go."""
    migration = make_migration(
        "CREATE TABLE tag (item INTEGER, label TEXT, PRIMARY KEY (item, label));"
        "INSERT INTO tag VALUES (1, 'a'), (1, 'b'), (2, 'a');"
    )
    load_two_weeks(
        migration,
        "DELETE FROM tag WHERE item = 2",
        "INSERT INTO tag VALUES (1, 'c')",
        "UPDATE tag SET label = 'z' WHERE label = 'a'",
    )
    write_on_target(migration, "INSERT INTO tag VALUES (9, 'ours')")
    load_week(migration, 3, acknowledged=DISPLACE)
    assert_equal(migration)


@pytest.mark.parametrize("name", ["xmin", "ctid", "tableoid", "n" * 64, "n" * 300, "ü" * 200])
def test_a_name_postgresql_does_not_keep_is_changed_and_remembered(
    make_migration: MakeMigration, name: str
) -> None:
    """System columns and names over 63 bytes get another name; their values stay."""
    long = quote(f"{name} of which a very long table name is made, longer than sixty-three bytes")
    migration = make_migration(
        f"CREATE TABLE {long} (k INTEGER PRIMARY KEY, {quote(name)} TEXT,"
        f" {quote(name + '_')} TEXT);"
        f"INSERT INTO {long} VALUES (1, 'a', 'A'), (2, 'b', 'B');"
    )
    (table,) = load_week(migration, 1)
    change(migration, f"UPDATE {long} SET {quote(name)} = 'c' WHERE k = 2")
    load_week(migration, 2)
    mapping = mapping_of(migration, table)
    with on_target(migration) as connection:
        rows = connection.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY 1").format(
                sql.SQL(", ").join([sql.Identifier(c.target) for c in mapping.columns]),
                sql.Identifier(mapping.target_table),
            )
        ).fetchall()
    assert rows == [(1, "a", "A"), (2, "c", "B")]
    assert_proved(migration, table)


@pytest.mark.parametrize(
    "schema", [pytest.param(PEOPLE, id="upsert"), pytest.param(SEATS, id="delete and insert")]
)
def test_columns_that_are_not_ours_keep_their_values(
    make_migration: MakeMigration, schema: str
) -> None:
    """A note of the successor's own outlives updates of its row, by either method."""
    migration = make_migration(schema)
    (table,) = load_week(migration, 1)
    column = "guest" if table == "seat" else "name"
    write_on_target(
        migration,
        f"ALTER TABLE {table} ADD note text DEFAULT 'new', ADD \"{{odd}} %s\" int,"
        f" ADD twice int GENERATED ALWAYS AS (2 * id) STORED",
        f"UPDATE {table} SET note = 'ours ' || id, \"{{odd}} %s\" = id",
    )
    change(
        migration,
        f"UPDATE {table} SET {column} = 'changed' WHERE id < 3",
        f"INSERT INTO {table} (id, {column}) VALUES (8, 'fresh')",
        f"DELETE FROM {table} WHERE id = 3",
    )
    load_week(migration, 2)
    assert_equal(migration, extra_columns=["note", "{odd} %s", "twice"])
    rows = target_rows(migration, f'SELECT id, note, "{{odd}} %s", twice FROM {table} ORDER BY id')
    assert [r for r in rows if r[0] in (1, 2, 8)] == [
        (1, "ours 1", 1, 2),
        (2, "ours 2", 2, 4),
        (8, "new", None, 16),
    ]


def test_indexes_and_triggers_of_the_target_survive(make_migration: MakeMigration) -> None:
    """What the successor added to the table is there after a load, and worked during it."""
    migration = make_migration(SEATS)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE INDEX mine ON seat (guest)",
        "CREATE TABLE log (id bigint, op text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.log VALUES (NEW.id, TG_OP); RETURN NULL; END$$",
        "CREATE TRIGGER noting AFTER INSERT OR UPDATE ON seat FOR EACH ROW EXECUTE FUNCTION note()",
    )
    change(migration, "UPDATE seat SET guest = 'Eve' WHERE id = 1")
    load_week(migration, 2)
    assert_equal(migration)
    found = target_rows(
        migration,
        "SELECT indexname FROM pg_indexes WHERE tablename = 'seat' AND indexname = 'mine'"
        " UNION ALL SELECT tgname FROM pg_trigger WHERE tgname = 'noting'"
        " UNION ALL SELECT DISTINCT id::text FROM log",
    )
    assert found == [("mine",), ("noting",), ("1",)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_a_delete_that_would_change_another_table_is_refused_by_name(
    make_migration: MakeMigration, action: str
) -> None:
    """The foreign key that would cascade is named, and nothing is deleted anywhere."""
    migration = make_migration(PEOPLE)
    load_week(migration, 1)
    write_on_target(
        migration,
        f"CREATE TABLE pet (owner bigint CONSTRAINT pet_of REFERENCES person ON DELETE {action})",
        "INSERT INTO pet VALUES (3)",
    )
    before = snapshot(migration)
    change(migration, "DELETE FROM person WHERE id = 3")
    error = result_of(migration, 2, "person")
    assert isinstance(error, TargetError)
    assert "pet.pet_of" in str(error)
    assert snapshot(migration) == before
    write_on_target(migration, "ALTER TABLE pet DROP CONSTRAINT pet_of")
    load_week(migration, 2)
    assert_equal(migration)
    assert target_rows(migration, "SELECT owner FROM pet") == [(3,)]


def test_a_cascade_within_the_table_is_refused_by_name(make_migration: MakeMigration) -> None:
    """A row that the delta brings back would have lost what others wrote beside it."""
    migration = make_migration(
        "CREATE TABLE node (id INTEGER PRIMARY KEY, parent INTEGER);"
        "INSERT INTO node VALUES (1, NULL), (2, 1), (3, 1);"
    )
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE node ADD note text, ADD CONSTRAINT node_up FOREIGN KEY (parent)"
        " REFERENCES node ON DELETE CASCADE",
        "UPDATE node SET note = 'mine'",
    )
    before = snapshot(migration)
    change(
        migration,
        "UPDATE node SET parent = NULL WHERE id > 1",
        "DELETE FROM node WHERE id = 1",
    )
    error = result_of(migration, 2, "node")
    assert isinstance(error, TargetError)
    assert "node_up" in str(error)
    assert snapshot(migration) == before


def test_rows_that_others_refer_to_are_updated_in_place(make_migration: MakeMigration) -> None:
    """A foreign key from a table of the successor's own doesn't stop an update."""
    migration = make_migration(SEATS)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE TABLE ticket (seat bigint REFERENCES seat ON DELETE CASCADE)",
        "INSERT INTO ticket VALUES (1), (2)",
    )
    change(migration, "UPDATE seat SET guest = 'Eve' WHERE id = 1")
    load_week(migration, 2)
    assert_equal(migration, "seat")
    assert target_rows(migration, "SELECT count(*) FROM ticket") == [(2,)]


def test_numerics_wider_than_38_digits_stay_exact(make_migration: MakeMigration) -> None:
    """Wider than any decimal of the delta's format: they travel as text and arrive as numbers."""
    migration = make_migration(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, wide DECIMAL(60, 10), free NUMERIC);"
        "INSERT INTO t VALUES (1, 1e45, 1e200), (2, 0.5, 1e-30), (3, 9007199254740991, 12),"
        " (4, NULL, NULL), (5, -1.25e49, -0.1);"
    )
    load_two_weeks(
        migration,
        "UPDATE t SET wide = -1e49, free = 2.5 WHERE k = 1",
        "UPDATE t SET wide = NULL, free = 1e300 WHERE k = 2",
        "UPDATE t SET wide = 0, free = 0 WHERE k = 4",
    )
    types = target_rows(
        migration,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum IN (2, 3) ORDER BY attnum",
    )
    assert types == [("numeric(60,10)",), ("numeric",)]


def test_blobs_of_a_megabyte_are_carried_byte_for_byte(make_migration: MakeMigration) -> None:
    """Larger than a page and than a packet; changed in one byte, they differ."""
    migration = make_migration(
        "CREATE TABLE picture (id INTEGER PRIMARY KEY, image BLOB);"
        "INSERT INTO picture VALUES (1, randomblob(1048576)), (2, zeroblob(1048577)), (3, x'');"
    )
    load_week(migration, 1)
    assert_equal(migration)
    change(
        migration,
        "UPDATE picture SET image = CAST(substr(image, 1, 1048576) || x'01' AS BLOB) WHERE id = 2",
        "INSERT INTO picture SELECT 4, image FROM picture WHERE id = 1",
    )
    moved = load_week(migration, 2)["picture"]
    assert (moved.inserted, moved.updated) == (1, 1)
    assert_equal(migration)
