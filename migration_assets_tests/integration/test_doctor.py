"""The doctor: finds what is wrong before a run does, says what to do, and touches nothing."""

import contextlib
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import yaml
from dagster._daemon.types import DaemonHeartbeat
from dagster_postgres.run_storage import PostgresRunStorage
from psycopg import conninfo

from migration_assets.doctor import Places, examine, machine
from migration_assets.doctor import target as target_checks
from migration_assets.doctor.dagster import VARIABLES
from migration_assets.report.checkup import Check, Condition, healthy
from migration_assets.settings import Settings
from migration_assets.target.connection import Target, target_of
from migration_assets_tests.integration.test_plan import CATALOGUE, tree

OK, WARNING, PROBLEM = Condition.OK, Condition.WARNING, Condition.PROBLEM
NOTHING: Mapping[str, str] = {}
DAEMONS = "SCHEDULER"


@pytest.fixture
def folder(tmp_path: Path, target_url: str) -> Path:
    """Return a folder where nothing is wrong."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    with closing(sqlite3.connect(tmp_path / "app.sqlite")) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)"
        )
    configure(tmp_path, source="app.sqlite", target=target_url, state="state")
    return tmp_path


def configure(folder: Path, **settings: object) -> None:
    """Set these settings beside those that stand."""
    file = folder / "migration.yaml"
    stand = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {"connect_patience": 0}
    file.write_text(yaml.safe_dump(stand | settings), "utf-8")


def examined(
    folder: Path, *, environment: Mapping[str, str] = NOTHING, storage: str = ""
) -> dict[str, Check]:
    """Return all checks by name; Dagster's storage is asked at a URL, if there is one."""

    def places(settings: Settings) -> Places:
        return Places(
            target=target_of(settings),
            storage=Target(url=storage, patience=0) if storage else None,
        )

    found = examine(environment, folder, places)
    for check in found:
        assert bool(check.to_do) == (check.condition is not OK), check
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found}


def test_where_nothing_is_wrong_nothing_is_found(folder: Path) -> None:
    """Only that nobody runs the schedule, which cron may do."""
    found = examined(folder)
    others = [check for check in found.values() if check.condition is not OK]
    assert [check.name for check in others] == ["dagster daemon"]
    assert healthy(found.values())
    assert set(found) >= {"python", "sqlite", "packages", "time zones", "settings", "dagster.yaml"}
    assert set(found) >= {"source", "source access", "cut", "state folder", "disk", "target"}
    assert set(found) >= {"target writer", "target rights", "target clock", "ledger"}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_nothing_is_created_or_changed(folder: Path, target_url: str, journal: str) -> None:
    """Neither in the folder, nor beside the source, nor on the target."""
    with closing(sqlite3.connect(folder / "app.sqlite")) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    with psycopg.connect(target_url) as connection:
        before = tree(folder), connection.execute(CATALOGUE).fetchall()
    examined(folder, storage=target_url)
    with psycopg.connect(target_url) as connection:
        assert (tree(folder), connection.execute(CATALOGUE).fetchall()) == before


def test_facts_about_the_source_are_told(folder: Path) -> None:
    """Journal mode, encoding, tables, and who reads whose file."""
    found = examined(folder)
    assert "journal delete, UTF-8, 1 tables" in found["source"].what
    assert f"(uid {os.geteuid()})" in found["source access"].what


@pytest.mark.parametrize(
    ("tables", "condition", "said"),
    [
        ({"t": {"columns": {"id": {"type": "bigint"}}}}, OK, "1 named in the settings"),
        ({"T": {}}, PROBLEM, "the source has no table T"),
        ({"t": {"columns": {"ID": {}}}}, WARNING, "table t has no column ID"),
        ({"t": {"columns": {"id": {"cast": "x("}}}}, WARNING, "the cast of column id"),
    ],
)
def test_what_the_settings_name_is_looked_for_at_the_source(
    folder: Path, tables: object, condition: object, said: str
) -> None:
    """A table that isn't there stops first loads; a column may have gone since."""
    configure(folder, tables=tables)
    found = examined(folder)["tables"]
    assert found.condition is condition
    assert said in found.what
    assert condition is OK or "migration.yaml, line " in found.what


