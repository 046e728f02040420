"""Schema objects through the one step: each stands on the target, or is listed with the reason."""

import re
import sqlite3
from contextlib import closing

import psycopg
import pytest

from migration_assets import standing, step
from migration_assets.errors import MigrationError, TargetError
from migration_assets.migration import Migration
from migration_assets.model import DeferredObject
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    NOTHING,
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    mapping_of,
    on_target,
    run_week,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.telling import telling

NEXT = "SELECT nextval(pg_get_serial_sequence('t', 'id'))"


def inserted(migration: Migration, columns: str = "", values: str = "DEFAULT VALUES") -> object:
    """Insert a row on the target, forget it again, and return it."""
    with on_target(migration) as connection, connection.transaction(force_rollback=True):
        statement = f"INSERT INTO t {columns} {values} RETURNING *"
        return connection.execute(statement.encode()).fetchone()


def at_source(migration: Migration, columns: str = "", values: str = "DEFAULT VALUES") -> object:
    """Insert the same row at the source, and forget it again."""
    with closing(sqlite3.connect(migration.settings.source)) as connection:
        return connection.execute(f"INSERT INTO t {columns} {values} RETURNING *").fetchone()


def listed(migration: Migration, kind: str) -> list[DeferredObject]:
    """Return what the sealed mapping of the table lists of a kind."""
    return [o for o in mapping_of(migration, "t").deferred if o.kind == kind]


def test_defaults_fill_columns_as_at_the_source(make_migration: MakeMigration) -> None:
    """Constants of every class, expressions, texts in double quotes and bare words."""
    migration = make_migration(
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, a INTEGER NOT NULL DEFAULT -5, b TEXT DEFAULT 'it''s {%s}',
            c REAL DEFAULT 1, d TEXT DEFAULT 7, e BLOB DEFAULT x'00ff', g INTEGER DEFAULT '12',
            h TEXT DEFAULT "quoted", i TEXT DEFAULT bare, j INTEGER DEFAULT (2 * 3 + 1),
            k TEXT DEFAULT ('a' || 'b'), l INTEGER DEFAULT NULL, m INTEGER DEFAULT TRUE,
            o TEXT DEFAULT '', p INTEGER DEFAULT 9223372036854775807, q INTEGER DEFAULT 0x10
        );
        INSERT INTO t DEFAULT VALUES;
        """
    )
    load_week(migration, 1)
    assert inserted(migration) == at_source(migration)
    assert listed(migration, "default") == []
    assert_equal(migration)


def test_defaults_are_written_in_the_types_of_their_columns(make_migration: MakeMigration) -> None:
    """Booleans, dates, timestamps, exact numbers: what the source's default would become."""
    migration = make_migration(
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, f BOOLEAN DEFAULT 1, d DATE DEFAULT '2000-01-01',
            at DATETIME DEFAULT '2000-01-01 12:00:00', price DECIMAL(10,2) DEFAULT 9.5,
            now DATETIME DEFAULT CURRENT_TIMESTAMP, today DATE DEFAULT (date('now'))
        );
        INSERT INTO t DEFAULT VALUES;
        """
    )
    load_week(migration, 1)
    rows = target_rows(migration, "SELECT f, d, at, price, now, today FROM t")
    with on_target(migration) as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        query = (
            "INSERT INTO t DEFAULT VALUES RETURNING f, d, at, price,"
            " now BETWEEN %s AND clock_timestamp() AT TIME ZONE 'UTC', today BETWEEN %s AND now"
        )
        fresh = connection.execute(query, rows[0][4:]).fetchone()
    assert fresh == (*rows[0][:4], True, True)


def test_a_default_that_does_not_fit_or_translate_is_listed(make_migration: MakeMigration) -> None:
    """With its own text; the rows are loaded all the same."""
    migration = make_migration(
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, a INTEGER DEFAULT 'none', b TEXT DEFAULT (hex(randomblob(4))),
            d DATE DEFAULT CURRENT_TIMESTAMP
        );
        INSERT INTO t VALUES (1, 2, 'x', '2026-01-01');
        """
    )
    load_week(migration, 1)
    assert [(o.name, o.original, o.problem) for o in listed(migration, "default")] == [
        ("a", "'none'", "text is no bigint"),
        ("b", "hex(randomblob(4))", "HEX has no rule"),
        ("d", "CURRENT_TIMESTAMP", "the present timestamp in a date"),
    ]
    assert inserted(migration, "(id)", "VALUES (9)") == (9, None, None, None)


