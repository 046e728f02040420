"""Expressions of SQLite's SQL in PostgreSQL's: faithful, or not at all.

sqlglot reads them; what is written is decided here, node by node, by the types in which the columns
stand on the target. Whatever has no rule is refused with a reason. An expression may end in an
error where SQLite goes on (an integer overflow, which turns into a real there), but it never gives
another value. https://sqlite.org/lang_expr.html
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from migration_assets.mapping import functions
from migration_assets.mapping.affinity import affinity_of, apply_affinity
from migration_assets.mapping.patterns import glob_as_regex
from migration_assets.mapping.statements import fold_name
from migration_assets.mapping.typed import (
    C,
    Columns,
    Shape,
    Typed,
    UntranslatableError,
    as_condition,
    as_number,
    as_text,
    literal,
    of_column,
    same_shape,
    target_literal,
)
from migration_assets.mapping.values import fitter
from migration_assets.model import (
    Affinity,
    Kind,
    SqliteValue,
)

_INT64 = range(-(2**63), 2**63)
_DEEPEST = 100  # brackets within brackets; the parser and this are recursive

# Of these kinds, one form's text orders as its moments do.
_ORDERED = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME})
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}
_EQUALITIES = frozenset({"=", "<>", "IS NOT DISTINCT FROM", "IS DISTINCT FROM"})
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
}
# SQLite gives these one precedence, from left to right; the parser gives them two. || binds tighter
# than arithmetic there. Where that could matter, nothing is translated.
_SAME_LEVEL = (
    exp.Is,
    exp.In,
    exp.Like,
    exp.Glob,
    exp.Between,
    exp.Escape,
    exp.Not,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.RegexpLike,
)
Resolve: TypeAlias = Callable[[exp.Column], Typed | None]


def parse(text: str) -> exp.Expr:
    """Read an expression. Raises `UntranslatableError`."""
    if text.count("(") > _DEEPEST:
        raise UntranslatableError("too many brackets to be read safely")
    statement = parse_statement(f"SELECT ({text}\n)")
    if not isinstance(statement, exp.Select) or len(statement.expressions) != 1:
        raise UntranslatableError("not a single expression")
    found = statement.expressions[0]
    return found.this if isinstance(found, exp.Paren) else found


def parse_statement(text: str) -> exp.Expr:
    """Read a statement of SQLite's. Raises `UntranslatableError`."""
    try:
        return sqlglot.parse_one(text, read="sqlite")
    except (SqlglotError, RecursionError) as error:
        raise UntranslatableError("sqlglot can't read it") from error


def condition(text: str, columns: Columns) -> str:
    """Translate a condition of a CHECK or a partial index. Raises `UntranslatableError`."""
    return as_condition(expression(text, columns))


def expression(text: str, columns: Columns) -> Typed:
    """Translate an expression over these columns, by folded name. Raises `UntranslatableError`."""

    def resolve(node: exp.Column) -> Typed | None:
        found = columns.get(fold_name(node.name))
        return of_column(found) if found else None

    return Translator(resolve).translate(parse(text))


