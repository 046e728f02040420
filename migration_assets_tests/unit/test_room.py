"""Whether a week fits on the disk is told before its cut is begun, with both figures."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.errors import StateError
from migration_assets.model import Scope
from migration_assets.source import delta, delta_files, taking
from migration_assets.source.reader import table_in
from migration_assets.source.room import Forecast, forecast
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_sqlite import LATER, WEEK, make, proposed

SCHEMA = """
CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;
"""


class SmallDisk(LocalState):
    """A state folder whose disk has only so much room."""

    room: int | None = 0

    def free(self) -> int | None:
        """Return what is left."""
        return self.room


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    """Return a state folder on a disk without room."""
    return SmallDisk(tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a source of some hundred kilobytes."""
    return make(tmp_path / "app.sqlite", SCHEMA)


def test_what_does_not_fit_is_refused_with_both_figures_and_nothing_is_copied(
    disk: SmallDisk, source: Path
) -> None:
    """Before the first week half as much again is kept for deltas."""
    size = source.stat().st_size
    disk.room = int(size * 1.5) - 1
    with pytest.raises(StateError) as caught:
        taking.take(disk, "main", source, WEEK, timeout=5)
    said = str(caught.value)
    assert f"needs {size * 1.5 / 1e6:,.1f} MB ({size / 1e6:,.1f} for its cut" in said
    assert f"and {disk.room / 1e6:,.1f} MB are free" in said
    assert "keep_weeks" in caught.value.hint
    assert [key for key in disk.keys("") if not key.startswith("locks/")] == []
    disk.room += 1
    assert taking.take(disk, "main", source, WEEK, timeout=5).size == size


def test_what_is_there_already_needs_no_room(disk: SmallDisk, source: Path) -> None:
    """A sealed cut is returned, however full the disk is."""
    disk.room = None
    cut = taking.take(disk, "main", source, WEEK, timeout=5)
    disk.room = 0
    assert taking.take(disk, "main", source, WEEK, timeout=5) == cut


def test_a_wal_that_is_not_checkpointed_counts(disk: SmallDisk, source: Path) -> None:
    """Its pages are in the cut; beside a link it is looked for at the file itself."""
    link = source.with_name("link.sqlite")
    link.symlink_to(source)
    with closing(sqlite3.connect(source, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("PRAGMA wal_autocheckpoint = 0")
        application.execute("UPDATE t SET v = v || 'x'")
        wal = source.with_name("app.sqlite-wal").stat().st_size
        assert wal > source.stat().st_size / 2
        assert forecast(disk, "main", link).copy == source.stat().st_size + wal
        disk.room = None
        assert (
            taking.take(disk, "main", source, WEEK, timeout=5).size <= source.stat().st_size + wal
        )


def test_the_busiest_week_until_now_says_what_deltas_take(disk: SmallDisk, source: Path) -> None:
    """Twice its files; a first load's don't count, but a twentieth of the copy always does."""
    disk.room = None
    first = taking.take(disk, "main", source, WEEK, timeout=5)
    table, mapping = table_in(first, "t"), proposed(first)
    everything = delta.everything(first, table, mapping)
    delta_files.write(
        disk, everything, mapping, week=WEEK, base=None, cut=first, scope=Scope.EVERYTHING
    )
    size = source.stat().st_size
    assert forecast(disk, "main", source).deltas == int(size * 0.05)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("UPDATE t SET v = hex(randomblob(40))")
    second = taking.take(disk, "main", source, LATER, timeout=5)
    changes = delta.changes(first, second, table, mapping, scratch=disk.root)
    stored = delta_files.write(
        disk, changes, mapping, week=LATER, base=first, cut=second, scope=Scope.CHANGES
    )
    files = sum(f.stat().st_size for f in stored.rows_path.parent.iterdir())
    assert files > size * 0.05
    assert forecast(disk, "main", source).deltas == 2 * files


def test_where_nobody_can_tell_what_is_free_nothing_is_refused() -> None:
    """A store somewhere else may not say."""
    unknown = Forecast(copy=10**12, deltas=10**12, free=None)
    assert unknown.fits
    assert "an unknown number of MB are free" in unknown.text


def test_a_folder_that_is_not_made_yet_has_its_parents_room(tmp_path: Path) -> None:
    """The first cut makes it."""
    free = LocalState(tmp_path / "not" / "yet").free()
    assert free is not None
    assert free > 0
