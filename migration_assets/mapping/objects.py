"""The schema objects of a table: what of the source's declaration becomes what on the target.

A pure function of the source's table, the types of its columns and the names on the target: known
tables come to the same result every week. What the server refused at the first load is taken out
again by `without`, and an object that was refused once isn't asked for again (`as_sealed`).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from migration_assets.mapping.affinity import affinity_of, apply_affinity
from migration_assets.mapping.functions import moment_as
from migration_assets.mapping.names import DECLARED_KEY, TableNames, unique_name
from migration_assets.mapping.statements import Member, fold_name, parse_index
from migration_assets.mapping.translate import Translator, collated, condition, expression, parse
from migration_assets.mapping.typed import (
    NUMBERS,
    Columns,
    Operand,
    Shape,
    Typed,
    UntranslatableError,
    as_number,
    as_text,
    identifier,
    literal,
    shape_of,
    target_literal,
)
from migration_assets.mapping.values import fitter
from migration_assets.model import (
    Affinity,
    ColumnMapping,
    DeferredObject,
    IndexMapping,
    Kind,
    SourceColumn,
    SourceForeignKey,
    SourceIndex,
    SourceTable,
    TableMapping,
)

CHECK, LENGTH, FOREIGN_KEY, VIEW = "check", "length", "foreign key", "view"
DEFAULT, GENERATED, INDEX = "default", "generated", "index"
# Tried when the table is made, so at cutover there is nothing left to do for them.
NOT_MADE = (DEFAULT, GENERATED, INDEX)
_LENGTH = re.compile(r"\(\s*(\d+)\s*\)")
_LONGEST = 10_485_760  # https://www.postgresql.org/docs/current/datatype-character.html
# In which types of a column the present moment of SQLite's stands, by what is asked for.
_MOMENTS = {
    ("timestamp", Kind.TIMESTAMP): "timestamp",
    ("date", Kind.DATE): "date",
    ("time", Kind.TIME): "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An object of the target, or what is deferred or refused in its place."""

    sql: str = ""
    refused: tuple[DeferredObject, ...] = ()


def with_objects(mapping: TableMapping, table: SourceTable, names: TableNames) -> TableMapping:
    """Return the mapping with the defaults, identity, generated columns and indexes of its table.

    The mapping has its columns and its key; the result isn't sealed.
    """
    operands = operands_of(table, mapping.columns)
    refused: list[DeferredObject] = []
    columns: list[ColumnMapping] = []
    declared = {c.name: c for c in table.columns}
    for column in mapping.columns:
        source = declared.get(column.name)
        if source is None:
            columns.append(column)
            continue
        default = _default(source, column)
        generated = _generated(source, column, operands)
        refused += (*default.refused, *generated.refused)
        columns.append(
            replace(
                column,
                default=default.sql,
                generated=generated.sql,
                identity=_numbers_rows(table, column, mapping.key),
            )
        )
    indexes, problems = _indexes(table, mapping.key, names, operands)
    deferred = (
        *refused,
        *problems,
        *_checks(table, mapping, operands),
        *_lengths(mapping.columns),
        *_foreign_keys(table, mapping, names),
    )
    return replace(mapping, columns=tuple(columns), indexes=indexes, deferred=deferred)


def operands_of(
    table: SourceTable, columns: Iterable[ColumnMapping], qualifier: str = ""
) -> Columns:
    """Return the columns of a table by folded name, as expressions see them."""
    collations = {c.name: c.collation for c in table.columns}
    before = f"{identifier(qualifier)}." if qualifier else ""
    return {
        fold_name(c.name): Operand(
            sql=before + identifier(c.target), column=c, collation=collations.get(c.name, "")
        )
        for c in columns
    }


def without(mapping: TableMapping, refused: Collection[DeferredObject]) -> TableMapping:
    """Return the mapping without objects that the server refused, which it then lists."""
    by_kind = {kind: {o.name for o in refused if o.kind == kind} for kind in NOT_MADE}
    columns = tuple(
        replace(
            c,
            default="" if c.target in by_kind[DEFAULT] else c.default,
            generated="" if c.target in by_kind[GENERATED] else c.generated,
        )
        for c in mapping.columns
    )
    indexes = tuple(i for i in mapping.indexes if i.name not in by_kind[INDEX])
    return replace(
        mapping, columns=columns, indexes=indexes, deferred=(*refused, *mapping.deferred)
    )


