"""A database on disk for what a comparison has to count; nothing of it outlives the comparison."""

import sqlite3
from pathlib import Path

from migration_assets.source.connection import guarded

_CACHE_KIB = 64 * 1024  # pages held in memory; the rest lies on disk


def scratch_database(file: Path) -> sqlite3.Connection:
    """Return a connection to a new database that doesn't have to survive a crash."""
    connection = guarded(file, writes=True)
    for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {setting}")
    return connection
