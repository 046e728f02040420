"""The one step, end to end: what a table and a week need, prepared, moved and settled.

This is where source, mapping, target and verify meet; the assets and the command line call these
functions and nothing deeper.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

from migration_assets import guards
from migration_assets.attempts import note
from migration_assets.errors import MigrationError, OvertakenError, StateError
from migration_assets.evolving import follow, refuse_unsafe
from migration_assets.findings import Moved, Outcome
from migration_assets.mapping.evolution import Evolution
from migration_assets.mapping.names import asset_name
from migration_assets.migration import Migration, persistent
from migration_assets.model import (
    AcceptedRow,
    Cut,
    Delta,
    Head,
    Scope,
    SourceTable,
    TableMapping,
)
from migration_assets.proposal import propose_for
from migration_assets.source import cut as cuts
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.source.reader import fitted_rows, table_in
from migration_assets.target import ddl, exceptions, ledger, write_guard
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.connection import (
    Connection,
    connect,
    require_writer,
    translated,
)
from migration_assets.target.exceptions import KEPT_ROWS
from migration_assets.target.move import Step, lock_table, move, passes
from migration_assets.target.remap import Remapping
from migration_assets.verify.digest import RowHasher
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import stored_proof

_log = logging.getLogger(__name__)
ROUNDS = 5  # another run that moves the same table at the same time makes us prepare again


def take_cut(migration: Migration, week: date, progress: cuts.Progress | None = None) -> Cut:
    """Return the cut that stands for a week, taking it where none does yet."""
    settings = migration.settings
    return cuts.take(
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
        ledger.bootstrap(connection, migration.target.schema)
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
                return _covered_delta(migration, connection, table, cut, head)
            shape = table_in(cut, table)
            evolution = _evolution(migration, connection, shape, cut, head, anew=True)
        whole = head is not None and evolution.changed
        return _compute(migration, evolution.mapping, shape, cut, head, whole=whole)


def _covered_delta(
    migration: Migration, connection: Connection, table: str, cut: Cut, head: Head
) -> Delta:
    stored = delta_files.find(migration.state, migration.source, table, cut.week)
    damage = _damage(migration, table, cut)
    if stored is not None and stored.cut == cut.id and not damage:
        return stored
    return delta_files.write(
        migration.state,
        (),
        ledger.sealed_mapping(connection, head.mapping_hash),
        week=cut.week,
        base=cut,
        cut=cut,
        scope=Scope.CHANGES,
        rebuilt=damage,
    )


def _damage(migration: Migration, table: str, cut: Cut) -> str:
    """Say what is wrong with a stored delta, which is made again then, in the log, too."""
    found = delta_files.damage(migration.state, migration.source, table, cut.week)
    if found:
        _log.warning("%s; it is made again from its cuts", found)
    return found


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
            step = _prepare(
                migration,
                _evolution(migration, connection, shape, cut, head),
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

    def do() -> Moved | None:
        with alone(migration, table), session(migration, table) as connection:
            for _ in range(ROUNDS):
                head = ledger.head(connection, migration.source, table)
                if head is None:
                    return None
                ledger.refuse_held(connection, migration.source, table, f"table {table}")
                heads.append(head)
                moved = _replay(
                    migration, connection, table, head, run=run, acknowledged=acknowledged, at=at
                )
                if moved is not None:
                    return moved
        raise overtaken(f"table {table}")

    try:
        return migration.until_done(f"table {table}", do)
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
    evolution = _evolution(migration, connection, shape, cut, head)
    if not evolution.changed:
        return _covered(connection, head)
    step = _prepare(
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
def alone(migration: Migration, table: str) -> Generator[None]:
    """Hold a table's deltas: one that is made again would take its files from a running step.

    And keep all cuts from being removed meanwhile, whichever the step finds.
    """
    name = f"table-{migration.source}-{asset_name(table)}"
    with reading(migration), migration.state.lock(name, purpose=f"a step of table {table}"):
        yield


@contextmanager
def reading(migration: Migration) -> Generator[None]:
    """Keep cuts and deltas from being removed while they are read; many may read at once."""
    name = reading_lock(migration)
    with migration.state.lock(name, purpose="reading cuts", shared=True):
        yield


def reading_lock(migration: Migration) -> str:
    """Name the lock that readers of cuts share, and that who removes some holds alone."""
    return f"reading-{migration.source}"


@contextmanager
def _cut_alone(migration: Migration, table: str, week: date) -> Generator[Cut]:
    """Hold a table's deltas and lend the cut that stands for a week."""
    with alone(migration, table):
        yield cut_for(migration, week)


@contextmanager
def session(migration: Migration, table: str, week: date | None = None) -> Generator[Connection]:
    """Connect to the writer, with the ledger in place; errors name table and week."""
    where = f"table {table}, week {week}" if week else f"table {table}"
    with connect(migration.target) as connection, translated(where):
        require_writer(connection, where)
        ledger.bootstrap(connection, migration.target.schema)
        yield connection


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


