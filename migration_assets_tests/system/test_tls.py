"""TLS to a real server: what is right carries a week, what is wrong says so at once."""

import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from migration_assets.errors import MigrationError, TerminalError
from migration_assets.target.connection import Target, connect
from migration_assets.target.embedded import EmbeddedServer, ensure_database, remove
from migration_assets.target.embedded_programs import Account
from migration_assets_tests import command, independent
from migration_assets_tests.debian_postgres import Prepare, give
from migration_assets_tests.fixtures_postgres import debian_server, new_folder
from migration_assets_tests.system.certificates import Pair, authority, expired, signed
from migration_assets_tests.system.conftest import OLDER

HOST = "aurora.test"  # in no name service: `hostaddr` says where it is
PASSWORD = "pa55-W0RD-marker"  # noqa: S105 - a marker that no message may contain
WEEK = "2026-10-04"
PATIENCE = 90.0  # seconds of tries to connect, as by default
AT_ONCE = 10.0  # seconds on a busy machine; the first tries would still go on then
SCHEMA = """
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, price DECIMAL(8,2));
INSERT INTO book VALUES (1, 'one', 9.5), (2, 'two', NULL);
"""
# Nothing but TLS gets in: the clerk by client certificate, all others by password.
HBA = """
hostssl all clerk 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A server that is reached by TLS alone, and the CAs and certificates around it."""

    server: EmbeddedServer
    ca: Pair
    stranger: Pair  # a CA that the server knows nothing of
    clerk: Pair
    folder: Path

    def url(self, **parts: str | int | None) -> str:
        """Return the loader's URL, without password and with full verification; or other parts."""
        usual: dict[str, str | int | None] = {
            "host": HOST,
            "hostaddr": "127.0.0.1",
            "port": self.server.port,
            "user": "loader",
            "dbname": "app",
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca.certificate),
        }
        return conninfo.make_conninfo("", **(usual | parts))