def as_sealed(wanted: TableMapping, sealed: TableMapping) -> TableMapping:
    """Return a mapping without what the server refused for the sealed one, in the same words."""
    asked = {
        *((DEFAULT, c.target, c.default) for c in wanted.columns),
        *((GENERATED, c.target, c.generated) for c in wanted.columns),
        *((INDEX, i.name, _definition(wanted, i)) for i in wanted.indexes),
    }
    known = [o for o in sealed.deferred if o.definition and (o.kind, o.name, o.definition) in asked]
    return without(wanted, known) if known else wanted


def refused_default(column: ColumnMapping, source: SourceTable, problem: str) -> DeferredObject:
    """Return a default that the server refused."""
    original = {c.name: c.default for c in source.columns}.get(column.name, "")
    return DeferredObject(
        kind=DEFAULT,
        name=column.target,
        definition=column.default,
        original=original,
        problem=problem,
    )


def refused_generated(column: ColumnMapping, source: SourceTable, problem: str) -> DeferredObject:
    """Return a generated column that stands as a plain one."""
    original = {c.name: c.expression for c in source.columns}.get(column.name, "")
    return DeferredObject(
        kind=GENERATED,
        name=column.target,
        definition=column.generated,
        original=original,
        problem=problem,
    )


def refused_index(
    mapping: TableMapping, index: IndexMapping, source: SourceTable, problem: str
) -> DeferredObject:
    """Return an index that the server refused."""
    shape = (index.columns, index.unique)
    named = [
        i.sql
        for i in source.indexes
        if i.sql and index.original in (i.sql, "") and (i.columns, i.unique) == shape
    ]
    return DeferredObject(
        kind=INDEX,
        name=index.name,
        definition=_definition(mapping, index),
        original=named[0] if named else _described(index),
        problem=problem,
    )


def is_plain(index: IndexMapping) -> bool:
    """Tell whether an index is over the values of its columns, in all rows."""
    if not index.definition:
        return not index.nocase
    written = parse_index(f"INDEX ON t {index.definition}")
    return written is not None and not written.predicate and all(m.column for m in written.members)


def _definition(mapping: TableMapping, index: IndexMapping) -> str:
    if index.definition:
        return index.definition
    return f"({', '.join(identifier(mapping.column(name).target) for name in index.columns)})"


def _described(index: IndexMapping) -> str:
    return f"{'UNIQUE' if index.unique else 'INDEX'} ({', '.join(index.columns)})"


def _numbers_rows(table: SourceTable, column: ColumnMapping, key: tuple[str, ...]) -> bool:
    """Tell whether new rows get their key from this column, as a rowid does."""
    return (
        column.name == table.rowid_alias
        and key == (column.name,)
        and column.type.kind is Kind.BIGINT
        and not column.cast
    )


def _default(source: SourceColumn, column: ColumnMapping) -> _Found:
    if not source.default:
        return _Found()
    try:
        return _Found(sql=default_of(source.default, column))
    except UntranslatableError as error:
        return _refused(DEFAULT, column.target, source.default, error)


def default_of(text: str, column: ColumnMapping) -> str:
    """Translate a default, empty where it is NULL. Raises `UntranslatableError`."""
    if column.cast:
        raise UntranslatableError("the column stands on the target as a cast of its values")
    node = parse(text)
    if isinstance(node, exp.Column) and not node.table:
        found = literal(node.name)  # a bare word is a text there
    else:
        found = Translator(lambda _: None).translate(node)
    if found.literal:
        return _constant(found, column)
    if found.moment and shape_of(column) is not Shape.TEXT:
        kind = _MOMENTS.get((found.moment, column.type.kind))
        if kind is None:
            raise UntranslatableError(f"the present {found.moment} in a {column.type.sql}")
        return moment_as(found.moment, kind)
    return in_column(found, column)


def _constant(found: Typed, column: ColumnMapping) -> str:
    """Convert a constant as the values of the column are."""
    value = apply_affinity(found.value, affinity_of(column.declared))
    if value is None:
        return ""
    fit = fitter(column)(value)
    if fit.reason:
        raise UntranslatableError(fit.reason)
    return target_literal(fit.value)


