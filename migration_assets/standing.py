"""Where tables stand: status by weeks, the proof of this moment, drift of their columns.

Everything here only reads, at the source's cuts and at the target.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from migration_assets.model import Hold, Proof, TableMapping
from migration_assets.report.status import Status, status
from migration_assets.source import cut as cuts
from migration_assets.source.reader import catalog_in, table_in
from migration_assets.step import ROUNDS, Migration, cut_for, drift_of, overtaken
from migration_assets.target import ledger
from migration_assets.target.connection import connect, transaction, translated
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import prove


def schema_drift(migration: Migration, week: date) -> dict[str, list[str]]:
    """Return, per table that was loaded before, how the week's cut differs from its mapping."""
    cut = cut_for(migration, week)
    found: dict[str, list[str]] = {}
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        for table in catalog_in(cut).tables:
            head = ledger.head(connection, migration.source, table.name)
            if head is None:
                continue
            drift = drift_of(ledger.sealed_mapping(connection, head.mapping_hash), table)
            if drift:
                found[table.name] = drift
    return found


def standing(migration: Migration, tables: Iterable[str], weeks: Sequence[date]) -> Status:
    """Return where the tables stand in these weeks, from ledger and attempts."""
    entries: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    held: dict[str, Hold] = {}
    where = f"target {migration.target.name}"
    with connect(migration.target) as connection, translated(where):
        if ledger.exists(connection):
            entries = ledger.entries(connection, migration.source)
            attempts = ledger.attempts(connection, migration.source)
            held = ledger.holds(connection, migration.source)
    return status(tables=tables, weeks=weeks, entries=entries, attempts=attempts, holds=held)


def holds(migration: Migration) -> dict[str, Hold]:
    """Return the tables that are on hold, by name."""
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        return ledger.holds(connection, migration.source)


def heads_and_holds(migration: Migration) -> tuple[dict[str, date], dict[str, Hold]]:
    """Return the week at which each table stands, and the tables that are on hold.

    One connection and three short queries, for those who ask often. Without a ledger nothing
    stands anywhere.
    """
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        if not ledger.exists(connection):
            return {}, {}
        return (
            ledger.head_weeks(connection, migration.source),
            ledger.holds(connection, migration.source),
        )


def verify(migration: Migration, table: str) -> tuple[Proof, TableMapping] | None:
    """Prove a table against its head's cut as it stands now; None before its first load.

    Both sides are read whole; the target in one REPEATABLE READ snapshot, read only, which opens
    after the cut was read: a snapshot that waits for that would hold back the server's clean-up.
    """
    where = f"table {table}"
    with connect(migration.target) as connection, translated(where):
        if not ledger.exists(connection):
            return None
        for _ in range(ROUNDS):
            head = ledger.head(connection, migration.source, table)
            if head is None:
                return None
            mapping = ledger.sealed_mapping(connection, head.mapping_hash)
            cut = cuts.find(migration.state, migration.source, head.cut)
            cuts.check(cut)
            shape = table_in(cut, table)
            expected = expect(cut, shape, mapping)
            with transaction(connection, "REPEATABLE READ READ ONLY"):
                if ledger.head(connection, migration.source, table) == head:
                    return prove(connection, mapping, cut, shape, expected)[0], mapping
    raise overtaken(where)