def test_wrong_settings_leave_the_machine_s_own_checks(folder: Path) -> None:
    """The line is named; what depends on settings is said not to have been looked at."""
    with (folder / "migration.yaml").open("a") as file:
        file.write("weeks: 0\n")
    found = examined(folder)
    assert found["settings"].condition is PROBLEM
    assert "migration.yaml, line 5" in found["settings"].what
    assert {found[n].condition for n in ("source", "target", "state folder")} == {WARNING}
    assert found["packages"].condition is OK
    assert found["dagster.yaml"].condition is OK


def _missing(source: Path) -> None:
    source.unlink()


def _foreign(source: Path) -> None:
    source.write_bytes(b"no database at all" * 100)


def _folder(source: Path) -> None:
    source.unlink()
    source.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_missing, "no such file"), (_foreign, "no SQLite database"), (_folder, "not a file")],
)
def test_a_source_that_cannot_be_read_is_a_problem_of_its_own(
    folder: Path, spoil: object, said: str
) -> None:
    """All else is looked at nevertheless."""
    assert callable(spoil)
    spoil(folder / "app.sqlite")
    found = examined(folder)
    assert found["source"].condition is PROBLEM
    assert said in found["source"].what
    assert found["target rights"].condition is OK
    assert found["state folder"].condition is OK


def test_a_locked_source_is_worth_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pass by itself, and a run waits longer."""
    monkeypatch.setattr("migration_assets.doctor.source._WAIT", 0)
    with closing(sqlite3.connect(folder / "app.sqlite", isolation_level=None)) as application:
        application.execute("BEGIN EXCLUSIVE")
        found = examined(folder)
    assert found["source"].condition is WARNING
    assert "locked" in found["source"].what


def test_a_source_without_a_table_to_carry_is_worth_a_warning(folder: Path) -> None:
    """Patterns that match nothing are easily written."""
    configure(folder, include=["orders_*"])
    assert examined(folder)["source tables"].condition is WARNING


def test_a_state_folder_that_others_may_enter_is_named(folder: Path) -> None:
    """It holds the application's data; the command that mends it is said."""
    (folder / "state").mkdir(mode=0o755)
    found = examined(folder)["state folder"]
    assert (found.condition, found.to_do) == (WARNING, f"chmod 700 {folder / 'state'}")


def test_a_state_folder_that_is_a_file_is_a_problem(folder: Path) -> None:
    """The first run would fail on it."""
    (folder / "state").write_text("")
    assert examined(folder)["state folder"].condition is PROBLEM


def test_a_disk_without_room_for_a_cut_is_a_problem(folder: Path) -> None:
    """A source of 4 TB, all of it a hole."""
    os.truncate(folder / "app.sqlite", 1 << 42)
    found = examined(folder)["disk"]
    assert found.condition is PROBLEM
    assert "a cut takes 4.4 TB, a week with its deltas 6.6 TB" in found.what
    assert "keep_weeks" in found.to_do


def test_what_the_state_folder_takes_is_said(folder: Path) -> None:
    """Beside what is free, and what the next week needs."""
    kept = folder / "state" / "cuts" / "main" / "left.sqlite"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(3_000_000))
    found = examined(folder)["disk"]
    assert found.condition is OK
    assert "3.0 MB used by the state folder" in found.what


def test_a_target_that_does_not_answer_is_a_problem(folder: Path) -> None:
    """Its password does not get out, and all else is looked at."""
    configure(folder, target="postgresql://loader:s3cret@127.0.0.1:1/app")
    found = examined(folder)
    assert found["target"].condition is PROBLEM
    assert "127.0.0.1/app" in found["target"].what
    assert "s3cret" not in str(found)
    assert found["dagster storage"].condition is OK
    assert found["source"].condition is OK


def test_a_target_url_that_is_none_is_a_problem_and_is_not_repeated(folder: Path) -> None:
    """It may hold a password in the wrong place."""
    configure(folder, target="mysql://root:s3cret@db/app")
    found = examined(folder)["target"]
    assert found.condition is PROBLEM
    assert "URL can't be read" in found.what
    assert "s3cret" not in str(found)


