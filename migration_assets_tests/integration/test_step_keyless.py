"""Tables without a key: a multiset of rows whose copies come, go and are counted."""

import pytest

from migration_assets.errors import GuardError, MigrationError, ProofError, TargetError
from migration_assets.migration import Migration
from migration_assets.model import Scope
from migration_assets.source import delta_files
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    mapping_of,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

READINGS = """
CREATE TABLE reading (sensor TEXT, value REAL, raw BLOB);
INSERT INTO reading VALUES ('s1', 1.5, NULL), ('s1', 1.5, NULL), ('s2', NULL, x'00ff');
"""
LINES = """
CREATE TABLE line (article TEXT, amount INTEGER);
INSERT INTO line VALUES ('pen', 1), ('pen', 1), ('pen', 1), ('ink', 2), ('cup', 3), ('jar', 4);
"""
# The week's own change: one of three pens goes, the ink goes, a cup and a hat come.
WEEK = (
    "DELETE FROM line WHERE rowid IN (2, 4)",
    "INSERT INTO line VALUES ('cup', 3), ('hat', 5)",
)


def result_of(migration: Migration, number: int) -> MigrationError:
    """Run a week in which the table of lines has to fail; return its error."""
    result = run_week(migration, number)["line"]
    assert isinstance(result, MigrationError)
    return result


def places(migration: Migration) -> list[tuple[object, ...]]:
    """Return where each row of the table of lines stands, and which transaction wrote it."""
    return target_rows(migration, "SELECT ctid::text, xmin::text, article FROM line ORDER BY ctid")


def test_copies_come_and_go(make_migration: MakeMigration) -> None:
    """One more, one less, none left; NULLs are values like any other."""
    migration = make_migration(READINGS)
    assert load_week(migration, 1)["reading"].mapping.key == ()
    change(
        migration,
        "DELETE FROM reading WHERE rowid = 1",
        *["INSERT INTO reading VALUES ('s2', NULL, x'00ff')"] * 2,
        "INSERT INTO reading VALUES (NULL, NULL, NULL)",
    )
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "reading")
    change(migration, "DELETE FROM reading")
    load_week(migration, 3)
    assert_equal(migration)
    assert target_rows(migration, "SELECT count(*) FROM reading") == [(0,)]
    counts = [entry[2:] for entry in entries(migration, "reading")]
    assert counts == [(3, 0, 0), (3, 0, 1), (0, 0, 5)]


def test_only_the_copies_that_changed_are_written(make_migration: MakeMigration) -> None:
    """Delta, result and ledger count copies, and every other row stands where it stood."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    before = places(migration)
    change(migration, *WEEK)
    moved = load_week(migration, 2)["line"]
    delta = delta_files.find(migration.state, "main", "line", week(2))
    assert delta is not None
    assert (delta.scope, delta.inserts, delta.deletes) == (Scope.CHANGES, 2, 2)
    assert (moved.inserted, moved.updated, moved.deleted) == (2, 0, 2)
    assert entries(migration, "line")[-1][2:] == (2, 0, 2)
    assert len(set(before) & set(places(migration))) == 4
    assert_equal(migration)
    assert_proved(migration, "line")


def test_a_week_without_changes_writes_nothing(make_migration: MakeMigration) -> None:
    """The head moves, the table doesn't: also where every row got another rowid."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    before = places(migration)
    change(
        migration,
        "CREATE TABLE sorted AS SELECT * FROM line ORDER BY article",
        "DELETE FROM line",
        "INSERT INTO line SELECT * FROM sorted",
        "DROP TABLE sorted",
    )
    moved = load_week(migration, 2)["line"]
    assert (moved.inserted, moved.updated, moved.deleted) == (0, 0, 0)
    assert places(migration) == before
    assert [entry[0] for entry in entries(migration, "line")] == [week(1), week(2)]


