"""Dagster's instance for the command line: where its files lie, and its storage."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import dagster as dg
import yaml
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from migration_assets.defs.assets import SOURCE_POOL, TARGET_POOL
from migration_assets.defs.resources import DAGSTER_DATABASE, embedded_folder, state_of
from migration_assets.errors import DagsterStorageError, SettingsError
from migration_assets.settings import Settings
from migration_assets.state import refusal
from migration_assets.target import embedded

# dagster.yaml asks for these: host, port, user, password, database
STORAGE = (
    "DAGSTER_PG_HOST",
    "DAGSTER_PG_PORT",
    "DAGSTER_PG_USERNAME",
    "DAGSTER_PG_PASSWORD",
    "DAGSTER_PG_DB",
)
INSTANCE_FILE = "dagster.yaml"


@contextmanager
def environment(
    settings: Settings, variables: MutableMapping[str, str], folder: Path
) -> Generator[None]:
    """Set what dagster.yaml asks of the environment, for this process and those it starts.

    Dagster's storage is the PostgreSQL that DAGSTER_PG_HOST and its companions name; without them
    the embedded one in the state folder, which is stopped at the end if it was started here and
    no other command uses it; or SQLite files in the state folder where `dagster_storage` says so.
    At the end the variables are what they were.
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
    try:
        files.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(files, error) from error
    on_files = settings.dagster_storage == "sqlite"
    if on_files:
        _derive(home / INSTANCE_FILE, files / INSTANCE_FILE)
    variables["DAGSTER_HOME"] = str((files if on_files else home).resolve())
    variables["MIGRATION_DAGSTER_DIR"] = str(files.resolve())
    own_server = not on_files and "DAGSTER_PG_HOST" not in variables
    if not on_files and not own_server:
        _require_all(variables)
    needed = own_server or settings.embedded
    lent = embedded.borrowed(embedded_folder(settings)) if needed else nullcontext()
    try:
        with lent as server:
            if own_server and server is not None:
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


def _require_all(variables: Mapping[str, str]) -> None:
    missing = [name for name in STORAGE if name not in variables]
    if missing:
        raise SettingsError(
            what=f"not set: {', '.join(missing)}",
            where="Dagster's storage",
            expected=f"all of {', '.join(STORAGE)}, since one of them is set",
            hint="set them, or unset all: then Dagster's storage is the embedded PostgreSQL",
        )


@contextmanager
def storage_translated() -> Generator[None]:
    """Say in words that Dagster's own storage is away; the target's errors never look like this."""
    try:
        yield
    except (DBAPIError, DagsterPostgresException) as error:
        host, port, _, _, database = (os.environ.get(name, "?") for name in STORAGE)
        raise DagsterStorageError(
            what=f"Dagster's storage can't be used: {_said(error)}",
            where=f"PostgreSQL {host}:{port}/{database}",
            expected="the PostgreSQL that DAGSTER_PG_HOST and its companions name",
            hint="start it or correct these variables, then run again; a step that had begun is"
            " either committed and proved, or left no trace",
        ) from None


def _said(error: BaseException) -> str:
    """Return the driver's first line: it names host and user, never the password or a statement."""
    if isinstance(error, DagsterPostgresException) and error.__cause__ is not None:
        return _said(error.__cause__)
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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
        with open_instance(settings):
            pass  # a storage that is away is said here, not by three processes of Dagster's
        superseded = "ignore:Function `dev_command` is superseded"  # by a package we don't need
        command = ["-W", superseded, "-m", "dagster", "dev"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        if not Path("workspace.yaml").exists():  # only the project's own folder has one
            command += ["-m", "migration_assets.definitions"]
        with subprocess.Popen([sys.executable, *command]) as server:  # noqa: S603 - our own
            try:
                server.wait()
            except KeyboardInterrupt:
                pass  # how a person ends it
            finally:
                server.terminate()
                server.wait()


@contextmanager
def open_instance(settings: Settings) -> Generator[dg.DagsterInstance]:
    """Open the instance of the prepared environment for many events from one process.

    The storages open a connection for each event unless they are told to keep one, as the webserver
    does. No statement timeout; a connection is made anew after a minute, so that none grows stale
    while a table loads.
    """
    with storage_translated(), ExitStack() as stack:
        # Dagster makes its tables when it first opens them, and two processes that do so at once
        # stand in each other's way.
        with state_of(settings).lock("dagster-storage", purpose="opening Dagster's storage"):
            opened = stack.enter_context(dg.DagsterInstance.get())
            opened.optimize_for_webserver(statement_timeout=0, pool_recycle=60, max_overflow=20)
            _make_pools(opened)
        yield opened


def _make_pools(instance: dg.DagsterInstance) -> None:
    """Give the pools their first limits; Dagster would when a step first asks for one.

    Two runs that do so at once on PostgreSQL end one of them: its insert fails, and Dagster goes
    on in the transaction that this has aborted.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    made = {pool.name for pool in storage.get_pool_limits()}
    for name in (SOURCE_POOL, TARGET_POOL):
        if name not in made:
            storage.initialize_concurrency_limit_to_default(name)


@contextmanager
def instance(settings: Settings) -> Generator[dg.DagsterInstance]:
    """Prepare the environment and open the instance that this folder's dagster.yaml describes."""
    with environment(settings, os.environ, Path.cwd()), open_instance(settings) as opened:
        yield opened
