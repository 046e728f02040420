"""Where a rollback of a table leads, from what the ledger and the state folder have of it."""

from dataclasses import dataclass
from datetime import date
from typing import LiteralString

from migration_assets.errors import RollbackError, StateError
from migration_assets.history import WayBack, before_entry, before_week, way_back
from migration_assets.migration import Migration
from migration_assets.model import Cut, Head, HeadMove, TableMapping
from migration_assets.source import cut as cuts
from migration_assets.target import ledger
from migration_assets.target.backwards import backwards
from migration_assets.target.connection import Connection, transaction
from migration_assets.target.remap import Remapping

SNAPSHOT: LiteralString = "REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be taken back: a week and everything later, or an entry and everything after."""

    table: str
    week: date | None = None
    entry: int | None = None

    def __post_init__(self) -> None:
        """Raise `RollbackError` unless it is one of the two."""
        if (self.week is None) == (self.entry is None):
            raise RollbackError(
                what="either a week or an entry is taken back",
                where=f"table {self.table}",
                expected="one of the two",
            )

    @property
    def where(self) -> str:
        """Name table and what is taken back for an error."""
        what = f"week {self.week}" if self.entry is None else f"entry {self.entry}"
        return f"table {self.table}, rollback of {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way back: its moves, the head it starts from, and the mappings at both ends.

    `remapping` leads from one to the other where they differ.
    """

    asked: Asked
    way: WayBack
    head: Head
    mapping: TableMapping
    remapping: Remapping | None

    @property
    def standing(self) -> TableMapping:
        """The mapping under which the table stands now."""
        return self.remapping.older if self.remapping else self.mapping


def find_route(migration: Migration, connection: Connection, asked: Asked) -> Route | None:
    """Return the way back; None where nothing is to be taken back.

    Raises `RollbackError` where nothing was before what is to be taken back, or there is no such
    entry.
    """
    with transaction(connection, SNAPSHOT):
        moves = ledger.history(connection, migration.source, asked.table)
        head = ledger.head(connection, migration.source, asked.table)
        to = _to(moves, asked)
        way = way_back(moves, to) if to else None
        if way is None or head is None:
            return None
        mapping = ledger.sealed_mapping(connection, way.to.mapping_hash)
        standing = ledger.sealed_mapping(connection, head.mapping_hash)
    changed = standing.hash != mapping.hash
    return Route(
        asked=asked,
        way=way,
        head=head,
        mapping=mapping,
        remapping=backwards(mapping, standing, way.since) if changed else None,
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
        before_entry(moves, asked.entry)
        if asked.entry is not None
        else before_week(moves, asked.week or date.min)
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


def older_cut(migration: Migration, route: Route) -> Cut:
    """Return the cut that the table goes back to, whole. Raises `StateError` where it isn't."""
    to = route.way.to
    try:
        cut = cuts.find(migration.state, migration.source, to.cut)
        cuts.check(cut)
    except StateError as error:
        raise StateError(
            what=f"the cut that the table stood at is needed for the way back: {error.what}",
            where=route.asked.where,
            expected=f"cut {to.cut} of week {to.week}, whole; nothing was changed",
            hint="restore it from a backup of the state folder; without it, a backup of the target"
            " is the only way back",
        ) from error
    return cut


def head_cut(migration: Migration, head: Head) -> Cut | None:
    """Return the head's cut; None where it is lost or damaged: the older one is staged whole then.

    A damaged newest cut is a reason to go back, so it must not be in the way.
    """
    try:
        cut = cuts.find(migration.state, migration.source, head.cut)
        cuts.check(cut)
    except StateError:
        return None
    return cut
