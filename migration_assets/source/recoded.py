"""Compare two cuts whose databases are encoded differently: UTF-8, UTF-16le or UTF-16be.

An application changes its encoding by writing its database anew. SQLite doesn't attach two such
files to one connection, so rows are read from each by itself, known by the digests of their key
and of their exact values, and matched in a database on disk: memory doesn't grow with the table.
Text that is the same characters in both is the same; undecodable text is other bytes, so a change.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from migration_assets.mapping.raw import raw_digest, row_of, row_parts
from migration_assets.model import Cut, RawRow, SourceTable, TableMapping
from migration_assets.source.reader import rows
from migration_assets.source.scratch import scratch_database

_NOTE_OLD = "INSERT INTO found (key, old) VALUES (?, ?)"
_NOTE_NEW = (
    "INSERT INTO found (key, new) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET new = excluded.new"
)


def changed_rows(
    older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping, *, scratch: Path
) -> Iterator[tuple[RawRow | None, RawRow | None]]:
    """Yield (old, None) of each row that went, then (None or old, new) of each that came.

    Every cut is read twice; `scratch` is an empty folder. Keys must be unique in both.
    """
    casts = mapping.casts  # they may see the encoding: hex(a) does
    with closing(scratch_database(scratch / "recoded.sqlite")) as connection:
        connection.execute(
            "CREATE TABLE found (key BLOB PRIMARY KEY, old BLOB, new BLOB, row TEXT) WITHOUT ROWID"
        )
        connection.execute("BEGIN")
        for cut, note in ((older, _NOTE_OLD), (newer, _NOTE_NEW)):
            keyed = ((_key(row, mapping), _digest(row)) for row in rows(cut, table, casts))
            connection.executemany(note, (pair for pair in keyed if pair[0] is not None))
        for row in rows(older, table, casts):
            key = _key(row, mapping)
            old, new, _ = _sides(connection, key)
            if new is None:
                yield row, None
            elif old != new:
                connection.execute("UPDATE found SET row = ? WHERE key = ?", (_dumps(row), key))
        for row in rows(newer, table, casts):
            old, new, text = _sides(connection, _key(row, mapping))
            if old is None:
                yield None, row
            elif old != new:
                yield _loads(text), row


def _sides(
    connection: sqlite3.Connection, key: bytes | None
) -> tuple[bytes | None, bytes | None, str]:
    """Return the digests of a key's rows; as SQL has it, a key with NULL has no match."""
    if key is None:
        return None, None, ""
    return connection.execute("SELECT old, new, row FROM found WHERE key = ?", (key,)).fetchone()


def _key(row: RawRow, mapping: TableMapping) -> bytes | None:
    key = tuple(row[place] for place in mapping.key_positions)
    return None if None in key else _digest(key)


def _digest(row: RawRow) -> bytes:
    return raw_digest(*row_parts(row))


def _dumps(row: RawRow) -> str:
    classes, values = row_parts(row)
    return json.dumps([classes, [None if v is None else v.hex() for v in values]])


def _loads(text: str) -> RawRow:
    classes, values = json.loads(text)
    return row_of(classes, [None if v is None else bytes.fromhex(v) for v in values])
