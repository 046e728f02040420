"""The writer is replaced by another while weeks are carried: no committed move is lost or repeated.

The proxy plays the writer's DNS name, which for a while still leads to the server that was demoted.
"""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import conninfo

from migration_assets import standing, step
from migration_assets.errors import TargetUnsteadyError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.target import embedded
from migration_assets_tests.fixtures_faults import Tally, patient
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    entries,
    load_week,
    migration_of,
    week,
    write_on_target,
)
from migration_assets_tests.fixtures_postgres import new_folder
from migration_assets_tests.proxy import Fault, Proxy, through_proxy
from migration_assets_tests.replicas import Cluster, cluster

pytestmark = pytest.mark.usefixtures("short_pauses")
SHOP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER);
INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4);
"""
WEEK = (
    "UPDATE item SET amount = amount + 1 WHERE id % 2 = 0",
    "INSERT INTO item (name, amount) SELECT name || id, 'many' FROM item WHERE id = 4",
)


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Return the servers of this module: a standby that took over is the next test's primary."""
    with cluster(new_folder()) as made:
        yield made


@pytest.fixture
def named(
    make_migration: MakeMigration, servers: Cluster, tally: Tally
) -> Iterator[tuple[Migration, Proxy]]:
    """Return a patient migration to the writer by its name, which is the proxy."""
    made = make_migration(SHOP)
    name = str(conninfo.conninfo_to_dict(made.target.url)["dbname"])
    embedded.ensure_database(servers.primary, name)
    direct = migration_of(
        made.settings.source, made.settings.state, servers.primary.url(name), lock_timeout=10.0
    )
    with through_proxy(patient(direct, tally)) as (migration, proxy):
        yield migration, proxy
    servers.retire()


def at_second_week(migration: Migration) -> None:
    """Load the first week, and take the cut of a second one with changes."""
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))


def carried(migration: Migration) -> list[tuple[object, object]]:
    """Return the weeks that stand in the writer's ledger, with what each started from."""
    return [(entry[0], entry[1]) for entry in entries(migration, "item")]


@pytest.mark.parametrize(
    ("stage", "restarted"),
    [("compared", False), ("staged", True), ("written", True)],
    ids=["read-only before its transaction", "restarted while staging", "restarted before COMMIT"],
)
def test_a_step_goes_through_a_failover_by_itself(
    named: tuple[Migration, Proxy], servers: Cluster, tally: Tally, stage: str, *, restarted: bool
) -> None:
    """Broken off, then read-only under the old name, until the name leads to the new writer."""
    migration, proxy = named
    servers.follow(synchronous=True)
    at_second_week(migration)
    replaced: list[str] = []

    def at(reached: str) -> None:
        if reached == stage and not replaced:
            replaced.append(stage)
            servers.demote(restarted=restarted)
            servers.promote()
            tally.fault()

    def told(text: str) -> None:
        tally.told(text)
        if tally.repetitions == 3:
            proxy.server = servers.writer

    moved = carry(replace(migration, told=told), 2, "item", at=at)
    assert moved.outcome is Outcome.LOADED
    assert tally.repetitions == 3
    assert sum("read-only" in said or "25006" in said for said in tally.said) >= 2
    assert carried(migration) == [(week(1), None), (week(2), week(1))]
    tally.finished(migration, weeks=2)


@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
def test_a_failover_that_swallows_the_answer_to_commit_is_settled_on_the_new_writer(
    named: tuple[Migration, Proxy], servers: Cluster, tally: Tally, *, synchronous: bool
) -> None:
    """What the new writer has stands; what it has not is done again there; nothing twice."""
    migration, proxy = named
    servers.follow(synchronous=synchronous)
    at_second_week(migration)

    def failover() -> None:
        servers.kill_primary()
        servers.promote()
        proxy.server = servers.writer
        tally.fault()

    def at(stage: str) -> None:
        if stage == "written" and not tally.faults:
            if not synchronous:
                servers.fall_behind()
            proxy.meanwhile = failover
            proxy.at_commit(Fault.CUT_ANSWER)

    moved = carry(migration, 2, "item", at=at)
    assert moved.outcome is Outcome.LOADED
    assert tally.faults == 1
    assert tally.repetitions == (0 if synchronous else 1)
    assert carried(migration) == [(week(1), None), (week(2), week(1))]
    tally.finished(migration, weeks=2)


@pytest.mark.parametrize("number", [2, 3], ids=["the same week", "the next week"])
def test_a_new_writer_without_the_last_move_is_carried_from_where_it_stands(
    named: tuple[Migration, Proxy], servers: Cluster, tally: Tally, number: int
) -> None:
    """Ledger and rows went back together; a delta that was stored for the lost head isn't used."""
    migration, proxy = named
    servers.follow(synchronous=False)
    load_week(migration, 1)
    servers.fall_behind()
    change(migration, *WEEK)
    load_week(migration, 2)
    if number == 3:
        change(
            migration, "UPDATE item SET name = 'x' WHERE id = 1", "DELETE FROM item WHERE id = 3"
        )
        step.take_cut(migration, week(3))
        stored = step.make_delta(migration, "item", week(3))
        assert (stored.updates, stored.deletes) == (1, 1)
    servers.kill_primary()
    servers.promote()
    proxy.server = servers.writer
    tally.fault()
    assert carried(migration) == [(week(1), None)]
    found = standing.verify(migration, "item")
    assert found is not None
    assert found.proof.holds, "it stands at its head, one move earlier"
    moved = carry(migration, number, "item")
    assert moved.outcome is Outcome.LOADED
    assert (moved.updated, moved.inserted, moved.deleted) == ((2, 0, 0), (3, 0, 1))[number - 2]
    assert carried(migration) == [(week(1), None), (week(number), week(1))]
    assert carry(migration, 2, "item").outcome is Outcome.COVERED
    tally.finished(migration, weeks=number)


def test_a_name_that_never_leads_to_a_writer_is_given_up_within_bounds(
    named: tuple[Migration, Proxy], servers: Cluster, tally: Tally
) -> None:
    """The error is the transient one it is, says how often it was tried, and what to do."""
    migration, proxy = named
    servers.follow(synchronous=True)
    at_second_week(migration)
    servers.demote(restarted=False)
    servers.promote()
    tally.fault()
    with pytest.raises(TargetUnsteadyError) as raised:
        carry(patient(migration, tally, retry_patience=1.0), 2, "item")
    assert "read-only" in raised.value.what
    assert f"done again {tally.repetitions} times within 1 s" in raised.value.what
    assert "writer endpoint" in raised.value.hint
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        write_on_target(migration, "CREATE TABLE t ()")
    proxy.server = servers.writer
    assert carry(migration, 2, "item").outcome is Outcome.LOADED
    tally.finished(migration, weeks=2)
