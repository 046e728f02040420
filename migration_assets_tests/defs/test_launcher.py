"""Who executes a run: a process that is gone is noticed, one that lives is left alone."""

import json
import socket
import subprocess
import sys

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from migration_assets.defs.launcher import WORKER_TAG, Worker, bury, health, worker_tag
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week
from migration_assets_tests.fixtures_ui import eventually

HERE = socket.gethostname()


@pytest.fixture
def gone() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def started(instance: dg.DagsterInstance, **tags: object) -> dg.DagsterRun:
    """Return a run that is recorded as being executed."""
    return instance.create_run_for_job(
        empty.to_job(),
        status=dg.DagsterRunStatus.STARTED,
        tags={name: json.dumps(value) for name, value in tags.items()},
    )


@dg.graph
def empty() -> None:
    """Do nothing."""


def announce(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    """Record what Dagster's run process says of itself when it starts."""
    instance.report_engine_event(
        f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid)
    )
    instance.report_engine_event("Something else.", run, EngineEventData.in_process(1))


def test_the_process_of_a_command_that_was_killed_is_missed(gone: int) -> None:
    """Its run says which process executes it."""
    with dg.DagsterInstance.ephemeral() as instance:
        dead = started(instance, **{WORKER_TAG: {"pid": gone, "host": HERE}})
        assert health(instance, dead).status is WorkerStatus.FAILED
        assert f"process {gone} is gone" in str(health(instance, dead))
        alive = instance.create_run_for_job(
            empty.to_job(), status=dg.DagsterRunStatus.STARTED, tags=worker_tag()
        )
        assert health(instance, alive).status is WorkerStatus.RUNNING


def test_the_process_that_a_code_server_started_is_missed(gone: int) -> None:
    """Also where the server has been reloaded or is gone itself: the process is looked for."""
    server = {GRPC_INFO_TAG: {"host": "localhost", "socket": "/nowhere"}}
    with dg.DagsterInstance.ephemeral() as instance:
        dead, alive = started(instance, **server), started(instance, **server)
        announce(instance, dead, gone)
        announce(instance, alive, psutil.Process().pid)
        assert health(instance, dead).status is WorkerStatus.FAILED
        assert health(instance, alive).status is WorkerStatus.RUNNING


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    """Numbers start over after a reboot."""
    myself = psutil.Process()
    assert Worker(pid=myself.pid, alive_at=myself.create_time()).lives
    assert not Worker(pid=myself.pid, alive_at=myself.create_time() - 60).lives


def test_a_process_that_nobody_waits_for_is_gone() -> None:
    """A zombie still has its number."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    child = psutil.Process(process.pid)
    since = child.create_time()
    while child.status() != psutil.STATUS_ZOMBIE:
        pass
    assert not Worker(pid=process.pid, alive_at=since).lives
    process.wait()


@pytest.mark.parametrize("tags", [{}, {WORKER_TAG: {"pid": 1, "host": "elsewhere"}}])
def test_what_can_not_be_known_is_left_to_the_time_limit(tags: dict[str, object]) -> None:
    """A run of another machine's command may be alive: it is never failed on a guess."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert health(instance, started(instance, **tags)).status is WorkerStatus.RUNNING


def test_a_code_server_on_another_machine_that_is_gone_has_taken_its_runs_along() -> None:
    """Nothing answers at an address for documentation (RFC 5737)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = {GRPC_INFO_TAG: {"host": "127.0.0.2", "port": port}}
    with dg.DagsterInstance.ephemeral() as instance:
        found = health(instance, started(instance, **server))
        assert found.status is WorkerStatus.FAILED
        assert "the code server on 127.0.0.2 does not answer" in str(found)


def test_a_code_server_on_another_machine_that_was_started_again_has_lost_its_runs(
    make_pipeline: MakePipeline,
) -> None:
    """It answers at the same address, and knows nothing of the run."""
    pipeline = make_pipeline("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    serve = ["-m", "dagster", "api", "grpc", "-m", "migration_assets.definitions"]
    with subprocess.Popen([sys.executable, *serve, "-h", "127.0.0.2", "-p", str(port)]) as server:
        try:
            run = started(pipeline.instance, **{GRPC_INFO_TAG: {"host": "127.0.0.2", "port": port}})
            found = eventually(
                lambda: next(
                    (
                        answer
                        for answer in [health(pipeline.instance, run)]
                        if answer.status is WorkerStatus.NOT_FOUND
                    ),
                    None,
                ),
                "the server answers",
            )
        finally:
            server.terminate()
    assert "doesn't run it" in str(found)


def test_a_run_of_a_killed_command_is_failed_by_the_next_one(gone: int) -> None:
    """Plain cron has no daemon that would do it."""
    with dg.DagsterInstance.ephemeral() as instance:
        dead = started(instance, **{WORKER_TAG: {"pid": gone, "host": HERE}})
        alive = instance.create_run_for_job(
            empty.to_job(), status=dg.DagsterRunStatus.STARTED, tags=worker_tag()
        )
        assert bury(instance) == [dead.run_id]
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # pyright: ignore[reportOptionalMemberAccess]
        assert instance.get_run_by_id(alive.run_id).status is dg.DagsterRunStatus.STARTED  # pyright: ignore[reportOptionalMemberAccess]


def test_a_run_names_its_process_and_buries_others(make_pipeline: MakePipeline, gone: int) -> None:
    """`migration-assets run` does both."""
    pipeline: Pipeline = make_pipeline("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    dead = started(pipeline.instance, **{WORKER_TAG: {"pid": gone, "host": HERE}})
    outcome = pipeline.run(1)
    assert outcome.success
    runs = {run.run_id: run for run in pipeline.instance.get_runs()}
    assert runs[dead.run_id].status is dg.DagsterRunStatus.FAILURE
    assert json.loads(runs[outcome.run_id].tags[WORKER_TAG])["pid"] == psutil.Process().pid
    assert runs[outcome.run_id].tags["dagster/partition"] == week(1).isoformat()
