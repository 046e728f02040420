"""The job that takes weeks back: table by table, each in its own transaction, said in Dagster.

Dagster's partitions stay materialized whatever is rolled back, so every week at which a table no
longer stands gets a failed check, until it is carried again.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field

from migration_assets.defs.assets import TARGET_POOL
from migration_assets.defs.known import tables_of
from migration_assets.defs.report import report_week
from migration_assets.defs.tables import aurora_key
from migration_assets.defs.taken_back import note_taken_back
from migration_assets.errors import MigrationError, SettingsError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets.settings import load
from migration_assets.undo import rollback, table_of

ROLLBACK_JOB = "rollback"
TAKE_BACK = "take_back"
FAILURES = "failures"  # metadata of the op's failure: table → reason


class RollbackConfig(dg.Config):
    """What to take back, and of which tables."""

    week: str | None = Field(
        default=None, description="Take back this week and everything later: its first day."
    )
    entry: int | None = Field(
        default=None, description="Or take back this entry of the ledger and everything after it."
    )
    tables: list[str] = Field(
        default_factory=list,
        description="Only these tables; without any, all that stand at the week or later, or the"
        " entry's.",
    )
    acknowledge: list[str] = Field(
        default_factory=list, description="Guards that may pass for this one run."
    )


def rollback_job() -> dg.JobDefinition:
    """Return the job; it can be started from the UI's launchpad, or by the command line."""

    @dg.op(name=TAKE_BACK, pool=TARGET_POOL)
    def _take_back(
        context: dg.OpExecutionContext,
        config: RollbackConfig,
        migration: dg.ResourceParam[Migration],
    ) -> Iterator[dg.AssetObservation | dg.Output[None]]:
        try:
            tables = _tables(migration, config)
        except MigrationError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        failures: dict[str, str] = {}
        weeks: set[date] = set()
        for table in tables:
            try:
                yield from _rolled_back(context, migration, config, table)
                weeks |= note_taken_back(context, migration, aurora_key(table), table)
            except MigrationError as error:
                failures[table] = str(error)
        _report_again(context, migration, sorted(weeks))
        if failures:
            said = "\n".join(f"{table}: {reason}" for table, reason in failures.items())
            metadata = {FAILURES: dg.MetadataValue.json(failures)}
            raise dg.Failure(description=said, metadata=metadata, allow_retries=False)
        yield dg.Output(None)

    @dg.job(
        name=ROLLBACK_JOB,
        description="Take weeks back: tables return to where they stood before, proved, and are on"
        " hold until they are released.",
    )
    def _job() -> None:
        _take_back()

    return _job


def _tables(migration: Migration, config: RollbackConfig) -> Sequence[str]:
    """Return the tables that are tried: those named, the entry's, or all."""
    if config.tables:
        return list(dict.fromkeys(config.tables))
    if config.entry is None:
        return tables_of(migration.settings)
    table = table_of(migration, config.entry)
    if table is None:
        raise SettingsError(
            what=f"the ledger has no entry {config.entry}",
            where="migration.ledger",
            expected="the number of an entry",
        )
    return [table]


def _rolled_back(
    context: dg.OpExecutionContext, migration: Migration, config: RollbackConfig, table: str
) -> Iterator[dg.AssetObservation]:
    """Take one table back, and say so; where nothing is left to take back, only the log does."""
    moved = rollback(
        migration,
        table,
        week=_day(config.week),
        entry=config.entry,
        run=context.run.run_id,
        acknowledged=frozenset(config.acknowledge),
    )
    if moved is None:
        context.log.info("%s: nothing to take back", table)
        return
    week = moved.proof.week
    yield dg.AssetObservation(
        aurora_key(table),
        partition=week.isoformat(),
        description=f"rolled back to {week}, and on hold",
        metadata=_metadata(moved),
    )


def _day(label: str | None) -> date | None:
    try:
        return date.fromisoformat(label) if label else None
    except ValueError as error:
        raise SettingsError(
            what=f"{label} is no week", expected="the first day of a week, such as 2026-10-04"
        ) from error


def _metadata(moved: Moved) -> Mapping[str, dg.MetadataValue]:
    return {
        "ledger_entry": dg.MetadataValue.int(moved.entry),
        "stands_at": dg.MetadataValue.text(moved.proof.week.isoformat()),
        "inserted": dg.MetadataValue.int(moved.inserted),
        "updated": dg.MetadataValue.int(moved.updated),
        "deleted": dg.MetadataValue.int(moved.deleted),
        "displaced": dg.MetadataValue.int(moved.displaced),
        "put_back": dg.MetadataValue.int(moved.restored),
        "schema_changes": dg.MetadataValue.json(list(moved.changes)),
    }


def _report_again(
    context: dg.OpExecutionContext, migration: Migration, weeks: Sequence[date]
) -> None:
    """Make the reports of weeks anew that no longer say how the tables stand."""
    settings = load(os.environ, Path.cwd())
    for week in weeks:
        problem = report_week(context.instance, settings, tables_of(migration.settings), week)
        if problem:
            context.log.warning("%s: %s", week, problem)
