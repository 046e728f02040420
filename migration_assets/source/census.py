"""Take the census of a table in a cut: the evidence behind its types.

Every column is read for its storage classes and its natural type; only columns that this does not
settle are read again for the next rung of their ladder, so most tables are read once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from migration_assets.mapping.propose import settled
from migration_assets.mapping.types import ladder
from migration_assets.mapping.values import Fit, fitter, storage_class, timestamp_form
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Cut,
    Kind,
    RawRow,
    SourceColumn,
    SourceTable,
    SqliteValue,
    TargetType,
)
from migration_assets.source.reader import rows


class _ColumnCount:
    """Count one column: classes once, and the fits of one rung a pass."""

    def __init__(self, column: SourceColumn) -> None:
        self.column = column
        self.rungs = list(ladder(column.declared))
        self.nulls = 0
        self.classes: Counter[str] = Counter()
        self.fits: Counter[TargetType] = Counter()
        self._fitters: dict[TargetType, Callable[[SqliteValue], Fit]] = {}

    def census(self) -> ColumnCensus:
        return ColumnCensus(nulls=self.nulls, classes=dict(self.classes), fits=dict(self.fits))

    def classify(self, value: SqliteValue) -> None:
        if value is None:
            self.nulls += 1
        else:
            self.classes[storage_class(value)] += 1

    def try_rung(self, value: SqliteValue, rung: TargetType) -> None:
        if value is None:
            return
        kind = rung
        if rung.kind is Kind.TIMESTAMP:
            form = timestamp_form(value) if isinstance(value, str) else ""
            if not form:
                return
            kind = TargetType(kind=Kind.TIMESTAMP, form=form)
        if not self._fitter(kind)(value).reason:
            self.fits[kind] += 1

    def end_of_pass(self, rung: TargetType) -> None:
        """Note that a rung was tried even if nothing fitted; keep a timestamp's commonest form."""
        if rung.kind is not Kind.TIMESTAMP:
            self.fits.setdefault(rung, 0)
            return
        forms = {k: n for k, n in self.fits.items() if k.kind is Kind.TIMESTAMP}
        for kind in forms:
            del self.fits[kind]
        if forms:
            best = max(forms, key=lambda kind: (forms[kind], kind.form))
            self.fits[best] = forms[best]

    def _fitter(self, kind: TargetType) -> Callable[[SqliteValue], Fit]:
        if kind not in self._fitters:
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


def take_census(cut: Cut, table: SourceTable) -> dict[str, ColumnCensus]:
    """Return the census of every column of the table."""
    return count(table, lambda: rows(cut, table))


def count(table: SourceTable, read: Callable[[], Iterable[RawRow]]) -> dict[str, ColumnCensus]:
    """Count the rows that `read` gives, calling it once a pass."""
    columns = {i: _ColumnCount(c) for i, c in enumerate(table.columns)}
    _pass(columns, read, classify=True)
    open_columns = _unsettled(columns)
    while open_columns:
        _pass(open_columns, read, classify=False)
        open_columns = _unsettled(open_columns)
    return {c.column.name: c.census() for c in columns.values()}


def _pass(
    columns: Mapping[int, _ColumnCount], read: Callable[[], Iterable[RawRow]], *, classify: bool
) -> None:
    rungs = [(i, c, c.rungs.pop(0)) for i, c in columns.items()]
    for row in read():
        for i, column, rung in rungs:
            value = row[i]
            if classify:
                column.classify(value)
            column.try_rung(value, rung)
    for _, column, rung in rungs:
        column.end_of_pass(rung)


def _unsettled(columns: Mapping[int, _ColumnCount]) -> dict[int, _ColumnCount]:
    return {i: c for i, c in columns.items() if c.rungs and not settled(c.census())}
