"""The weekly report: an asset that sensors materialize when a run ends, well or badly.

An asset downstream of a failed check would not run, and the report is needed most just then.
"""

import logging
import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import dagster as dg

from migration_assets.deferring import deferred_at
from migration_assets.defs.known import tables_of
from migration_assets.defs.metadata import pruned_metadata
from migration_assets.defs.resources import open_migration
from migration_assets.defs.selection import PARTITION_TAG
from migration_assets.defs.tables import aurora_key
from migration_assets.errors import MigrationError
from migration_assets.findings import Pruned
from migration_assets.migration import Migration
from migration_assets.report.weekly import removed, render
from migration_assets.retention import prune
from migration_assets.settings import Settings, load
from migration_assets.standing import standing

_log = logging.getLogger(__name__)
MIGRATION_REPORT = dg.AssetKey("migration_report")


def report_spec(partitions: dg.PartitionsDefinition[str], tables: Iterable[str]) -> dg.AssetSpec:
    """Return the spec of the report; Dagster shows it, sensors and the command line make it."""
    return dg.AssetSpec(
        MIGRATION_REPORT,
        deps=[aurora_key(name) for name in tables],
        group_name="report",
        kinds={"markdown"},
        partitions_def=partitions,
        description="Where every table stands after a week, and what failed.",
    )


def make_report(
    instance: dg.DagsterInstance, migration: Migration, tables: Iterable[str], week: date
) -> str:
    """Write a week's report to the state folder and into Dagster; remove what nothing needs.

    Returns why nothing could be removed, or ''.
    """
    pruned = _pruned(migration)
    text = render(standing(migration, tables, [week]), week, _at_the_cutover(migration, week))
    text += removed(pruned)
    migration.state.write_text(f"reports/{week.isoformat()}.md", text)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            MIGRATION_REPORT,
            partition=week.isoformat(),
            metadata={"report": dg.MetadataValue.md(text), **pruned_metadata(pruned)},
        )
    )
    return pruned.problem


def _pruned(migration: Migration) -> Pruned:
    """Remove what nothing needs; that it failed is said aloud, and turns no table red."""
    try:
        pruned = prune(migration)
    except MigrationError as error:
        pruned = Pruned(problem=str(error))
    if pruned.problem:
        _log.warning("no cut or delta was removed: %s", pruned.problem)
    return pruned


def _at_the_cutover(migration: Migration, week: date) -> dict[str, str]:
    """Try what is made at the cutover; where it can't be tried, the report says why."""
    try:
        return deferred_at(migration, week)
    except MigrationError as error:
        return {"not tried": str(error)}


def report_week(
    instance: dg.DagsterInstance, settings: Settings, tables: Iterable[str], week: date
) -> str:
    """Make the report after a run of the command line; return what went wrong with it, or ''.

    The run has said already what failed; a target that is away is not waited for again.
    """
    try:
        kept = make_report(
            instance,
            open_migration(settings.model_copy(update={"connect_patience": 1.0})),
            tables,
            week,
        )
    except MigrationError as error:
        return f"the week's report could not be made: {error}"
    return f"no cut or delta was removed: {kept}" if kept else ""


def report_sensors() -> list[dg.SensorDefinition]:
    """Return the sensors that report on runs that ended well, and on those that did not."""
    return [
        _sensor("report_after_success", dg.DagsterRunStatus.SUCCESS),
        _sensor("report_after_failure", dg.DagsterRunStatus.FAILURE),
    ]


def _sensor(name: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=name,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes the report of the week whose run has ended.",
    )
    def _report(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        partition = context.dagster_run.tags.get(PARTITION_TAG)
        if partition is None:
            return dg.SkipReason("a run without a week")
        settings = load(os.environ, Path.cwd())
        # Not the tables of the definitions: a new one has no asset before they are loaded again.
        tables = tables_of(settings)
        migration = open_migration(settings)
        make_report(context.instance, migration, tables, date.fromisoformat(partition))
        return None

    return _report
