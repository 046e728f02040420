"""What tells that a source went back in time: counted, from cuts and stored deltas.

A restored backup is known by its content. Rows that the table's last move carried are undone again:
those that came are gone, those that went are back, those that changed have their older content to
the last byte. The counter of an AUTOINCREMENT key goes back only then: it never gives a key again.
SQLite's own change counter says nothing, since a copy of a file has its own.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from migration_assets.mapping.frames import target_rows
from migration_assets.model import Cut, Delta, Kind, Op, SourceTable, TableMapping
from migration_assets.source import delta_files
from migration_assets.source.connection import open_cut, quote, translated
from migration_assets.source.reader import catalog_in
from migration_assets.source.scratch import scratch_database
from migration_assets.verify.digest import RowHasher

FEW = 10  # undone rows in all, below which nothing is told: single rows are put back every day
_OF_A_KIND = 5  # rows of one operation, below which it says nothing for or against
# Of each operation's rows that a backup of the middle of a week undoes, some are changed again
_SHARE = 0.2
_ALONE = 0.5  # of its rows, where there is one operation only to go by
_LEFT = 0.25  # of as many rows as are gone: of a list that was worked off, less is left
_UNDOES = {Op.INSERT: Op.DELETE, Op.DELETE: Op.INSERT, Op.UPDATE: Op.UPDATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """Per operation of a table's last move, how many rows it touched and how many are undone.

    `older_deleted` are rows gone that the last move had not brought. `newest` tells whether the
    rows that are gone had the highest keys of all, and most rows are still there; None where keys
    are no numbers that SQLite counts.
    """

    touched: Mapping[Op, int]
    undone: Mapping[Op, int]
    older_deleted: int = 0
    newest: bool | None = None

    @property
    def rows(self) -> int:
        """Rows that are undone."""
        return sum(self.undone.values())

    @property
    def tells(self) -> bool:
        """Whether this is a source that went back, and no business of its application.

        The newest rows are missing; or else each operation that has enough rows has to say so: a
        queue that is worked off undoes its inserts and brings nothing back, a price that is lowered
        again undoes no insert.
        """
        if self.rows < FEW:
            return False
        kinds = [op for op in Op if self.touched.get(op, 0) >= _OF_A_KIND]
        shares = {op: self.undone.get(op, 0) / self.touched[op] for op in kinds}
        if self.newest and self.undone[Op.INSERT] >= FEW and shares[Op.INSERT] >= _SHARE:
            return True
        if not kinds or any(share < _SHARE for share in shares.values()):
            return False
        if len(kinds) > 1:
            return True
        alone = shares[kinds[0]] >= _ALONE
        if kinds == [Op.INSERT]:
            return alone and self.newest is None and not self.older_deleted
        return alone


def could_tell(last: Delta, new: Delta) -> bool:
    """Tell from two deltas' counts alone whether comparing their rows could tell anything."""
    touched = _counts(last)
    counts = _counts(new)
    most = {op: min(touched[op], counts[_UNDOES[op]]) for op in Op}
    return Undone(touched=touched, undone=most, newest=True).tells


def _counts(delta: Delta) -> dict[Op, int]:
    return {Op.INSERT: delta.inserts, Op.UPDATE: delta.updates, Op.DELETE: delta.deletes}


def undone(
    last: Delta, new: Delta, mapping: TableMapping, table: SourceTable, cut: Cut, *, scratch: Path
) -> Undone:
    """Count the rows of a table's last move that the next one undoes; both of one mapping.

    `cut` is where the next one leads. Both are streamed; what has to be matched lies in `scratch`,
    an empty folder, so memory doesn't grow with them.
    """
    with closing(scratch_database(scratch / "moves.sqlite")) as connection:
        for name, delta in (("last", last), ("next", new)):
            connection.execute(
                f"CREATE TABLE {name} (op TEXT, key INTEGER, old INTEGER, new INTEGER, number)"
            )
            connection.execute("BEGIN")
            connection.executemany(
                f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?)",
                _moves(delta, mapping, table),
            )
            connection.execute("COMMIT")
        gone, lowest = _gone(connection)
        found = {
            Op.INSERT: gone,
            Op.DELETE: _again(connection, Op.DELETE),
            Op.UPDATE: _again(connection, Op.UPDATE),
        }
    return Undone(
        touched=_counts(last),
        undone=found,
        older_deleted=new.deletes - gone,
        newest=_newest(cut, table, lowest, new.deletes) if lowest is not None else None,
    )


