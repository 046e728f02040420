"""The one step, end to end: what a table and a week need, prepared, moved and settled.

This is where source, mapping, target and verify meet; the assets and the command line call these
functions and nothing deeper.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

from migration_assets.attempts import note
from migration_assets.deltas import compute, covered_delta
from migration_assets.errors import MigrationError, StateError
from migration_assets.findings import Moved, Outcome
from migration_assets.migration import Migration, persistent
from migration_assets.model import Cut, Delta, Head, TableMapping
from migration_assets.preparing import evolution_of, prepare
from migration_assets.sessions import ROUNDS, alone, at_head, overtaken, session
from migration_assets.source import cut as cuts
from migration_assets.source import taking
from migration_assets.source.reader import table_in
from migration_assets.target import ddl, exceptions, layout, ledger, write_guard
from migration_assets.target.connection import Connection, connect, require_writer, translated
from migration_assets.target.lock import lock_table
from migration_assets.target.move import move
from migration_assets.target.step import Step
from migration_assets.verify.prove import stored_proof


def take_cut(migration: Migration, week: date, progress: taking.Progress | None = None) -> Cut:
    """Return the cut that stands for a week, taking it where none does yet."""
    settings = migration.settings
    return taking.take(
        migration.state,
        migration.source,
        Path(settings.source),
        week,
        timeout=settings.source_timeout,
        progress=progress,
    )


@persistent
def bootstrap(migration: Migration) -> None:
    """Make the ledger on the target where it is missing; guard its tables as the settings say."""
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        require_writer(connection, f"target {migration.target.name}")
        layout.bootstrap(connection, migration.target.schema)
        _guard_tables(migration, connection)


def _guard_tables(migration: Migration, connection: Connection) -> None:
    """Make, change or remove the write guard's triggers on all tables, one after the other."""
    mode = migration.settings.write_guard

    def to_settle(table: str) -> TableMapping | None:
        head = ledger.head(connection, migration.source, table)
        held = ledger.holds(connection, migration.source).get(table)
        if head is None or (held is not None and held.cut_over):
            return None  # the cutover took the triggers away: the application writes there now
        mapping = ledger.sealed_mapping(connection, head.mapping_hash)
        there = ddl.read_table(connection, mapping) is not None
        return mapping if there and not write_guard.settled(connection, mapping, mode) else None

    for table in ledger.head_weeks(connection, migration.source):
        if to_settle(table) is None:
            continue  # without the lock, so that nothing waits for a step that is under way
        with connection.transaction():
            lock_table(connection, migration.source, table)
            mapping = to_settle(table)
            if mapping is not None:
                write_guard.settle(connection, mapping, mode)


def make_delta(migration: Migration, table: str, week: date, *, run: str = "") -> Delta:
    """Store the delta that carries a table from its head to a week's cut.

    Where the head covers the week already, its delta stays as it was stored, or is empty. A failed
    attempt is noted in the ledger, then raised: no load will come to note it.
    """
    try:
        return migration.until_done(
            f"delta of table {table}, week {week}", lambda: _make_delta(migration, table, week)
        )
    except MigrationError as error:
        note(migration, table, week, run, error)
        raise


def _make_delta(migration: Migration, table: str, week: date) -> Delta:
    with alone(migration, table):
        cut = cut_for(migration, week)
        with session(migration, table, week) as connection:
            head = ledger.head(connection, migration.source, table)
            if head is not None and cut.week <= head.week:
                return covered_delta(migration, connection, table, cut, head)
            shape = table_in(cut, table)
            evolution = evolution_of(migration, connection, shape, cut, head, anew=True)
        whole = head is not None and evolution.changed
        return compute(migration, evolution.mapping, shape, cut, head, whole=whole)


