"""A whole migration as Dagster sees it: source, state, target, settings file and an instance."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from migration_assets.defs.build import build
from migration_assets.defs.launch import RunOutcome, run_week
from migration_assets.settings import Settings, load

FIRST_WEEK = date(2024, 10, 6)  # a Sunday; all weeks of these migrations are over
CONFIG = "MIGRATION_CONFIG"


def week(number: int) -> date:
    """Return the first day of a week; weeks are numbered from 1."""
    return FIRST_WEEK + timedelta(weeks=number - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A migration whose definitions are those of the environment, and what happens around it."""

    source: Path
    target: str
    config: Path
    instance: dg.DagsterInstance

    def settings(self) -> Settings:
        """Read the settings as the definitions do."""
        return load({CONFIG: str(self.config)}, self.config.parent)

    def configure(self, **settings: object) -> None:
        """Set these settings beside those that stand."""
        stand = yaml.safe_load(self.config.read_text("utf-8"))
        self.config.write_text(yaml.safe_dump(stand | settings), "utf-8")

    def definitions(self) -> dg.Definitions:
        """Return the definitions as they load now."""
        return build(self.settings(), now=datetime.now(UTC))

    def change(self, script: str) -> None:
        """Change the source."""
        with closing(sqlite3.connect(self.source)) as connection:
            connection.executescript(script)

    def on_target(self, statement: str) -> list[tuple[object, ...]]:
        """Do on the target as somebody else would; return the rows where there are some."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, number: int, *, acknowledged: Sequence[str] = ()) -> RunOutcome:
        """Run a week of all tables."""
        return run_week(self.instance, week(number), acknowledged=acknowledged)

    def run_target(self, number: int, table: str) -> RunOutcome:
        """Materialize one partition of one table's copy on the target, and nothing else."""
        return run_week(self.instance, week(number), tables=[table], only_targets=True)

    def run_checks(self, number: int, key: dg.AssetKey, *names: str) -> dg.ExecuteInProcessResult:
        """Run checks alone, as the UI's "execute check" does."""
        implicit = self.definitions().resolve_implicit_global_asset_job_def()
        chosen = {dg.AssetCheckKey(key, name) for name in names}
        subset = implicit.get_subset(asset_selection=set(), asset_check_selection=chosen)
        return subset.execute_in_process(
            partition_key=week(number).isoformat(), instance=self.instance, raise_on_error=False
        )

    def events(self, run_id: str) -> list[dg.DagsterEvent]:
        """Return everything that a run recorded, in order."""
        entries = self.instance.all_logs(run_id)
        return [entry.dagster_event for entry in entries if entry.dagster_event is not None]

    def materialized(self, run_id: str) -> dict[str, Mapping[str, dg.MetadataValue]]:
        """Return the metadata of every materialization of a run, by asset."""
        found: dict[str, Mapping[str, dg.MetadataValue]] = {}
        for event in self.events(run_id):
            if event.is_step_materialization:
                materialization = event.step_materialization_data.materialization
                found[materialization.asset_key.to_user_string()] = materialization.metadata
        return found

    def checked(self, run_id: str) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """Return every check's evaluation of a run, by asset and name."""
        found: dict[tuple[str, str], dg.AssetCheckEvaluation] = {}
        for event in self.events(run_id):
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                found[evaluation.asset_key.to_user_string(), evaluation.check_name] = evaluation
        return found


MakePipeline = Callable[[str], Pipeline]
NOWHERE = "postgresql://nobody@192.0.2.1:1/nowhere"  # an address for documentation, RFC 5737


@contextmanager
def pipelines(folder: Path, target: str) -> Iterator[MakePipeline]:
    """Yield the factory of pipelines over a source made by a script, in an empty folder."""
    config, source = folder / "migration.yaml", folder / "app.sqlite"
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG, str(config))

        def make(script: str) -> Pipeline:
            fields = {
                "source": str(source),
                "target": target,
                "state": str(folder / "state"),
                "first_week": FIRST_WEEK,
                # A busy machine may need seconds to let a session in; nowhere needs no patience.
                "connect_patience": 0.5 if target == NOWHERE else 20,
                "lock_timeout": 10,
            }
            config.write_text(yaml.safe_dump(fields), "utf-8")
            pipeline = Pipeline(source=source, target=target, config=config, instance=instance)
            pipeline.change(script)
            return pipeline

        yield make


@pytest.fixture
def make_pipeline(tmp_path: Path, target_url: str) -> Iterator[MakePipeline]:
    """Return the factory of a pipeline to an empty database."""
    with pipelines(tmp_path, target_url) as make:
        yield make


@pytest.fixture
def make_offline(tmp_path: Path) -> Iterator[MakePipeline]:
    """Return the factory of a pipeline whose target can't be reached."""
    with pipelines(tmp_path, NOWHERE) as make:
        yield make
