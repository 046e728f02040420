"""Count what differs between two cuts of a table whose columns may have other names in each."""

import sqlite3
from collections.abc import Mapping

from migration_assets.findings import RowCounts
from migration_assets.model import Cut
from migration_assets.source.conditions import differs_in, prepare
from migration_assets.source.connection import open_cut, quote, translated


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
    name = quote(table)
    same = " AND ".join(
        f"o.{o} = n.{n} AND o.{o} = n.{n} COLLATE BINARY AND typeof(o.{o}) = typeof(n.{n})"
        for n, o in ((quote(new), quote(old)) for new, old in key.items())
    )
    differs = "1" if columns is None else differs_in(columns)
    with (
        open_cut(newer, other=older) as connection,
        translated(f"cuts {older.id} and {newer.id}, table {table}"),
    ):
        prepare(connection)
        return RowCounts(
            inserted=_count(
                connection,
                f"main.{name} AS n WHERE NOT EXISTS (SELECT 1 FROM older.{name} AS o WHERE {same})",
            ),
            updated=_count(
                connection, f"main.{name} AS n JOIN older.{name} AS o ON {same} WHERE {differs}"
            ),
            deleted=_count(
                connection,
                f"older.{name} AS o WHERE NOT EXISTS (SELECT 1 FROM main.{name} AS n WHERE {same})",
            ),
            at_most=True,
        )


def _count(connection: sqlite3.Connection, rows: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])
