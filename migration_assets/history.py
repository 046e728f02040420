"""Which of a table's head moves stand, and which were taken back; nothing here reads anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from migration_assets.model import HeadMove


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """From where a table stands to where it stood after an earlier entry.

    `taken` are the moves that this takes back, oldest first; `away` is the one of them that led
    away from there, so that what it displaced stood there. `since` are all that were made after
    the earlier entry, whether they stand or not: they are what changed the table's columns.
    """

    head: HeadMove
    to: HeadMove
    away: HeadMove
    taken: tuple[HeadMove, ...]
    since: tuple[HeadMove, ...]


def standing(moves: Iterable[HeadMove]) -> tuple[HeadMove, ...]:
    """Return the moves that led to where the table stands, oldest first.

    A rollback takes back what came after the entry it restores, and is none of them itself: the
    restored entry is the last one then. Taking a rollback back brings those entries back.
    """
    known = _paths(moves)
    return known[max(known)] if known else ()


def _paths(moves: Iterable[HeadMove]) -> dict[int, tuple[HeadMove, ...]]:
    """Return, for each entry, the moves that stood after it."""
    by_entry = {move.entry: move for move in moves}
    numbers = paths({move.entry: move.restores for move in by_entry.values()})
    return {entry: tuple(by_entry[n] for n in path) for entry, path in numbers.items()}


def paths(restores: Mapping[int, int | None]) -> dict[int, tuple[int, ...]]:
    """Return, for each entry of a table in order, those that stood after it.

    `restores` names the entry that a rollback went back to, None for any other move.
    """
    known: dict[int, tuple[int, ...]] = {}
    path: tuple[int, ...] = ()
    for entry, restored in restores.items():
        path = (*path, entry) if restored is None else known[restored]
        known[entry] = path
    return known


def before_week(moves: Sequence[HeadMove], week: date) -> HeadMove | None:
    """Return the last standing move of a week before this one; None where there is none."""
    earlier = [move for move in standing(moves) if move.week < week]
    return earlier[-1] if earlier else None


def before_entry(moves: Sequence[HeadMove], entry: int) -> HeadMove | None:
    """Return the move that an entry came after; None where it is the first one."""
    earlier = [move for move in moves if move.entry < entry]
    return earlier[-1] if earlier else None


def way_back(moves: Sequence[HeadMove], to: HeadMove) -> WayBack | None:
    """Return the way to where the table stood after `to`; None where it stands there already.

    A rollback that is itself taken back is one of the moves taken back: the first one that led away
    from there. Rollbacks after it, and what they took back, are not.
    """
    known = _paths(moves)
    now, then = known[moves[-1].entry], known[to.entry]
    if now == then:
        return None
    at = max(entry for entry, path in known.items() if path == then)
    away = next(move for move in moves if move.entry > at)
    stood = {move.entry for move in then}
    taken = [move for move in now if move.entry not in stood]
    if away.restores is not None:
        taken = [away, *taken]
    return WayBack(
        head=moves[-1],
        to=to,
        away=away,
        taken=tuple(sorted(taken, key=lambda move: move.entry)),
        since=tuple(move for move in moves if move.entry > to.entry),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Weeks that were taken back: those at which a table stands no longer, and does again."""

    away: tuple[date, ...] = ()
    again: tuple[date, ...] = ()


def turned(weeks: Iterable[date]) -> Turned:
    """Return what became of the weeks to which a table's moves led, in their order.

    A table stands at every week up to its head's; of those after it that were carried before, a
    rollback has taken it away. Weeks are counted from the first one: the final cut of a cutover
    that was given up is labelled with another day.
    """
    first = last = date.min  # that was ever carried
    away: tuple[date, ...] = ()
    ever: set[date] = set()
    for week in weeks:
        first = week if first == date.min else first
        last = max(last, week)
        away = _weeks_between(week, last, first)
        ever.update(away)
    return Turned(away=away, again=tuple(sorted(ever.difference(away))))


def _weeks_between(after: date, last: date, first: date) -> tuple[date, ...]:
    numbers = range((after - first).days // 7 + 1, (last - first).days // 7 + 1)
    return tuple(first + timedelta(weeks=number) for number in numbers)
