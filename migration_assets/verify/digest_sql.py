"""The digest's definition (see `digest`) as SQL expressions over a target table.

The functions used are in every PostgreSQL since 11: `sha256(bytea)` and the types' own send
functions. The database must be encoded in UTF-8, which the bootstrap checks.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from migration_assets.model import (
    BUCKETS,
    ColumnMapping,
    Kind,
    TableMapping,
)

_FIXED: dict[Kind, tuple[LiteralString, int]] = {
    Kind.BIGINT: ("int8send", 8),
    Kind.DOUBLE: ("float8send", 8),
    Kind.BOOLEAN: ("boolsend", 1),
    Kind.DATE: ("date_send", 4),
    Kind.TIMESTAMP: ("timestamp_send", 8),
    Kind.TIMESTAMPTZ: ("timestamptz_send", 8),
    Kind.TIME: ("time_send", 8),
    Kind.UUID: ("uuid_send", 16),
}
# Schema-qualified: an operator or function of the same name elsewhere must not take their place.
_HASH = "('x' || pg_catalog.encode(pg_catalog.substr({}, 1, 8), 'hex'))"


def _sha256(encoding: sql.Composable) -> sql.Composed:
    return sql.SQL("pg_catalog.sha256({})").format(encoding)


def _hash64(encoding: sql.Composable) -> sql.Composed:
    return sql.SQL(_HASH + "::pg_catalog.bit(64)::pg_catalog.int8").format(_sha256(encoding))


def _encode(column: ColumnMapping, alias: str) -> sql.Composed:
    name = sql.Identifier(alias, column.target)
    kind = column.type.kind
    if kind in _FIXED:
        function, length = _FIXED[kind]
        prefix = sql.Literal("\\x01" + length.to_bytes(4, "big").hex())
        body = sql.SQL("{}::bytea || pg_catalog.{}({})").format(prefix, sql.SQL(function), name)
    else:
        text = sql.SQL("{}::pg_catalog.text").format(name)
        body = (
            name
            if kind is Kind.BYTEA
            else sql.SQL("pg_catalog.convert_to({}, 'UTF8')").format(text)
        )
        body = sql.SQL(
            "'\\x01'::bytea || pg_catalog.int4send(pg_catalog.octet_length({0})) || {0}"
        ).format(body)
    return sql.SQL("coalesce({}, '\\x00'::bytea)").format(body)


def _joined(columns: Sequence[ColumnMapping], alias: str) -> sql.Composed:
    return sql.SQL(" || ").join([_encode(c, alias) for c in columns])


def row_hash(mapping: TableMapping, alias: str) -> sql.Composed:
    """Return the expression of a row's hash, over the table known as `alias`."""
    return _hash64(_joined(mapping.columns, alias))


def row_digest(mapping: TableMapping, alias: str) -> sql.Composed:
    """Return the expression of the whole sha256 whose first 8 bytes are a row's hash."""
    return _sha256(_joined(mapping.columns, alias))


def key_hash(mapping: TableMapping, alias: str) -> sql.Composed:
    """Return the expression of a row's key hash; of the whole row's where there is no key."""
    if not mapping.key:
        return row_hash(mapping, alias)
    return _hash64(_joined([mapping.column(name) for name in mapping.key], alias))


def cell_hash(mapping: TableMapping, column: ColumnMapping, alias: str) -> sql.Composed:
    """Return the expression of one cell's hash, seeded with its row's key hash."""
    return _hash64(
        sql.SQL("pg_catalog.int8send({}) || {}::bytea || {}").format(
            key_hash(mapping, alias),
            sql.Literal("\\x" + (column.target.encode() + b"\x00").hex()),
            _encode(column, alias),
        )
    )


def buckets(mapping: TableMapping, rows: sql.Composable, alias: str) -> sql.Composed:
    """Return the query of (bucket, count, sum of row hashes) over `rows`, known as `alias`.

    Buckets without rows do not appear; count and digest come from one statement, so that they
    describe the same moment.
    """
    return sql.SQL(
        "SELECT ((k % {n}) + {n}) % {n}, count(*), sum(h) FROM"
        " (SELECT {row} AS h, {key} AS k FROM {rows} AS {alias}) AS hashed GROUP BY 1"
    ).format(
        n=sql.Literal(BUCKETS),
        row=row_hash(mapping, alias),
        key=key_hash(mapping, alias),
        rows=rows,
        alias=sql.Identifier(alias),
    )