class Translator:
    """Translates the nodes of one statement; `resolve` finds the columns they name."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.rules: dict[type[exp.Expr], Callable[[exp.Expr], Typed]] = {
            exp.Paren: lambda node: self._bracketed(node.this),
            exp.Column: self._column,
            exp.Literal: _literal,
            exp.HexString: lambda node: literal(bytes.fromhex(node.name)),
            exp.Null: lambda _: literal(None),
            exp.Boolean: lambda node: literal(int(bool(node.this))),
            exp.Neg: self._negative,
            exp.And: lambda node: self._joined(node, "AND"),
            exp.Or: lambda node: self._joined(node, "OR"),
            exp.Not: self._not,
            exp.Is: self._is,
            exp.In: self.listed,
            exp.Between: self._between,
            exp.Like: lambda node: self._like(node, escape=""),
            exp.Escape: self._escape,
            exp.Glob: self._glob,
            exp.DPipe: self._concatenated,
            exp.Collate: self._collated,
            exp.Case: self._case,
            exp.If: self._if,
            exp.Cast: self._cast,
        }

    def translate(self, node: exp.Expr) -> Typed:
        """Translate one node with all below it. Raises `UntranslatableError`."""
        _refuse_ambiguity(node)
        if type(node) in _COMPARISONS:
            pair = self.translate(node.this), self.translate(node.expression)
            return compare(_COMPARISONS[type(node)], *pair)
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        rule = self.rules.get(type(node))
        return rule(node) if rule else functions.call(node, self.translate)

    def _bracketed(self, node: exp.Expr) -> Typed:
        found = self.translate(node)
        return found if found.literal else replace(found, sql=f"({found.sql})")

    def _column(self, node: exp.Expr) -> Typed:
        if not isinstance(node, exp.Column):
            raise UntranslatableError("a column of another form")
        found = self.resolve(node)
        if found is not None:
            return found
        quoted = isinstance(node.this, exp.Identifier) and node.this.quoted
        if quoted and not node.table:
            return literal(node.name)  # a text in double quotes (https://sqlite.org/quirks.html, 8)
        raise UntranslatableError(f"{node.name}, which is no column on the target")

    def _negative(self, node: exp.Expr) -> Typed:
        found = as_number(self.translate(node.this))
        if found.literal and isinstance(found.value, int | float):
            return literal(_number(-found.value))
        return replace(found, sql=f"(- {found.sql})", operand=None, collation=None)

    def _joined(self, node: exp.Expr, word: str) -> Typed:
        parts = [as_condition(self.translate(part)) for part in (node.this, node.expression)]
        return _condition(f"({parts[0]} {word} {parts[1]})")

    def _not(self, node: exp.Expr) -> Typed:
        if isinstance(node.this, exp.Is) and isinstance(node.this.expression, exp.Null):
            return _condition(f"({self.translate(node.this.this).sql} IS NOT NULL)")
        return _condition(f"(NOT {as_condition(self.translate(node.this))})")

    def _is(self, node: exp.Expr) -> Typed:
        left, right = self.translate(node.this), node.expression
        if isinstance(right, exp.Null):
            return _condition(f"({left.sql} IS NULL)")
        if isinstance(right, exp.Boolean):
            return _condition(f"({as_condition(left)} IS {'TRUE' if right.this else 'FALSE'})")
        return compare("IS NOT DISTINCT FROM", left, self.translate(right))

    def listed(self, node: exp.Expr) -> Typed:
        """Translate IN over a list."""
        members = node.expressions
        if not members or node.args.get("query") or node.args.get("field"):
            raise UntranslatableError("IN over another query")
        left = self.translate(node.this)
        # To the right of IN a column has neither affinity nor collation to give.
        right = [replace(self.translate(member), collation=None) for member in members]
        tests = [compare("=", left, member).sql for member in right]
        return _condition(f"({' OR '.join(tests)})")

    def _between(self, node: exp.Expr) -> Typed:
        left = self.translate(node.this)
        low = compare(">=", left, self.translate(node.args["low"]))
        high = compare("<=", left, self.translate(node.args["high"]))
        return _condition(f"({low.sql} AND {high.sql})")

    def _like(self, node: exp.Expr, *, escape: str) -> Typed:
        """LIKE folds ASCII whatever the collation is, and has no escape unless one is named."""
        left, pattern = as_text(self.translate(node.this)), self.translate(node.expression)
        if escape.isalpha():
            raise UntranslatableError("LIKE with a letter as its escape")
        if pattern.shape is not Shape.TEXT:
            raise UntranslatableError("LIKE with a pattern that is no text")
        word = "NOT LIKE" if node.args.get("negate") else "LIKE"
        return _condition(
            f"(pg_catalog.lower({left.sql} {C}) {word} pg_catalog.lower({pattern.sql} {C})"
            f" ESCAPE {target_literal(escape)})"
        )

    def _escape(self, node: exp.Expr) -> Typed:
        escape = self.translate(node.expression).value
        if not isinstance(node.this, exp.Like) or not isinstance(escape, str) or len(escape) != 1:
            raise UntranslatableError("ESCAPE with anything but one character")
        return self._like(node.this, escape=escape)

    def _glob(self, node: exp.Expr) -> Typed:
        left, pattern = as_text(self.translate(node.this)), self.translate(node.expression)
        if not isinstance(pattern.value, str):
            raise UntranslatableError("GLOB with a pattern that is no constant")
        regex = target_literal(glob_as_regex(pattern.value))
        sign = "!~" if node.args.get("negate") else "~"
        return _condition(f"(({left.sql} {C}) {sign} {regex})")

    def _concatenated(self, node: exp.Expr) -> Typed:
        left, right = (as_text(self.translate(n)) for n in (node.this, node.expression))
        return Typed(sql=f"({left.sql}::text || {right.sql}::text)", shape=Shape.TEXT)

    def _collated(self, node: exp.Expr) -> Typed:
        name = node.expression.name.upper()
        if name not in ("BINARY", "NOCASE", "RTRIM"):
            raise UntranslatableError(f"collation {name}")
        found = self.translate(node.this)
        return replace(found, collation="" if name == "BINARY" else name, explicit=True)

    def _case(self, node: exp.Expr) -> Typed:
        subject = self.translate(node.this) if node.this else None
        branches: list[tuple[str, Typed]] = []
        for branch in node.args["ifs"]:
            tested = self.translate(branch.this)
            test = compare("=", subject, tested).sql if subject else as_condition(tested)
            branches.append((test, self.translate(branch.args["true"])))
        other = node.args.get("default")
        return _cases(branches, self.translate(other) if other else literal(None))

    def _if(self, node: exp.Expr) -> Typed:
        other = node.args.get("false")
        branch = as_condition(self.translate(node.this)), self.translate(node.args["true"])
        return _cases([branch], self.translate(other) if other else literal(None))

    def _cast(self, node: exp.Expr) -> Typed:
        return functions.cast_to(self.translate(node.this), affinity_of(node.args["to"].sql()))

    def _arithmetic(self, node: exp.Expr) -> Typed:
        left, right = (as_number(self.translate(n)) for n in (node.this, node.expression))
        sign = _ARITHMETIC[type(node)]
        real = Shape.REAL in (left.shape, right.shape)
        if real and sign == "%":
            raise UntranslatableError("the rest of a division of reals")
        by = right.sql
        if sign in "/%" and not (right.literal and right.value):
            by = f"nullif({by}, 0)"  # in SQLite a division by zero is NULL
        kind = "double precision" if real else "bigint"
        return Typed(
            sql=f"({left.sql}::{kind} {sign} {by}::{kind})",
            shape=Shape.REAL if real else Shape.INTEGER,
        )


def compare(sign: str, left: Typed, right: Typed) -> Typed:
    """Compare as SQLite does: with the column's affinity, and under its collation."""
    if Shape.NULL in (left.shape, right.shape):
        return _with_null(sign, left, right)
    if left.literal and not right.literal:
        return _condition(f"({_fitted(right, left, sign)} {sign} {_plain(right, left, sign)})")
    if right.literal and not left.literal:
        return _condition(f"({_plain(left, right, sign)} {sign} {_fitted(left, right, sign)})")
    return _compare_two(sign, left, right)


