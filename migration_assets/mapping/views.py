"""Views of SQLite's in PostgreSQL's SQL, over the tables and columns as the target names them.

A view is translated clause by clause; one clause without a rule, and the whole view is listed with
the reason. What a view gives, its readers see: conditions as 0 and 1, as at the source; columns in
the types of the target.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from migration_assets.mapping import functions
from migration_assets.mapping.names import column_names, unique_name
from migration_assets.mapping.objects import VIEW, operands_of
from migration_assets.mapping.statements import fold_name
from migration_assets.mapping.translate import (
    Translator,
    collated,
    compare,
    keeps_order,
    parse_statement,
)
from migration_assets.mapping.typed import (
    Shape,
    Typed,
    UntranslatableError,
    as_condition,
    as_number,
    as_text,
    identifier,
    of_column,
    same_shape,
)
from migration_assets.model import DeferredObject, SourceTable, TableMapping

# What a SELECT, a join and an aggregate may have; anything else has no rule.
_SELECT = frozenset(
    {"expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset"}
    | {"distinct", "with_"}
)
_JOIN = frozenset({"this", "on", "using", "side", "kind"})
_TABLE = frozenset({"this", "alias"})
_SETS: dict[type[exp.Expr], str] = {
    exp.Union: "UNION",
    exp.Intersect: "INTERSECT",
    exp.Except: "EXCEPT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    """A column of something to select from: its name on the target, and what it holds."""

    target: str
    typed: Typed

    def of(self, alias: str) -> Typed:
        """Return the column as an expression, qualified by an alias."""
        sql = f"{alias}.{identifier(self.target)}"
        if self.typed.operand:
            return of_column(replace(self.typed.operand, sql=sql))
        return Typed(sql=sql, shape=self.typed.shape)


_Outputs = Mapping[str, _Output]  # by the source's name, folded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relation:
    sql: str
    outputs: _Outputs


@dataclass(slots=True, kw_only=True)
class _Scope:
    """What a SELECT may select from (`known`), what it does (`columns` by alias), and the outer."""

    known: dict[str, _Relation]
    outer: "_Scope | None" = None
    columns: dict[str, dict[str, Typed]] = field(default_factory=dict[str, dict[str, Typed]])
    results: dict[str, Typed] = field(default_factory=dict[str, Typed])

    def resolve(self, node: exp.Column) -> Typed | None:
        """Return the column that a name means here, or in the query around this one."""
        name, table = fold_name(node.name), fold_name(node.table)
        for alias, columns in self.columns.items():
            if name in columns and (not table or alias == table):
                return columns[name]
        if not table and name in self.results:
            return self.results[name]
        return self.outer.resolve(node) if self.outer else None


def translate_views(
    views: Mapping[str, str], tables: Iterable[tuple[SourceTable, TableMapping]]
) -> tuple[DeferredObject, ...]:
    """Translate views over these tables; one comes after those that it reads."""
    known: dict[str, _Relation] = {}
    taken: set[str] = set()
    for table, mapping in tables:
        taken |= {mapping.target_table, mapping.key_name, *(i.name for i in mapping.indexes)}
        known[fold_name(table.name)] = _Relation(
            sql=identifier(mapping.target_table), outputs=_columns_of(table, mapping)
        )
    found: list[DeferredObject] = []
    left = dict(sorted(views.items()))
    reads = {name: _names_in(_read(text)) for name, text in left.items()}
    while left:
        waiting = {fold_name(name) for name in left}
        ready = [n for n in left if not (reads[n] & waiting) - {fold_name(n)}] or list(left)
        for name in ready:
            target = unique_name(name, taken)
            taken.add(target)
            found.append(_view(name, target, left.pop(name), known))
    return tuple(found)


def _columns_of(table: SourceTable, mapping: TableMapping) -> _Outputs:
    """Return the columns of a table; one that stands there as a cast of its values is none."""
    return {
        name: _Output(target=operand.column.target, typed=of_column(operand))
        for name, operand in operands_of(table, mapping.columns).items()
        if not operand.column.cast
    }


def _read(text: str) -> exp.Expr | None:
    try:
        return parse_statement(text)
    except UntranslatableError:
        return None


def _names_in(statement: exp.Expr | None) -> set[str]:
    """Return the folded names of all that a statement selects from."""
    tables = statement.find_all(exp.Table) if statement else ()
    return {fold_name(table.name) for table in tables}


def _view(name: str, target: str, text: str, known: dict[str, _Relation]) -> DeferredObject:
    try:
        statement = parse_statement(text)
        if not isinstance(statement, exp.Create) or statement.args.get("kind") != "VIEW":
            raise UntranslatableError("sqlglot can't read it")  # noqa: TRY301 - as any other
        listed = isinstance(statement.this, exp.Schema)
        names = [column.name for column in statement.this.expressions] if listed else []
        query, outputs = _query(statement.expression, _Scope(known=known), names)
    except (UntranslatableError, RecursionError) as error:
        problem = str(error)
        return DeferredObject(kind=VIEW, name=target, definition="", original=text, problem=problem)
    known[fold_name(name)] = _Relation(sql=identifier(target), outputs=outputs)
    return DeferredObject(kind=VIEW, name=target, definition=query, original=text)


def _query(node: exp.Expr, outer: _Scope, names: Sequence[str] = ()) -> tuple[str, _Outputs]:
    """Translate a query; return its SQL, and its columns."""
    while isinstance(node, exp.Subquery | exp.Paren):
        _allow(node, {"this", "alias"})
        node = node.this
    if type(node) in _SETS:
        return _set(node, outer, names)
    if not isinstance(node, exp.Select):
        raise UntranslatableError(f"{type(node).__name__.upper()} has no rule")
    return _Select(node, outer).compose(names)


def _set(node: exp.Expr, outer: _Scope, names: Sequence[str]) -> tuple[str, _Outputs]:
    _allow(node, {"this", "expression", "distinct"})
    left, mine = _query(node.this, outer, names)
    right, yours = _query(node.expression, outer)
    if len(mine) != len(yours):
        raise UntranslatableError("queries of different columns in one set")
    for a, b in zip(mine.values(), yours.values(), strict=True):
        _require_alike(a.typed, b.typed)
    word = _SETS[type(node)] + ("" if node.args.get("distinct") else " ALL")
    return f"({left}) {word} ({right})", mine


def _require_alike(left: Typed, right: Typed) -> None:
    """Require values that both queries have in one type, and compare as bytes do."""
    if left.collation or right.collation:
        raise UntranslatableError("a set of queries over text under a collation")
    types = [typed.operand.column.type for typed in (left, right) if typed.operand]
    if len(types) == 2 and types[0] == types[1]:  # noqa: PLR2004 - both are columns
        return
    if same_shape(left, right) not in (Shape.INTEGER, Shape.REAL, Shape.TEXT, Shape.BYTES):
        raise UntranslatableError("values of different types in one set of queries")


def _allow(node: exp.Expr, allowed: Iterable[str]) -> None:
    unknown = sorted(key for key, value in node.args.items() if value and key not in allowed)
    if unknown:
        raise UntranslatableError(f"{unknown[0].strip('_').upper()} has no rule here")


class _Select(Translator):
    """Translates one SELECT, with what only a query has: aggregates, and queries within it."""

    def __init__(self, node: exp.Select, outer: _Scope) -> None:
        _allow(node, _SELECT)
        self.node = node
        self.scope = _Scope(known=dict(outer.known), outer=outer)
        super().__init__(self.scope.resolve)
        self.rules |= {
            exp.Count: self._count,
            exp.Sum: self._sum,
            exp.Avg: self._average,
            exp.Min: lambda node: self._extreme(node, "min"),
            exp.Max: lambda node: self._extreme(node, "max"),
            exp.GroupConcat: self._listed,
            exp.Subquery: self._scalar,
            exp.Anonymous: self._called,
            exp.Exists: lambda node: _truth(f"EXISTS ({_query(node.this, self.scope)[0]})"),
            exp.In: self._within,
        }

    def compose(self, names: Sequence[str]) -> tuple[str, _Outputs]:
        """Put the clauses together; `names` are those that a view gives to its columns."""
        given = {key: value for key, value in self.node.args.items() if value}
        with_ = self._with(given["with_"]) if "with_" in given else ""
        source = self._from(given) if "from_" in given else ""
        named = self._results(names)
        self.scope.results = {fold_name(name): typed for name, typed in named}
        targets = column_names([name for name, _ in named])
        if len(targets) < len(named):
            raise UntranslatableError("two columns of one name")
        listed = [f"{typed.sql} AS {identifier(targets[name])}" for name, typed in named]
        if "distinct" in given and any(typed.collation for _, typed in named):
            raise UntranslatableError("DISTINCT over text under a collation")
        word = "SELECT DISTINCT" if "distinct" in given else "SELECT"
        parts = [f"{with_}{word} {', '.join(listed)}", source, *self._rest(given)]
        outputs = {
            fold_name(name): _Output(target=targets[name], typed=typed) for name, typed in named
        }
        return " ".join(part for part in parts if part), outputs

    def _rest(self, given: Mapping[str, exp.Expr]) -> Iterable[str]:
        if "where" in given:
            yield f"WHERE {as_condition(self.translate(given['where'].this))}"
        if "group" in given:
            _allow(given["group"], {"expressions"})
            yield f"GROUP BY {', '.join(map(self._group, given['group'].expressions))}"
        if "having" in given:
            yield f"HAVING {as_condition(self.translate(given['having'].this))}"
        if "order" in given:
            yield f"ORDER BY {', '.join(map(self._order, given['order'].expressions))}"
        for key in ("limit", "offset"):
            if key in given:
                yield f"{key.upper()} {_whole(given[key].expression)}"

    def _with(self, node: exp.Expr) -> str:
        _allow(node, {"expressions"})
        made: list[str] = []
        for part in node.expressions:
            _allow(part, {"this", "alias"})
            alias = part.args["alias"]
            names = [column.name for column in alias.args.get("columns") or ()]
            query, outputs = _query(part.this, self.scope, names)
            name = identifier(fold_name(alias.name))
            self.scope.known[fold_name(alias.name)] = _Relation(sql=name, outputs=outputs)
            made.append(f"{name} AS ({query})")
        return f"WITH {', '.join(made)} "

    def _from(self, given: Mapping[str, exp.Expr]) -> str:
        sql = "FROM " + self._relation(given["from_"].this)[0]
        joins: Sequence[exp.Expr] = self.node.args.get("joins") or ()
        return " ".join([sql, *map(self._join, joins)])

    def _join(self, node: exp.Expr) -> str:
        _allow(node, _JOIN)
        side, on = str(node.args.get("side") or ""), node.args.get("on")
        before = dict(self.scope.columns)
        sql, alias = self._relation(node.this)
        tests: list[str] = []
        if on:
            tests.append(as_condition(self.translate(on)))
        for column in node.args.get("using") or ():
            name = fold_name(column.name)
            left = next((c[name] for c in before.values() if name in c), None)
            right = self.scope.columns[alias].get(name)
            if left is None or right is None or side in ("RIGHT", "FULL"):
                raise UntranslatableError("USING over columns that aren't plain")
            tests.append(compare("=", left, right).sql)
        if not tests:
            if side:
                tests = ["true"]
            else:
                return f"CROSS JOIN {sql}"
        return f"{side} JOIN {sql} ON {' AND '.join(tests)}".strip()

    def _relation(self, node: exp.Expr) -> tuple[str, str]:
        """Add what is selected from to the scope; return its SQL, and its folded alias."""
        _allow(node, _TABLE)
        name = fold_name(node.alias_or_name) or f"q{len(self.scope.columns)}"
        alias = identifier(name)
        if isinstance(node, exp.Subquery):
            query, outputs = _query(node.this, replace(self.scope, columns={}))
            sql = f"({query})"
        else:
            found = self.scope.known.get(fold_name(node.name))
            if not isinstance(node, exp.Table) or found is None:
                raise UntranslatableError(f"{node.name or 'it reads'}, which is not carried")
            sql, outputs = found.sql, found.outputs
        self.scope.columns[name] = {key: output.of(alias) for key, output in outputs.items()}
        return f"{sql} AS {alias}", name

    def _results(self, names: Sequence[str]) -> list[tuple[str, Typed]]:
        """Return the columns of the result by name; a view may name them anew."""
        found: list[tuple[str, Typed]] = []
        for node in self.node.expressions:
            star = isinstance(node, exp.Star) or isinstance(node.this, exp.Star)
            if star and not isinstance(node, exp.Count):
                found += self._all(node)
                continue
            inner = node.this if isinstance(node, exp.Alias) else node
            name = node.alias_or_name or node.sql("sqlite")
            found.append((name, _shown(self.translate(inner))))
        if names and len(names) != len(found):
            raise UntranslatableError("another number of columns than it names")
        return [(names[i] if names else name, typed) for i, (name, typed) in enumerate(found)]

    def _all(self, node: exp.Expr) -> list[tuple[str, Typed]]:
        table = fold_name(node.args["table"].name) if node.args.get("table") else ""
        if any(join.args.get("using") for join in self.node.args.get("joins") or ()):
            raise UntranslatableError("* over a join with USING")
        return [
            (name, typed)
            for alias, columns in self.scope.columns.items()
            if not table or alias == table
            for name, typed in columns.items()
        ]

    def _group(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Literal):
            return str(_whole(node))
        found = self.translate(node)
        if found.collation:
            raise UntranslatableError("GROUP BY over text under a collation")
        return found.sql

    def _order(self, node: exp.Expr) -> str:
        found = node.this
        if isinstance(found, exp.Literal):
            place = _whole(found)
            found = self.node.expressions[place - 1].unalias() if place else found
        own = isinstance(found, exp.Column) and not found.table
        named = self.scope.results.get(fold_name(found.name)) if own else None
        typed = named or self.translate(found)
        if not keeps_order(typed):
            raise UntranslatableError("ORDER BY values whose order differs on the target")
        sql = typed.sql
        if typed.shape is Shape.TEXT:
            sql = collated(sql, typed.collation or "", ordered=True)
        direction = " DESC" if node.args.get("desc") else ""
        return f"{sql}{direction} NULLS {'FIRST' if node.args.get('nulls_first') else 'LAST'}"

    def _counted(self, node: exp.Expr) -> tuple[Typed, str]:
        """Return what an aggregate is over, and DISTINCT where each value counts once."""
        distinct = isinstance(node.this, exp.Distinct)
        inner = node.this.expressions[0] if distinct else node.this
        found = self.translate(inner)
        if distinct and found.collation:
            raise UntranslatableError("DISTINCT over text under a collation")
        return found, "DISTINCT " if distinct else ""

    def _count(self, node: exp.Expr) -> Typed:
        if isinstance(node.this, exp.Star):
            return Typed(sql="pg_catalog.count(*)", shape=Shape.INTEGER)
        found, distinct = self._counted(node)
        return Typed(sql=f"pg_catalog.count({distinct}{found.sql})", shape=Shape.INTEGER)

    def _sum(self, node: exp.Expr) -> Typed:
        found, distinct = self._counted(node)
        number = as_number(found)
        sql = f"pg_catalog.sum({distinct}{number.sql})"
        if number.shape is Shape.INTEGER:  # a sum of bigint is numeric
            sql = f"({sql})::bigint"
        return Typed(sql=sql, shape=number.shape)

    def _called(self, node: exp.Expr) -> Typed:
        if node.name.lower() != "total" or len(node.expressions) != 1:
            return functions.call(node, self.translate)
        values = as_number(self.translate(node.expressions[0])).sql
        sql = f"coalesce(pg_catalog.sum({values})::double precision, 0)"
        return Typed(sql=sql, shape=Shape.REAL)

    def _average(self, node: exp.Expr) -> Typed:
        found, distinct = self._counted(node)
        values = f"{distinct}{as_number(found).sql}"
        sql = f"(pg_catalog.sum({values})::double precision / pg_catalog.count({values}))"
        return Typed(sql=sql, shape=Shape.REAL)

    def _extreme(self, node: exp.Expr, word: str) -> Typed:
        found, _ = self._counted(node)
        if found.shape is Shape.CONDITION:
            found = as_number(found)
        if not keeps_order(found) or found.collation:
            raise UntranslatableError(f"{word}() of values whose order differs on the target")
        sql = collated(found.sql, "", ordered=True) if found.shape is Shape.TEXT else found.sql
        sql = f"pg_catalog.{word}({sql})"
        operand = replace(found.operand, sql=sql) if found.operand else None
        return replace(found, sql=sql, operand=operand)

    def _listed(self, node: exp.Expr) -> Typed:
        _allow(node, {"this", "separator"})
        found, distinct = self._counted(node)
        if distinct:
            raise UntranslatableError("group_concat() of distinct values")
        separator = node.args.get("separator")
        between = as_text(self.translate(separator)).sql if separator else "','"
        sql = f"pg_catalog.string_agg({as_text(found).sql}::text, {between})"
        return Typed(sql=sql, shape=Shape.TEXT)

    def _scalar(self, node: exp.Expr) -> Typed:
        query, outputs = _query(node, self.scope)
        if len(outputs) != 1:
            raise UntranslatableError("a query of several columns as a value")
        (output,) = outputs.values()
        return Typed(sql=f"({query})", shape=output.typed.shape)

    def _within(self, node: exp.Expr) -> Typed:
        query = node.args.get("query")
        if not query:
            return self.listed(node)
        left = self.translate(node.this)
        sql, outputs = _query(query, self.scope)
        (output,) = outputs.values()
        compare("=", left, output.typed)
        if left.collation:
            raise UntranslatableError("IN over text under a collation")
        return _truth(f"{left.sql} IN ({sql})")


def _shown(found: Typed) -> Typed:
    """Return a result as a view shows it: a condition as 0 and 1, a constant in its type."""
    if found.operand:
        return found
    if found.shape is Shape.CONDITION:
        return as_number(found)
    kinds = {Shape.TEXT: "text", Shape.NULL: "text", Shape.INTEGER: "bigint"}
    kind = kinds.get(found.shape)
    return Typed(sql=f"({found.sql})::{kind}" if kind else found.sql, shape=found.shape)


def _truth(sql: str) -> Typed:
    return Typed(sql=f"({sql})", shape=Shape.CONDITION)


def _whole(node: exp.Expr) -> int:
    if not isinstance(node, exp.Literal) or not node.name.isdecimal():
        raise UntranslatableError("a place or a limit that is no number")
    return int(node.name)
