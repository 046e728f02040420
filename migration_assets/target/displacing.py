"""Displace rows: keep them in the ledger, whole, before a move replaces them on the target.

`displaced` puts them back.
"""

from datetime import date

from psycopg import sql

from migration_assets.model import TableMapping
from migration_assets.target import copies
from migration_assets.target.apply import same_key
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.target.staging import HEAD_ROWS, STAGED
from migration_assets.verify import digest_sql


def displace_foreign(
    connection: Connection, mapping: TableMapping, *, move: str, week: date
) -> int:
    """Keep the target's rows that the head's cut doesn't have; return their number.

    Copies are counted: of a row that the head has twice and the target three times, the last one
    by place is kept, and it is the one that goes.
    """
    rows = sql.SQL(
        "SELECT found.kept FROM (SELECT (t.*)::text AS kept, {row_hash} AS hash,"
        " row_number() OVER (PARTITION BY {row_hash} ORDER BY t.tableoid, t.ctid) AS copy"
        " FROM {table} AS t) AS found"
        " LEFT JOIN (SELECT hash, count(*) AS copies FROM {head} GROUP BY hash) AS ours"
        " ON ours.hash = found.hash WHERE found.copy > coalesce(ours.copies, 0)"
    ).format(table=table_name(mapping), head=HEAD_ROWS, row_hash=digest_sql.row_hash(mapping, "t"))
    return _keep(connection, mapping, rows, move=move, week=week)


def displace_staged(connection: Connection, mapping: TableMapping, *, move: str, week: date) -> int:
    """Keep the target's rows that staged ones replace or delete; return their number.

    Without a key, those copies that `copies.lacking` found.
    """
    rows = (
        sql.SQL("SELECT (t.*)::text AS kept FROM {} AS t JOIN {} AS s ON {}").format(
            table_name(mapping), STAGED, same_key(mapping, "t", "s")
        )
        if mapping.key
        else sql.SQL(
            "SELECT (t.*)::text AS kept FROM {} AS t JOIN {} AS l"
            " ON l.part = t.tableoid AND l.place = t.ctid AND l.copy <= l.copies"
        ).format(table_name(mapping), copies.LEAVING)
    )
    return _keep(connection, mapping, rows, move=move, week=week)


def _keep(
    connection: Connection, mapping: TableMapping, rows: sql.Composed, *, move: str, week: date
) -> int:
    """Keep rows, given as a query of their text, with the names of the table's columns."""
    # Values as literals: with parameters, psycopg would take a `%` in a name for a placeholder.
    query = sql.SQL(
        "INSERT INTO migration.displaced"
        " (move, source, table_name, week, target_row, column_names)"
        " SELECT {move}, {source}, {name}, {week}, kept, {columns} FROM ({rows}) AS displaced"
    ).format(
        move=sql.Literal(move),
        source=sql.Literal(mapping.source),
        name=sql.Literal(mapping.table),
        week=sql.Literal(week),
        columns=_column_names(mapping),
        rows=rows,
    )
    return connection.execute(query).rowcount


def _column_names(mapping: TableMapping) -> sql.Composed:
    """Return the expression of a table's columns in the order of its row type."""
    return sql.SQL(
        "(SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped)"
    ).format(sql.Literal(table_name(mapping).as_string(None)))
