"""A table whose schema did not change is never moved between mappings, whatever is said of it."""

import shutil
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import DriftError, MigrationError, SettingsError
from migration_assets.migration import Migration
from migration_assets.source.connection import exact_text
from migration_assets_tests.fixtures_migration import (
    assert_proved,
    load_week,
    migration_of,
    run_week,
    target_rows,
)
from migration_assets_tests.fixtures_sqlite import insert
from migration_assets_tests.random_schemas import Column, Rows, Table, rows, tables

_numbers = count(1)
_TYPES = (
    *("bigint", "double precision", "numeric", "numeric(10,2)", "text", "bytea", "boolean", "date"),
    *("timestamp", "timestamptz", "time", "uuid", "json"),
)
_ENCODINGS = {
    "timestamp": ("YYYY-MM-DD HH:MM:SS", "YYYY-MM-DDTHH:MM:SS.fff", "epoch s", "julian"),
    "timestamptz": ("YYYY-MM-DDTHH:MM:SS.ffffffZ", "YYYY-MM-DD HH:MM:SS+02:00", "epoch ms"),
    "time": ("HH:MM:SS", "HH:MM:SS.fff"),
    "uuid": ("dashed lower", "plain upper", "blob"),
    "boolean": ("0/1", "true/false", "Yes/No"),
    "numeric": ("number", "text"),
}
_CASTS = (
    "typeof({c})",
    "coalesce({c}, 0)",
    "length({c})",
    "CAST({c} AS TEXT)",
    "NULL",
    "'a' || {c}",
)
_POLICIES = ("quarantine", "widen", "fail")
_TRANSFORM = "migration_assets_tests.transforms:same"


@st.composite
def said_of(draw: st.DrawFn, column: Column) -> dict[str, str]:
    """Return what the settings say of a column; most of it can be what its values are."""
    said: dict[str, str] = {}
    if draw(st.booleans()):
        kind = said["type"] = draw(st.sampled_from(_TYPES))
        if kind in _ENCODINGS and draw(st.booleans()):
            said["encoding"] = draw(st.sampled_from(_ENCODINGS[kind]))
    if draw(st.booleans()):
        said["policy"] = draw(st.sampled_from(_POLICIES))
    if draw(st.integers(0, 2)) == 0:
        said["cast"] = draw(st.sampled_from(_CASTS)).format(c=column.name)
    return said


@st.composite
def said(draw: st.DrawFn, table: Table) -> dict[str, Any]:
    """Return what the settings say of a table and some of its columns."""
    names = [column.name for column in table.columns]
    found: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        found["policy"] = draw(st.sampled_from(_POLICIES))
    if draw(st.integers(0, 3)) == 0:
        found["key"] = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        found["transform"] = _TRANSFORM
    spoken = draw(st.lists(st.sampled_from(table.columns), unique=True, max_size=3))
    found["columns"] = {c.name: draw(said_of(c)) for c in spoken}
    return found


@st.composite
def lives(draw: st.DrawFn) -> tuple[Table, dict[str, Any], list[Rows]]:
    """Return a table, what is said of it, its first rows and those that come later."""
    table = draw(tables(f"f{next(_numbers)}"))
    weeks = [draw(rows(table, most=8)), draw(rows(table, most=2))]
    return table, draw(said(table)), weeks


def write(source: Path, statements: list[str], table: Table, found: Rows) -> None:
    """Change the source: its schema, then its rows."""
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.text_factory = exact_text
        for statement in statements:
            connection.execute(statement)
        insert(connection, table.name, found)


def last_move(migration: Migration, table: str) -> tuple[str, list[str]]:
    """Return the kind of a table's last move, and the changes of its mapping."""
    found = target_rows(
        migration,
        "SELECT kind, changes FROM migration.ledger WHERE table_name ="
        f" '{table}' ORDER BY entry DESC LIMIT 1",
    )
    return found[0][0], list(found[0][1] or ())


@settings(max_examples=100)
@given(life=lives())
def test_an_unchanged_schema_is_no_change_of_the_mapping(
    url: str, folder: Path, life: tuple[Table, dict[str, Any], list[Rows]]
) -> None:
    """Neither in a quiet week nor in one with new rows, but for a column's first values."""
    table, wanted, weeks = life
    source = folder / f"{table.name}.sqlite"
    source.unlink(missing_ok=True)
    write(source, table.ddl(), table, weeks[0])
    tables = {table.name: wanted}
    migration = migration_of(source, folder / table.name, url, quarantine_rows=1000, tables=tables)
    done = run_week(migration, 1)[table.name]
    if isinstance(done, MigrationError):
        assert isinstance(done, SettingsError | DriftError), done  # what the values don't allow
        return
    load_week(migration, 2)
    assert last_move(migration, table.name) == ("load", [])
    assert_proved(migration, table.name)
    write(source, [], table, weeks[1])
    done = run_week(migration, 3)[table.name]
    if isinstance(done, MigrationError):
        # As the settings have it, or since a generated column would give another value.
        assert "its policy is to fail" in str(done) or "DROP EXPRESSION" in done.hint
        return
    _, changes = last_move(migration, table.name)
    # What else is said then, of defaults or generated columns, follows from the other types.
    assert not changes or [c for c in changes if "first values" in c or "(policy widen)" in c]
    assert_proved(migration, table.name)
    load_week(migration, 4)
    assert last_move(migration, table.name) == ("load", [])
    shutil.rmtree(folder / table.name)
