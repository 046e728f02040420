"""A source that is never at rest, or is replaced while copied: cuts of one moment, or none."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from migration_assets import step
from migration_assets.errors import SourceReplacedError
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_faults import Tally, patient
from migration_assets_tests.fixtures_migration import MakeMigration, load_week, target_rows, week
from migration_assets_tests.processes import ACCOUNTS, started, write_forever
from migration_assets_tests.system.waiting import until

AMOUNT, OTHER_AMOUNT = 100, 7
ACCOUNTS_IN_ALL = 3_300
HELD = """
SELECT sum(n), sum(s)
FROM (SELECT count(*) AS n, sum(amount) AS s FROM account
      UNION ALL SELECT count(*), sum(amount) FROM closed) AS either
"""


def held(file: Path) -> tuple[int, int]:
    """Return how many accounts there are in both tables, and what they hold."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute(HELD).fetchone()


@contextmanager
def busy(migration: Migration, *, checkpointed: bool) -> Iterator[None]:
    """Let a process of its own write for as long as the block runs; it is killed at the end."""
    ready = migration.settings.source.with_name("ready")
    checkpoint = 1_000 if checkpointed else 0  # pages; the first is SQLite's own default
    writer = started(write_forever, migration.settings.source, ready, checkpoint)
    try:
        until(ready.exists, what="the writer has committed")
        yield
        assert writer.is_alive()
    finally:
        writer.kill()
        writer.join()
        writer.close()


@pytest.mark.parametrize(
    ("journal", "checkpointed"),
    [("DELETE", True), ("WAL", True), ("WAL", False)],
    ids=["rollback journal", "WAL", "WAL never checkpointed"],
)
def test_every_week_of_a_source_that_is_never_at_rest_is_one_moment_of_it(
    make_migration: MakeMigration, tally: Tally, journal: str, *, checkpointed: bool
) -> None:
    """Rows and amounts move between two tables meanwhile; no cut and no target shows half of it."""
    schema = ACCOUNTS.format(journal=journal, amount=AMOUNT)
    migration = patient(make_migration(schema, source_timeout=60), tally)
    seen: set[bytes] = set()
    with busy(migration, checkpointed=checkpointed):
        for number in range(1, 4):
            cut = step.take_cut(migration, week(number))
            assert held(cut.path) == (ACCOUNTS_IN_ALL, ACCOUNTS_IN_ALL * AMOUNT)
            load_week(migration, number)
            assert target_rows(migration, HELD) == [(ACCOUNTS_IN_ALL, ACCOUNTS_IN_ALL * AMOUNT)]
            tally.finished(migration, file=cut.path)
            seen.add(cut.sha256.encode())
    assert len(seen) == 3, "it was written to all the time"
    load_week(migration, 4)  # the writer was killed in the middle of whatever it did
    assert target_rows(migration, HELD) == [(ACCOUNTS_IN_ALL, ACCOUNTS_IN_ALL * AMOUNT)]
    tally.fault()
    tally.finished(migration, file=step.take_cut(migration, week(4)).path)


@pytest.fixture(params=["DELETE", "WAL"])
def replaceable(
    request: pytest.FixtureRequest, make_migration: MakeMigration, tally: Tally, tmp_path: Path
) -> Iterator[tuple[Migration, Path]]:
    """Return a migration, with an open application, and another database to take its place."""
    schema = ACCOUNTS.format(journal=request.param, amount=AMOUNT)
    migration = patient(make_migration(schema), tally)
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(ACCOUNTS.format(journal="DELETE", amount=OTHER_AMOUNT))
    with closing(sqlite3.connect(migration.settings.source, isolation_level=None)) as application:
        application.execute("UPDATE account SET amount = amount WHERE id < 1000")
        yield migration, other


def test_a_source_that_is_replaced_while_it_is_copied_gives_no_cut_at_all(
    replaceable: tuple[Migration, Path], tally: Tally
) -> None:
    """Said loudly, nothing kept; the next try takes a moment of the new file."""
    migration, other = replaceable

    def replace(_done: int, _all: int) -> None:
        if other.exists():
            other.replace(migration.settings.source)
            for suffix in ("-wal", "-shm"):
                migration.settings.source.with_name(f"app.sqlite{suffix}").unlink(missing_ok=True)
            tally.fault()

    with pytest.raises(SourceReplacedError) as raised:
        step.take_cut(migration, week(1), progress=replace)
    assert "replaced by another file" in raised.value.what
    assert migration.state.keys("cuts") == []
    cut = step.take_cut(migration, week(1))
    assert held(cut.path) == (ACCOUNTS_IN_ALL, ACCOUNTS_IN_ALL * OTHER_AMOUNT)
    load_week(migration, 1)
    tally.finished(migration, file=cut.path)


def test_a_source_that_is_removed_while_it_is_copied_gives_no_cut_at_all(
    replaceable: tuple[Migration, Path], tally: Tally
) -> None:
    """Whoever removed it knows why; put back, the week goes through."""
    migration, other = replaceable
    away = other.with_name("away.sqlite")

    def remove(_done: int, _all: int) -> None:
        if not away.exists():
            shutil.move(migration.settings.source, away)
            tally.fault()

    with pytest.raises(SourceReplacedError, match="removed while it was copied"):
        step.take_cut(migration, week(1), progress=remove)
    assert migration.state.keys("cuts") == []
    shutil.move(away, migration.settings.source)
    cut = step.take_cut(migration, week(1))
    assert held(cut.path) == (ACCOUNTS_IN_ALL, ACCOUNTS_IN_ALL * AMOUNT)
    load_week(migration, 1)
    tally.finished(migration, file=cut.path)
