"""Run weeks through Dagster's instance from this process: no daemon, no webserver needed."""

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, cast

import dagster as dg

from migration_assets.defs.build import from_environment
from migration_assets.defs.known import tables_of
from migration_assets.defs.launcher import bury, worker_tag
from migration_assets.defs.rollback import FAILURES, ROLLBACK_JOB, TAKE_BACK
from migration_assets.defs.schedules import JOB
from migration_assets.defs.selection import PARTITION_TAG, holds_now, selection
from migration_assets.defs.tables import ACKNOWLEDGE_TAG, aurora_key
from migration_assets.model import Hold
from migration_assets.settings import load

# The instance keeps every event; the console shows what this command itself has to say.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended: its id, per failed step the reason for people, the tables left on hold."""

    run_id: str
    success: bool
    failures: dict[str, str]
    held: dict[str, Hold] = field(default_factory=dict[str, Hold])


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
    """Run one week of all tables, or of some; `only_targets` leaves cut and deltas as they are.

    Without named tables those on hold are left out; one that is named is tried, and refused.
    """
    bury(instance)
    held: dict[str, Hold] = {}
    if tables is None:
        settings = load(os.environ, Path.cwd())
        held = holds_now(settings)
        if held:
            tables = [name for name in tables_of(settings) if name not in held]
    tags = {PARTITION_TAG: week.isoformat(), **worker_tag()}
    if acknowledged:
        tags[ACKNOWLEDGE_TAG] = ",".join(sorted(acknowledged))
    with dg.execute_job(
        dg.build_reconstructable_job(__name__, weekly_job.__name__, (uuid.uuid4().hex,)),
        instance=instance,
        tags=tags,
        run_config=_QUIET,
        asset_selection=None if tables is None else selection(tables, only_targets=only_targets),
    ) as result:
        failures = {
            event.step_key or JOB: _reason(event)
            for event in result.all_events
            if event.event_type is dg.DagsterEventType.STEP_FAILURE
        }
        if not result.success and not failures:
            failures = {JOB: _end(instance, result.run_id)}
        return RunOutcome(
            run_id=result.run_id, success=result.success, failures=failures, held=held
        )


def rolling_back(loading: str) -> dg.JobDefinition:  # noqa: ARG001
    """Return the job that takes weeks back; `loading` is as in `weekly_job`."""
    return from_environment().resolve_job_def(ROLLBACK_JOB)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOutcome:
    """How a run that takes weeks back ended: figures of tables, and reasons of those that failed.

    `reason` says why the run failed where no table did.
    """

    run_id: str
    success: bool
    figures: dict[str, dict[str, Any]]
    failures: dict[str, str]
    reason: str = ""


def run_rollback(
    instance: dg.DagsterInstance,
    *,
    week: date | None,
    entry: int | None,
    tables: Sequence[str],
    acknowledged: Iterable[str] = (),
) -> RollbackOutcome:
    """Take a week, or an entry, back of these tables, as a run of Dagster's."""
    bury(instance)
    config = {
        "week": week.isoformat() if week else None,
        "entry": entry,
        "tables": list(tables),
        "acknowledge": sorted(acknowledged),
    }
    with dg.execute_job(
        dg.build_reconstructable_job(__name__, rolling_back.__name__, (uuid.uuid4().hex,)),
        instance=instance,
        tags=worker_tag(),
        run_config={**_QUIET, "ops": {TAKE_BACK: {"config": config}}},
    ) as result:
        figures, failures, reason = dict[str, dict[str, Any]](), dict[str, str](), ""
        by_asset = {aurora_key(table): table for table in tables}
        for event in result.all_events:
            if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION:
                seen = event.asset_observation_data.asset_observation
                values = {name: value.value for name, value in seen.metadata.items()}
                figures[by_asset[seen.asset_key]] = values
            elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
                failures, reason = _failed_tables(event), _reason(event)
        if not result.success and not reason:
            reason = _end(instance, result.run_id)
        return RollbackOutcome(
            run_id=result.run_id,
            success=result.success,
            figures=figures,
            failures=failures,
            reason="" if failures else reason,
        )


def _failed_tables(event: dg.DagsterEvent) -> dict[str, str]:
    data = event.step_failure_data.user_failure_data
    said = data.metadata.get(FAILURES) if data else None
    return dict(cast("dict[str, str]", said.value)) if said else {}


def _end(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return why a run failed in which no step did: somebody else ended it, say."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    said = [event.message or "" for event in events]
    said += [e.job_failure_data.error.message for e in events if e.job_failure_data.error]
    return "; ".join(text.strip() for text in said if text.strip()) or "no reason given"


def _reason(event: dg.DagsterEvent) -> str:
    """Return what a failed step said; our own errors are Dagster failures with a description."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "no reason given"
