"""Propose a table's mapping from its declaration and the census of a cut."""

from collections.abc import Mapping
from dataclasses import replace

from migration_assets.errors import UnsupportedError
from migration_assets.mapping.document import sealed
from migration_assets.mapping.encodings import label, pattern, plausible
from migration_assets.mapping.names import TableNames, column_names
from migration_assets.mapping.objects import with_objects
from migration_assets.mapping.overrides import (
    require_fit,
    require_no_cast,
    require_usable,
    wanted_type,
)
from migration_assets.mapping.types import KEY_KINDS, TEXT, compared, ladder, natural
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    ColumnOverride,
    Kind,
    Policy,
    SourceColumn,
    SourceTable,
    TableMapping,
    TableOverride,
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
    if kind.kind is Kind.TIMESTAMPTZ and _other_suffixes(census, kind.form):
        return False
    fitting = census.fits.get(kind, 0)
    if fitting == census.values:
        return True
    return census.values >= TOLERANCE_VALUES and fitting >= TOLERANCE * census.values


def _other_suffixes(census: ColumnCensus, form: str) -> bool:
    """Tell whether some moments have another zone's suffix: they are no exceptions to one form."""
    start = label(Kind.TIMESTAMPTZ) + " "
    forms = (name.removeprefix(start) for name in census.encodings if name.startswith(start))
    return any(other[2:] != form[2:] for other in forms)


def settled(census: ColumnCensus) -> bool:
    """Tell whether one of the types tried so far can stand."""
    return census.values == 0 or any(fits_well(census, kind) for kind in census.fits)


def choose(column: SourceColumn, census: ColumnCensus, *, compared: bool = False) -> TargetType:
    """Return the narrowest type that enough values fit, or the one that most of them fit.

    A column that keys or indexes compare (`compared`) is never json, which knows no equality.
    """
    if census.values == 0:
        first = natural(column.declared)
        return TEXT if compared and first.kind is Kind.JSON else first
    tried = sorted(census.fits, key=lambda kind: _rung(column.declared, kind))
    for kind in tried:
        if fits_well(census, kind):
            return kind
    return max(tried, key=lambda kind: census.fits[kind])


def _rung(declared: str, kind: TargetType) -> tuple[int, int]:
    """Order tried types by rung; of several timestamp forms the commonest was tried alone."""
    rungs = [rung.kind for rung in ladder(declared)]
    return (rungs.index(kind.kind), 0 if kind.precision else 1)


_NOTHING_SAID = TableOverride()


def propose(
    table: SourceTable,
    census: Mapping[str, ColumnCensus],
    *,
    target_schema: str,
    names: TableNames,
    override: TableOverride = _NOTHING_SAID,
) -> TableMapping:
    """Return the mapping that the census supports, or what the settings say instead.

    Raises `UnsupportedError` for a table that PostgreSQL can't hold, and `SettingsError` where the
    values don't allow what the settings say.
    """
    if len(table.columns) > _MAX_COLUMNS:
        raise UnsupportedError(
            what=f"{len(table.columns)} columns",
            where=f"table {table.name}",
            expected=f"at most {_MAX_COLUMNS}: PostgreSQL's 1600, less two for the staged changes",
            hint="leave the table out with `exclude`, or split it at the source",
        )
    types = {c.name: _type(table, c, census[c.name], override) for c in table.columns}
    if override.key is None:
        key = _key(table, census, types)
    else:
        require_usable(table, census, types, override)
        key = override.key
    require_no_cast(table, key, override)
    targets = column_names([c.name for c in table.columns])
    columns = tuple(
        ColumnMapping(
            name=c.name,
            declared=c.declared,
            target=targets[c.name],
            type=types[c.name],
            not_null=promised(c, override.column(c.name)) or c.name in key,
            evidence=_evidence(census[c.name], types[c.name]),
            open=census[c.name].values == 0 and override.column(c.name).type is None,
            policy=override.column(c.name).policy or override.policy or Policy.QUARANTINE,
            cast=override.column(c.name).cast or "",
        )
        for c in table.columns
    )
    mapping = TableMapping(
        source=table.source,
        table=table.name,
        target_schema=target_schema,
        target_table=names.table,
        columns=columns,
        key=key,
        key_name=names.key,
        transform=override.transform or "",
    )
    return sealed(with_objects(mapping, table, names))


