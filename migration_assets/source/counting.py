"""Count what differs between two cuts of a table whose columns may have other names in each.

SQLite counts, matched by key: no row is read out.
"""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from migration_assets.findings import RowCounts
from migration_assets.model import Cut
from migration_assets.source.conditions import differs_in, prepare
from migration_assets.source.connection import open_cut, quote, translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The rows of two cuts, both open, matched by key; `table` is quoted, `same` the condition."""

    connection: sqlite3.Connection
    table: str
    same: str

    def inserted(self) -> int:
        """Count the rows that only the newer cut has."""
        return self._count(
            f"main.{self.table} AS n"
            f" WHERE NOT EXISTS (SELECT 1 FROM older.{self.table} AS o WHERE {self.same})"
        )

    def deleted(self) -> int:
        """Count the rows that only the older cut has."""
        return self._count(
            f"older.{self.table} AS o"
            f" WHERE NOT EXISTS (SELECT 1 FROM main.{self.table} AS n WHERE {self.same})"
        )

    def changed(self, columns: Mapping[str, str] | None) -> int:
        """Count the rows that differ in `columns` (new name to old one); all of both if None."""
        differs = "1" if columns is None else differs_in(columns)
        return self._count(
            f"main.{self.table} AS n JOIN older.{self.table} AS o ON {self.same} WHERE {differs}"
        )

    def _count(self, rows: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])


@contextmanager
def matched(older: Cut, newer: Cut, table: str, key: Mapping[str, str]) -> Generator[Matched]:
    """Lend a table's rows of two cuts; `key` leads from names in the newer to those in the older.

    The table has the same name in both. Values are equal in the same storage class and bytes only.
    """
    same = " AND ".join(
        f"o.{o} = n.{n} AND o.{o} = n.{n} COLLATE BINARY AND typeof(o.{o}) = typeof(n.{n})"
        for n, o in ((quote(new), quote(old)) for new, old in key.items())
    )
    with (
        open_cut(newer, other=older) as connection,
        translated(f"cuts {older.id} and {newer.id}, table {table}"),
    ):
        prepare(connection)
        yield Matched(connection=connection, table=quote(table), same=same)


def count_between(
    older: Cut,
    newer: Cut,
    table: str,
    *,
    key: Mapping[str, str],
    columns: Mapping[str, str] | None,
) -> RowCounts:
    """Count the rows that lead from one cut to another, by key.

    `key` and `columns` lead from names in the newer cut to names in the older one. Rows of equal
    keys are told apart by `columns`; without them all count as changed.
    """
    with matched(older, newer, table, key) as rows:
        return RowCounts(
            inserted=rows.inserted(),
            updated=rows.changed(columns),
            deleted=rows.deleted(),
            at_most=True,
        )
