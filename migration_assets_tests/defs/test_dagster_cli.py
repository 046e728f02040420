"""Dagster's own commands on the project's code location and instance, as subprocesses."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import conninfo

import migration_assets
from migration_assets.target.embedded import EmbeddedServer, ensure_database
from migration_assets_tests import independent
from migration_assets_tests.defs.conftest import CONFIG, MakePipeline, Pipeline, week

ROOT = Path(migration_assets.__file__).parents[1]
STORAGE = "dagster_cli"
Dagster = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline of two tables, one with a name that is no asset's."""
    return make_pipeline(
        """CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
        CREATE TABLE "order lines" (id INTEGER PRIMARY KEY, product TEXT);
        INSERT INTO orders VALUES (1, 'first');
        INSERT INTO "order lines" VALUES (1, 'pen'), (2, 'ink');"""
    )


@pytest.fixture
def dagster(pipeline: Pipeline, postgres: EmbeddedServer, tmp_path: Path) -> Dagster:
    """Return the `dagster` command with the project's dagster.yaml and its real storage."""
    ensure_database(postgres, STORAGE)
    storage = conninfo.conninfo_to_dict(postgres.url(STORAGE))
    given = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")},
        CONFIG: str(pipeline.config),
        "DAGSTER_HOME": str(ROOT),
        "DAGSTER_PG_HOST": str(storage["host"]),
        "DAGSTER_PG_PORT": str(storage["port"]),
        "DAGSTER_PG_USERNAME": str(storage["user"]),
        "DAGSTER_PG_PASSWORD": postgres.password,
        "DAGSTER_PG_DB": STORAGE,
        "MIGRATION_DAGSTER_DIR": str(tmp_path / "dagster"),
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dagster", *arguments, "-m", "migration_assets.definitions"],
            env=given,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    return command


def test_dagster_materializes_a_week_and_then_one_partition_again(
    dagster: Dagster, pipeline: Pipeline
) -> None:
    """What the documentation tells on-call to type works on the instance's own storage."""
    label = week(1).isoformat()
    whole = dagster("asset", "materialize", "--select", "*", "--partition", label)
    assert whole.returncode == 0, whole.stderr
    assert independent.compare(pipeline.source, pipeline.target).equal

    pipeline.on_target("UPDATE public.orders SET note = 'somebody else'")
    again = dagster("asset", "materialize", "--select", "aurora/orders", "--partition", label)
    assert again.returncode == 0, again.stderr  # covered: the week's own proof stands
    assert "aurora__orders" in again.stderr
    assert "delta__orders" not in again.stderr
    assert pipeline.on_target("SELECT count(*) FROM migration.ledger") == [(2,)]


def test_dagster_reports_a_failed_partition_by_its_exit_code(
    dagster: Dagster, pipeline: Pipeline
) -> None:
    """A partition without its cut is red, and says what to do."""
    label = week(1).isoformat()
    failed = dagster("asset", "materialize", "--select", "aurora/orders", "--partition", label)
    assert failed.returncode != 0
    assert f"materialize source_cut for {label}" in failed.stderr
    assert pipeline.on_target("SELECT * FROM pg_tables WHERE schemaname = 'public'") == []


def test_dagster_validates_the_code_location(dagster: Dagster) -> None:
    """The module that workspace.yaml names loads without an error."""
    validated = dagster("definitions", "validate")
    assert validated.returncode == 0, validated.stderr
    assert "error" not in validated.stderr.lower()


def test_dagster_names_a_setting_that_is_missing(dagster: Dagster, pipeline: Pipeline) -> None:
    """A code location that can't load says which setting to make."""
    pipeline.config.write_text("target: embedded\n", "utf-8")
    validated = dagster("definitions", "validate")
    assert validated.returncode != 0
    assert "`source` is not set" in validated.stderr + validated.stdout
