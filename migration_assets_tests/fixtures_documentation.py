"""The folder that documentation supposes: what a clone of the project holds once installed."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.target import embedded
from migration_assets_tests.command import ROOT
from migration_assets_tests.fixtures_postgres import new_folder

STATE = ".migration"


@pytest.fixture
def clone() -> Iterator[Path]:
    """Return such a folder; the servers that its commands started end with it."""
    folder = new_folder()
    (folder / ".venv").mkdir(parents=True)
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "home").mkdir()
    try:
        yield folder
    finally:
        server = folder / STATE / "postgres"
        server.mkdir(parents=True, exist_ok=True)  # a page may have removed it, but not what it had
        embedded.remove(server)
        shutil.rmtree(folder)


def terminal(clone: Path) -> dict[str, str]:
    """Return the environment of somebody who has just logged in: a path and an empty home.

    PYTHONPATH names this checkout, so that its code runs whatever copy was installed.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(clone / "home"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
    }