AUTO = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);"
PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"


@pytest.mark.parametrize(
    ("schema", "following"),
    [
        (AUTO, 1),
        (PLAIN, 1),
        (AUTO + "INSERT INTO t VALUES (41, 'x'); DELETE FROM t", 42),
        (PLAIN + "INSERT INTO t VALUES (41, 'x'); DELETE FROM t", 1),
        (AUTO + "INSERT INTO t VALUES (41, 'x'), (7, 'y'); DELETE FROM t WHERE id = 41", 42),
        (PLAIN + "INSERT INTO t VALUES (41, 'x'), (7, 'y'); DELETE FROM t WHERE id = 41", 8),
        (AUTO + "INSERT INTO t VALUES (5, 'x'); DELETE FROM sqlite_sequence", 6),
        (PLAIN + "INSERT INTO t VALUES (-9, 'x')", 1),
        (PLAIN + "INSERT INTO t VALUES (9223372036854775806, 'x')", 2**63 - 1),
        (PLAIN + "INSERT INTO t VALUES (9223372036854775807, 'x')", 2**63 - 1),
    ],
)
def test_new_rows_get_the_key_that_the_source_would_give(
    make_migration: MakeMigration, schema: str, following: int
) -> None:
    """AUTOINCREMENT never gives a key again; else it is the one after the last that stands."""
    migration = make_migration(schema)
    load_week(migration, 1)
    assert target_rows(migration, NEXT) == [(following,)]
    assert_equal(migration)


def test_every_week_brings_the_next_key(make_migration: MakeMigration) -> None:
    """Forwards and backwards, also where somebody took keys on the target."""
    migration = make_migration(PLAIN + "INSERT INTO t VALUES (1, 'x'), (7, 'y')")
    load_week(migration, 1)
    assert target_rows(migration, NEXT) == [(8,)]
    assert target_rows(migration, NEXT) == [(9,)]
    change(migration, "DELETE FROM t WHERE id = 7", "INSERT INTO t VALUES (3, 'z')")
    load_week(migration, 2)
    assert target_rows(migration, NEXT) == [(4,)]
    change(migration, "INSERT INTO t VALUES (100, 'z')")
    load_week(migration, 3)
    assert target_rows(migration, NEXT) == [(101,)]


def test_a_failed_step_leaves_the_next_key_alone(make_migration: MakeMigration) -> None:
    """It is undone with the rest."""
    migration = make_migration(PLAIN + "INSERT INTO t VALUES (1, 'x')")
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE t ADD CHECK (id < 50)")
    change(migration, "INSERT INTO t VALUES (60, 'z')")
    assert not hasattr(run_week(migration, 2)["t"], "entry")
    assert target_rows(migration, NEXT) == [(2,)]


def test_readers_do_not_wait_for_the_next_key(make_migration: MakeMigration) -> None:
    """While a move restarts the sequence, the table is read on, and nothing is seen of it."""
    migration = make_migration(PLAIN + "INSERT INTO t VALUES (1, 'x')")
    load_week(migration, 1)
    change(migration, "INSERT INTO t VALUES (60, 'z')")
    seen: list[object] = []

    def look(stage: str) -> None:
        if stage == "proved":
            with on_target(migration) as connection:
                connection.execute("SET lock_timeout = '2s'")
                seen.extend(connection.execute("SELECT count(*) FROM t").fetchall())

    step.take_cut(migration, week(2))
    step.make_delta(migration, "t", week(2))
    step.carry(migration, "t", week(2), run="test", at=look)
    assert seen == [(1,)]
    assert target_rows(migration, NEXT) == [(61,)]


def test_a_key_that_the_dba_made_plain_is_left_alone(make_migration: MakeMigration) -> None:
    """The check says so, with the statement that brings it back."""
    migration = make_migration(PLAIN + "INSERT INTO t VALUES (1, 'x')")
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE t ALTER COLUMN id DROP IDENTITY")
    change(migration, "INSERT INTO t VALUES (60, 'z')")
    load_week(migration, 2)
    assert_equal(migration)
    found = schema_findings(migration)
    assert [what for what, _ in found] == ["column id lost its identity"]
    write_on_target(migration, found[0][1])
    assert schema_findings(migration) == []
    change(migration, "INSERT INTO t VALUES (61, 'z')")
    load_week(migration, 3)
    assert target_rows(migration, NEXT) == [(62,)]


