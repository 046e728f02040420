"""What stands on the target from the cutover on: CHECKs, lengths, foreign keys, views.

Whatever is made carries a comment with the hash of its definition, written in the same transaction.
So a cutover that was interrupted finds what it made already, and what somebody else made under the
same name is never taken for it. A length is known by its column's type.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from psycopg import sql

from migration_assets.mapping.objects import CHECK, FOREIGN_KEY, LENGTH, VIEW
from migration_assets.model import DeferredObject, TableMapping
from migration_assets.target import ddl
from migration_assets.target.connection import Connection
from migration_assets.target.trial import statement, view_statement

MADE_BY = "made by migration-assets at the cutover"
KINDS = (CHECK, LENGTH, FOREIGN_KEY, VIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An object to make; `mapping` is its table's, None of a view. `schema` is the target's."""

    object: DeferredObject
    schema: str
    mapping: TableMapping | None = None

    @property
    def table(self) -> str:
        """The source's name of its table; empty for a view."""
        return self.mapping.table if self.mapping else ""

    @property
    def mark(self) -> str:
        """The comment that says who made it, and by which definition."""
        o = self.object
        digest = hashlib.sha256(f"{o.kind}\0{o.name}\0{o.definition}".encode()).hexdigest()
        return f"{MADE_BY} ({digest[:16]})"


class Standing(Enum):
    """How an object stands on the target.

    `UNCHECKED` is a foreign key whose rows weren't checked yet; `OUTDATED` is one of ours by
    another definition; `FOREIGN` is one of somebody else's under its name.
    """

    ABSENT = auto()
    UNCHECKED = auto()
    MADE = auto()
    OUTDATED = auto()
    FOREIGN = auto()


_CONSTRAINT = """
SELECT coalesce(obj_description(oid, 'pg_constraint'), ''), convalidated FROM pg_constraint
WHERE conrelid = to_regclass(%s) AND conname = %s
"""
_RELATION = """
SELECT coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class WHERE oid = to_regclass(%s)
"""
_COLUMN = """
SELECT format_type(a.atttypid, a.atttypmod), c.collname FROM pg_attribute AS a
LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped
"""


def standing(connection: Connection, wanted: Wanted) -> Standing:
    """Tell how an object stands."""
    if wanted.mapping is None:
        name = sql.Identifier(wanted.schema, wanted.object.name).as_string(None)
        row = connection.execute(_RELATION, (name,)).fetchone()
        return _by_mark(wanted, (row[0], True) if row else None)
    table = ddl.table_name(wanted.mapping).as_string(None)
    if wanted.object.kind == LENGTH:
        row = connection.execute(_COLUMN, (table, wanted.object.name)).fetchone()
        limited = bool(row) and row[0] == _spelled(wanted.object)
        return Standing.MADE if limited else Standing.ABSENT
    row = connection.execute(_CONSTRAINT, (table, wanted.object.name)).fetchone()
    return _by_mark(wanted, row)


def _by_mark(wanted: Wanted, row: Sequence[object] | None) -> Standing:
    if row is None:
        return Standing.ABSENT
    mark, checked = str(row[0]), bool(row[1])
    if not mark.startswith(MADE_BY):
        return Standing.FOREIGN
    if mark != wanted.mark:
        return Standing.OUTDATED
    return Standing.MADE if checked else Standing.UNCHECKED


def _spelled(o: DeferredObject) -> str:
    """Return the type as the catalogue spells it."""
    return o.definition.replace("varchar", "character varying")


def make(connection: Connection, wanted: Wanted) -> None:
    """Make one object; a foreign key doesn't check the rows that stand (`validate` does).

    Raises psycopg's errors. Needs an open transaction.
    """
    o = wanted.object
    if wanted.mapping is not None and o.kind == LENGTH:
        connection.execute(_limit(connection, wanted.mapping, o))
        return
    _names_of(connection, wanted)
    if wanted.mapping is None:
        connection.execute(view_statement(o, wanted.schema))
    else:
        unchecked = sql.SQL(" NOT VALID" if o.kind == FOREIGN_KEY else "")
        connection.execute(statement(wanted.mapping, o) + unchecked)
    connection.execute("SET LOCAL search_path = pg_catalog")
    connection.execute(
        sql.SQL("COMMENT ON {} IS {}").format(_place(wanted), sql.Literal(wanted.mark))
    )


def _names_of(connection: Connection, wanted: Wanted) -> None:
    """Let names without a schema in a definition be those of the target schema, where any are.

    A CHECK names columns only: there nothing of the target schema's may take a function's place.
    """
    path = sql.SQL("pg_catalog")
    if wanted.object.kind in (FOREIGN_KEY, VIEW):
        path = sql.SQL("{}, pg_catalog").format(sql.Identifier(wanted.schema))
    connection.execute(sql.SQL("SET LOCAL search_path = ") + path)


