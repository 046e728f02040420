"""What belongs to a table and has no place on the target, by name."""

import sqlite3

from migration_assets.model import SourceTable


def not_carried(connection: sqlite3.Connection, table: SourceTable) -> list[str]:
    """Name what of a table in an open cut is not carried: its triggers, written for SQLite."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
        " ORDER BY name",
        (table.name,),
    )
    return [f"trigger {name}: not carried" for (name,) in rows]
