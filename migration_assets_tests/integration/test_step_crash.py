"""Killed anywhere, cut off anywhere, run again: the same end, once."""

import signal

import pytest

from migration_assets import step
from migration_assets.errors import TransientError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    snapshot,
    target_rows,
    week,
)
from migration_assets_tests.processes import (
    die_in_cut,
    die_in_proof,
    die_in_step,
    die_on_report,
    die_on_write,
    exit_code,
    started,
)
from migration_assets_tests.proxy import Fault, through_proxy
from migration_assets_tests.system.waiting import until

PARTS = """
CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER);
INSERT INTO part VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4);
"""
KEYLESS = PARTS.replace(" PRIMARY KEY", "").replace(" UNIQUE", "")
WEEK = (
    "UPDATE part SET name = 'x' WHERE id = 1",
    "UPDATE part SET name = 'a' WHERE id = 2",
    "DELETE FROM part WHERE id = 3",
    "INSERT INTO part VALUES (5, 'e', 'many')",
)
STAGES = (
    "prepared",
    "compared",
    "locked",
    "staged",
    "applied",
    "quarantined",
    "proved",
    "read_back",
    "written",
    "committed",
)


def prepare(migration: Migration, number: int) -> None:
    """Bring the migration to where a week is to be run: its cut is taken, earlier ones loaded."""
    for earlier in range(1, number):
        load_week(migration, earlier)
        change(migration, *WEEK)
    step.take_cut(migration, week(number))
    step.bootstrap(migration)


def assert_run_once(migration: Migration, number: int) -> None:
    """Let nothing be left over: equal, one entry a week, no locks, tables or workspaces."""
    assert_equal(migration)
    assert_proved(migration, "part")
    assert [e[0] for e in entries(migration, "part")] == [week(n + 1) for n in range(number)]
    left = target_rows(
        migration,
        "SELECT relname::text FROM pg_class WHERE relpersistence = 't'"
        " UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        " UNION ALL SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    )
    assert left == [("part",)]
    assert list((migration.settings.state / "work").iterdir()) == []
    stored = [key for key in migration.state.keys("deltas") if week(number).isoformat() in key]
    assert len(stored) <= 4, "one manifest, its mapping and its two files"