def _with_null(sign: str, left: Typed, right: Typed) -> Typed:
    if sign not in ("IS NOT DISTINCT FROM", "IS DISTINCT FROM"):
        return _condition("NULL::boolean")
    other = left if right.shape is Shape.NULL else right
    word = "IS NULL" if sign == "IS NOT DISTINCT FROM" else "IS NOT NULL"
    return _condition(f"({other.sql} {word})")


def _plain(found: Typed, constant: Typed, sign: str) -> str:
    """Return the side of a comparison that isn't the constant."""
    if found.shape is Shape.CONDITION and not _as_boolean(found, constant, sign):
        return as_number(found).sql
    return _collated(found, _collation(found, constant), sign)


def _as_boolean(found: Typed, constant: Typed, sign: str) -> bool:
    value = _with_affinity(found, constant.value)
    return sign in _EQUALITIES and value in (0, 1) and not isinstance(value, bytes | str)


def _fitted(found: Typed, constant: Typed, sign: str) -> str:
    """Return a constant as it compares with an expression, in that one's type."""
    value = _with_affinity(found, constant.value)
    match found.shape:
        case Shape.CONVERTED if found.operand:
            return _converted(found, value, sign)
        case Shape.CONDITION if _as_boolean(found, constant, sign):
            return "true" if value else "false"
        case Shape.INTEGER | Shape.REAL | Shape.NUMBER | Shape.CONDITION if isinstance(
            value, int | float
        ):
            # as a numeric it compares exactly with integers, and as a double with doubles
            return (
                repr(value)
                if isinstance(value, float) and isfinite(value)
                else target_literal(value)
            )
        case Shape.TEXT if isinstance(value, str):
            return _collated(literal(value), _collation(found, constant), sign)
        case Shape.BYTES if isinstance(value, bytes):
            return target_literal(value)
        case _:
            raise UntranslatableError("a comparison of values of different types")


def _with_affinity(found: Typed, value: SqliteValue) -> SqliteValue:
    """Give a constant the affinity of the column that it is compared with.

    https://sqlite.org/datatype3.html, section 4.2.
    """
    if found.operand is None:
        return value
    affinity = affinity_of(found.operand.column.declared)
    if affinity in (Affinity.INTEGER, Affinity.REAL):
        affinity = Affinity.NUMERIC
    return apply_affinity(value, affinity)


def _converted(found: Typed, value: SqliteValue, sign: str) -> str:
    """Convert a constant as the values of the column are converted."""
    if found.operand is None:
        raise UntranslatableError("a comparison of values of different types")
    column = found.operand.column
    if sign not in _EQUALITIES and (column.type.kind not in _ORDERED or found.collation):
        raise UntranslatableError(f"the order of {column.name}, which differs on the target")
    fit = fitter(replace(column, not_null=False))(value)
    if fit.reason:
        raise UntranslatableError(f"a constant beside {column.name}: {fit.reason}")
    return target_literal(fit.value)