def test_weeks_may_be_skipped_and_run_late(make_migration: MakeMigration) -> None:
    """The third week is carried from the first; the second has nothing left to do."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    change(migration, *WEEK)
    run_week(migration, 2, tables=[])
    change(migration, "DELETE FROM line WHERE article = 'hat'", *WEEK)
    moved = load_week(migration, 3)["line"]
    assert moved.deleted == 2
    before = snapshot(migration)
    for number in (2, 3, 3):
        carry(migration, number, "line")
        assert snapshot(migration) == before
    assert_equal(migration)


def test_unique_values_move_between_rows(make_migration: MakeMigration) -> None:
    """A UNIQUE column with NULLs is no key; its index is there and never in the way."""
    migration = make_migration(
        "CREATE TABLE seat (place TEXT UNIQUE, guest TEXT);"
        "INSERT INTO seat VALUES ('a', 'Ada'), ('b', 'Bob'), (NULL, 'Di'), (NULL, 'Di');"
    )
    assert load_week(migration, 1)["seat"].mapping.key == ()
    change(
        migration,
        "UPDATE seat SET place = 'x' WHERE guest = 'Ada'",
        "UPDATE seat SET place = 'a' WHERE guest = 'Bob'",
        "UPDATE seat SET place = 'b' WHERE guest = 'Ada'",
        "DELETE FROM seat WHERE rowid = 3",
    )
    moved = load_week(migration, 2)["seat"]
    assert (moved.inserted, moved.deleted) == (2, 3)
    assert_equal(migration)


@pytest.mark.parametrize("acknowledged", [frozenset[str](), DISPLACE], ids=["ordinary", "displace"])
def test_columns_that_are_not_ours_keep_their_values(
    make_migration: MakeMigration, acknowledged: frozenset[str]
) -> None:
    """Rows that stay keep what the successor wrote beside them, in every kind of week."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE line ADD note text DEFAULT 'new', ADD twice int GENERATED ALWAYS AS"
        " (amount * 2) STORED",
        "UPDATE line SET note = 'ours ' || article",
    )
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=acknowledged)
    assert_equal(migration, extra_columns=["note", "twice"])
    assert target_rows(migration, "SELECT article, note, twice FROM line ORDER BY 1, 2") == [
        ("cup", "new", 6),
        ("cup", "ours cup", 6),
        ("hat", "new", 10),
        ("jar", "ours jar", 8),
        ("pen", "ours pen", 2),
        ("pen", "ours pen", 2),
    ]


FOREIGN: dict[str, tuple[str, list[str]]] = {
    "a changed row that the delta does not touch": (
        "UPDATE line SET amount = 9 WHERE article = 'jar'",
        ["(jar,9)"],
    ),
    "a changed row that the delta deletes": (
        "UPDATE line SET amount = 9 WHERE article = 'ink'",
        ["(ink,9)"],
    ),
    "all copies gone of a row of which the delta deletes one": (
        "DELETE FROM line WHERE article = 'pen'",
        [],
    ),
    "a copy gone of a row of which the delta deletes one": (
        "DELETE FROM line WHERE ctid = (SELECT min(ctid) FROM line WHERE article = 'pen')",
        [],
    ),
    "a copy more of a row that the delta deletes": (
        "INSERT INTO line VALUES ('ink', 2)",
        ["(ink,2)"],
    ),
    "a row deleted that the delta deletes too": ("DELETE FROM line WHERE article = 'ink'", []),
    "a row brought that the delta brings too": ("INSERT INTO line VALUES ('hat', 5)", ["(hat,5)"]),
    "a row gone that the delta brings another copy of": (
        "DELETE FROM line WHERE article = 'cup'",
        [],
    ),
    "an added row": ("INSERT INTO line VALUES ('bag', NULL)", ["(bag,)"]),
    "two copies more": ("INSERT INTO line VALUES ('jar', 4), ('jar', 4)", ["(jar,4)", "(jar,4)"]),
    "two rows that swapped values": (
        "UPDATE line SET amount = 7 - amount WHERE article IN ('cup', 'jar')",
        ["(cup,4)", "(jar,3)"],
    ),
}


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("show_keys", [True, False])
def test_a_foreign_write_stops_the_step_and_is_displaced_when_acknowledged(
    make_migration: MakeMigration, foreign: str, *, show_keys: bool
) -> None:
    """Nothing changes, whatever was written; acknowledged, exactly the foreign copies are kept."""
    statement, kept = FOREIGN[foreign]
    migration = make_migration(LINES, show_keys=show_keys)
    load_week(migration, 1)
    write_on_target(migration, statement)
    change(migration, *WEEK)
    before = snapshot(migration)
    error = result_of(migration, 2)
    assert isinstance(error, GuardError)
    assert "--acknowledge foreign_writes" in str(error)
    assert ("row with hash" in str(error)) is show_keys
    assert snapshot(migration) == before
    moved = load_week(migration, 2, acknowledged=DISPLACE)["line"]
    displaced = "SELECT target_row FROM migration.displaced ORDER BY 1"
    assert [row for (row,) in target_rows(migration, displaced)] == kept
    assert moved.displaced == len(kept)
    assert_equal(migration)
    assert_proved(migration, "line")
    before = snapshot(migration)
    carry(migration, 2, "line")
    assert snapshot(migration) == before


