"""Apply a staged delta to its table, inside the move's transaction.

Deletes come first, then updates and inserts by the method that suits the table: a single
`INSERT … ON CONFLICT` where only the key is unique; DELETE and INSERT where other unique indexes
exist, since two rows may have swapped their values. A table without a key is left to `copies`.
Columns of the target that are not ours keep their values either way; a delete that would cascade
into other tables is refused by name.
"""

import shlex
from collections.abc import Sequence

from psycopg import sql

from migration_assets.errors import ForeignWriteError, GuardError
from migration_assets.findings import Difference
from migration_assets.model import AcceptedRow, Delta, Scope, TableMapping
from migration_assets.target import copies
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import TargetTable, table_name
from migration_assets.target.staging import STAGED, staged_value
from migration_assets.target.writing import (
    KEPT_CHANGED,
    SHOWN,
    Applied,
    insert_staged,
    is_delete,
    is_written,
    refuse_cascade,
    refuse_changing_others,
)
from migration_assets.verify import digest_sql
from migration_assets.verify.attribution import ways_out

FOREIGN_WRITES = "foreign_writes"


def same_key(mapping: TableMapping, left: str, right: str) -> sql.Composed:
    """Return the condition that two aliases have the same key."""
    targets = [mapping.column(name).target for name in mapping.key]
    return sql.SQL(" AND ").join(
        [
            sql.SQL("{} = {}").format(sql.Identifier(left, t), sql.Identifier(right, t))
            for t in targets
        ]
    )


def key_as_text(mapping: TableMapping, alias: str) -> sql.Composed:
    """Return an expression that renders a row's key for people: `a=1, b=x`."""
    parts = [
        sql.SQL("{} || coalesce({}::text, 'null')").format(
            sql.Literal(f"{mapping.column(name).name}="),
            sql.Identifier(alias, mapping.column(name).target),
        )
        for name in mapping.key
    ]
    return sql.SQL(" || ', ' || ").join(parts)


def foreign_rows(
    connection: Connection, mapping: TableMapping, delta: Delta, kept: Sequence[AcceptedRow] = ()
) -> list[Difference]:
    """Name rows of the delta whose target form isn't what the older cut had (at most `SHOWN`).

    Those that exceptions keep are called so. Without a key this also finds the copies that `apply`
    deletes, so it has to come first.
    """
    hashes = {row.key_hash for row in kept}
    if not mapping.key:
        return copies.lacking(connection, mapping, delta, hashes)
    query = sql.SQL(
        "SELECT {key}, t.ctid IS NULL, {key_hash} FROM {staged} AS s"
        " LEFT JOIN {table} AS t ON {same}"
        " WHERE (CASE WHEN t.ctid IS NOT NULL THEN {row_hash} END) IS DISTINCT FROM {old_hash}"
        " ORDER BY 1 LIMIT {limit}"
    ).format(
        key=key_as_text(mapping, "s"),
        key_hash=digest_sql.key_hash(mapping, "s"),
        staged=STAGED,
        table=table_name(mapping),
        same=same_key(mapping, "t", "s"),
        row_hash=digest_sql.row_hash(mapping, "t"),
        old_hash=sql.Identifier("s", delta.hash_column),
        limit=sql.Literal(SHOWN),
    )
    return [
        Difference(
            key=str(key),
            what=KEPT_CHANGED
            if key_hash in hashes
            else "gone from the target"
            if gone
            else "not as the last load left it",
        )
        for key, gone, key_hash in connection.execute(query)
    ]


def touched_rows(mapping: TableMapping, delta: Delta, *, written: bool) -> sql.Composed:
    """Return the target's rows that the delta names; only those it writes if `written`."""
    condition = sql.SQL(" AND {}").format(is_written(delta)) if written else sql.SQL("")
    return sql.SQL("(SELECT t.* FROM {} AS t JOIN {} AS s ON {}{})").format(
        table_name(mapping), STAGED, same_key(mapping, "t", "s"), condition
    )


