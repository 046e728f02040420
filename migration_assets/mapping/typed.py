"""What translated SQL is made of: an expression in PostgreSQL's SQL, and what it holds.

SQLite compares and computes by the storage class of each value, PostgreSQL by the type of an
expression. A translation is right only where the type says which class every value had, so each
expression carries its shape.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, auto
from uuid import UUID

from migration_assets.mapping.affinity import affinity_of
from migration_assets.model import (
    Affinity,
    ColumnMapping,
    Kind,
    SqliteValue,
    TargetValue,
)

C = 'COLLATE pg_catalog."C"'  # compares and orders by bytes, and folds ASCII only
_INT32 = range(-(2**31), 2**31)
_NUMERIC_AFFINITIES = (Affinity.INTEGER, Affinity.NUMERIC, Affinity.BLOB)
_TEXT_FORMS = {f"{separator}{digits}" for separator in " T" for digits in (0, 3, 6)}
_FRACTIONS = {
    "0": "",
    "3": ".MS",
    "6": ".US",
}  # https://www.postgresql.org/docs/current/functions-formatting.html


class UntranslatableError(Exception):
    """What keeps an expression from being translated, in words."""


class Shape(Enum):
    """What the values of an expression are in SQLite.

    `NUMBER` are integers and reals mixed, as a column of NUMERIC affinity holds them; `CONDITION`
    is a boolean that SQLite has as 0 and 1; `CONVERTED` is text or a number in SQLite that stands
    in another type on the target.
    """

    INTEGER = auto()
    REAL = auto()
    NUMBER = auto()
    TEXT = auto()
    BYTES = auto()
    CONDITION = auto()
    CONVERTED = auto()
    NULL = auto()


NUMBERS = (Shape.INTEGER, Shape.REAL, Shape.NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A column as expressions see it: its mapping, and the collation it is compared under.

    `sql` is its name, quoted and qualified as it has to be.
    """

    sql: str
    column: ColumnMapping
    collation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """An expression in PostgreSQL's SQL with what it holds.

    `literal` tells a constant, whose `value` is SQLite's. `operand` is the column that it is, if
    it is one. `collation` is the one that comparisons take from it: None where it has none to give;
    one that was written after it is `explicit`, and goes before a column's.
    `digits` tells text of digits alone; `moment` is `date`, `time` or `timestamp` where it is the
    text of the present moment.
    """

    sql: str
    shape: Shape
    value: SqliteValue = None
    literal: bool = False
    operand: Operand | None = None
    collation: str | None = None
    explicit: bool = False
    digits: bool = False
    moment: str = ""


def identifier(name: str) -> str:
    """Quote a name for PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """Quote a text for PostgreSQL; raises `UntranslatableError` where it can't hold it."""
    if "\0" in value:
        raise UntranslatableError("text with a NUL character, which PostgreSQL can't hold")
    return "'" + value.replace("'", "''") + "'"


def literal(value: SqliteValue) -> Typed:
    """Return a constant of SQLite's."""
    if value is None:
        return Typed(sql="NULL", shape=Shape.NULL, literal=True)
    if isinstance(value, int):
        return Typed(sql=target_literal(value), shape=Shape.INTEGER, value=value, literal=True)
    if isinstance(value, float):
        return Typed(sql=target_literal(value), shape=Shape.REAL, value=value, literal=True)
    if isinstance(value, bytes):
        return Typed(sql=target_literal(value), shape=Shape.BYTES, value=value, literal=True)
    if isinstance(value, str):
        return Typed(sql=target_literal(value), shape=Shape.TEXT, value=value, literal=True)
    raise UntranslatableError("text that is not UTF-8")


