"""The census of a table as the settings want it: casts evaluated, their types tried too."""

from dataclasses import replace

from migration_assets.mapping.overrides import wanted_type
from migration_assets.model import (
    ColumnCensus,
    Cut,
    SourceTable,
    TableOverride,
)
from migration_assets.source.casts import rows_for
from migration_assets.source.census import count, count_fits


def take_census_for(
    cut: Cut, table: SourceTable, override: TableOverride
) -> dict[str, ColumnCensus]:
    """Return the census of every column, with the fits of the types that the settings say.

    The table is read once more where there are such types that the census itself didn't try.
    """
    shape = _as_stored(table, override)
    census = count(shape, lambda: rows_for(cut, table, override))
    wanted = {
        name: kind
        for name, found in census.items()
        if (kind := wanted_type(table.name, name, override.column(name), found)) is not None
    }
    return count_fits(shape, lambda: rows_for(cut, table, override), census, wanted)


def _as_stored(table: SourceTable, override: TableOverride) -> SourceTable:
    """Return the table with nothing declared for columns with a cast: its value has no affinity."""
    columns = tuple(
        replace(c, declared="") if override.column(c.name).cast else c for c in table.columns
    )
    return replace(table, columns=columns)
