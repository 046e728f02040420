"""Make a table with what belongs to it; what the server refuses is listed instead.

Defaults, generated columns and secondary indexes are translated from SQLite's SQL. Each is tried
in a savepoint: one that the server refuses, or that would give other values, leaves the mapping
and is named among its deferred objects, and the rows are loaded all the same. A key that can't be
made ends the load.
"""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from migration_assets.mapping import objects
from migration_assets.mapping.document import sealed
from migration_assets.model import (
    ColumnMapping,
    DeferredObject,
    Delta,
    Op,
    SourceTable,
    TableMapping,
)
from migration_assets.target import ddl
from migration_assets.target.connection import Connection
from migration_assets.target.sqlstate import translate
from migration_assets.target.staging import STAGED, staged_value
from migration_assets.verify import digest_sql

# What is wrong with a statement itself or with its values, by the class of its SQLSTATE
# (https://www.postgresql.org/docs/current/errcodes-appendix.html). All else is the server's state.
_ITS_OWN_FAULT = frozenset({"0A", "22", "23", "2B", "42", "54"})
_NOT_ALLOWED = "42501"
_TRIED = "tried by migration_assets"  # not a name that a table of the source has on the target


def make_table(
    connection: Connection, mapping: TableMapping, table: SourceTable, delta: Delta
) -> TableMapping:
    """Make the table for rows that are staged; return its mapping without what was refused."""
    mapping = as_taken(connection, mapping, table, delta)
    connection.execute(ddl.create_table(mapping))
    return mapping


def as_taken(
    connection: Connection, mapping: TableMapping, table: SourceTable, delta: Delta
) -> TableMapping:
    """Return the mapping without the defaults and generated columns that the server refuses.

    Nor such columns whose expression doesn't give what the staged rows have.
    """
    refused = refused_columns(connection, mapping, table)
    refused += differing_columns(connection, objects.without(mapping, refused), table, delta)
    return sealed(objects.without(mapping, refused)) if refused else mapping


def make_indexes(connection: Connection, mapping: TableMapping, table: SourceTable) -> TableMapping:
    """Make key and indexes of a filled table; return its mapping without what was refused."""
    for statement in ddl.create_key(mapping):
        connection.execute(statement)
    refused: list[DeferredObject] = []
    for index in mapping.indexes:
        problem = attempt(connection, [ddl.create_index(mapping, index)])
        if problem:
            refused.append(objects.refused_index(mapping, index, table, problem))
    return sealed(objects.without(mapping, refused)) if refused else mapping


def attempt(
    connection: Connection, statements: Sequence[sql.Composed], *, keep: bool = True
) -> str:
    """Run statements in a savepoint; return why they can't be run, or ''.

    Without `keep` nothing of them stays. Raises what has nothing to do with the statements.
    """
    try:
        with connection.transaction(force_rollback=not keep):
            for statement in statements:
                connection.execute(statement)
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state[:2] not in _ITS_OWN_FAULT or state == _NOT_ALLOWED:
            raise
        return translate(error, "").what
    return ""


def refused_columns(
    connection: Connection, mapping: TableMapping, table: SourceTable
) -> list[DeferredObject]:
    """Return the defaults and expressions that the server refuses; mostly none, in one attempt."""
    if not any(c.default or c.generated for c in mapping.columns):
        return []
    trial = replace(mapping, target_schema="pg_temp", target_table=_TRIED)
    if not attempt(connection, [ddl.create_table(trial)], keep=False):
        return []
    # One by one, each beside those taken before it: an expression may depend on another column.
    refused: list[DeferredObject] = []
    taken = {c.name: _plain(c) for c in mapping.columns}
    for column in mapping.columns:
        if not (column.default or column.generated):
            continue
        columns = tuple({**taken, column.name: column}.values())
        statement = ddl.create_table(replace(trial, columns=columns))
        problem = attempt(connection, [statement], keep=False)
        if problem:
            describe = objects.refused_generated if column.generated else objects.refused_default
            refused.append(describe(column, table, problem))
        else:
            taken[column.name] = column
    return refused


def _plain(column: ColumnMapping) -> ColumnMapping:
    return replace(column, default="", generated="", identity=False)


def differing_columns(
    connection: Connection, mapping: TableMapping, table: SourceTable, delta: Delta
) -> list[DeferredObject]:
    """Return the generated columns whose expression gives other values than the source has."""
    refused: list[DeferredObject] = []
    for column in mapping.columns:
        if column.generated:
            query = _count_differing(mapping, column, delta)
            problem = attempt(connection, [query])
            if not problem:
                row = connection.execute(query).fetchone()
                count = int(str(row[0])) if row else 0
                problem = f"gives another value in {count} rows" if count else ""
            if problem:
                refused.append(objects.refused_generated(column, table, problem))
    return refused


def _count_differing(mapping: TableMapping, column: ColumnMapping, delta: Delta) -> sql.Composed:
    """Return the query that counts rows to write where an expression isn't the column, in bytes."""
    alone = replace(mapping, columns=(column,))
    values = [
        sql.SQL("{} AS {}").format(staged_value(c, "staged"), sql.Identifier(c.target))
        for c in mapping.columns
    ]
    return sql.SQL(
        "SELECT count(*) FROM (SELECT {} FROM {} AS staged WHERE staged.{} <> {}) AS s"
        " CROSS JOIN LATERAL (SELECT ({})::{} AS {}) AS g WHERE {} <> {}"
    ).format(
        sql.SQL(", ").join(values),
        STAGED,
        sql.Identifier(delta.op_column),
        sql.Literal(Op.DELETE.value),
        ddl.raw(column.generated),
        ddl.raw(column.type.sql),
        sql.Identifier(column.target),
        digest_sql.row_hash(alone, "s"),
        digest_sql.row_hash(alone, "g"),
    )
