"""The casts of `migration.yaml`: tried before anything is written, and evaluated for the census.

A cast is an expression over one row. SQLite itself knows which those are: what may stand in an
index has no aggregates, no subqueries, and answers the same tomorrow.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from migration_assets.errors import SettingsError, SourceError
from migration_assets.mapping.affinity import affinity_of
from migration_assets.mapping.expressions import misspelt
from migration_assets.model import Cut, RawRow, SourceTable, TableOverride
from migration_assets.source.connection import quote
from migration_assets.source.reader import cast_rows, room_for_casts, rows

_A_CAST = "an expression over the columns of one row, such as `round(price * 100)`"


def check_casts(table: SourceTable, override: TableOverride) -> None:
    """Raise `SettingsError` for a cast that SQLite does not understand, or that isn't row by row.

    It is tried on an empty table of the same columns. All of them together have to be one row.
    """
    casts = sum(column.cast is not None for column in override.columns.values())
    most = room_for_casts(table)
    if casts > most:
        raise SettingsError(
            what=f"{casts} casts of table {table.name} are too many for one row of SQLite's",
            where=override.where("columns"),
            expected=f"at most {most} beside its {len(table.columns)} columns",
            hint="leave some of them to a `transform`",
        )
    for name, column in override.columns.items():
        if column.cast is None:
            continue
        problem = _problem(table, column.cast) or _unknown(table, column.cast)
        if problem:
            raise SettingsError(
                what=f"the cast of column {name} of table {table.name} can't be used: {problem}",
                where=column.where("cast"),
                expected=_A_CAST,
            )


def _unknown(table: SourceTable, expression: str) -> str:
    names = misspelt(expression, [c.name for c in table.columns])
    return f'"{names[0]}" is no column; text stands in single quotes' if names else ""


def _problem(table: SourceTable, expression: str) -> str:
    columns = ", ".join(f"{quote(c.name)} {affinity_of(c.declared).value}" for c in table.columns)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE tried ({columns})")
        connection.execute("INSERT INTO tried DEFAULT VALUES")
        try:
            # A line of its own for what closes it: the expression may end with a comment.
            connection.execute(f"CREATE INDEX the_cast ON tried (({expression}\n))")
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # nothing of a row is in it
            return f"SQLite says: {str(error).replace('index expressions', 'a cast')}"
        ((_, _, _, _, partial),) = connection.execute("PRAGMA index_list(tried)")
        members = connection.execute("PRAGMA index_xinfo(the_cast)").fetchall()
    keys = sum(key for *_, key in members)
    return "" if keys == 1 and not partial else "it is more than one expression"


def rows_for(cut: Cut, table: SourceTable, override: TableOverride) -> Iterator[RawRow]:
    """Yield every row of the table, with a cast's value in place of its column's own.

    Raises `SettingsError` where a cast stops at a value.
    """
    casts = {name: c.cast for name, c in override.columns.items() if c.cast is not None}
    if not casts:
        yield from rows(cut, table)
        return
    try:
        yield from cast_rows(cut, table, casts)
    except SourceError as error:
        failing = _failing(cut, table, casts)
        if failing is None:
            raise
        name = getattr(error.__cause__, "sqlite_errorname", "no reason given")
        raise SettingsError(
            what=f"the cast of column {failing} of table {table.name} stops at one of the values"
            f" ({name})",
            where=override.columns[failing].where("cast"),
            expected="an expression that has a value, or NULL, for every row",
        ) from None  # SQLite's own text may hold the value


def _failing(cut: Cut, table: SourceTable, casts: dict[str, str]) -> str | None:
    """Return the column whose cast does not get through all rows."""
    for name, expression in casts.items():
        try:
            for _ in rows(cut, table, [expression]):
                pass
        except SourceError:
            return name
    return None
