"""Propose a table's mapping from its declaration and the census of a cut."""

from collections.abc import Mapping

from migration_assets.errors import UnsupportedError
from migration_assets.mapping.document import sealed
from migration_assets.mapping.names import DECLARED_KEY, TableNames, column_names
from migration_assets.mapping.types import KEY_KINDS, ladder, natural
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    IndexMapping,
    Kind,
    SourceColumn,
    SourceIndex,
    SourceTable,
    TableMapping,
    TargetType,
)

# A declared type stands where this share of at least that many values fits it; what doesn't is
# quarantined. In smaller columns a single misfit is no longer an exception: the type widens.
TOLERANCE = 0.999
TOLERANCE_VALUES = 100
# PostgreSQL's 1,600 (https://www.postgresql.org/docs/current/limits.html), less the two that a
# staged delta has beside the table's own.
_MAX_COLUMNS = 1598


def fits_well(census: ColumnCensus, kind: TargetType) -> bool:
    """Tell whether enough values fit a tried type for it to stand."""
    fitting = census.fits.get(kind, 0)
    if fitting == census.values:
        return True
    return census.values >= TOLERANCE_VALUES and fitting >= TOLERANCE * census.values


def settled(census: ColumnCensus) -> bool:
    """Tell whether one of the types tried so far can stand."""
    return census.values == 0 or any(fits_well(census, kind) for kind in census.fits)


def choose(column: SourceColumn, census: ColumnCensus) -> TargetType:
    """Return the narrowest type that enough values fit, or the one that most of them fit."""
    if census.values == 0:
        return natural(column.declared)
    tried = sorted(census.fits, key=lambda kind: _rung(column.declared, kind))
    for kind in tried:
        if fits_well(census, kind):
            return kind
    return max(tried, key=lambda kind: census.fits[kind])


def _rung(declared: str, kind: TargetType) -> tuple[int, int]:
    """Order tried types by rung; of several timestamp forms the commonest was tried alone."""
    rungs = [rung.kind for rung in ladder(declared)]
    return (rungs.index(kind.kind), 0 if kind.precision else 1)


def propose(
    table: SourceTable,
    census: Mapping[str, ColumnCensus],
    *,
    target_schema: str,
    names: TableNames,
) -> TableMapping:
    """Return the mapping that the census supports.

    Raises `UnsupportedError` for a table that PostgreSQL can't hold.
    """
    if len(table.columns) > _MAX_COLUMNS:
        raise UnsupportedError(
            what=f"{len(table.columns)} columns",
            where=f"table {table.name}",
            expected=f"at most {_MAX_COLUMNS}: PostgreSQL's 1600, less two for the staged changes",
            hint="leave the table out with `exclude`, or split it at the source",
        )
    types = {c.name: choose(c, census[c.name]) for c in table.columns}
    key = _key(table, census, types)
    targets = column_names([c.name for c in table.columns])
    columns = tuple(
        ColumnMapping(
            name=c.name,
            declared=c.declared,
            target=targets[c.name],
            type=types[c.name],
            not_null=c.not_null or c.name in key,
            evidence=_evidence(census[c.name], types[c.name]),
        )
        for c in table.columns
    )
    indexes, notes = _indexes(table, key, names)
    return sealed(
        TableMapping(
            source=table.source,
            table=table.name,
            target_schema=target_schema,
            target_table=names.table,
            columns=columns,
            key=key,
            key_name=names.key,
            indexes=indexes,
            notes=notes,
        )
    )


def _key(
    table: SourceTable, census: Mapping[str, ColumnCensus], types: Mapping[str, TargetType]
) -> tuple[str, ...]:
    """Return the first usable key: INTEGER PRIMARY KEY, declared key, UNIQUE NOT NULL, or none."""
    if table.rowid_alias:
        return (table.rowid_alias,)
    declared = {c.name: c for c in table.columns}

    def usable(names: tuple[str, ...]) -> bool:
        return bool(names) and all(
            types[n].kind in KEY_KINDS and census[n].nulls == 0 for n in names
        )

    if usable(table.key):
        return table.key
    for index in table.indexes:
        required = all(declared[n].not_null for n in index.columns)
        if index.unique and not index.reason and required and usable(index.columns):
            return index.columns
    return ()


def _indexes(
    table: SourceTable, key: tuple[str, ...], names: TableNames
) -> tuple[tuple[IndexMapping, ...], tuple[str, ...]]:
    """Return secondary indexes with their target names, and a note for each one left out.

    The declared key is an index of its own where another one serves as the target's key.
    """
    wanted = list(table.indexes)
    if table.key and table.key != key:
        wanted.insert(0, SourceIndex(name=DECLARED_KEY, columns=table.key, unique=True))
    mapped: list[IndexMapping] = []
    notes: list[str] = []
    for index in wanted:
        if index.reason:
            notes.append(f"index {index.name} is not carried: {index.reason}")
            continue
        if index.unique and index.columns == key and not index.nocase:
            continue  # the key itself
        mapped.append(
            IndexMapping(
                name=names.indexes[index.name],
                columns=index.columns,
                unique=index.unique,
                nocase=index.nocase,
            )
        )
    return tuple(mapped), tuple(notes)


def _evidence(census: ColumnCensus, kind: TargetType) -> str:
    if census.values == 0:
        return "no values yet: from the declaration"
    classes = ", ".join(f"{count} {name}" for name, count in sorted(census.classes.items()))
    misfits = census.values - census.fits[kind]
    form = f" (form {kind.form!r})" if kind.kind is Kind.TIMESTAMP else ""
    return f"{classes}{form}; {misfits} don't fit" if misfits else f"{classes}{form}"


def map_column(
    column: SourceColumn, census: ColumnCensus, *, target: str, not_null: bool
) -> ColumnMapping:
    """Return the mapping of one column as its census supports it; open where it has no value."""
    kind = choose(column, census)
    return ColumnMapping(
        name=column.name,
        declared=column.declared,
        target=target,
        type=kind,
        not_null=not_null,
        evidence=_evidence(census, kind),
        open=census.values == 0,
    )


def secondary_indexes(
    table: SourceTable, key: tuple[str, ...], names: TableNames
) -> tuple[tuple[IndexMapping, ...], tuple[str, ...]]:
    """Return the secondary indexes that a table declares, and a note for each one left out."""
    return _indexes(table, key, names)