def _generated(source: SourceColumn, column: ColumnMapping, operands: Columns) -> _Found:
    if not source.generated:
        return _Found()
    try:
        return _Found(sql=generated_of(source.expression, column, operands))
    except UntranslatableError as error:
        return _refused(GENERATED, column.target, source.expression, error)


def generated_of(text: str, column: ColumnMapping, operands: Columns) -> str:
    """Translate the expression of a generated column. Raises `UntranslatableError`."""
    if not text:
        raise UntranslatableError("its expression could not be read")
    if column.cast:
        raise UntranslatableError("the column stands on the target as a cast of its values")
    return in_column(expression(text, operands), column)


def in_column(found: Typed, column: ColumnMapping) -> str:  # noqa: C901, PLR0911 - one line a type
    """Return an expression as its column stores it, by affinity and type.

    Raises `UntranslatableError` where the type doesn't say what SQLite would store.
    """
    wanted, affinity = shape_of(column), affinity_of(column.declared)
    if found.shape is Shape.NULL:
        return "NULL"
    match wanted:
        case Shape.TEXT if affinity is Affinity.TEXT:
            return as_text(found).sql
        case Shape.TEXT | Shape.BYTES if affinity is Affinity.BLOB and found.shape is wanted:
            return found.sql
        case Shape.BYTES if found.shape is wanted:
            return found.sql
        case Shape.INTEGER if found.digits and affinity is not Affinity.BLOB:
            return f"({found.sql})::bigint"
        case Shape.INTEGER if found.shape in (Shape.INTEGER, Shape.CONDITION):
            return as_number(found).sql
        case Shape.REAL if found.shape is Shape.REAL:
            return found.sql
        case Shape.REAL if found.shape is Shape.INTEGER and affinity is Affinity.REAL:
            return f"({found.sql})::double precision"
        case Shape.NUMBER if found.shape in NUMBERS and found.shape is not Shape.REAL:
            return f"({found.sql})::{column.type.kind.value}"
        case Shape.CONDITION if found.shape is Shape.CONDITION:
            return found.sql
        case _:
            raise UntranslatableError(f"its result isn't known to be {column.type.sql}")


def _indexes(
    table: SourceTable, key: tuple[str, ...], names: TableNames, operands: Columns
) -> tuple[tuple[IndexMapping, ...], tuple[DeferredObject, ...]]:
    """Return secondary indexes with their target names, and those that can't be translated.

    The declared key is an index of its own where another one serves as the target's key, and where
    it takes values for equal that aren't the same bytes.
    """
    wanted = list(table.indexes)
    folded = tuple(c.name for c in table.columns if c.key and c.collation == "NOCASE")
    if table.key and (table.key != key or folded):
        own = SourceIndex(name=DECLARED_KEY, columns=table.key, unique=True, nocase=folded)
        wanted.insert(0, own)
    mapped: list[IndexMapping] = []
    refused: list[DeferredObject] = []
    for index in wanted:
        if index.unique and index.columns == key and not (index.nocase or index.reason):
            continue  # the key itself
        try:
            mapped.append(_index(index, names.indexes[index.name], operands))
        except UntranslatableError as error:
            original = index.sql or index.name
            refused += _refused(INDEX, names.indexes[index.name], original, error).refused
    return tuple(mapped), tuple(refused)


def _index(index: SourceIndex, name: str, operands: Columns) -> IndexMapping:
    plain = IndexMapping(name=name, columns=index.columns, unique=index.unique, nocase=index.nocase)
    if not (index.reason or index.descending or index.rtrim):
        return plain
    declared = parse_index(index.sql) if index.sql else None
    if declared is None and (index.reason or index.sql):
        raise UntranslatableError(index.reason or "its statement could not be read")
    members = declared.members if declared else tuple(_members(index))
    definition = f"({', '.join(_member(member, operands) for member in members)})"
    if declared and declared.predicate:
        definition += f" WHERE {condition(declared.predicate, operands)}"
    return replace(plain, definition=definition, original=index.sql)


