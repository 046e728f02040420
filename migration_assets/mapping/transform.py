"""Rows through a function of the user's: `transform: module:function` in `migration.yaml`.

A row goes in two stages. Its values are fitted to the columns' input types, as those of any table;
a row that doesn't fit goes to quarantine as it stands at the source, and the function never sees
it. The others are handed to the function, many at a time, as a Polars frame with the source's
column names; what it returns stands on the target: the same rows in the same order, the same
columns, the key unchanged. How rows are cut into batches is not promised, so a function has to
answer each row by itself; one that doesn't is caught by the proof, whose batches are others.
"""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from migration_assets.errors import TransformError
from migration_assets.mapping.document import sealed
from migration_assets.mapping.frames import from_frame, series
from migration_assets.mapping.rows import FittedRow, RowFitter
from migration_assets.mapping.types import BIGINT, BOOLEAN, BYTEA, DATE, DOUBLE, TEXT
from migration_assets.model import (
    ColumnMapping,
    Kind,
    RawRow,
    TableMapping,
    TargetRow,
    TargetType,
    TargetValue,
)

_BATCH_ROWS = 10_000
_BATCH_BYTES = 64 * 2**20  # of text and blobs, where rows are large
_TYPES: dict[type[pl.DataType], TargetType] = {
    **dict.fromkeys((pl.Int8, pl.Int16, pl.Int32, pl.Int64), BIGINT),
    **dict.fromkeys((pl.UInt8, pl.UInt16, pl.UInt32), BIGINT),
    **dict.fromkeys((pl.Float32, pl.Float64), DOUBLE),
    pl.String: TEXT,
    pl.Binary: BYTEA,
    pl.Boolean: BOOLEAN,
    pl.Date: DATE,
    pl.Time: TargetType(kind=Kind.TIME, form="6"),
}
# Its form is how SQLite would write it, which nothing asks for here.
_MOMENTS = {
    None: TargetType(kind=Kind.TIMESTAMP, form=" 6"),
    "UTC": TargetType(kind=Kind.TIMESTAMPTZ, form="T6Z"),
}
_EXPECTED = (
    "a function that takes a Polars DataFrame and returns one with the same rows and columns"
)
_ROW_BY_ROW = "return one row for each that came in, in the same order, with the same key"

Transform = Callable[[pl.DataFrame], Any]
Types = dict[str, TargetType | None]  # of columns; None where all values are null


def load(name: str, where: str) -> Transform:
    """Import a function by `module:function`. Raises `TransformError`."""
    module, _, function = name.partition(":")
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise TransformError(
            what=f"the transform {name} can't be imported: {_describe(error, module)}",
            where=where,
            expected=_EXPECTED,
            hint="lay the module beside migration.yaml, or name its folder in PYTHONPATH",
        ) from None
    for part in function.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise TransformError(
            what=f"the transform {name} is not there: its module has no function {function}",
            where=where,
            expected=_EXPECTED,
            hint="mend `transform` in migration.yaml, or write the function",
        )
    if not callable(found):
        raise TransformError(
            what=f"the transform {name} is no function", where=where, expected=_EXPECTED
        )
    return cast("Transform", found)


def fitter_of(mapping: TableMapping, where: str = "") -> RowFitter:
    """Return what fits rows of a mapping: through its transform, where it has one."""
    if not mapping.transform:
        return RowFitter(mapping)
    return TransformFitter(mapping, where or f"table {mapping.table}")


def of_inputs(mapping: TableMapping) -> TableMapping:
    """Return the mapping of the first stage: its columns in their input types."""
    columns = tuple(replace(c, type=c.input or c.type, input=None) for c in mapping.columns)
    return replace(mapping, columns=columns, transform="")