GENERATED = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER, b TEXT, v INTEGER AS (a * 2),
    s TEXT AS (b || '-' || a) STORED, u INTEGER AS (length(b)) UNIQUE
);
INSERT INTO t (id, a, b) VALUES (1, 2, 'x'), (2, NULL, 'ab'), (3, -4, NULL);
"""
KINDS = (
    "SELECT attname, attgenerated::text FROM pg_attribute"
    " WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
)


@pytest.mark.parametrize("key", ["id INTEGER PRIMARY KEY", "id INTEGER"])
def test_generated_columns_are_generated_by_the_server(
    make_migration: MakeMigration, key: str
) -> None:
    """Virtual and stored ones, with a key and without, with a unique index; changes follow."""
    migration = make_migration(GENERATED.replace("id INTEGER PRIMARY KEY", key))
    load_week(migration, 1)
    stored = {name: "s" if name in "vsu" else "" for name in ["id", "a", "b", "v", "s", "u"]}
    assert dict(target_rows(migration, KINDS)) == stored
    assert listed(migration, "generated") == []
    change(
        migration,
        "UPDATE t SET a = 9 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t (id, a, b) VALUES (4, 7, 'abcd')",
    )
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "t")


@pytest.mark.parametrize(
    ("changed", "acknowledged"),
    [("INSERT INTO t (id) VALUES (9)", NOTHING), ("UPDATE t SET a = 9 WHERE id = 2", DISPLACE)],
)
def test_a_generated_column_that_somebody_changed_comes_with_the_way_out(
    make_migration: MakeMigration, changed: str, acknowledged: frozenset[str]
) -> None:
    """Nothing can write over it, so the hint makes it a plain column first."""
    migration = make_migration(GENERATED)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE t DROP COLUMN s",
        "ALTER TABLE t ADD COLUMN s TEXT GENERATED ALWAYS AS (b || '+') STORED",
    )
    change(migration, changed)
    error = run_week(migration, 2, acknowledged=acknowledged)["t"]
    assert isinstance(error, MigrationError)
    statement = re.search(r"`(ALTER TABLE .*?)`", error.hint)
    assert statement is not None
    assert statement[1].endswith('ALTER COLUMN "s" DROP EXPRESSION')
    write_on_target(migration, statement[1])
    load_week(migration, 2, acknowledged=DISPLACE)
    assert_equal(migration)
    assert_proved(migration, "t")


def test_an_upsert_leaves_generated_columns_to_the_server(make_migration: MakeMigration) -> None:
    """Without another unique index rows are updated in place."""
    migration = make_migration(GENERATED.replace("UNIQUE", ""))
    load_week(migration, 1)
    change(migration, "UPDATE t SET b = 'new' WHERE id < 3")
    load_week(migration, 2)
    assert_equal(migration)


def test_what_no_expression_can_give_stands_as_a_plain_column(
    make_migration: MakeMigration,
) -> None:
    """Refused by the translation or by the server: listed, with the values carried."""
    migration = make_migration(
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, a INTEGER, d DATE, x REAL AS (round(a / 3.0, 2)),
            y INTEGER AS (a + 1), z INTEGER AS (y + 1), w TEXT AS (strftime('%Y', d))
        );
        INSERT INTO t (id, a, d) VALUES (1, 2, '2026-01-02'), (2, 5, NULL);
        """
    )
    load_week(migration, 1)
    found = {o.name: (o.original, o.problem) for o in listed(migration, "generated")}
    assert found["x"] == ("round(a / 3.0, 2)", "ROUND has no rule")
    assert found["z"][0] == "y + 1"
    assert "generated column" in found["z"][1]
    assert "immutable" in found["w"][1]
    assert set(found) == {"x", "z", "w"}
    change(migration, "UPDATE t SET a = 8 WHERE id = 1")
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "t")


