"""The ledger: complete entries, noted failures, and a refusal of what somebody changed in it."""

from datetime import UTC, datetime

import pytest
from psycopg import sql

from migration_assets import standing, step
from migration_assets.errors import GuardError, MigrationError, StateError, TargetError
from migration_assets.source import cut as cuts
from migration_assets.target import ledger
from migration_assets.target.connection import connect
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    carry,
    change,
    load_week,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

NOTES = """
CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, stars INTEGER);
INSERT INTO note VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
CREATE TABLE tag (name TEXT PRIMARY KEY);
INSERT INTO tag VALUES ('a');
"""
MESS = "UPDATE migration.mapping SET document = {} WHERE table_name = 'note'"


def test_an_entry_says_everything_about_its_move(make_migration: MakeMigration) -> None:
    """Weeks, cuts, mapping, counts, digest with its algorithm, run, guards and times."""
    migration = make_migration(NOTES)
    before = datetime.now(UTC)
    load_week(migration, 1)
    change(
        migration,
        "UPDATE note SET body = 'won' WHERE id = 1",
        "DELETE FROM note WHERE id = 2",
        "UPDATE note SET stars = 'lots' WHERE id = 3",
        "INSERT INTO note VALUES (4, 'four', 4)",
    )
    write_on_target(migration, "INSERT INTO note VALUES (77, 'foreign', 7)")
    moved = load_week(migration, 2, acknowledged=DISPLACE)["note"]
    older = cuts.covering(migration.state, "main", week(1))
    newer = cuts.covering(migration.state, "main", week(2))
    assert older is not None
    assert newer is not None
    with on_target(migration) as connection:
        cursor = connection.execute(
            "SELECT * FROM migration.ledger WHERE table_name = 'note' ORDER BY entry DESC LIMIT 1"
        )
        row = cursor.fetchone()
        assert row is not None
        entry = dict(zip([c.name for c in cursor.description or ()], row, strict=True))
    assert (entry["source"], entry["kind"], entry["week"]) == ("main", "load", week(2))
    assert (entry["base_week"], entry["base_cut"], entry["cut"]) == (week(1), older.id, newer.id)
    assert entry["mapping"] == moved.mapping.hash
    assert (entry["inserted"], entry["updated"], entry["deleted"]) == (1, 1, 3)
    assert (entry["source_rows"], entry["target_rows"], entry["quarantined"]) == (3, 2, 1)
    assert entry["displaced"] == 1
    assert entry["algorithm"] == "sha256/1"
    assert sum(entry["bucket_counts"]) == 2
    assert sum(entry["bucket_sums"]) == moved.proof.target_total
    assert (entry["run"], entry["acknowledged"]) == ("test", ["foreign_writes"])
    assert before < entry["started_at"] < entry["written_at"]
    assert len(entry["move"]) == 32


def test_entries_are_numbered_over_all_tables(make_migration: MakeMigration) -> None:
    """One sequence: what happened on the target, in order."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    load_week(migration, 2)
    with connect(migration.target) as connection:
        found = ledger.entries(connection, "main")
    assert [(e["table_name"], e["week"]) for e in found] == [
        ("note", week(1)),
        ("tag", week(1)),
        ("note", week(2)),
        ("tag", week(2)),
    ]
    assert [e["entry"] for e in found] == sorted({e["entry"] for e in found})


def test_a_failed_attempt_is_noted_with_its_message(make_migration: MakeMigration) -> None:
    """It outlives the transaction that failed, and moves nothing."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM note WHERE id = 1")
    error = run_week(migration, 2)["note"]
    assert isinstance(error, GuardError)
    with connect(migration.target) as connection:
        (attempt,) = ledger.attempts(connection, "main")
        assert len(ledger.entries(connection, "main")) == 3
    assert (attempt["table_name"], attempt["week"]) == ("note", week(2))
    assert (attempt["error"], attempt["message"]) == ("ForeignWriteError", str(error))


