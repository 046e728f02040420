"""DDL of a mapped table: table, key, indexes; and what the target's catalogue says is there."""

from dataclasses import dataclass
from typing import LiteralString, cast

from psycopg import sql

from migration_assets.model import (
    ColumnMapping,
    IndexMapping,
    Kind,
    TableMapping,
)
from migration_assets.target.connection import Connection


def table_name(mapping: TableMapping) -> sql.Identifier:
    """Return the target table's qualified name."""
    return sql.Identifier(mapping.target_schema, mapping.target_table)


def raw(text: str) -> sql.SQL:
    """Use text of this package's own as SQL; never text that came from outside."""
    return sql.SQL(cast("LiteralString", text))


def create_table(mapping: TableMapping, *, lines: bool = False) -> sql.Composed:
    """Return CREATE TABLE without keys and indexes, which are made after the first rows.

    With `lines` every column has one of its own, for people to read.
    """
    indexed = set(mapping.key).union(*(index.columns for index in mapping.indexes))
    columns = [_column(c, indexed=c.name in indexed) for c in mapping.columns]
    start, between, end = ("\n    ", ",\n    ", "\n") if lines else ("", ", ", "")
    return sql.SQL("CREATE TABLE {} ({}{}{})").format(
        table_name(mapping), sql.SQL(start), sql.SQL(between).join(columns), sql.SQL(end)
    )


def _column(column: ColumnMapping, *, indexed: bool) -> sql.Composed:
    # Text in keys and indexes compares and orders by bytes, as SQLite's BINARY does.
    collate = (
        sql.SQL(' COLLATE pg_catalog."C"')
        if indexed and column.type.kind is Kind.TEXT
        else sql.SQL("")
    )
    not_null = sql.SQL(" NOT NULL") if column.not_null else sql.SQL("")
    return sql.SQL("{} {}{}{}").format(
        sql.Identifier(column.target), raw(column.type.sql), collate, not_null
    )


def create_indexes(mapping: TableMapping) -> list[sql.Composed]:
    """Return the statements that make the primary key and the secondary indexes."""
    statements: list[sql.Composed] = []
    if mapping.key:
        columns = [sql.Identifier(mapping.column(name).target) for name in mapping.key]
        statements.append(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
                table_name(mapping),
                sql.Identifier(mapping.key_name),
                sql.SQL(", ").join(columns),
            )
        )
    statements.extend(_create_index(mapping, index) for index in mapping.indexes)
    return statements


def _create_index(mapping: TableMapping, index: IndexMapping) -> sql.Composed:
    members = [
        _folded(mapping.column(name)) if name in index.nocase else _plain(mapping.column(name))
        for name in index.columns
    ]
    return sql.SQL("CREATE {} {} ON {} ({})").format(
        sql.SQL("UNIQUE INDEX" if index.unique else "INDEX"),
        sql.Identifier(index.name),
        table_name(mapping),
        sql.SQL(", ").join(members),
    )


def _plain(column: ColumnMapping) -> sql.Composable:
    return sql.Identifier(column.target)


def folds(column: ColumnMapping) -> bool:
    """Tell whether an index that folds case holds an expression of this column: text has case."""
    return column.type.kind is Kind.TEXT


def _folded(column: ColumnMapping) -> sql.Composable:
    """Fold ASCII only, as SQLite's NOCASE does; other types have no case."""
    if not folds(column):
        return _plain(column)
    return sql.SQL('pg_catalog.lower({} COLLATE pg_catalog."C")').format(_plain(column))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """What the target's catalogue says of a table, as far as a move depends on it.

    `extra_columns` are not ours and not generated; `cascading` are foreign keys, the table's own
    to itself among them, that would delete or change other rows when a row is deleted here;
    `referenced` tells whether any foreign key points here.
    """

    columns: tuple[tuple[str, str], ...]
    extra_columns: tuple[str, ...]
    secondary_unique: bool
    cascading: tuple[str, ...]
    referenced: bool


_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
FROM pg_attribute AS a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE = """
SELECT EXISTS (SELECT FROM pg_index
WHERE indrelid = %s::regclass AND indisunique AND NOT indisprimary)
"""
_REFERENCES = """
SELECT conrelid::regclass::text || '.' || conname, confdeltype IN ('c', 'n', 'd')
FROM pg_constraint WHERE contype = 'f' AND confrelid = %s::regclass
"""


def read_table(connection: Connection, mapping: TableMapping) -> TargetTable | None:
    """Read the target table; None where there is none."""
    name = table_name(mapping).as_string(None)
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    if row is None or not row[0]:
        return None
    columns = connection.execute(_COLUMNS, (name,)).fetchall()
    unique = connection.execute(_UNIQUE, (name,)).fetchone()
    references = connection.execute(_REFERENCES, (name,)).fetchall()
    ours = {c.target for c in mapping.columns}
    return TargetTable(
        columns=tuple((str(c), str(kind)) for c, kind, _ in columns),
        extra_columns=tuple(
            str(c) for c, _, generated in columns if c not in ours and not generated
        ),
        secondary_unique=bool(unique and unique[0]),
        cascading=tuple(str(n) for n, cascades in references if cascades),
        referenced=bool(references),
    )


# How format_type spells what the mapping calls by its short name.
_SPELLED = {
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
}


def missing_columns(mapping: TableMapping, table: TargetTable) -> list[str]:
    """Name mapped columns that the target lacks or has with another type."""
    there = dict(table.columns)
    return [
        c.target
        for c in mapping.columns
        if there.get(c.target) != _SPELLED.get(c.type.sql, c.type.sql)
    ]