class TransformFitter(RowFitter):
    """Fit rows to their input types and send those that fit through the transform."""

    def __init__(self, mapping: TableMapping, where: str) -> None:
        super().__init__(of_inputs(mapping))
        self._output = mapping
        self._transformed = Transformed(mapping, where)

    def all(self, rows: Iterable[RawRow]) -> Iterator[tuple[RawRow, FittedRow]]:
        """Yield each row's own values and what it is on the target, in the order given."""
        for batch in _batches(super().all(rows)):
            given = [found.values for _, found in batch if found.values is not None]
            changed = iter(self._transformed.rows(given))
            for row, found in batch:
                yield row, found if found.values is None else self._checked(next(changed))

    def _checked(self, values: TargetRow) -> FittedRow:
        """Return the row, or what of it PostgreSQL can't hold."""
        columns = self._output.columns
        misfits = tuple(
            (column.name, f"the transform's {problem}")
            for column, value in zip(columns, values, strict=True)
            if (problem := _problem(column, value))
        )
        return FittedRow(None, misfits) if misfits else FittedRow(values, ())


def _problem(column: ColumnMapping, value: TargetValue) -> str:
    if value is None:
        return "null stands in a column that is NOT NULL" if column.not_null else ""
    if isinstance(value, str) and "\0" in value:
        return "text with a NUL character is no text"
    return "value is no number" if isinstance(value, float) and value != value else ""  # noqa: PLR0124 - NaN


class Transformed:
    """Call the transform of a mapping and hold it to what it has to return."""

    def __init__(self, mapping: TableMapping, where: str) -> None:
        self._inputs = of_inputs(mapping)
        self._mapping = mapping
        self._where = where
        self._function = load(mapping.transform, where)

    def rows(self, given: Sequence[TargetRow]) -> list[TargetRow]:
        """Return the rows as the transform makes them, in the sealed types."""
        if not given:
            return []
        frame, types = self.call(given)
        for column in self._mapping.columns:
            came = types[column.name]
            if came is not None and came != column.type:
                raise self._error(
                    f"column {column.name} came as {came.sql}",
                    f"{column.type.sql}, as the first load sealed it",
                    "return the same type whatever the rows are: cast the column in the transform",
                )
        return self._values(frame)

    def require_row_by_row(self, given: Sequence[TargetRow]) -> None:
        """Raise where rows come otherwise when other rows are with them; the proof finds the rest.

        That is a mistake easily made, and what the proof says of it later is harder to read.
        """
        half = len(given) // 2
        together = self.call(given)[0]
        apart = [self.call(part)[0] for part in (given[:half], given[half:])]
        for name in together.columns:
            if not _alike(together[name], [frame[name] for frame in apart]):
                raise self._error(
                    f"column {name} of a row depends on the rows that are given with it",
                    "a function that answers each row by itself",
                    "take out what sums, sorts, counts or looks at other rows",
                )

    def call(self, given: Sequence[TargetRow]) -> tuple[pl.DataFrame, Types]:
        """Return what the transform makes of the rows, checked, and its columns' types."""
        frame = pl.DataFrame(
            [
                series(column.name, column.type, [row[i] for row in given])
                for i, column in enumerate(self._inputs.columns)
            ]
        )
        try:
            found = self._function(frame.clone())
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            # Its text may hold values of a row, and so may that of what it came from.
            raise self._error(
                f"it raised {_describe(error, self._mapping.transform.partition(':')[0])}",
                "a function that answers every row",
                "call it with such rows in a test",
            ) from None
        checked = self._checked(frame, found)
        return checked, {name: self._type(frame, checked, name) for name in checked.columns}

    def _checked(self, given: pl.DataFrame, found: object) -> pl.DataFrame:
        if not isinstance(found, pl.DataFrame):
            raise self._error(f"it returned {type(found).__name__}", "a Polars DataFrame", "")
        missing = [name for name in given.columns if name not in found.columns]
        extra = [name for name in found.columns if name not in given.columns]
        if missing or extra:
            parts = [f"lacks column {name}" for name in missing]
            parts += [f"has column {name} too" for name in extra]
            raise self._error(
                f"what it returned {', '.join(parts)}",
                f"the columns {', '.join(given.columns)}",
                "put what is new into a column that is there",
            )
        if found.height != given.height:
            raise self._error(
                f"of {given.height} rows it returned {found.height}",
                "the same number of rows",
                _ROW_BY_ROW,
            )
        for name in self._mapping.key:
            if found.schema[name] != given.schema[name] or not found[name].equals(given[name]):
                raise self._error(
                    f"it changed the key column {name}, or the order of rows",
                    "rows in the order given, their key unchanged",
                    _ROW_BY_ROW,
                )
        return pl.DataFrame([found[name] for name in given.columns])

    def _type(self, given: pl.DataFrame, found: pl.DataFrame, name: str) -> TargetType | None:
        """Return a column's type on the target: the one it had, where it still comes so."""
        dtype = found.schema[name]
        if dtype == given.schema[name]:
            return self._inputs.column(name).type
        if isinstance(dtype, pl.Null):
            return None
        kind = target_type(dtype)
        if kind is None:
            raise self._error(
                f"column {name} came as {dtype}",
                "a type that PostgreSQL has and Polars holds exactly",
                "cast it in the transform, to Int64, String, Decimal or Datetime('us') say",
            )
        return kind

    def _values(self, frame: pl.DataFrame) -> list[TargetRow]:
        backs = [from_frame(c.type) for c in self._mapping.columns]
        try:
            return [
                tuple(back(value) for back, value in zip(backs, row, strict=True))
                for row in frame.rows()
            ]
        except (ValueError, OverflowError, ArithmeticError) as error:
            raise self._error(
                f"it returned a value that its column's type doesn't have ({type(error).__name__})",
                "numbers, UUIDs, and dates of the years 1 to 9999, where columns are of these",
                "call it with such rows in a test",
            ) from None

    def _error(self, what: str, expected: str, hint: str) -> TransformError:
        return TransformError(
            what=f"the transform {self._mapping.transform} can't be used: {what}",
            where=self._where,
            expected=expected,
            hint=hint,
        )


