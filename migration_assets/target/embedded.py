"""A PostgreSQL of our own on the loopback interface, for the demo, the tests and Dagster's storage.

A folder is a server: `start(folder)` makes it the first time and returns the running one after.
`folder/server.json` is written when the database cluster is complete; without it whatever lies
there is a half-made cluster and is made again. Data and log lie in `folder/postgres`, or, when we
are root and PostgreSQL's system user can't enter `folder`, under `/var/tmp` (server.json says).
Every start and stop of a folder holds a lock on `folder/lock`. A folder belongs to the user who
made it.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.target.embedded_process import (
    HOST,
    EmbeddedServer,
    failed,
    halt,
    launch,
    postmaster,
)
from migration_assets.target.embedded_programs import (
    Account,
    find_programs,
    make_private,
    reachable,
    system_account,
)

STATE = "server.json"
CLUSTER = "postgres"
USERS = "users"  # locked, shared, by every command that has borrowed the server
LENT = "lent"  # stands while the server runs for borrowers alone
_DATABASE_LOCK = 0x64617461  # 'data'
AWAY = Path("/var/tmp")  # noqa: S108 survives a reboot; the folder made in it is checked to be ours

DURABLE: Mapping[str, str] = MappingProxyType({})
FAST: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
)
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "shared_buffers": "128MB",  # a stand-in beside Dagster on a small machine
        "max_connections": "100",
        "timezone": "UTC",  # as on Aurora
        "log_timezone": "UTC",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    data: str
    port: int  # where it last ran: kept while it is free, so that a remembered URL stays true
    password: str = field(repr=False)


def start(folder: Path, *, options: Mapping[str, str] = DURABLE) -> EmbeddedServer:
    """Return the server of `folder`, made and started as needed.

    `options` are PostgreSQL settings for this start; a server already running keeps its own.
    Raises TargetError with the end of PostgreSQL's log when it doesn't start.
    """
    folder, account = folder.resolve(), system_account()
    with _locked(folder, account) as lock:
        if not running(folder):
            (folder / LENT).unlink(missing_ok=True)  # whoever starts it this way stops it
        return _start(folder, account, lock, options)


def _start(
    folder: Path, account: Account | None, lock: int, options: Mapping[str, str]
) -> EmbeddedServer:
    state = _read(folder)
    if state is None:
        state = _initialise(folder, account, lock)
    programs = find_programs(_place_of(state), account)
    server = launch(programs, Path(state.data), state.port, state.password, {**SETTINGS, **options})
    if server.port != state.port:
        _write(folder, replace(state, port=server.port))
    return server


@contextmanager
def borrowed(folder: Path, *, options: Mapping[str, str] = DURABLE) -> Generator[EmbeddedServer]:
    """Lend the server of `folder` to a command; the last borrower stops what a borrower started.

    Two commands may overlap: the one that ends first must not stop the server under the other. A
    server that was started by `start` goes on.
    """
    folder, account = folder.resolve(), system_account()
    with _locked(folder, account) as lock:
        was_running = running(folder)
        users = os.open(folder / USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)  # dies with its process, unlike a count
        if not was_running:
            (folder / LENT).touch(mode=0o600)
        try:
            server = _start(folder, account, lock, options)
        except BaseException:
            os.close(users)
            raise
    try:
        yield server
    finally:
        _give_back(folder, account, users)


def _give_back(folder: Path, account: Account | None, users: int) -> None:
    with _locked(folder, account):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / LENT).exists():
                _stop(folder, account)
                (folder / LENT).unlink()
        except BlockingIOError:
            pass  # somebody else still uses it, and stops it in our place
        finally:
            os.close(users)


def made(folder: Path) -> bool:
    """Tell whether `folder` has a server, running or not."""
    return folder.exists() and _read(folder.resolve()) is not None


def running(folder: Path) -> bool:
    """Tell whether the server of `folder` runs now."""
    if not folder.exists():
        return False
    state = _read(folder.resolve())
    return state is not None and postmaster(Path(state.data)) is not None


def stop(folder: Path) -> None:
    """Stop the server of `folder`; nothing happens when none runs. Open sessions are ended."""
    if folder.exists():
        folder, account = folder.resolve(), system_account()
        with _locked(folder, account):
            _stop(folder, account)


def remove(folder: Path) -> None:
    """Stop the server of `folder` and delete it; only the folder with its lock file stays.

    What the folder remembers isn't asked, so this is also the way out where that is damaged.
    """
    if folder.exists():
        folder, account = folder.resolve(), system_account()
        with _locked(folder, account):
            _stop(folder, account)
            (folder / STATE).unlink(missing_ok=True)  # first: what is left is then half-made
            for name in (LENT, USERS):
                (folder / name).unlink(missing_ok=True)
            for made in (*folder.glob(CLUSTER), *folder.glob("programs-*")):
                shutil.rmtree(made)
            if account is not None and _away(folder).exists():
                _refuse_foreign(_away(folder))
                shutil.rmtree(_away(folder))


def ensure_database(server: EmbeddedServer, name: str) -> None:
    """Create database `name` (UTF8, locale C) unless it exists."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        # Two at a time would both find it missing; the lock ends with the session.
        connection.execute("SELECT pg_advisory_lock(%s)", [_DATABASE_LOCK])
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'").format(
                    sql.Identifier(name)
                )
            )


