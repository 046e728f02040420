"""PostgreSQL stopped immediately and started again, wherever a step stands: nothing is lost."""

import random
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from migration_assets import standing, step
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.target import staging
from migration_assets_tests.fixtures_faults import Server, Tally, patient
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    entries,
    load_week,
    on_target,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.system.waiting import until

pytestmark = pytest.mark.usefixtures("short_pauses")
SHOP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
INSERT INTO item SELECT i, 'name ' || i, i / 8.0 FROM n;
"""
WEEK = (
    "UPDATE item SET name = name || ' changed' WHERE id % 2 = 0",
    "DELETE FROM item WHERE id % 5 = 0",
    "INSERT INTO item (name, amount) SELECT 'new ' || name, id FROM item WHERE id % 7 = 0",
)
AFTER_ALL = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
MOMENTS = ("compared", "locked", "staged", "applied", "quarantined", "proved", "written")


@pytest.fixture
def served(make_migration: MakeMigration, own_server: Server, tally: Tally) -> Migration:
    """Return a patient migration to a server that may die."""
    return patient(own_server.of(make_migration(SHOP)), tally)


def fallen(server: Server, tally: Tally) -> None:
    """Let the server die and come back before anybody asks again."""
    server.stop_immediately()
    server.start()
    tally.fault()


def second_week(migration: Migration) -> None:
    """Bring the migration to where its second week is to be run."""
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))


def assert_done_once(migration: Migration, tally: Tally, number: int) -> None:
    """Let every week stand, once, with nothing left over, as the judge sees it."""
    assert [e[0] for e in entries(migration, "item")] == [week(n + 1) for n in range(number)]
    assert carry(migration, number, "item").outcome is Outcome.COVERED
    assert target_rows(migration, AFTER_ALL) == [(0,)]
    tally.finished(migration, weeks=number)


def test_a_server_that_dies_at_every_stage_in_turn_gets_the_week_once(
    served: Migration, own_server: Server, tally: Tally
) -> None:
    """Seven deaths in one step: each time it begins anew on what recovery brought back."""
    second_week(served)
    waiting = list(MOMENTS)

    def at(stage: str) -> None:
        if waiting and stage == waiting[0]:
            waiting.pop(0)
            fallen(own_server, tally)

    assert carry(served, 2, "item", at=at).outcome is Outcome.LOADED
    assert not waiting
    assert tally.repetitions == tally.faults == len(MOMENTS)
    assert_done_once(served, tally, 2)


def test_a_server_that_dies_in_the_middle_of_a_copy_gets_every_row_once(
    served: Migration, own_server: Server, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the rows have arrived."""
    step.take_cut(served, week(1))
    encode, died = staging._encode, list[int]()

    def until_it_dies(batches: object) -> object:
        for number, part in enumerate(encode(batches)):  # pyright: ignore[reportArgumentType]
            yield part[: len(part) // 2]
            if number and not died:
                died.append(number)
                fallen(own_server, tally)
            yield part[len(part) // 2 :]

    monkeypatch.setattr(staging, "_encode", until_it_dies)
    assert carry(served, 1, "item").outcome is Outcome.LOADED
    assert died
    assert tally.repetitions == 1
    assert_done_once(served, tally, 1)


def busy_with(migration: Migration, wait_event: str) -> None:
    """Wait until our session is seen at work, waiting for that."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'migration-assets'"
        f" AND wait_event = '{wait_event}'"
    )
    until(lambda: target_rows(migration, query), what=f"a session waits for {wait_event}")


def test_a_server_that_dies_while_it_applies_gets_the_week_once(
    served: Migration, own_server: Server, tally: Tally
) -> None:
    """It is caught with rows half changed; a trigger keeps it there while a lock stands."""
    second_week(served)
    write_on_target(
        served,
        "CREATE FUNCTION working() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$",
        "CREATE TRIGGER working AFTER INSERT OR UPDATE ON item"
        " FOR EACH ROW EXECUTE FUNCTION working()",
    )
    with on_target(served) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_lock(7)")
        carried = pool.submit(carry, served, 2, "item")
        busy_with(served, "advisory")
        fallen(own_server, tally)
        assert carried.result(60).outcome is Outcome.LOADED
    assert tally.repetitions == 1
    assert_done_once(served, tally, 2)


def let_commits_wait(migration: Migration) -> None:
    """Let every COMMIT wait for a standby, from now on: a changed setting takes effect later."""
    with on_target(migration) as connection, on_target(migration) as probe:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names TO 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        look = (
            "SELECT coalesce(wait_event = 'SyncRep', false) FROM pg_stat_activity"
            f" WHERE pid = {probe.info.backend_pid}"
        )
        waits = False
        while not waits:
            probe.pgconn.consume_input()
            if not probe.pgconn.is_busy():
                while probe.pgconn.get_result():
                    pass
                probe.pgconn.send_query(b"SELECT pg_logical_emit_message(true, 'probe', 'x')")
                probe.pgconn.flush()
            ((waits,),) = target_rows(migration, look)
        probe.cancel_safe()
        while probe.pgconn.get_result():
            pass


def test_a_server_that_dies_while_it_commits_is_settled_from_the_ledger(
    served: Migration, own_server: Server, tally: Tally
) -> None:
    """The commit is on its disk and not yet answered: it waits for a standby that isn't there."""
    second_week(served)
    (name,) = target_rows(served, "SELECT current_database()")[0]
    write_on_target(served, f"ALTER DATABASE {name} SET synchronous_commit TO on")

    def at(stage: str) -> None:
        if stage == "written":
            let_commits_wait(served)

    with ThreadPoolExecutor(1) as pool:
        carried = pool.submit(carry, served, 2, "item", at=at)
        busy_with(served, "SyncRep")
        own_server.stop_immediately()
        own_server.start(synchronous_standby_names="")
        tally.fault()
        assert carried.result(60).outcome is Outcome.LOADED
    with on_target(served) as connection:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
    assert tally.repetitions == 0, "it had committed, so nothing is done again"
    assert_done_once(served, tally, 2)


def test_a_server_that_dies_during_deltas_and_proofs_is_asked_again(
    served: Migration, own_server: Server, tally: Tally
) -> None:
    """What only reads is begun again too; an immediate stop takes a moment to recover from."""
    second_week(served)
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            own_server.stop_immediately()
            started = pool.submit(own_server.start)
            tally.fault()
            assert step.make_delta(served, "item", week(2)).changes
            started.result()
    carry(served, 2, "item")
    with ThreadPoolExecutor(1) as pool:
        own_server.stop_immediately()
        started = pool.submit(own_server.start)
        tally.fault()
        found = standing.verify(served, "item")
        started.result()
    assert found is not None
    assert found.proof.holds
    assert_done_once(served, tally, 2)


@pytest.mark.soak
def test_a_server_that_dies_at_random_moments_for_many_weeks_loses_nothing(
    served: Migration, own_server: Server, tally: Tally
) -> None:
    """Twenty weeks, each with deaths at moments nobody has chosen."""
    choice = random.Random(5)  # only when it dies is random; what then happens must not be
    load_week(served, 1)
    for number in range(2, 22):
        change(
            served,
            *WEEK[:2],
            f"INSERT INTO item (name) SELECT 'w{number} ' || id FROM item LIMIT 50",
        )
        step.take_cut(served, week(number))
        with ThreadPoolExecutor(1) as pool:
            carried = pool.submit(carry, served, number, "item")
            for _ in range(choice.randint(1, 3)):
                wait([carried], timeout=choice.uniform(0, 1.5))
                fallen(own_server, tally)
            carried.result(300)
        tally.finished(served)
    assert [e[0] for e in entries(served, "item")] == [week(n) for n in range(1, 22)]