@pytest.mark.parametrize(
    ("number", "schema"),
    [(1, PARTS), (2, PARTS), (2, KEYLESS)],
    ids=["first load", "weekly delta", "weekly delta without a key"],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_that_was_killed_is_finished_by_the_next_run(
    make_migration: MakeMigration, stage: str, number: int, schema: str
) -> None:
    """At every stage: before COMMIT nothing of it shows, after it nothing is done again."""
    migration = make_migration(schema)
    prepare(migration, number)
    before = snapshot(migration)
    killed = started(die_in_step, migration, "part", week(number), stage)
    assert exit_code(killed) == -signal.SIGKILL
    if stage != "committed":
        assert snapshot(migration) == before
    moved = carry(migration, number, "part")
    assert moved.outcome is (Outcome.COVERED if stage == "committed" else Outcome.LOADED)
    assert carry(migration, number, "part").outcome is Outcome.COVERED
    assert_run_once(migration, number)


def test_a_cut_that_was_killed_is_taken_by_the_next_run(make_migration: MakeMigration) -> None:
    """Half a copy is never a cut."""
    migration = make_migration(PARTS)
    assert exit_code(started(die_in_cut, migration, week(1))) == -signal.SIGKILL
    assert migration.state.keys("cuts") == []
    load_week(migration, 1)
    assert_run_once(migration, 1)


@pytest.mark.parametrize(
    "key",
    [
        "cuts/main/2026-10-11/",
        "cuts/main/2026-10-11/manifest",
        "deltas/main/part/2026-10-11/rows-",
        "deltas/main/part/2026-10-11/misfits-",
        "deltas/main/part/2026-10-11/mapping",
        "deltas/main/part/2026-10-11/manifest",
    ],
)
def test_a_run_that_was_killed_while_it_wrote_its_state_is_finished_by_the_next(
    make_migration: MakeMigration, key: str
) -> None:
    """Files of the cut and of the delta: what has no manifest isn't there, and is cleared away."""
    migration = make_migration(PARTS)
    load_week(migration, 1)
    change(migration, *WEEK)
    killed = started(die_on_write, migration, "part", week(2), key)
    assert exit_code(killed) == -signal.SIGKILL
    load_week(migration, 2)
    assert_run_once(migration, 2)


@pytest.mark.parametrize("key", ["catalog", "reports/"])
def test_a_run_that_was_killed_while_it_remembered_or_reported_is_finished_by_the_next(
    make_migration: MakeMigration, key: str
) -> None:
    """The catalog that definitions load from, and the weekly report: the one before, or whole."""
    migration = make_migration(PARTS)
    load_week(migration, 1)
    whole = started(die_on_report, migration, week(1), "nothing of that name")
    assert exit_code(whole) == 0
    (stored,) = [k for k in migration.state.keys("") if key in k]
    before = migration.state.read_text(stored)
    change(migration, "CREATE TABLE more (id INTEGER PRIMARY KEY)", *WEEK)
    killed = started(die_on_report, migration, week(2), key)
    assert exit_code(killed) == -signal.SIGKILL
    assert [k for k in migration.state.keys("") if key in k] == [stored]
    assert migration.state.read_text(stored) == before
    load_week(migration, 2, tables=["part"])
    assert exit_code(started(die_on_report, migration, week(2), "nothing of that name")) == 0
    latest = migration.state.read_text([k for k in migration.state.keys("") if key in k][-1])
    assert latest is not None
    assert latest != before
    assert_equal(migration, "part")
    assert list((migration.settings.state / "work").iterdir()) == []


def test_a_verification_that_was_killed_leaves_no_session_and_no_trace(
    make_migration: MakeMigration,
) -> None:
    """Its snapshot would hold back the server's clean-up for as long as it stands."""
    migration = make_migration(PARTS)
    prepare(migration, 2)
    carry(migration, 2, "part")
    before = snapshot(migration)
    assert exit_code(started(die_in_proof, migration, "part")) == -signal.SIGKILL
    ours = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'migration-assets'"
    mine = f"{ours} AND datname = current_database()"
    until(lambda: not target_rows(migration, mine), what="the session ends with its process")
    assert snapshot(migration) == before
    assert_run_once(migration, 2)


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_a_commit_whose_answer_was_lost_is_settled_as_committed(
    make_migration: MakeMigration, number: int
) -> None:
    """The ledger knows: the step ends well, and once."""
    migration = make_migration(PARTS)
    prepare(migration, number)
    with through_proxy(migration) as (cut_off, proxy):

        def at(stage: str) -> None:
            if stage == "written":
                proxy.at_commit(Fault.CUT_ANSWER)

        moved = carry(cut_off, number, "part", at=at)
        assert proxy.injected.total() == 1
    assert moved.outcome is Outcome.LOADED
    assert moved.entry == target_rows(migration, "SELECT max(entry) FROM migration.ledger")[0][0]
    assert carry(migration, number, "part").outcome is Outcome.COVERED
    assert_run_once(migration, number)


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_a_commit_that_never_arrived_is_settled_as_not_committed(
    make_migration: MakeMigration, number: int
) -> None:
    """The step fails, may be tried again, and is done once."""
    migration = make_migration(PARTS)
    prepare(migration, number)
    before = snapshot(migration)
    with through_proxy(migration) as (cut_off, proxy):

        def at(stage: str) -> None:
            if stage == "written":
                proxy.at_commit(Fault.CUT_REQUEST)

        with pytest.raises(TransientError, match="connection to the target was lost"):
            carry(cut_off, number, "part", at=at)
        assert proxy.injected.total() == 1
    assert snapshot(migration) == before
    assert carry(migration, number, "part").outcome is Outcome.LOADED
    assert_run_once(migration, number)


def test_a_commit_that_can_not_be_settled_now_is_settled_by_the_next_run(
    make_migration: MakeMigration,
) -> None:
    """Committed, and the target out of reach from then on: an error, but no second load."""
    migration = make_migration(PARTS, connect_patience=0.0)
    prepare(migration, 2)
    with through_proxy(migration) as (cut_off, proxy):

        def at(stage: str) -> None:
            if stage == "written":
                proxy.at_commit(Fault.CUT_ANSWER)
                proxy.open_for_business = False

        with pytest.raises(TransientError):
            carry(cut_off, 2, "part", at=at)
    assert carry(migration, 2, "part").outcome is Outcome.COVERED
    assert_run_once(migration, 2)
