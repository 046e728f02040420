"""The two assets of each source table: its delta, and its copy on the target with its proofs."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from migration_assets.defs import checks
from migration_assets.defs.assets import (
    AURORA_SCHEMA,
    RETRIES,
    SOURCE_CUT,
    SOURCE_POOL,
    TARGET_POOL,
    failure,
)
from migration_assets.errors import MigrationError, StateError
from migration_assets.mapping.names import asset_name
from migration_assets.model import Delta, Moved, Outcome, Proof, SourceTable, TableMapping
from migration_assets.standing import verify
from migration_assets.step import Migration, carry, make_delta

ACKNOWLEDGE_TAG = "migration/acknowledge"  # comma-separated guards that one run may pass


def delta_key(table: str) -> dg.AssetKey:
    """Return the key of a table's delta."""
    return dg.AssetKey(["delta", asset_name(table)])


def aurora_key(table: str) -> dg.AssetKey:
    """Return the key of a table's copy on the target."""
    return dg.AssetKey(["aurora", asset_name(table)])


def delta_asset(
    *, table: SourceTable, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """Return the asset of a table's weekly delta."""

    @dg.asset(
        key=delta_key(table.name),
        # A delta starts at the head, which the ledger knows: without a target no table is tried.
        deps=[SOURCE_CUT, AURORA_SCHEMA],
        group_name="delta",
        kinds={"polars", "parquet"},
        partitions_def=partitions,
        io_manager_key="delta_io_manager",
        pool=SOURCE_POOL,
        retry_policy=RETRIES,
        description=f"Rows of `{table.name}` that changed since the table's head, in target types.",
    )
    def _delta(
        context: dg.AssetExecutionContext, migration: dg.ResourceParam[Migration]
    ) -> dg.Output[Delta]:
        try:
            delta = make_delta(migration, table.name, date.fromisoformat(context.partition_key))
        except MigrationError as error:
            raise failure(error) from error
        return dg.Output(delta, metadata=_delta_metadata(delta))

    return _delta


def _delta_metadata(delta: Delta) -> dict[str, dg.MetadataValue]:
    return {
        "dagster/row_count": dg.MetadataValue.int(delta.changes),
        "scope": dg.MetadataValue.text(delta.scope.value),
        "base_cut": dg.MetadataValue.text(delta.base_cut or "none: first load"),
        "cut": dg.MetadataValue.text(delta.cut),
        "inserts": dg.MetadataValue.int(delta.inserts),
        "updates": dg.MetadataValue.int(delta.updates),
        "deletes": dg.MetadataValue.int(delta.deletes),
        "entering_quarantine": dg.MetadataValue.int(delta.misfits_in),
        "leaving_quarantine": dg.MetadataValue.int(delta.misfits_out),
    }


def aurora_asset(
    *, table: SourceTable, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """Return the asset that moves a table to a week's cut, and its checks, in one op.

    With the asset selected, the op moves and proves; with only checks selected, it proves what
    stands. One red table stays one red table.
    """
    key = aurora_key(table.name)

    @dg.multi_asset(
        name=f"aurora__{asset_name(table.name)}",
        specs=[
            dg.AssetSpec(
                key,
                deps=[delta_key(table.name), AURORA_SCHEMA],
                skippable=True,
                group_name="aurora",
                kinds={"postgres"},
                description=f"`{table.name}` on the target, standing at exactly one cut.",
            )
        ],
        check_specs=checks.specs(key, partitions),
        partitions_def=partitions,
        can_subset=True,
        pool=TARGET_POOL,
        retry_policy=RETRIES,
    )
    def _aurora(
        context: dg.AssetExecutionContext, migration: dg.ResourceParam[Migration]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        execution = context.op_execution_context
        selected = {k.name for k in execution.selected_asset_check_keys}
        show_keys = migration.settings.show_keys
        try:
            if key in execution.selected_asset_keys:
                moved = _move(context, migration, table.name)
                proof = moved.proof
                yield dg.MaterializeResult(asset_key=key, metadata=_metadata(moved))
            else:
                proof = _verify(migration, table.name)
        except MigrationError as error:
            yield from checks.failures(key, error, selected=selected)
            raise failure(error) from error
        yield from checks.results(key, proof, selected=selected, show_keys=show_keys)

    return _aurora


def _move(context: dg.AssetExecutionContext, migration: Migration, table: str) -> Moved:
    tag = context.run.tags.get(ACKNOWLEDGE_TAG, "")
    return carry(
        migration,
        table,
        date.fromisoformat(context.partition_key),
        run=context.run.run_id,
        acknowledged=frozenset(name.strip() for name in tag.split(",") if name.strip()),
    )


def _verify(migration: Migration, table: str) -> Proof:
    verified = verify(migration, table)
    if verified is None:
        raise StateError(
            what="the table was never loaded",
            where=f"table {table}",
            hint=f"materialize {aurora_key(table).to_user_string()} first",
        )
    return verified[0]


def _metadata(moved: Moved) -> dict[str, dg.MetadataValue]:
    proof, mapping = moved.proof, moved.mapping
    state = (
        f"covered by the head at {proof.week}"
        if moved.outcome is Outcome.COVERED
        else f"moved to {proof.week}"
    )
    return {
        "dagster/row_count": dg.MetadataValue.int(proof.target_rows),
        "dagster/column_schema": dg.MetadataValue.table_schema(_table_schema(mapping)),
        "dagster/relation_identifier": dg.MetadataValue.text(
            f"{mapping.target_schema}.{mapping.target_table}"
        ),
        "state": dg.MetadataValue.text(state),
        "ledger_entry": dg.MetadataValue.int(moved.entry),
        "source_rows": dg.MetadataValue.int(proof.source_rows),
        "inserted": dg.MetadataValue.int(moved.inserted),
        "updated": dg.MetadataValue.int(moved.updated),
        "deleted": dg.MetadataValue.int(moved.deleted),
        "quarantined": dg.MetadataValue.int(proof.quarantined_rows),
        "displaced": dg.MetadataValue.int(moved.displaced),
    }


def _table_schema(mapping: TableMapping) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.target,
                type=c.type.sql,
                description=f"{c.name} {c.declared}: {c.evidence}",
                constraints=dg.TableColumnConstraints(nullable=not c.not_null),
            )
            for c in mapping.columns
        ]
    )
