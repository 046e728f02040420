"""Apply a staged delta to a table without a key: exactly so many copies come and go.

A row is known by the sha256 of its whole encoding. Copies are alike, so any of them may go; which
one only matters to columns that are not ours. Copies are addressed by table and ctid, which is
safe since the move's lock keeps every other writer out.
"""

from collections.abc import Collection

from psycopg import sql

from migration_assets.findings import Difference
from migration_assets.model import Delta, TableMapping
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import TargetTable, table_name
from migration_assets.target.staging import STAGED
from migration_assets.target.writing import (
    KEPT_CHANGED,
    SHOWN,
    Applied,
    insert_staged,
    is_delete,
    is_written,
    refuse_cascade,
)
from migration_assets.verify import digest_sql

LEAVING = sql.Identifier("pg_temp", "leaving")
STANDING = sql.Identifier("pg_temp", "standing")


def lacking(
    connection: Connection, mapping: TableMapping, delta: Delta, kept: Collection[int] = ()
) -> list[Difference]:
    """Find the copies that are to be deleted; name rows of which too few stand (most `SHOWN`).

    Those that exceptions keep, by their hashes (`kept`), are called so. Nothing is changed yet;
    `apply` deletes what was found here.
    """
    if not delta.deletes:
        return []
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE leaving ON COMMIT DROP AS"
            " SELECT wanted.digest, wanted.hash, wanted.copies, found.part, found.place,"
            " row_number() OVER (PARTITION BY wanted.digest) AS copy FROM"
            " (SELECT {staged_digest} AS digest, min(s.{old_hash}) AS hash, count(*) AS copies"
            " FROM {staged} AS s WHERE {is_delete} GROUP BY 1) AS wanted LEFT JOIN"
            " (SELECT t.tableoid AS part, t.ctid AS place, {digest} AS digest FROM {table} AS t)"
            " AS found ON found.digest = wanted.digest"
        ).format(
            staged_digest=digest_sql.row_digest(mapping, "s"),
            old_hash=sql.Identifier(delta.hash_column),
            staged=STAGED,
            is_delete=is_delete(delta),
            digest=digest_sql.row_digest(mapping, "t"),
            table=table_name(mapping),
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(LEAVING))
    rows = connection.execute(
        sql.SQL(
            "SELECT hash, count(place), copies FROM {} GROUP BY digest, hash, copies"
            " HAVING count(place) < copies ORDER BY 1 LIMIT {}"
        ).format(LEAVING, sql.Literal(SHOWN))
    )
    return [
        Difference(
            key=f"row with hash {int(str(row_hash)):+d}",
            what=KEPT_CHANGED
            if row_hash in kept
            else f"{found} copies on the target where {copies} are to be deleted",
        )
        for row_hash, found, copies in rows
    ]


def apply(
    connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable
) -> Applied:
    """Delete the copies that `lacking` found, then insert those that came."""
    if delta.deletes:
        refuse_cascade(mapping, table)
    gone = sql.SQL("l.copy <= l.copies")
    deleted, less = _delete(connection, mapping, gone) if delta.deletes else (0, 0)
    written = is_written(delta)
    inserted, more = _insert(connection, mapping, table, written) if delta.inserts else (0, 0)
    return Applied(inserted=inserted, updated=0, deleted=deleted, net=more - less)


def exchange(connection: Connection, mapping: TableMapping, table: TargetTable) -> Applied:
    """Bring the table to exactly the staged rows; copies that stand there already stay.

    Of more copies than are wanted, the last ones by place go: those that `displace` kept.
    """
    _compare_whole(connection, mapping)
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(LEAVING)).fetchone()
    if row and row[0]:
        refuse_cascade(mapping, table)
    deleted, less = _delete(connection, mapping, sql.SQL("true"))
    inserted, more = _insert(connection, mapping, table, sql.SQL("true"))
    return Applied(inserted=inserted, updated=0, deleted=deleted, net=more - less)


def _compare_whole(connection: Connection, mapping: TableMapping) -> None:
    """Note what stands, note what of it has to leave, and forget staged copies that stand."""
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE standing ON COMMIT DROP AS SELECT found.*, row_number()"
            " OVER (PARTITION BY found.digest ORDER BY found.part, found.place) AS copy FROM"
            " (SELECT t.tableoid AS part, t.ctid AS place, {} AS digest FROM {} AS t) AS found"
        ).format(digest_sql.row_digest(mapping, "t"), table_name(mapping))
    )
    staged = sql.SQL(
        "(SELECT s.ctid AS place, {0} AS digest,"
        " row_number() OVER (PARTITION BY {0}) AS copy FROM {1} AS s)"
    ).format(digest_sql.row_digest(mapping, "s"), STAGED)
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE leaving ON COMMIT DROP AS SELECT f.part, f.place FROM {} AS f"
            " LEFT JOIN {} AS w ON w.digest = f.digest AND w.copy = f.copy WHERE w.place IS NULL"
        ).format(STANDING, staged)
    )
    connection.execute(
        sql.SQL(
            "DELETE FROM {} AS s USING {} AS w, {} AS f WHERE s.ctid = w.place"
            " AND w.digest = f.digest AND w.copy = f.copy"
        ).format(STAGED, staged, STANDING)
    )


def _delete(
    connection: Connection, mapping: TableMapping, which: sql.Composable
) -> tuple[int, int]:
    """Delete places found before; return how many rows went, and the sum of their hashes."""
    statement = sql.SQL(
        "DELETE FROM {} AS t USING {} AS l WHERE t.tableoid = l.part AND t.ctid = l.place AND {}"
    ).format(table_name(mapping), LEAVING, which)
    return _summed(connection, mapping, statement)


def _insert(
    connection: Connection, mapping: TableMapping, table: TargetTable, which: sql.Composable
) -> tuple[int, int]:
    """Insert staged rows; return how many came, and the sum of their hashes as they stand."""
    rest = sql.SQL("WHERE {}").format(which)
    return _summed(connection, mapping, insert_staged(mapping, rest, table.generated))


def _summed(
    connection: Connection, mapping: TableMapping, statement: sql.Composable
) -> tuple[int, int]:
    row = connection.execute(
        sql.SQL(
            "WITH written AS ({} RETURNING {} AS hash)"
            " SELECT count(*), coalesce(sum(hash), 0) FROM written"
        ).format(statement, digest_sql.row_hash(mapping, "t"))
    ).fetchone()
    return (int(str(row[0])), int(str(row[1]))) if row else (0, 0)
