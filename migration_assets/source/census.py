"""Take the census of a table in a cut: the evidence behind its types.

Every column is read for its storage classes, ranges and encodings, and its natural type; only
columns that this does not settle are read again for the next rung of their ladder, so most tables
are read once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from migration_assets.mapping.encodings import default_form, forms_of, look
from migration_assets.mapping.propose import settled
from migration_assets.mapping.rows import named_values
from migration_assets.mapping.types import JSON, compared, ladder
from migration_assets.mapping.values import Fit, fitter, storage_class
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Kind,
    RawRow,
    SourceColumn,
    SourceTable,
    SqliteValue,
    TargetType,
    UndecodableText,
)

# Rungs of these stand for all their forms; the commonest is the column's.
_FORMED = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.UUID, Kind.BOOLEAN})
_SHOWN_OFFENDERS = 3


class _ColumnCount:
    """Count one column: what its values are once, and the fits of one rung a pass."""

    def __init__(self, column: SourceColumn, *, compared: bool) -> None:
        self.column = column
        self.rungs = [r for r in ladder(column.declared) if r is not JSON or not compared]
        self.nulls = 0
        self.classes: Counter[str] = Counter()
        self.lowest: float | None = None
        self.highest: float | None = None
        self.longest: int | None = None
        self.encodings: Counter[str] = Counter()
        self.fits: Counter[TargetType] = Counter()
        self.offenders: defaultdict[TargetType, list[str]] = defaultdict(list)
        self._fitters: dict[TargetType, Callable[[SqliteValue], Fit]] = {}

    def census(self) -> ColumnCensus:
        return ColumnCensus(
            nulls=self.nulls,
            classes=dict(self.classes),
            fits=dict(self.fits),
            lowest=self.lowest,
            highest=self.highest,
            longest=self.longest,
            encodings=dict(self.encodings),
            offenders={kind: tuple(filter(None, keys)) for kind, keys in self.offenders.items()},
        )

    def describe(self, value: SqliteValue) -> None:
        """Note class, range, length and encoding."""
        if value is None:
            self.nulls += 1
        elif isinstance(value, str):
            self.classes["text"] += 1
            self._measure(len(value) if value.isascii() else len(value.encode()))
            for name in look(value):
                self.encodings[name] += 1
        elif isinstance(value, int | float):
            self.classes["integer" if isinstance(value, int) else "real"] += 1
            if self.lowest is None or value < self.lowest:
                self.lowest = value
            if self.highest is None or value > self.highest:
                self.highest = value
        else:
            self.classes[storage_class(value)] += 1
            self._measure(len(value.raw if isinstance(value, UndecodableText) else value))

    def _measure(self, length: int) -> None:
        if self.longest is None or length > self.longest:
            self.longest = length

    def try_rung(self, value: SqliteValue, rung: TargetType) -> TargetType | None:
        """Count the fits of a value; return the type under which its key is still to be noted.

        That is the rung where the value doesn't fit, or one of its forms while few have that.
        """
        if value is None:
            return None
        if rung.kind not in _FORMED:
            return None if self._fits(value, rung) else rung
        kinds = [TargetType(kind=rung.kind, form=form) for form in forms_of(value, rung.kind)]
        fitting = [kind for kind in kinds if self._fits(value, kind)]
        if not fitting:
            return rung
        return fitting[0] if self.fits[fitting[0]] <= _SHOWN_OFFENDERS else None

    def try_one(
        self, value: SqliteValue, kind: TargetType, row: RawRow, key: Callable[[RawRow], str]
    ) -> None:
        """Count the fit of a value to just this type, or note its row's key."""
        if value is not None and not self._fits(value, kind):
            self.note(kind, row, key)

    def note(self, kind: TargetType, row: RawRow, key: Callable[[RawRow], str]) -> None:
        """Keep the key of one of the first values that don't fit a type."""
        if len(self.offenders[kind]) < _SHOWN_OFFENDERS:
            self.offenders[kind].append(key(row))

    def _fits(self, value: SqliteValue, kind: TargetType) -> bool:
        fit = self._fitters.get(kind) or self._fitter(kind)
        if fit(value).reason:
            return False
        self.fits[kind] += 1
        return True

    def end_of_pass(self, rung: TargetType) -> None:
        """Note that a rung was tried even if nothing fitted; keep the commonest of its forms."""
        if rung.kind not in _FORMED:
            self.fits.setdefault(rung, 0)
            return
        forms = {k: n for k, n in self.fits.items() if k.kind is rung.kind}
        if not forms:
            forms[TargetType(kind=rung.kind, form=default_form(rung.kind))] = 0
        best = max(forms, key=lambda kind: (forms[kind], kind.form))
        for kind in forms:
            self.fits.pop(kind, None)
        self.fits[best] = forms[best]
        self._keep_offenders(rung, best)

    def _keep_offenders(self, rung: TargetType, best: TargetType) -> None:
        """Of a rung with forms, those offend that have none of them or another than the best."""
        self.offenders.pop(best, None)
        noted = [kind for kind in self.offenders if kind.kind is rung.kind]
        keys = [key for kind in noted for key in self.offenders.pop(kind)]
        if keys:
            self.offenders[best] = keys[:_SHOWN_OFFENDERS]

    def _fitter(self, kind: TargetType) -> Callable[[SqliteValue], Fit]:
        self._fitters[kind] = fitter(
            ColumnMapping(
                name=self.column.name,
                declared=self.column.declared,
                target="",
                type=kind,
                not_null=False,
            )
        )
        return self._fitters[kind]


