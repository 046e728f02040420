"""The lock that makes one move of a table at a time, whichever machine it runs on."""

import hashlib

from migration_assets.target.connection import Connection


def lock_table(connection: Connection, source: str, table: str) -> None:
    """Take the table's advisory lock: one move of a table at a time, also before it exists."""
    name = hashlib.sha256(f"migration-assets\0{source}\0{table}".encode()).digest()
    number = int.from_bytes(name[:8], "big", signed=True)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
