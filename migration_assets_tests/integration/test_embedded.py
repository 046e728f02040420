"""The embedded server: one per folder, by password, on loopback, whoever runs it.

Run as root, PostgreSQL belongs to a system user; run as anyone else, to that user. Each test holds
for both, and where the expected outcome differs it says how.
"""

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

import migration_assets
from migration_assets.errors import TargetError
from migration_assets.target import embedded, embedded_process, embedded_programs
from migration_assets.target.embedded import (
    FAST,
    EmbeddedServer,
    ensure_database,
    remove,
    running,
    start,
    stop,
)

AS_ROOT = os.geteuid() == 0
LISTENING = "0A"  # the state column of /proc/net/tcp
LOOPBACK = "0100007F"  # 127.0.0.1 there, in host byte order
START = """
import sys
from pathlib import Path
from migration_assets.target.embedded import FAST, start
server = start(Path(sys.argv[1]), options=FAST)
print(server.pid, server.port, server.password)
"""


def _starter(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(migration_assets.__file__).parents[1],
    )


def _execute(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute(statement.encode())


def _value(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill(pid: int) -> None:
    """Kill a process and wait until it is gone, which is a moment after the signal is sent."""
    process = os.pidfd_open(pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def test_start_again_returns_the_running_server(server_folder: Path) -> None:
    """Starting is idempotent."""
    assert start(server_folder, options=FAST) == start(server_folder)


def test_restart_keeps_data_password_and_port(server_folder: Path) -> None:
    """What was committed and every URL handed out stay good."""
    first = start(server_folder)
    _execute(first, "CREATE TABLE kept AS SELECT 42 AS n")
    stop(server_folder)
    second = start(server_folder)
    assert second.pid != first.pid
    assert second.url("postgres") == first.url("postgres")
    assert _value(second, "SELECT n FROM kept") == 42


def test_stop_ends_the_server_and_its_sessions(server_folder: Path) -> None:
    """An open session doesn't hold a stop up, and stopping twice is fine."""
    server = start(server_folder, options=FAST)
    with closing(psycopg.connect(server.url("postgres"))) as session:
        stop(server_folder)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not _alive(server.pid)
    stop(server_folder)


def test_running_tells_whether_the_server_runs(server_folder: Path) -> None:
    """Without a folder, started, stopped."""
    assert not running(server_folder)
    start(server_folder, options=FAST)
    assert running(server_folder)
    stop(server_folder)
    assert not running(server_folder)


def test_stop_without_a_server_does_nothing(server_folder: Path) -> None:
    """A stop makes no folder and no server."""
    stop(server_folder)
    assert not server_folder.exists()


def test_server_starts_after_it_was_killed(server_folder: Path) -> None:
    """A killed server leaves its process id and children behind; the data survive."""
    killed = start(server_folder)
    _execute(killed, "CREATE TABLE kept AS SELECT 42 AS n")
    _kill(killed.pid)
    server = start(server_folder)
    assert (killed.data / "postmaster.pid").read_text().splitlines()[0] == str(server.pid)
    assert server.pid != killed.pid
    assert _value(server, "SELECT n FROM kept") == 42


def test_server_starts_when_its_old_process_id_is_somebody_elses(server_folder: Path) -> None:
    """After a reboot, the process id left behind may be another program's, which is left alone."""
    server = start(server_folder, options=FAST)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    owner = pid_file.stat()
    stop(server_folder)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=owner.st_uid) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        assert start(server_folder, options=FAST).pid != other.pid
        assert other.poll() is None
        other.communicate()


def test_taken_port_is_replaced_and_the_new_one_remembered(server_folder: Path) -> None:
    """Another program on our port costs us the port, nothing else."""
    first = start(server_folder, options=FAST)
    stop(server_folder)
    with socket.create_server((embedded.HOST, first.port)):
        second = start(server_folder, options=FAST)
        assert second.port != first.port
    stop(server_folder)
    assert start(server_folder, options=FAST).port == second.port


def test_port_taken_at_the_last_moment_is_replaced(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding a port free and PostgreSQL listening on it, anybody may take it."""
    with socket.create_server((embedded.HOST, 0)) as other:
        taken, free = other.getsockname()[1], embedded_process._free_port(0)
        ports = iter([taken, free])
        monkeypatch.setattr(embedded_process, "_free_port", lambda _: next(ports))
        assert start(server_folder, options=FAST).port == free


def test_server_that_never_gets_ready_is_reported(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting ends."""
    server = start(server_folder, options=FAST)
    pid_file = server.data / "postmaster.pid"
    ready = pid_file.read_text()
    pid_file.write_text(ready.replace("ready", "starting"))
    monkeypatch.setattr(embedded_process, "START_SECONDS", 0)
    with pytest.raises(TargetError, match=f"process {server.pid}.* isn't ready after 0 s"):
        start(server_folder)
    pid_file.write_text(ready)


def test_two_starts_at_once_share_one_server(server_folder: Path) -> None:
    """The first start makes the server, the other waits for it."""
    starters = [_starter(server_folder) for _ in range(3)]
    said = {starter.communicate()[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    server = start(server_folder)
    assert said == {f"{server.pid} {server.port} {server.password}\n"}


def test_start_killed_while_making_the_cluster_is_begun_anew(server_folder: Path) -> None:
    """A half-made cluster is never taken for a whole one, even while its initdb still runs."""
    with _starter(server_folder) as starter:
        while not (server_folder / "postgres" / "data" / "base").exists():
            assert starter.poll() is None
        starter.kill()
    assert not (server_folder / "server.json").exists()
    server = start(server_folder, options=FAST)
    assert _value(server, "SELECT 1") == 1


def test_failed_initdb_shows_what_it_says_and_can_be_run_again(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the password file is gone all the same."""
    account = embedded_programs.system_account()
    embedded_programs.make_private(server_folder, account)
    broken = server_folder / "initdb"
    broken.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    broken.chmod(0o755)
    programs = embedded_programs.Programs(folder=server_folder, account=account)
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "find_programs", lambda *_: programs)
        with pytest.raises(TargetError, match="initdb failed with code 1:\nno space left"):
            start(server_folder)
    assert list((server_folder / "postgres").iterdir()) == []
    assert _value(start(server_folder, options=FAST), "SELECT 1") == 1


def test_initdb_holds_the_lock_with_us(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were we killed, the next start would wait for initdb's end instead of competing with it."""
    account = embedded_programs.system_account()
    embedded_programs.make_private(server_folder, account)
    telling = server_folder / "initdb"
    telling.write_text("#!/bin/sh\nls -l /proc/$$/fd >&2\nexit 1\n")
    telling.chmod(0o755)
    programs = embedded_programs.Programs(folder=server_folder, account=account)
    monkeypatch.setattr(embedded, "find_programs", lambda *_: programs)
    with pytest.raises(TargetError, match=f"-> {server_folder}/lock"):
        start(server_folder)


def test_server_of_a_deleted_folder_is_replaced(server_folder: Path) -> None:
    """Deleting what remembers a server means beginning anew, even while the server runs."""
    first = start(server_folder, options=FAST)
    (server_folder / "server.json").unlink()
    second = start(server_folder, options=FAST)
    assert not _alive(first.pid)
    assert second.password != first.password
    assert _value(second, "SELECT 1") == 1


def test_lost_data_are_reported_not_replaced(server_folder: Path) -> None:
    """An empty server in place of a lost one would be a silent loss."""
    server = start(server_folder, options=FAST)
    stop(server_folder)
    shutil.rmtree(server.data)
    with pytest.raises(TargetError, match="data are gone"):
        start(server_folder)


def test_damaged_state_is_reported(server_folder: Path) -> None:
    """A server.json that can't be read names itself and the way out."""
    server_folder.mkdir()
    (server_folder / "server.json").write_text("{")
    with pytest.raises(TargetError, match=r"server\.json: .*can't be read"):
        start(server_folder)


def test_folder_of_another_user_is_refused(server_folder: Path) -> None:
    """Root stumbles over the owner of the state, anyone else over a folder closed to them."""
    start(server_folder, options=FAST)
    stop(server_folder)
    closed = server_folder / "server.json" if AS_ROOT else server_folder
    before = closed.stat()
    if AS_ROOT:
        os.chown(closed, 65534, 65534)
    else:
        closed.chmod(0)
    with pytest.raises(TargetError, match="run as the user who made"):
        start(server_folder)
    os.chown(closed, before.st_uid, before.st_gid)
    closed.chmod(stat.S_IMODE(before.st_mode))


def test_wrong_password_is_refused(postgres: EmbeddedServer) -> None:
    """Every local user can reach the port; only the password lets in."""
    url = postgres.url("postgres").replace(postgres.password, "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_password_does_not_show_in_the_servers_repr(postgres: EmbeddedServer) -> None:
    """A server may be logged."""
    assert postgres.password not in repr(postgres)


def test_server_listens_on_loopback_only(postgres: EmbeddedServer) -> None:
    """No other address and no Unix socket, which would let in by file mode."""
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = {
        row[1].split(":")[0]
        for row in rows
        if row[3] == LISTENING and int(row[1].split(":")[1], 16) == postgres.port
    }
    assert listening == {LOOPBACK}
    assert f".s.PGSQL.{postgres.port}" not in Path("/proc/net/unix").read_text()


def test_nobody_else_can_read_what_the_server_stores(server_folder: Path) -> None:
    """Data, log, password and port are the owner's alone; there is no password file left."""
    server = start(server_folder, options=FAST)
    stop(server_folder)
    found = [server_folder, *server_folder.rglob("*")]
    files = [path for path in found if path.is_file()]
    assert {server_folder / "server.json", server.data / "PG_VERSION"} <= set(files)
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    assert [path for path in found if path.stat().st_mode & 0o007] == []
    kept = [path for path in files if server.password.encode() in path.read_bytes()]
    assert kept == [server_folder / "server.json"]


def test_closed_folder_stays_closed(tmp_path: Path) -> None:
    """As root the data go where the system user can reach them, else they stay in the folder."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "server"
    ours = [closed, tmp_path]  # folders above are shared with whatever else runs here
    before = [path.stat().st_mode for path in ours]
    server = start(folder, options=FAST)
    try:
        assert [path.stat().st_mode for path in ours] == before
        assert server.data.is_relative_to(folder) is not AS_ROOT
        assert (server.data.stat().st_uid == 0) is False
        assert server.data.parents[1].stat().st_mode & 0o027 == 0
        assert start(folder).pid == server.pid
    finally:
        remove(folder)
    assert not server.data.parent.exists()


def test_programs_closed_to_the_servers_user_are_copied(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment below a folder closed to the system user isn't opened for it."""
    site = tmp_path / "site"
    embedded_programs._copied(_installed_package(), site)
    site.chmod(0o700)
    monkeypatch.syspath_prepend(site)
    server = start(server_folder, options=FAST)
    assert Path(_command(server.pid)).is_relative_to(server_folder if AS_ROOT else site)
    assert site.stat().st_mode & 0o077 == 0


def test_programs_open_to_the_servers_user_are_used_where_they_are(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody needs a second copy of 40 MB."""
    embedded_programs.make_private(server_folder, embedded_programs.system_account())
    site = server_folder / "site"
    embedded_programs._copied(_installed_package(), site)
    monkeypatch.syspath_prepend(site)
    server = start(server_folder, options=FAST)
    assert Path(_command(server.pid)).is_relative_to(site)
    assert list(server_folder.glob("programs-*")) == []


def _installed_package() -> Path:
    spec = find_spec(embedded_programs.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]


def test_folder_that_somebody_else_made_in_the_open_is_refused(tmp_path: Path) -> None:
    """Anyone may make folders in /var/tmp, so only root's own is taken."""
    if AS_ROOT:
        os.chown(tmp_path, 65534, 65534)
    with pytest.raises(TargetError, match="somebody else made the folder"):
        embedded._refuse_foreign(tmp_path)


def test_folder_made_by_another_start_is_left_alone(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two starts at once make one folder: the second finds it where it would have put its own."""
    server_folder.mkdir()
    (server_folder / "lock").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: False)
        embedded_programs.make_private(server_folder, embedded_programs.system_account())
    assert (server_folder / "lock").exists()
    assert list(server_folder.parent.glob(f".{server_folder.name}.*")) == []


def test_missing_program_is_named(server_folder: Path) -> None:
    """A broken wheel is an error of the target, not a traceback of subprocess."""
    programs = embedded_programs.find_programs(server_folder, None)
    with pytest.raises(TargetError, match=r"no-such-program couldn't be run: .*No such file"):
        programs.run("no-such-program")


def test_missing_useradd_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without the system user and without a way to make it is told both ways out."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(embedded_programs, "SYSTEM_USER", "no-such-user")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(TargetError, match="there is no useradd to make no-such-user"):
        embedded_programs.system_account()


def test_failed_start_shows_what_postgresql_says(server_folder: Path) -> None:
    """The error carries the end of the log, and the password nowhere."""
    start(server_folder, options=FAST)
    stop(server_folder)
    with pytest.raises(TargetError, match='invalid value for parameter "shared_buffers"') as error:
        start(server_folder, options={"shared_buffers": "plenty"})
    assert start(server_folder).password not in str(error.value)


def test_options_reach_the_server_whatever_they_contain(server_folder: Path) -> None:
    """Settings pass through a shell on their way."""
    name = 'it\'s "a" $(name) `of` \\ours'
    server = start(server_folder, options={**FAST, "cluster_name": name})
    assert _value(server, "SHOW cluster_name") == name
    assert _value(server, "SHOW fsync") == "off"


def test_default_server_is_durable(server_folder: Path) -> None:
    """Only tests may lose what was committed."""
    server = start(server_folder)
    shown = [_value(server, f"SHOW {name}") for name in FAST]
    assert shown == ["on", "on", "on"]


def test_database_is_made_once_in_utf8_ordered_by_bytes(postgres: EmbeddedServer) -> None:
    """Also where its name needs quoting."""
    name = 'a "b" É'
    ensure_database(postgres, name)
    ensure_database(postgres, name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        made = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
            " WHERE datname = %s",
            [name],
        ).fetchall()
        connection.execute('DROP DATABASE "a ""b"" É"')
    assert made == [("UTF8", "C", "C")]


def test_each_test_gets_an_empty_database_of_its_own(
    postgres: EmbeddedServer, target_url: str
) -> None:
    """The fixture that most tests stand on."""
    with psycopg.connect(target_url) as connection:
        rows = connection.execute(
            "SELECT current_database() <> 'postgres', count(*) FROM pg_tables"
            " WHERE schemaname = 'public'"
        ).fetchall()
    assert rows == [(True, 0)]
    assert target_url.startswith(postgres.url("test_"))