def test_an_expression_that_gives_other_values_is_not_used(make_migration: MakeMigration) -> None:
    """The rows decide: here the source was told other results than its expression gives."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v INTEGER AS (a + 1) STORED)"
    )
    change(migration, "INSERT INTO t (id, a) VALUES (1, 5), (2, 6)")
    with closing(sqlite3.connect(migration.settings.source)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'a + 1', 'a + 2')")
    load_week(migration, 1)
    (found,) = listed(migration, "generated")
    assert (found.name, found.problem) == ("v", "gives another value in 2 rows")
    assert_equal(migration)


def test_a_generated_column_whose_expression_changes_becomes_a_plain_one(
    make_migration: MakeMigration,
) -> None:
    """Its values are the source's from then on; it is listed, and nothing is left to do."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v INTEGER AS (a + 1) STORED)"
    )
    change(migration, "INSERT INTO t (id, a) VALUES (1, 5)")
    load_week(migration, 1)
    with closing(sqlite3.connect(migration.settings.source)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'a + 1', 'a + 2')")
    change(migration, "INSERT INTO t (id, a) VALUES (2, 5)")
    moved = load_week(migration, 2)["t"]
    assert "column v stands as a plain column, no longer generated" in moved.changes
    assert_equal(migration)
    assert [o.kind for o in moved.mapping.deferred] == ["generated"]
    change(migration, "INSERT INTO t (id, a) VALUES (3, 7)")
    assert load_week(migration, 3)["t"].changes == ()
    assert_equal(migration)
    assert schema_findings(migration) == []


INDEXES = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER, b TEXT, n TEXT COLLATE NOCASE, r TEXT COLLATE RTRIM UNIQUE,
    f BOOLEAN, "Odd name" TEXT, x REAL
);
CREATE INDEX down ON t (a DESC, b);
CREATE UNIQUE INDEX some ON t (b) WHERE a > 3 AND f = 1;
CREATE INDEX folded ON t (lower(b), "Odd name" COLLATE NOCASE DESC);
CREATE INDEX sums ON t (a + id);
CREATE UNIQUE INDEX part ON t (n, a) WHERE n IS NOT NULL;
CREATE INDEX rounded ON t (round(x));
INSERT INTO t VALUES (1, 5, 'x', 'N', 'r', 1, 'o', 0.5), (2, 1, 'x', 'm', 's', 0, NULL, NULL);
"""
STANDING = (
    "SELECT indexdef FROM pg_indexes WHERE tablename = 't' AND indexname <> 't_pkey' ORDER BY 1"
)


def test_indexes_of_every_kind_are_made(make_migration: MakeMigration) -> None:
    """Partial, over expressions, descending, under a collation; the check knows each of them."""
    migration = make_migration(INDEXES)
    load_week(migration, 1)
    standing = [str(d).partition(" USING ")[2] for (d,) in target_rows(migration, STANDING)]
    assert sorted(standing) == [
        "btree (((a + id)))",
        "btree (a DESC, b)",
        "btree (b) WHERE ((a > 3) AND (f = true))",
        'btree (lower((b COLLATE "C")), lower(("odd name" COLLATE "C")) DESC)',
        'btree (lower((n COLLATE "C")), a) WHERE (n IS NOT NULL)',
        "btree (rtrim((r COLLATE \"C\"), ' '::text))",
    ]
    (left,) = listed(migration, "index")
    assert left.original == "CREATE INDEX rounded ON t (round(x))"
    assert left.problem == "ROUND has no rule"
    assert schema_findings(migration) == []
    change(migration, "UPDATE t SET n = 'z', b = 'y'", "INSERT INTO t (id, a) VALUES (3, 4)")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_dropped_special_index_is_named_with_what_makes_it(make_migration: MakeMigration) -> None:
    """Its statement makes it again."""
    migration = make_migration(INDEXES)
    load_week(migration, 1)
    names = target_rows(
        migration,
        "SELECT indexname FROM pg_indexes WHERE tablename = 't' AND indexname <> 't_pkey'",
    )
    before = target_rows(migration, STANDING)
    write_on_target(migration, *(f'DROP INDEX "{name}"' for (name,) in names))
    found = schema_findings(migration)
    assert len(found) == len(names) == 6
    write_on_target(migration, *(to_do for _, to_do in found))
    assert target_rows(migration, STANDING) == before
    assert schema_findings(migration) == []


def test_an_index_that_the_server_refuses_does_not_fail_the_table(
    make_migration: MakeMigration,
) -> None:
    """A text too long for a b-tree, and a date's text, which isn't immutable: listed."""
    migration = make_migration(
        """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, d DATE);
        CREATE UNIQUE INDEX long ON t (a);
        CREATE INDEX year ON t (strftime('%Y', d));
        """
    )
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(9000))
    change(migration, ("INSERT INTO t VALUES (1, ?, '2026-01-01')", (noise,)))
    load_week(migration, 1)
    found = {o.original: o.problem for o in listed(migration, "index")}
    assert "54000" in found["CREATE UNIQUE INDEX long ON t (a)"]
    assert "IMMUTABLE" in found["CREATE INDEX year ON t (strftime('%Y', d))"]
    assert target_rows(migration, STANDING) == []
    assert schema_findings(migration) == []
    change(migration, "UPDATE t SET d = '2026-02-02'")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_load_that_is_out_of_time_is_not_taken_for_a_refused_index(
    make_migration: MakeMigration,
) -> None:
    """Only what is wrong with the statement itself is listed; all else fails the load."""
    migration = make_migration(INDEXES)
    write_on_target(
        migration,
        "CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END$$",
        "CREATE EVENT TRIGGER stop ON ddl_command_end WHEN TAG IN ('CREATE INDEX')"
        " EXECUTE FUNCTION stop()",
    )
    assert not hasattr(run_week(migration, 1)["t"], "entry")
    with pytest.raises(psycopg.errors.UndefinedTable):
        target_rows(migration, "SELECT * FROM t")


def test_equal_but_for_case_is_kept_out_of_a_key_as_at_the_source(
    make_migration: MakeMigration,
) -> None:
    """A key under NOCASE is unique by bytes and by folded text."""
    migration = make_migration(
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY); INSERT INTO t VALUES ('Ab')"
    )
    load_week(migration, 1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        write_on_target(migration, "INSERT INTO t VALUES ('aB')")
    change(migration, "UPDATE t SET k = 'aB'")
    load_week(migration, 2)
    assert_equal(migration)


def schema_findings(migration: Migration) -> list[tuple[str, str]]:
    """Return what the check `schema` finds, and what it advises."""
    found = standing.inspect(migration, "t")
    assert found is not None
    return [(f.what, f.to_do) for f in found.schema.findings]


MIXED = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a DATE, n INTEGER, g TEXT AS (typeof(a)) STORED);
INSERT INTO t VALUES (1, 'soon', 1), (2, 'later', 2), (3, 7, 'x');
"""
WHOLE = {"t": {"columns": {"n": {"type": "bigint"}}}}


