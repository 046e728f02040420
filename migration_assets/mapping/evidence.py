"""What has to be looked up in the cuts before a sealed mapping can follow its table.

The questions are few: most weeks there are none, and a week then costs nothing more. Whoever can
read cuts answers them (`source.evidence`); `evolution` judges by the answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from migration_assets.mapping.affinity import affinity_of
from migration_assets.mapping.encodings import OPEN
from migration_assets.mapping.names import fold
from migration_assets.mapping.types import KEY_KINDS, ladder, parse
from migration_assets.model import (
    Affinity,
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

# A new column is taken for one that is gone where so many of the rows that stand in both cuts have
# its value (the rest may have been changed in the same week), and the values are of this variety:
# two columns that hold 0 and 1 agree by chance.
_ALIKE = 0.9
_VARIETY = 3
# One spelling among several, which the ladder leaves to the census
_SPELLED = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.UUID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How a column that is gone and a new one compare, over rows that have a value in either.

    `rows` were compared, `alike` of them have the same value; `distinct` values are among those.
    """

    rows: int
    alike: int
    distinct: int

    @property
    def renamed(self) -> bool:
        """Whether the new column seems to be the old one under another name."""
        return self.distinct >= _VARIETY and self.alike >= _ALIKE * self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Columns of a table by what became of them since its mapping was sealed.

    `renamed` leads from the new name to the old one; `doubtful` are settings that don't apply.
    """

    renamed: Mapping[str, str]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    doubtful: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What to look up: columns to take the census of, values to try types on, pairs to compare.

    `fits` has the types to try by column, the sealed one first; `pairs` are columns that are gone
    (in the older cut) with new ones.
    """

    census: tuple[str, ...] = ()
    fits: Mapping[str, tuple[TargetType, ...]] = field(
        default_factory=dict[str, tuple[TargetType, ...]]
    )
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def none(self) -> bool:
        """Whether nothing has to be looked up."""
        return not (self.census or self.fits or self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The answers: censuses, values that don't fit by column and type, how pairs compare."""

    census: Mapping[str, ColumnCensus] = field(default_factory=dict[str, ColumnCensus])
    misfits: Mapping[str, Mapping[TargetType, int]] = field(
        default_factory=dict[str, Mapping[TargetType, int]]
    )
    likeness: Mapping[tuple[str, str], Likeness] = field(
        default_factory=dict[tuple[str, str], Likeness]
    )


def pair(sealed: TableMapping, table: SourceTable, override: TableOverride) -> Pairing:
    """Tell which columns are new, gone, or known under another name.

    A name that differs in the case of ASCII letters is the same name to SQLite. A `renamed_from`
    of a column that the mapping has already was done in an earlier week.
    """
    known = {c.name for c in sealed.columns}
    now = {c.name for c in table.columns}
    gone = {c.name: None for c in sealed.columns if c.name not in now}
    new = [c.name for c in table.columns if c.name not in known]
    renamed: dict[str, str] = {}
    doubtful: list[str] = []
    for name in new:
        told = override.column(name).renamed_from
        if told is None:
            told = next((g for g in gone if fold(g) == fold(name)), "")
        elif told and told not in gone:
            doubtful.append(
                f"`renamed_from: {told}` of column {name}: no such column of the table is gone"
            )
            continue
        if told:
            renamed[name] = told
            del gone[told]
    return Pairing(
        renamed=renamed,
        gone=tuple(gone),
        new=tuple(name for name in new if name not in renamed),
        doubtful=tuple(doubtful),
    )


def policy_of(column: ColumnMapping, override: TableOverride) -> Policy:
    """Return a column's policy: the settings' word on it, else on its table, else the sealed one.

    A policy is not sealed by an evolution, so that a change of it is no change of the mapping.
    """
    return _policy(column, column.name, override)


def _policy(column: ColumnMapping | None, name: str, override: TableOverride) -> Policy:
    sealed = column.policy if column else Policy.QUARANTINE
    return override.column(name).policy or override.policy or sealed


def pinned_type(told: ColumnOverride, sealed: TargetType | None) -> TargetType | None:
    """Return the type that the settings pin; None where they pin none.

    Where they don't name its encoding the sealed form stands, if the type is the sealed one; else
    the form is `encodings.OPEN` and the census tells it. Raises ValueError for what is no type.
    """
    if told.type is None:
        return None
    pinned = parse(told.type, told.encoding or "")
    if sealed is not None and replace(pinned, form=sealed.form) == sealed and pinned.form == OPEN:
        return sealed
    return pinned


def ask(
    sealed: TableMapping, table: SourceTable, override: TableOverride, *, policies: bool = True
) -> Questions:
    """Return what has to be known before the mapping can follow the table.

    Without `policies` what only they want to know is left out.
    """
    pairing = pair(sealed, table, override)
    census: list[str] = []
    fits: dict[str, tuple[TargetType, ...]] = {}
    for column in table.columns:
        old = (
            None
            if column.name in pairing.new
            else sealed.column(pairing.renamed.get(column.name, column.name))
        )
        told = override.column(column.name)
        fresh = (
            old is None
            or old.open
            or (told.cast or "") != old.cast
            or lost_affinity(old, column.declared)
        )
        pinned = pinned_type(told, old.type if old else None)
        if fresh or (pinned is not None and pinned.form == OPEN):
            census.append(column.name)
        types = _to_try(sealed, column, None if fresh else old, override, policies=policies)
        if types:
            fits[column.name] = types
    pairs = [
        (gone, new)
        for gone in pairing.gone
        for new in pairing.new
        if override.column(new).renamed_from is None and _same_affinity(sealed, table, gone, new)
    ]
    return Questions(census=tuple(census), fits=fits, pairs=tuple(pairs))


def _to_try(
    sealed: TableMapping,
    column: SourceColumn,
    old: ColumnMapping | None,
    override: TableOverride,
    *,
    policies: bool,
) -> tuple[TargetType, ...]:
    """Return the types to try on a column's values; `old` is None where its type is chosen anew."""
    policy = _policy(old, column.name, override) if policies else Policy.QUARANTINE
    told = override.column(column.name)
    pinned = pinned_type(told, old.type if old else None)
    if pinned is not None:
        return (pinned,) if policy is Policy.FAIL and pinned.form != OPEN else ()
    declared = "" if told.cast else column.declared  # a cast's value is converted by none
    if old is None:
        return rungs(declared) if policy is Policy.WIDEN else ()
    converted = affinity_of(declared) is not affinity_of(old.stored_as)
    if policy is Policy.QUARANTINE and not converted:
        return ()
    wider = candidates(old.type, declared, in_key=old.name in sealed.key)
    return (old.type, *(wider if policy is Policy.WIDEN else ()))


def lost_affinity(column: ColumnMapping, declared: str) -> bool:
    """Tell whether a numeric would stand for a column that converts nothing any more.

    Only an affinity tells which of its numbers are integers and which are reals.
    """
    return (
        column.type.kind is Kind.NUMERIC
        and affinity_of(declared) is Affinity.BLOB
        and affinity_of(column.declared) is not Affinity.BLOB
    )


def _same_affinity(sealed: TableMapping, table: SourceTable, gone: str, new: str) -> bool:
    declared = next(c.declared for c in table.columns if c.name == new)
    return affinity_of(declared) is affinity_of(sealed.column(gone).declared)


def rungs(declared: str) -> tuple[TargetType, ...]:
    """Return the types that values of a declaration may be tried on without choosing a form."""
    return tuple(r for r in ladder(declared) if r.form or r.kind not in _SPELLED)


def candidates(kind: TargetType, declared: str, *, in_key: bool) -> tuple[TargetType, ...]:
    """Return the types that a column may be widened to, narrowest first.

    They are the rungs above its own on the ladder of its declaration.
    """
    whole = list(ladder(declared))
    kinds = [rung.kind for rung in whole]
    below = kinds[: kinds.index(kind.kind) + 1] if kind.kind in kinds else []
    return tuple(
        rung
        for rung in rungs(declared)
        if rung != kind
        and (rung.kind not in below or _unbounds(kind, rung))
        and (not in_key or rung.kind in KEY_KINDS)
    )


def _unbounds(kind: TargetType, rung: TargetType) -> bool:
    """Tell whether a rung is the numeric without the sealed one's bounds."""
    return rung.kind is kind.kind is Kind.NUMERIC and rung.precision is None