@contextmanager
def _locked(folder: Path, account: Account | None) -> Generator[int]:
    """Hold `folder` (made when missing) for one start or stop; yields the lock's descriptor."""
    try:
        make_private(folder, account)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TargetError(
            what=f"the server's folder can't be used: {error.strerror}",
            where=str(folder),
            expected="a folder of the current user's, or none yet",
            hint="name another folder, or run as the user who made this one",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _read(folder: Path) -> _State | None:
    """Read what is remembered of a complete cluster; None when there isn't one."""
    path = folder / STATE
    try:
        owner = path.stat().st_uid
        state = _State(**json.loads(path.read_bytes())) if owner == os.geteuid() else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise TargetError(
            what=f"the server's state can't be read: {type(error).__name__}",
            where=str(path),
            hint="restore it, or delete it: an empty server is then made in its place",
        ) from error
    if state is None:
        raise TargetError(
            what="this server belongs to another user",
            where=str(folder),
            expected=f"user id {os.geteuid()}, got {owner}",
            hint="run as the user who made it, or name another folder",
        )
    if not (Path(state.data) / "PG_VERSION").exists():
        raise TargetError(
            what="the server's data are gone",
            where=state.data,
            hint=f"delete {path}: an empty server is made in its place",
        )
    return state


def _write(folder: Path, state: _State) -> None:
    partial = folder / f"{STATE}.partial"
    _write_private(partial, json.dumps(asdict(state)), None)
    partial.replace(folder / STATE)


def _write_private(path: Path, text: str, account: Account | None) -> None:
    """Write a file that only its owner (`account`, or we) can read, from its first moment on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _initialise(folder: Path, account: Account | None, lock: int) -> _State:
    """Make the database cluster, from nothing, whatever an earlier attempt left behind."""
    place = _place(folder, account)
    cluster = place / CLUSTER
    programs = find_programs(place, account)
    if postmaster(cluster / "data") is not None:  # its folder was deleted while it ran
        halt(programs, cluster / "data")
    shutil.rmtree(cluster, ignore_errors=True)
    cluster.mkdir(mode=0o700)
    if account is not None:
        os.chown(cluster, account.uid, account.gid)
    password, password_file = secrets.token_urlsafe(24), cluster / "password"
    _write_private(password_file, password, account)
    try:
        made = programs.run(
            "initdb",
            f"--pgdata={cluster / 'data'}",
            "--username=postgres",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            # Iterations slow down the guessing of weak passwords; ours is random. Dagster's storage
            # opens a connection for each of a run's hundreds of events.
            "--set=scram_iterations=1",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            keep_open=[lock],  # should initdb outlive us, the next start waits for its end
        )
    finally:
        password_file.unlink()
    if made.returncode != 0:
        raise failed("initdb", cluster, made, made.stderr)
    state = _State(data=str(cluster / "data"), port=0, password=password)
    _write(folder, state)
    return state


def _stop(folder: Path, account: Account | None) -> None:
    for place in (folder,) if account is None else (folder, _away(folder)):
        if postmaster(place / CLUSTER / "data") is not None:
            halt(find_programs(place, account), place / CLUSTER / "data")


def _place(folder: Path, account: Account | None) -> Path:
    if reachable(folder, account):
        return folder
    place = _away(folder)
    make_private(place, account)
    _refuse_foreign(place)
    return place


def _place_of(state: _State) -> Path:
    return Path(state.data).parent.parent


def _away(folder: Path) -> Path:
    return AWAY / f"migration-assets-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"


def _refuse_foreign(place: Path) -> None:
    """Refuse a folder that anyone but root made or can change: its parent is open to everybody."""
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise TargetError(
            what="somebody else made the folder that PostgreSQL's data would go to",
            where=str(place),
            expected="a folder of root's that nobody else can write, or none yet",
            hint="find out who made it, then delete it",
        )
