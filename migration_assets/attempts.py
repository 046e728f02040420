"""Note failed attempts in the ledger, apart from any move, once each."""

from dataclasses import replace
from datetime import date

from migration_assets.errors import (
    MigrationError,
    TargetUnavailableError,
    TargetUnreachableError,
)
from migration_assets.migration import Migration
from migration_assets.target import ledger
from migration_assets.target.connection import Target, connect, translated


def note(migration: Migration, table: str, week: date, run: str, error: MigrationError) -> None:
    """Note a failed attempt on the target, once; where that fails too, the error itself says so."""
    if isinstance(error, TargetUnreachableError):
        return  # what can't be reached can't be written to; the run's own log has it
    before: list[int] = []

    def do() -> None:
        with connect(_noting(migration, error)) as connection, translated("migration.attempt"):
            if not ledger.exists(connection):
                return
            if not before:
                before.append(ledger.last_attempt(connection))
            elif ledger.noted_after(connection, before[0], table, run=run, error=error):
                return  # it was written, and the answer was lost
            ledger.note_attempt(
                connection, migration.source, table, week=week, run=run, error=error
            )

    try:
        if isinstance(error, TargetUnavailableError):
            do()
        else:
            migration.until_done(f"note of table {table}, week {week}", do)
    except MigrationError as second:
        error.add_note(f"the attempt could not be noted in the ledger: {second}")


def _noting(migration: Migration, error: MigrationError) -> Target:
    """Return the target for a note; one that has just been waited for is not waited for again."""
    if isinstance(error, TargetUnavailableError):
        return replace(migration.target, patience=0.0)
    return migration.target