def _limit(connection: Connection, mapping: TableMapping, o: DeferredObject) -> sql.Composed:
    """Return what limits a column's length; its collation stays, which a new type would lose."""
    name = ddl.table_name(mapping).as_string(None)
    row = connection.execute(_COLUMN, (name, o.name)).fetchone()
    by_bytes = sql.SQL(' COLLATE pg_catalog."C"' if row and row[1] == "C" else "")
    return statement(mapping, o) + by_bytes


def _place(wanted: Wanted) -> sql.Composed:
    if wanted.mapping is None:
        return sql.SQL("VIEW {}").format(sql.Identifier(wanted.schema, wanted.object.name))
    return sql.SQL("CONSTRAINT {} ON {}").format(
        sql.Identifier(wanted.object.name), ddl.table_name(wanted.mapping)
    )


def validate(connection: Connection, wanted: Wanted) -> None:
    """Let a foreign key check the rows that stand already."""
    if wanted.mapping is not None:
        connection.execute(
            sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                ddl.table_name(wanted.mapping), sql.Identifier(wanted.object.name)
            )
        )


def drop(connection: Connection, wanted: Wanted) -> None:
    """Drop a constraint that was made here."""
    if wanted.mapping is not None:
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                ddl.table_name(wanted.mapping), sql.Identifier(wanted.object.name)
            )
        )


_MADE_CONSTRAINTS = """
SELECT conname FROM pg_constraint
WHERE conrelid = to_regclass(%s) AND obj_description(oid, 'pg_constraint') LIKE %s
ORDER BY contype DESC, conname
"""
_MADE_VIEWS = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') LIKE %s
ORDER BY c.oid DESC
"""


def any_made(connection: Connection, schema: str, tables: Iterable[TableMapping]) -> bool:
    """Tell whether a cutover has made anything yet."""
    ours = f"{MADE_BY}%"
    if connection.execute(_MADE_VIEWS, (schema, ours)).fetchone():
        return True
    return any(
        connection.execute(
            _MADE_CONSTRAINTS, (ddl.table_name(mapping).as_string(None), ours)
        ).fetchone()
        or any(
            o.kind == LENGTH
            and standing(connection, Wanted(object=o, schema=schema, mapping=mapping))
            is Standing.MADE
            for o in mapping.deferred
        )
        for mapping in tables
    )


def take_back(connection: Connection, schema: str, tables: Iterable[TableMapping]) -> list[str]:
    """Drop the views and constraints that a cutover made, and its lengths; return their names.

    For a cutover that has to begin again because the source went on: loads move tables one by one,
    which foreign keys would not let them. Nothing of anybody else's is touched, and no data.
    """
    ours = f"{MADE_BY}%"
    dropped: list[str] = []
    for (view,) in connection.execute(_MADE_VIEWS, (schema, ours)).fetchall():
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(schema, str(view))))
        dropped.append(f"view {view}")
    mappings = list(tables)
    for mapping in mappings:
        table = ddl.table_name(mapping)
        made = connection.execute(_MADE_CONSTRAINTS, (table.as_string(None), ours)).fetchall()
        for (name,) in made:
            drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
            connection.execute(drop.format(table, sql.Identifier(str(name))))
            dropped.append(f"{mapping.table}: constraint {name}")
    for mapping in mappings:
        for o in mapping.deferred:
            wanted = Wanted(object=o, schema=schema, mapping=mapping)
            if o.kind == LENGTH and standing(connection, wanted) is Standing.MADE:
                text = DeferredObject(kind=LENGTH, name=o.name, definition="text", original="")
                connection.execute(_limit(connection, mapping, text))
                dropped.append(f"{mapping.table}: length of {o.name}")
    return dropped


_OUR_TRIGGERS = """
SELECT t.tgname FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE t.tgrelid = to_regclass(%s) AND NOT t.tgisinternal AND n.nspname = 'migration'
ORDER BY 1
"""


def our_triggers(connection: Connection, mapping: TableMapping) -> list[str]:
    """Name the triggers that call a function of schema `migration`: they guard loads, no more."""
    table = ddl.table_name(mapping).as_string(None)
    return [str(name) for (name,) in connection.execute(_OUR_TRIGGERS, (table,)).fetchall()]


def drop_triggers(connection: Connection, mapping: TableMapping) -> None:
    """Drop the triggers that guard loads."""
    for name in our_triggers(connection, mapping):
        connection.execute(
            sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), ddl.table_name(mapping))
        )


def analyze(connection: Connection, mapping: TableMapping) -> None:
    """Let the server know the table's figures before the application's first query."""
    connection.execute(sql.SQL("ANALYZE {}").format(ddl.table_name(mapping)))
