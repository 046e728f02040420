"""Which cuts and deltas are still needed, and the others removed when a week's run has ended.

A cut is needed by the table that stands at it, by tables that still have to be carried to it, and
by moves that can be rolled back: those of the last `keep_weeks` weeks, and always a table's last
one. The newest cut is needed by tables that were never loaded. Deltas can be made again from cuts,
so only those of kept weeks and of every table's last move stay. Where the ledger doesn't tell,
nothing is removed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from migration_assets.errors import StateBusyError, StateError
from migration_assets.findings import Pruned
from migration_assets.history import standing
from migration_assets.mapping.names import asset_name
from migration_assets.migration import Migration
from migration_assets.model import Cut, HeadMove
from migration_assets.sessions import reading_lock
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.source.catalog import cached, select
from migration_assets.source.reader import catalog_in
from migration_assets.state import remove_file
from migration_assets.target import ledger
from migration_assets.target.connection import Connection, connect, translated


def needed(
    taken: Sequence[Cut],
    moves: Mapping[str, Sequence[HeadMove]],
    known: Collection[str],
    keep_weeks: int,
) -> dict[str, str]:
    """Return the ids of cuts that are needed, of those that were taken, each with the reason.

    `moves` are all head moves of every table that was loaded, oldest first; `known` are the tables
    that are still carried. Weeks are counted from the newest cut.
    """
    there = {cut.id for cut in taken}
    found = _named(taken, moves, known, keep_weeks)
    return {cut_id: why for cut_id, why in found.items() if cut_id in there}


def _named(
    taken: Sequence[Cut],
    moves: Mapping[str, Sequence[HeadMove]],
    known: Collection[str],
    keep_weeks: int,
) -> dict[str, str]:
    """Return what is needed, cuts that aren't there too."""
    found: dict[str, str] = {}
    for table, said in sorted(moves.items()):
        if said:
            found.setdefault(said[-1].cut, f"table {table} stands at it")
    for table in sorted(known):
        head = moves[table][-1].week if moves.get(table) else None
        for cut in taken:
            if head is not None and cut.week > head:
                why = f"table {table} was not carried to it yet: it stands at {head}"
                found.setdefault(cut.id, why)
    since = _kept_since(taken, keep_weeks)
    for table, said in sorted(moves.items()):
        for cut_id in _below(said, since):
            found.setdefault(cut_id, f"table {table} can be rolled back to it")
    for cut in taken:
        if cut.week >= since:
            found.setdefault(cut.id, f"it is of the last {keep_weeks} weeks")
    return found


def _kept_since(taken: Sequence[Cut], keep_weeks: int) -> date:
    """Return the first of the weeks that are kept whatever happened in them."""
    return max((cut.week for cut in taken), default=date.max) - timedelta(weeks=keep_weeks - 1)


def _below(moves: Sequence[HeadMove], since: date) -> Iterator[str]:
    """Yield the cuts at which a table stood before each move that can be taken back.

    Also before a rollback: that can be taken back, too.
    """
    for count, move in enumerate(moves):
        before = standing(moves[:count])
        if before and (move.week >= since or count == len(moves) - 1):
            yield before[-1].cut


def pinned(migration: Migration) -> dict[str, str]:
    """Return the cuts that are still needed, each with the reason.

    Raises `StateError` where ledger and state folder don't tell the same.
    """
    with connect(migration.target) as connection:
        needs = _needs(migration, connection)
    there = {cut.id for cut in needs.taken}
    return {cut_id: why for cut_id, why in needs.cuts.items() if cut_id in there}


def prune(migration: Migration) -> Pruned:
    """Remove the cuts and deltas that nothing needs any more.

    Puts it off while a step reads or a cut is taken. Raises `StateError` where ledger and state
    folder don't tell the same; nothing is removed then. Before anything is old enough, the target
    isn't asked.
    """
    taken = cuts.cuts(migration.state, migration.source)
    if not taken or taken[0].week >= _kept_since(taken, migration.settings.keep_weeks):
        return Pruned()
    with connect(migration.target) as connection:  # before any lock: no step waits for that
        try:
            with (
                migration.state.lock(reading_lock(migration), purpose="removing cuts", patience=0),
                migration.state.lock(
                    cuts.lock_of(migration.source), purpose="removing cuts", patience=0
                ),
            ):
                return _remove(migration, _needs(migration, connection))
        except StateBusyError as error:
            return Pruned(problem=f"cuts and deltas are in use ({error.what})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """What has to stay: cuts by id, deltas of weeks from `since`, and by asset name from a week.

    Of cuts, those that were lost are named too; `taken` are those that are there.
    """

    cuts: dict[str, str]
    taken: Sequence[Cut]
    since: date
    deltas: Mapping[str, date]

    def delta(self, name: str, week: str) -> bool:
        """Tell whether a stored delta stays."""
        first = min(self.since, self.deltas.get(name, date.max))
        return week >= first.isoformat()


def _needs(migration: Migration, connection: Connection) -> _Needs:
    taken = cuts.cuts(migration.state, migration.source)
    moves = _moves(migration, connection)
    _refuse_strangers(migration, taken, moves)
    keep_weeks = migration.settings.keep_weeks
    return _Needs(
        cuts=_named(taken, moves, _known(migration, taken), keep_weeks),
        taken=taken,
        since=_kept_since(taken, keep_weeks),
        deltas={asset_name(table): said[-1].week for table, said in moves.items()},
    )


def _moves(migration: Migration, connection: Connection) -> dict[str, tuple[HeadMove, ...]]:
    with translated(f"target {migration.target.name}"):
        if not ledger.exists(connection):
            return {}
        tables = ledger.head_weeks(connection, migration.source)
        return {name: ledger.history(connection, migration.source, name) for name in tables}


def _refuse_strangers(
    migration: Migration, taken: Sequence[Cut], moves: Mapping[str, Sequence[HeadMove]]
) -> None:
    """Raise `StateError` for a ledger that isn't this state folder's: it may need every cut."""
    there = {cut.id for cut in taken}
    lost = sorted(t for t, said in moves.items() if said and said[-1].cut not in there)
    if moves and not lost:
        return
    raise StateError(
        what=f"the cuts at which tables stand are not there: {', '.join(lost)}"
        if moves
        else "the ledger names no table of this source",
        where=f"state {migration.state.path('')}, target {migration.target.name}",
        expected="the ledger of the migration that this state folder belongs to; nothing was"
        " removed",
        hint="check `target` and `state` in migration.yaml; where cuts are lost, restore the state"
        " folder from its backup",
    )


def _known(migration: Migration, taken: Sequence[Cut]) -> list[str]:
    """Return the tables that the settings carry, those that vanished at the source too."""
    settings = migration.settings
    catalog = cached(migration.state, migration.source) or catalog_in(taken[-1])
    return [t.name for t in select(catalog, settings.include, settings.exclude).tables]


def _remove(migration: Migration, needs: _Needs) -> Pruned:
    state, source = migration.state, migration.source
    left_over = cuts.removable(state, source, needs.cuts)
    freed = sum(remove_file(state, key) for key in left_over)
    unneeded = [cut for cut in needs.taken if cut.id not in needs.cuts]
    deltas, freed_by_deltas = delta_files.remove_unless(state, source, needs.delta)
    freed += freed_by_deltas + sum(cuts.remove(state, cut) for cut in unneeded)
    older = {cut.id for cut in needs.taken if cut.week < needs.since}
    return Pruned(
        cuts=tuple(cut.id for cut in unneeded),
        deltas=deltas,
        freed=freed,
        kept={cut_id: why for cut_id, why in needs.cuts.items() if cut_id in older},
    )
