"""Any schema that changes from week to week: every row still arrives or is named."""

import shutil
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import MigrationError
from migration_assets.migration import Migration
from migration_assets.source.connection import exact_text
from migration_assets_tests.fixtures_migration import (
    assert_equal,
    assert_proved,
    load_as_told,
    migration_of,
)
from migration_assets_tests.fixtures_sqlite import insert
from migration_assets_tests.random_schemas import DRIFTS, Drift, Rows, Table, rows, tables

_numbers = count(1)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Table, Rows, list[tuple[Drift, Rows]]]:
    """Return a table with its rows, and four weeks of changed schemas, each with new rows."""
    first = table = draw(tables(f"d{next(_numbers)}"))
    weeks: list[tuple[Drift, Rows]] = []
    for number in range(4):
        drift = draw(draw(st.sampled_from(DRIFTS))(table, number))
        drift = drift or Drift(table=table, statements=())
        table = drift.table
        weeks.append((drift, draw(rows(table, most=3))))
    return first, draw(rows(first, least=4, most=10)), weeks


class Life:
    """A table that lives through weeks, and what people have said of it in the settings."""

    def __init__(self, source: Path, state: Path, url: str, table: Table) -> None:
        self._made = (source, state, url)
        self.name = table.name
        self.columns: dict[str, dict[str, str]] = {}
        self.gone: list[str] = []
        self.source = source

    @property
    def migration(self) -> Migration:
        """The migration under the settings as they are now."""
        source, state, url = self._made
        tables: dict[str, Any] = {self.name: {"columns": self.columns}} if self.columns else {}
        return migration_of(source, state, url, quarantine_rows=1000, tables=tables)

    def write(self, statements: tuple[str, ...], found: Rows) -> bool:
        """Change the source: its schema, then its rows; tell whether its rows let it."""
        with closing(sqlite3.connect(self.source)) as connection, connection:
            connection.text_factory = exact_text
            try:
                for statement in statements:
                    connection.execute(statement)
            except sqlite3.IntegrityError:
                return False
            insert(connection, self.name, found)
        return True

    def load(self, week: int, drift: Drift | None) -> None:
        """Load a week; what has to be confirmed is confirmed, and loaded then."""
        try:
            load_as_told(self.migration, week, self.name)
        except MigrationError as error:
            if drift is None or drift.renamed is None or "renamed_from" not in error.hint:
                raise
            former, name = drift.renamed
            self.columns[name] = {"renamed_from": former}
            load_as_told(self.migration, week, self.name)
            self.columns.pop(former, None)
            self.settle(drift, renamed=True)
        else:
            self.settle(drift, renamed=False)

    def settle(self, drift: Drift | None, *, renamed: bool) -> None:
        """Remember which columns stand on the target only from now on."""
        if drift is not None and drift.dropped:
            self.gone.append(drift.dropped)
        if drift is not None and drift.renamed is not None and not renamed:
            self.gone.append(drift.renamed[0])  # another column, as far as its values tell


@settings(max_examples=40)
@given(life=lives())
def test_any_drift_loses_no_row(
    url: str, folder: Path, life: tuple[Table, Rows, list[tuple[Drift, Rows]]]
) -> None:
    """Columns come, go, are renamed, retyped and put elsewhere; cut = target + quarantine."""
    table, found, weeks = life
    source = folder / f"{table.name}.sqlite"
    source.unlink(missing_ok=True)
    alive = Life(source, folder / table.name, url, table)
    alive.write(tuple(table.ddl()), found)
    alive.load(1, None)
    for number, (drift, more) in enumerate(weeks, 2):
        if not alive.write(drift.statements, more):
            break  # rows that the new constraints refuse: no application gets there
        alive.load(number, drift)
        assert_equal(alive.migration, table.name, extra_columns=[n.lower() for n in alive.gone])
        assert_proved(alive.migration, table.name)
    shutil.rmtree(folder / table.name)