def _alike(whole: pl.Series, parts: Sequence[pl.Series]) -> bool:
    """Tell whether parts make the whole, in its type; a part without values may have none."""
    if any(part.dtype not in (whole.dtype, pl.Null()) for part in parts):
        return False
    values = [value for part in parts for value in part]
    return whole.equals(pl.Series(whole.name, values, whole.dtype))


def target_type(dtype: pl.DataType) -> TargetType | None:
    """Return the PostgreSQL type that holds every value of a Polars type; None without one."""
    if isinstance(dtype, pl.Decimal):
        return TargetType(kind=Kind.NUMERIC, precision=dtype.precision, scale=dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return _MOMENTS.get(dtype.time_zone) if dtype.time_unit != "ns" else None
    return _TYPES.get(type(dtype))


def with_outputs(mapping: TableMapping, rows: Iterable[RawRow], where: str = "") -> TableMapping:
    """Return the mapping with the types that the transform gives its columns on the target.

    `mapping` has the types of the census, which become the input types; `rows` are all rows, as
    they are read. A column without any value keeps its input type. What the source promises of NULL
    the transform need not keep, but in the key.
    """
    transformed = Transformed(mapping, where or f"table {mapping.table}")
    tried = False
    types: Types = dict.fromkeys((c.name for c in mapping.columns), None)
    for batch in _batches(RowFitter(of_inputs(mapping)).all(rows)):
        given = [found.values for _, found in batch if found.values is not None]
        if given:
            for name, came in transformed.call(given)[1].items():
                types[name] = types[name] or came
        if len(given) > 1 and not tried:
            transformed.require_row_by_row(given)
            tried = True
    columns = tuple(
        replace(
            c,
            input=c.type,
            type=types[c.name] or c.type,
            not_null=c.name in mapping.key,
        )
        for c in mapping.columns
    )
    return sealed(replace(mapping, columns=columns))


def _batches(
    rows: Iterable[tuple[RawRow, FittedRow]],
) -> Iterator[list[tuple[RawRow, FittedRow]]]:
    batch: list[tuple[RawRow, FittedRow]] = []
    size = 0
    for pair in rows:
        batch.append(pair)
        size += sum(len(v) for v in pair[0] if isinstance(v, str | bytes))
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _describe(error: Exception, module: str) -> str:
    """Name an exception and the line of the user's module that it passed last; never its text."""
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if f.filename == file]
    at = f" at {Path(file).name}, line {lines[-1]}" if file and lines else ""
    return type(error).__name__ + at
