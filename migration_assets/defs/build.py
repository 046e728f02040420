"""Put the definitions together from settings and the cached catalog."""

import gc
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster import BetaWarning, PreviewWarning

from migration_assets.defs.assets import aurora_schema, source_cut
from migration_assets.defs.io_manager import DeltaIOManager
from migration_assets.defs.known import known_catalog
from migration_assets.defs.metadata import attributed, source_address, target_address
from migration_assets.defs.partitions import weekly
from migration_assets.defs.report import report_sensors, report_spec
from migration_assets.defs.resources import MigrationResource, state_of
from migration_assets.defs.rollback import rollback_job
from migration_assets.defs.schedules import weekly_job, weekly_schedule
from migration_assets.defs.sensors import catch_up_sensor
from migration_assets.defs.tables import table_assets
from migration_assets.mapping.names import asset_name
from migration_assets.settings import Settings, load
from migration_assets.source.catalog import select
from migration_assets.weeks import weeks as calendar

_PRELOAD = ("migration_assets.defs.build", "migration_assets.defs.step_process")


def from_environment() -> dg.Definitions:
    """Build the definitions of the settings found in the environment and this folder."""
    with _collector_paused():
        return build(load(os.environ, Path.cwd()), now=datetime.now(UTC))


@contextmanager
def _collector_paused() -> Generator[None]:
    """Let nothing search for garbage: all objects made here stay, 300 tables make half a million.

    The search takes about a fifth of the time that definitions take to load.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def build(settings: Settings, *, now: datetime) -> dg.Definitions:
    """Build the definitions; the source is only opened if its catalog was never cached."""
    state = state_of(settings)
    weeks = calendar(settings, state, now)
    known = known_catalog(settings, state)
    catalog = select(known, settings.include, settings.exclude)
    names = [t.name for t in catalog.tables]
    partitions = weekly(weeks)
    job = weekly_job()
    with warnings.catch_warnings():
        # Partitioned checks are a preview in this release of Dagster, which is pinned.
        warnings.simplefilter("ignore", PreviewWarning)
        warnings.simplefilter("ignore", BetaWarning)
        tables = table_assets(settings, known, catalog, partitions)
        shared = [
            attributed(
                source_cut(partitions, frozenset(names)),
                settings,
                source_cut,
                source_address(settings),
            ),
            attributed(
                aurora_schema(partitions), settings, aurora_schema, target_address(settings)
            ),
        ]
        report = report_spec(partitions, names)
        return dg.Definitions(
            assets=[*shared, *tables, report.merge_attributes(owners=settings.owners)],
            jobs=[job, rollback_job()],
            sensors=[*report_sensors(), catch_up_sensor(job, weeks, settings, names)],
            schedules=[weekly_schedule(job, weeks, settings, names)],
            resources={
                "migration": MigrationResource(),
                "delta_io_manager": DeltaIOManager(
                    state, {asset_name(name): name for name in names}
                ),
            },
            # Runs from the UI or a backfill ignore a job's own executor, so it is set for all.
            executor=executor(settings.parallel),
        )


def executor(parallel: int) -> dg.ExecutorDefinition:
    """Return what executes a run's steps: one after the other, or so many processes side by side.

    A fork server has imported everything once; a fresh interpreter costs seconds for every step.
    """
    if parallel == 1:
        return dg.in_process_executor
    return dg.multiprocess_executor.configured(
        {
            "max_concurrent": parallel,
            "start_method": {"forkserver": {"preload_modules": list(_PRELOAD)}},
        }
    )
