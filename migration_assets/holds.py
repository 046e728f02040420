"""Tables on hold: nothing moves them until a person releases them.

A hold stands in the ledger. It is written under the lock that every move of the table takes first,
so it waits for a step that is under way, and no later step can miss it.
"""

import getpass
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager

from migration_assets.errors import SettingsError
from migration_assets.migration import Migration, persistent
from migration_assets.model import Hold
from migration_assets.target import layout, ledger
from migration_assets.target.connection import Connection, connect, require_writer, translated
from migration_assets.target.lock import lock_table


@persistent
def hold(migration: Migration, table: str, reason: str, *, by: str | None = None) -> None:
    """Put a table on hold: nothing moves it until it is released.

    Waits for a move that is under way. `by` names who says so; the system user by default.
    """
    where = f"table {table}"
    if not reason.strip():
        raise SettingsError(
            what="a hold needs a reason",
            where=where,
            hint="say why, for those who find the table on hold",
        )
    with _to_hold(migration, table, where) as connection:
        ledger.refuse_cut_over(connection, migration.source, table, where)
        text = " ".join(reason.split())
        ledger.hold(connection, migration.source, table, reason=text, by=by or who_says_so())


@persistent
def release(migration: Migration, table: str, *, cut_over: bool = False) -> Hold | None:
    """Let a table go on; return the hold that ended, None where there was none.

    Raises `HoldError` for one that was cut over, unless that is said: the next run would take the
    application's rows for mistakes.
    """
    where = f"table {table}"
    with _to_hold(migration, table, where) as connection:
        if not cut_over:
            ledger.refuse_cut_over(connection, migration.source, table, where)
        held = ledger.holds(connection, migration.source).get(table)
        ledger.release(connection, migration.source, table)
    return held


@contextmanager
def _to_hold(migration: Migration, table: str, where: str) -> Generator[Connection]:
    """Connect to the writer, with the ledger in place and the table's lock held."""
    with connect(migration.target) as connection, translated(where):
        require_writer(connection, where)
        layout.bootstrap(connection, migration.target.schema)
        with connection.transaction():
            lock_table(connection, migration.source, table)
            yield connection


def who_says_so() -> str:
    """Name the system user and this machine, as the ledger keeps it where nobody else is named."""
    return f"{_system_user()} on {socket.gethostname()}"


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.geteuid()}"
