"""Changes as Polars frames in target types, and back to rows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from migration_assets.model import (
    Change,
    Kind,
    TableMapping,
    TargetRow,
    TargetType,
    TargetValue,
)

# decimal128 ends here; a wider or unbounded numeric travels as its exact text
_MAX_DECIMAL = 38
_DTYPES: dict[Kind, pl.DataType] = {
    Kind.BIGINT: pl.Int64(),
    Kind.DOUBLE: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.BYTEA: pl.Binary(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.DATE: pl.Date(),
    Kind.TIMESTAMP: pl.Datetime("us"),
    Kind.TIMESTAMPTZ: pl.Datetime("us", "UTC"),
    Kind.TIME: pl.Time(),
    Kind.JSON: pl.String(),
    Kind.UUID: pl.Binary(),  # its 16 bytes
}


def dtype(kind: TargetType) -> pl.DataType:
    """Return the Polars type that holds a target type exactly."""
    if kind.kind is not Kind.NUMERIC:
        return _DTYPES[kind.kind]
    if kind.precision is not None and kind.precision <= _MAX_DECIMAL:
        return pl.Decimal(kind.precision, kind.scale or 0)
    return pl.String()


def holds(kind: TargetType) -> bool:
    """Tell whether a frame can hold a target type."""
    return kind.kind is Kind.NUMERIC or kind.kind in _DTYPES


def control_columns(mapping: TableMapping) -> tuple[str, str]:
    """Return the names of the operation and old-hash columns, apart from the table's own."""
    return _free("op", mapping), _free("old_hash", mapping)


def _free(wanted: str, mapping: TableMapping) -> str:
    taken: Collection[str] = {c.target for c in mapping.columns}
    while wanted in taken:
        wanted = "_" + wanted
    return wanted


def schema(mapping: TableMapping) -> pl.Schema:
    """Return the schema of a delta: `op` String, `old_hash` Int64 (null: absent), the columns."""
    op, old_hash = control_columns(mapping)
    fields: dict[str, pl.DataType] = {op: pl.String(), old_hash: pl.Int64()}
    return pl.Schema(fields | {c.target: dtype(c.type) for c in mapping.columns})


def to_frame(mapping: TableMapping, changes: Sequence[Change]) -> pl.DataFrame:
    """Return the changes as a frame of `schema(mapping)`, in the order given."""
    op, old_hash = control_columns(mapping)
    columns = [
        pl.Series(op, [c.op.value for c in changes], dtype=pl.String()),
        pl.Series(old_hash, [c.old_hash for c in changes], dtype=pl.Int64()),
    ]
    for position, column in enumerate(mapping.columns):
        values = [c.values[position] for c in changes]
        columns.append(series(column.target, column.type, values))
    return pl.DataFrame(columns)


def series(name: str, kind: TargetType, values: Sequence[TargetValue]) -> pl.Series:
    """Return values of a target type as a Polars series of `dtype(kind)`."""
    wanted = dtype(kind)
    cells: list[object] = list(values)
    if kind.kind is Kind.NUMERIC and isinstance(wanted, pl.String):
        cells = [format(v, "f") if isinstance(v, Decimal) else v for v in values]
    elif kind.kind is Kind.UUID:
        cells = [v.bytes if isinstance(v, UUID) else v for v in values]
    return pl.Series(name, cells, dtype=wanted, strict=True)


def target_rows(mapping: TableMapping, frame: pl.DataFrame) -> Iterator[TargetRow]:
    """Yield the rows of a frame that has the mapping's columns, in the types `dtype` gives them."""
    parts = [from_frame(c.type) for c in mapping.columns]
    for row in frame[[c.target for c in mapping.columns]].iter_rows():
        yield tuple(part(cell) for part, cell in zip(parts, row, strict=True))


def from_frame(kind: TargetType) -> Callable[[Any], TargetValue]:
    """Return what turns a cell of `dtype(kind)` into a value of the target type."""
    if kind.kind is Kind.NUMERIC and isinstance(dtype(kind), pl.String):
        return lambda cell: None if cell is None else Decimal(cell)
    if kind.kind is Kind.UUID:
        return lambda cell: None if cell is None else UUID(bytes=cell)
    return lambda cell: cell
