"""The assets that all tables share: the week's cut, and the target's schema."""

from dataclasses import replace
from datetime import date

import dagster as dg

from migration_assets.deferring import deferred_at
from migration_assets.defs.metadata import Repetitions
from migration_assets.errors import (
    MigrationError,
    TargetUnreachableError,
    TargetUnsteadyError,
    TransientError,
    bug,
)
from migration_assets.migration import Migration
from migration_assets.sessions import reading
from migration_assets.source.catalog import read_catalog, remember, select
from migration_assets.source.connection import open_cut
from migration_assets.source.older_copy import signs
from migration_assets.standing import schema_drift
from migration_assets.step import bootstrap, take_cut

SOURCE_CUT = dg.AssetKey("source_cut")
AURORA_SCHEMA = dg.AssetKey("aurora_schema")
# Pools bound the steps of all runs together; dagster.yaml sets their size.
SOURCE_POOL, TARGET_POOL = "sqlite", "aurora"
EVERY_TABLE_HAS_AN_ASSET = "every_table_has_an_asset"
SOURCE_GOES_FORWARD = "source_goes_forward"

# Failures that may go away by themselves are tried again; terminal ones raise without retries.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


def failure(error: MigrationError) -> dg.Failure:
    """Turn our error into Dagster's; only a transient one is worth a retry.

    Unless it was tried again for as long as it may be: every table would wait as long once more.
    """
    tried = isinstance(error, TargetUnreachableError | TargetUnsteadyError)
    return dg.Failure(
        description=str(error),
        metadata={"error": type(error).__name__, "to_do": error.hint or "see the description"},
        allow_retries=isinstance(error, TransientError) and not tried,
    )


def source_cut(
    partitions: dg.PartitionsDefinition[str], known_tables: frozenset[str]
) -> dg.AssetsDefinition:
    """Return the asset of the week's cut; `known_tables` are those that have assets."""

    @dg.asset(
        key=SOURCE_CUT,
        group_name="source",
        kinds={"sqlite"},
        pool=SOURCE_POOL,
        partitions_def=partitions,
        retry_policy=RETRIES,
        description="A consistent, immutable copy of the SQLite source for one week.",
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_TABLE_HAS_AN_ASSET,
                asset=SOURCE_CUT,
                description="Every table of the cut is carried by an asset, or left out by name.",
                partitions_def=partitions,
            ),
            dg.AssetCheckSpec(
                SOURCE_GOES_FORWARD,
                asset=SOURCE_CUT,
                description="Nothing tells that an older copy of the source was restored.",
                partitions_def=partitions,
            ),
        ],
    )
    def _source_cut(
        context: dg.AssetExecutionContext, migration: dg.ResourceParam[Migration]
    ) -> dg.MaterializeResult:
        week = date.fromisoformat(context.partition_key)
        try:
            with reading(migration):
                cut = take_cut(migration, week)
                with open_cut(cut) as connection:
                    catalog = read_catalog(connection, cut.source)
                back = signs(migration.state, cut)
        except MigrationError as error:
            raise failure(error) from error
        except Exception as error:  # noqa: BLE001 - Dagster would keep its text, which may quote a row
            raise failure(bug(error)) from None
        remember(migration.state, catalog)
        settings = migration.settings
        wanted = select(catalog, settings.include, settings.exclude)
        without = sorted({t.name for t in wanted.tables} - known_tables)
        return dg.MaterializeResult(
            metadata={
                "week_of_cut": cut.week.isoformat(),
                "cut": cut.id,
                "taken_at": cut.taken_at,
                "size_bytes": cut.size,
                "pages": cut.pages,
                "tables": len(wanted.tables),
                "left_out": dg.MetadataValue.json(dict(wanted.left_out)),
                "orphaned_foreign_key_rows": cut.orphaned_rows,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=EVERY_TABLE_HAS_AN_ASSET,
                    passed=not without,
                    metadata={
                        "tables_without_an_asset": dg.MetadataValue.json(without),
                        "to_do": "reload the code location, then run this week again"
                        if without
                        else "nothing",
                    },
                ),
                _goes_forward(back),
            ],
        )

    return _source_cut


def _goes_forward(signs_of_an_older_copy: list[str]) -> dg.AssetCheckResult:
    """Return the check of a whole cut; each table's own guard stops it by itself."""
    lines = "\n".join(f"- {sign}" for sign in signs_of_an_older_copy)
    return dg.AssetCheckResult(
        check_name=SOURCE_GOES_FORWARD,
        passed=not signs_of_an_older_copy,
        metadata={
            "signs": len(signs_of_an_older_copy),
            **({"went_back": dg.MetadataValue.md(lines)} if lines else {}),
            "to_do": "ask those who run the application whether a backup was restored"
            if lines
            else "nothing",
        },
    )


def aurora_schema(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return the asset that makes the ledger on the target and reports schema drift."""

    @dg.asset(
        key=AURORA_SCHEMA,
        deps=[SOURCE_CUT],
        group_name="schema",
        kinds={"postgres"},
        pool=TARGET_POOL,
        partitions_def=partitions,
        retry_policy=RETRIES,
        description="The ledger on the target, and how the cut differs from sealed mappings.",
    )
    def _aurora_schema(
        context: dg.AssetExecutionContext, migration: dg.ResourceParam[Migration]
    ) -> dg.MaterializeResult:
        repetitions = Repetitions(context.log)
        migration = replace(migration, told=repetitions)
        try:
            bootstrap(migration)
            week = date.fromisoformat(context.partition_key)
            with reading(migration):
                drift = schema_drift(migration, week)
                later = deferred_at(migration, week)
        except MigrationError as error:
            raise failure(error) from error
        except Exception as error:  # noqa: BLE001 - Dagster would keep its text, which may quote a row
            raise failure(bug(error)) from None
        return dg.MaterializeResult(
            metadata={
                "tables_with_drift": len(drift),
                "drift": dg.MetadataValue.json(drift),
                "made_at_the_cutover": dg.MetadataValue.json(later),
                **repetitions.metadata,
            }
        )

    return _aurora_schema
