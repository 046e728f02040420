"""What a migration will do, table by table, before anything is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from migration_assets.mapping.offers import Offer, encoding_of, offers
from migration_assets.mapping.types import KEY_KINDS, compared
from migration_assets.model import (
    ColumnCensus,
    Policy,
    SourceIndex,
    SourceTable,
    TableMapping,
    TableOverride,
    TargetType,
)

NEW, SEALED, REFUSED = "new", "sealed", "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the census found in a column: NULLs, values by storage class and by encoding.

    `fitting` are those of the proposed type, `longest` is in bytes. `lowest` and `highest`, of its
    numbers, and `examples`, keys of values that don't fit, are empty where keys are not to show.
    """

    nulls: int
    fitting: int
    classes: Mapping[str, int]
    encodings: Mapping[str, int]
    longest: int | None = None
    lowest: float | None = None
    highest: float | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedColumn:
    """A column of the source, what it becomes, and on what evidence.

    `encoding` is how the source writes its values, as the settings name it, '' where there is but
    one way; `open` tells a column without a value yet. `found` is what its census counted, and
    `offers` what it could be instead.
    """

    name: str
    declared: str
    target: str
    type: str
    not_null: bool
    evidence: str
    encoding: str = ""
    policy: str = Policy.QUARANTINE.value
    open: bool = False
    cast: str = ""
    found: Found | None = None
    offers: tuple[Offer, ...] = ()

    @property
    def evident(self) -> bool:
        """Whether any value speaks for the type."""
        return not self.open and (self.found is None or self.found.fitting > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedObject:
    """What is made at the cutover; `problem` says why it can't be, as far as is known now.

    `tried` tells whether the target took it, or refused it, on empty copies of the tables.
    """

    kind: str
    name: str
    definition: str
    original: str
    problem: str
    tried: bool

    @property
    def text(self) -> str:
        """Say it for people."""
        said = "the target takes it" if self.tried else "not tried: the target was not asked"
        if self.problem:
            return f"{self.kind} {self.name} can't be made: {self.problem}; it is {self.original}"
        return f"{self.kind} {self.name}: {self.definition}; {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Rows that will be quarantined: how many, why by column, the keys of the first few.

    `reasons` counts values by column and reason; a row may have several. `keys` is empty where
    keys are not to be shown. More rows than `limit` stop the load.
    """

    rows: int
    limit: int
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    keys: tuple[str, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether the quarantine guard would stop the load."""
        return self.rows > self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """What will be done with one table.

    `state` is `new` (the first load makes the table with `ddl`), `sealed` (it stands at `head` with
    this mapping already) or `refused` (`problems` say why). `rows` and `unfit` are None where they
    could not be counted; `left_out` names what of the table isn't carried, `deferred` what is made
    at the cutover. `pending` are changes at the source that the next load carries: `columns` and
    `key` are those after it. Any of `problems` stops the next load. `mapping` is None where it is
    refused.
    """

    table: str
    state: str
    target: str = ""
    head: date | None = None
    key: tuple[str, ...] = ()
    key_reason: str = ""
    columns: tuple[PlannedColumn, ...] = ()
    ddl: tuple[str, ...] = ()
    rows: int | None = None
    unfit: Unfit | None = None
    left_out: tuple[str, ...] = ()
    deferred: tuple[PlannedObject, ...] = ()
    pending: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    mapping: TableMapping | None = field(default=None, repr=False)

    @property
    def stops(self) -> tuple[str, ...]:
        """What would stop the next load as things stand, in words."""
        if self.unfit is None or not self.unfit.stops:
            return self.problems
        guard = (
            f"{self.unfit.rows} rows don't fit, at most {self.unfit.limit} may: the quarantine"
            " guard stops it (quarantine_rows, quarantine_share)"
        )
        return (*self.problems, guard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole plan; `note` says what is known of the target, `left_out` why by object.

    `views` are made at the cutover.
    """

    source: str
    note: str
    answered: bool
    tables: tuple[TablePlan, ...]
    left_out: Mapping[str, str]
    views: tuple[PlannedObject, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether any table's next load would be stopped as things stand."""
        return any(table.stops for table in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What was written to a settings file: `tables` got lines, `left` can't have any, and why."""

    file: Path
    tables: tuple[str, ...]
    left: Mapping[str, str]


def columns(mapping: TableMapping) -> tuple[PlannedColumn, ...]:
    """Return the columns of a mapping for a plan."""
    return tuple(
        PlannedColumn(
            name=c.name,
            declared=c.declared,
            target=c.target,
            type=c.type.sql,
            not_null=c.not_null,
            evidence=c.evidence,
            encoding=encoding_of(c.type),
            policy=c.policy.value,
            open=c.open,
            cast=c.cast,
        )
        for c in mapping.columns
    )


def counted_columns(
    table: SourceTable,
    mapping: TableMapping,
    census: Mapping[str, ColumnCensus],
    *,
    show_keys: bool,
) -> tuple[PlannedColumn, ...]:
    """Return the columns of a proposed mapping with what the census found in them."""
    members = compared(table)
    return tuple(
        replace(
            planned,
            encoding=encoding_of(c.type, census[c.name]),
            found=_found(census[c.name], c.type, show_keys=show_keys),
            offers=offers(c.type, census[c.name], compared=c.name in members),
        )
        for planned, c in zip(columns(mapping), mapping.columns, strict=True)
    )


def _found(census: ColumnCensus, kind: TargetType, *, show_keys: bool) -> Found:
    return Found(
        nulls=census.nulls,
        fitting=census.fits.get(kind, 0),
        classes=dict(census.classes),
        encodings=dict(census.encodings),
        longest=census.longest,
        lowest=census.lowest if show_keys else None,
        highest=census.highest if show_keys else None,
        examples=census.offenders.get(kind, ()) if show_keys else (),
    )


def key_reason(
    table: SourceTable,
    mapping: TableMapping,
    census: Mapping[str, ColumnCensus],
    override: TableOverride,
) -> str:
    """Say why a proposed mapping has its key, or why it has none."""
    if override.key is not None:
        return "as the settings say"
    if not mapping.key:
        return _keyless(table, mapping, census)
    if mapping.key == (table.rowid_alias,):
        return "its INTEGER PRIMARY KEY"
    if mapping.key == table.key:
        return "its PRIMARY KEY"
    instead = _unusable(table.key, mapping, census)
    because = f"; the PRIMARY KEY can't serve: {instead}" if instead else ""
    served = next(i for i in table.indexes if i.unique and i.columns == mapping.key)
    return f"{_called(served)} over columns that are NOT NULL{because}"


def _called(index: SourceIndex) -> str:
    """Name a unique index for people; that of a constraint has a name of SQLite's own."""
    columns = ", ".join(index.columns)
    return f"UNIQUE ({columns})" if index.constraint else f"unique index {index.name}"


def _keyless(table: SourceTable, mapping: TableMapping, census: Mapping[str, ColumnCensus]) -> str:
    found: list[str] = []
    if table.key:
        reason = _unusable(table.key, mapping, census)
        found.append(f"the PRIMARY KEY can't serve: {reason}")
    else:
        found.append("no PRIMARY KEY")
    required = {c.name for c in table.columns if c.not_null}
    for index in table.indexes:
        if index.unique:
            nullable = [c for c in index.columns if c not in required]
            reason = index.reason or (
                f"{', '.join(nullable)} may be NULL"
                if nullable
                else _unusable(index.columns, mapping, census)
            )
            found.append(f"{_called(index)} can't serve: {reason}")
    return "; ".join(found)


def _unusable(
    names: tuple[str, ...], mapping: TableMapping, census: Mapping[str, ColumnCensus]
) -> str:
    """Say what keeps columns from being a key: NULLs, or a type whose equality isn't of bytes."""
    for name in names:
        if census[name].nulls:
            return f"{name} holds {census[name].nulls} NULL"
        kind = mapping.column(name).type
        if kind.kind not in KEY_KINDS:
            return f"{name} becomes {kind.sql}, in which equal doesn't mean the same bytes"
    return ""
