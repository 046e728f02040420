"""Connect to the target: bounded patience, one writer, sessions set up alike, no secrets out."""

import random
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import LiteralString, TypeAlias

import psycopg
from psycopg import conninfo
from psycopg.types.string import TextLoader

from migration_assets.errors import (
    SettingsError,
    TargetError,
    TargetUnavailableError,
    TargetUnreachableError,
    UnsupportedError,
)
from migration_assets.settings import Settings
from migration_assets.target.sqlstate import translate
from migration_assets.target.watch import Watch, WatchedConnection

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]

# PostgreSQL's errors at connect carry no SQLSTATE. These of its messages are not worth waiting
# for; all else is tried again until patience ends. The first phrase found decides.
_ITS_CERTIFICATE = "give a client certificate that the server trusts in sslcert, its key in sslkey"
_TERMINAL_AT_CONNECT = (
    (
        "certificate verify failed",
        "give the CA of the server's certificate in sslrootcert (or the certificate has expired)",
    ),
    ("does not match host name", "the host name in the URL has to be one in the certificate"),
    ("root certificate file", "name the file with the server's CA in sslrootcert"),
    ("does not support SSL", "the server offers no TLS: see sslmode in the URL"),
    ("no encryption", "set sslmode in the URL, or let this machine in (pg_hba.conf)"),
    ("private key file", "sslkey needs a file with the certificate's key that only you can read"),
    ("certificate file", _ITS_CERTIFICATE),
    ("valid client certificate", _ITS_CERTIFICATE),
    ("certificate authentication failed", f"{_ITS_CERTIFICATE}; its CN has to be the user"),
    ("alert unknown ca", _ITS_CERTIFICATE),
    ("alert certificate", _ITS_CERTIFICATE),
    ("alert bad certificate", _ITS_CERTIFICATE),
    ("password authentication failed", "check user and password of the target's URL"),
    ("no password supplied", "put the password into the URL, PGPASSWORD or a passfile"),
    ("does not exist", "check user and database name of the target's URL"),
    ("no pg_hba.conf entry", "let this machine in at the server (security group, pg_hba.conf)"),
)
_OLDEST_SERVER = 140000  # Aurora PostgreSQL 14
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries to connect
# A dead peer is noticed after 15 + 4 * 5 = 35 s of silence, or 60 s after it acknowledged last
# (milliseconds); on both sides. Also what keeps a firewall from forgetting an idle connection.
_KEEPALIVES_IDLE, _KEEPALIVES_INTERVAL, _KEEPALIVES_COUNT, _USER_TIMEOUT = 15, 5, 4, 60_000
_MAX_KEPT = 300  # characters of a connect message that are passed on


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the target is and how long to wait for it.

    `patience` bounds the tries to connect, `lock_timeout` the wait for a table, `statement_timeout`
    (0: not at all) one statement, `silence` the wait for a byte before the server is asked what
    the session does: all in seconds.
    """

    url: str = field(repr=False)
    schema: str = "public"
    patience: float = 90.0
    lock_timeout: float = 60.0
    statement_timeout: float = 0.0
    silence: float = 30.0

    @property
    def name(self) -> str:
        """Name the target for people: host and database, never user or password.

        Raises `SettingsError` where the URL is none; it is not repeated, it may hold a secret.
        """
        try:
            parts = conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            raise SettingsError(
                what="the target's URL can't be read",
                where="target",
                expected="postgresql://user@host:5432/database?sslmode=verify-full",
                hint="set `target` in migration.yaml, or MIGRATION_TARGET",
            ) from type(error)("not a connection string")
        return f"{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"


def database_of(url: str) -> str:
    """Return the database that a URL names; empty where it names none, or can't be read."""
    return str(_parts(url).get("dbname") or "")


def address_of(url: str) -> str:
    """Return where a URL leads, without user, password or parameters; empty where it can't."""
    parts = _parts(url)
    host, port = parts.get("host"), parts.get("port")
    if not host:
        return ""
    return f"postgresql://{host}{f':{port}' if port else ''}/{parts.get('dbname', '')}"


def _parts(url: str) -> dict[str, str | int | None]:
    """Take a URL apart; one that can't be read has no parts here, and is named when connecting."""
    with suppress(psycopg.ProgrammingError):
        return dict(conninfo.conninfo_to_dict(url))
    return {}


def target_of(settings: Settings, url: str | None = None) -> Target:
    """Return the target that the settings name; `url` stands in where it is embedded."""
    return Target(
        url=url or settings.target,
        schema=settings.target_schema,
        patience=settings.connect_patience,
        lock_timeout=settings.lock_timeout,
        statement_timeout=settings.statement_timeout,
    )


# Settings of every session, sent in one message: every table opens two of them. Time zone and
# styles are fixed so that no role's or database's own default changes what is read or written; the
# path is empty so that only named objects are used.
_SESSION: tuple[str, ...] = (
    "SET search_path TO pg_catalog",
    "SET TIME ZONE 'UTC'",
    "SET DateStyle TO 'ISO, YMD'",
    "SET extra_float_digits TO 1",
    "SET bytea_output TO 'hex'",
    "SET client_encoding TO 'UTF8'",
    "SET standard_conforming_strings TO on",
    "SET row_security TO off",
    "SET default_transaction_isolation TO 'read committed'",
    "SET idle_in_transaction_session_timeout TO '15min'",
    # A step compares cuts between two transactions; the largest take an hour.
    "SET idle_session_timeout TO '4h'",
    # A client that is gone is noticed within a minute, also in the middle of a statement: its
    # locks would make the step that is done again wait.
    "SET client_connection_check_interval TO '10s'",
    f"SET tcp_keepalives_idle TO {_KEEPALIVES_IDLE}",
    f"SET tcp_keepalives_interval TO {_KEEPALIVES_INTERVAL}",
    f"SET tcp_keepalives_count TO {_KEEPALIVES_COUNT}",
    f"SET tcp_user_timeout TO {_USER_TIMEOUT}",
)
_ABOUT = """
SELECT current_setting('server_encoding'), pg_backend_pid(),
       (SELECT extract(epoch FROM backend_start)::text FROM pg_stat_activity
        WHERE pid = pg_backend_pid())
"""


