"""Whole rows through a mapping: a target row, or the reasons why there is none."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from migration_assets.mapping.values import fitter
from migration_assets.model import (
    Misfit,
    RawRow,
    TableMapping,
    TargetRow,
    TargetValue,
)


class FittedRow(NamedTuple):
    """A target row; `values` is None if the row doesn't fit, and `misfits` says where and why."""

    values: TargetRow | None
    misfits: tuple[tuple[str, str], ...]


class RowFitter:
    """Fit rows of one mapping, as they are read: a row's own values, then those of its casts."""

    def __init__(self, mapping: TableMapping) -> None:
        self._mapping = mapping
        self._has_casts = bool(mapping.casts)
        self._fitters = [fitter(c, in_key=c.name in mapping.key) for c in mapping.columns]

    def __call__(self, row: RawRow) -> FittedRow:
        """Convert every value, or name every one that has no place in its column."""
        values: list[TargetValue] = []
        misfits: list[tuple[str, str]] = []
        cells = as_cast(self._mapping, row) if self._has_casts else row
        for position, (fit, value) in enumerate(zip(self._fitters, cells, strict=True)):
            converted, reason = fit(value)
            values.append(converted)
            if reason:
                misfits.append((self._mapping.columns[position].name, reason))
        return FittedRow(None, tuple(misfits)) if misfits else FittedRow(tuple(values), ())

    def all(self, rows: Iterable[RawRow]) -> Iterator[tuple[RawRow, FittedRow]]:
        """Yield each row's own values and what it is on the target, in the order given."""
        width = len(self._fitters)
        for row in rows:
            yield row[:width] if self._has_casts else row, self(row)

    def misfit(
        self, row: RawRow, misfits: tuple[tuple[str, str], ...], *, entering: bool
    ) -> Misfit:
        """Describe an unfit row for quarantine."""
        return Misfit(
            entering=entering,
            row=row,
            key=key_text(self._mapping, row),
            columns=tuple(column for column, _ in misfits),
            reasons=tuple(reason for _, reason in misfits),
        )


def as_cast(mapping: TableMapping, row: RawRow) -> RawRow:
    """Return a row as it was read with each cast's value in place of its column's own."""
    casts = iter(row[len(mapping.columns) :])
    own = zip(mapping.columns, row, strict=False)
    return tuple(next(casts) if column.cast else value for column, value in own)


def key_text(mapping: TableMapping, row: RawRow) -> str:
    """Return a row's key for people: `a=1, b='x'`; empty for a table without a key."""
    return named_values(mapping.key, mapping.key_positions, row)


def named_values(names: Sequence[str], positions: Sequence[int], row: RawRow) -> str:
    """Return some of a row's values for people, by name."""
    return ", ".join(
        f"{name}={row[position]!r}" for name, position in zip(names, positions, strict=True)
    )
