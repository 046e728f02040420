"""The weekly job and its schedule: from the first complete week to the last, then silent."""

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,  # what define_asset_job returns; not exported
)

from migration_assets.defs.selection import holds_now, selection
from migration_assets.settings import Settings
from migration_assets.weeks import Weeks

JOB = "weekly_migration"
SCHEDULE = "weekly_schedule"


def weekly_job() -> UnresolvedAssetJobDefinition:
    """Return the job that carries one week of every table; its partitions are the assets'."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="Take the week's cut, carry every table to it, prove each one.",
    )


def weekly_schedule(
    job: UnresolvedAssetJobDefinition, weeks: Weeks, settings: Settings, tables: Sequence[str]
) -> dg.ScheduleDefinition:
    """Return the schedule; a tick asks for the week that has just ended, once.

    Tables on hold are left out. Where the target can't be asked for them it asks for every table:
    the run says loudly what is wrong, and its steps refuse what is on hold.
    """

    @dg.schedule(
        name=SCHEDULE,
        job=job,
        cron_schedule=settings.cron,
        execution_timezone=weeks.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the week that has just ended; skips before the first and after the last.",
    )
    def _schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        complete = weeks.complete(tick)
        if not complete:
            return dg.SkipReason(f"the first week, {weeks.first}, is not over yet")
        today = tick.astimezone(ZoneInfo(weeks.timezone)).date()
        if today >= weeks.end + timedelta(days=7):
            return dg.SkipReason(f"the last week ended on {weeks.end}")
        label = complete[-1].isoformat()
        held = holds_now(settings)
        return dg.RunRequest(
            run_key=label,
            partition_key=label,
            asset_selection=selection(t for t in tables if t not in held) if held else None,
        )

    return _schedule
