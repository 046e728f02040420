"""What the settings say of tables, held against the source: every mistake named with its line.

All of it is looked at before anything is written, so nothing here is ever passed over: a name that
isn't there may be a misspelt one, whose table would be loaded by the census alone.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from migration_assets.errors import SettingsError
from migration_assets.mapping.encodings import pattern, settle
from migration_assets.mapping.names import fold
from migration_assets.mapping.types import KEY_KINDS, parse
from migration_assets.model import (
    Catalog,
    ColumnCensus,
    ColumnOverride,
    Kind,
    SourceTable,
    TableOverride,
    TargetType,
)

_LISTED = 20  # names that an error lists
CAST_IN_KEY = "it has a `cast`, and rows are told apart by what the source holds"


def check_tables(
    overrides: Mapping[str, TableOverride],
    catalog: Catalog,
    *,
    excluded: Callable[[str], bool] = lambda _name: False,
) -> None:
    """Make sure that every table named is one of the source's, and every target name free.

    `catalog` holds all tables, those that the settings leave out too: what is said of these waits.
    One that isn't there may be named still while it is `excluded`: the application dropped it after
    its settings were written, and somebody has said that it knows. Raises `SettingsError`.
    """
    names = {table.name: None for table in catalog.tables}  # in their order
    for name, override in overrides.items():
        if name not in names and excluded(name):
            continue
        if name in catalog.left_out:
            raise SettingsError(
                what=f"table {name} can't be carried: {catalog.left_out[name]}",
                where=override.where(),
                hint="remove it from `tables`",
            )
        if name not in names:
            raise SettingsError(
                what=f"the source has no table {name}",
                where=override.where(),
                expected=f"one of {_listed(names)}",
                hint=_meant(name, names)
                or "spell it as the source does, or remove it; where the application dropped it,"
                " add it to `exclude`",
            )
    _check_targets(overrides, names)


def _check_targets(overrides: Mapping[str, TableOverride], names: Collection[str]) -> None:
    given = {name: o.target for name, o in overrides.items() if o.target is not None}
    called: defaultdict[str, list[str]] = defaultdict(list)
    for name, target in (*given.items(), *((n, fold(n)) for n in names if n not in given)):
        called[target].append(name)
    for name, target in given.items():
        others = [n for n in called[target] if n != name]
        if others:
            raise SettingsError(
                what=f"table {name} can't be called {target}: table {others[0]} is",
                where=overrides[name].where("target"),
                expected="a name of its own for every table",
                hint=f"choose another name, or give table {others[0]} one by `target`",
            )


def check_columns(
    override: TableOverride,
    table: SourceTable,
    *,
    gone: Collection[str] = (),
    mapped: Collection[str] = (),
) -> None:
    """Make sure that every column named is one of the table's, or of those that are `gone`.

    Those that are `mapped` by now were renamed in an earlier week: their older name is free again.
    Raises `SettingsError`.
    """
    names = [column.name for column in table.columns]
    named = [(name, column.where()) for name, column in override.columns.items()]
    named += [(name, override.where("key")) for name in override.key or ()]
    for name, where in named:
        if name not in names and name not in gone:
            raise SettingsError(
                what=f"table {table.name} has no column {name}",
                where=where,
                expected=f"one of {_listed(names)}",
                hint=_meant(name, names) or "spell it as the source does, or remove it",
            )
    for name, column in override.columns.items():
        if column.renamed_from in names and name not in mapped:
            raise SettingsError(
                what=f"column {name} of table {table.name} can't have been called"
                f" {column.renamed_from}: that column is there",
                where=column.where("renamed_from"),
                expected="the name that the column had before",
                hint="remove `renamed_from`",
            )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join([*names][:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _meant(name: str, names: Collection[str]) -> str:
    """Say which name was meant: one that differs by case alone, else a similar one."""
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean `{folded[close[0]]}`?" if close else ""


def wanted_type(
    table: str, column: str, said: ColumnOverride, census: ColumnCensus
) -> TargetType | None:
    """Return the type that the settings say of a column; None where they say nothing of it.

    Without `encoding` it has the form of most values. Raises `SettingsError` where none has one.
    """
    if said.type is None:
        return None
    try:
        return settle(parse(said.type, said.encoding or ""), census)
    except ValueError as error:
        raise SettingsError(
            what=f"column {column} of table {table} can't become {said.type}: {error}",
            where=said.where("type"),
            expected="an `encoding` that says how the source writes the values",
        ) from error


def require_fit(
    where: str,
    census: ColumnCensus,
    wanted: TargetType,
    said: ColumnOverride,
    *,
    compared: bool = False,
) -> None:
    """Raise `SettingsError` for a type that none of a column's values has; `where` names it.

    Where some fit, the others are quarantined, and the limits of quarantine guard that; so it is
    where no value fits any type. A column that keys or indexes compare (`compared`) can't become
    json, which knows no equality.
    """
    if compared and wanted.kind is Kind.JSON:
        raise SettingsError(
            what=f"{where} can't become json: a key or an index compares it",
            where=said.where("type"),
            expected="a type that knows equality",
            hint="`type: text` holds the same text",
        )
    if census.fits.get(wanted) != 0 or not any(census.fits.values()):
        return
    form = f" written as {pattern(wanted)}" if pattern(wanted) else ""
    classes = ", ".join(f"{count:,} {name}" for name, count in sorted(census.classes.items()))
    best = max(census.fits, key=lambda kind: census.fits[kind])
    raise SettingsError(
        what=f"none of the {census.values:,} values of {where} is a {wanted.sql}{form}",
        where=said.where("type"),
        expected=f"a type for {classes}",
        hint=f"{census.fits[best]:,} of them are {best.sql}: see `migration-assets plan`",
    )


def require_no_cast(table: SourceTable, key: Collection[str], override: TableOverride) -> None:
    """Raise `SettingsError` for a cast of a column that tells rows apart, whoever says that key."""
    for name in key:
        if override.column(name).cast:
            raise SettingsError(
                what=f"column {name} of table {table.name} can't be in the key: {CAST_IN_KEY}",
                where=override.where("key")
                if override.key
                else override.column(name).where("cast"),
                expected="a key of columns as the source holds them",
                hint="remove the `cast`, or name other columns (`key: []`: rows without a key)",
            )


def require_usable(
    table: SourceTable,
    census: Mapping[str, ColumnCensus],
    types: Mapping[str, TargetType],
    override: TableOverride,
) -> None:
    """Raise `SettingsError` where the columns of the key that the settings say can't be one."""
    for name in override.key or ():
        problem = ""
        if census[name].nulls:
            problem = f"it holds {census[name].nulls:,} NULL"
        elif types[name].kind not in KEY_KINDS:
            problem = f"it becomes {types[name].sql}, in which equal doesn't mean the same bytes"
        if problem:
            raise SettingsError(
                what=f"column {name} of table {table.name} can't be in the key: {problem}",
                where=override.where("key"),
                expected="columns without NULL, of types whose equality is that of bytes",
                hint="name other columns, or `key: []` for rows without a key",
            )
