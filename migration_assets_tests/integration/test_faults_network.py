"""A network that cuts, stalls and loses answers: every step ends, in bounded time, and once."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from migration_assets import holds, standing, step
from migration_assets.errors import TargetUnavailableError, TargetUnreachableError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.target.connection import connect
from migration_assets_tests.fixtures_faults import Tally, patient
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    entries,
    load_week,
    target_rows,
    week,
)
from migration_assets_tests.proxy import Fault, Proxy, through_proxy

ROWS = 8_000
ITEMS = f"""
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO item SELECT i, 'name ' || i, i / 8.0 FROM n;
"""
WEEK = (
    "UPDATE item SET name = name || ' changed' WHERE id % 2 = 0",
    "DELETE FROM item WHERE id % 5 = 0",
    f"INSERT INTO item SELECT id + {ROWS}, 'new ' || id, id FROM item WHERE id % 7 = 0",
)
pytestmark = pytest.mark.usefixtures("short_pauses")
SILENCE = 0.5  # seconds instead of 30 before the server is asked
STAGES = ("locked", "staged", "applied", "quarantined", "proved", "read_back", "written")


@pytest.fixture
def faulty(make_migration: MakeMigration, tally: Tally) -> Iterator[tuple[Migration, Proxy]]:
    """Return a patient migration behind a proxy, with its first week's cut taken."""
    migration = patient(make_migration(ITEMS), tally)
    step.take_cut(migration, week(1))
    with through_proxy(migration) as (behind, proxy):
        yield replace(behind, target=replace(behind.target, silence=SILENCE)), proxy


def proved(migration: Migration) -> object:
    """Verify the table as it stands."""
    found = standing.verify(migration, "item")
    assert found is not None
    return found.proof.holds, found.mapping.hash


def held_and_released(migration: Migration) -> object:
    """Put the table on hold and let it go, and say what was held."""
    holds.hold(migration, "item", "looked at", by="a test")
    found = holds.release(migration, "item")
    return found and found.reason


QUESTIONS: dict[str, Callable[[Migration], object]] = {
    "bootstrap": step.bootstrap,
    "delta": lambda migration: step.make_delta(migration, "item", week(2)).changes,
    "proof": proved,
    "inspection": lambda migration: standing.inspect(migration, "item"),
    "status": lambda migration: standing.standing(migration, ["item"], [week(1)]),
    "hold and release": held_and_released,
}


def second_week(migration: Migration) -> None:
    """Bring the migration to where its second week is to be run."""
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))


def assert_done_once(migration: Migration, tally: Tally, number: int) -> None:
    """Let the week stand, once, with nothing left over, as the judge sees it."""
    assert [e[0] for e in entries(migration, "item")] == [week(n + 1) for n in range(number)]
    assert carry(migration, number, "item").outcome is Outcome.COVERED
    left = target_rows(
        migration,
        "SELECT locktype FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        " UNION ALL SELECT relname FROM pg_class WHERE relpersistence = 't'",
    )
    assert left == []
    tally.finished(migration, weeks=number)


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
@pytest.mark.parametrize("fault", Fault)
def test_whatever_happens_to_a_commit_the_step_ends_well_and_once(
    faulty: tuple[Migration, Proxy], tally: Tally, fault: Fault, number: int
) -> None:
    """Cut or lost without a word, request or answer: settled from the ledger, or done again."""
    migration, proxy = faulty
    if number == 2:
        second_week(migration)
    armed: list[str] = []

    def at(stage: str) -> None:
        if stage == "written" and not armed:
            armed.append(stage)
            proxy.at_commit(fault)

    moved = carry(migration, number, "item", at=at)
    assert moved.outcome is Outcome.LOADED
    assert proxy.injected[fault.value] == 1
    arrived = fault in (Fault.CUT_ANSWER, Fault.LOSE_ANSWER)
    assert tally.repetitions == (0 if arrived else 1)
    tally.fault(proxy.injected.total())
    assert_done_once(migration, tally, number)


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_a_step_cut_off_at_every_stage_in_turn_ends_well(
    faulty: tuple[Migration, Proxy], tally: Tally, number: int
) -> None:
    """Seven repetitions of one step: each begins anew and comes one stage further."""
    migration, proxy = faulty
    if number == 2:
        second_week(migration)
    waiting = list(STAGES)

    def at(stage: str) -> None:
        if waiting and stage == waiting[0]:
            waiting.pop(0)
            proxy.cut()

    carry(migration, number, "item", at=at)
    assert not waiting
    assert tally.repetitions == proxy.injected["cut"] == len(STAGES)
    assert all("connection to the target was lost" in said for said in tally.said)
    tally.fault(proxy.injected.total())
    assert_done_once(migration, tally, number)


