"""The demo with Dagster open on it: real processes in a folder of their own, stopped at the end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import yaml

from migration_assets.defs.resources import TARGET_DATABASE
from migration_assets.source.catalog import cached
from migration_assets.state import LocalState
from migration_assets.target import embedded
from migration_assets_tests.command import ROOT
from migration_assets_tests.system.waiting import until

FAILING_TABLE = "payments"  # by the tour's rule, in its fourth week
RULE = "dba_no_refunds"
_MENDING = f"ALTER TABLE public.payments DROP CONSTRAINT {RULE}"
_TOUR = (
    "import sys; from pathlib import Path; from migration_assets.demo.tour import tour; "
    "tour(Path.cwd(), source=None, weeks=int(sys.argv[1]), scale=1, port=None, mend=False)"
)
_STOP_SECONDS = 60  # Dagster ends a run in progress first


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    """A demo whose fourth week left one partition red, and the URL of the Dagster that shows it."""

    folder: Path
    url: str

    @property
    def state(self) -> Path:
        """The demo's state folder."""
        return _home(self.folder) / "state"

    @property
    def source(self) -> Path:
        """The business on SQLite."""
        return _home(self.folder) / "business.sqlite"

    @property
    def target(self) -> str:
        """The target's URL, with the superuser's password in it."""
        return embedded.start(self.state / "postgres").url(TARGET_DATABASE)

    @property
    def tables(self) -> list[str]:
        """The source's tables."""
        catalog = cached(LocalState(self.state), "main")
        assert catalog is not None
        return [table.name for table in catalog.tables]

    @property
    def weeks(self) -> list[str]:
        """The weeks that the demo lived through, oldest first."""
        cuts = self.rows("SELECT DISTINCT week FROM migration.ledger ORDER BY week")
        return [str(week) for (week,) in cuts]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return what a query finds on the target."""
        with psycopg.connect(self.target) as connection:
            return connection.execute(query.encode()).fetchall()

    def write(self, statement: str) -> None:
        """Write on the target as somebody else would."""
        with psycopg.connect(self.target) as connection:
            connection.execute(statement.encode())

    def drop_the_rule(self) -> None:
        """Take away the reason of the failure, as a DBA does."""
        self.write(_MENDING)


@contextmanager
def running_demo(folder: Path, *, weeks: int) -> Iterator[RunningDemo]:
    """Live through `weeks` in a new `folder`, open Dagster on a free port, and stop all at the end.

    The catch-up sensor is off: the red partition has to wait for somebody to mend it.
    """
    folder.mkdir()
    try:
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / name, folder)
        _live(folder, weeks)
        settings = _home(folder) / "migration.yaml"
        settings.write_text(
            yaml.safe_dump({**yaml.safe_load(settings.read_text()), "catch_up_attempts": 0})
        )
        with _dagster(folder) as url:
            yield RunningDemo(folder=folder, url=url)
    finally:
        embedded.remove(_home(folder) / "state" / "postgres")
        shutil.rmtree(folder)


def _home(folder: Path) -> Path:
    return folder / ".migration" / "demo"


def _environment(folder: Path) -> dict[str, str]:
    """Return what the processes find: nothing of the caller's own migration or Dagster."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "MIGRATION_CONFIG": str(_home(folder) / "migration.yaml"),
    }


def _live(folder: Path, weeks: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TOUR, str(weeks)],
        env=_environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _dagster(folder: Path) -> Iterator[str]:
    """Open Dagster as `migration-assets ui` does, on a free port, until the end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    url, log = f"http://127.0.0.1:{port}", folder / "ui.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("migration-assets"), "ui", "--port", str(port)],
            env=_environment(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: _answers(server, url, log), what="Dagster's webserver answers")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):  # what its group left behind, if anything
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(server: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert server.poll() is None, log.read_text(errors="replace")
    try:
        with urlopen(f"{url}/server_info", timeout=10) as answer:  # noqa: S310 - our own server
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False
