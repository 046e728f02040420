"""Say at a table's partitions which weeks a rollback took back, and which of them stand again.

Dagster's partitions stay materialized whatever happens to the table, so what tells is a check. It
is read back before it is written: a step that was killed in between is made up for by the next one,
and what a person's own verification found isn't called taken back.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter  # not exported
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,  # not exported
)

from migration_assets.defs import checks
from migration_assets.errors import HoldError
from migration_assets.migration import Migration
from migration_assets.report.checks import (
    CONTENT_DIGEST,
    STORED,
    TAKEN_BACK,
    Asked,
    Result,
    of_proof,
    of_taken_back,
)
from migration_assets.undo import Standing, standing_of

_EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def note_taken_back(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    migration: Migration,
    asset: dg.AssetKey,
    table: str,
    *,
    but: date | None = None,
) -> set[date]:
    """Let weeks that were taken back be red and those that stand again be green; return them.

    `but` is the week that the run itself has results of.
    """
    found = standing_of(migration, table)
    if found is None:
        return set()
    changed: set[date] = set()
    for result, week in _results(migration, table, found):
        before = _last(context.instance, asset, week)
        stale = (before != result.texts[TAKEN_BACK]) if TAKEN_BACK in result.texts else bool(before)
        if week != but and stale:
            checks.note(context, asset, result, partition=week.isoformat())
            changed.add(week)
    return changed


def _results(migration: Migration, table: str, found: Standing) -> Iterable[tuple[Result, date]]:
    for week in (*found.turned.away, *found.turned.again):
        asked = Asked(table=table, week=week, show_keys=migration.settings.show_keys)
        if week in found.turned.away:
            stands, entry = found.proof.week, found.rollback
            yield of_taken_back(asked, stands=stands, entry=entry, held=found.held), week
        else:
            proved = of_proof(asked, found.proof, basis=STORED)
            yield next(result for result in proved if result.name == CONTENT_DIGEST), week


def _last(instance: dg.DagsterInstance, asset: dg.AssetKey, week: date) -> str:
    """Return the rollback that a week's last check says it was taken back by; '' where none.

    A run that was refused since then, for the hold that came with it, says no more.
    """
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(asset, CONTENT_DIGEST),
        limit=1,
        status=_EVALUATED,
        partition_filter=PartitionKeyFilter(key=week.isoformat()),
    )
    event = records[0].event.dagster_event if records and records[0].event else None
    if event is None:
        return ""
    said = {k: v.value for k, v in event.asset_check_evaluation_data.metadata.items()}
    if said.get("error") == HoldError.__name__:
        return HoldError.__name__
    return str(said.get(TAKEN_BACK, ""))
