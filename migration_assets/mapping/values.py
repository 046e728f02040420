"""Values between SQLite and PostgreSQL: convert, render back, and the fit they define.

`fitter` is the one definition of a fit: a value converted to its target type, rendered back and
sent through its column's affinity, must be identical to what the source holds. Every type is a
pair of functions here; nothing else in the package knows how a value changes its form.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Context, Decimal, InvalidOperation
from typing import NamedTuple, TypeAlias
from uuid import UUID

from migration_assets.mapping.affinity import affinity_of, apply_affinity, identical, real_text
from migration_assets.mapping.encodings import pattern
from migration_assets.mapping.json_text import is_json
from migration_assets.mapping.moments import read_moment, read_time, write_moment, write_time
from migration_assets.mapping.words import (
    NUMERAL,
    read_numeral,
    read_uuid,
    read_word,
    write_uuid,
    write_word,
)
from migration_assets.model import (
    Affinity,
    ColumnMapping,
    Kind,
    SqliteValue,
    TargetType,
    TargetValue,
    UndecodableText,
)

_INT64 = range(-(2**63), 2**63)
# PostgreSQL's unconstrained numeric: 131072 digits before the point, 16383 after it
# (https://www.postgresql.org/docs/current/datatype-numeric.html, table 8.2).
_NUMERIC_DIGITS, _NUMERIC_SCALE = 131072, 16383
_EXACT = Context(prec=_NUMERIC_DIGITS + _NUMERIC_SCALE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class _NoFit:
    """The answer of a conversion that has no exact result."""


NO_FIT = _NoFit()
Converted: TypeAlias = TargetValue | _NoFit


class Fit(NamedTuple):
    """The converted value, or the reason why there is none (`reason` is empty if it fits)."""

    value: TargetValue
    reason: str


def storage_class(value: SqliteValue) -> str:
    """Return SQLite's name of the value's storage class."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "real"
    if isinstance(value, bytes):
        return "blob"
    return "text"


def convert(value: SqliteValue, kind: TargetType) -> Converted:
    """Convert to the target type's Python form; `NO_FIT` where that type has no such value."""
    return _CONVERSIONS[kind.kind](value, kind)


def _found(value: TargetValue) -> Converted:
    return NO_FIT if value is None else value


def render(value: TargetValue, kind: TargetType) -> SqliteValue:  # noqa: PLR0911 - one line a type
    """Render a target value as SQLite would be given it, before the column's affinity."""
    match value:
        case None | str() | bytes() | float():
            return value
        case bool():
            return write_word(value, kind.form)
        case Decimal():
            return format(value, "f") if kind.form == NUMERAL else _number(value)
        case datetime():
            return write_moment(value, kind)
        case date():
            return value.isoformat()
        case time():
            return write_time(value, kind.form)
        case UUID():
            return write_uuid(value, kind.form)
        case _:
            return value


def _number(value: Decimal) -> SqliteValue:
    """Return the integer or double that a numeric is exactly; else its text.

    As text a whole number with a scale would pass through a double and lose digits beyond 2^53.
    """
    if value == value.to_integral_value() and _INT64[0] <= value <= _INT64[-1]:
        return int(value)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else format(value, "f")


def _to_bigint(value: SqliteValue, _kind: TargetType) -> Converted:
    return value if isinstance(value, int) and value in _INT64 else NO_FIT


def _to_bytea(value: SqliteValue, _kind: TargetType) -> Converted:
    return value if isinstance(value, bytes) else NO_FIT


def _to_double(value: SqliteValue, _kind: TargetType) -> Converted:
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        with suppress(OverflowError):
            return float(value)
    return NO_FIT


def _to_text(value: SqliteValue, _kind: TargetType) -> Converted:
    if isinstance(value, str):
        return NO_FIT if "\0" in value else value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return real_text(value)
    return NO_FIT


def _to_json(value: SqliteValue, kind: TargetType) -> Converted:
    text = _to_text(value, kind)
    return text if isinstance(text, str) and is_json(text) else NO_FIT


