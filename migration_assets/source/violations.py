"""Count the rows of a cut that would keep a CHECK or a length limit from being made at the cutover.

SQLite enforces its CHECKs, unless it was told not to; the length in VARCHAR(n) it never does. Both
are counted by SQLite itself, from its own text.
"""

import sqlite3
from collections.abc import Mapping

from migration_assets.mapping.objects import CHECK, LENGTH, length_limit
from migration_assets.model import Cut, DeferredObject, SourceTable, TableMapping
from migration_assets.source.connection import open_cut, quote, translated


def violating_rows(
    cut: Cut, table: SourceTable, mapping: TableMapping
) -> Mapping[DeferredObject, int | None]:
    """Return how many rows violate each deferred CHECK and length limit of a table.

    None stands for a CHECK that can't be computed here, such as one over a function of the
    application's own.
    """
    tests = {o: test for o in mapping.deferred if (test := _violated(o, table, mapping))}
    if not tests:
        return {}
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        try:
            return dict(zip(tests, _count(connection, table, list(tests.values())), strict=True))
        except sqlite3.OperationalError:
            return {o: _count_alone(connection, table, test) for o, test in tests.items()}


def _violated(o: DeferredObject, table: SourceTable, mapping: TableMapping) -> str:
    """Return the condition of a row that violates an object; '' where it has none."""
    if o.kind == CHECK and o.original in table.checks:
        return f"NOT (\n{o.original}\n)"
    if o.kind == LENGTH:
        names = {c.target: c for c in mapping.columns}
        column = names.get(o.name)
        limit = length_limit(column.declared) if column else None
        if column and limit:
            return (
                f"typeof({quote(column.name)}) = 'text' AND length({quote(column.name)}) > {limit}"
            )
    return ""


def _count(connection: sqlite3.Connection, table: SourceTable, tests: list[str]) -> list[int]:
    sums = ", ".join(f"coalesce(sum(CASE WHEN {test} THEN 1 ELSE 0 END), 0)" for test in tests)
    row = connection.execute(f"SELECT {sums} FROM main.{quote(table.name)}").fetchone()
    return [int(count) for count in row]


def _count_alone(connection: sqlite3.Connection, table: SourceTable, test: str) -> int | None:
    try:
        return _count(connection, table, [test])[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        return None
