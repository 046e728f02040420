"""The weekly report: an asset that sensors materialize when a run ends, well or badly.

An asset downstream of a failed check would not run, and the report is needed most just then.
"""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import dagster as dg

from migration_assets.deferring import deferred_at
from migration_assets.defs.known import tables_of
from migration_assets.defs.resources import open_migration
from migration_assets.defs.selection import PARTITION_TAG
from migration_assets.defs.tables import aurora_key
from migration_assets.errors import MigrationError
from migration_assets.report.weekly import render
from migration_assets.settings import Settings, load
from migration_assets.standing import standing
from migration_assets.step import Migration

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
) -> None:
    """Write a week's report to the state folder and into Dagster."""
    text = render(standing(migration, tables, [week]), week, _at_the_cutover(migration, week))
    migration.state.write_text(f"reports/{week.isoformat()}.md", text)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            MIGRATION_REPORT,
            partition=week.isoformat(),
            metadata={"report": dg.MetadataValue.md(text)},
        )
    )


def _at_the_cutover(migration: Migration, week: date) -> dict[str, str]:
    """Try what is made at the cutover; where it can't be tried, the report says why."""
    try:
        return deferred_at(migration, week)
    except MigrationError as error:
        return {"not tried": str(error)}


def report_week(
    instance: dg.DagsterInstance, settings: Settings, tables: Iterable[str], week: date
) -> str:
    """Make the report after a run of the command line; return why there is none, or ''.

    The run has said already what failed; a target that is away is not waited for again.
    """
    try:
        make_report(
            instance,
            open_migration(settings.model_copy(update={"connect_patience": 1.0})),
            tables,
            week,
        )
    except MigrationError as error:
        return f"the week's report could not be made: {error}"
    return ""


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