@contextmanager
def connect(target: Target) -> Generator[Connection]:
    """Connect, in autocommit, and close at the end; raises our errors, not psycopg's."""
    where = f"target {target.name}"
    connection = _open(target, where)
    try:
        with translated(where):
            _set_up(connection, target, where)
            connection.adapters.register_loader("json", TextLoader)  # its text, as it stands
        yield connection
    finally:
        connection.close()


@contextmanager
def translated(where: str) -> Generator[None]:
    """Translate every psycopg error raised inside."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, where) from _bare(error)


@contextmanager
def streaming(
    connection: Connection, name: str
) -> Generator[psycopg.ServerCursor[tuple[object, ...]]]:
    """Lend a cursor on the server, whose rows come in portions, in binary; needs a transaction."""
    cursor = connection.cursor(name, binary=True)
    try:
        yield cursor
    finally:
        try:
            cursor.close()
        except psycopg.OperationalError:
            connection.close()  # lost while the cursor's end was asked for: it ended with it
            cursor.close()
            raise


@contextmanager
def transaction(connection: Connection, mode: LiteralString) -> Generator[None]:
    """Open a transaction of that mode; it is rolled back unless the body commits it."""
    connection.execute(f"BEGIN ISOLATION LEVEL {mode}")
    try:
        yield
    finally:
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            with suppress(psycopg.OperationalError):  # a lost session has rolled back by itself
                connection.execute("ROLLBACK")


def _bare(error: psycopg.Error) -> Exception:
    """Return a stand-in for the cause: psycopg's own text may quote a row."""
    return type(error)(error.sqlstate or "no SQLSTATE")


def _open(target: Target, where: str) -> WatchedConnection:
    """Try until it works, the answer is final, or patience ends; the last try is made then."""
    deadline = time.monotonic() + target.patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return WatchedConnection.connect(
                target.url,
                autocommit=True,
                connect_timeout=max(2, min(10, int(target.patience))),
                keepalives_idle=_KEEPALIVES_IDLE,
                keepalives_interval=_KEEPALIVES_INTERVAL,
                keepalives_count=_KEEPALIVES_COUNT,
                tcp_user_timeout=_USER_TIMEOUT,
                application_name="migration-assets",
            )
        except psycopg.OperationalError as error:
            _raise_if_final(error, target, where)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TargetUnreachableError(
                    what=f"no connection within {target.patience:g} s: "
                    f"{_scrub(_lines(error)[-1], target)}",
                    where=where,
                    hint="check that the server runs and that this machine reaches it",
                ) from None
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_PAUSE)


def _raise_if_final(error: psycopg.OperationalError, target: Target, where: str) -> None:
    for phrase, hint in _TERMINAL_AT_CONNECT:
        for line in _lines(error):
            if phrase in line:
                raise TargetError(what=_scrub(line, target), where=where, hint=hint) from None


def _lines(error: psycopg.OperationalError) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines or ["no message"]


def _scrub(text: str, target: Target) -> str:
    """Return a line of a connect error without the password."""
    password = conninfo.conninfo_to_dict(target.url).get("password")
    if password:
        text = text.replace(str(password), "***")
    return re.sub(r"://[^@\s]*@", "://***@", text)[:_MAX_KEPT]


def _set_up(connection: WatchedConnection, target: Target, where: str) -> None:
    if connection.info.server_version < _OLDEST_SERVER:
        raise UnsupportedError(
            what=f"PostgreSQL {connection.info.server_version // 10000}",
            where=where,
            expected="14 or newer",
        )
    # Ours, not a role's own: a limit on statements that is meant for others would cancel loads.
    timeouts = (
        f"SET lock_timeout TO {_milliseconds(target.lock_timeout)}",
        f"SET statement_timeout TO {_milliseconds(target.statement_timeout)}",
    )
    connection.execute("; ".join((*_SESSION, *timeouts)).encode())
    encoding, pid, started = connection.execute(_ABOUT).fetchone() or (None, None, None)
    if started is not None:
        connection.watch = Watch(
            url=target.url,
            pid=int(str(pid)),
            started=str(started),
            silence=target.silence,
            patience=target.patience,
        )
    if encoding != "UTF8":
        raise UnsupportedError(
            what=f"the database is encoded in {encoding or 'nothing'}",
            where=where,
            expected="UTF8",
            hint="create the target database with ENCODING 'UTF8'",
        )


def _milliseconds(seconds: float) -> int:
    """Return a timeout as PostgreSQL takes it: at most 24 days."""
    return min(int(seconds * 1000), 2**31 - 1)


def require_writer(connection: Connection, where: str) -> None:
    """Raise `TargetUnavailableError` on a read-only server, such as a demoted writer."""
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting($$transaction_read_only$$)"
    )
    in_recovery, read_only = row.fetchone() or (True, "on")
    if in_recovery or read_only == "on":
        raise TargetUnavailableError(
            what="the target is read-only",
            where=where,
            expected="the cluster's writer",
            hint="use the cluster's writer endpoint; after a failover its name needs a moment",
        )
