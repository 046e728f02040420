"""Exceptions: rows that differ between cut and target and are to stay so, kept in the ledger.

A row is known by the hashes of its key and of both sides. `verify.accepted` says what they mean in
a proof. An exception that no longer says what stands has lapsed: what only reads leaves it out, the
next move of the table notes that it has.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from migration_assets.errors import GuardError
from migration_assets.findings import DifferingRow
from migration_assets.model import AcceptedRow, TableMapping
from migration_assets.target.connection import Connection

KEPT_ROWS = "kept_rows"  # the guard of rows that exceptions keep
KEPT, RESTORED = "kept", "restored"  # by a person; by a rollback, which put a displaced row back

_SHOWN = 20  # rows that are named

_ACCEPTED = """
SELECT exception, key, key_hash, source_hash, target_hash, columns, mapping, origin, reason,
       accepted_by, accepted_at
FROM migration.exception WHERE source = %s AND table_name = %s AND lapsed_at IS NULL
ORDER BY exception
"""
_ACCEPT = """
INSERT INTO migration.exception
    (source, table_name, key, key_hash, source_hash, target_hash, columns, mapping, origin, reason,
     accepted_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def accepted(connection: Connection, source: str, table: str) -> tuple[AcceptedRow, ...]:
    """Return a table's exceptions that have not lapsed; none in a ledger that has no place yet."""
    if not _place_for_them(connection):
        return ()
    return tuple(
        AcceptedRow(
            number=number,
            key=key,
            key_hash=key_hash,
            source_hash=source_hash,
            target_hash=target_hash,
            columns=tuple(columns),
            mapping_hash=mapping,
            origin=origin,
            reason=reason,
            by=by,
            at=at,
        )
        for (
            number,
            key,
            key_hash,
            source_hash,
            target_hash,
            columns,
            mapping,
            origin,
            reason,
            by,
            at,
        ) in cast("Any", connection.execute(_ACCEPTED, (source, table)))
    )


def by_table(connection: Connection, source: str) -> dict[str, tuple[AcceptedRow, ...]]:
    """Return the exceptions of all tables of a source that have any."""
    if not _place_for_them(connection):
        return {}
    rows = connection.execute(
        "SELECT DISTINCT table_name FROM migration.exception"
        " WHERE source = %s AND lapsed_at IS NULL ORDER BY 1",
        (source,),
    ).fetchall()
    return {str(table): accepted(connection, source, str(table)) for (table,) in rows}


def _place_for_them(connection: Connection) -> bool:
    """Tell whether the ledger has exceptions at all: an older one that no run has brought on."""
    there = connection.execute("SELECT to_regclass('migration.exception') IS NOT NULL").fetchone()
    return bool(there and there[0])


def accept(
    connection: Connection,
    mapping: TableMapping,
    rows: Sequence[DifferingRow],
    *,
    origin: str,
    reason: str,
    by: str,
) -> None:
    """Note rows that are to stay as they are on the target; `origin` is `KEPT` or `RESTORED`.

    Needs the table's lock. What was accepted before under the same keys must have lapsed.
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            _ACCEPT,
            [
                (
                    mapping.source,
                    mapping.table,
                    row.key.replace("\0", "\\x00"),
                    row.key_hash,
                    row.source_hash,
                    row.target_hash,
                    list(row.columns),
                    mapping.hash,
                    origin,
                    reason,
                    by,
                )
                for row in rows
            ],
        )


def lapse(connection: Connection, rows: Iterable[AcceptedRow]) -> None:
    """Note that exceptions have lapsed. Needs the table's lock."""
    numbers = [row.number for row in rows]
    if numbers:
        connection.execute(
            "UPDATE migration.exception SET lapsed_at = clock_timestamp()"
            " WHERE exception = ANY (%s) AND lapsed_at IS NULL",
            (numbers,),
        )


def would_be_overwritten(rows: Sequence[AcceptedRow], where: str, *, show_keys: bool) -> GuardError:
    """Return the error of a step that stages the whole cut over rows that are kept."""
    named = "; ".join(row.key for row in rows[:_SHOWN]) if show_keys else ""
    more = f" and {len(rows) - _SHOWN} more" if named and len(rows) > _SHOWN else ""
    return GuardError(
        what=f"the step writes the whole table, over {len(rows)} rows that are kept as they are on"
        f" the target{f': {named}{more}' if named else ''}",
        where=where,
        expected="no exceptions, or the word that they may end",
        hint=f"`--acknowledge {KEPT_ROWS}` keeps these rows in migration.displaced, ends their"
        " exceptions and goes on",
    )