def carry(
    migration: Migration,
    table: str,
    week: date,
    *,
    run: str,
    acknowledged: frozenset[str] = frozenset(),
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved:
    """Move a table from its head to a week's cut; a week that its head covers changes nothing.

    A failed attempt is noted in the ledger, then raised.
    """
    try:
        return migration.until_done(
            f"table {table}, week {week}",
            lambda: _carry(migration, table, week, run=run, acknowledged=acknowledged, at=at),
        )
    except MigrationError as error:
        note(migration, table, week, run, error)
        raise


def _carry(
    migration: Migration,
    table: str,
    week: date,
    *,
    run: str,
    acknowledged: frozenset[str],
    at: Callable[[str], None],
) -> Moved:
    with _cut_alone(migration, table, week) as cut, session(migration, table, week) as connection:
        for _ in range(ROUNDS):
            head = ledger.head(connection, migration.source, table)
            if head is not None and cut.week <= head.week:
                return _covered(connection, head)
            ledger.refuse_held(connection, migration.source, table, f"table {table}, week {week}")
            shape = table_in(cut, table)
            step = prepare(
                migration,
                evolution_of(migration, connection, shape, cut, head),
                shape,
                cut,
                head,
                accepted=exceptions.accepted(connection, migration.source, table),
                run=run,
                acknowledged=acknowledged,
                at=at,
            )
            moved = move(connection, migration.target, step)
            if moved is not None:
                return _noted(moved, step)
    raise overtaken(f"table {table}, week {week}")


def _noted(moved: Moved, step: Step) -> Moved:
    """Tell of a delta that had been damaged: nothing stopped for it, but a disk may be failing."""
    damage = step.delta.rebuilt
    return replace(moved, notes=(f"{damage}; it was made again",)) if damage else moved


def replay(
    migration: Migration,
    table: str,
    *,
    run: str,
    acknowledged: frozenset[str] = frozenset(),
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved | None:
    """Let a table follow its settings at its head's own cut; None before its first load.

    Quarantined rows that fit by then go in, by the same move, proof and ledger. Where the settings
    ask for no other mapping nothing is changed. A failed attempt is noted, then raised.
    """
    heads: list[Head] = []

    def do(connection: Connection, head: Head) -> Moved | None:
        ledger.refuse_held(connection, migration.source, table, f"table {table}")
        heads.append(head)
        return _replay(
            migration, connection, table, head, run=run, acknowledged=acknowledged, at=at
        )

    try:
        return migration.until_done(f"table {table}", lambda: at_head(migration, table, do))
    except MigrationError as error:
        if heads:
            note(migration, table, heads[-1].week, run, error)
        raise


def _replay(
    migration: Migration,
    connection: Connection,
    table: str,
    head: Head,
    *,
    run: str,
    acknowledged: frozenset[str],
    at: Callable[[str], None],
) -> Moved | None:
    """Move a table to another mapping at its head's cut; None where the head has moved on."""
    cut = cuts.find(migration.state, migration.source, head.cut)
    cuts.check(cut)
    shape = table_in(cut, table)
    evolution = evolution_of(migration, connection, shape, cut, head)
    if not evolution.changed:
        return _covered(connection, head)
    step = prepare(
        migration,
        evolution,
        shape,
        cut,
        head,
        accepted=exceptions.accepted(connection, migration.source, table),
        run=run,
        acknowledged=acknowledged,
        at=at,
    )
    return move(connection, migration.target, step)


@contextmanager
def _cut_alone(migration: Migration, table: str, week: date) -> Generator[Cut]:
    """Hold a table's deltas and lend the cut that stands for a week."""
    with alone(migration, table):
        yield cut_for(migration, week)


def cut_for(migration: Migration, week: date) -> Cut:
    """Return the cut that stands for a week, checked. Raises `StateError` where there is none."""
    cut = cuts.covering(migration.state, migration.source, week)
    if cut is None:
        raise StateError(
            what="no cut was taken for this week",
            where=f"week {week}",
            hint=f"materialize source_cut for {week}, or `migration-assets run --week {week}`",
        )
    cuts.check(cut)
    return cut


def _covered(connection: Connection, head: Head) -> Moved:
    mapping = ledger.sealed_mapping(connection, head.mapping_hash)
    return Moved(
        outcome=Outcome.COVERED,
        entry=head.entry,
        mapping=mapping,
        proof=stored_proof(head, exceptions.accepted(connection, mapping.source, mapping.table)),
    )
