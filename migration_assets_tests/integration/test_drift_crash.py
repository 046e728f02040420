"""Moves between mappings, killed, cut off or run against each other: the same end, once."""

import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import pytest

from migration_assets import holds, step
from migration_assets.errors import (
    HoldError,
    MigrationError,
    ProofError,
    TargetError,
    TransientError,
)
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.model import Policy
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
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
from migration_assets_tests.processes import die_in_step, exit_code, started
from migration_assets_tests.telling import telling

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER, old TEXT NOT NULL);
INSERT INTO item VALUES (1, 'a', 1, 'p'), (2, 'b', 2, 'q'), (3, 'c', 3, 'r'), (4, 'd', 4, 's');
"""
KEYLESS = ITEMS.replace(" PRIMARY KEY", "").replace(" UNIQUE", "")
WEEK = (
    "ALTER TABLE item ADD COLUMN note TEXT NOT NULL DEFAULT 'n'",
    "ALTER TABLE item DROP COLUMN old",
    "CREATE INDEX by_amount ON item (amount)",
    "UPDATE item SET name = 'x' WHERE id = 1",
    "UPDATE item SET name = 'a', amount = 2.5 WHERE id = 2",
    "DELETE FROM item WHERE id = 3",
    "INSERT INTO item VALUES (5, 'e', 'many', 'new')",
)
STAGES = (
    "prepared",
    "compared",
    "locked",
    "staged",
    "altered",
    "applied",
    "quarantined",
    "proved",
    "read_back",
    "written",
    "committed",
)
CATALOGUE = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""


def prepared(make_migration: MakeMigration, schema: str = ITEMS) -> Migration:
    """Return a migration whose second week changes the schema, with its cut taken."""
    migration = telling(make_migration(schema), policy=Policy.WIDEN)
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))
    return migration


def everything(migration: Migration) -> tuple[object, object]:
    """Return all rows and the whole catalogue of the target."""
    return snapshot(migration), target_rows(migration, CATALOGUE)


def assert_carried_once(migration: Migration) -> None:
    """Let both weeks stand, once each, equal and proved, and nothing be left over."""
    assert_equal(migration, extra_columns=["old"])
    assert_proved(migration, "item")
    kinds = target_rows(migration, "SELECT week, kind FROM migration.ledger ORDER BY entry")
    assert kinds == [(week(1), "load"), (week(2), "schema")]
    left = target_rows(
        migration,
        "SELECT relname::text FROM pg_class WHERE relpersistence = 't'"
        " UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    assert left == []
    assert list((migration.settings.state / "work").iterdir()) == []


@pytest.mark.parametrize("schema", [ITEMS, KEYLESS], ids=["by key", "without a key"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_move_that_was_killed_is_finished_by_the_next_run(
    make_migration: MakeMigration, stage: str, schema: str
) -> None:
    """Before COMMIT neither a row nor a column of it shows; after it nothing is done again."""
    migration = prepared(make_migration, schema)
    before = everything(migration)
    killed = started(die_in_step, migration, "item", week(2), stage)
    assert exit_code(killed) == -signal.SIGKILL
    if stage != "committed":
        assert everything(migration) == before
    moved = carry(migration, 2, "item")
    assert moved.outcome is (Outcome.COVERED if stage == "committed" else Outcome.LOADED)
    assert_carried_once(migration)


@pytest.mark.parametrize("stage", ["staged", "altered", "quarantined", "written"])
def test_a_session_that_the_server_ends_leaves_nothing_of_a_move(
    make_migration: MakeMigration, stage: str
) -> None:
    """The step may be tried again, and is."""
    migration = prepared(make_migration)
    before = everything(migration)

    def at(reached: str) -> None:
        if reached == stage:
            with on_target(migration) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                    " pg_backend_pid() AND datname = current_database()"
                    " AND application_name = 'migration-assets'"
                )

    with pytest.raises(TransientError):
        carry(migration, 2, "item", at=at)
    assert everything(migration) == before
    carry(migration, 2, "item")
    assert_carried_once(migration)


def elsewhere(migration: Migration, folder: Path) -> Migration:
    """Return the migration with a state folder that shares its cuts but no locks or deltas."""
    folder.mkdir()
    (folder / "cuts").symlink_to(migration.settings.state / "cuts")
    settings = migration.settings.model_copy(update={"state": folder})
    return replace(migration, settings=settings, state=LocalState(folder))


def test_of_two_runs_one_wins_and_the_other_sees_a_new_head(
    make_migration: MakeMigration, tmp_path: Path
) -> None:
    """Though both prepared the move from the same head."""
    migration = prepared(make_migration)
    both = threading.Barrier(2, timeout=30)

    def at(stage: str) -> None:
        if stage == "compared":
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(carry, elsewhere(migration, tmp_path / name), 2, "item", at=at)
            for name in ("here", "there")
        ]
        done = [run.result(60) for run in runs]
    assert sorted(moved.outcome for moved in done) == [Outcome.COVERED, Outcome.LOADED]
    assert_carried_once(migration)


def test_a_move_to_a_later_mapping_wins_over_an_older_delta(
    make_migration: MakeMigration, tmp_path: Path
) -> None:
    """A week that was prepared before the change finds a head that covers it."""
    migration = telling(make_migration(ITEMS), policy=Policy.WIDEN)
    load_week(migration, 1)
    change(migration, "UPDATE item SET name = 'w' WHERE id = 1")
    step.take_cut(migration, week(2))
    change(migration, *WEEK)
    step.take_cut(migration, week(3))
    other = elsewhere(migration, tmp_path / "other")
    overtaking: list[Outcome] = []

    def at(stage: str) -> None:
        if stage == "compared" and not overtaking:
            overtaking.append(carry(other, 3, "item").outcome)

    assert carry(migration, 2, "item", at=at).outcome is Outcome.COVERED
    assert overtaking == [Outcome.LOADED]
    assert_equal(migration, extra_columns=["old"])


def test_a_move_waits_for_a_reader_within_bounds(make_migration: MakeMigration) -> None:
    """One that doesn't end makes the step give up for now; later it goes through."""
    migration = prepared(make_migration)
    impatient = replace(migration, target=replace(migration.target, lock_timeout=0.2))
    before = everything(migration)
    with on_target(migration) as connection, connection.transaction():
        connection.execute("SELECT count(*) FROM item")
        with pytest.raises(TransientError, match="lock"):
            carry(impatient, 2, "item")
    assert everything(migration) == before
    carry(migration, 2, "item")
    assert_carried_once(migration)


