"""The target's side of the sign-off: sha256 of a table's binary COPY, in one order.

The order is the same on both sides (see `verify.signoff`): by key, without one by all columns;
text, json and numbers of any scale as the bytes of their text, doubles as their bytes, NULL last.
A primary key's own index serves for it where its columns are integers, texts, dates or UUIDs.
"""

import hashlib
from collections.abc import Collection

from psycopg import sql

from migration_assets.model import ColumnMapping, Kind, TableMapping
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.verify.digest_sql import key_hash

_AS_TEXT = frozenset({Kind.NUMERIC, Kind.JSON})


def target_sha256(
    connection: Connection, mapping: TableMapping, excepted: Collection[int] = ()
) -> tuple[str, int]:
    """Return the hash in hex, and the number of rows; streamed, so memory doesn't grow.

    Rows whose key hash is among `excepted` are left out.
    """
    digest = hashlib.sha256()
    cursor = connection.cursor()
    with cursor.copy(_statement(mapping, excepted)) as copy:
        for part in copy:
            digest.update(part)
    return digest.hexdigest(), cursor.rowcount


def _statement(mapping: TableMapping, excepted: Collection[int]) -> sql.Composed:
    ordered = [mapping.column(name) for name in mapping.key] or list(mapping.columns)
    kept = sql.SQL("")
    if excepted:
        kept = sql.SQL(" WHERE {} NOT IN ({})").format(
            key_hash(mapping, "t"), sql.SQL(", ").join(map(sql.Literal, sorted(excepted)))
        )
    return sql.SQL("COPY (SELECT {} FROM {} AS t{} ORDER BY {}) TO STDOUT (FORMAT BINARY)").format(
        sql.SQL(", ").join([sql.Identifier("t", c.target) for c in mapping.columns]),
        table_name(mapping),
        kept,
        sql.SQL(", ").join(map(_order, ordered)),
    )


def _order(column: ColumnMapping) -> sql.Composed:
    name = sql.Identifier("t", column.target)
    kind = column.type.kind
    if kind is Kind.DOUBLE:
        return sql.SQL("pg_catalog.float8send({})").format(name)
    if kind in _AS_TEXT:
        return sql.SQL('{}::pg_catalog.text COLLATE pg_catalog."C"').format(name)
    if kind is Kind.TEXT:
        return sql.SQL('{} COLLATE pg_catalog."C"').format(name)
    return sql.SQL("{}").format(name)