def apply(
    connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable
) -> Applied:
    """Bring the table from its head to the delta's cut."""
    if delta.scope is Scope.EVERYTHING:
        if not mapping.key:
            return copies.exchange(connection, mapping, table)
        deleted = _drop_unchanged(connection, mapping, table)
    elif not mapping.key:
        return copies.apply(connection, mapping, delta, table)
    else:
        deleted = _delete_staged(connection, mapping, delta, table)
    _refuse_following(connection, mapping, delta, table)
    existing = _count_existing(connection, mapping, delta)
    written = (
        _delete_and_insert(connection, mapping, delta, table)
        if table.secondary_unique
        else _upsert(connection, mapping, delta, table)
    )
    return Applied(inserted=written - existing, updated=existing, deleted=deleted)


def insert_all(connection: Connection, mapping: TableMapping) -> int:
    """Insert all staged rows into a new table; return their number."""
    generated = [c.target for c in mapping.columns if c.generated]
    return connection.execute(insert_staged(mapping, _ordered(mapping), generated)).rowcount


def replaced_total(connection: Connection, delta: Delta) -> int:
    """Return the sum of the older hashes of the rows that the delta replaces or deletes."""
    query = sql.SQL("SELECT coalesce(sum({}), 0) FROM {}").format(
        sql.Identifier(delta.hash_column), STAGED
    )
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0


def _drop_unchanged(connection: Connection, mapping: TableMapping, table: TargetTable) -> int:
    """Delete what the cut no longer has; forget staged rows that stand already as they are."""
    same = same_key(mapping, "t", "s")
    gone = sql.SQL(" FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
        table_name(mapping), STAGED, same
    )
    if table.cascading:
        row = connection.execute(sql.SQL("SELECT count(*)") + gone).fetchone()
        if row and row[0]:
            refuse_cascade(mapping, table)
    deleted = connection.execute(sql.SQL("DELETE") + gone).rowcount
    connection.execute(
        sql.SQL("DELETE FROM {} AS s USING {} AS t WHERE {} AND {} = {}").format(
            STAGED,
            table_name(mapping),
            same,
            digest_sql.row_hash(mapping, "t"),
            digest_sql.row_hash(mapping, "s"),
        )
    )
    return deleted


def _delete_staged(
    connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable
) -> int:
    if not delta.deletes:
        return 0
    refuse_cascade(mapping, table)
    return connection.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE {} AND {}").format(
            table_name(mapping), STAGED, same_key(mapping, "t", "s"), is_delete(delta)
        )
    ).rowcount


def _refuse_following(
    connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable
) -> None:
    """Raise `TargetError` where an update here would change rows of other tables after it."""
    ours = {c.target: c for c in mapping.columns}
    for name, columns in table.following:
        moving = [
            sql.SQL("{} IS DISTINCT FROM {}").format(
                sql.Identifier("t", column), staged_value(ours[column], "s")
            )
            for column in columns
            if column in ours
        ]
        query = sql.SQL(
            "SELECT EXISTS (SELECT FROM {} AS t JOIN {} AS s ON {} AND {} WHERE {})"
        ).format(
            table_name(mapping),
            STAGED,
            same_key(mapping, "t", "s"),
            is_written(delta),
            sql.SQL(" OR ").join(moving or [sql.SQL("false")]),
        )
        row = connection.execute(query).fetchone()
        if row and row[0]:
            refuse_changing_others(mapping, (name,), "updating")


def _count_existing(connection: Connection, mapping: TableMapping, delta: Delta) -> int:
    """Count staged rows to be written whose key stands on the target already."""
    query = sql.SQL("SELECT count(*) FROM {} AS counted").format(
        touched_rows(mapping, delta, written=True)
    )
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0


def _written(delta: Delta) -> sql.Composed:
    return sql.SQL("WHERE {}").format(is_written(delta))


