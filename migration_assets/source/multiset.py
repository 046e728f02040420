"""Compare two cuts of a table without a key: how many copies of each row came and went.

Such a table is a multiset of rows. Rows that stand under the same rowid with identical content
cancel in SQL; what remains is counted by the digest of its exact bytes. A rowid is only a hint: it
may be given anew by any VACUUM, and then nothing cancels but the counts, and the answer is the
same. The counts stand in a database on disk, so memory doesn't grow with the table.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.model import (
    Cut,
    RawRow,
    SourceTable,
    TableMapping,
)
from migration_assets.source.conditions import differs, prepare
from migration_assets.source.connection import open_cut, quote, translated
from migration_assets.source.reader import RowReader, encoding_in, rows
from migration_assets.source.scratch import scratch_database

# https://sqlite.org/lang_createtable.html#rowid: each is a column's where the table has one of it
_ROWID_NAMES = ("rowid", "oid", "_rowid_")
_VANISHED, _APPEARED = -1, 1


def changed_copies(
    older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping, *, scratch: Path
) -> Iterator[tuple[RawRow | None, RawRow | None]]:
    """Yield (old, None) of each copy of a row that went, then (None, new) of each that came.

    `scratch` is an empty folder for the counts. Both cuts are read twice, the second time only
    where something changed.
    """
    with closing(_Copies(scratch / "copies.sqlite")) as copies:
        if encoding_in(older) != encoding_in(newer):  # SQLite compares nothing of two such files
            yield from _counted(
                copies,
                lambda: rows(older, table, mapping.casts),
                lambda: rows(newer, table, mapping.casts),
            )
            return
        with (
            open_cut(newer, other=older) as connection,
            translated(f"cuts {older.id} and {newer.id}, table {table.name}"),
        ):
            prepare(connection)
            reader = RowReader(connection, table, mapping.casts)
            rowid = _rowid(connection, table)
            vanished, appeared = (_unmatched(table, side, rowid, reader) for side in "on")
            yield from _counted(
                copies, lambda: reader.read(vanished), lambda: reader.read(appeared)
            )


def _counted(
    copies: "_Copies",
    vanished: Callable[[], Iterator[RawRow]],
    appeared: Callable[[], Iterator[RawRow]],
) -> Iterator[tuple[RawRow | None, RawRow | None]]:
    """Count both sides, then read again what is left of each."""
    copies.count(vanished(), _VANISHED)
    copies.count(appeared(), _APPEARED)
    if copies.balanced():
        return
    for row in copies.left(vanished(), _VANISHED):
        yield row, None
    for row in copies.left(appeared(), _APPEARED):
        yield None, row


class _Copies:
    """Copies of each row in the newer cut less those in the older one, on disk."""

    def __init__(self, file: Path) -> None:
        self._connection = scratch_database(file)
        self._connection.execute(
            "CREATE TABLE copies (digest BLOB PRIMARY KEY, net INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._connection.execute("BEGIN")

    def close(self) -> None:
        self._connection.close()

    def count(self, rows: Iterable[RawRow], sign: int) -> None:
        self._connection.executemany(
            "INSERT INTO copies VALUES (?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET net = net + excluded.net",
            ((_digest(row), sign) for row in rows),
        )

    def balanced(self) -> bool:
        """Tell whether both cuts have the same copies of every row."""
        return self._connection.execute("SELECT 1 FROM copies WHERE net <> 0").fetchone() is None

    def left(self, rows: Iterable[RawRow], sign: int) -> Iterator[RawRow]:
        """Yield the copies that this side has more, each once."""
        for row in rows:
            taken = self._connection.execute(
                "UPDATE copies SET net = net - ?1 WHERE digest = ?2 AND net * ?1 > 0",
                (sign, _digest(row)),
            )
            if taken.rowcount:
                yield row


def _digest(row: RawRow) -> bytes:
    return raw_digest(*row_parts(row))


def _rowid(connection: sqlite3.Connection, table: SourceTable) -> str | None:
    """Return a name under which both cuts show the table's rowid, if they have one."""
    row = connection.execute(
        "SELECT max(wr) FROM pragma_table_list WHERE name = ? AND schema IN ('main', 'older')",
        (table.name,),
    ).fetchone()
    if row[0]:
        return None
    taken = {c.name.lower() for c in table.columns}
    return next((name for name in _ROWID_NAMES if name not in taken), None)


def _unmatched(table: SourceTable, side: str, rowid: str | None, reader: RowReader) -> str:
    """Return the query of one side's rows that have no identical twin under their rowid."""
    name = quote(table.name)
    here, there = ("main", "older") if side == "n" else ("older", "main")
    query = f"SELECT {reader.columns(side)} FROM {here}.{name} AS {side}"
    if rowid is None:
        return query
    other = "o" if side == "n" else "n"
    return (
        f"{query} WHERE NOT EXISTS (SELECT 1 FROM {there}.{name} AS {other}"
        f" WHERE o.{rowid} = n.{rowid} AND NOT {differs(table)})"
    )
