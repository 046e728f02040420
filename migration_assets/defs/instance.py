"""Dagster's instance for the command line: where its files lie, and its storage."""

import os
import subprocess
import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml

from migration_assets.defs.resources import DAGSTER_DATABASE, embedded_folder
from migration_assets.errors import SettingsError
from migration_assets.settings import Settings
from migration_assets.target import embedded

INSTANCE_FILE = "dagster.yaml"


@contextmanager
def environment(
    settings: Settings, variables: MutableMapping[str, str], folder: Path
) -> Generator[None]:
    """Set what dagster.yaml asks of the environment, for this process and those it starts.

    Dagster's storage is the PostgreSQL that DAGSTER_PG_HOST and its companions name; without them
    the embedded one in the state folder, which is stopped at the end if it was started here; or
    SQLite files in the state folder where `dagster_storage` says so. At the end the variables are
    what they were.
    """
    home = Path(variables.get("DAGSTER_HOME") or folder)
    if not (home / INSTANCE_FILE).exists():
        raise SettingsError(
            what="there is no dagster.yaml here",
            where=str(home),
            expected="the project's folder, or DAGSTER_HOME set to one that holds a dagster.yaml",
        )
    before = dict(variables)
    files = settings.state / "dagster"
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    on_files = settings.dagster_storage == "sqlite"
    if on_files:
        _derive(home / INSTANCE_FILE, files / INSTANCE_FILE)
    variables["DAGSTER_HOME"] = str((files if on_files else home).resolve())
    variables["MIGRATION_DAGSTER_DIR"] = str(files.resolve())
    own_server = not on_files and "DAGSTER_PG_HOST" not in variables
    postgres = embedded_folder(settings)
    was_running = embedded.running(postgres)
    try:
        if own_server:
            server = embedded.start(postgres)
            embedded.ensure_database(server, DAGSTER_DATABASE)
            variables.update(
                {
                    "DAGSTER_PG_HOST": "127.0.0.1",
                    "DAGSTER_PG_PORT": str(server.port),
                    "DAGSTER_PG_USERNAME": "postgres",
                    "DAGSTER_PG_PASSWORD": server.password,
                    "DAGSTER_PG_DB": DAGSTER_DATABASE,
                }
            )
        yield
    finally:
        variables.clear()
        variables.update(before)
        if not was_running:
            embedded.stop(postgres)


def _derive(project: Path, derived: Path) -> None:
    """Write the project's dagster.yaml with SQLite files as its storage, all else as it stands."""
    config = yaml.safe_load(project.read_text("utf-8"))
    config["storage"] = {"sqlite": {"base_dir": {"env": "MIGRATION_DAGSTER_DIR"}}}
    text = f"# Made from {project} for `dagster_storage: sqlite`; edit that one.\n"
    partial = derived.with_suffix(f".{os.getpid()}")  # another command may read it just now
    partial.write_text(text + yaml.safe_dump(config), "utf-8")
    partial.replace(derived)


def serve(settings: Settings, port: int) -> None:
    """Run Dagster's webserver and daemon on 127.0.0.1 until they are stopped."""
    with environment(settings, os.environ, Path.cwd()):
        superseded = "ignore:Function `dev_command` is superseded"  # by a package we don't need
        command = ["-W", superseded, "-m", "dagster", "dev"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with subprocess.Popen([sys.executable, *command]) as server:  # noqa: S603 - our own
            try:
                server.wait()
            except KeyboardInterrupt:
                pass  # how a person ends it
            finally:
                server.terminate()
                server.wait()


@contextmanager
def open_instance() -> Generator[dg.DagsterInstance]:
    """Open the instance of the prepared environment for many events from one process.

    The storages open a connection for each event unless they are told to keep one, as the webserver
    does. No statement timeout; a connection is made anew after a minute, so that none grows stale
    while a table loads.
    """
    with dg.DagsterInstance.get() as opened:
        opened.optimize_for_webserver(statement_timeout=0, pool_recycle=60, max_overflow=20)
        yield opened


@contextmanager
def instance(settings: Settings) -> Generator[dg.DagsterInstance]:
    """Prepare the environment and open the instance that this folder's dagster.yaml describes."""
    with environment(settings, os.environ, Path.cwd()), open_instance() as opened:
        yield opened