def _members(index: SourceIndex) -> Iterable[Member]:
    """Return the members of an index that a constraint made."""
    for name in index.columns:
        under = "NOCASE" if name in index.nocase else "RTRIM" if name in index.rtrim else ""
        quoted = '"' + name.replace('"', '""') + '"'
        yield Member(expression=quoted, collation=under, descending=name in index.descending)


def _member(member: Member, operands: Columns) -> str:
    found = expression(member.expression, operands)
    if found.literal:
        raise UntranslatableError("a constant, which is no member of an index on the target")
    if member.collation not in ("", "BINARY", "NOCASE", "RTRIM"):
        raise UntranslatableError(f"collation {member.collation}")
    sql = found.sql if found.operand and found.sql == found.operand.sql else f"({found.sql})"
    under = member.collation.replace("BINARY", "") if member.collation else found.collation or ""
    if found.shape is Shape.TEXT and under:
        sql = collated(found.sql, under, ordered=True)
    return f"{sql} DESC" if member.descending else sql


def _checks(
    table: SourceTable, mapping: TableMapping, operands: Columns
) -> Iterable[DeferredObject]:
    taken: set[str] = set()
    for number, text in enumerate(table.checks, start=1):
        name = unique_name(f"{mapping.target_table}_check{number}", taken)
        taken.add(name)
        definition, problem = "", ""
        try:
            definition = f"CHECK ({condition(text, operands)})"
        except UntranslatableError as error:
            problem = str(error)
        yield DeferredObject(
            kind=CHECK, name=name, definition=definition, original=text, problem=problem
        )


def length_limit(declared: str) -> int | None:
    """Return how many characters a declared type allows, if it says so."""
    match = _LENGTH.search(declared)
    limit = int(match[1]) if match and affinity_of(declared) is Affinity.TEXT else 0
    return limit if 1 <= limit <= _LONGEST else None


def _lengths(columns: Iterable[ColumnMapping]) -> Iterable[DeferredObject]:
    for column in columns:
        limit = length_limit(column.declared)
        if limit and column.type.kind is Kind.TEXT and not column.cast:
            yield DeferredObject(
                kind=LENGTH,
                name=column.target,
                definition=f"varchar({limit})",
                original=f"{column.name} {column.declared}",
            )


def _foreign_keys(
    table: SourceTable, mapping: TableMapping, names: TableNames
) -> Iterable[DeferredObject]:
    taken: set[str] = set()
    targets = {c.name: c.target for c in mapping.columns}
    for key in table.foreign_keys:
        name = unique_name(f"{mapping.target_table}_{'_'.join(key.columns)}_fkey", taken)
        taken.add(name)
        definition, problem = _reference(key, targets, names)
        yield DeferredObject(
            kind=FOREIGN_KEY, name=name, definition=definition, original=key.text, problem=problem
        )


def _reference(
    key: SourceForeignKey, targets: Mapping[str, str], names: TableNames
) -> tuple[str, str]:
    """Return a foreign key in PostgreSQL's SQL, or the problem; parents stand in the same schema.

    A reference without columns means the parent's key, in SQLite as here.
    """
    parent = names.relations.get(key.parent)
    if parent is None:
        return "", f"the source has no table {key.parent}"
    spelled = {fold_name(name): target for name, target in targets.items()}
    ours = [spelled.get(fold_name(name)) for name in key.columns]
    theirs = [parent.columns.get(name) for name in key.parent_columns]
    if not theirs or None in (*ours, *theirs):
        return "", f"{key.parent} has no key that this could refer to"
    actions = "".join(
        f" ON {event} {action}"
        for event, action in (("UPDATE", key.on_update), ("DELETE", key.on_delete))
        if action != "NO ACTION"
    )
    refers = f"REFERENCES {identifier(parent.table)} ({_listed(theirs)})"
    return f"FOREIGN KEY ({_listed(ours)}) {refers}{actions}", ""


def _listed(names: Iterable[str | None]) -> str:
    return ", ".join(identifier(name) for name in names if name is not None)


def _refused(kind: str, name: str, original: str, error: UntranslatableError) -> _Found:
    found = DeferredObject(
        kind=kind, name=name, definition="", original=original, problem=str(error)
    )
    return _Found(refused=(found,))
