"""SQLite's functions in PostgreSQL's SQL (https://sqlite.org/lang_corefunc.html), by name.

Only those are here whose result is the same for every value the arguments may have.
"""

import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from migration_assets.mapping.typed import (
    NUMBERS,
    C,
    Shape,
    Typed,
    UntranslatableError,
    as_condition,
    as_number,
    as_text,
    literal,
    pattern_of,
    same_shape,
)
from migration_assets.model import Affinity

Translate = Callable[[exp.Expr], Typed]
Arguments = Sequence[Typed]

_NOW = "(pg_catalog.statement_timestamp() AT TIME ZONE 'UTC')"
_DATE, _TIME = "YYYY-MM-DD", "HH24:MI:SS"
_MOMENTS = {"date": _DATE, "time": _TIME, "timestamp": f"{_DATE} {_TIME}"}
# strftime's letters in to_char's patterns: https://sqlite.org/lang_datefunc.html, section 4
_LETTERS = {
    "Y": "YYYY",
    "m": "MM",
    "d": "DD",
    "H": "HH24",
    "M": "MI",
    "S": "SS",
    "j": "DDD",
    "F": _DATE,
    "T": _TIME,
}
_FORMAT = re.compile(r"%(.)|([^%]+)", re.DOTALL)
# What sqlglot calls the functions that it knows, with the arguments in SQLite's order.
_KNOWN: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.Abs: ("abs", ("this",)),
    exp.Date: ("date", ("this", "zone", "expressions")),
    exp.Coalesce: ("coalesce", ("this", "expressions")),
    exp.Greatest: ("max", ("this", "expressions")),
    exp.Least: ("min", ("this", "expressions")),
    exp.Length: ("length", ("this",)),
    exp.Lower: ("lower", ("this",)),
    exp.Nullif: ("nullif", ("this", "expression")),
    exp.Replace: ("replace", ("this", "expression", "replacement")),
    exp.StrPosition: ("instr", ("this", "substr")),
    exp.Substring: ("substr", ("this", "start", "length")),
    exp.Typeof: ("typeof", ("this",)),
    exp.Upper: ("upper", ("this",)),
}


def call(node: exp.Expr, translate: Translate) -> Typed:
    """Translate a function call. Raises `UntranslatableError` for any other node."""
    if type(node) in (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime):
        return now(type(node).__name__.removeprefix("Current").lower())
    if isinstance(node, exp.Trim):
        return _trim(node, translate)
    if isinstance(node, exp.TimeToStr):
        return _strftime(node, translate)
    if type(node) in _KNOWN:
        name, fields = _KNOWN[type(node)]
        given: list[exp.Expr] = []
        for field in fields:
            value = node.args.get(field)
            given += value if isinstance(value, list) else [value] if value is not None else []
    elif isinstance(node, exp.Anonymous):
        name, given = node.name.lower(), node.expressions
    else:
        raise UntranslatableError(f"{_called(node)} has no rule")
    rule = _RULES.get(name)
    if rule is None:
        raise UntranslatableError(f"{name}() has no rule")
    return rule([translate(part) for part in given])


def _called(node: exp.Expr) -> str:
    return node.sql_name() if isinstance(node, exp.Func) else type(node).__name__.upper()


def now(moment: str) -> Typed:
    """Return the present moment as SQLite writes it: in UTC, whole seconds."""
    return Typed(
        sql=f"pg_catalog.to_char({_NOW}, '{_MOMENTS[moment]}')", shape=Shape.TEXT, moment=moment
    )


def moment_as(moment: str, kind: str) -> str:
    """Return the present moment in a type of the target."""
    return f"pg_catalog.date_trunc('second', {_NOW})::{kind}" if moment else ""


def cast_to(found: Typed, affinity: Affinity) -> Typed:
    """Translate CAST, where the value says all of its result."""
    if found.shape is Shape.NULL:
        return found
    match affinity:
        case Affinity.TEXT:
            return as_text(found)
        case Affinity.REAL if found.shape in NUMBERS:
            return Typed(sql=f"({found.sql})::double precision", shape=Shape.REAL)
        case Affinity.INTEGER if found.digits:
            return Typed(sql=f"({found.sql})::bigint", shape=Shape.INTEGER)
        case Affinity.INTEGER if as_number(found).shape is Shape.INTEGER:
            return as_number(found)
        case Affinity.INTEGER:
            return Typed(sql=f"pg_catalog.trunc({found.sql})::bigint", shape=Shape.INTEGER)
        case _:
            raise UntranslatableError("CAST to a type without a rule")


