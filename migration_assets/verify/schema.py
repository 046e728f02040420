"""Compare what the target's catalogue says of a table with its sealed mapping.

Names of keys and indexes are the DBA's to change; their columns and uniqueness are not. What the
target has of its own (columns, indexes, triggers, constraints) is listed and stays.
"""

import shlex
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple, cast

from psycopg import sql

from migration_assets.findings import Finding, SchemaCheck
from migration_assets.mapping.statements import parse_index
from migration_assets.model import IndexMapping, TableMapping
from migration_assets.target import ddl
from migration_assets.target.connection import Connection

_SHOWN_EXTRAS = 20

_NULLABLE = """
SELECT a.attname FROM pg_attribute AS a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull
"""
_FILLED = """
SELECT a.attname, a.attidentity::text, a.atthasdef FROM pg_attribute AS a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""
# Columns of a constraint or index in their order; NULL for an expression.
_INDEXES = """
SELECT c.relname, i.indisprimary, i.indisunique, i.indisvalid, i.indpred IS NOT NULL,
       ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
             LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass ORDER BY c.relname
"""
_OWN_OBJECTS = """
SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(t)s::regclass AND NOT tgisinternal
  AND tgfoid IS DISTINCT FROM to_regprocedure('migration.guard_writes()')
UNION ALL
SELECT CASE contype WHEN 'f' THEN 'foreign key ' WHEN 'c' THEN 'check ' ELSE 'constraint ' END
       || conname
FROM pg_constraint WHERE conrelid = %(t)s::regclass AND contype IN ('f', 'c', 'x')
ORDER BY 1
"""


class _Index(NamedTuple):
    """An index of the target; `partial` if it doesn't cover all rows."""

    name: str
    primary: bool
    unique: bool
    valid: bool
    partial: bool
    columns: tuple[str | None, ...]


def compare_schema(
    connection: Connection,
    mapping: TableMapping,
    *,
    cut_week: date,
    drift: Iterable[Finding],
    pending: Iterable[str] = (),
) -> SchemaCheck:
    """Name everything of ours that is gone from the target or has become another thing.

    `drift` is what keeps the table from following the newest cut, of `cut_week`, by itself;
    `pending` are the changes that its next load will carry.
    """
    drifted = [Finding(what=f"at the source: {f.what}", to_do=f.to_do) for f in drift]
    awaited = tuple(pending)
    table = ddl.read_table(connection, mapping)
    if table is None:
        gone = Finding(
            what=f"table {mapping.target_schema}.{mapping.target_table} is gone from the target",
            to_do=f"`migration-assets repair {shlex.quote(mapping.table)}` makes it anew from its"
            " cut; or restore it from a backup of the target",
        )
        return SchemaCheck(
            cut_week=cut_week, columns=0, indexes=0, findings=(gone, *drifted), pending=awaited
        )
    name = ddl.table_name(mapping).as_string(None)
    indexes = [
        _Index(
            *cast("tuple[str, bool, bool, bool, bool]", row[:5]), tuple(cast("list[str]", row[5]))
        )
        for row in connection.execute(_INDEXES, (name,))
    ]
    wanted = ddl.create_indexes(mapping)
    missing = _missing_indexes(mapping, indexes, wanted)
    return SchemaCheck(
        cut_week=cut_week,
        columns=len(mapping.columns),
        indexes=len(wanted),
        findings=(
            *_columns(mapping, table),
            *_nullable(connection, mapping, name, table),
            *_filling(connection, mapping, name),
            *missing,
            *drifted,
        ),
        extras=_extras(connection, mapping, table, indexes),
        pending=awaited,
    )


def columns_differ(connection: Connection, mapping: TableMapping) -> bool:
    """Tell whether the target's columns can't be read by this mapping, or its table is gone."""
    table = ddl.read_table(connection, mapping)
    return table is None or bool(ddl.missing_columns(mapping, table))


def _columns(mapping: TableMapping, table: ddl.TargetTable) -> list[Finding]:
    there = dict(table.columns)
    by_target = {c.target: c for c in mapping.columns}
    found: list[Finding] = []
    for target in ddl.missing_columns(mapping, table):
        kind = by_target[target].type.sql
        what = (
            f"column {target} is {there[target]} instead of {kind}"
            if target in there
            else f"column {target} ({kind}) is gone"
        )
        found.append(Finding(what=what, to_do="undo the change on the target"))
    return found


