"""Stage a delta on the target: binary COPY of its Arrow batches into a temporary table."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# pyarrow has no type stubs; batches pass through here to the encoder.

from collections.abc import Iterable, Iterator
from typing import Any

import pgpq
import polars as pl
import pyarrow as pa
from psycopg import sql

from migration_assets.mapping.frames import dtype
from migration_assets.model import (
    ColumnMapping,
    Delta,
    Kind,
    TableMapping,
)
from migration_assets.target import ddl
from migration_assets.target.connection import Connection

STAGED = sql.Identifier("pg_temp", "staged")
HEAD_ROWS = sql.Identifier("pg_temp", "head_rows")


def travels_as_text(column: ColumnMapping) -> bool:
    """Tell whether a numeric is too wide for a decimal and is staged as its exact text."""
    return column.type.kind is Kind.NUMERIC and isinstance(dtype(column.type), pl.String)


def staged_value(column: ColumnMapping, alias: str) -> sql.Composed:
    """Return a staged column as an expression of the target's type."""
    cast = sql.SQL("::pg_catalog.numeric") if travels_as_text(column) else sql.SQL("")
    return sql.SQL("{}{}").format(sql.Identifier(alias, column.target), cast)


def stage(
    connection: Connection, mapping: TableMapping, delta: Delta, batches: Iterable[Any]
) -> None:
    """Make the staging table, fill it, and analyze it; it is gone at the end of the transaction."""
    columns = [
        sql.SQL("{} text NOT NULL").format(sql.Identifier(delta.op_column)),
        sql.SQL("{} bigint").format(sql.Identifier(delta.hash_column)),
    ]
    for column in mapping.columns:
        kind = "text" if travels_as_text(column) else column.type.kind.value
        columns.append(sql.SQL("{} {}").format(sql.Identifier(column.target), ddl.raw(kind)))
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE staged ({}) ON COMMIT DROP").format(
            sql.SQL(", ").join(columns)
        )
    )
    copy_in(connection, STAGED, _encodable(mapping, batches))
    connection.execute(sql.SQL("ANALYZE {}").format(STAGED))


def stage_hashes(connection: Connection, hashes: Iterable[int]) -> None:
    """Stage the row hashes of the head's cut, to tell our rows from what others wrote."""
    connection.execute("CREATE TEMPORARY TABLE head_rows (hash bigint) ON COMMIT DROP")
    with connection.cursor().copy("COPY pg_temp.head_rows FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8"])
        for value in hashes:
            copy.write_row((value,))
    connection.execute("ANALYZE pg_temp.head_rows")


def copy_in(connection: Connection, table: sql.Identifier, batches: Iterable[Any]) -> None:
    """Copy Arrow batches into a table of the same columns, in their order."""
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(table)
    with connection.cursor().copy(statement) as copy:
        for part in _encode(batches):
            copy.write(part)


def _encodable(mapping: TableMapping, batches: Iterable[Any]) -> Iterator[Any]:
    """Give times in microseconds: Parquet's are in nanoseconds, which the encoder refuses.

    Bytes of a uuid and text of a json are what their columns read in a binary COPY, as they are.
    """
    times = {c.target for c in mapping.columns if c.type.kind is Kind.TIME}
    for batch in batches:
        fields = [f.with_type(pa.time64("us")) if f.name in times else f for f in batch.schema]
        yield batch.cast(pa.schema(fields)) if times else batch


def _encode(batches: Iterable[Any]) -> Iterator[bytes]:
    encoder: pgpq.ArrowToPostgresBinaryEncoder | None = None
    for batch in batches:
        if encoder is None:
            encoder = pgpq.ArrowToPostgresBinaryEncoder(batch.schema)
            yield encoder.write_header()
        yield encoder.write_batch(batch)
    if encoder is not None:
        yield encoder.finish()
