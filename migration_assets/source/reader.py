"""Read a cut: its catalog, and a table's rows, every value with its exact class and bytes."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from migration_assets.errors import SourceError
from migration_assets.mapping.names import TableNames, allocate
from migration_assets.model import Catalog, Cut, RawRow, SourceTable
from migration_assets.source.catalog import read_catalog
from migration_assets.source.connection import open_cut, quote, translated

# A step asks about one cut, or two; with 300 tables each is asked 300 times. Cuts never change, so
# what was read of one stays true; a damaged file is noticed by `cut.check`, whoever reads it.
_REMEMBERED_CUTS = 4


def column_list(table: SourceTable, alias: str) -> str:
    """Return the table's columns as SQL, qualified by an alias."""
    return ", ".join(f"{alias}.{quote(c.name)}" for c in table.columns)


def rows(cut: Cut, table: SourceTable) -> Iterator[RawRow]:
    """Yield every row of the table, columns in catalog order."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        sql = f"SELECT {column_list(table, 't')} FROM main.{quote(table.name)} AS t"
        yield from connection.execute(sql)


@lru_cache(maxsize=_REMEMBERED_CUTS)
def catalog_in(cut: Cut) -> Catalog:
    """Return the catalog of a cut: all its tables, whatever the settings leave out."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}"):
        return read_catalog(connection, cut.source)


@lru_cache(maxsize=_REMEMBERED_CUTS)
def names_in(cut: Cut) -> Mapping[str, TableNames]:
    """Return what every table of a cut is called on the target: they share one namespace."""
    return allocate(catalog_in(cut).tables)


def table_in(cut: Cut, name: str) -> SourceTable:
    """Return the table as it stands in a cut.

    Raises `SourceError` where the cut has no such table.
    """
    table = catalog_in(cut).table(name)
    if table is None:
        raise SourceError(
            what="the table is not in this cut",
            where=f"table {name}, week {cut.week}",
            expected="a table that the source had when the cut was taken",
            hint="the application dropped or renamed it: restore it, or `exclude` it",
        )
    return table