def _ordered(mapping: TableMapping) -> sql.Composable:
    if not mapping.key:
        return sql.SQL("")
    keys = [sql.Identifier("s", mapping.column(name).target) for name in mapping.key]
    return sql.SQL(" ORDER BY ") + sql.SQL(", ").join(keys)


def _upsert(connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable) -> int:
    keys = [sql.Identifier(mapping.column(name).target) for name in mapping.key]
    others = [
        sql.Identifier(c.target)
        for c in mapping.columns
        if c.name not in mapping.key and c.target not in table.generated
    ]
    change = (
        sql.SQL("DO UPDATE SET ")
        + sql.SQL(", ").join([sql.SQL("{0} = excluded.{0}").format(c) for c in others])
        if others
        else sql.SQL("DO NOTHING")
    )
    conflict = sql.SQL(" ON CONFLICT ({}) {}").format(sql.SQL(", ").join(keys), change)
    rest = _written(delta) + _ordered(mapping) + conflict
    return connection.execute(insert_staged(mapping, rest, table.generated)).rowcount


def _delete_and_insert(
    connection: Connection, mapping: TableMapping, delta: Delta, table: TargetTable
) -> int:
    """Replace rows whole; columns that are not ours are carried over by key."""
    if table.referenced:
        # Deleting a referenced row would fail or cascade; updating can only fail on a swap.
        return _upsert(connection, mapping, delta, table)
    if table.extra_columns:
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE carried ON COMMIT DROP AS SELECT * FROM {} AS t"
            ).format(touched_rows(mapping, delta, written=True))
        )
    connection.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE {}").format(
            table_name(mapping), STAGED, same_key(mapping, "t", "s")
        )
    )
    rest = _written(delta) + _ordered(mapping)
    written = connection.execute(insert_staged(mapping, rest, table.generated)).rowcount
    if table.extra_columns:
        _put_back(connection, mapping, table.extra_columns)
    return written


def _put_back(
    connection: Connection, mapping: TableMapping, extra_columns: tuple[str, ...]
) -> None:
    settings = [sql.SQL("{0} = c.{0}").format(sql.Identifier(name)) for name in extra_columns]
    connection.execute(
        sql.SQL("UPDATE {} AS t SET {} FROM pg_temp.carried AS c WHERE {}").format(
            table_name(mapping), sql.SQL(", ").join(settings), same_key(mapping, "t", "c")
        )
    )


def refuse_foreign(
    mapping: TableMapping, week: object, found: list[Difference], *, show_keys: bool
) -> None:
    """Raise `ForeignWriteError` for rows that aren't as the last load left them, naming them.

    Where all of them are kept as they are and changed at the source, their exceptions are in the
    way, not another person: `GuardError` then.
    """
    shown = "; ".join(d.text(show_key=show_keys) for d in found)
    more = " and maybe more" if len(found) == SHOWN else ""
    where = f"table {mapping.table}, week {week}"
    if all(d.what == KEPT_CHANGED for d in found):
        raise GuardError(
            what=f"{len(found)} rows{more} are kept as they are on the target, and changed at the"
            f" source: {shown}",
            where=where,
            expected="kept rows to stay as they are at the source",
            hint=f"`migration-assets repair {shlex.quote(mapping.table)} --kept` gives them back to"
            " the source and ends their exceptions; then run this week again",
        )
    raise ForeignWriteError(
        what=f"{len(found)} rows{more} were changed on the target by someone else: {shown}",
        where=where,
        expected="the rows as the last load left them",
        hint=foreign_hint(mapping),
    )


def foreign_hint(mapping: TableMapping) -> str:
    """Say what to do about rows that aren't as the last load left them.

    That they were may have been told by another transform than the one that made them.
    """
    told = (
        f"`migration-assets verify` names them all; {ways_out(mapping.table)}; or"
        " `--acknowledge foreign_writes` keeps their rows in migration.displaced and goes on"
    )
    if not mapping.transform:
        return told
    return (
        f"if what {mapping.transform} makes of a row was changed, give the function another name,"
        f" in its module and in migration.yaml: the table then moves to it; else {told}"
    )
