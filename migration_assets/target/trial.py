"""Try on the target what is made at cutover only, weeks before: on empty tables, all undone.

CHECKs, length limits, foreign keys and views can't stand while tables move one by one. Whether the
server would take them is known today: copies of the tables, without rows, are made from their
mappings among the session's temporary ones, where no privilege is needed and nobody sees them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from migration_assets.mapping.objects import (
    CHECK,
    FOREIGN_KEY,
    LENGTH,
    NOT_MADE,
    VIEW,
    refused_index,
    without,
)
from migration_assets.model import DeferredObject, SourceTable, TableMapping
from migration_assets.target import ddl
from migration_assets.target.connection import Connection
from migration_assets.target.making import attempt, refused_columns

_SCRATCH = "pg_temp"
_ORDER = (CHECK, FOREIGN_KEY, LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An object that was tried; `table` is the source's name, empty for a view.

    `problem` says why it can't be made, and is empty where it can.
    """

    table: str
    object: DeferredObject
    problem: str = ""


def try_out(
    connection: Connection,
    tables: Sequence[tuple[SourceTable, TableMapping]],
    views: Sequence[DeferredObject] = (),
) -> list[Tried]:
    """Try what is deferred of tables, and views; nothing of it stays.

    What a first load would leave out of a table is found on the way and comes with it.
    """
    found: list[Tried] = []
    with connection.transaction(force_rollback=True):
        # what has no schema in a definition is a table of these
        connection.execute("SET LOCAL search_path = pg_temp, pg_catalog")
        scratch = [(t, replace(m, target_schema=_SCRATCH)) for t, m in tables]
        for table, mapping in scratch:
            found += _make(connection, table, mapping)
        for kind in _ORDER:
            for _, mapping in scratch:
                found += [
                    _tried(connection, mapping, o) for o in mapping.deferred if o.kind == kind
                ]
        found += [_view(connection, view) for view in views]
    return found


def _make(connection: Connection, table: SourceTable, mapping: TableMapping) -> list[Tried]:
    """Make an empty table; return what of it a first load leaves out."""
    refused = refused_columns(connection, mapping, table)
    mapping = without(mapping, refused)
    attempt(connection, [ddl.create_table(mapping)])
    attempt(connection, ddl.create_key(mapping))
    for index in mapping.indexes:
        problem = attempt(connection, [ddl.create_index(mapping, index)])
        if problem:
            mapping = without(mapping, [refused_index(mapping, index, table, problem)])
    return [
        Tried(table=table.name, object=o, problem=o.problem)
        for o in mapping.deferred
        if o.kind in NOT_MADE
    ]


def _tried(connection: Connection, mapping: TableMapping, o: DeferredObject) -> Tried:
    problem = o.problem or attempt(connection, [statement(mapping, o)])
    return Tried(table=mapping.table, object=o, problem=problem)


def statement(mapping: TableMapping, o: DeferredObject) -> sql.Composed:
    """Return what makes a deferred object of a table at the cutover.

    Names without a schema in it are those of the target schema.
    """
    name = sql.Identifier(o.name)
    change = (
        sql.SQL("ALTER COLUMN {} TYPE {}") if o.kind == LENGTH else sql.SQL("ADD CONSTRAINT {} {}")
    ).format(name, ddl.raw(o.definition))
    return sql.SQL("ALTER TABLE {} {}").format(ddl.table_name(mapping), change)


def view_statement(view: DeferredObject, schema: str = "") -> sql.Composed:
    """Return what makes a view; names without a schema in it are those of the target schema."""
    name = sql.Identifier(schema, view.name) if schema else sql.Identifier(view.name)
    return sql.SQL("CREATE VIEW {} AS {}").format(name, ddl.raw(view.definition))


def _view(connection: Connection, view: DeferredObject) -> Tried:
    if view.kind != VIEW or view.problem:
        return Tried(table="", object=view, problem=view.problem)
    return Tried(
        table="", object=view, problem=attempt(connection, [view_statement(view, _SCRATCH)])
    )
