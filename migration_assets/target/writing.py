"""What both methods of applying a delta share: see `apply` (by key) and `copies` (without one)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.model import (
    Delta,
    Op,
    TableMapping,
)
from migration_assets.target.ddl import TargetTable, table_name
from migration_assets.target.staging import STAGED, staged_value

KEPT_CHANGED = "kept as it is on the target, and changed at the source"
SHOWN = 20  # differing rows that are named; the counts are always whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Rows changed on the target, by operation.

    `net` is the sum of the row hashes inserted less those deleted, as the server wrote them; it is
    told only where the table has no key.
    """

    inserted: int
    updated: int
    deleted: int
    net: int = 0


def insert_staged(
    mapping: TableMapping, rest: sql.Composable, generated: Collection[str]
) -> sql.Composed:
    """Return the statement that inserts staged rows (known as `s`) into the table (as `t`).

    The server itself fills the `generated` columns; the digest proves what it put there.
    """
    written = [c for c in mapping.columns if c.target not in generated]
    targets = sql.SQL(", ").join([sql.Identifier(c.target) for c in written])
    values = sql.SQL(", ").join([staged_value(c, "s") for c in written])
    # the alias, since a table may itself be called "excluded"
    return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM {} AS s {}").format(
        table_name(mapping), targets, values, STAGED, rest
    )


def is_delete(delta: Delta) -> sql.Composed:
    """Return the condition that a staged row (`s`) is one to delete."""
    return sql.SQL("s.{} = {}").format(
        sql.Identifier(delta.op_column), sql.Literal(Op.DELETE.value)
    )


def is_written(delta: Delta) -> sql.Composed:
    """Return the condition that a staged row (`s`) is one to insert or update."""
    return sql.SQL("NOT {}").format(is_delete(delta))


def refuse_cascade(mapping: TableMapping, table: TargetTable) -> None:
    """Raise `TargetError` where a delete would change other rows."""
    if table.cascading:
        refuse_changing_others(mapping, table.cascading, "deleting")


def refuse_changing_others(mapping: TableMapping, keys: Sequence[str], doing: str) -> None:
    """Raise `TargetError` for foreign keys through which `doing` this would change other rows."""
    action = "DELETE" if doing == "deleting" else "UPDATE"
    raise TargetError(
        what=f"{doing} would change other rows through {', '.join(keys)}",
        where=f"target table {mapping.target_table}",
        expected=f"no ON {action} CASCADE, SET NULL or SET DEFAULT before the cutover",
        hint="drop these foreign keys until the cutover",
    )
