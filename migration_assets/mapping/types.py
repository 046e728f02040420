"""Which PostgreSQL types a declared type may become, narrowest first."""

import re
from dataclasses import replace

from migration_assets.mapping.affinity import affinity_of
from migration_assets.mapping.encodings import default_form, form_of
from migration_assets.model import (
    Affinity,
    Kind,
    SourceTable,
    TargetType,
)

BIGINT = TargetType(kind=Kind.BIGINT)
DOUBLE = TargetType(kind=Kind.DOUBLE)
TEXT = TargetType(kind=Kind.TEXT)
BYTEA = TargetType(kind=Kind.BYTEA)
NUMERIC = TargetType(kind=Kind.NUMERIC)
BOOLEAN = TargetType(kind=Kind.BOOLEAN)
DATE = TargetType(kind=Kind.DATE)
JSON = TargetType(kind=Kind.JSON)
# The forms of these come from the census.
TIMESTAMP = TargetType(kind=Kind.TIMESTAMP)
TIMESTAMPTZ = TargetType(kind=Kind.TIMESTAMPTZ)
TIME = TargetType(kind=Kind.TIME)
UUID = TargetType(kind=Kind.UUID)

# Equality in an index of these is equality of bytes, so two source rows never become one.
# That holds for types with a form too: it is one for the whole column, and one to one.
KEY_KINDS = frozenset(Kind) - {Kind.DOUBLE, Kind.NUMERIC, Kind.JSON}

_DECIMAL_WORDS = ("DEC", "NUM", "MONEY", "CURRENCY")
_PRECISION = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
# numeric's declared precision: https://www.postgresql.org/docs/current/datatype-numeric.html
_MAX_PRECISION = 1000


_NUMBERS_OR_TEXT = (BIGINT, NUMERIC, TEXT, BYTEA)
_BY_WORD = {
    BOOLEAN: (BOOLEAN, BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA),
    DATE: (DATE, TIMESTAMP, TIMESTAMPTZ, *_NUMBERS_OR_TEXT),
    TIMESTAMP: (TIMESTAMP, TIMESTAMPTZ, DATE, *_NUMBERS_OR_TEXT),
    TIMESTAMPTZ: (TIMESTAMPTZ, TIMESTAMP, DATE, *_NUMBERS_OR_TEXT),
    TIME: (TIME, *_NUMBERS_OR_TEXT),
    JSON: (JSON, BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA),
    UUID: (UUID, BIGINT, NUMERIC, DOUBLE, TEXT, BYTEA),
}
_JSON_WORDS = ("JSON", "JSONB")
_UUID_WORDS = ("UUID", "GUID", "UNIQUEIDENTIFIER")
_ZONED = re.compile(
    r"TIMESTAMPTZ.*|DATETIMEOFFSET.*|(TIMESTAMP|DATETIME)\b.*\bWITH (LOCAL )?TIME ZONE.*"
)
_TIME_OF_DAY = re.compile(r"TIME( WITHOUT TIME ZONE)?( *\(.*\))?")


def _word_type(upper: str) -> TargetType | None:  # noqa: PLR0911 - one line a word
    """Return the type that a declaration names, where SQLite's affinity doesn't say it."""
    if "BOOL" in upper:
        return BOOLEAN
    if upper == "DATE":
        return DATE
    if _ZONED.fullmatch(upper):
        return TIMESTAMPTZ
    if upper.startswith(("DATETIME", "TIMESTAMP")):
        return TIMESTAMP
    if _TIME_OF_DAY.fullmatch(upper):
        return TIME
    if upper in _JSON_WORDS:
        return JSON
    return UUID if upper in _UUID_WORDS else None


def ladder(declared: str) -> tuple[TargetType, ...]:
    """Return the types to try for a declared type, in order; the first is its natural one."""
    upper = declared.upper().strip()
    if (first := _word_type(upper)) is not None:
        return _BY_WORD[first]
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
    if (named := _word_type(upper)) is not None:
        return replace(named, form=default_form(named.kind))
    unknown = affinity_of(declared) is Affinity.NUMERIC and not upper.startswith(_DECIMAL_WORDS)
    return TEXT if not upper or unknown else ladder(declared)[0]


def compared(table: SourceTable) -> frozenset[str]:
    """Return the columns that keys, indexes and foreign keys compare: json knows no equality."""
    members = (
        table.key,
        *(index.columns for index in table.indexes),
        *(key.columns for key in table.foreign_keys),
    )
    return frozenset(name for names in members for name in names)


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


# Spellings that `type:` in the settings takes, and those that PostgreSQL knows and this doesn't.
_SPELLINGS: dict[str, Kind] = {
    **{kind.value: kind for kind in Kind},
    "int8": Kind.BIGINT,
    "float8": Kind.DOUBLE,
    "float": Kind.DOUBLE,
    "varchar": Kind.TEXT,
    "character varying": Kind.TEXT,
    "decimal": Kind.NUMERIC,
    "bool": Kind.BOOLEAN,
    "timestamp without time zone": Kind.TIMESTAMP,
    "timestamp with time zone": Kind.TIMESTAMPTZ,
    "time without time zone": Kind.TIME,
}
_WHOLE = "whole numbers are carried as bigint: write `bigint`"
_PADDED = "blanks at its end would not be kept: write `text`"
_NOT_TAKEN = {
    **dict.fromkeys(("integer", "int", "int4", "smallint", "int2"), _WHOLE),
    **dict.fromkeys(("real", "float4"), "it rounds to 4 bytes: write `double precision`"),
    **dict.fromkeys(("char", "character", "bpchar"), _PADDED),
    "jsonb": "it does not keep the text as it is: write `json`",
    **dict.fromkeys(("timetz", "time with time zone"), "write `time` or `text`"),
}
_SPELLED = re.compile(r"(.*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


def parse(text: str, encoding: str | None = None) -> TargetType:
    """Return the type that the settings name, as PostgreSQL spells it; `encoding` gives its form.

    Without an encoding the form of a type that has one is `encodings.OPEN`: the kind is fixed, and
    `encodings.settle` takes the form from the census. The length of a varchar is no part of the
    type. Raises ValueError with what is expected instead.
    """
    word, precision, scale = _spelled(text)
    if word in _NOT_TAKEN:
        message = f"type {text!r}: {_NOT_TAKEN[word]}"
        raise ValueError(message)
    if word not in _SPELLINGS:
        message = f"type {text!r} is not known; expected one of {', '.join(Kind)}"
        raise ValueError(message)
    kind = _SPELLINGS[word]
    form = form_of(kind, (encoding or "").strip())
    if kind is Kind.NUMERIC and precision is not None:
        scale = scale or 0
        if not (1 <= precision <= _MAX_PRECISION and scale <= precision):
            message = f"type {text!r}: expected 1 to {_MAX_PRECISION} digits, the scale among them"
            raise ValueError(message)
        return TargetType(kind=kind, precision=precision, scale=scale, form=form)
    if precision is not None and (kind is not Kind.TEXT or word == "text" or scale is not None):
        message = f"type {text!r}: expected {kind.value} without a precision"
        raise ValueError(message)
    return TargetType(kind=kind, form=form)


def _spelled(text: str) -> tuple[str, int | None, int | None]:
    """Return the words of a type in lower case, and its numbers."""
    match = _SPELLED.fullmatch(text.strip())
    words, first, second = match.groups() if match else (text, None, None)
    word = " ".join(words.lower().split())
    return word, int(first) if first else None, int(second) if second else None
