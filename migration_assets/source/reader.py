"""Stream the rows of a table from a cut, every value with its exact storage class and bytes."""

from collections.abc import Iterator

from migration_assets.errors import SourceError
from migration_assets.model import Cut, RawRow, SourceTable
from migration_assets.source.catalog import read_catalog
from migration_assets.source.connection import open_cut, quote, translated


def column_list(table: SourceTable, alias: str) -> str:
    """Return the table's columns as SQL, qualified by an alias."""
    return ", ".join(f"{alias}.{quote(c.name)}" for c in table.columns)


def rows(cut: Cut, table: SourceTable) -> Iterator[RawRow]:
    """Yield every row of the table, columns in catalog order."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        sql = f"SELECT {column_list(table, 't')} FROM main.{quote(table.name)} AS t"
        yield from connection.execute(sql)


def table_in(cut: Cut, name: str) -> SourceTable:
    """Return the table as it stands in a cut.

    Raises `SourceError` where the cut has no such table.
    """
    with open_cut(cut) as connection, translated(f"cut {cut.id}"):
        table = read_catalog(connection, cut.source, include=(name_pattern(name),)).table(name)
    if table is None:
        raise SourceError(
            what="the table is not in this cut",
            where=f"table {name}, week {cut.week}",
            expected="a table that the source had when the cut was taken",
            hint="the application dropped or renamed it: restore it, or `exclude` it",
        )
    return table


def name_pattern(name: str) -> str:
    """Return the shell pattern that matches just this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