def _moves(
    delta: Delta, mapping: TableMapping, table: SourceTable
) -> Iterator[tuple[str, int, int | None, int | None, int | None]]:
    """Yield operation, key hash, older and newer row hash, and a key that SQLite counts."""
    hasher = RowHasher(mapping)
    counted = mapping.key_positions[0] if _counted(mapping, table) else None
    for frame in delta_files.frames(delta):
        ops, olds = (frame[name].to_list() for name in (delta.op_column, delta.hash_column))
        for op, old, row in zip(ops, olds, target_rows(mapping, frame), strict=True):
            new = None if op == Op.DELETE else hasher.row_hash(row)
            number = None if counted is None else cast("int", row[counted])
            yield op, hasher.key_hash(row), old, new, number


def _counted(mapping: TableMapping, table: SourceTable) -> bool:
    """Tell whether the key is SQLite's own number of a row, one higher for each new one."""
    if table.rowid_alias is None or mapping.key != (table.rowid_alias,) or mapping.transform:
        return False
    return mapping.column(table.rowid_alias).type.kind is Kind.BIGINT


def _gone(connection: sqlite3.Connection) -> tuple[int, int | None]:
    """Count rows that came and are gone again; copies of one row count each."""
    row = connection.execute(
        "SELECT coalesce(sum(min(l.copies, n.copies)), 0), min(l.number) FROM"
        " (SELECT key, count(*) AS copies, min(number) AS number FROM last"
        "  WHERE op = 'insert' GROUP BY key) AS l JOIN"
        " (SELECT key, count(*) AS copies FROM next WHERE op = 'delete' GROUP BY key) AS n"
        " USING (key)"
    ).fetchone()
    return row[0], row[1]


def _again(connection: sqlite3.Connection, op: Op) -> int:
    """Count rows that went or changed and are again what they had been."""
    row = connection.execute(
        "SELECT coalesce(sum(min(l.copies, n.copies)), 0) FROM"
        " (SELECT key, old AS hash, count(*) AS copies FROM last WHERE op = ? GROUP BY 1, 2) AS l"
        " JOIN"
        " (SELECT key, new AS hash, count(*) AS copies FROM next WHERE op = ? GROUP BY 1, 2) AS n"
        " USING (key, hash)",
        (op.value, _UNDOES[op].value),
    ).fetchone()
    return int(row[0])


def _newest(cut: Cut, table: SourceTable, lowest: int, gone: int) -> bool:
    """Tell whether a cut has no row from that key upwards, and is no list that was worked off."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        highest, rows = connection.execute(
            f"SELECT max({quote(table.rowid_alias or '')}), count(*) FROM main.{quote(table.name)}"
        ).fetchone()
    return rows >= gone * _LEFT and highest < lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """An AUTOINCREMENT counter that went back, and rows of the older cut with keys above it."""

    before: int
    now: int
    rows: int


def counter_back(older: Cut, newer: Cut, table: SourceTable) -> Counter | None:
    """Return how far a table's counter went back; None where it didn't.

    A table that is made anew and filled from the old one starts to count at its highest key: that
    is below the old counter where rows had been deleted. So a row has to be above it, too.
    """
    before = catalog_in(older).table(table.name)
    if before is None or not (before.autoincrement and table.autoincrement):
        return None
    then, now = _counter(older, table), _counter(newer, table)
    if now >= then:
        return None
    with open_cut(older) as connection, translated(f"cut {older.id}, table {table.name}"):
        (rows,) = connection.execute(
            f"SELECT count(*) FROM main.{quote(table.name)}"
            f" WHERE {quote(before.rowid_alias or '')} > ?",
            (now,),
        ).fetchone()
    return Counter(before=then, now=now, rows=rows) if rows else None


def _counter(cut: Cut, table: SourceTable) -> int:
    """Return the highest key that SQLite has noted as given; 0 where it has noted none."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        there = "SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"
        if connection.execute(there).fetchone() is None:
            return 0
        row = connection.execute(
            "SELECT seq FROM main.sqlite_sequence WHERE name = ?", (table.name,)
        ).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0