def test_what_is_written_while_rows_are_staged_is_seen(make_migration: MakeMigration) -> None:
    """The table is locked before it is looked at."""
    migration = prepared(make_migration)

    def at(stage: str) -> None:
        if stage == "staged":
            write_on_target(migration, "UPDATE item SET name = 'foreign' WHERE id = 4")

    with pytest.raises(MigrationError, match="by someone else"):
        carry(migration, 2, "item", at=at)
    assert target_rows(migration, "SELECT name FROM item WHERE id = 4") == [("foreign",)]


def test_a_column_that_comes_while_rows_are_staged_is_seen(make_migration: MakeMigration) -> None:
    """Names are looked at again under the lock."""
    migration = prepared(make_migration)

    def at(stage: str) -> None:
        if stage == "staged":
            write_on_target(migration, "ALTER TABLE item ADD note int")

    with pytest.raises(TargetError, match="a column note of its own"):
        carry(migration, 2, "item", at=at)


def test_a_writer_that_comes_during_a_move_waits_and_is_not_lost(
    make_migration: MakeMigration,
) -> None:
    """Its row stands in the altered table, and is foreign to the next week."""
    migration = prepared(make_migration)
    wrote: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:

        def at(stage: str) -> None:
            if stage == "altered":
                wrote.append(
                    pool.submit(
                        write_on_target, migration, "UPDATE item SET name = 'f' WHERE id = 4"
                    )
                )
                wait(wrote, timeout=0.2)  # it can't end before the move does

        carry(migration, 2, "item", at=at)
        wrote[0].result(30)
    assert target_rows(migration, "SELECT name FROM item WHERE id = 4") == [("f",)]
    assert "by someone else" in str(run_week(migration, 3)["item"])


def test_a_hold_that_comes_while_a_move_is_prepared_wins(make_migration: MakeMigration) -> None:
    """Nothing is altered."""
    migration = prepared(make_migration)
    before = target_rows(migration, CATALOGUE)

    def at(stage: str) -> None:
        if stage == "compared":
            holds.hold(migration, "item", "looked at")

    with pytest.raises(HoldError):
        carry(migration, 2, "item", at=at)
    assert target_rows(migration, CATALOGUE) == before


def test_a_trigger_that_changes_rows_on_their_way_fails_the_proof(
    make_migration: MakeMigration,
) -> None:
    """The move is undone with its statements."""
    migration = prepared(make_migration)
    write_on_target(
        migration,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.note := upper(NEW.note); RETURN NEW; END $$",
    )

    def at(stage: str) -> None:
        if stage == "compared":
            write_on_target(
                migration,
                "CREATE TRIGGER shouting BEFORE INSERT OR UPDATE ON item"
                " FOR EACH ROW EXECUTE FUNCTION shout()",
            )

    before = everything(migration)
    with pytest.raises(MigrationError) as raised:
        carry(migration, 2, "item", at=at)
    assert isinstance(raised.value, ProofError)
    assert "nothing was committed" in str(raised.value)
    assert everything(migration) == before


def test_deferred_triggers_of_the_target_do_not_keep_a_table_from_being_altered(
    make_migration: MakeMigration,
) -> None:
    """They fire before the second half of the statements."""
    migration = prepared(make_migration)
    write_on_target(
        migration,
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON item"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing()",
    )
    carry(migration, 2, "item")
    assert_carried_once(migration)
