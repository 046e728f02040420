"""Whole rows through a mapping: a target row, or the reasons why there is none."""

from collections.abc import Sequence
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
    """Fit rows of one mapping."""

    def __init__(self, mapping: TableMapping) -> None:
        self._mapping = mapping
        self._fitters = [fitter(c, in_key=c.name in mapping.key) for c in mapping.columns]

    def __call__(self, row: RawRow) -> FittedRow:
        """Convert every value, or name every one that has no place in its column."""
        values: list[TargetValue] = []
        misfits: list[tuple[str, str]] = []
        for position, (fit, value) in enumerate(zip(self._fitters, row, strict=True)):
            converted, reason = fit(value)
            values.append(converted)
            if reason:
                misfits.append((self._mapping.columns[position].name, reason))
        return FittedRow(None, tuple(misfits)) if misfits else FittedRow(tuple(values), ())

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


def key_text(mapping: TableMapping, row: RawRow) -> str:
    """Return a row's key for people: `a=1, b='x'`; empty for a table without a key."""
    return named_values(mapping.key, mapping.key_positions, row)


def named_values(names: Sequence[str], positions: Sequence[int], row: RawRow) -> str:
    """Return some of a row's values for people, by name."""
    return ", ".join(
        f"{name}={row[position]!r}" for name, position in zip(names, positions, strict=True)
    )
