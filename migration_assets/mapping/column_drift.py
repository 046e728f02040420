"""How the columns of a sealed mapping follow those of their table: added, renamed, retyped."""

from collections.abc import Collection
from dataclasses import replace

from migration_assets.mapping.drift import Drift
from migration_assets.mapping.encodings import pattern
from migration_assets.mapping.evidence import (
    candidates,
    lost_affinity,
    pinned_type,
    policy_of,
    rungs,
)
from migration_assets.mapping.names import column_name
from migration_assets.mapping.overrides import wanted_type
from migration_assets.mapping.propose import map_column, promised
from migration_assets.mapping.statements import fold_name
from migration_assets.mapping.types import KEY_KINDS
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Policy,
    SourceColumn,
    TargetType,
)

_BY_SETTINGS = "set in the settings"


def evolve_columns(drift: Drift, key: tuple[str, ...]) -> tuple[ColumnMapping, ...]:
    """Return the table's columns in its order, each as it is mapped from now on."""
    taken = [*(c.target for c in drift.base.columns), *drift.base.kept]
    mapped: list[ColumnMapping] = []
    for column in drift.table.columns:
        in_key = column.name in key
        if column.name in drift.pairing.new:
            found = _added(drift, column, taken, in_key=in_key)
        else:
            old = drift.base.column(drift.pairing.renamed.get(column.name, column.name))
            found = _known(drift, old, column, in_key=in_key)
            if found.name != old.name:
                found = _renamed(drift, old, found, taken)
        taken.append(found.target)
        mapped.append(found)
    return tuple(mapped)


def _added(
    drift: Drift, column: SourceColumn, taken: Collection[str], *, in_key: bool
) -> ColumnMapping:
    target = column_name(column.name, taken)
    not_null = promised(column, drift.override.column(column.name)) or in_key
    census = drift.evidence.census[column.name]
    found = map_column(
        drift.table, column, census, drift.override, target=target, not_null=not_null
    )
    found = _chosen(drift, found, census, in_key=in_key)
    word = f"column {column.name} is new: {spelled(found.type)}"
    if target != column_name(column.name, ()):
        word += f", on the target {target}, since another column has had its name there"
    drift.say(word)
    return found


def _renamed(
    drift: Drift, old: ColumnMapping, found: ColumnMapping, taken: Collection[str]
) -> ColumnMapping:
    drift.say(f"column {found.name} was called {old.name}")
    if fold_name(found.name) == fold_name(old.name):
        return found  # to SQL it is the same name, whose hash may be in the target's
    others = [name for name in taken if name != old.target]
    return replace(found, target=column_name(found.name, others))


def _known(
    drift: Drift, old: ColumnMapping, column: SourceColumn, *, in_key: bool
) -> ColumnMapping:
    """Return the mapping of a column that was mapped before."""
    name, told = column.name, drift.override.column(column.name)
    not_null = promised(column, told) or in_key
    if column.declared != old.declared:
        now, before = (d or "without a type" for d in (column.declared, old.declared))
        drift.say(f"column {name} is declared {now} instead of {before}")
    if not_null != old.not_null:
        drift.say(f"column {name} is {'' if not_null else 'no longer '}NOT NULL")
    found = replace(
        old,
        name=name,
        declared=column.declared,
        not_null=not_null,
        generated=old.generated if column.generated else "",
        cast=told.cast or "",
    )
    census = drift.evidence.census.get(name)
    anew = found.cast != old.cast or lost_affinity(old, column.declared)
    if told.type is None and census is not None and (census.values or anew):
        fresh = map_column(
            drift.table, column, census, drift.override, target=found.target, not_null=not_null
        )
        fits_key = not in_key or fresh.type.kind in KEY_KINDS
        chosen = replace(
            found,
            type=fresh.type if fits_key else found.type,
            evidence=fresh.evidence,
            open=fresh.open,
        )
        chosen = _chosen(drift, chosen, census, in_key=in_key)
        why = "its first values" if not anew else "its values are taken otherwise"
        drift.say(f"column {name}: {why}; it is {spelled(chosen.type)}")
        return chosen
    return _pinned_or_widened(drift, found, in_key=in_key)


def _chosen(
    drift: Drift, column: ColumnMapping, census: ColumnCensus, *, in_key: bool
) -> ColumnMapping:
    """Let settings and policy have their word on a type that the census has just chosen."""
    if drift.override.column(column.name).type is not None:
        return _pinned_or_widened(drift, column, in_key=in_key)
    unfit = census.values - census.fits.get(column.type, census.values)
    return _by_policy(drift, column, unfit, in_key=in_key, fresh=True) if unfit else column


def _pinned_or_widened(drift: Drift, column: ColumnMapping, *, in_key: bool) -> ColumnMapping:
    """Return the column in the type that the settings pin, else as its policy has it."""
    told = drift.override.column(column.name)
    pinned = pinned_type(told, column.type)
    census = drift.evidence.census.get(column.name)
    if pinned is not None and census is not None:
        pinned = wanted_type(drift.table.name, column.name, told, census)
    if pinned is not None:
        if pinned != column.type:
            drift.say(f"column {column.name} becomes {spelled(pinned)}: the settings say so")
            column = replace(column, type=pinned, evidence=_BY_SETTINGS)
        column = replace(column, open=False)
    unfit = drift.evidence.misfits.get(column.name, {}).get(column.type, 0)
    return _by_policy(drift, column, unfit, in_key=in_key, fresh=False) if unfit else column


def _by_policy(
    drift: Drift, column: ColumnMapping, unfit: int, *, in_key: bool, fresh: bool
) -> ColumnMapping:
    """Do with values that don't fit the column's type what its policy says.

    Those of a quarantined column are left to the load, and to its guard.
    """
    values = f"{unfit} value{' does' if unfit == 1 else 's do'}n't fit {spelled(column.type)}"
    policy = policy_of(column, drift.override)
    if policy is Policy.FAIL:
        drift.stop(
            f"column {column.name}: {values}, and its policy is to fail",
            f"mend the source, or set {drift.column_setting(column.name, 'policy', 'widen')}"
            " (or `quarantine`)",
        )
    if policy is Policy.QUARANTINE and not fresh:
        drift.say(f"column {column.name}: {values}, so their rows are quarantined")
    if policy is not Policy.WIDEN:
        return column
    tried = drift.evidence.misfits.get(column.name, {})
    wider = candidates(column.type, column.stored_as, in_key=in_key)
    if fresh:
        wider = tuple(rung for rung in rungs(column.stored_as) if rung in wider)
    found = next((kind for kind in wider if tried.get(kind) == 0), None)
    if found is None:
        return column  # no type holds them all, so those that don't fit are quarantined
    drift.say(f"column {column.name} becomes {spelled(found)}: {values} (policy widen)")
    return replace(column, type=found, evidence=f"widened from {spelled(column.type)}: {values}")


def spelled(kind: TargetType) -> str:
    """Name a type for people, with the form of its values."""
    form = pattern(kind) if kind.form else ""
    return f"{kind.sql} ({form})" if form else kind.sql
