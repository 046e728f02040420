"""Whole migrations for the tests: a source, a state folder and a target, and weeks run through."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import sql

from migration_assets import standing, step
from migration_assets.defs.resources import state_of
from migration_assets.errors import MigrationError, TargetError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets.model import Cut, TableMapping
from migration_assets.settings import Settings
from migration_assets.source.catalog import read_catalog
from migration_assets.source.connection import open_cut
from migration_assets.target.connection import target_of
from migration_assets_tests import independent

FIRST_WEEK = date(2026, 10, 4)
NOTHING: frozenset[str] = frozenset()
DISPLACE = frozenset({"foreign_writes"})

Row = tuple[Any, ...]
Done = dict[str, Moved | MigrationError]


class MakeMigration(Protocol):
    """Make a migration whose source was made by `schema`; `settings` override the defaults."""

    def __call__(self, schema: str, **settings: object) -> Migration:
        """Return it; nothing is taken or loaded yet."""
        ...


@pytest.fixture
def make_migration(tmp_path: Path, target_url: str) -> MakeMigration:
    """Return the factory of migrations from a new SQLite file to a new database."""

    def make(schema: str, **settings: object) -> Migration:
        source = tmp_path / "app.sqlite"
        with closing(sqlite3.connect(source)) as connection:
            connection.executescript(schema)
        return migration_of(source, tmp_path / "state", target_url, **settings)

    return make


def migration_of(source: Path, state: Path, url: str, **settings: object) -> Migration:
    """Return a migration with short timeouts."""
    fields: dict[str, Any] = {
        "source": source,
        "target": url,
        "state": state,
        "connect_patience": 2.0,
        "lock_timeout": 10.0,
        "retry_patience": 0.0,
    }
    fields |= settings
    chosen = Settings(**fields)
    return Migration(settings=chosen, state=state_of(chosen), target=target_of(chosen))


def week(number: int) -> date:
    """Return the first day of a week; weeks are numbered from 1."""
    return FIRST_WEEK + timedelta(weeks=number - 1)


def change(migration: Migration, *statements: str | tuple[str, Sequence[object]]) -> None:
    """Change the source, in one transaction; a statement may come with its parameters."""
    with closing(sqlite3.connect(migration.settings.source)) as connection, connection:
        for statement in statements:
            if isinstance(statement, str):
                connection.execute(statement)
            else:
                connection.execute(*statement)


def tables_in(cut: Cut) -> list[str]:
    """Return the names of a cut's tables."""
    with open_cut(cut) as connection:
        return [table.name for table in read_catalog(connection, cut.source).tables]


def run_week(
    migration: Migration,
    number: int,
    *,
    tables: Sequence[str] | None = None,
    acknowledged: frozenset[str] = NOTHING,
) -> Done:
    """Take the week's cut, then store the delta and carry every table; errors are collected."""
    cut = step.take_cut(migration, week(number))
    done: Done = {}
    for table in tables_in(cut) if tables is None else tables:
        try:
            step.make_delta(migration, table, week(number))
            done[table] = carry(migration, number, table, acknowledged=acknowledged)
        except MigrationError as error:
            done[table] = error
    return done


def carry(
    migration: Migration,
    number: int,
    table: str,
    *,
    acknowledged: frozenset[str] = NOTHING,
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved:
    """Carry one table to a week whose cut was taken."""
    return step.carry(migration, table, week(number), run="test", acknowledged=acknowledged, at=at)


def load_week(
    migration: Migration,
    number: int,
    *,
    tables: Sequence[str] | None = None,
    acknowledged: frozenset[str] = NOTHING,
) -> dict[str, Moved]:
    """Run a week in which nothing may fail."""
    moved: dict[str, Moved] = {}
    for table, result in run_week(
        migration, number, tables=tables, acknowledged=acknowledged
    ).items():
        if isinstance(result, MigrationError):
            raise result
        moved[table] = result
    return moved


def load_as_told(migration: Migration, number: int, table: str) -> Moved:
    """Run a table's week; where a generated column stands in its way, do what the error says."""
    done = run_week(migration, number, tables=[table])[table]
    if isinstance(done, TargetError) and "DROP EXPRESSION" in done.hint:
        write_on_target(migration, done.hint.split("`")[1])
        done = run_week(migration, number, tables=[table])[table]
    if isinstance(done, MigrationError):
        raise done
    return done


@contextmanager
def on_target(migration: Migration) -> Iterator[psycopg.Connection[Row]]:
    """Connect to the target as somebody else would."""
    with psycopg.connect(migration.target.url, autocommit=True) as connection:
        yield connection


def target_rows(migration: Migration, query: str) -> list[Row]:
    """Return what a query finds on the target."""
    with on_target(migration) as connection:
        return connection.execute(query.encode()).fetchall()


def write_on_target(migration: Migration, *statements: str) -> None:
    """Write on the target as somebody else would, in one transaction."""
    with on_target(migration) as connection, connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())


def snapshot(migration: Migration) -> dict[str, list[Row]]:
    """Return everything that a move may change: all tables but the notes of failed attempts."""
    with on_target(migration) as connection:
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE tablename <> 'attempt'"
            " AND schemaname IN ('public', 'migration') ORDER BY 1, 2"
        ).fetchall()
        return {
            table: connection.execute(
                sql.SQL("SELECT (t.*)::text FROM {} AS t ORDER BY 1").format(
                    sql.Identifier(schema, table)
                )
            ).fetchall()
            for schema, table in names
        }


def entries(migration: Migration, table: str) -> list[Row]:
    """Return a table's head moves: week, base week, rows inserted, updated and deleted."""
    with on_target(migration) as connection:
        return connection.execute(
            "SELECT week, base_week, inserted, updated, deleted FROM migration.ledger"
            " WHERE table_name = %s ORDER BY entry",
            (table,),
        ).fetchall()


def mapping_of(migration: Migration, table: str) -> TableMapping:
    """Return the sealed mapping of a table that was loaded."""
    found = standing.verify(migration, table)
    assert found is not None
    return found[1]


def assert_equal(
    migration: Migration,
    *tables: str,
    file: Path | None = None,
    extra_columns: Sequence[str] = (),
) -> None:
    """Let the independent judge compare the source (or a cut's `file`) with the target.

    All tables, or those named. `extra_columns` may stand on the target only.
    """
    found = independent.compare(
        file or migration.settings.source, migration.target.url, tables=tables or None
    )
    allowed = {(column, "stands at the target only") for column in extra_columns}
    left = [d for d in found.differences if (d.column, d.what) not in allowed]
    counted = all(
        t.differing_rows == 0 and t.source_rows == t.target_rows + t.quarantined_rows
        for t in found.tables
    )
    assert found.tables, "nothing was compared"
    assert not left, found.describe()
    assert counted, found.describe()


def assert_proved(migration: Migration, *tables: str) -> None:
    """Let the pipeline's own verification prove tables against their heads."""
    for table in tables:
        found = standing.verify(migration, table)
        assert found is not None, f"{table} was never loaded"
        assert found[0].holds, f"{table}: {found[0].differences}"