def _showing(ca: Pair, pair: Pair) -> Prepare:
    """Return what prepares a server that shows a certificate and trusts a CA's clients."""

    def prepare(data: Path, account: Account | None) -> Mapping[str, str]:
        for file in (ca.certificate, pair.certificate, pair.key):
            give(account, Path(shutil.copy(file, data)))
        (data / "pg_hba.conf").write_text(HBA)
        return {
            "ssl": "on",
            "ssl_cert_file": pair.certificate.name,
            "ssl_key_file": pair.key.name,
            "ssl_ca_file": ca.certificate.name,
        }

    return prepare


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run a PostgreSQL with a certificate of its CA, and a loader and a clerk who may log in."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, stranger = authority(folder, "our-ca"), authority(folder, "another-ca")
    pair, clerk = signed(folder, "server", ca, host=HOST), signed(folder, "clerk", ca)

    with debian_server(OLDER, prepare=_showing(ca, pair)) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            for role in (f"loader LOGIN PASSWORD '{PASSWORD}'", "clerk LOGIN"):
                connection.execute(f"CREATE ROLE {role}".encode())
            ensure_database(server, "app")
        with psycopg.connect(server.url("app"), autocommit=True) as connection:
            connection.execute("GRANT CREATE ON DATABASE app TO loader")
            connection.execute("GRANT CREATE ON SCHEMA public TO loader")
        yield Secured(server=server, ca=ca, stranger=stranger, clerk=clerk, folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder in which the command line runs, as cron would run it."""

    folder: Path

    @property
    def source(self) -> Path:
        """The SQLite database."""
        return self.folder / "app.sqlite"

    def run(self, url: str, **variables: str) -> "tuple[int, str]":
        """Run the week to this target; return exit code and all that was said."""
        given = {
            "HOME": str(self.folder),
            "MIGRATION_SOURCE": str(self.source),
            "MIGRATION_TARGET": url,
            "MIGRATION_FIRST_WEEK": WEEK,
            **variables,
        }
        done = command.run("run", "--week", WEEK, folder=self.folder, environment=given)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a folder with a source and the project's dagster.yaml."""
    site = Site(folder=new_folder())
    site.folder.mkdir()
    shutil.copy(command.ROOT / "dagster.yaml", site.folder)
    with closing(sqlite3.connect(site.source)) as connection:
        connection.executescript(SCHEMA)
    try:
        yield site
    finally:
        remove(site.folder / ".migration" / "postgres")
        shutil.rmtree(site.folder)


@pytest.mark.parametrize("how", ["PGPASSWORD", "passfile"])
def test_a_verified_server_carries_a_week(secured: Secured, site: Site, how: str) -> None:
    """`verify-full` with the right CA, the password beside the URL: equal, and never printed."""
    passfile = site.folder / "passfile"
    passfile.write_text(f"{HOST}:*:*:loader:{PASSWORD}\n")
    passfile.chmod(0o600)
    code, said = (
        site.run(secured.url(), PGPASSWORD=PASSWORD)
        if how == "PGPASSWORD"
        else site.run(secured.url(passfile=str(passfile)))
    )
    assert code == 0, said
    assert PASSWORD not in said
    with psycopg.connect(secured.server.url("app"), autocommit=True) as connection:
        try:
            found = independent.compare(site.source, secured.server.url("app"))
            assert found.equal, found.describe()
            assert [table.source_rows for table in found.tables] == [2]
        finally:
            connection.execute("DROP SCHEMA migration CASCADE")
            connection.execute("DROP TABLE book")


def test_a_run_with_the_wrong_ca_ends_with_what_to_do(secured: Secured, site: Site) -> None:
    """At the command line: exit code 1, the reason and the setting, no secret."""
    started = time.monotonic()
    code, said = site.run(
        secured.url(sslrootcert=str(secured.stranger.certificate)), PGPASSWORD=PASSWORD
    )
    assert code == 1
    assert "certificate verify failed" in said
    assert "to do: give the CA" in said
    assert PASSWORD not in said
    assert time.monotonic() - started < PATIENCE  # and Dagster has been started in it


WRONG = {
    "another CA": ({"sslrootcert": "another-ca.crt"}, "certificate verify failed", "sslrootcert"),
    "another host": ({"host": "db.test"}, "does not match host name", "host name"),
    "no CA file": ({"sslrootcert": "missing.crt"}, "missing.crt", "sslrootcert"),
    "no TLS": ({"sslmode": "disable"}, "no pg_hba.conf entry", "sslmode"),
    "no client certificate": (
        {"user": "clerk"},
        "client certificate",
        "sslcert",
    ),
    "a client certificate of another CA": (
        {"user": "clerk", "sslcert": "foreign.crt", "sslkey": "foreign.key"},
        "unknown ca",
        "sslcert",
    ),
    "somebody else's client certificate": (
        {"user": "clerk", "sslcert": "server.crt", "sslkey": "server.key"},
        "certificate authentication failed",
        "sslcert",
    ),
    "a key that all can read": (
        {"user": "clerk", "sslcert": "clerk.crt", "sslkey": "open.key"},
        "open.key",
        "sslkey",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong_is_said_at_once(secured: Secured, name: str) -> None:
    """Waiting can't mend a certificate: no second try, what it is, what to do, and no secret."""
    changed, told, to_do = WRONG[name]
    signed(secured.folder, "foreign", secured.stranger)
    opened = secured.folder / "open.key"
    shutil.copy(secured.clerk.key, opened)
    opened.chmod(0o644)
    parts: dict[str, str | int | None] = {
        part: str(secured.folder / value) if part.startswith("ssl") and "." in value else value
        for part, value in changed.items()
    }
    error = _refused(secured.url(password=PASSWORD, **parts))
    assert told in error.what
    assert to_do in error.hint


def test_a_certificate_that_has_expired_is_refused(secured: Secured) -> None:
    """Of the right CA and for the right host, but a day too old."""
    key = secured.folder / "server.key"
    certificate = expired(secured.folder, "expired", secured.ca, key=key, host=HOST)
    shown = _showing(secured.ca, Pair(certificate=certificate, key=key))
    with debian_server(OLDER, prepare=shown) as server:
        encrypted = secured.url(port=server.port, sslmode="require", sslrootcert=None)
        assert "password authentication failed" in _refused(f"{encrypted} password=x").what
        error = _refused(secured.url(port=server.port, password=PASSWORD))
    assert "certificate verify failed" in error.what
    assert "expired" in error.hint


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_said_at_once(postgres: EmbeddedServer, mode: str) -> None:
    """`sslmode` is a promise to the user, not a wish: nothing is sent in the clear instead."""
    error = _refused(
        conninfo.make_conninfo(postgres.url("postgres"), sslmode=mode, sslrootcert="system")
        if mode == "verify-full"
        else conninfo.make_conninfo(postgres.url("postgres"), sslmode=mode)
    )
    assert "does not support SSL" in error.what
    assert "sslmode" in error.hint
    assert postgres.password not in str(error)


def test_a_client_certificate_opens_the_server(secured: Secured) -> None:
    """The clerk has no password: the certificate of the server's CA says who it is."""
    url = secured.url(
        user="clerk", sslcert=str(secured.clerk.certificate), sslkey=str(secured.clerk.key)
    )
    with connect(Target(url=url, patience=PATIENCE)) as connection:
        found = connection.execute(
            "SELECT current_user, ssl, version LIKE 'TLS%' FROM pg_stat_ssl"
            " WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert found == ("clerk", True, True)


def _refused(url: str) -> MigrationError:
    """Return the error of a connection that has to fail at once, terminally, without a secret."""
    started = time.monotonic()
    with pytest.raises(TerminalError) as caught, connect(Target(url=url, patience=PATIENCE)):
        pytest.fail("it was let in")
    error = caught.value
    assert time.monotonic() - started < AT_ONCE
    assert error.hint
    told = [error, error.__cause__, *getattr(error, "__notes__", [])]
    assert not [text for text in map(str, told) if PASSWORD in text]
    return error