def _take(arguments: Arguments, least: int, most: int | None = None) -> Arguments:
    if not least <= len(arguments) <= (most or least):
        raise UntranslatableError("a function with another number of arguments")
    return arguments


def _text(sql: str) -> Typed:
    return Typed(sql=sql, shape=Shape.TEXT)


def _integer(sql: str) -> Typed:
    return Typed(sql=sql, shape=Shape.INTEGER)


def _abs(arguments: Arguments) -> Typed:
    found = as_number(_take(arguments, 1)[0])
    return Typed(sql=f"pg_catalog.abs({found.sql})", shape=found.shape)


def _coalesce(arguments: Arguments) -> Typed:
    first = _take(arguments, 2, 100)[0]
    for other in arguments[1:]:
        first = Typed(sql="", shape=same_shape(first, other))
    return Typed(sql=f"coalesce({', '.join(a.sql for a in arguments)})", shape=first.shape)


def _extreme(word: str) -> Callable[[Arguments], Typed]:
    def rule(arguments: Arguments) -> Typed:
        """SQLite's is NULL as soon as one argument is."""
        _take(arguments, 2, 100)
        shapes = {as_number(a).shape for a in arguments}
        if len(shapes) > 1 or Shape.NULL in shapes:
            raise UntranslatableError("values of different types in one expression")
        values = [as_number(a).sql for a in arguments]
        missing = " OR ".join(f"{value} IS NULL" for value in values)
        listed = f"{word}({', '.join(values)})"
        sql = f"(CASE WHEN {missing} THEN NULL ELSE {listed} END)"
        return Typed(sql=sql, shape=shapes.pop())

    return rule


def _length(arguments: Arguments) -> Typed:
    found = _take(arguments, 1)[0]
    sql = found.sql if found.shape is Shape.BYTES else as_text(found).sql
    return _integer(f"pg_catalog.length({sql})::bigint")


def _folding(name: str) -> Callable[[Arguments], Typed]:
    def rule(arguments: Arguments) -> Typed:
        """ASCII alone, as SQLite has it."""
        return _text(f"pg_catalog.{name}({as_text(_take(arguments, 1)[0]).sql} {C})")

    return rule


def _nullif(arguments: Arguments) -> Typed:
    left, right = _take(arguments, 2)
    if left.collation or same_shape(left, right) is Shape.NUMBER:
        raise UntranslatableError("nullif() of values that compare in another way")
    return Typed(sql=f"nullif({left.sql}, {right.sql})", shape=left.shape)


def _replace(arguments: Arguments) -> Typed:
    texts = [as_text(a).sql for a in _take(arguments, 3)]
    return _text(f"pg_catalog.replace({', '.join(texts)})")


def _instr(arguments: Arguments) -> Typed:
    texts = [as_text(a).sql for a in _take(arguments, 2)]
    return _integer(f"pg_catalog.strpos({', '.join(texts)})::bigint")


def _substr(arguments: Arguments) -> Typed:
    """From the first character on, from one counted from the end, or the first so many."""
    text, start, *rest = _take(arguments, 2, 3)
    sql, at = as_text(text).sql, start.value if start.literal else None
    if not rest:
        return _text(_rest_of(sql, as_number(start), at))
    count = as_number(rest[0])
    if count.shape is not Shape.INTEGER or not isinstance(at, int) or at < 1:
        raise UntranslatableError("substr() from a place that isn't a constant from 1 on")
    if count.literal and isinstance(count.value, int) and count.value >= 0:
        return _text(f"pg_catalog.substr({sql}, {at}, {count.value})")
    if at != 1:
        raise UntranslatableError("substr() with a length that may be negative")
    first = f"CASE WHEN {count.sql} < 0 THEN 0 ELSE {count.sql} END"
    return _text(f"pg_catalog.substr({sql}, 1, ({first})::integer)")


