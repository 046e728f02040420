"""Run weeks through Dagster's instance from this process: no daemon, no webserver needed."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from migration_assets.defs.assets import AURORA_SCHEMA, SOURCE_CUT
from migration_assets.defs.build import from_environment
from migration_assets.defs.schedules import JOB
from migration_assets.defs.tables import ACKNOWLEDGE_TAG, aurora_key, delta_key

# The instance keeps every event; the console shows what this command itself has to say.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_PARTITION_TAG = "dagster/partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended: its id, and per failed step the reason for people."""

    run_id: str
    success: bool
    failures: dict[str, str]


def weekly_job(loading: str) -> dg.JobDefinition:  # noqa: ARG001
    """Return the weekly job of the settings in the environment; Dagster rebuilds it by this.

    `loading` names one loading: Dagster remembers the last job it rebuilt by the same arguments,
    and in between tables may have been added or settings changed.
    """
    return from_environment().resolve_job_def(JOB)


def run_week(
    instance: dg.DagsterInstance,
    week: date,
    *,
    tables: Sequence[str] | None = None,
    acknowledged: Iterable[str] = (),
    only_targets: bool = False,
) -> RunOutcome:
    """Run one week of all tables, or of some; `only_targets` leaves cut and deltas as they are."""
    tags = {_PARTITION_TAG: week.isoformat()}
    if acknowledged:
        tags[ACKNOWLEDGE_TAG] = ",".join(sorted(acknowledged))
    with dg.execute_job(
        dg.build_reconstructable_job(__name__, weekly_job.__name__, (uuid.uuid4().hex,)),
        instance=instance,
        tags=tags,
        run_config=_QUIET,
        asset_selection=_selection(tables, only_targets=only_targets),
    ) as result:
        failures = {
            event.step_key or JOB: _reason(event)
            for event in result.all_events
            if event.event_type is dg.DagsterEventType.STEP_FAILURE
        }
        return RunOutcome(run_id=result.run_id, success=result.success, failures=failures)


def _selection(tables: Sequence[str] | None, *, only_targets: bool) -> list[dg.AssetKey] | None:
    if tables is None:
        return None
    targets = [aurora_key(name) for name in tables]
    if only_targets:
        return targets
    return [SOURCE_CUT, AURORA_SCHEMA, *(delta_key(name) for name in tables), *targets]


def _reason(event: dg.DagsterEvent) -> str:
    """Return what a failed step said; our own errors are Dagster failures with a description."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "no reason given"