def _to_numeric(value: SqliteValue, kind: TargetType) -> Converted:
    if kind.form:
        numeral = read_numeral(value) if kind.form == NUMERAL else None
        return NO_FIT if numeral is None else _bounded(numeral, kind)
    if isinstance(value, int):
        exact = Decimal(value)
    elif isinstance(value, float) and math.isfinite(value):
        exact = Decimal(repr(value))
    else:
        return NO_FIT
    return _bounded(exact, kind)


def _bounded(exact: Decimal, kind: TargetType) -> Converted:
    """Return the number as a numeric of that precision and scale prints it, if it has a place."""
    if kind.precision is None or kind.scale is None:
        # A plain spelling without an exponent, as numeric prints it: 1E+20 is 10…0.
        plain = format(exact, "f")
        whole, _, fraction = plain.lstrip("-").partition(".")
        held = len(whole) <= _NUMERIC_DIGITS and len(fraction) <= _NUMERIC_SCALE
        return Decimal(plain) if held else NO_FIT
    try:
        scaled = exact.quantize(Decimal(1).scaleb(-kind.scale), context=_EXACT)
    except InvalidOperation:
        return NO_FIT
    whole = kind.precision - kind.scale
    return scaled if scaled == exact and abs(exact) < Decimal(10) ** whole else NO_FIT


def _to_date(value: SqliteValue, _kind: TargetType) -> Converted:
    if isinstance(value, str) and _DATE.fullmatch(value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return NO_FIT


# By kind, what a value becomes; a form that is the column's own comes with the type.
_CONVERSIONS: dict[Kind, Callable[[SqliteValue, TargetType], Converted]] = {
    Kind.BIGINT: _to_bigint,
    Kind.DOUBLE: _to_double,
    Kind.TEXT: _to_text,
    Kind.BYTEA: _to_bytea,
    Kind.NUMERIC: _to_numeric,
    Kind.BOOLEAN: lambda value, kind: _found(read_word(value, kind.form)),
    Kind.DATE: _to_date,
    Kind.TIMESTAMP: lambda value, kind: _found(read_moment(value, kind)),
    Kind.TIMESTAMPTZ: lambda value, kind: _found(read_moment(value, kind)),
    Kind.TIME: lambda value, kind: _found(read_time(value, kind.form)),
    Kind.JSON: _to_json,
    Kind.UUID: lambda value, kind: _found(read_uuid(value, kind.form)),
}


def fitter(column: ColumnMapping, *, in_key: bool = False) -> Callable[[SqliteValue], Fit]:
    """Return the function that converts one column's values, or says why one doesn't fit.

    A reason names the storage class and the type, never the value.
    """
    kind, affinity = column.type, affinity_of(column.stored_as)
    required = column.not_null or in_key
    missing = Fit(None, "null in a key" if in_key else "null in a column that is NOT NULL")
    nothing = Fit(None, "")

    def fit(value: SqliteValue) -> Fit:
        if value is None:
            return missing if required else nothing
        converted = convert(value, kind)
        if not isinstance(converted, _NoFit) and _comes_back(value, converted, kind, affinity):
            return Fit(converted, "")
        return Fit(None, f"{_describe(value)} is no {kind.sql}{_form_note(kind)}")

    return fit


def _comes_back(
    value: SqliteValue, converted: TargetValue, kind: TargetType, affinity: Affinity
) -> bool:
    """Apply the definition; the two commonest cases need no round trip to be sure."""
    if kind.kind is Kind.BYTEA:
        return True
    if kind.kind is Kind.BIGINT:
        return affinity is not Affinity.REAL and affinity is not Affinity.TEXT
    return identical(apply_affinity(render(converted, kind), affinity), value)


def _describe(value: SqliteValue) -> str:
    if isinstance(value, UndecodableText):
        return f"text that is not {value.encoding}"
    if isinstance(value, str) and "\0" in value:
        return "text with a NUL character"
    return storage_class(value)


def _form_note(kind: TargetType) -> str:
    form = pattern(kind)
    return f" of the form {form}" if form else ""
