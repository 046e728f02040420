"""Nobody looks: the machine was off, a process is killed, all are; it ends right by itself."""

import signal
import sqlite3
from contextlib import closing

import dagster as dg
import psutil
import psycopg
import pytest
from dagster._core.storage.tags import RETRY_NUMBER_TAG

from migration_assets.defs import launcher
from migration_assets_tests import independent
from migration_assets_tests.fixtures_ui import (
    STOP_SECONDS,
    Project,
    ask,
    eventually,
    holding_back,
    kill_all,
    waiting,
    weeks_ago,
)

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO orders VALUES (1, 'first');
INSERT INTO tag VALUES (1, 'a');
"""
ENTRIES = "SELECT week, table_name FROM migration.ledger ORDER BY entry"


def change(project: Project, script: str) -> None:
    """Change the source."""
    with closing(sqlite3.connect(project.folder / "app.sqlite")) as connection:
        connection.executescript(script)


def entries(url: str) -> list[tuple[object, ...]]:
    """Return the head moves in the ledger: week and table."""
    with psycopg.connect(url) as connection:
        return connection.execute(ENTRIES).fetchall()


def equal(project: Project, url: str) -> bool:
    """Let the independent judge compare source and target."""
    return independent.compare(project.folder / "app.sqlite", url).equal


@pytest.fixture
def away(project: Project) -> Project:
    """Return a project whose first week was carried; then the machine was off for two weeks."""
    change(project, SCHEMA)
    project.configure(first_week=weeks_ago(3), lock_timeout=600)
    first = project.run("run", "--week", str(weeks_ago(3)))
    assert first.returncode == 0, first.stderr
    change(project, "INSERT INTO orders VALUES (2, 'second'); DELETE FROM tag")
    return project


@pytest.mark.timeout(900)
def test_the_sensor_alone_carries_what_was_missed_while_the_machine_was_off(away: Project) -> None:
    """On Dagster's SQLite storage: the daemon starts, and every table reaches the last week."""
    away.configure(dagster_storage="sqlite")
    target = away.target()  # kept running for a look from here
    with away.ui() as (_, port):
        eventually(lambda: ask(port, "{ assetNodes { id } }"), "the UI answers")
        with away.instance() as instance:
            newest = weeks_ago(1)
            run = eventually(lambda: ended(instance, str(newest)), "the run of the last week")
            assert run.status is dg.DagsterRunStatus.SUCCESS
            assert run.tags["dagster/sensor_name"] == "catch_up"
    assert entries(target)[2:] == [(newest, "orders"), (newest, "tag")]
    assert equal(away, target)
    assert not (away.folder / "history").exists()  # nothing of Dagster's beside the state folder


def ended(instance: dg.DagsterInstance, label: str) -> dg.DagsterRun | None:
    """Return the run of a week once it has ended."""
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": label}))
    return next((run for run in runs if run.is_finished), None)


