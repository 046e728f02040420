"""The two assets of each source table: its delta, and its copy on the target with its proofs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from types import MappingProxyType

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
from migration_assets.defs.metadata import (
    Repetitions,
    Stopwatch,
    copy_metadata,
    delta_metadata,
    described,
    relation,
    source_link,
    table_name,
    tags,
    target_address,
    target_database,
)
from migration_assets.defs.taken_back import note_taken_back
from migration_assets.errors import MigrationError, StateError, TransientError, bug
from migration_assets.findings import Moved, Outcome
from migration_assets.mapping.names import allocate, asset_name
from migration_assets.migration import Migration
from migration_assets.mismatch import ROLLBACK, carry, settle
from migration_assets.model import (
    Catalog,
    Delta,
    SourceTable,
)
from migration_assets.plain import markdown
from migration_assets.report.checks import (
    FOREIGN_KEYS,
    MOVED,
    NOW,
    PROOFS,
    ROUND_TRIP,
    SCHEMA,
    STORED,
    Asked,
    Result,
    of_covered,
    of_error,
    of_inspection,
    of_proof,
    of_round_trip,
)
from migration_assets.settings import Settings
from migration_assets.standing import inspect, verify
from migration_assets.step import make_delta
from migration_assets.target.connection import database_of

ACKNOWLEDGE_TAG = "migration/acknowledge"  # comma-separated guards that one run may pass


def delta_key(table: str) -> dg.AssetKey:
    """Return the key of a table's delta."""
    return dg.AssetKey(["delta", asset_name(table)])


def aurora_key(table: str) -> dg.AssetKey:
    """Return the key of a table's copy on the target."""
    return dg.AssetKey(["aurora", asset_name(table)])


def table_assets(
    settings: Settings,
    known: Catalog,
    chosen: Catalog,
    partitions: dg.PartitionsDefinition[str],
) -> list[dg.AssetsDefinition]:
    """Return both assets of every chosen table; all that are known decide what each is called."""
    on_target = allocate(known.tables, settings.targets)
    database, address = target_database(settings), target_address(settings)
    found: list[dg.AssetsDefinition] = []
    for table in chosen.tables:
        # The name that a first load would choose; once there is one, it says what it chose.
        name = relation(database, settings.target_schema, on_target[table.name].table)
        found += [
            delta_asset(table=table, partitions=partitions, owners=settings.owners),
            aurora_asset(
                table=table,
                partitions=partitions,
                owners=settings.owners,
                metadata=address | table_name(name),
            ),
        ]
    return found


def delta_asset(
    *,
    table: SourceTable,
    partitions: dg.PartitionsDefinition[str],
    owners: Sequence[str] = (),
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
        owners=owners,
        tags=tags(table),
        metadata=source_link(delta_asset),
        description=f"Rows of {markdown(table.name)} that changed since the table's head, in target"
        f" types. {described(table)}",
    )
    def _delta(
        context: dg.AssetExecutionContext, migration: dg.ResourceParam[Migration]
    ) -> dg.Output[Delta]:
        repetitions = Repetitions(context.log)
        try:
            week = date.fromisoformat(context.partition_key)
            told = replace(migration, told=repetitions)
            delta = make_delta(told, table.name, week, run=context.run.run_id)
        except MigrationError as error:
            raise failure(error) from error
        except Exception as error:  # noqa: BLE001 - Dagster would keep its text, which may quote a row
            raise failure(bug(error)) from None
        return dg.Output(delta, metadata=delta_metadata(delta) | repetitions.metadata)

    return _delta


