"""The next key that the target gives by itself: the one that the source would give.

ALTER SEQUENCE … RESTART is undone with its transaction, which setval isn't. It locks the sequence
alone, until the move commits: readers of the table don't wait, and nothing but an insert without a
key would (ALTER TABLE … RESTART would lock the whole table against its readers). It is left out
where the sequence stands right already.
"""

from psycopg import sql

from migration_assets.model import Cut, SourceTable, TableMapping
from migration_assets.source.reader import LAST_KEY, next_key
from migration_assets.target import ddl
from migration_assets.target.connection import Connection


def restart_identity(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    *,
    beyond_rows: bool = False,
) -> None:
    """Let the key go on as it does in the cut; a table without such a key is left alone.

    `beyond_rows` lets it go on after every row of the target, those of its own that are kept too.
    """
    column = next((c for c in mapping.columns if c.identity), None)
    if column is None:
        return
    # The DBA may have taken it away; the check `schema` says so.
    sequence = _sequence(connection, mapping, column.target)
    if sequence is None:
        return
    wanted = next_key(cut, table, column.name)
    if beyond_rows:
        wanted = max(wanted, _after_rows(connection, mapping, column.target))
    # As a numeric: after the last key there is no next one.
    query = "SELECT last_value::numeric + CASE WHEN is_called THEN 1 ELSE 0 END FROM {}"
    row = connection.execute(sql.SQL(query).format(sequence)).fetchone()
    if row is None or int(str(row[0])) != wanted:
        connection.execute(
            sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(sequence, sql.Literal(wanted))
        )


def _after_rows(connection: Connection, mapping: TableMapping, column: str) -> int:
    query = sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(
        sql.Identifier(column), ddl.table_name(mapping)
    )
    row = connection.execute(query).fetchone()
    return min(int(str(row[0])) + 1, LAST_KEY) if row else 1


def _sequence(connection: Connection, mapping: TableMapping, column: str) -> sql.Identifier | None:
    row = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
        " WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'i' AND c.relkind = 'S'"
        " AND d.refobjid = %s::regclass AND a.attname = %s",
        (ddl.table_name(mapping).as_string(None), column),
    ).fetchone()
    return sql.Identifier(str(row[0]), str(row[1])) if row else None
