"""What the write guard noted: statements of other people on our tables, without any value."""

from typing import Any, cast

from migration_assets.findings import ForeignWrite
from migration_assets.target.connection import Connection

_MOST = 1_000  # notes that are read

_NOTED = """
SELECT op, written_rows, role, application, client, written_at
FROM migration.foreign_write
WHERE source = %(source)s AND table_name = %(table)s
  AND written_at > coalesce(
      (SELECT written_at FROM migration.ledger WHERE entry = %(entry)s), '-infinity')
ORDER BY foreign_write LIMIT %(most)s
"""


def noted_since(
    connection: Connection, source: str, table: str, entry: int
) -> tuple[ForeignWrite, ...]:
    """Return the writes noted since an entry of the ledger, at most `_MOST`, oldest first."""
    there = connection.execute(
        "SELECT to_regclass('migration.foreign_write') IS NOT NULL"
    ).fetchone()
    if not (there and there[0]):
        return ()
    rows = connection.execute(
        _NOTED, {"source": source, "table": table, "entry": entry, "most": _MOST}
    )
    return tuple(
        ForeignWrite(op=op, rows=count, role=role, application=application, client=client, at=at)
        for op, count, role, application, client, at in cast("Any", rows)
    )
