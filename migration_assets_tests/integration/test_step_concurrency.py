"""Runs that meet: of the same table and week, of the same table, and of different ones."""

import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from migration_assets import standing, step
from migration_assets.errors import TransientError
from migration_assets.findings import Moved, Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    migration_of,
    on_target,
    week,
)
from migration_assets_tests.processes import CONTEXT, exit_code, started, step_together

TABLES = ("a", "b", "c", "d")
SCHEMA = "".join(
    f"CREATE TABLE {t} (id INTEGER PRIMARY KEY, v TEXT UNIQUE);"
    f"INSERT INTO {t} VALUES (1, 'x'), (2, 'y'), (3, 'z');"
    for t in TABLES
)


def elsewhere(migration: Migration, name: str) -> Migration:
    """Return the same migration on another machine: the same cuts, a state folder of its own."""
    state = migration.settings.state.with_name(name)
    shutil.copytree(migration.settings.state, state)
    return migration_of(migration.settings.source, state, migration.target.url)


def prepare(migration: Migration, number: int) -> None:
    """Bring the migration to where a week is to be run."""
    if number == 2:
        load_week(migration, 1)
        for table in TABLES:
            change(
                migration,
                f"DELETE FROM {table} WHERE id = 3",
                f"UPDATE {table} SET v = 'z' WHERE id = 1",
            )
    step.take_cut(migration, week(number))


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_two_machines_that_prepared_the_same_step_do_it_once(
    make_migration: MakeMigration, number: int
) -> None:
    """Both computed it from the same head; the second sees under the lock that it is done."""
    migration = make_migration(SCHEMA)
    prepare(migration, number)
    both_prepared = threading.Barrier(2, timeout=30)

    def at(stage: str) -> None:
        if stage == "compared":
            both_prepared.wait()

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(carry, elsewhere(migration, name), number, "a", at=at)
            for name in ("here", "there")
        ]
        done = [run.result() for run in runs]
    assert sorted(moved.outcome for moved in done) == [Outcome.COVERED, Outcome.LOADED]
    assert done[0].proof == done[1].proof
    assert done[0].entry == done[1].entry
    assert len(entries(migration, "a")) == number
    assert_equal(migration, "a")


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_two_processes_run_the_same_table_and_week_and_both_end_well(
    make_migration: MakeMigration, number: int
) -> None:
    """With one state folder between them, from storing the delta on."""
    migration = make_migration(SCHEMA)
    prepare(migration, number)
    start = CONTEXT.Barrier(3)
    runs = [started(step_together, migration, "a", week(number), start) for _ in range(3)]
    assert [exit_code(run) for run in runs] == [0, 0, 0]
    assert len(entries(migration, "a")) == number
    assert_equal(migration, "a")
    assert_proved(migration, "a")


def test_a_delta_made_again_leaves_a_running_step_its_files(make_migration: MakeMigration) -> None:
    """Materializing the delta during the load must not pull it away from under the load."""
    migration = make_migration(SCHEMA)
    prepare(migration, 1)
    step.make_delta(migration, "a", week(1))
    again: list[Future[object]] = []
    with ThreadPoolExecutor(1) as pool:

        def at(stage: str) -> None:
            if stage == "locked":
                again.append(pool.submit(step.make_delta, migration, "a", week(1)))
                wait(again, timeout=0.2)  # it may go on now or when the step has ended

        moved = carry(migration, 1, "a", at=at)
        again[0].result(30)
    assert moved.outcome is Outcome.LOADED
    assert carry(migration, 1, "a").outcome is Outcome.COVERED
    assert_equal(migration, "a")


def test_different_tables_are_carried_side_by_side(make_migration: MakeMigration) -> None:
    """All four stand inside their moves at the same moment; none waits for another."""
    migration = make_migration(SCHEMA)
    for number in (1, 2):
        prepare(migration, number) if number == 1 else change(
            migration, "UPDATE c SET v = v || '!'"
        )
        step.take_cut(migration, week(number))
        inside = threading.Barrier(len(TABLES), timeout=30)

        def at(stage: str, inside: threading.Barrier = inside) -> None:
            if stage == "applied":
                inside.wait()

        with ThreadPoolExecutor(len(TABLES)) as pool:
            runs = [pool.submit(carry, migration, number, table, at=at) for table in TABLES]
            done: list[Moved] = [run.result() for run in runs]
        assert {moved.outcome for moved in done} == {Outcome.LOADED}
    assert_equal(migration)
    assert_proved(migration, *TABLES)


def test_two_weeks_of_a_table_at_once_end_at_the_later_one(make_migration: MakeMigration) -> None:
    """Whichever wins the lock, the older week never follows the newer one."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    for number in (2, 3):
        change(migration, f"UPDATE a SET v = v || '{number}'")
        step.take_cut(migration, week(number))
    both_prepared = threading.Barrier(2, timeout=30)
    waited = threading.local()

    def at(stage: str) -> None:
        if stage == "compared" and not getattr(waited, "once", False):
            waited.once = True
            both_prepared.wait()

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(carry, elsewhere(migration, f"state{n}"), n, "a", at=at) for n in (2, 3)
        ]
        assert all(run.result().proof.holds for run in runs)
    assert entries(migration, "a")[-1][0] == week(3)
    assert [e[0] for e in entries(migration, "a")] == sorted(e[0] for e in entries(migration, "a"))
    assert_equal(migration, "a")


def test_readers_of_the_target_go_on_during_a_move(make_migration: MakeMigration) -> None:
    """They see the table as it was until the proof is committed."""
    migration = make_migration(SCHEMA)
    prepare(migration, 2)
    seen: list[object] = []

    def at(stage: str) -> None:
        if stage == "written":
            with on_target(migration) as connection:
                connection.execute("SET lock_timeout TO '1s'")
                seen.extend(connection.execute("SELECT v FROM a ORDER BY id"))

    carry(migration, 2, "a", at=at)
    assert seen == [("x",), ("y",), ("z",)]


def test_a_table_that_somebody_keeps_locked_is_waited_for_within_bounds(
    make_migration: MakeMigration,
) -> None:
    """After `lock_timeout` the step gives up for now; later it goes through."""
    migration = make_migration(SCHEMA, lock_timeout=0.2)
    prepare(migration, 2)
    with on_target(migration) as connection, connection.transaction():
        connection.execute("LOCK TABLE a IN ROW EXCLUSIVE MODE")
        with pytest.raises(TransientError, match="lock"):
            carry(migration, 2, "a")
    carry(migration, 2, "a")
    assert_equal(migration, "a")


def test_a_writer_that_comes_during_a_move_waits_and_is_not_lost(
    make_migration: MakeMigration,
) -> None:
    """Its row is written after the commit, and seen as foreign by the next week."""
    migration = make_migration(SCHEMA)
    prepare(migration, 2)
    wrote: list[Future[None]] = []

    def write() -> None:
        with on_target(migration) as connection:
            connection.execute("UPDATE a SET v = 'foreign' WHERE id = 2")

    with ThreadPoolExecutor(1) as pool:

        def at(stage: str) -> None:
            if stage == "staged":
                wrote.append(pool.submit(write))

        carry(migration, 2, "a", at=at)
        wrote[0].result(30)
    found = standing.verify(migration, "a")
    assert found is not None
    assert [(d.key, d.columns) for d in found[0].differences] == [("id=2", ("v",))]
