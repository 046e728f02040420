"""Rollbacks killed anywhere, cut off, or run against each other: the same end, once."""

import shutil
import signal
from dataclasses import replace

import pytest

from migration_assets import step, undo
from migration_assets.errors import TransientError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_proved,
    carry,
    change,
    load_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.processes import (
    CONTEXT,
    die_in_rollback,
    exit_code,
    roll_back_together,
    started,
    step_together,
)
from migration_assets_tests.proxy import Fault, through_proxy

PARTS = """
CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER);
INSERT INTO part VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4);
"""
WEEK = (
    "UPDATE part SET name = 'x' WHERE id = 1",
    "UPDATE part SET name = 'a' WHERE id = 2",
    "DELETE FROM part WHERE id = 3",
    "INSERT INTO part VALUES (5, 'e', 'many')",
)
SCHEMA_WEEK = (
    *WEEK,
    "ALTER TABLE part ADD COLUMN note TEXT",
    "ALTER TABLE part DROP COLUMN amount",
    "CREATE INDEX by_note ON part (note)",
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
    "restored",
    "written",
    "committed",
)
ROWS = "SELECT id, name, amount FROM part ORDER BY id"
FIRST = [(1, "a", 1), (2, "b", 2), (3, "c", 3), (4, "d", 99)]


def lived(migration: Migration, *statements: str) -> None:
    """Load two weeks; the second one displaces what somebody else wrote."""
    load_week(migration, 1)
    write_on_target(migration, "UPDATE part SET amount = 99 WHERE id = 4")
    change(migration, *statements)
    load_week(migration, 2, acknowledged=DISPLACE)


def assert_rolled_back_once(migration: Migration) -> None:
    """Let the table stand at the first week, by one entry, on hold, and nothing be left over."""
    assert target_rows(migration, ROWS) == FIRST
    assert_proved(migration, "part")
    kinds = "SELECT kind, restores FROM migration.ledger ORDER BY entry OFFSET 2"
    assert target_rows(migration, kinds) == [("rollback", 1)]
    assert target_rows(migration, "SELECT count(*) FROM migration.displaced") == [(0,)]
    assert target_rows(migration, "SELECT count(*) FROM migration.exception") == [(1,)]
    assert set(holds_of(migration)) == {"part"}
    left = target_rows(
        migration,
        "SELECT relname::text FROM pg_class WHERE relpersistence = 't'"
        " UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        " UNION ALL SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    )
    assert left == [("part",)]
    with migration.state.workspace():
        pass  # the next one that opens one sweeps what a killed one left
    assert list((migration.settings.state / "work").iterdir()) == []


def holds_of(migration: Migration) -> list[str]:
    """Return the tables on hold."""
    return [name for (name,) in target_rows(migration, "SELECT table_name FROM migration.hold")]


def take_back(migration: Migration) -> Outcome | None:
    """Take the second week back, if it is there."""
    moved = undo.rollback(migration, "part", week=week(2), run="test")
    return moved and moved.outcome


