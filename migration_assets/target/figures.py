"""Figures of the target that a cutover is decided by: its size, how long moves took."""

from typing import Any, cast

from migration_assets.target.connection import Connection


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
