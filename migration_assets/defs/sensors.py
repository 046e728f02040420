"""Catch up: ask for what the schedule could not carry, table by table, within limits.

The machine was off, a table failed, a table is new: the ledger's heads say which tables lag, and
Dagster's own runs what was tried already, so there is no memory here that could be lost. The newest
week carries everything that older ones missed; those are then covered and only have to turn green.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psutil
from dagster._core.definitions.run_request import InstigatorType  # not exported
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,  # what define_asset_job returns; not exported
)
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus  # not exported
from dagster._core.scheduler.instigation import ScheduleInstigatorData  # not exported
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    WILL_RETRY_TAG,
)
from dagster._utils.schedules import cron_string_iterator  # the ticks as the daemon reckons them

from migration_assets.defs.known import tables_of
from migration_assets.defs.schedules import SCHEDULE
from migration_assets.defs.selection import PARTITION_TAG, open_briefly, selection
from migration_assets.defs.tables import aurora_key
from migration_assets.errors import MigrationError
from migration_assets.settings import Settings
from migration_assets.standing import heads_and_holds
from migration_assets.weeks import Weeks

CATCH_UP_TAG = "migration/catch_up"  # on the sensor's runs, and on Dagster's retries of them
_INTERVAL = 60  # seconds between two evaluations
_AFTER_TICK = timedelta(minutes=10)  # in which a week still belongs to the schedule
_STARTING = timedelta(minutes=5)  # in which the schedule makes up for a tick it has missed
_RETRY_SOON = timedelta(minutes=10)  # in which Dagster starts a crashed run again by itself


def _process_start() -> datetime:
    """Return when this code server was started: with the daemon, or when code was reloaded."""
    return datetime.fromtimestamp(psutil.Process().create_time(), UTC)


def catch_up_sensor(
    job: UnresolvedAssetJobDefinition,
    weeks: Weeks,
    settings: Settings,
    tables: Sequence[str],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    up_since: Callable[[], datetime] = _process_start,
) -> dg.SensorDefinition:
    """Return the sensor; `clock` says what time it is, `up_since` when Dagster was started."""

    @dg.sensor(
        name="catch_up",
        job=job,
        minimum_interval_seconds=_INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for weeks that were not run and for tables that lag.",
    )
    def _catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return CatchUp(
            instance=context.instance,
            weeks=weeks,
            settings=settings,
            tables=tables,
            now=clock(),
            up_since=up_since(),
            settled=context.cursor,
            settle=context.update_cursor,
        ).decide()

    return _catch_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A week that some tables need, and what stands in the way of asking for the others."""

    week: date
    tables: list[str]
    runs: int
    waiting: dict[str, datetime]
    used_up: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """One evaluation: what is due now, if anything.

    `up_since` is when Dagster was started: a schedule makes up for missed ticks soon after.
    `settled` stands for weeks and tables whose partitions were all green once. It only saves a
    question for every table; where it is lost they are asked again. `settle` remembers it.
    """

    instance: dg.DagsterInstance
    weeks: Weeks
    settings: Settings
    tables: Sequence[str]
    now: datetime
    up_since: datetime
    settled: str | None
    settle: Callable[[str], None]

    def decide(self) -> dg.RunRequest | dg.SkipReason:
        """Return the one run to ask for, or why there is none."""
        weeks = self._weeks()
        reason = (
            self._off() or self._busy() or self._tick_missed(weeks[-1])
            if weeks
            else self._nothing_due()
        )
        if reason:
            return dg.SkipReason(reason)
        try:
            heads, holds = heads_and_holds(open_briefly(self.settings))
        except MigrationError as error:
            # The weekly run says it loudly; here it would be said once a minute.
            return dg.SkipReason(f"it can't be known which tables lag: {error}")
        free = [name for name in self.tables if name not in holds]
        found = [self._due(week, lagging) for week, lagging in self._lagging(weeks, heads, free)]
        for due in found:
            if due.tables:
                return self._request(due)
        left_out = f"; on hold: {', '.join(sorted(holds))}" if holds else ""
        left_out += self._without_asset()
        said = [line for due in found for line in self._said(due)]
        if said:
            return dg.SkipReason("; ".join(said) + left_out)
        return dg.SkipReason(f"every table stands at {weeks[-1]}{left_out}")

    def _without_asset(self) -> str:
        """Name tables that the source has by now and these definitions don't, or ''."""
        new = [name for name in tables_of(self.settings) if name not in self.tables]
        named = ", ".join(new)
        return f"; without an asset until the code location is reloaded: {named}" if new else ""

    def _weeks(self) -> list[date]:
        """Return the complete weeks whose scheduled run had its chance, oldest first."""
        return [
            week
            for week in self.weeks.complete(self.now)
            if self._tick(week) + _AFTER_TICK <= self.now
        ]

    def _tick(self, week: date) -> datetime:
        """Return when the schedule asks for a week: at its first tick once that is over."""
        over = self.weeks.midnight(week + timedelta(days=7))
        return next(cron_string_iterator(over.timestamp(), self.settings.cron, self.weeks.timezone))

    def _off(self) -> str:
        if self.settings.catch_up_attempts == 0:
            return "catching up is switched off: catch_up_attempts is 0"
        return ""

    def _nothing_due(self) -> str:
        complete = self.weeks.complete(self.now)
        if complete:
            return f"week {complete[-1]} is left to the schedule until some minutes after its tick"
        return f"the first week, {self.weeks.first}, is not over yet"

    def _busy(self) -> str:
        """Name a run or backfill of weekly partitions that has not ended, or ''."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
            if PARTITION_TAG in run.tags or ASSET_PARTITION_RANGE_START_TAG in run.tags:
                week = run.tags.get(PARTITION_TAG, "several weeks")
                return f"run {run.run_id} of {week} has not ended ({run.status.value.lower()})"
        crashed = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={WILL_RETRY_TAG: "true"},
            updated_after=self.now - _RETRY_SOON,
        )
        for run in self.instance.get_runs(crashed):
            if AUTO_RETRY_RUN_ID_TAG not in run.tags:
                return f"run {run.run_id} crashed and is about to be retried"
        asked = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
        for backfill in self.instance.get_backfills(filters=asked, limit=1):
            return f"backfill {backfill.backfill_id} has not ended"
        return ""

    def _tick_missed(self, week: date) -> str:
        """Tell that the schedule is about to ask for a week whose tick it slept through, or ''."""
        if self.now - self.up_since > _STARTING:
            return ""
        tick = self._tick(week)
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
            data = state.instigator_data
            if (
                state.instigator_name == SCHEDULE
                and state.is_running
                and isinstance(data, ScheduleInstigatorData)
            ):
                ticks = self.instance.get_ticks(
                    state.instigator_origin_id, state.selector_id, limit=1
                )
                moments = (data.start_timestamp, data.last_iteration_timestamp)
                if max(*(m or 0 for m in moments), *(t.timestamp for t in ticks), 0) < (
                    tick.timestamp()
                ):
                    return f"the schedule is about to make up for its tick of {tick:%Y-%m-%d %H:%M}"
        return ""

    def _lagging(
        self, weeks: Sequence[date], heads: Mapping[str, date], tables: Sequence[str]
    ) -> Iterator[tuple[date, list[str]]]:
        """Yield each week with the tables that need it, newest first.

        The newest where a head lags; then any whose partition never turned green though its table
        stands there or further: such a step changes nothing and is over at once.
        """
        behind = [name for name in tables if heads.get(name, date.min) < weeks[-1]]
        this = _fingerprint(weeks, tables)
        not_green = (
            dict[str, set[str]]() if this == self.settled else self._not_green(weeks, tables)
        )
        if not behind and not any(not_green.values()):
            self.settle(this)
        for week in reversed(weeks):
            stands = [
                name
                for name, labels in not_green.items()
                if heads.get(name, date.min) >= week and week.isoformat() in labels
            ]
            yield week, [*(behind if week == weeks[-1] else ()), *stands]

    def _not_green(self, weeks: Sequence[date], tables: Sequence[str]) -> dict[str, set[str]]:
        """Return the weeks in which each table's partition was never materialized."""
        labels = {week.isoformat() for week in weeks}
        return {
            name: labels - self.instance.get_materialized_partitions(aurora_key(name))
            for name in tables
        }

    def _due(self, week: date, tables: Sequence[str]) -> Due:
        """Tell which of the tables may be tried now, by the runs of that week so far."""
        by_week = dg.RunsFilter(tags={PARTITION_TAG: week.isoformat()})
        records = self.instance.get_run_records(by_week) if tables else ()
        now, waiting, used_up = list[str](), dict[str, datetime](), list[str]()
        for name in tables:
            runs = [record for record in records if _carries(record, name)]
            attempts = sum(map(_is_attempt, runs))
            if attempts >= self.settings.catch_up_attempts:
                used_up.append(name)
                continue
            pause = timedelta(minutes=self.settings.catch_up_backoff * 2**attempts)
            earliest = max((_ended(record) + pause for record in runs), default=self.now)
            if earliest <= self.now:
                now.append(name)
            else:
                waiting[name] = earliest
        return Due(week=week, tables=now, runs=len(records), waiting=waiting, used_up=used_up)

    def _request(self, due: Due) -> dg.RunRequest:
        label = due.week.isoformat()
        return dg.RunRequest(
            run_key=f"catch_up/{label}/{due.runs}",
            partition_key=label,
            asset_selection=selection(due.tables),
            tags={CATCH_UP_TAG: "true"},
        )

    def _said(self, due: Due) -> Iterator[str]:
        if due.waiting:
            earliest = min(due.waiting.values()).astimezone(UTC)
            names = ", ".join(due.waiting)
            yield f"week {due.week}: {names} not before {earliest:%Y-%m-%d %H:%M} UTC"
        if due.used_up:
            yield (
                f"week {due.week}: {', '.join(due.used_up)} failed"
                f" {self.settings.catch_up_attempts} more times; do what the checks say, then"
                " materialize the partition, or `migration-assets run --week"
                f" {due.week} --table {due.used_up[0]}`"
            )


def _fingerprint(weeks: Sequence[date], tables: Sequence[str]) -> str:
    """Return a short text that stands for these weeks and tables."""
    text = json.dumps([[week.isoformat() for week in weeks], list(tables)])
    return hashlib.sha256(text.encode()).hexdigest()


def _carries(record: RunRecord, table: str) -> bool:
    """Tell whether a run was to carry a table; without any selection it carries all."""
    run = record.dagster_run
    if not run.asset_selection:
        return not run.asset_check_selection
    return aurora_key(table) in run.asset_selection


def _is_attempt(record: RunRecord) -> bool:
    """Tell whether the sensor asked for a run; what repeats one is nothing new."""
    run = record.dagster_run
    return CATCH_UP_TAG in run.tags and run.parent_run_id is None


def _ended(record: RunRecord) -> datetime:
    """Return when a run ended; one that never started, when it was last heard of."""
    if record.end_time is None:
        return record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC)
    return datetime.fromtimestamp(record.end_time, UTC)
