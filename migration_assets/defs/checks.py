"""A table's asset checks: their specs, and results for people as Dagster's own.

The proofs and the round trip block, since they say whether the table is equal; schema and foreign
keys don't. Dagster only lets errors block, and no warnings.
"""

from collections.abc import Container, Iterable, Iterator

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,  # not exported
)

from migration_assets.plain import markdown
from migration_assets.report.checks import (
    CONTENT_DIGEST,
    FOREIGN_KEYS,
    PROOFS,
    QUARANTINE,
    ROUND_TRIP,
    ROW_COUNT,
    SCHEMA,
    Result,
)

BLOCKING = frozenset({*PROOFS, ROUND_TRIP})
DESCRIPTIONS = {
    ROW_COUNT: "Rows in the cut = rows on the target + rows in quarantine.",
    CONTENT_DIGEST: "Every fitting row of the cut stands on the target, cell for cell.",
    QUARANTINE: "Rows that don't fit, recomputed from the cut, are exactly those in quarantine.",
    ROUND_TRIP: "Changed rows and a sample, read back from the target, are the raw cut's.",
    SCHEMA: "Columns, key and indexes stand as the mapping made them; the source hasn't drifted.",
    FOREIGN_KEYS: "The source's foreign keys could be created: every row has its parent.",
}


def specs(asset: dg.AssetKey, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the check specs of one table's asset."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset,
            description=text,
            blocking=name in BLOCKING,
            partitions_def=partitions,
        )
        for name, text in DESCRIPTIONS.items()
    ]


def results(
    asset: dg.AssetKey, found: Iterable[Result], *, selected: Container[str]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the selected ones of these results as Dagster's."""
    for result in found:
        if result.name in selected:
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=result.name,
                passed=result.passed,
                severity=_severity(result),
                description=result.sentence,
                metadata=_metadata(result),
            )


def note_at_head(
    context: dg.AssetExecutionContext,
    asset: dg.AssetKey,
    found: Iterable[Result],
    *,
    selected: Container[str],
) -> None:
    """Note the selected results of a run without a partition at the week of the table's head.

    Dagster would show them as the latest execution, but its lists go by partition: a failure that
    was found so would still be called succeeded there.
    """
    for result in found:
        if result.name in selected:
            note(context, asset, result, partition=result.texts["head_week"])


def note(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    asset: dg.AssetKey,
    result: Result,
    *,
    partition: str,
) -> None:
    """Note a result at a partition that isn't the run's own.

    Not as an event without a run, of which Dagster's storage takes one for each partition.
    Dagster's lists leave out a result that doesn't name the partition's last materialization.
    """
    evaluation = dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=result.name,
        passed=result.passed,
        severity=_severity(result),
        description=result.sentence,
        metadata=_metadata(result),
        blocking=result.name in BLOCKING,
        partition=partition,
        target_materialization_data=_last_materialization(context.instance, asset, partition),
    )
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=context.run.job_name,
        event_specific_data=evaluation,
    )
    context.instance.report_dagster_event(event, run_id=context.run.run_id)


def _last_materialization(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    asked = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition])
    for record in instance.fetch_materializations(asked, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return None


def _severity(result: Result) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if result.severe else dg.AssetCheckSeverity.WARN


def _metadata(result: Result) -> dict[str, dg.MetadataValue]:
    lines = "\n".join(f"- {markdown(line)}" for line in result.lines)
    return {
        **{name: dg.MetadataValue.int(number) for name, number in result.numbers.items()},
        **{name: dg.MetadataValue.text(text) for name, text in result.texts.items()},
        **({"differences": dg.MetadataValue.md(lines)} if lines else {}),
        "to_do": dg.MetadataValue.text(result.to_do),
    }
