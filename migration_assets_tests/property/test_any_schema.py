"""Any schema with any rows: all of it arrives or is named, judged by independent eyes."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.findings import Outcome
from migration_assets.source.connection import exact_text
from migration_assets_tests.fixtures_migration import (
    assert_equal,
    assert_proved,
    carry,
    load_as_told,
    migration_of,
)
from migration_assets_tests.fixtures_sqlite import CODECS, ENCODINGS, insert, insert_utf16
from migration_assets_tests.random_schemas import Rows, Table, rows, tables

_numbers = count(1)


def create(source: Path, table: Table, encoding: str) -> None:
    """Make the table in a new database."""
    source.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        for statement in table.ddl():
            connection.execute(statement)


def fill(source: Path, table: Table, found: Sequence[Sequence[object]], encoding: str) -> None:
    """Let the source hold these rows, less those that its constraints refuse."""
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.text_factory = exact_text
        connection.execute(f"DELETE FROM {table.name}")
        if encoding == "UTF-8":
            insert(connection, table.name, found)
        else:
            insert_utf16(connection, table.name, found, CODECS[encoding])


@st.composite
def lives(draw: st.DrawFn) -> tuple[Table, list[Rows]]:
    """Return a table and its rows of three weeks; some rows live on."""
    table = draw(tables(f"s{next(_numbers)}"))
    weeks = [draw(rows(table, least=4, most=12))]
    for _ in range(2):
        kept = draw(st.integers(0, len(weeks[-1])))
        weeks.append([*weeks[-1][:kept], *draw(rows(table, most=5))])
    return table, weeks


@settings(max_examples=60)
@given(life=lives(), encoding=st.sampled_from(("UTF-8", *ENCODINGS)))
def test_any_schema_and_any_rows_arrive_or_are_named(
    url: str, folder: Path, life: tuple[Table, list[Rows]], encoding: str
) -> None:
    """Three weeks of any values in a table of any shape: cut = target + quarantine, each week."""
    table, weeks = life
    source = folder / f"{table.name}.sqlite"
    create(source, table, encoding)
    migration = migration_of(source, folder / table.name, url, quarantine_rows=1000)
    for number, found in enumerate(weeks, 1):
        fill(source, table, found, encoding)
        load_as_told(migration, number, table.name)
        assert_equal(migration, table.name)
        assert_proved(migration, table.name)
        assert carry(migration, number, table.name).outcome is Outcome.COVERED
    shutil.rmtree(folder / table.name)