def on_target(url: str, *statements: str) -> None:
    """Do on the target as its owner would."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_read_only_target_is_a_problem(folder: Path, target_url: str) -> None:
    """A replica, or a writer that was demoted."""
    name = conninfo.conninfo_to_dict(target_url)["dbname"]
    on_target(target_url, f"ALTER DATABASE {name} SET default_transaction_read_only TO on")
    found = examined(folder)
    assert found["target writer"].condition is PROBLEM
    assert "writer endpoint" in found["target writer"].to_do
    assert found["target rights"].condition is OK


@pytest.fixture
def role_url(target_url: str) -> Iterator[str]:
    """Return the target's URL for a role that may do nothing yet."""
    name = f"role_{secrets.token_hex(4)}"
    on_target(target_url, f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
    yield conninfo.make_conninfo(target_url, user=name, password="pw")  # noqa: S106
    on_target(target_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_rights_that_the_first_load_will_need_are_named(
    folder: Path, role_url: str, target_url: str
) -> None:
    """Until they are granted."""
    configure(folder, target=role_url)
    found = examined(folder)["target rights"]
    assert found.condition is PROBLEM
    for lacking in ("CREATE on the database", "CREATE and USAGE on schema public"):
        assert lacking in found.what
    parts = conninfo.conninfo_to_dict(role_url)
    on_target(
        target_url,
        f"GRANT CREATE ON DATABASE {parts['dbname']} TO {parts['user']}",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {parts['user']}",
    )
    assert examined(folder)["target rights"].condition is OK


def test_rights_on_a_ledger_that_is_there_are_needed_too(
    folder: Path, role_url: str, target_url: str
) -> None:
    """Somebody else made it."""
    configure(folder, target=role_url)
    user = conninfo.conninfo_to_dict(role_url)["user"]
    on_target(
        target_url,
        f"GRANT CREATE, USAGE ON SCHEMA public TO {user}",
        "CREATE SCHEMA migration; CREATE TABLE migration.version AS SELECT 1 AS version",
    )
    assert "USAGE on schema migration" in examined(folder)["target rights"].what
    on_target(target_url, f"GRANT USAGE ON SCHEMA migration TO {user}")
    assert "SELECT and INSERT" in examined(folder)["target rights"].what
    on_target(target_url, f"GRANT SELECT, INSERT ON migration.version TO {user}")
    assert examined(folder)["target rights"].condition is OK


def test_a_ledger_of_a_newer_release_is_a_problem(folder: Path, target_url: str) -> None:
    """What it means this release can't know."""
    on_target(
        target_url,
        "CREATE SCHEMA migration",
        "CREATE TABLE migration.version AS SELECT 99 AS version",
    )
    found = examined(folder)["ledger"]
    assert (found.condition, "version 99" in found.what) == (PROBLEM, True)


def test_clocks_that_disagree_are_worth_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weeks end by this machine's clock."""
    monkeypatch.setattr(target_checks, "time", SimpleNamespace(time=lambda: time.time() - 100))
    found = examined(folder)["target clock"]
    assert found.condition is WARNING
    assert "+100 s" in found.what


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "db.example.com", "hostaddr": "127.0.0.1"},
        {"host": "localhost", "hostaddr": "127.1"},
        {"host": "127.0.0.1,db.example.com", "hostaddr": "127.0.0.1,127.0.0.1"},
    ],
)
def test_a_connection_that_is_not_encrypted_is_worth_a_warning(
    folder: Path, target_url: str, elsewhere: dict[str, str]
) -> None:
    """On this machine nobody listens; elsewhere somebody may, whichever part of a URL says it."""
    assert examined(folder)["target TLS"].condition is OK
    port = conninfo.conninfo_to_dict(target_url)["port"]
    ports = {"port": f"{port},{port}"} if "," in elsewhere["host"] else {}
    configure(folder, target=conninfo.make_conninfo(target_url, **elsewhere, **ports))
    found = examined(folder)["target TLS"]
    assert found.condition is WARNING
    assert "verify-full" in found.to_do


