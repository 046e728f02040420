"""Values between SQLite and PostgreSQL: convert, render back, and the fit they define.

`fitter` is the one definition of a fit: a value converted to its target type, rendered back and
sent through its column's affinity, must be identical to what the source holds. Every type is a
pair of functions here; nothing else in the package knows how a value changes its form.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import NamedTuple, TypeAlias

from migration_assets.mapping.affinity import affinity_of, apply_affinity, identical, real_text
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
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}([ T])\d{2}:\d{2}:\d{2}(?:\.(\d{3}|\d{6}))?")


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


def timestamp_form(value: str) -> str:
    """Return the form of a text that looks like a timestamp (separator, fraction digits), or ''."""
    match = _TIMESTAMP.fullmatch(value)
    return f"{match[1]}{len(match[2] or '')}" if match else ""


def convert(value: SqliteValue, kind: TargetType) -> Converted:  # noqa: PLR0911 - one line a type
    """Convert to the target type's Python form; `NO_FIT` where that type has no such value."""
    match kind.kind:
        case Kind.BIGINT:
            return value if isinstance(value, int) and value in _INT64 else NO_FIT
        case Kind.DOUBLE:
            return _to_double(value)
        case Kind.TEXT:
            return _to_text(value)
        case Kind.BYTEA:
            return value if isinstance(value, bytes) else NO_FIT
        case Kind.NUMERIC:
            return _to_numeric(value, kind)
        case Kind.BOOLEAN:
            return bool(value) if isinstance(value, int) and value in (0, 1) else NO_FIT
        case Kind.DATE:
            return _to_date(value)
        case Kind.TIMESTAMP:
            return _to_timestamp(value, kind.form)


def render(value: TargetValue, kind: TargetType) -> SqliteValue:
    """Render a target value as SQLite would be given it, before the column's affinity."""
    if value is None or isinstance(value, str | bytes):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        separator, digits = kind.form[0], int(kind.form[1])
        text = value.isoformat(separator, "microseconds")
        return text[:19] if digits == 0 else text[: 20 + digits]
    if isinstance(value, date):
        return value.isoformat()
    return value


def _number(value: Decimal) -> SqliteValue:
    """Return the integer or double that a numeric is exactly; else its text.

    As text a whole number with a scale would pass through a double and lose digits beyond 2^53.
    """
    if value == value.to_integral_value() and _INT64[0] <= value <= _INT64[-1]:
        return int(value)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else format(value, "f")


def _to_double(value: SqliteValue) -> Converted:
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        with suppress(OverflowError):
            return float(value)
    return NO_FIT


def _to_text(value: SqliteValue) -> Converted:
    if isinstance(value, str):
        return NO_FIT if "\0" in value else value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return real_text(value)
    return NO_FIT


def _to_numeric(value: SqliteValue, kind: TargetType) -> Converted:
    if isinstance(value, int):
        exact = Decimal(value)
    elif isinstance(value, float) and math.isfinite(value):
        exact = Decimal(repr(value))
    else:
        return NO_FIT
    if kind.precision is None or kind.scale is None:
        # A plain spelling without an exponent, as numeric prints it: 1E+20 is 10…0.
        return Decimal(format(exact, "f"))
    try:
        scaled = exact.quantize(Decimal(1).scaleb(-kind.scale), context=_EXACT)
    except InvalidOperation:
        return NO_FIT
    whole = kind.precision - kind.scale
    return scaled if scaled == exact and abs(exact) < Decimal(10) ** whole else NO_FIT


def _to_date(value: SqliteValue) -> Converted:
    if isinstance(value, str) and _DATE.fullmatch(value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return NO_FIT


def _to_timestamp(value: SqliteValue, form: str) -> Converted:
    if isinstance(value, str) and form and timestamp_form(value) == form:
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return NO_FIT


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
    if kind.kind is Kind.DATE:
        return " of the form YYYY-MM-DD"
    if kind.kind is Kind.TIMESTAMP:
        fraction = "." + "f" * int(kind.form[1]) if kind.form[1:] not in ("", "0") else ""
        return f" of the form YYYY-MM-DD{kind.form[:1]}HH:MM:SS{fraction}"
    return ""
