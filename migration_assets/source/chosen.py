"""The census of a table as the settings want it: casts evaluated, their types tried too."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from migration_assets.mapping.overrides import wanted_type
from migration_assets.mapping.values import fitter
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Cut,
    SourceColumn,
    SourceTable,
    TableOverride,
    TargetType,
)
from migration_assets.source.casts import rows_for
from migration_assets.source.census import count


def take_census_for(
    cut: Cut, table: SourceTable, override: TableOverride
) -> dict[str, ColumnCensus]:
    """Return the census of every column, with the fits of the types that the settings say.

    The table is read once more where there are such types that the census itself didn't try.
    """
    shape = _as_stored(table, override)
    census = count(shape, lambda: rows_for(cut, table, override))
    wanted = {
        column.name: kind
        for column in shape.columns
        if (kind := _wanted(table, column, override, census[column.name])) is not None
        and kind not in census[column.name].fits
    }
    fits = _fits(cut, shape, override, wanted)
    return {
        name: replace(found, fits={**found.fits, wanted[name]: fits[name]})
        if name in wanted
        else found
        for name, found in census.items()
    }


def _wanted(
    table: SourceTable, column: SourceColumn, override: TableOverride, census: ColumnCensus
) -> TargetType | None:
    where = f"column {column.name} of table {table.name}"
    return wanted_type(where, override.column(column.name), census)


def _as_stored(table: SourceTable, override: TableOverride) -> SourceTable:
    """Return the table with nothing declared for columns with a cast: its value has no affinity."""
    columns = tuple(
        replace(c, declared="") if override.column(c.name).cast else c for c in table.columns
    )
    return replace(table, columns=columns)


def _fits(
    cut: Cut, shape: SourceTable, override: TableOverride, wanted: Mapping[str, TargetType]
) -> Mapping[str, int]:
    """Count the values that fit; NULL is none."""
    tried = [
        (place, column.name, fitter(_tried(column, wanted[column.name])))
        for place, column in enumerate(shape.columns)
        if column.name in wanted
    ]
    fits: Counter[str] = Counter()
    if tried:
        for row in rows_for(cut, shape, override):
            for place, name, fit in tried:
                fits[name] += row[place] is not None and not fit(row[place]).reason
    return fits


def _tried(column: SourceColumn, kind: TargetType) -> ColumnMapping:
    return ColumnMapping(
        name=column.name, declared=column.declared, target="", type=kind, not_null=False
    )