def _pump(source: socket.socket, to: socket.socket, *, rename: bool) -> None:
    """Pass bytes on; `rename` changes the process id that the server names, as poolers do."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            place = data.find(b"K\0\0\0\x0c") if rename else -1
            if place >= 0:
                data = data[: place + 5] + b"\0\0\0\x07" + data[place + 9 :]
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)


@pytest.fixture
def pooler_url(target_url: str) -> Iterator[str]:
    """Return the target's URL through something that answers in the server's name."""
    port = int(str(conninfo.conninfo_to_dict(target_url)["port"]))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(
                    target=_pump, args=(server, client), kwargs={"rename": True}
                )
                back.start()
                _pump(client, server, rename=False)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield conninfo.make_conninfo(target_url, port=listening.getsockname()[1])
        thread.join()


def test_a_pooler_in_between_is_a_problem(folder: Path, pooler_url: str) -> None:
    """Loads would lose their locks and temporary tables in it."""
    configure(folder, target=pooler_url)
    found = examined(folder)
    assert found["target pooler"].condition is PROBLEM
    assert found["target writer"].condition is OK


def test_a_folder_without_dagster_yaml_is_a_problem(folder: Path) -> None:
    """Unless DAGSTER_HOME names another one."""
    home = folder / "home"
    home.mkdir()
    (folder / "dagster.yaml").rename(home / "dagster.yaml")
    assert examined(folder)["dagster.yaml"].condition is PROBLEM
    found = examined(folder, environment={"DAGSTER_HOME": str(home)})
    assert found["dagster.yaml"].condition is OK


def test_a_dagster_yaml_that_is_none_is_a_problem(folder: Path) -> None:
    """Dagster would say so in its own way, later."""
    (folder / "dagster.yaml").write_text("[", "utf-8")
    assert examined(folder)["dagster.yaml"].condition is PROBLEM


def test_variables_of_dagster_s_storage_that_are_missing_are_named(folder: Path) -> None:
    """All five, or none."""
    found = examined(folder, environment={"DAGSTER_PG_HOST": "db", "DAGSTER_PG_PORT": "5432"})
    assert found["dagster storage"].condition is PROBLEM
    for name in VARIABLES[2:]:
        assert name in found["dagster storage"].what


def test_a_storage_that_does_not_answer_is_a_problem(folder: Path) -> None:
    """No run would start."""
    found = examined(folder, storage="postgresql://x:s3cret@127.0.0.1:1/dagster")
    assert found["dagster storage"].condition is PROBLEM
    assert "s3cret" not in str(found)


def test_a_storage_in_files_needs_no_server(folder: Path) -> None:
    """Only a folder that can be written."""
    configure(folder, dagster_storage="sqlite")
    found = examined(folder)["dagster storage"]
    assert (found.condition, "SQLite files" in found.what) == (OK, True)


@pytest.mark.parametrize(("age", "condition"), [(10, OK), (3600, WARNING)])
def test_a_daemon_is_seen_by_its_heartbeat(
    folder: Path, target_url: str, age: int, condition: Condition
) -> None:
    """Left in Dagster's storage by Dagster itself."""
    url = target_url.replace("postgresql://", "postgresql+psycopg2://")
    storage = PostgresRunStorage(url, should_autocreate_tables=True)
    storage.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, DAEMONS, "id", []))
    storage.dispose()
    assert examined(folder, storage=target_url)["dagster daemon"].condition is condition


@pytest.mark.parametrize(
    ("requirement", "said"),
    [("polars==1.0", "polars is"), ("no-such-package-here", "no-such-package-here is missing")],
)
def test_a_package_that_does_not_fit_is_a_problem(requirement: str, said: str) -> None:
    """A half-made upgrade looks like this."""
    found = {check.name: check for check in machine.versions(["psycopg>=3", requirement])}
    assert found["packages"].condition is PROBLEM
    assert said in found["packages"].what
    assert "psycopg" not in found["packages"].what


def test_a_requirement_of_another_platform_is_passed_over() -> None:
    """It is not meant for this machine."""
    found = machine.versions(['no-such-package-here; python_version < "3"', "psycopg>=3"])
    assert {check.condition for check in found} == {OK}