def count(table: SourceTable, read: Callable[[], Iterable[RawRow]]) -> dict[str, ColumnCensus]:
    """Count the rows that `read` gives, calling it once a pass."""
    members = compared(table)
    columns = {i: _ColumnCount(c, compared=c.name in members) for i, c in enumerate(table.columns)}
    key = _key_of(table)
    _pass(columns, read, key, classify=True)
    open_columns = _unsettled(columns)
    while open_columns:
        _pass(open_columns, read, key, classify=False)
        open_columns = _unsettled(open_columns)
    return {c.column.name: c.census() for c in columns.values()}


def count_fits(
    table: SourceTable,
    read: Callable[[], Iterable[RawRow]],
    census: Mapping[str, ColumnCensus],
    wanted: Mapping[str, TargetType],
) -> dict[str, ColumnCensus]:
    """Return the census with the fits of a type wanted for some columns, by column name.

    `read` gives the rows once more, unless all of these types were tried already.
    """
    columns = {
        i: (_ColumnCount(c, compared=False), wanted[c.name])
        for i, c in enumerate(table.columns)
        if c.name in wanted and wanted[c.name] not in census[c.name].fits
    }
    key = _key_of(table)
    for row in read() if columns else ():
        for i, (column, kind) in columns.items():
            column.try_one(row[i], kind, row, key)
    found = dict(census)
    for column, kind in columns.values():
        name = column.column.name
        found[name] = replace(
            census[name],
            fits={**census[name].fits, kind: column.fits[kind]},
            offenders={**census[name].offenders, **column.census().offenders},
        )
    return found


def _key_of(table: SourceTable) -> Callable[[RawRow], str]:
    """Return what names a row of the table to people: its declared key; '' without one."""
    places = {c.name: i for i, c in enumerate(table.columns)}
    positions = [places[name] for name in table.key]
    return lambda row: named_values(table.key, positions, row)


def _pass(
    columns: Mapping[int, _ColumnCount],
    read: Callable[[], Iterable[RawRow]],
    key: Callable[[RawRow], str],
    *,
    classify: bool,
) -> None:
    rungs = [(i, c, c.rungs.pop(0)) for i, c in columns.items()]
    for row in read():
        for i, column, rung in rungs:
            value = row[i]
            if classify:
                column.describe(value)
            noted = column.try_rung(value, rung)
            if noted is not None:
                column.note(noted, row, key)
    for _, column, rung in rungs:
        column.end_of_pass(rung)


def _unsettled(columns: Mapping[int, _ColumnCount]) -> dict[int, _ColumnCount]:
    return {i: c for i, c in columns.items() if c.rungs and not settled(c.census())}
