"""The end of a cutover: what was deferred is made, leftovers go, every table is put on hold.

Every transaction locks all tables against moves first, and makes sure that each still stands at
the final cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from migration_assets.cutover import objects
from migration_assets.cutover.checks import LEFT_OUT, VIOLATIONS
from migration_assets.cutover.journal import Journal
from migration_assets.cutover.objects import Making, Planned
from migration_assets.errors import GuardError, ProofError, TargetError
from migration_assets.migration import Migration
from migration_assets.model import CUT_OVER, Cut, Head, SourceTable, TableMapping
from migration_assets.source.reader import catalog_in
from migration_assets.target import constraints, ddl, ledger, scratch
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.target.identity import restart_identity
from migration_assets.target.lock import lock_table
from migration_assets.verify.prove import target_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AtCut:
    """A table that stands at the final cut."""

    shape: SourceTable
    mapping: TableMapping
    head: Head


def elsewhere(table: str, cut: Cut) -> ProofError:
    """Return the error of a table that another run has moved meanwhile."""
    return ProofError(
        what="the table doesn't stand at the final cut",
        where=f"table {table}",
        expected=f"cut {cut.id}",
        hint="another run moved it meanwhile: let it end, then run again",
    )


def make_deferred(journal: Journal, cut: Cut, tables: Sequence[AtCut]) -> None:
    """Set identities, make constraints and views, analyze, and remove what is only for loads."""
    migration = journal.migration
    schema = migration.target.schema

    def guard(connection: Connection) -> None:
        _still_at(connection, tables, cut)

    making = Making(
        target=migration.target,
        guard=guard,
        tolerant=VIOLATIONS in journal.acknowledged,
        at=journal.at,
    )
    with journal.stage("identities") as tell:
        tell(f"{_identities(making, cut, tables)} columns give the source's next keys")
    with journal.stage("constraints and views") as tell:
        with connect(migration.target) as connection, translated("cutover, constraints"):
            pairs = [(t.shape, t.mapping) for t in tables]
            planned = objects.plan(connection, pairs, catalog_in(cut).views, cut, schema)
        _refuse_unsaid(journal, planned)
        made = objects.make(making, planned.wanted)
        journal.made += made.objects
        journal.left_out = [*planned.impossible, *planned.violated, *made.left_out]
        tell(f"{len(made.objects)} stand, {len(journal.left_out)} left out")
    with journal.stage("statistics and clean-up") as tell:
        tell(_clean_up(migration, tables))
    journal.at("cleaned")


def _refuse_unsaid(journal: Journal, planned: Planned) -> None:
    """Stop where the final cut lets less be made than what was acknowledged."""
    for name, found in ((VIOLATIONS, planned.violated), (LEFT_OUT, planned.impossible)):
        if found and name not in journal.acknowledged:
            raise GuardError(
                what=f"can't be made: {'; '.join(o.text for o in found)}",
                where="cutover, constraints",
                expected="what the conditions said before the final cut",
                hint=f"mend it at the source, or `--acknowledge {name}`, then run again",
            )


def _still_at(connection: Connection, tables: Sequence[AtCut], cut: Cut) -> None:
    """Lock all tables against moves, in one order, and make sure that none was moved."""
    for table in sorted(tables, key=lambda t: t.shape.name):
        lock_table(connection, table.mapping.source, table.shape.name)
    for table in tables:
        if ledger.head(connection, table.mapping.source, table.shape.name) != table.head:
            raise elsewhere(table.shape.name, cut)


def _identities(making: Making, cut: Cut, tables: Sequence[AtCut]) -> int:
    with (
        connect(making.target) as connection,
        translated("cutover, identities"),
        transaction(connection, "READ COMMITTED"),
    ):
        making.guard(connection)
        for table in tables:
            restart_identity(connection, table.mapping, cut, table.shape, beyond_rows=True)
        connection.execute("COMMIT")
    making.at("identities")
    return sum(any(c.identity for c in t.mapping.columns) for t in tables)


def _clean_up(migration: Migration, tables: Sequence[AtCut]) -> str:
    """Analyze all tables; drop what a rehearsal left. The ledger stays, as the record."""
    guards = 0
    with connect(migration.target) as connection, translated("cutover, clean-up"):
        for table in tables:
            constraints.analyze(connection, table.mapping)
            guards += len(constraints.our_triggers(connection, table.mapping))
        left = scratch.drop(connection, scratch.name_of(migration.target.schema))
    rehearsal = "; the schema of a rehearsal dropped" if left else ""
    return (
        f"{len(tables)} tables analyzed{rehearsal}; {guards} triggers that guard loads go when the"
        " tables are put on hold"
    )


def finish(journal: Journal, cut: Cut, tables: Sequence[AtCut]) -> None:
    """Put every table on hold, in one transaction that finds each as it was proved.

    Nobody else writes while it is open: what is on hold is what was signed off. The triggers that
    guard loads go with it: from then on the tables are the application's.
    """
    migration = journal.migration
    reason = f"{CUT_OVER} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC (cut {cut.id})"
    with (
        connect(migration.target) as connection,
        translated("cutover, end"),
        transaction(connection, "READ COMMITTED"),
    ):
        _still_at(connection, tables, cut)
        for table in tables:
            name = ddl.table_name(table.mapping)
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(name))
            if target_digest(connection, table.mapping) != table.head.digest:
                raise TargetError(
                    what="rows were changed on the target after the sign-off",
                    where=f"table {table.shape.name}",
                    expected="the rows that were signed off; no table was put on hold",
                    hint="keep everybody off the target until the cutover has ended, then run"
                    " again: `migration-assets verify` names the rows",
                )
            constraints.drop_triggers(connection, table.mapping)
            ledger.hold(
                connection, migration.source, table.shape.name, reason=reason, by=journal.by
            )
        connection.execute("COMMIT")
