"""The one PostgreSQL process over a data folder: is it running, start it, stop it.

PostgreSQL's `postmaster.pid` says who the server is, but after a crash it may name a process that
is gone or, after a reboot, somebody else's: it counts only when that process's command line is the
server of these very data.
"""

import shlex
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from migration_assets.errors import TargetError
from migration_assets.target.embedded_programs import Programs

HOST = "127.0.0.1"
START_SECONDS = 120  # crash recovery of a few GB of write-ahead log on a slow disk
POLL_SECONDS = 0.05  # pg_ctl and postmaster.pid have to be asked: neither tells when it is done
LOG_LINES = 20
PID_FILE_LINES = 8  # pid, data, started, port, socket, host, shared memory, status (miscadmin.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """A running server: its data folder, TCP port on 127.0.0.1, superuser password, process."""

    data: Path
    port: int
    password: str = field(repr=False)
    pid: int

    def url(self, database: str) -> str:
        """Return the connection URL of one database, with the password in it."""
        return f"postgresql://postgres:{self.password}@{HOST}:{self.port}/{database}"


def launch(
    programs: Programs, data: Path, port: int, password: str, settings: Mapping[str, str]
) -> EmbeddedServer:
    """Start the server, unless it runs, and wait until it is ready; on `port` if that is free.

    Tried again where that can help: the port was taken meanwhile, or processes of a killed server
    still hold its shared memory (PostgreSQL says "in use"), or a start that was killed before it
    saw its server come up left one that comes up now ("already exists").
    """
    log, deadline = data.with_name("server.log"), time.monotonic() + START_SECONDS
    while (server := _ready(data, password, deadline)) is None:
        _drop_foreign_pid(data)
        port = _free_port(port)
        seen = log.stat().st_size if log.exists() else 0
        given = [f"-c{name}={value}" for name, value in {**settings, "port": str(port)}.items()]
        started = programs.run(
            *("pg_ctl", "start", "--wait", f"--timeout={START_SECONDS}", f"--pgdata={data}"),
            *(f"--log={log}", f"--options={shlex.join(given)}"),
        )
        said = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else ""
        passing = started.returncode == 0 or "in use" in said or "already exists" in said
        if not passing or time.monotonic() > deadline:
            raise failed("pg_ctl start", log, started, said or started.stderr)
        time.sleep(0 if started.returncode == 0 else POLL_SECONDS)
    return server


def halt(programs: Programs, data: Path) -> None:
    """Stop the server that runs on `data`, ending its sessions."""
    done = programs.run("pg_ctl", "stop", "--mode=fast", "--wait", f"--pgdata={data}")
    if done.returncode != 0 and postmaster(data) is not None:
        raise failed("pg_ctl stop", data, done, done.stderr)


def _ready(data: Path, password: str, deadline: float) -> EmbeddedServer | None:
    """Return the server that runs on `data`, once it takes connections; None when none runs."""
    while (lines := postmaster(data)) is not None:
        if len(lines) >= PID_FILE_LINES and lines[7].strip() == "ready":
            return EmbeddedServer(
                data=data, port=int(lines[3]), password=password, pid=int(lines[0])
            )
        if time.monotonic() > deadline:
            raise TargetError(
                what=f"PostgreSQL (process {lines[0]}) isn't ready after {START_SECONDS} s",
                where=str(data),
                hint=f"read {data.with_name('server.log')}; it may still be recovering",
            )
        time.sleep(POLL_SECONDS)
    return None


def postmaster(data: Path) -> list[str] | None:
    """Return the lines of `postmaster.pid` when that process is the server of these very data."""
    lines = _pid_file(data)
    return lines if lines and f"/postgres -D {data} " in _command_line(lines[0]) else None


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _drop_foreign_pid(data: Path) -> None:
    """Forget a killed server's process id that another program has got since, or nobody reaped.

    PostgreSQL would take that process for its server and refuse to start. The id of no process at
    all stays: PostgreSQL itself knows what to do with it.
    """
    lines = _pid_file(data)
    if lines and postmaster(data) is None and Path("/proc", lines[0]).exists():
        (data / "postmaster.pid").unlink(missing_ok=True)


def _command_line(pid: str) -> str:
    """Return a process's program and arguments; nothing when there is no such process."""
    if not Path("/proc/self").exists():  # macOS
        asked = subprocess.run(  # noqa: S603 our own command, without a shell
            ["/bin/ps", "-ww", "-o", "command=", "-p", pid],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout
    try:
        return Path("/proc", pid, "cmdline").read_text(errors="replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _free_port(wanted: int) -> int:
    """Return `wanted` if it can be listened on (0: any), else another port that can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((HOST, wanted))
        except OSError:
            probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def failed(
    name: str, where: Path, done: subprocess.CompletedProcess[str], said: str
) -> TargetError:
    """Make an error that carries the end of what PostgreSQL said."""
    tail = "\n".join(said.strip().splitlines()[-LOG_LINES:])
    return TargetError(
        what=f"{name} failed with code {done.returncode}:\n{tail}",
        where=str(where),
        expected="a PostgreSQL that starts and stops",
        hint="mend what PostgreSQL names here, then run the same command again",
    )