def _compare_two(sign: str, left: Typed, right: Typed) -> Typed:
    shapes = {left.shape, right.shape}
    if shapes == {Shape.CONVERTED}:
        return _condition(f"({left.sql} {sign} {_same_type(left, right, sign)})")
    if Shape.CONDITION in shapes and (len(shapes) > 1 or sign not in _EQUALITIES):
        left, right = (as_number(x) if x.shape is Shape.CONDITION else x for x in (left, right))
        shapes = {left.shape, right.shape}
    if len(shapes) > 1 and shapes != {Shape.INTEGER, Shape.NUMBER}:
        raise UntranslatableError("a comparison of values of different types")
    if Shape.NUMBER in shapes and Kind.DOUBLE in _kinds(left, right) != {Kind.DOUBLE}:
        raise UntranslatableError("a comparison of a double with an exact number")
    under = _collation(left, right)
    return _condition(f"({_collated(left, under, sign)} {sign} {_collated(right, under, sign)})")


def _kinds(left: Typed, right: Typed) -> set[Kind]:
    return {x.operand.column.type.kind if x.operand else Kind.BIGINT for x in (left, right)}


def _same_type(left: Typed, right: Typed, sign: str) -> str:
    mine, yours = left.operand, right.operand
    if mine is None or yours is None or mine.column.type != yours.column.type:
        raise UntranslatableError("a comparison of values of different types")
    affinities = {affinity_of(o.column.declared) for o in (mine, yours)}
    ordered = mine.column.type.kind in _ORDERED and not (left.collation or right.collation)
    if len(affinities) > 1 or (sign not in _EQUALITIES and not ordered):
        raise UntranslatableError("a comparison whose result differs on the target")
    return right.sql


def keeps_order(found: Typed) -> bool:
    """Tell whether values stand in the order that SQLite has them in."""
    if found.shape is not Shape.CONVERTED:
        return True
    kind = found.operand.column.type.kind if found.operand else None
    return kind in _ORDERED and not found.collation


def _collation(left: Typed, right: Typed) -> str:
    """Return the collation of a comparison: the one written, else the left side's, if any.

    https://sqlite.org/datatype3.html, section 7.1.
    """
    if right.explicit and not left.explicit:
        return right.collation or ""
    return left.collation if left.collation is not None else right.collation or ""


def _collated(found: Typed, collation: str, sign: str) -> str:
    """Return one side of a comparison under a collation; only text has one."""
    if found.shape is not Shape.TEXT:
        return found.sql
    return collated(found.sql, collation, ordered=sign not in _EQUALITIES)


def collated(sql: str, collation: str, *, ordered: bool) -> str:
    """Return text as SQLite's collation sees it; equal text is equal under any of PostgreSQL's."""
    if collation == "NOCASE":
        return f"pg_catalog.lower({sql} {C})"
    if collation == "RTRIM":
        return f"pg_catalog.rtrim({sql} {C}, ' ')"
    return f"({sql} {C})" if ordered else sql


def _condition(sql: str) -> Typed:
    return Typed(sql=sql, shape=Shape.CONDITION)


def _cases(branches: Sequence[tuple[str, Typed]], other: Typed) -> Typed:
    """Return CASE over results of one type."""
    results = [result for _, result in branches]
    found = other
    for result in results:
        found = replace(found, shape=same_shape(found, result))
    whens = " ".join(f"WHEN {test} THEN {result.sql}" for test, result in branches)
    return Typed(sql=f"(CASE {whens} ELSE {other.sql} END)", shape=found.shape)


def _literal(node: exp.Expr) -> Typed:
    if not isinstance(node, exp.Literal):
        raise UntranslatableError("a constant of another form")
    if node.is_string:
        return literal(node.name)
    return literal(_number(int(node.name) if node.name.isdecimal() else float(node.name)))


def _number(value: float) -> int | float:
    """Return a number as SQLite holds it: an integer beyond 64 bits is a real."""
    return float(value) if isinstance(value, int) and value not in _INT64 else value


def _refuse_ambiguity(node: exp.Expr) -> None:
    """Refuse what the parser may have read with other precedences than SQLite's."""
    sides = [part for part in (node.args.get("this"), node.args.get("expression")) if part]
    if type(node) in _COMPARISONS or isinstance(node, _SAME_LEVEL[:-4]):
        mixed = any(isinstance(side, _SAME_LEVEL) for side in sides)
        if mixed and not isinstance(node, exp.Escape):
            raise UntranslatableError("comparisons in a row without brackets")
    if isinstance(node, exp.DPipe) and any(type(side) in _ARITHMETIC for side in sides):
        raise UntranslatableError("|| beside arithmetic without brackets")
    if isinstance(node, exp.Collate) and not isinstance(
        node.this, exp.Column | exp.Paren | exp.Literal
    ):
        raise UntranslatableError("COLLATE after an expression without brackets")
