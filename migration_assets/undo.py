"""Undo: take head moves of a table back, by the same proved step in the other direction.

A rollback leads from the head's cut and mapping to those of an earlier entry, in one transaction,
proved against the older cut before it shows, and is an entry itself that can be taken back. The
table is on hold from then on, so that nothing carries it forward again before a person says so.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from migration_assets.errors import MigrationError, RollbackError, StateError
from migration_assets.findings import Moved
from migration_assets.guards import passes
from migration_assets.history import WayBack, before_entry, before_week, way_back
from migration_assets.holds import who_says_so
from migration_assets.model import Cut, Delta, Head, HeadMove, Scope, SourceTable, TableMapping
from migration_assets.source import cut as cuts
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.source.reader import table_in
from migration_assets.state import LocalState
from migration_assets.step import (
    ROUNDS,
    Migration,
    alone,
    head_hashes,
    note,
    overtaken,
    session,
)
from migration_assets.target import exceptions, ledger
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.backwards import backwards
from migration_assets.target.connection import Connection
from migration_assets.target.displaced import DISPLACED_ROWS
from migration_assets.target.exceptions import KEPT_ROWS
from migration_assets.target.move import Step, move
from migration_assets.target.remap import Remapping
from migration_assets.target.restoring import Restoring
from migration_assets.verify.expect import expect


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be taken back: a week and everything later, or an entry and everything after."""

    table: str
    week: date | None = None
    entry: int | None = None

    @property
    def where(self) -> str:
        """Name table and what is taken back for an error."""
        return f"table {self.table}, rollback of {self.what}"

    @property
    def what(self) -> str:
        """Say what is taken back."""
        return f"week {self.week}" if self.entry is None else f"entry {self.entry}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way back with what stands at its two ends, in the ledger and in the state folder.

    `watched` are the key hashes of the table's exceptions.
    """

    way: WayBack
    head: Head
    cut: Cut
    table: SourceTable
    mapping: TableMapping
    remapping: Remapping | None
    watched: frozenset[int]

    @property
    def standing(self) -> TableMapping:
        """The mapping under which the table stands now."""
        return self.remapping.older if self.remapping else self.mapping


def rollback(
    migration: Migration,
    table: str,
    *,
    week: date | None = None,
    entry: int | None = None,
    run: str,
    acknowledged: frozenset[str] = frozenset(),
    by: str | None = None,
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved | None:
    """Take a week and everything later back, or an entry and everything after it; None if nothing.

    `week`: the table goes to its last standing entry of an earlier week; `entry`: to how it stood
    before that entry, which may be a rollback's. The table is on hold afterwards. `by` names who
    says so; the system user by default. A failed attempt is noted, then raised.
    """
    asked = _asked(table, week, entry)
    heads: list[Head] = []
    try:
        with alone(migration, table), session(migration, table) as connection:
            for _ in range(ROUNDS):
                route = _route(migration, connection, asked)
                if route is None:
                    return None
                heads.append(route.head)
                with _prepared(
                    migration, route, run=run, acknowledged=acknowledged, by=by, at=at
                ) as step:
                    moved = move(connection, migration.target, step)
                if moved is not None:
                    return moved
        raise overtaken(asked.where)
    except MigrationError as error:
        if heads:
            note(migration, table, heads[-1].week, run, error)
        raise


def _asked(table: str, week: date | None, entry: int | None) -> Asked:
    if (week is None) == (entry is None):
        raise RollbackError(
            what="either a week or an entry is taken back",
            where=f"table {table}",
            expected="one of the two",
        )
    return Asked(table=table, week=week, entry=entry)


def _route(migration: Migration, connection: Connection, asked: Asked) -> Route | None:
    """Return the way back; None where nothing is to be taken back. Raises where there is none."""
    moves = ledger.history(connection, migration.source, asked.table)
    head = ledger.head(connection, migration.source, asked.table)
    to = _to(moves, asked)
    way = way_back(moves, to) if to else None
    if way is None or head is None:
        return None
    if head.entry != way.head.entry:
        raise overtaken(asked.where)  # a move committed between the two questions
    cut = _cut_of(migration, way.to, asked)
    mapping = ledger.sealed_mapping(connection, way.to.mapping_hash)
    remapping = None
    if head.mapping_hash != mapping.hash:
        standing = ledger.sealed_mapping(connection, head.mapping_hash)
        remapping = backwards(mapping, standing, way.since)
    return Route(
        way=way,
        head=head,
        cut=cut,
        table=table_in(cut, asked.table),
        mapping=mapping,
        remapping=remapping,
        watched=frozenset(
            row.key_hash for row in exceptions.accepted(connection, migration.source, asked.table)
        ),
    )


def _to(moves: tuple[HeadMove, ...], asked: Asked) -> HeadMove | None:
    """Return the move after which the table stood where it goes; None where nothing is taken back.

    Raises `RollbackError` where nothing was before that, or there is no such entry.
    """
    if asked.entry is not None and asked.entry not in {move.entry for move in moves}:
        raise RollbackError(
            what=f"the table has no entry {asked.entry}",
            where=f"table {asked.table}",
            expected=f"one of {', '.join(str(move.entry) for move in moves) or 'none yet'}",
            hint="see `SELECT entry, kind, week FROM migration.ledger` on the target",
        )
    if not moves or (asked.week is not None and moves[-1].week < asked.week):
        return None
    to = (
        before_week(moves, asked.week)
        if asked.week is not None
        else before_entry(moves, asked.entry or 0)
    )
    if to is None:
        raise RollbackError(
            what="the first load of a table can't be taken back: there was nothing before it",
            where=asked.where,
            expected=f"a week after {moves[0].week}, or an entry after {moves[0].entry}",
            hint="to load the table anew, drop it on the target, delete its rows in"
            " migration.ledger, and run its week; to leave it alone, `migration-assets hold`",
        )
    return to


def _cut_of(migration: Migration, to: HeadMove, asked: Asked) -> Cut:
    """Return the cut that the table goes back to, whole. Raises `StateError` where it isn't."""
    try:
        cut = cuts.find(migration.state, migration.source, to.cut)
        cuts.check(cut)
    except StateError as error:
        raise StateError(
            what=f"the cut that the table stood at is needed for the way back: {error.what}",
            where=asked.where,
            expected=f"cut {to.cut} of week {to.week}, whole; nothing was changed",
            hint="restore it from a backup of the state folder; without it, a backup of the target"
            " is the only way back",
        ) from error
    return cut