def _nullable(
    connection: Connection, mapping: TableMapping, name: str, table: ddl.TargetTable
) -> list[Finding]:
    there = {column for column, _ in table.columns}
    nullable = {str(column) for (column,) in connection.execute(_NULLABLE, (name,))}
    return [
        Finding(
            what=f"column {c.target} is no longer NOT NULL",
            to_do=sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
            .format(ddl.table_name(mapping), sql.Identifier(c.target))
            .as_string(None),
        )
        for c in mapping.columns
        if c.not_null and c.target in nullable & there
    ]


def _filling(connection: Connection, mapping: TableMapping, name: str) -> list[Finding]:
    """Name columns that no longer get their values by themselves.

    A generated column may have been made a plain one: loads write it then.
    """
    there = {
        str(c): (str(identity), bool(d)) for c, identity, d in connection.execute(_FILLED, (name,))
    }
    found: list[Finding] = []
    for column in mapping.columns:
        identity, default = there.get(column.target, ("", True))
        lost = change = ""
        if column.identity and not identity and column.target in there:
            lost, change = "identity", "ADD GENERATED BY DEFAULT AS IDENTITY"
        elif column.default and not default:
            lost, change = "default", f"SET DEFAULT {column.default}"
        if lost:
            to_do = sql.SQL("ALTER TABLE {} ALTER COLUMN {} ").format(
                ddl.table_name(mapping), sql.Identifier(column.target)
            )
            made = (to_do + ddl.raw(change)).as_string(None)
            found.append(Finding(what=f"column {column.target} lost its {lost}", to_do=made))
    return found


def _missing_indexes(
    mapping: TableMapping, indexes: list[_Index], statements: list[sql.Composed]
) -> list[Finding]:
    """Name keys and indexes that no usable one of the target stands for, with what makes them."""
    made = [statement.as_string(None) for statement in statements]
    found: list[Finding] = []
    if mapping.key:
        key = tuple(mapping.column(name).target for name in mapping.key)
        statement = made.pop(0)
        if not any(i.primary and i.columns == key for i in indexes):
            what = f"the primary key ({', '.join(key)}) is gone"
            found.append(Finding(what=what, to_do=statement))
    for wanted, statement in zip(mapping.indexes, made, strict=True):
        columns, partial = _members(mapping, wanted)
        if not any(
            i.valid
            and (i.partial, i.columns) == (partial, columns)
            and (i.unique or not wanted.unique)
            for i in indexes
        ):
            kind = "unique index" if wanted.unique else "index"
            named = wanted.definition or f"({', '.join(wanted.columns)})"
            what = f"{kind} {wanted.name} {named} is gone or not valid"
            found.append(Finding(what=what, to_do=statement))
    return found


def _members(mapping: TableMapping, index: IndexMapping) -> tuple[tuple[str | None, ...], bool]:
    """Return an index's columns on the target, and whether it covers some rows only.

    None stands for an expression, such as the folded text of a column.
    """
    if index.definition:
        written = parse_index(f"INDEX ON t {index.definition}")
        members = written.members if written else ()
        return tuple(m.column for m in members), bool(written and written.predicate)
    return _index_columns(mapping, index), False


def _index_columns(mapping: TableMapping, index: IndexMapping) -> tuple[str | None, ...]:
    members = [(mapping.column(name), name in index.nocase) for name in index.columns]
    return tuple(None if ddl.folds(c) and folded else c.target for c, folded in members)


def _extras(
    connection: Connection, mapping: TableMapping, table: ddl.TargetTable, indexes: list[_Index]
) -> tuple[str, ...]:
    name = ddl.table_name(mapping).as_string(None)
    ours = {mapping.key_name, *(i.name for i in mapping.indexes)}
    columns = {c.target for c in mapping.columns}
    plain = [c.target for c in mapping.columns if c.generated and c.target not in table.generated]
    found = [
        *(f"column {column}, generated at the source and plain here" for column in plain),
        *(f"column {column}" for column, _ in table.columns if column not in columns),
        *(f"index {i.name}" for i in indexes if i.name not in ours),
        *(str(row[0]) for row in connection.execute(_OWN_OBJECTS, {"t": name})),
    ]
    more = len(found) - _SHOWN_EXTRAS
    return (*found[:_SHOWN_EXTRAS], *([f"{more} more"] if more > 0 else []))