def test_a_value_that_an_expression_does_not_give_stops_the_step_with_the_way_out(
    make_migration: MakeMigration,
) -> None:
    """The column's number stands as text there; what it was at the source is another word."""
    migration = make_migration(MIXED, tables=WHOLE)
    kept = load_week(migration, 1)["t"]
    assert kept.mapping.column("g").generated
    change(migration, "INSERT INTO t (id, a) VALUES (4, 8)")
    error = run_week(migration, 2)["t"]
    assert isinstance(error, TargetError)
    assert error.what == "generated column g gives another value in 1 rows"
    write_on_target(migration, error.hint.split("`")[1])
    load_week(migration, 2)
    assert_equal(migration)


def test_a_move_between_mappings_makes_such_a_column_a_plain_one(
    make_migration: MakeMigration,
) -> None:
    """Its rows are all compared there, also those that stood in quarantine before."""
    migration = make_migration(MIXED, tables=WHOLE)
    load_week(migration, 1)
    change(migration, "ALTER TABLE t ADD COLUMN more TEXT", "UPDATE t SET n = 3 WHERE id = 3")
    moved = load_week(migration, 2)["t"]
    assert moved.proof.quarantined_rows == 0
    (listed,) = [o for o in moved.mapping.deferred if o.kind == "generated"]
    assert listed.problem == "gives another value in 1 rows"
    assert_equal(migration)
    assert load_week(migration, 3)["t"].changes == ()


@pytest.mark.parametrize(("widened", "stays"), [("b", True), ("a", False)])
def test_a_column_stays_generated_while_the_types_in_its_expression_do(
    make_migration: MakeMigration, widened: str, *, stays: bool
) -> None:
    """What another column becomes is nothing to it."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT, g INT AS (a + 1) STORED);"
        "INSERT INTO t VALUES (1, 5, 6), (2, 7, 8)"
    )
    load_week(migration, 1)
    widening = telling(migration, "t", columns={widened: {"type": "numeric"}})
    moved = load_week(widening, 2)["t"]
    assert bool(moved.mapping.column("g").generated) is stays
    assert moved.mapping.column(widened).type.sql == "numeric"
    change(migration, "INSERT INTO t VALUES (3, 9, 10)")
    load_week(widening, 3)
    assert_equal(migration)