@contextmanager
def _prepared(
    migration: Migration,
    route: Route,
    *,
    run: str,
    acknowledged: frozenset[str],
    by: str | None,
    at: Callable[[str], None],
) -> Generator[Step]:
    """Lend the step of a way back; its delta lies in a workspace, apart from those of weeks."""
    displaces = passes(acknowledged, FOREIGN_WRITES)
    at("prepared")
    with migration.state.workspace() as folder:
        delta = _delta(migration, route, LocalState(folder), whole=displaces)
        overwrites_kept = delta.scope is Scope.EVERYTHING and passes(acknowledged, KEPT_ROWS)
        at("compared")
        yield Step(
            cut=route.cut,
            table=route.table,
            mapping=route.mapping,
            head=route.head,
            delta=delta,
            expected=expect(route.cut, route.table, route.mapping, route.watched),
            run=run,
            remapping=route.remapping,
            acknowledged=acknowledged,
            head_hashes=head_hashes(migration, route.standing, route.head)
            if displaces or overwrites_kept
            else None,
            displaces_foreign=displaces,
            overwrites_kept=overwrites_kept,
            show_keys=migration.settings.show_keys,
            restoring=Restoring(
                to=route.way.to,
                taken=route.way.taken,
                by=by or who_says_so(),
                leaves_rows=passes(acknowledged, DISPLACED_ROWS),
            ),
            at=at,
        )


def _delta(migration: Migration, route: Route, place: LocalState, *, whole: bool) -> Delta:
    """Store what leads from the head's cut to the older one, at a place that is gone afterwards."""
    base = _base(migration, route)
    compared = base is not None and route.remapping is None and not whole
    with migration.state.workspace() as scratch:
        steps = (
            compare_cuts.changes(base, route.cut, route.table, route.mapping, scratch=scratch)
            if base is not None and compared
            else compare_cuts.everything(route.cut, route.table, route.mapping)
        )
        return delta_files.write(
            place,
            steps,
            route.mapping,
            week=route.cut.week,
            base=base,
            cut=route.cut,
            scope=Scope.CHANGES if compared else Scope.EVERYTHING,
        )


def _base(migration: Migration, route: Route) -> Cut | None:
    """Return the head's cut; None where it is lost or damaged: the older one is staged whole then.

    A damaged newest cut is a reason to go back, so it must not be in the way.
    """
    try:
        cut = cuts.find(migration.state, migration.source, route.head.cut)
        cuts.check(cut)
    except StateError:
        return None
    return cut
