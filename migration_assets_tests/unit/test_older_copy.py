"""A restored file is told by its pages, counters and schema; a living one never is."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from migration_assets.model import Cut
from migration_assets.source import taking
from migration_assets.source.older_copy import signs
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_sqlite import WEEK, make

SCHEMA = """
CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE ticket (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;
"""
DAY = """
UPDATE t SET v = hex(randomblob(40))
WHERE id IN (SELECT abs(random()) % 20000 FROM t LIMIT 40)
"""


class Source:
    """A source that lives for days, and its cuts."""

    def __init__(self, folder: Path) -> None:
        """Make it in an empty folder."""
        self.state = LocalState(folder / "state")
        self.path = make(folder / "app.sqlite", SCHEMA)
        self.taken = 0

    def do(self, statement: str) -> None:
        """Change it."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement)

    def live(self, days: int) -> None:
        """Change rows here and there, and add some."""
        for _ in range(days):
            self.do(DAY)
            self.do("INSERT INTO t (v) VALUES ('new')")

    def cut(self) -> Cut:
        """Take the next week's cut."""
        week = WEEK + timedelta(weeks=self.taken)
        self.taken += 1
        return taking.take(self.state, "main", self.path, week, timeout=5)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return a new source."""
    return Source(tmp_path)


def test_a_living_source_shows_no_sign(source: Source) -> None:
    """From its first cut on, whatever it does; a VACUUM changes every page and undoes none."""
    for week in range(4):
        source.live(7)
        if week == 2:
            source.do("VACUUM")
        assert signs(source.state, source.cut()) == []


@pytest.mark.parametrize("day", [0, 3])
@pytest.mark.parametrize("later", [0, 2])
def test_a_restored_file_is_told_by_its_pages(
    source: Source, tmp_path: Path, day: int, later: int
) -> None:
    """Of the last cut or of the week's middle, also after it has lived on."""
    source.live(7)
    source.cut()
    source.live(day)
    shutil.copyfile(source.path, tmp_path / "backup")
    source.live(7 - day)
    source.cut()
    shutil.copyfile(tmp_path / "backup", source.path)
    source.live(later)
    (sign,) = signs(source.state, source.cut())
    assert f"pages that changed until week {WEEK + timedelta(weeks=1)} are again as in" in sign


def test_a_counter_and_a_schema_that_went_back_are_told(source: Source, tmp_path: Path) -> None:
    """Also of a backup whose pages are others."""
    for _ in range(3):
        source.do("INSERT INTO ticket (v) VALUES ('x')")
    source.cut()
    shutil.copyfile(source.path, tmp_path / "backup")
    source.do("INSERT INTO ticket (v) VALUES ('x')")
    source.do("ALTER TABLE t ADD COLUMN w")
    source.cut()
    shutil.copyfile(tmp_path / "backup", source.path)
    counter, schema = signs(source.state, source.cut())
    assert counter == (
        "table ticket: its AUTOINCREMENT counter went back from 4 to 3, and 1 rows of week"
        f" {WEEK + timedelta(weeks=1)} have keys above it"
    )
    assert schema == f"the schema is again that of week {WEEK}"
