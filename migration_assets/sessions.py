"""What a step holds while it works: its table, the cuts it reads, a session on the writer."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date
from typing import TypeVar

from migration_assets.errors import OvertakenError
from migration_assets.mapping.names import asset_name
from migration_assets.migration import Migration
from migration_assets.model import Head
from migration_assets.target import layout, ledger
from migration_assets.target.connection import Connection, connect, require_writer, translated

T = TypeVar("T")
ROUNDS = 5  # another run that moves the same table at the same time makes us prepare again


@contextmanager
def alone(migration: Migration, table: str) -> Generator[None]:
    """Hold a table's deltas: one that is made again would take its files from a running step.

    And keep all cuts from being removed meanwhile, whichever the step finds.
    """
    name = f"table-{migration.source}-{asset_name(table)}"
    with reading(migration), migration.state.lock(name, purpose=f"a step of table {table}"):
        yield


@contextmanager
def reading(migration: Migration) -> Generator[None]:
    """Keep cuts and deltas from being removed while they are read; many may read at once."""
    name = reading_lock(migration)
    with migration.state.lock(name, purpose="reading cuts", shared=True):
        yield


def reading_lock(migration: Migration) -> str:
    """Name the lock that readers of cuts share, and that who removes some holds alone."""
    return f"reading-{migration.source}"


@contextmanager
def session(migration: Migration, table: str, week: date | None = None) -> Generator[Connection]:
    """Connect to the writer, with the ledger in place; errors name table and week."""
    where = f"table {table}, week {week}" if week else f"table {table}"
    with connect(migration.target) as connection, translated(where):
        require_writer(connection, where)
        layout.bootstrap(connection, migration.target.schema)
        yield connection


def at_head(
    migration: Migration, table: str, do: Callable[[Connection, Head], T | None]
) -> T | None:
    """Do something where a table stands, again where another run moved it meanwhile.

    `do` returns None where it was overtaken. None comes back before the table's first load.
    """
    with alone(migration, table), session(migration, table) as connection:
        for _ in range(ROUNDS):
            head = ledger.head(connection, migration.source, table)
            if head is None:
                return None
            done = do(connection, head)
            if done is not None:
                return done
    raise overtaken(f"table {table}")


def overtaken(where: str) -> OvertakenError:
    """Return the error of a table whose head moved each time it was looked at."""
    return OvertakenError(
        what=f"other runs moved the table {ROUNDS} times while this one prepared",
        where=where,
        hint="let the other runs end, then run again",
    )