def aurora_asset(
    *,
    table: SourceTable,
    partitions: dg.PartitionsDefinition[str],
    owners: Sequence[str] = (),
    metadata: Mapping[str, dg.MetadataValue] = MappingProxyType({}),
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
                owners=owners,
                tags=tags(table),
                metadata={**source_link(aurora_asset), **metadata},
                description=f"{markdown(table.name)} on the target, standing at exactly one cut."
                f" {described(table)}",
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
        execution, repetitions = context.op_execution_context, Repetitions(context.log)
        migration = replace(migration, told=repetitions)
        selected = {k.name for k in execution.selected_asset_check_keys}
        asked = Asked(
            table=table.name,
            # Dagster's "Execute all" of checks starts a run without a partition.
            week=date.fromisoformat(context.partition_key) if context.has_partition_key else None,
            show_keys=migration.settings.show_keys,
        )
        try:
            if key in execution.selected_asset_keys:
                stopwatch = Stopwatch()
                moved = _move(context, migration, asked, stopwatch)
                database = database_of(migration.target.url)
                shown = copy_metadata(moved, database=database, stopwatch=stopwatch)
                yield dg.MaterializeResult(asset_key=key, metadata=shown | repetitions.metadata)
                found = after_move(migration, asked, moved)
                note_taken_back(context, migration, key, table.name, but=asked.week)
            else:
                found = checked_alone(migration, asked, selected, run=context.run.run_id)
        except MigrationError as error:
            yield from checks.results(key, of_error(asked, error), selected=selected)
            _note_policy(context, migration, asked)
            raise failure(error) from error
        except Exception as error:  # noqa: BLE001 - as above
            told = bug(error)
            yield from checks.results(key, of_error(asked, told), selected=selected)
            raise failure(told) from None
        if asked.week is None:
            checks.note_at_head(context, key, found, selected=selected)
        yield from checks.results(key, found, selected=selected)

    return _aurora


def _note_policy(context: dg.AssetExecutionContext, migration: Migration, asked: Asked) -> None:
    """Let weeks be red that `on_mismatch` has just taken back, before the run fails for it.

    What can't be said now the table's next run says.
    """
    if migration.settings.on_mismatch == ROLLBACK:
        with suppress(MigrationError):
            key = aurora_key(asked.table)
            note_taken_back(context, migration, key, asked.table, but=asked.week)


def _move(
    context: dg.AssetExecutionContext, migration: Migration, asked: Asked, stopwatch: Stopwatch
) -> Moved:
    if asked.week is None:
        raise StateError(
            what="a table is materialized for a week",
            where=asked.where,
            expected="a run with a partition",
            hint="choose the partition of a week",
        )
    tag = context.run.tags.get(ACKNOWLEDGE_TAG, "")
    return carry(
        migration,
        asked.table,
        asked.week,
        run=context.run.run_id,
        acknowledged=frozenset(name.strip() for name in tag.split(",") if name.strip()),
        at=stopwatch,
    )


def after_move(migration: Migration, asked: Asked, moved: Moved) -> list[Result]:
    """Return all checks' results of a step; what failed after its commit does not undo it."""
    covered = moved.outcome is Outcome.COVERED
    results = of_proof(asked, moved.proof, basis=STORED if covered else MOVED)
    try:
        found = inspect(migration, asked.table, read_back=moved.round_trip)
    except MigrationError as error:
        if covered and isinstance(error, TransientError):
            raise  # nothing was moved, so all of it may be tried again
        if moved.round_trip is None:
            return [*results, *of_error(asked, error, (ROUND_TRIP, SCHEMA, FOREIGN_KEYS))]
        read_back = of_round_trip(asked, moved.round_trip, moved=True)
        return [*results, read_back, *of_error(asked, error, (SCHEMA, FOREIGN_KEYS))]
    if found is None:
        raise _never_loaded(asked)
    others = of_covered(asked, found) if covered else of_inspection(asked, found, moved=True)
    return [*results, *others]


def checked_alone(
    migration: Migration, asked: Asked, selected: Collection[str], *, run: str = ""
) -> list[Result]:
    """Return checks' results of a table as it stands now, read in full only for the proofs.

    Where somebody else changed it, what `on_mismatch` says is done first, and it is read again.
    """
    if not any(name in selected for name in PROOFS):
        inspection = inspect(migration, asked.table)
        if inspection is None:
            raise _never_loaded(asked)
        _refuse_later_week(asked, inspection.week)
        return of_inspection(asked, inspection, moved=False)
    verified = verify(migration, asked.table)
    done = settle(migration, asked.table, verified, run=run)
    if done:
        verified = verify(migration, asked.table)
    if verified is None:
        raise _never_loaded(asked)
    _refuse_later_week(asked, verified.proof.week, done)
    results = [
        *of_proof(asked, verified.proof, basis=NOW),
        *of_inspection(asked, verified.inspection, moved=False),
    ]
    return [replace(r, texts={**r.texts, "done": done}) for r in results] if done else results


def _never_loaded(asked: Asked) -> StateError:
    return StateError(
        what="the table was never loaded",
        where=f"table {asked.table}",
        hint=f"materialize {aurora_key(asked.table).to_user_string()} first",
    )


def _refuse_later_week(asked: Asked, head: date, done: str = "") -> None:
    """Let no check turn green for a week that the table was not carried to, or was taken back.

    `done` is what was done about rows of others just now.
    """
    if asked.week is not None and head < asked.week:
        stands = f"the table stands at {head}"
        raise StateError(
            what=f"{done}: {stands}" if done else f"this week was not carried yet: {stands}",
            where=asked.where,
            expected="a week that the table's head covers",
            hint=f"materialize {aurora_key(asked.table).to_user_string()} for this week",
        )