def test_a_foreign_write_stops_a_quiet_week_too(make_migration: MakeMigration) -> None:
    """An empty delta touches no row; the sum of all rows tells."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE line SET amount = NULL WHERE article = 'jar'")
    assert isinstance(result_of(migration, 2), GuardError)
    assert len(entries(migration, "line")) == 1


def test_a_foreign_row_that_takes_a_unique_value_stops_the_step(
    make_migration: MakeMigration,
) -> None:
    """The index refuses the source's row before any sum is made; the way out is named."""
    migration = make_migration(
        "CREATE TABLE line (article TEXT, amount INTEGER, code TEXT UNIQUE);"
        "INSERT INTO line VALUES ('pen', 1, NULL), ('pen', 1, NULL), ('ink', 2, 'i');"
    )
    load_week(migration, 1)
    write_on_target(migration, "INSERT INTO line VALUES ('bag', 9, 'z')")
    change(migration, "INSERT INTO line VALUES ('hat', 5, 'z')")
    before = snapshot(migration)
    error = result_of(migration, 2)
    assert "23505" in str(error)
    assert "verify" in error.hint
    assert snapshot(migration) == before
    assert load_week(migration, 2, acknowledged=DISPLACE)["line"].displaced == 1
    assert_equal(migration)


def test_the_copy_that_goes_is_the_one_that_is_kept(make_migration: MakeMigration) -> None:
    """Copies differ by the columns that are not ours: what a displacing load takes, it keeps."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE line ADD note text DEFAULT 'first'",
        "INSERT INTO line VALUES ('jar', 4, 'second')",
    )
    load_week(migration, 2, acknowledged=DISPLACE)
    assert target_rows(migration, "SELECT target_row FROM migration.displaced") == [
        ("(jar,4,second)",)
    ]
    assert target_rows(migration, "SELECT note FROM line WHERE article = 'jar'") == [("first",)]


def test_a_stored_delta_of_everything_is_no_licence(make_migration: MakeMigration) -> None:
    """Made for a run that was allowed to displace; the next one, that isn't, stops all the same."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(migration, "INSERT INTO line VALUES ('bag', 9)")
    change(migration, *WEEK)

    def stop(stage: str) -> None:
        if stage == "locked":
            raise GuardError(what="stopped here")

    run_week(migration, 2, tables=[])
    with pytest.raises(GuardError, match="stopped here"):
        carry(migration, 2, "line", acknowledged=DISPLACE, at=stop)
    stored = delta_files.find(migration.state, "main", "line", week(2))
    assert stored is not None
    assert stored.scope is Scope.EVERYTHING
    with pytest.raises(GuardError, match="by someone else"):
        carry(migration, 2, "line")


def _trigger(when: str, body: str) -> tuple[str, str]:
    return (
        f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$",
        f"CREATE TRIGGER meddling {when} ON line FOR EACH ROW EXECUTE FUNCTION meddle()",
    )


