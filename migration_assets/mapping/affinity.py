"""What SQLite does to a value on its way into a column.

A value fits a PostgreSQL type if, rendered back and sent through its column's affinity, it comes
back with the same storage class and the same bytes. This module is that way back. Rules:
https://sqlite.org/datatype3.html, sections 3 to 3.4.

Text becomes the nearest double here. SQLite before 3.47 may miss it by one bit where a number has
more than 15 digits or a large exponent; the text itself is exact, so nothing is lost by that.
"""

import math
import re
import struct

from migration_assets.model import Affinity, SqliteValue

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_BLANKS = " \t\n\v\f\r"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"([+-]?)0*(\d{1,19})", re.ASCII)  # 2^63 has 19 digits


def affinity_of(declared: str) -> Affinity:
    """Return the affinity of a declared type (section 3.1, in its order of rules)."""
    upper = declared.upper()
    if "INT" in upper:
        return Affinity.INTEGER
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return Affinity.TEXT
    if "BLOB" in upper or not upper:
        return Affinity.BLOB
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return Affinity.REAL
    return Affinity.NUMERIC


def apply_affinity(value: SqliteValue, affinity: Affinity) -> SqliteValue:
    """Return the value as a column of that affinity stores it."""
    match affinity:
        case Affinity.BLOB:
            return value
        case Affinity.TEXT:
            return _to_text(value)
        case Affinity.REAL:
            number = _to_number(value)
            return float(number) if isinstance(number, int) else number
        case Affinity.INTEGER | Affinity.NUMERIC:
            return _to_number(value)


def _to_text(value: SqliteValue) -> SqliteValue:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _printed(value)
    return value


def _printed(value: float) -> str:
    """Return a real as SQLite prints it: 15 digits, always with a point, zero without a sign."""
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    mantissa, e, exponent = f"{value or 0.0:.15g}".partition("e")
    return mantissa + ("" if "." in mantissa else ".0") + e + exponent


def _to_number(value: SqliteValue) -> SqliteValue:
    """Turn numeric text into a number and a whole real into an integer, as NUMERIC does."""
    if isinstance(value, str):
        text = value.strip(_BLANKS)
        if not _NUMBER.fullmatch(text):
            return value
        whole = _INTEGER.fullmatch(text)
        if whole and _INT64_MIN <= (exact := int(whole[1] + whole[2])) <= _INT64_MAX:
            return exact
        value = float(text)
    if isinstance(value, float) and value.is_integer() and _INT64_MIN < value < _INT64_MAX:
        return int(value)
    return value


def real_text(value: float) -> str:
    """Return the shortest text that reads back as the same double."""
    return repr(value)


def identical(left: SqliteValue, right: SqliteValue) -> bool:
    """Tell whether two values have the same storage class and the same bytes."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack(">d", left) == struct.pack(">d", right)
    return left == right