def started(instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """Return the run that is being executed."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return runs[0] if runs else None


def retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    """Return the run that Dagster made in place of another one."""
    group = instance.get_run_group(run.run_id)
    again = [r for r in (group[1] if group else ()) if RETRY_NUMBER_TAG in r.tags]
    return again[0] if again else None


def is_over(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    """Return a run once it has ended."""
    now = instance.get_run_by_id(run.run_id)
    return now if now and now.is_finished else None


@pytest.mark.timeout(900)
def test_a_run_whose_process_is_killed_is_failed_retried_and_ends_green(away: Project) -> None:
    """The process alone is killed; code server and daemon live."""
    target = away.target()
    with away.instance() as instance, away.ui():
        with holding_back(target, "orders", "tag") as other:
            eventually(lambda: waiting(other), "a step waits for its table")
            run = eventually(lambda: started(instance), "a run is executed")
            worker = launcher._worker(instance, run)
            assert worker is not None
            assert worker.lives
            psutil.Process(worker.pid).kill()
            failed = eventually(lambda: is_over(instance, run), "the run is failed")
            assert failed.status is dg.DagsterRunStatus.FAILURE
        again = eventually(lambda: retried(instance, run), "the run is retried")
        final = eventually(lambda: is_over(instance, again), "the retry ends")
        assert final.status is dg.DagsterRunStatus.SUCCESS
    assert entries(target)[2:] == [(weeks_ago(1), "orders"), (weeks_ago(1), "tag")]
    assert equal(away, target)


@pytest.mark.timeout(900)
def test_everything_is_killed_and_started_again(away: Project) -> None:
    """As by a power cut: no process is left, the run is failed and retried, once, and green."""
    away.configure(parallel=2)
    target = away.target()
    with away.instance() as instance, holding_back(target, "orders", "tag") as other:
        with away.ui() as (process, _):
            eventually(lambda: waiting(other) == 2, "both steps wait, side by side")
            run = eventually(lambda: started(instance), "a run is executed")
            left = kill_all(process)
        assert not psutil.wait_procs(left, timeout=STOP_SECONDS)[1]
        with away.ui():
            failed = eventually(lambda: is_over(instance, run), "the run is failed")
            assert failed.status is dg.DagsterRunStatus.FAILURE
            again = eventually(lambda: retried(instance, run), "the run is retried")
            other.execute("SELECT pg_advisory_unlock_all()")
            final = eventually(lambda: is_over(instance, again), "the retry ends")
            assert final.status is dg.DagsterRunStatus.SUCCESS
    assert sorted(entries(target)[2:]) == [(weeks_ago(1), "orders"), (weeks_ago(1), "tag")]
    assert equal(away, target)


def test_two_tables_side_by_side_and_one_red_one_stays_one(away: Project) -> None:
    """Each step in a process of its own, from the command line as well."""
    away.configure(parallel=2)
    target = away.target()
    with psycopg.connect(target, autocommit=True) as somebody:
        somebody.execute("UPDATE public.tag SET name = 'theirs'")
        with holding_back(target, "orders", "tag") as other:
            process = away.start("run")
            eventually(lambda: waiting(other) == 2, "both steps wait, side by side")
        assert process.wait(STOP_SECONDS) == 1
    assert entries(target)[2:] == [(weeks_ago(1), "orders")]
    done = away.run("run", "--acknowledge", "foreign_writes")
    assert done.returncode == 0, done.stderr
    assert equal(away, target)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "terminated"])
def test_a_command_that_is_ended_leaves_no_step_behind(away: Project, kill: bool) -> None:  # noqa: FBT001
    """Its step processes end with it, and the next command goes on as if nothing had been."""
    away.configure(parallel=2)
    target = away.target()
    with holding_back(target, "orders", "tag") as other:
        process = away.start("run")
        eventually(lambda: waiting(other) == 2, "both steps wait, side by side")
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        assert process.wait(STOP_SECONDS) != 0
        assert not psutil.wait_procs(children, timeout=STOP_SECONDS)[1]
    with away.instance() as instance:
        assert bool(started(instance)) is kill
    done = away.run("run")
    assert done.returncode == 0, done.stderr
    with away.instance() as instance:
        assert started(instance) is None
        assert instance.event_log_storage.get_concurrency_run_ids() == set()
    assert equal(away, target)


def test_the_same_week_run_by_two_commands_at_once_is_carried_once(
    away: Project, target_url: str
) -> None:
    """Cron and a person, say: both end well, and every table moved once."""
    away.configure(target=target_url)
    runs = [away.start("run", "--week", str(weeks_ago(1))) for _ in range(2)]
    assert [run.wait(STOP_SECONDS) for run in runs] == [0, 0]
    carried = entries(target_url)
    assert sorted(carried) == [(weeks_ago(1), "orders"), (weeks_ago(1), "tag")]
    assert equal(away, target_url)
