"""What lies in the state folder is its owner's alone, whatever the umask of who runs it."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from migration_assets import step
from migration_assets_tests import command
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    load_week,
    week,
)

FIRST = "2024-10-06"
SCHEMA = """
CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE visit (page TEXT);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
INSERT INTO visit VALUES ('/'), ('/');
"""


def modes(folder: Path) -> dict[str, str]:
    """Return what is open to others, or is a cut that can be written, by path."""
    wrong: dict[str, str] = {}
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        cut = path.suffix == ".sqlite" and "cuts" in path.parts
        wanted = (0o400,) if cut else (0o700,) if path.is_dir() else (0o600, 0o700)
        if not path.is_symlink() and mode not in wanted:
            wrong[str(path.relative_to(folder))] = oct(mode)
    return wrong


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_whatever_the_commands_write_is_private(
    tmp_path: Path, target_url: str, umask: int
) -> None:
    """Cuts, deltas, catalog, locks, reports, and Dagster's own storage and logs beside them."""
    shutil.copy(command.ROOT / "dagster.yaml", tmp_path)
    with closing(sqlite3.connect(tmp_path / "app.sqlite")) as connection:
        connection.executescript(SCHEMA)
    settings = {
        "source": "app.sqlite",
        "target": target_url,
        "first_week": FIRST,
        "dagster_storage": "sqlite",
    }
    (tmp_path / "migration.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    done = command.run(
        *("run", "--week", FIRST), folder=tmp_path, environment={"HOME": str(tmp_path)}, umask=umask
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state = tmp_path / ".migration"
    written = {path.suffix for path in state.rglob("*") if path.is_file()}
    assert written >= {".sqlite", ".json", ".parquet", ".md", ".db"}
    assert {path.name for path in state.iterdir()} >= {"cuts", "deltas", "locks", "dagster"}
    assert modes(state) == {}


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let this process make files that all may write, as a careless service does."""
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_enters_a_workspace_while_it_is_used(make_migration: MakeMigration) -> None:
    """Where the library is called without the command line, folders alone keep others out."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    change(migration, "UPDATE t SET note = 'x' WHERE id = 1", "DELETE FROM visit WHERE rowid = 1")
    step.take_cut(migration, week(2))
    seen: list[dict[str, str]] = []

    def look(_stage: str) -> None:
        work = migration.settings.state / "work"
        for folder in (migration.settings.state, *work.parent.rglob("*")):
            if folder.is_dir():
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        seen.append(modes(migration.settings.state))

    for table in ("t", "visit"):
        step.make_delta(migration, table, week(2))
        carry(migration, 2, table, at=look)
    assert seen
    assert modes(migration.settings.state) == {}