@pytest.mark.parametrize("statements", [WEEK, SCHEMA_WEEK], ids=["rows", "rows and schema"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_rollback_that_was_killed_is_finished_by_the_next(
    make_migration: MakeMigration, stage: str, statements: tuple[str, ...]
) -> None:
    """Before COMMIT nothing of it shows, after it nothing is done again."""
    if stage == "altered" and statements is WEEK:
        stage = "staged"
    migration = make_migration(PARTS)
    lived(migration, *statements)
    before = snapshot(migration)
    killed = started(die_in_rollback, migration, "part", week(2), stage)
    assert exit_code(killed) == -signal.SIGKILL
    if stage != "committed":
        assert snapshot(migration) == before
    assert take_back(migration) is (None if stage == "committed" else Outcome.LOADED)
    assert take_back(migration) is None
    assert_rolled_back_once(migration)


def test_a_commit_whose_answer_was_lost_is_settled_as_committed(
    make_migration: MakeMigration,
) -> None:
    """The ledger knows: the rollback ends well, and once."""
    migration = make_migration(PARTS)
    lived(migration, *WEEK)
    with through_proxy(migration) as (cut_off, proxy):

        def at(stage: str) -> None:
            if stage == "written":
                proxy.at_commit(Fault.CUT_ANSWER)

        moved = undo.rollback(cut_off, "part", week=week(2), run="test", at=at)
        assert proxy.injected.total() == 1
    assert moved is not None
    assert moved.outcome is Outcome.LOADED
    assert take_back(migration) is None
    assert_rolled_back_once(migration)


def test_a_commit_that_never_arrived_is_done_by_the_next(make_migration: MakeMigration) -> None:
    """Nothing of the first one shows; the second one takes the week back."""
    migration = make_migration(PARTS, retry_patience=0)
    lived(migration, *WEEK)
    before = snapshot(migration)
    with through_proxy(migration) as (cut_off, proxy):

        def at(stage: str) -> None:
            if stage == "written":
                proxy.at_commit(Fault.CUT_REQUEST)

        with pytest.raises(TransientError):
            undo.rollback(cut_off, "part", week=week(2), run="test", at=at)
        assert proxy.injected.total() == 1
    assert snapshot(migration) == before
    assert take_back(migration) is Outcome.LOADED
    assert_rolled_back_once(migration)


def test_of_two_rollbacks_at_once_one_finds_nothing_left(make_migration: MakeMigration) -> None:
    """One waits for the other and steps aside."""
    migration = make_migration(PARTS)
    lived(migration, *WEEK)
    start = CONTEXT.Barrier(2)
    both = [started(roll_back_together, migration, "part", week(2), start) for _ in range(2)]
    assert [exit_code(process) for process in both] == [0, 0]
    assert_rolled_back_once(migration)


def test_a_week_and_a_rollback_at_once_leave_the_table_at_one_cut(
    make_migration: MakeMigration,
) -> None:
    """Either the week was carried and taken back too, or it was refused for the hold."""
    migration = make_migration(PARTS)
    load_week(migration, 1)
    change(migration, *WEEK)
    load_week(migration, 2)
    change(migration, "DELETE FROM part WHERE id = 1")
    step.take_cut(migration, week(3))
    start = CONTEXT.Barrier(2)
    both = [
        started(roll_back_together, migration, "part", week(2), start),
        started(step_together, migration, "part", week(3), start),
    ]
    codes = [exit_code(process) for process in both]
    assert codes in ([0, 0], [0, 1])
    assert_proved(migration, "part")
    assert holds_of(migration) == ["part"]
    assert [row[0] for row in target_rows(migration, ROWS)] == [1, 2, 3, 4]


def test_a_rollback_overtaken_by_another_move_starts_again_from_where_it_led(
    make_migration: MakeMigration,
) -> None:
    """What was prepared for another head is never applied."""
    migration = make_migration(PARTS)
    load_week(migration, 1)
    change(migration, *WEEK)
    load_week(migration, 2)
    change(migration, "DELETE FROM part WHERE id = 1")
    step.take_cut(migration, week(3))
    once: list[str] = []

    def at(stage: str) -> None:
        if stage == "compared" and not once:
            once.append(stage)
            # as another machine would do it, which has another state folder
            moved = step_elsewhere(migration)
            assert moved is Outcome.LOADED

    moved = undo.rollback(migration, "part", week=week(2), run="test", at=at)
    assert moved is not None
    assert [row[0] for row in target_rows(migration, ROWS)] == [1, 2, 3, 4]
    assert_proved(migration, "part")


def step_elsewhere(migration: Migration) -> Outcome:
    """Carry the third week from a state folder with the same cuts and locks of its own."""
    folder = migration.settings.state.with_name("elsewhere")
    shutil.copytree(migration.settings.state / "cuts", folder / "cuts")
    other = replace(migration, state=LocalState(folder))
    return carry(other, 3, "part").outcome