@pytest.mark.parametrize(
    "trigger",
    [
        pytest.param(_trigger("BEFORE INSERT", "NEW.amount := 0; RETURN NEW;"), id="changes"),
        pytest.param(_trigger("BEFORE INSERT", "RETURN NULL;"), id="drops"),
        pytest.param(_trigger("BEFORE DELETE", "RETURN NULL;"), id="keeps"),
    ],
)
def test_a_load_that_a_trigger_bends_is_no_foreign_write(
    make_migration: MakeMigration, trigger: tuple[str, str]
) -> None:
    """Nobody wrote between the weeks; the proof fails as what it is, and nothing commits."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(migration, *trigger)
    change(migration, *WEEK)
    before = snapshot(migration)
    assert isinstance(result_of(migration, 2), ProofError)
    assert snapshot(migration) == before
    write_on_target(migration, "DROP TRIGGER meddling ON line")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_delete_that_would_change_another_table_is_refused_by_name(
    make_migration: MakeMigration,
) -> None:
    """Copies may come; before one goes, the foreign key that would cascade has to go."""
    migration = make_migration(
        "CREATE TABLE line (article TEXT UNIQUE, amount INTEGER);"
        "INSERT INTO line VALUES ('pen', 1), ('ink', 2), (NULL, 3);"
    )
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE TABLE label (line text CONSTRAINT of_line REFERENCES line (article)"
        " ON DELETE CASCADE)",
        "INSERT INTO label VALUES ('ink')",
    )
    change(migration, "INSERT INTO line VALUES ('cup', 3)")
    load_week(migration, 2)
    load_week(migration, 3, acknowledged=DISPLACE)
    change(migration, "DELETE FROM line WHERE article = 'pen'")
    before = snapshot(migration)
    for acknowledged in (frozenset[str](), DISPLACE):
        result = run_week(migration, 4, acknowledged=acknowledged)["line"]
        assert isinstance(result, TargetError)
        assert "label.of_line" in str(result)
        assert snapshot(migration) == before
    write_on_target(migration, "ALTER TABLE label DROP CONSTRAINT of_line")
    load_week(migration, 4)
    assert_equal(migration, "line")


@pytest.mark.parametrize("acknowledged", [frozenset[str](), DISPLACE], ids=["ordinary", "displace"])
def test_a_table_that_was_partitioned_on_the_target_is_carried(
    make_migration: MakeMigration, acknowledged: frozenset[str]
) -> None:
    """Rows of two partitions share their ctids; each is deleted in its own."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE line RENAME TO unpartitioned",
        "CREATE TABLE line (LIKE unpartitioned) PARTITION BY HASH (article)",
        *(
            f"CREATE TABLE line_{i} PARTITION OF line FOR VALUES WITH (MODULUS 4, REMAINDER {i})"
            for i in range(4)
        ),
        "INSERT INTO line SELECT * FROM unpartitioned",
        "DROP TABLE unpartitioned",
    )
    change(migration, *WEEK)
    moved = load_week(migration, 2, acknowledged=acknowledged)["line"]
    assert (moved.inserted, moved.deleted) == (2, 2)
    assert_equal(migration)


def test_unfit_copies_enter_and_leave_quarantine_one_by_one(
    make_migration: MakeMigration,
) -> None:
    """Fit and unfit copies of one table change in one week; each side counts its own."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    change(
        migration,
        *["INSERT INTO line VALUES ('pen', 'many')"] * 3,
        "INSERT INTO line VALUES ('pen', 'few'), ('pen', 1)",
    )
    moved = load_week(migration, 2)["line"]
    assert (moved.inserted, moved.proof.quarantined_rows) == (1, 4)
    assert_equal(migration)
    change(
        migration,
        "UPDATE line SET amount = 1 WHERE rowid = 8",
        "UPDATE line SET amount = 'many' WHERE rowid = 1",
        "DELETE FROM line WHERE amount = 'few'",
    )
    moved = load_week(migration, 3)["line"]
    assert (moved.inserted, moved.deleted, moved.proof.quarantined_rows) == (0, 0, 3)
    change(migration, "DELETE FROM line WHERE amount = 'many' AND rowid > 1")
    moved = load_week(migration, 4)["line"]
    assert moved.proof.quarantined_rows == 1
    assert_equal(migration)
    assert_proved(migration, "line")


def test_a_unique_index_that_names_a_column_twice_is_no_key(make_migration: MakeMigration) -> None:
    """SQLite takes it; a primary key of PostgreSQL names each column once."""
    migration = make_migration(
        "CREATE TABLE t (a INTEGER NOT NULL, b); CREATE UNIQUE INDEX i ON t (a, a);"
        "INSERT INTO t VALUES (1, 'x'), (2, 'y')"
    )
    load_week(migration, 1)
    assert_equal(migration, "t")
    assert mapping_of(migration, "t").key == ()
