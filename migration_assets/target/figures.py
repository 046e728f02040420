"""Figures of the target that a cutover is decided by: its size, how long moves took, exceptions."""

from dataclasses import dataclass
from typing import Any, cast

from migration_assets.target.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceptional:
    """A row that somebody accepted to differ, as far as a certificate names it: never its key."""

    table: str
    key_hash: int
    text: str


def database_size(connection: Connection) -> int:
    """Return the bytes of the whole database."""
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(str(row[0])) if row else 0


_MOVES = """
SELECT DISTINCT ON (table_name) table_name, extract(epoch FROM written_at - started_at)::float8
FROM migration.ledger WHERE source = %s ORDER BY table_name, entry DESC
"""


def last_moves(connection: Connection, source: str) -> dict[str, float]:
    """Return how many seconds the last move of every table took, its proof included."""
    return dict(cast("Any", connection.execute(_MOVES, (source,))))


_EXCEPTIONS = """
SELECT table_name, key_hash, origin, reason, accepted_by, accepted_at FROM migration.exception
WHERE source = %s AND lapsed_at IS NULL ORDER BY exception
"""


def exceptions(connection: Connection, source: str) -> list[Exceptional]:
    """Return the rows that are to differ, those that lapsed left out."""
    there = connection.execute("SELECT to_regclass('migration.exception') IS NOT NULL").fetchone()
    if not (there and there[0]):
        return []
    rows = cast("Any", connection.execute(_EXCEPTIONS, (source,)))
    return [
        Exceptional(
            table=table,
            key_hash=key_hash,
            text=f"{table}: a row {origin} by {by} at {at:%Y-%m-%d %H:%M %Z}: {reason}",
        )
        for table, key_hash, origin, reason, by, at in rows
    ]
