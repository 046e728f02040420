"""Dagster's own storage, as the repository's dagster.yaml sets it up, on a real PostgreSQL."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

import migration_assets

ROOT = Path(migration_assets.__file__).parents[1]
DAGSTERS_OWN = {"storage", "history", "schedules"}
WATCH_SECONDS = 60  # the watcher polls; a busy machine may take a few seconds


@pytest.fixture
def dagster_environment(
    target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Set what dagster.yaml asks the environment for; returns it."""
    url = urlsplit(target_url)
    given = {
        "DAGSTER_HOME": str(ROOT),
        "DAGSTER_PG_HOST": str(url.hostname),
        "DAGSTER_PG_PORT": str(url.port),
        "DAGSTER_PG_USERNAME": str(url.username),
        "DAGSTER_PG_PASSWORD": str(url.password),
        "DAGSTER_PG_DB": url.path.removeprefix("/"),
        "MIGRATION_DAGSTER_DIR": str(tmp_path / "dagster"),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
def instance(dagster_environment: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    """Return the instance that the repository's dagster.yaml describes."""
    with dg.DagsterInstance.from_config(dagster_environment["DAGSTER_HOME"]) as instance:
        yield instance


@dg.asset
def answer() -> int:
    """Return something to store."""
    return 42


def test_a_runs_events_come_back(instance: dg.DagsterInstance) -> None:
    """A materialization recorded in PostgreSQL is read again from there."""
    result = dg.materialize([answer], instance=instance)
    run = instance.get_run_by_id(result.run_id)
    event = instance.get_latest_materialization_event(answer.key)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert event is not None
    assert event.run_id == result.run_id


def test_a_watched_run_reports_its_end(instance: dg.DagsterInstance) -> None:
    """The UI follows a run by watching it, which a wrong driver breaks without any error."""
    result = dg.materialize([answer], instance=instance)
    ended = threading.Event()

    def seen(event: dg.EventLogEntry, _cursor: str) -> None:
        if event.is_dagster_event and event.get_dagster_event().is_job_success:
            ended.set()

    instance.watch_event_logs(result.run_id, None, seen)
    assert ended.wait(WATCH_SECONDS)
    instance.end_watch_event_logs(result.run_id, seen)


def test_files_go_to_the_state_folder_only(
    instance: dg.DagsterInstance, dagster_environment: dict[str, str]
) -> None:
    """The checkout, which is DAGSTER_HOME, stays clean."""
    dg.materialize([answer], instance=instance)
    stored = Path(dagster_environment["MIGRATION_DAGSTER_DIR"])
    assert list(stored.rglob("storage/answer"))
    assert DAGSTERS_OWN.isdisjoint(path.name for path in ROOT.iterdir())


def test_nothing_is_sent_home_and_runs_queue(instance: dg.DagsterInstance) -> None:
    """No telemetry, no sign-up prompt; one run at a time, and an end to each."""
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 1
    assert instance.run_monitoring_max_runtime_seconds > 0
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_a_missing_setting_is_named(
    dagster_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster never falls back to a storage of its own."""
    monkeypatch.delenv("DAGSTER_PG_HOST")
    told = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "info"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode != 0
    assert "DAGSTER_PG_HOST" in told.stderr
    assert dagster_environment["DAGSTER_PG_PASSWORD"] not in told.stderr
