"""Watch the processes that execute runs: one that died must not block the queue for half a day.

Dagster's default launcher has no health check. A code server notices when a run process of its own
dies; after a reboot, or when the server dies too, nobody does, and the run stays "started". The
server can't be asked alone: behind `dagster dev` stands a proxy that answers for the code as it was
reloaded last, and would give up a run that an older server still executes. So the process itself is
looked for, and the server is asked where the process is on another machine.
"""

import json
import socket
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.launcher.base import (  # a launcher's own types are not exported
    CheckRunHealthResult,
    WorkerStatus,
)
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

WORKER_TAG = "migration/worker"  # process and machine of a run that the command line executes
_STARTED = "Started process for run"  # how Dagster's run process announces itself
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CLOCKS = 2.0  # seconds by which a process's start and an event's time may disagree
_ASK_SECONDS = 10  # for a code server on another machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that executes a run, and a moment at which it was alive (seconds since 1970)."""

    pid: int
    alive_at: float

    @property
    def lives(self) -> bool:
        """Tell whether it still runs; a later process of the same number is another one."""
        try:
            process = psutil.Process(self.pid)
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.create_time() <= self.alive_at + _CLOCKS
            )
        except psutil.NoSuchProcess:
            return False


def worker_tag() -> dict[str, str]:
    """Return the tag of a run that this process executes itself."""
    return {WORKER_TAG: json.dumps({"pid": psutil.Process().pid, "host": socket.gethostname()})}


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with a look at the processes that it launched."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Let Dagster's run monitoring ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether a run is still executed; what can't be known counts as running.

        `max_runtime_seconds` ends what can't be known.
        """
        return health(self._instance, run)


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> CheckRunHealthResult:
    """Tell whether a started run is still executed."""
    tag = run.tags.get(GRPC_INFO_TAG)
    server = json.loads(tag) if tag else {}
    if server and not server.get("socket") and not _is_here(server.get("host")):
        return _ask(server, run)
    worker = _worker(instance, run)
    if worker is None:
        return CheckRunHealthResult(WorkerStatus.RUNNING, "it can't be known where it is executed")
    if worker.lives:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.FAILED, f"process {worker.pid} is gone")


def _is_here(host: object) -> bool:
    return host in (*_LOCAL, socket.gethostname())


def _worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Worker | None:
    """Return the process on this machine that executes a run, where it is known."""
    if WORKER_TAG in run.tags:
        named = json.loads(run.tags[WORKER_TAG])
        record = instance.get_run_record_by_id(run.run_id)
        if record is None or not _is_here(named["host"]):
            return None
        return Worker(pid=named["pid"], alive_at=record.create_timestamp.timestamp())
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(entries):
        event = entry.dagster_event
        if event is not None and (event.message or "").startswith(_STARTED):
            pid = event.engine_event_data.metadata["pid"].value
            return Worker(pid=int(str(pid)), alive_at=entry.timestamp)
    return None


def _ask(server: dict[str, object], run: dg.DagsterRun) -> CheckRunHealthResult:
    """Ask a code server on another machine; one that is gone has taken its runs along.

    Where it was only out of reach, two processes execute the run for a while: a table's lock lets
    one of them move it, once.
    """
    host = str(server["host"])
    client = DagsterGrpcClient(
        host=host, port=int(str(server["port"])), use_ssl=bool(server.get("use_ssl"))
    )
    try:
        answer = deserialize_value(
            client.can_cancel_execution(
                CanCancelExecutionRequest(run_id=run.run_id), timeout=_ASK_SECONDS
            ),
            CanCancelExecutionResult,
        )
    except dg.DagsterError as error:
        text = f"the code server on {host} does not answer ({type(error).__name__})"
        return CheckRunHealthResult(WorkerStatus.FAILED, text)
    if answer.can_cancel:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"the code server on {host} doesn't run it")


def bury(instance: dg.DagsterInstance) -> list[str]:
    """Fail runs whose process is gone and free the pool slots of ended ones; return those failed.

    Dagster's daemon does this every minute. Plain cron has no daemon, and a slot that a killed run
    left occupied would keep the next one waiting for ever.
    """
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    gone = [
        run
        for run in instance.get_runs(filters)
        if health(instance, run).status is not WorkerStatus.RUNNING
    ]
    for run in gone:
        instance.report_run_failed(run, "The process that executed this run is gone.")
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for run_id in storage.get_concurrency_run_ids():
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)
    return [run.run_id for run in gone]
