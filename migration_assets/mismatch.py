"""What is done, by `on_mismatch`, about a table that somebody else changed since its last move.

`keep` leaves it red. `repair` puts the rows right at the head and goes on, `rollback` takes the
last move back. Either only where other people's writing explains everything that differs: a wrong
load or a cut that reads otherwise is for a person to look into. A table on hold is left alone:
after a rollback, and above all after a cutover, when the rows are the application's. What was there
is kept in each case.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from migration_assets import step
from migration_assets.errors import ForeignWriteError, RollbackError
from migration_assets.findings import Moved, Outcome, Verified
from migration_assets.migration import Migration
from migration_assets.repair import repair
from migration_assets.standing import verify
from migration_assets.target import ledger
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.connection import connect, translated
from migration_assets.undo import rollback

KEEP, REPAIR, ROLLBACK = "keep", "repair", "rollback"


def carry(
    migration: Migration,
    table: str,
    week: date,
    *,
    run: str,
    acknowledged: frozenset[str] = frozenset(),
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved:
    """Move a table as `step.carry` does; where somebody else's rows stop it, do as the policy says.

    After a repair the step is tried once more.
    """
    try:
        return step.carry(migration, table, week, run=run, acknowledged=acknowledged, at=at)
    except ForeignWriteError:
        done = settle(migration, table, verify(migration, table), run=run)
        if not done:
            raise
    moved = step.carry(migration, table, week, run=run, acknowledged=acknowledged, at=at)
    return replace(moved, notes=(done, *moved.notes))


def settle(migration: Migration, table: str, found: Verified | None, *, run: str) -> str:
    """Do what the policy says about a table that differs; say what was done, '' if nothing was."""
    policy = migration.settings.on_mismatch
    if policy == KEEP or found is None or found.proof.holds:
        return ""
    attribution = found.proof.attribution
    if attribution is None or not attribution.only_others or _held(migration, table):
        return ""
    moved = (
        repair(migration, table, run=run)
        if policy == REPAIR
        else _roll_back(migration, table, run=run)
    )
    if moved is None or moved.outcome is not Outcome.LOADED:
        return ""
    return (
        f"`on_mismatch: {policy}`: entry {moved.entry} wrote {moved.inserted:,}, changed"
        f" {moved.updated:,} and deleted {moved.deleted:,} rows; what was there is kept in"
        " migration.displaced"
    )


def _held(migration: Migration, table: str) -> bool:
    """Tell whether a table is on hold: a second write would take it back one week further."""
    with connect(migration.target) as connection, translated(f"table {table}"):
        return table in ledger.holds(connection, migration.source)


def _roll_back(migration: Migration, table: str, *, run: str) -> Moved | None:
    """Take the table's last move back; None where there is no way back."""
    with connect(migration.target) as connection, translated(f"table {table}"):
        head = ledger.head(connection, migration.source, table)
    if head is None:
        return None
    try:
        return rollback(
            migration,
            table,
            entry=head.entry,
            run=run,
            acknowledged=frozenset({FOREIGN_WRITES}),
            by=f"on_mismatch: {ROLLBACK}",
        )
    except RollbackError:
        return None