def test_a_copy_cut_in_the_middle_is_begun_again(
    faulty: tuple[Migration, Proxy], tally: Tally
) -> None:
    """Half of the rows are on their way when the connection goes."""
    migration, proxy = faulty
    second_week(migration)
    proxy.cut_after = 100_000
    carry(migration, 2, "item")
    assert tally.repetitions == 1
    tally.fault(proxy.injected.total())
    assert_done_once(migration, tally, 2)


@pytest.mark.parametrize(
    ("stage", "new", "reason"),
    [
        ("locked", True, "can't be reached by another connection either"),
        ("locked", False, "the server waited for this session"),
        ("written", False, "the server waited for this session"),
    ],
    ids=["in COPY, for all", "in COPY", "waiting for COMMIT"],
)
def test_a_stalled_network_is_found_out_and_the_step_done_again(
    faulty: tuple[Migration, Proxy], tally: Tally, stage: str, reason: str, *, new: bool
) -> None:
    """Nothing is refused, nothing is cut: bytes just stop, for all or for what was open."""
    migration, proxy = faulty
    second_week(migration)
    begun: list[float] = []

    def at(reached: str) -> None:
        if reached == stage and not begun:
            begun.append(time.monotonic())
            proxy.stall(new=new)

    def told(text: str) -> None:
        tally.told(text)
        proxy.flow()

    target = replace(migration.target, patience=1.0 if new else 60.0)
    moved = carry(replace(migration, told=told, target=target), 2, "item", at=at)
    assert moved.outcome is Outcome.LOADED
    assert tally.repetitions == 1
    assert reason in tally.said[0]
    assert time.monotonic() - begun[0] < 30
    tally.fault(proxy.injected.total())
    assert_done_once(migration, tally, 2)


def test_a_statement_that_takes_its_time_is_left_alone(
    faulty: tuple[Migration, Proxy], tally: Tally
) -> None:
    """Silence alone is no reason: the server works, and is asked several times meanwhile."""
    migration, _ = faulty
    with connect(migration.target) as connection:
        row = connection.execute("SELECT pg_backend_pid(), pg_sleep(4 * 0.5)").fetchone()
        assert row is not None
        assert row[0] == connection.info.backend_pid
    assert tally.repetitions == 0


@pytest.mark.parametrize("asked", QUESTIONS)
def test_whatever_is_asked_of_the_target_is_asked_again(
    faulty: tuple[Migration, Proxy], tally: Tally, asked: str
) -> None:
    """Cut off later and later, until it comes to its end without: each time it begins anew."""
    migration, proxy = faulty
    second_week(migration)
    request, expected = 1, QUESTIONS[asked](migration)
    while proxy.cut_at is None:
        proxy.cut_at = request
        assert QUESTIONS[asked](migration) == expected
        request *= 2
    assert tally.repetitions == proxy.injected.total() >= 3
    proxy.cut_at = None
    tally.fault(proxy.injected.total())
    carry(migration, 2, "item")
    assert_done_once(migration, tally, 2)


def test_without_patience_nothing_is_done_again(
    faulty: tuple[Migration, Proxy], tally: Tally
) -> None:
    """`retry_patience: 0` leaves it to Dagster and the operator."""
    migration, proxy = faulty
    hasty = patient(migration, tally, retry_patience=0.0)

    def at(stage: str) -> None:
        if stage == "proved":
            proxy.cut()

    with pytest.raises(TargetUnavailableError, match="lost"):
        carry(hasty, 1, "item", at=at)
    assert tally.repetitions == 0


def test_a_target_that_sleeps_is_waited_for(faulty: tuple[Migration, Proxy], tally: Tally) -> None:
    """Aurora Serverless takes connections while it resumes, and answers half a minute later."""
    migration, proxy = faulty
    proxy.stay_asleep()
    with pytest.raises(TargetUnreachableError, match="within 3 s"):
        carry(replace(migration, target=replace(migration.target, patience=3.0)), 1, "item")
    proxy.wake_up()
    carry(migration, 1, "item")
    assert_done_once(migration, tally, 1)