def _rest_of(sql: str, start: Typed, at: object) -> str:
    if start.shape is not Shape.INTEGER:
        raise UntranslatableError("substr() from a place that is no integer")
    if isinstance(at, int) and at != 0:
        return f"pg_catalog.right({sql}, {-at})" if at < 0 else f"pg_catalog.substr({sql}, {at})"
    last = f"pg_catalog.right({sql}, (- {start.sql})::integer)"
    first = f"pg_catalog.substr({sql}, ({start.sql})::integer)"
    return (
        f"(CASE WHEN {start.sql} < 0 THEN {last} WHEN {start.sql} = 0 THEN {sql} ELSE {first} END)"
    )


def _typeof(arguments: Arguments) -> Typed:
    found = _take(arguments, 1)[0]
    names = {
        Shape.INTEGER: "integer",
        Shape.CONDITION: "integer",
        Shape.REAL: "real",
        Shape.TEXT: "text",
        Shape.BYTES: "blob",
        Shape.NULL: "null",
    }
    name = names.get(found.shape, "")
    if found.operand and pattern_of(found.operand.column):
        name = "text"
    if not name:
        raise UntranslatableError("typeof() of values of several storage classes")
    return _text(f"(CASE WHEN {found.sql} IS NULL THEN 'null' ELSE '{name}' END)")


def _moment(moment: str) -> Callable[[Arguments], Typed]:
    def rule(arguments: Arguments) -> Typed:
        found = _take(arguments, 0, 1)[0] if arguments else literal("now")
        if found.value == "now":
            return now(moment)
        return _printed(found, _MOMENTS[moment])

    return rule


def _printed(found: Typed, pattern: str) -> Typed:
    """Print a date or a timestamp of whole seconds in another way."""
    own = pattern_of(found.operand.column) if found.operand else ""
    if not own or own.endswith(("MS", "US")):
        raise UntranslatableError("a date function over what is no date or whole second")
    return _text(f"pg_catalog.to_char({found.sql}::timestamp, '{pattern}')")


def _strftime(node: exp.Expr, translate: Translate) -> Typed:
    moment = node.this.this if isinstance(node.this, exp.TsOrDsToTimestamp) else node.this
    wanted = node.args.get("format")
    if not isinstance(wanted, exp.Literal):
        raise UntranslatableError("strftime() with a format that is no constant")
    pattern = _pattern(wanted.name)
    given = translate(moment)
    found = now("timestamp") if given.value == "now" else _printed(given, pattern)
    if given.value == "now":
        found = _text(f"pg_catalog.to_char({_NOW}, '{pattern}')")
    digits = all(letter in "YmdHMSj" for letter in wanted.name.replace("%", ""))
    return Typed(sql=found.sql, shape=Shape.TEXT, digits=digits)


def _pattern(wanted: str) -> str:
    parts: list[str] = []
    for letter, between in _FORMAT.findall(wanted):
        if between and not {'"', "\\", "'"} & set(between):
            parts.append(f'"{between}"')
        elif letter in _LETTERS:
            parts.append(_LETTERS[letter])
        else:
            raise UntranslatableError(f"strftime() with %{letter}" if letter else "strftime()")
    return "".join(parts)


def _trim(node: exp.Trim, translate: Translate) -> Typed:
    side = str(node.args.get("position") or "").upper()
    name = {"": "btrim", "LEADING": "ltrim", "TRAILING": "rtrim"}[side]
    given = [node.this, node.expression] if node.expression else [node.this]
    texts = [as_text(translate(part)).sql for part in given]
    return _text(f"pg_catalog.{name}({', '.join(texts)})")


def _iif(arguments: Arguments) -> Typed:
    test, yes, no = _take(arguments, 3)
    shape = same_shape(yes, no)
    sql = f"(CASE WHEN {as_condition(test)} THEN {yes.sql} ELSE {no.sql} END)"
    return Typed(sql=sql, shape=shape)


_RULES: dict[str, Callable[[Arguments], Typed]] = {
    "abs": _abs,
    "coalesce": _coalesce,
    "date": _moment("date"),
    "datetime": _moment("timestamp"),
    "ifnull": _coalesce,
    "iif": _iif,
    "instr": _instr,
    "length": _length,
    "lower": _folding("lower"),
    "max": _extreme("greatest"),
    "min": _extreme("least"),
    "nullif": _nullif,
    "replace": _replace,
    "substr": _substr,
    "substring": _substr,
    "time": _moment("time"),
    "typeof": _typeof,
    "upper": _folding("upper"),
}
