"""Dagster's instance for the command line: what it needs is started, and ended with it."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from migration_assets.defs.instance import environment
from migration_assets.errors import SettingsError
from migration_assets.settings import load
from migration_assets.target import embedded
from migration_assets_tests import command
from migration_assets_tests.fixtures_postgres import new_folder

START_SECONDS = 120  # Dagster's three processes on a busy machine
STOP_SECONDS = 60
STORAGE = {
    "DAGSTER_PG_HOST": "db.example.com",
    "DAGSTER_PG_PORT": "5432",
    "DAGSTER_PG_USERNAME": "dagster",
    "DAGSTER_PG_PASSWORD": "hunter2",
    "DAGSTER_PG_DB": "dagster",
}


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a project folder with a source, whose servers end with the test."""
    folder = new_folder()
    folder.mkdir()
    shutil.copy(command.ROOT / "dagster.yaml", folder)
    shutil.copy(command.ROOT / "workspace.yaml", folder)
    with closing(sqlite3.connect(folder / "app.sqlite")) as connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
    try:
        yield folder
    finally:
        embedded.remove(folder / ".migration" / "postgres")
        shutil.rmtree(folder)


def variables(folder: Path) -> dict[str, str]:
    """Return an environment that names source and target and nothing else."""
    return {"MIGRATION_SOURCE": str(folder / "app.sqlite"), "MIGRATION_TARGET": "embedded"}


def test_the_environment_is_what_it_was_afterwards(place: Path) -> None:
    """The address of a server that was stopped must not be taken for one that somebody set."""
    given = variables(place)
    before = dict(given)
    settings = load(given, place)
    with environment(settings, given, place):
        assert given["DAGSTER_PG_PORT"].isdigit()
        assert embedded.running(settings.state / "postgres")
    assert given == before
    assert not embedded.running(settings.state / "postgres")


def test_a_storage_that_was_set_is_used_and_no_server_started(place: Path) -> None:
    """A team with a PostgreSQL for Dagster needs no second one."""
    given = variables(place) | STORAGE | {"MIGRATION_TARGET": "postgresql://nobody@127.0.0.1/x"}
    settings = load(given, place)
    with environment(settings, given, place):
        assert given["DAGSTER_PG_HOST"] == "db.example.com"
        assert not embedded.running(settings.state / "postgres")


def test_a_storage_that_is_half_set_names_the_variables_that_are_missing(place: Path) -> None:
    """Dagster itself would say so in a page of its own frames."""
    given = variables(place) | {"DAGSTER_PG_HOST": "db.example.com", "DAGSTER_PG_DB": "d"}
    with (
        pytest.raises(SettingsError, match=r"DAGSTER_PG_PORT, DAGSTER_PG_USERNAME, DAGSTER_PG_PAS"),
        environment(load(given, place), given, place),
    ):
        pass


def test_the_server_is_stopped_by_the_command_that_ends_last(place: Path) -> None:
    """Two commands at once: the first to end does not take the storage from the second."""
    first, second = variables(place), variables(place)
    settings = load(first, place)
    folder = settings.state / "postgres"
    with ExitStack() as later:
        with environment(settings, first, place):
            later.enter_context(environment(settings, second, place))
            assert first["DAGSTER_PG_PORT"] == second["DAGSTER_PG_PORT"]
        assert embedded.running(folder)
    assert not embedded.running(folder)


def test_a_server_that_somebody_started_outlives_the_commands(place: Path) -> None:
    """Whoever started it stops it, also where a command that was killed had borrowed it before."""
    given = variables(place)
    settings = load(given, place)
    folder = settings.state / "postgres"
    with environment(settings, given, place):
        pass
    (folder / embedded.LENT).touch()  # as a command leaves it that was killed with its server
    embedded.start(folder, options=embedded.FAST)
    with environment(settings, given, place):
        pass
    assert embedded.running(folder)


def test_a_folder_without_dagster_yaml_is_named(place: Path) -> None:
    """Elsewhere Dagster would quietly record runs into a temporary folder."""
    (place / "dagster.yaml").unlink()
    given = variables(place)
    expected = pytest.raises(SettingsError, match=r"no dagster\.yaml")
    with expected, environment(load(given, place), given, place):
        pass


def test_the_ui_opens_on_loopback_and_ends_with_all_it_started(place: Path) -> None:
    """A service manager's SIGTERM is enough, also where the shell had SIGINT ignored."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("migration-assets")
    given = variables(place) | {"PATH": os.environ["PATH"], "PYTHONPATH": str(command.ROOT)}
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, as from a shell's `&`
    try:
        ui = subprocess.Popen([program, "ui", "--port", str(port)], env=given, cwd=place)
    finally:
        signal.signal(signal.SIGINT, ignored)
    try:
        assert {"aurora", "note"} in wait_for_assets(port)
        listening = addresses_of(ui.pid)
        assert ("127.0.0.1", port) in listening
        assert {address for address, _ in listening} == {"127.0.0.1"}
        assert embedded.running(place / ".migration" / "postgres")
    finally:
        ui.terminate()
        ui.wait(STOP_SECONDS)
    assert not embedded.running(place / ".migration" / "postgres")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def addresses_of(pid: int) -> set[tuple[str, int]]:
    """Return where a process and all it started listen."""
    ours = psutil.Process(pid)
    found: set[tuple[str, int]] = set()
    for process in (ours, *ours.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found |= {
                (c.laddr.ip, c.laddr.port)
                for c in process.net_connections("inet")
                if c.status == psutil.CONN_LISTEN
            }
    return found


def wait_for_assets(port: int) -> list[set[str]]:
    """Ask the webserver for its assets until it answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode(),
        {"Content-Type": "application/json"},
    )
    pause = threading.Event()
    for _ in range(START_SECONDS * 2):
        with suppress(urllib.error.URLError), urllib.request.urlopen(request) as answer:  # noqa: S310
            nodes = json.load(answer)["data"]["assetNodes"]
            return [set(node["assetKey"]["path"]) for node in nodes]
        pause.wait(0.5)
    message = f"no answer within {START_SECONDS} s"
    raise AssertionError(message)