def _type(
    table: SourceTable, column: SourceColumn, census: ColumnCensus, override: TableOverride
) -> TargetType:
    """Return the type that the settings say, where it is possible, else the census's choice."""
    said = override.column(column.name)
    where = f"column {column.name} of table {table.name}"
    in_index = column.name in compared(table)
    wanted = wanted_type(table.name, column.name, said, census)
    if wanted is None:
        shape = replace(column, declared="") if said.cast else column
        return choose(shape, census, compared=in_index)
    require_fit(where, census, wanted, said, compared=in_index)
    return wanted


def promised(column: SourceColumn, said: ColumnOverride) -> bool:
    """Tell whether the source promises a value; of a cast's it promises nothing."""
    return column.not_null and not said.cast


def _key(
    table: SourceTable, census: Mapping[str, ColumnCensus], types: Mapping[str, TargetType]
) -> tuple[str, ...]:
    """Return the first usable key: INTEGER PRIMARY KEY, declared key, UNIQUE NOT NULL, or none."""
    if table.rowid_alias:
        return (table.rowid_alias,)
    declared = {c.name: c for c in table.columns}

    def usable(names: tuple[str, ...]) -> bool:
        distinct = len(set(names)) == len(names) > 0  # an index may name a column twice
        return distinct and all(types[n].kind in KEY_KINDS and census[n].nulls == 0 for n in names)

    if usable(table.key):
        return table.key
    for index in table.indexes:
        required = all(declared[n].not_null for n in index.columns)
        if index.unique and not index.reason and required and usable(index.columns):
            return index.columns
    return ()


def _evidence(census: ColumnCensus, kind: TargetType) -> str:
    """Say what the type rests on, without a value: it is sealed with the mapping."""
    if census.values == 0:
        return "no values yet: from the declaration"
    classes = ", ".join(f"{count} {name}" for name, count in sorted(census.classes.items()))
    if kind.form and pattern(kind):
        classes += f" ({pattern(kind)})"
    elif seems := _seems(census, kind):
        classes += f" ({seems})"
    misfits = census.values - census.fits.get(kind, 0)
    return f"{classes}; {misfits} don't fit" if misfits else classes


def _encoding(name: str) -> str:
    """Spell an encoding that a census counted as the settings would."""
    word, _, form = name.partition(" ")
    return f"{word} {pattern(TargetType(kind=Kind(word), form=form))}" if form else word


def _seems(census: ColumnCensus, kind: TargetType) -> str:
    """Say what texts or numbers that stay such look like, for the settings to make it a type."""
    if kind.kind is Kind.TEXT and census.encodings:
        name = max(census.encodings, key=lambda name: (census.encodings[name], name))
        count = census.encodings[name]
        if 2 * count < census.values:
            return ""
        return f"{'all' if count == census.values else count} look like {_encoding(name)}"
    if kind.kind in (Kind.BIGINT, Kind.DOUBLE, Kind.NUMERIC):
        counted = plausible(census)
        return f"could be {counted}" if counted else ""
    return ""


def map_column(
    table: SourceTable,
    column: SourceColumn,
    census: ColumnCensus,
    override: TableOverride,
    *,
    target: str,
    not_null: bool,
) -> ColumnMapping:
    """Return the mapping of one column as its census and the settings support it.

    It is open where it has no value and the settings give it no type.
    """
    said = override.column(column.name)
    kind = _type(table, column, census, override)
    return ColumnMapping(
        name=column.name,
        declared=column.declared,
        target=target,
        type=kind,
        not_null=not_null,
        evidence=_evidence(census, kind),
        open=census.values == 0 and said.type is None,
        policy=said.policy or override.policy or Policy.QUARANTINE,
        cast=said.cast or "",
    )
