"""What dagster.yaml says is what Dagster does: on its own storage and on SQLite files."""

import os
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import PoolGranularity

from migration_assets.defs.instance import instance
from migration_assets.defs.launcher import WatchedRunLauncher
from migration_assets_tests import command
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline

SCHEMA = "CREATE TABLE orders (id INTEGER PRIMARY KEY); CREATE TABLE tag (id INTEGER PRIMARY KEY)"


@pytest.fixture
def on_files(make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Return a pipeline whose Dagster keeps SQLite files, started from the project's folder."""
    pipeline = make_pipeline(SCHEMA)
    pipeline.configure(dagster_storage="sqlite")
    monkeypatch.setenv("DAGSTER_HOME", str(command.ROOT))
    return pipeline


def test_the_projects_settings_of_dagster_take_effect(on_files: Pipeline) -> None:
    """Launcher, monitoring, retries, pools: none is quietly ignored."""
    with instance(on_files.settings()) as opened:
        assert isinstance(opened.run_launcher, WatchedRunLauncher)
        assert opened.run_launcher.supports_check_run_worker_health
        assert opened.run_monitoring_enabled
        assert opened.run_monitoring_poll_interval_seconds == 30
        assert opened.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
        assert opened.run_retries_enabled
        assert opened.run_retries_max_retries == 2
        assert not opened.run_retries_retry_on_asset_or_op_failure
        concurrency = opened.get_concurrency_config()
        assert concurrency.pool_config.pool_granularity is PoolGranularity.OP
        assert concurrency.pool_config.default_pool_limit == 8
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 1
        assert not opened.telemetry_enabled


def test_only_the_storage_differs_on_sqlite(on_files: Pipeline) -> None:
    """All else stands as the project's file says it."""
    files = on_files.settings().state / "dagster"
    with instance(on_files.settings()):
        assert os.environ["DAGSTER_HOME"] == str(files)
    project = yaml.safe_load((command.ROOT / "dagster.yaml").read_text("utf-8"))
    derived = yaml.safe_load((files / "dagster.yaml").read_text("utf-8"))
    assert derived.pop("storage") == {"sqlite": {"base_dir": {"env": "MIGRATION_DAGSTER_DIR"}}}
    assert "postgres" in project.pop("storage")
    assert derived == project


def test_every_step_is_in_the_pool_of_what_it_uses(on_files: Pipeline) -> None:
    """`sqlite` for cuts, `aurora` for the target."""
    pools = {
        node.name: node.pool
        for asset in on_files.definitions().resolve_asset_graph().assets_defs
        if asset.is_executable
        for node in asset.node_def.iterate_op_defs()
    }
    assert pools == {
        "source_cut": "sqlite",
        "delta__orders": "sqlite",
        "delta__tag": "sqlite",
        "aurora_schema": "aurora",
        "aurora__orders": "aurora",
        "aurora__tag": "aurora",
    }


@pytest.mark.parametrize(
    ("parallel", "name"), [(1, "in_process"), (4, "multiprocess")], ids=["one", "many"]
)
def test_parallel_chooses_the_executor_of_every_run(
    on_files: Pipeline, parallel: int, name: str
) -> None:
    """Of those from the UI too: they ignore a job's own executor."""
    on_files.configure(parallel=parallel)
    executor = on_files.definitions().executor
    assert isinstance(executor, dg.ExecutorDefinition)
    assert executor.name == name


def test_run_and_status_work_on_sqlite_without_a_second_server(
    on_files: Pipeline, tmp_path: Path
) -> None:
    """No PostgreSQL is started for Dagster; pools count there, too."""
    given = {"MIGRATION_CONFIG": str(on_files.config), "DAGSTER_HOME": str(command.ROOT)}
    done = command.run("run", "--week", "2024-10-06", folder=tmp_path, environment=given)
    assert done.returncode == 0, done.stderr
    shown = command.run("status", folder=tmp_path, environment=given)
    assert "2024-10-06" in shown.stdout
    assert not (on_files.settings().state / "postgres").exists()
    with instance(on_files.settings()) as opened:
        assert [run.status for run in opened.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
        assert {pool.name for pool in opened.event_log_storage.get_pool_limits()} == {
            "aurora",
            "sqlite",
        }