def test_a_failure_before_the_transaction_is_noted_too(make_migration: MakeMigration) -> None:
    """A cut that is damaged never gets as far as a move."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    cut = step.take_cut(migration, week(2))
    cut.path.chmod(0o600)
    cut.path.write_bytes(cut.path.read_bytes()[:-1] + b"!")
    with pytest.raises(StateError):
        carry(migration, 2, "note")
    assert target_rows(migration, "SELECT error FROM migration.attempt") == [("StateError",)]


def test_a_note_that_can_not_be_written_does_not_hide_the_failure(
    make_migration: MakeMigration,
) -> None:
    """The error itself is raised, and says that its note is missing."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM note WHERE id = 1", "DROP TABLE migration.attempt")
    error = run_week(migration, 2)["note"]
    assert isinstance(error, GuardError)
    assert "could not be noted" in error.__notes__[0]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("replace(document, 'bigint', 'text')", id="another type"),
        pytest.param("replace(document, 'body', 'bodies')", id="another name"),
        pytest.param("''", id="empty"),
        pytest.param("'{}'", id="nothing in it"),
        pytest.param("'[1]'", id="no mapping"),
        pytest.param("left(document, 100)", id="cut off"),
    ],
)
def test_a_sealed_mapping_that_somebody_changed_is_refused(
    make_migration: MakeMigration, document: str
) -> None:
    """Its hash no longer is its name; other tables go on."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    write_on_target(migration, MESS.format(document))
    before = snapshot(migration)
    change(migration, "UPDATE note SET stars = 9")
    error = run_week(migration, 2, tables=["note"])["note"]
    assert isinstance(error, TargetError)
    assert "sealed mapping" in str(error)
    assert snapshot(migration) == before
    with pytest.raises(TargetError, match="sealed mapping"):
        standing.verify(migration, "note")
    load_week(migration, 2, tables=["tag"])


def test_a_first_load_that_failed_seals_nothing(make_migration: MakeMigration) -> None:
    """Only a load that commits decides the mapping."""
    migration = make_migration(NOTES)
    write_on_target(migration, "CREATE VIEW note AS SELECT 1 AS x")
    assert isinstance(run_week(migration, 1)["note"], MigrationError)
    assert target_rows(migration, "SELECT table_name FROM migration.mapping") == [("tag",)]


def test_a_mapping_stays_sealed_whatever_comes_later(make_migration: MakeMigration) -> None:
    """Values of another kind in a later week don't change the type, they are quarantined."""
    migration = make_migration(NOTES)
    first = load_week(migration, 1)["note"].mapping
    change(migration, "UPDATE note SET stars = 'many'")
    assert load_week(migration, 2)["note"].mapping == first
    assert target_rows(migration, "SELECT count(*) FROM migration.mapping") == [(2,)]
    assert_equal(migration)


def test_row_security_of_the_target_hides_no_rows(make_migration: MakeMigration) -> None:
    """A policy would show the loader fewer rows than there are; that is an error, never a proof."""
    admin = make_migration(NOTES)
    name = target_rows(admin, "SELECT current_database()")[0][0]
    role = sql.Identifier(f"owner_{name}")
    with on_target(admin) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pass'").format(role))
        connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(name), role)
        )
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(role))
        try:
            _row_security(make_migration, f"owner_{name}")
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def _row_security(make_migration: MakeMigration, role: str) -> None:
    from psycopg import conninfo  # noqa: PLC0415

    url = make_migration("").target.url
    migration = make_migration("", target=conninfo.make_conninfo(url, user=role, password="pass"))  # noqa: S106
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE note ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY fewer ON note USING (id > 1)",
        "ALTER TABLE note FORCE ROW LEVEL SECURITY",
    )
    change(migration, "UPDATE note SET stars = 10 WHERE id = 2")
    error = run_week(migration, 2, tables=["note"])["note"]
    assert isinstance(error, TargetError)
    assert "row-level security" in str(error)
    with pytest.raises(TargetError, match="row-level security"):
        standing.verify(migration, "note")
    write_on_target(migration, "ALTER TABLE note NO FORCE ROW LEVEL SECURITY")
    load_week(migration, 2)
    assert target_rows(migration, "SELECT id, stars FROM note ORDER BY id") == [
        (1, 1),
        (2, 10),
        (3, 3),
    ]


def test_a_bootstrap_twice_changes_nothing(make_migration: MakeMigration) -> None:
    """Every step makes sure of the ledger; it is made once."""
    migration = make_migration(NOTES)
    step.bootstrap(migration)
    before = target_rows(migration, "SELECT oid, relname FROM pg_class ORDER BY oid")
    step.bootstrap(migration)
    assert target_rows(migration, "SELECT oid, relname FROM pg_class ORDER BY oid") == before


def test_an_entry_that_somebody_deleted_is_seen_by_the_next_week(
    make_migration: MakeMigration,
) -> None:
    """The head falls back a week; the rows of that week are then nobody's, and stop the step."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    change(migration, "UPDATE note SET stars = 9 WHERE id = 1")
    load_week(migration, 2)
    write_on_target(
        migration,
        "DELETE FROM migration.ledger WHERE entry = (SELECT max(entry) - 1 FROM migration.ledger)",
    )
    error = run_week(migration, 3, tables=["note"])["note"]
    assert isinstance(error, GuardError)
    assert "id=1" in str(error)
    load_week(migration, 3, acknowledged=DISPLACE)
    assert_equal(migration)
