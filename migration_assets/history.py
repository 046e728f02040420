"""Which of a table's head moves stand, and which were taken back; nothing here reads anything."""

from collections.abc import Iterable

from migration_assets.model import HeadMove


def standing(moves: Iterable[HeadMove]) -> tuple[HeadMove, ...]:
    """Return the moves that led to where the table stands, oldest first.

    A rollback takes back what came after the entry it restores, and is none of them itself: the
    restored entry is the last one then. Taking a rollback back brings those entries back.
    """
    known: dict[int, tuple[HeadMove, ...]] = {}
    path: tuple[HeadMove, ...] = ()
    for move in moves:
        path = (*path, move) if move.restores is None else known[move.restores]
        known[move.entry] = path
    return path