def target_literal(value: TargetValue) -> str:  # noqa: C901, PLR0911 - one line a type
    """Spell a value of the target as a constant of its type."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value in _INT32 and value >= 0 else f"'{value}'::bigint"
    if isinstance(value, float):
        spelled = ("-" if value < 0 else "") + "Infinity" if math.isinf(value) else repr(value)
        return f"'{spelled}'::double precision"
    if isinstance(value, Decimal):
        return f"'{value:f}'::numeric"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, datetime):
        kind = "timestamp with time zone" if value.tzinfo else "timestamp"
        return f"'{value.isoformat(' ')}'::{kind}"
    if isinstance(value, date):
        return f"'{value.isoformat()}'::date"
    if isinstance(value, time):
        return f"'{value.isoformat()}'::time"
    if isinstance(value, UUID):
        return f"'{value}'::uuid"
    return text_literal(value)


def shape_of(column: ColumnMapping) -> Shape:  # noqa: PLR0911 - one line a type
    """Return what the values of a column are in SQLite, by its type and its affinity."""
    kind, affinity = column.type.kind, affinity_of(column.declared)
    if kind in (Kind.TEXT, Kind.JSON):
        return Shape.TEXT
    if kind is Kind.BYTEA:
        return Shape.BYTES
    if column.type.form:
        return Shape.CONVERTED
    if kind is Kind.BIGINT and affinity in _NUMERIC_AFFINITIES:
        return Shape.INTEGER
    if kind is Kind.DOUBLE and affinity in (Affinity.REAL, Affinity.BLOB):
        return Shape.REAL
    if kind in (Kind.DOUBLE, Kind.NUMERIC) and affinity is not Affinity.TEXT:
        return Shape.NUMBER
    if kind is Kind.BOOLEAN and affinity in _NUMERIC_AFFINITIES:
        return Shape.CONDITION
    return Shape.CONVERTED


def of_column(operand: Operand) -> Typed:
    """Return a column as an expression."""
    column = operand.column
    if column.cast:
        raise UntranslatableError(f"{column.name} stands on the target as a cast of its values")
    sql = f"{operand.sql}::text" if column.type.kind is Kind.JSON else operand.sql
    return Typed(sql=sql, shape=shape_of(column), operand=operand, collation=operand.collation)


def as_condition(found: Typed) -> str:
    """Return an expression as a boolean, as SQLite takes it for true or false."""
    if found.shape is Shape.CONDITION:
        return found.sql
    if found.shape in NUMBERS:
        return f"({found.sql} <> 0)"
    if found.shape is Shape.NULL:
        return "NULL::boolean"
    raise UntranslatableError("text or bytes as a condition")


def as_number(found: Typed) -> Typed:
    """Return an expression to compute with: integers, reals, or NULL."""
    if found.shape is Shape.CONDITION:
        return Typed(sql=f"({found.sql})::integer::bigint", shape=Shape.INTEGER)
    if found.shape in (Shape.INTEGER, Shape.REAL, Shape.NULL):
        return found
    if found.shape is Shape.NUMBER:
        raise UntranslatableError(
            "arithmetic on numbers that are exact in PostgreSQL and integers or binary in SQLite"
        )
    raise UntranslatableError("arithmetic on what is no number")


def as_text(found: Typed) -> Typed:
    """Return an expression as the text that SQLite would make of it."""
    if found.shape in (Shape.TEXT, Shape.NULL):
        return found
    if found.shape in (Shape.INTEGER, Shape.CONDITION):
        return Typed(sql=f"({as_number(found).sql})::text", shape=Shape.TEXT)
    if found.shape is Shape.CONVERTED and found.operand:
        return Typed(sql=_printed(found.operand), shape=Shape.TEXT, collation=found.collation)
    raise UntranslatableError("numbers or bytes as text, which SQLite writes in its own way")


def pattern_of(column: ColumnMapping) -> str:
    """Return how `to_char` prints a date or timestamp as SQLite has it; '' where it can't."""
    if column.type.kind is Kind.DATE and not column.type.form:
        return "YYYY-MM-DD"
    if column.type.kind is Kind.TIMESTAMP and column.type.form in _TEXT_FORMS:
        separator = '"T"' if column.type.form[0] == "T" else " "
        return f"YYYY-MM-DD{separator}HH24:MI:SS{_FRACTIONS[column.type.form[1]]}"
    return ""


def _printed(operand: Operand) -> str:
    pattern = pattern_of(operand.column)
    if not pattern:
        raise UntranslatableError(f"{operand.column.name}, whose text isn't kept as such")
    moment = f"{operand.sql}::timestamp" if pattern == "YYYY-MM-DD" else operand.sql
    return f"pg_catalog.to_char({moment}, '{pattern}')"


def same_shape(left: Typed, right: Typed) -> Shape:
    """Return the shape that both branches of an expression have."""
    if Shape.NULL in (left.shape, right.shape):
        return right.shape if left.shape is Shape.NULL else left.shape
    if left.shape is right.shape and left.shape is not Shape.CONVERTED:
        return left.shape
    raise UntranslatableError("values of different types in one expression")


Columns = Mapping[str, Operand]
