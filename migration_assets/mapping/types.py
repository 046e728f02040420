"""Which PostgreSQL types a declared type may become, narrowest first."""

import re

from migration_assets.mapping.affinity import affinity_of
from migration_assets.model import (
    Affinity,
    Kind,
    TargetType,
)

BIGINT = TargetType(kind=Kind.BIGINT)
DOUBLE = TargetType(kind=Kind.DOUBLE)
TEXT = TargetType(kind=Kind.TEXT)
BYTEA = TargetType(kind=Kind.BYTEA)
NUMERIC = TargetType(kind=Kind.NUMERIC)
BOOLEAN = TargetType(kind=Kind.BOOLEAN)
DATE = TargetType(kind=Kind.DATE)
TIMESTAMP = TargetType(kind=Kind.TIMESTAMP)  # its form comes from the census

# Equality in an index of these is equality of bytes, so two source rows never become one.
KEY_KINDS = frozenset({Kind.BIGINT, Kind.TEXT, Kind.BYTEA, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP})

_SPELLED = {
    "bigint": BIGINT,
    "int8": BIGINT,
    "double precision": DOUBLE,
    "float8": DOUBLE,
    "text": TEXT,
    "bytea": BYTEA,
    "numeric": NUMERIC,
    "decimal": NUMERIC,
    "boolean": BOOLEAN,
    "bool": BOOLEAN,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "timestamp without time zone": TIMESTAMP,
}
_FORM = re.compile("[ T][036]")
_DECIMAL_WORDS = ("DEC", "NUM", "MONEY", "CURRENCY")
_PRECISION = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
# numeric's declared precision: https://www.postgresql.org/docs/current/datatype-numeric.html
_MAX_PRECISION = 1000


def ladder(declared: str) -> tuple[TargetType, ...]:  # noqa: PLR0911 - one line a family
    """Return the types to try for a declared type, in order; the first is its natural one."""
    upper = declared.upper().strip()
    if "BOOL" in upper:
        return (BOOLEAN, BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA)
    if upper == "DATE":
        return (DATE, TIMESTAMP, BIGINT, NUMERIC, TEXT, BYTEA)
    if upper.startswith(("DATETIME", "TIMESTAMP")):
        return (TIMESTAMP, DATE, BIGINT, NUMERIC, TEXT, BYTEA)
    match affinity_of(declared):
        case Affinity.INTEGER:
            return (BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA)
        case Affinity.TEXT:
            return (TEXT, BYTEA)
        case Affinity.REAL:
            return (DOUBLE, TEXT, BYTEA)
        case Affinity.BLOB:
            return (BYTEA, TEXT, BIGINT, DOUBLE) if upper else (BIGINT, DOUBLE, TEXT, BYTEA)
        case Affinity.NUMERIC:
            return _numeric_ladder(upper)


def natural(declared: str) -> TargetType:
    """Return the type of a column that holds no value yet, from its declaration alone."""
    upper = declared.upper().strip()
    unknown = affinity_of(declared) is Affinity.NUMERIC and not upper.startswith(_DECIMAL_WORDS)
    dated = upper == "DATE" or upper.startswith(("DATETIME", "TIMESTAMP")) or "BOOL" in upper
    if not upper or (unknown and not dated):
        return TEXT
    first = ladder(declared)[0]
    return TargetType(kind=Kind.TIMESTAMP, form=" 0") if first is TIMESTAMP else first


def _numeric_ladder(upper: str) -> tuple[TargetType, ...]:
    """Return the rungs of DECIMAL and NUMERIC, or of a word that SQLite does not know."""
    if not upper.startswith(_DECIMAL_WORDS):
        return (BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA)
    declared = _bounded(upper)
    rest = (NUMERIC, DOUBLE, TEXT, BYTEA)
    return (declared, *rest) if declared else rest


def _bounded(upper: str) -> TargetType | None:
    match = _PRECISION.search(upper)
    if not match:
        return None
    precision, scale = int(match[1]), int(match[2] or 0)
    if not (1 <= precision <= _MAX_PRECISION and scale <= precision):
        return None
    return TargetType(kind=Kind.NUMERIC, precision=precision, scale=scale)


def parse(text: str, encoding: str | None = None) -> TargetType:
    """Return the type that PostgreSQL spells so, with the form of the source's values.

    Raises ValueError, with what is wrong, for a type that is not written.
    """
    spelled = " ".join(text.lower().split())
    name, _, rest = spelled.partition("(")
    kind = _SPELLED.get(name.strip())
    if kind is NUMERIC and rest:
        kind = _bounded(f"({rest}" if rest.endswith(")") else "")
    elif rest:
        kind = None
    if kind is None:
        message = f"{text} is none of the types that are written: {', '.join(_SPELLED)}"
        raise ValueError(message)
    if encoding is None:
        return kind
    if kind is not TIMESTAMP or not _FORM.fullmatch(encoding):
        message = f"{encoding!r} is no encoding of {text}"
        raise ValueError(message)
    return TargetType(kind=Kind.TIMESTAMP, form=encoding)
