"""Put differing rows right, inside a move's transaction: exactly those that were found before it.

What stands in their place is displaced, whole, before it is replaced (`displacing`). Rows that
the cut doesn't have never pass through this machine: the server stages them for deletion itself, by
their hashes, so that a value which has no form here (a date such as infinity) is no obstacle.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.findings import DifferingRow
from migration_assets.model import AcceptedRow, Delta, Digest, Op, TableMapping
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import TargetTable, raw, table_name
from migration_assets.target.staging import STAGED, travels_as_text
from migration_assets.verify import digest_sql

_EXTRAS = sql.Identifier("pg_temp", "extras")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Rows that are to stay as they differ: why, and who says so."""

    rows: tuple[DifferingRow, ...]
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairing:
    """What a repair found before its transaction.

    `seen` is the target's digest at that moment, None where the table is gone. `extras` gives the
    hashes of its rows that the cut doesn't have, with their copies. `requarantine` makes the
    table's quarantine anew. `ended` are exceptions that end with it; `keeping` are rows that become
    exceptions in place of being put right.
    """

    seen: Digest | None
    extras: Callable[[], Iterable[tuple[int, int]]]
    requarantine: bool = False
    ended: tuple[AcceptedRow, ...] = ()
    keeping: Keeping | None = None


def stage_extras(
    connection: Connection, mapping: TableMapping, delta: Delta, extras: Iterable[tuple[int, int]]
) -> None:
    """Stage rows of the target for deletion, by their row hashes and numbers of copies."""
    connection.execute("CREATE TEMPORARY TABLE extras (hash bigint, copies bigint) ON COMMIT DROP")
    with connection.cursor().copy("COPY pg_temp.extras FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "int8"])
        for row in extras:
            copy.write_row(row)
    connection.execute("ANALYZE pg_temp.extras")
    staged = [c for c in mapping.columns if not mapping.key or c.name in mapping.key]
    values = [
        sql.SQL("{}::pg_catalog.text" if travels_as_text(c) else "{}").format(
            sql.Identifier("t", c.target)
        )
        for c in staged
    ]
    connection.execute(
        sql.SQL(
            "INSERT INTO {staged} ({columns}) SELECT {delete}, f.hash, {values} FROM {table} AS t"
            " JOIN (SELECT t.tableoid AS part, t.ctid AS place, {row_hash} AS hash, row_number()"
            " OVER (PARTITION BY {row_hash}) AS copy FROM {table} AS t) AS f"
            " ON f.part = t.tableoid AND f.place = t.ctid"
            " JOIN {extras} AS e ON e.hash = f.hash AND f.copy <= e.copies"
        ).format(
            staged=STAGED,
            columns=sql.SQL(", ").join(
                sql.Identifier(name)
                for name in (delta.op_column, delta.hash_column, *(c.target for c in staged))
            ),
            delete=sql.Literal(Op.DELETE.value),
            values=sql.SQL(", ").join(values),
            row_hash=digest_sql.row_hash(mapping, "t"),
            table=table_name(mapping),
            extras=_EXTRAS,
        )
    )


def refuse_lost_columns(mapping: TableMapping, table: TargetTable, where: str) -> None:
    """Raise `TargetError` where mapped columns are gone: made anew, empty, they can be filled."""
    there = {name for name, _ in table.columns}
    gone = [c for c in mapping.columns if c.target not in there]
    if not gone:
        return
    added = sql.SQL(", ").join(
        sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(c.target), raw(c.type.sql)) for c in gone
    )
    statement = sql.SQL("ALTER TABLE {} {}").format(table_name(mapping), added)
    raise TargetError(
        what=f"columns are gone: {', '.join(c.target for c in gone)}",
        where=where,
        expected="the columns of the sealed mapping; nothing was changed",
        hint=f"`{statement.as_string(None)}`, then repair again, which fills them",
    )