def _prepare(
    migration: Migration,
    evolution: Evolution,
    shape: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    accepted: Sequence[AcceptedRow],
    run: str,
    acknowledged: frozenset[str],
    at: Callable[[str], None],
) -> Step:
    """Gather everything the move needs, before its transaction opens.

    `accepted` are the table's exceptions as they are known now; the move reads them again.
    """
    mapping = evolution.mapping
    remapping = _remapping(evolution) if head is not None else None
    replaces = head is not None and passes(acknowledged, FOREIGN_WRITES)
    whole = replaces or remapping is not None
    displaces = replaces or (whole and bool(accepted) and passes(acknowledged, KEPT_ROWS))
    stored = _stored_delta(migration, mapping, cut, head, whole=whole)
    at("prepared")
    if stored is None or replaces:
        stored = _compute(migration, mapping, shape, cut, head, whole=whole)
    at("compared")
    expected = expect(cut, shape, mapping, watched={row.key_hash for row in accepted})
    guards.refuse(
        guards.Prepared(
            settings=migration.settings,
            state=migration.state,
            cut=cut,
            table=shape,
            mapping=mapping,
            base=evolution.base,
            head=head,
            delta=stored,
            expected=expected,
            renamed=evolution.renamed,
        ),
        acknowledged,
    )
    return Step(
        cut=cut,
        table=shape,
        mapping=mapping,
        head=head,
        delta=stored,
        expected=expected,
        run=run,
        remapping=remapping,
        acknowledged=acknowledged,
        head_hashes=head_hashes(migration, evolution.base, head) if head and displaces else None,
        write_guard=migration.settings.write_guard,
        show_keys=migration.settings.show_keys,
        at=at,
    )


def _remapping(evolution: Evolution) -> Remapping | None:
    if not evolution.changed:
        return None
    return Remapping(
        older=evolution.base,
        newer=evolution.mapping,
        renamed=evolution.renamed,
        changes=evolution.changes,
    )


def _stored_delta(
    migration: Migration, mapping: TableMapping, cut: Cut, head: Head | None, *, whole: bool
) -> Delta | None:
    """Return the stored delta if it starts at the head, is intact, and ends at this cut.

    One of another mapping is never used. Where the cut has to be staged whole, only one that is,
    and only there: one that a run left which was told to displace would write over kept rows.
    """
    scope = Scope.EVERYTHING if whole or head is None else Scope.CHANGES
    delta = delta_files.find(migration.state, migration.source, mapping.table, cut.week)
    if delta is None or delta.cut != cut.id or delta.base_cut != (head.cut if head else None):
        return None
    if delta.mapping_hash != mapping.hash or delta.scope is not scope:
        return None
    try:
        delta_files.check(delta)
    except StateError:
        return None  # what is made in its place names it
    return delta


def _evolution(
    migration: Migration,
    connection: Connection,
    table: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    anew: bool = False,
) -> Evolution:
    """Return how the table's mapping follows it to a cut.

    Before the first load that mapping is the stored delta's while settings and policies agree with
    it, else (or `anew`) a new proposal. Raises `DriftError` for what a person has to confirm.
    """

    def older() -> Cut | None:
        return cuts.find(migration.state, migration.source, head.cut) if head else None

    if head is None and not anew:
        before = _proposed_before(migration, table.name, cut)
        if before is not None:
            evolution = follow(migration.settings, before, table, cut, older=older)
            if not (evolution.changed or evolution.unsafe):
                return evolution
    base = (
        ledger.sealed_mapping(connection, head.mapping_hash)
        if head
        else _propose(migration, cut, table)
    )
    evolution = follow(migration.settings, base, table, cut, older=older)
    refuse_unsafe(evolution, cut)
    return evolution


def _proposed_before(migration: Migration, table: str, cut: Cut) -> TableMapping | None:
    """Return the mapping that the stored delta of a first load was made with."""
    delta = delta_files.find(migration.state, migration.source, table, cut.week)
    if delta is None or delta.cut != cut.id or delta.base_cut is not None:
        return None
    return delta_files.mapping_of(migration.state, delta)


def _propose(migration: Migration, cut: Cut, table: SourceTable) -> TableMapping:
    mapping, _ = propose_for(migration.settings, cut, table, target_schema=migration.target.schema)
    return mapping


def _compute(
    migration: Migration,
    mapping: TableMapping,
    shape: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    whole: bool,
) -> Delta:
    """Compare head and cut, or read the whole cut, and store the delta."""
    base = cuts.find(migration.state, migration.source, head.cut) if head else None
    with migration.state.workspace() as scratch:
        if base is None or whole:
            scope, steps = Scope.EVERYTHING, compare_cuts.everything(cut, shape, mapping)
        else:
            cuts.check(base)
            scope = Scope.CHANGES
            steps = compare_cuts.changes(base, cut, shape, mapping, scratch=scratch)
        return delta_files.write(
            migration.state,
            steps,
            mapping,
            week=cut.week,
            base=base,
            cut=cut,
            scope=scope,
            rebuilt=_damage(migration, mapping.table, cut),
        )


def head_hashes(
    migration: Migration, mapping: TableMapping, head: Head
) -> Callable[[], Iterator[int]]:
    """Return what reads the row hashes of the head's cut, to tell our rows from others'."""

    def hashes() -> Iterator[int]:
        cut = cuts.find(migration.state, migration.source, head.cut)
        cuts.check(cut)
        hasher = RowHasher(mapping)
        for _, fitted in fitted_rows(cut, table_in(cut, mapping.table), mapping):
            if fitted.values is not None:
                yield hasher.row_hash(fitted.values)

    return hashes


def overtaken(where: str) -> OvertakenError:
    """Return the error of a table whose head moved each time it was looked at."""
    return OvertakenError(
        what=f"other runs moved the table {ROUNDS} times while this one prepared",
        where=where,
        hint="let the other runs end, then run again",
    )
