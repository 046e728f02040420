"""A project folder, and the real `migration-assets ui` on it: webserver, daemon, code server."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psutil
import psycopg
import pytest
import yaml

from migration_assets.defs.instance import environment, open_instance
from migration_assets.defs.resources import TARGET_DATABASE
from migration_assets.settings import Settings, load
from migration_assets.target import embedded
from migration_assets_tests import command
from migration_assets_tests.fixtures_postgres import new_folder

STOP_SECONDS = 60
T = TypeVar("T")
PATIENCE = 240  # seconds for what Dagster's processes do by themselves, on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with settings, Dagster's files and an embedded target."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """Return all that its commands find in their environment."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(command.ROOT)}

    @property
    def settings(self) -> Settings:
        """Read the settings as the commands do."""
        return load({}, self.folder)

    def configure(self, **settings: object) -> None:
        """Set these settings beside those that stand."""
        file = self.folder / "migration.yaml"
        stand = yaml.safe_load(file.read_text("utf-8"))
        file.write_text(yaml.safe_dump(stand | settings), "utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return command.run(*arguments, folder=self.folder, environment={})

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on."""
        program = Path(sys.executable).with_name("migration-assets")
        return subprocess.Popen([program, *arguments], env=self.variables, cwd=self.folder)

    @contextmanager
    def ui(self) -> Generator[tuple[subprocess.Popen[bytes], int]]:
        """Open the UI; yields its process and port. It is ended as a service manager does."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = self.start("ui", "--port", str(port))
        try:
            yield process, port
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)

    def target(self) -> str:
        """Return the target's URL, starting its server where it doesn't run."""
        server = embedded.start(self.settings.state / "postgres")
        embedded.ensure_database(server, TARGET_DATABASE)
        return server.url(TARGET_DATABASE)

    @contextmanager
    def instance(self) -> Generator[dg.DagsterInstance]:
        """Open Dagster's instance beside its processes."""
        before = dict(os.environ)
        with (
            environment(self.settings, os.environ, self.folder),
            open_instance(self.settings) as opened,
        ):
            yield opened
        assert dict(os.environ) == before


@pytest.fixture
def project() -> Iterator[Project]:
    """Return a project folder whose servers end with the test."""
    folder = new_folder()
    folder.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(command.ROOT / name, folder)
    fields = {"source": "app.sqlite", "target": "embedded", "state": ".migration"}
    (folder / "migration.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    try:
        yield Project(folder=folder)
    finally:
        embedded.remove(folder / ".migration" / "postgres")
        shutil.rmtree(folder)


def weeks_ago(number: int) -> date:
    """Return the first day of the week that ended so many weeks before this one began."""
    today = datetime.now(UTC).date()
    return today - timedelta(days=(today.weekday() + 1) % 7 + 7 * number)


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Look again and again until something is found."""
    pause = threading.Event()
    for _ in range(PATIENCE * 4):
        found = look()
        if found:
            return found
        pause.wait(0.25)
    message = f"{what}: not within {PATIENCE} s"
    raise AssertionError(message)


def ask(port: int, query: str) -> dict[str, object] | None:
    """Ask the webserver; None while it doesn't answer yet."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with suppress(urllib.error.URLError), urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)["data"]
    return None


@contextmanager
def holding_back(url: str, *tables: str) -> Generator[psycopg.Connection[tuple[object, ...]]]:
    """Hold the locks that steps of these tables wait for."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in tables:
            name = hashlib.sha256(f"migration-assets\0main\0{table}".encode()).digest()
            number = int.from_bytes(name[:8], "big", signed=True)
            connection.execute("SELECT pg_advisory_lock(%s)", (number,))
        yield connection


def waiting(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """Return how many steps wait for their table."""
    row = connection.execute(
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ).fetchone()
    return int(str(row[0])) if row else 0


def kill_all(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Kill a command and all it started as `kill -9` does; return what it had started."""
    started = psutil.Process(process.pid).children(recursive=True)
    for each in [psutil.Process(process.pid), *started]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(STOP_SECONDS)
    return started
