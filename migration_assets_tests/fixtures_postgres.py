"""A real PostgreSQL for the tests: one server a session, a database of its own for each test.

It is the embedded one; `--postgres=15` takes Debian's PostgreSQL of that major version instead.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from migration_assets.target.embedded import (
    FAST,
    EmbeddedServer,
    ensure_database,
    remove,
    start,
)
from migration_assets_tests import debian_postgres

EMBEDDED = "embedded"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose its server."""
    parser.addoption(
        "--postgres",
        default=EMBEDDED,
        metavar="VERSION",
        help="major version of Debian's PostgreSQL to test against, instead of the embedded one",
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say which server it is."""
    return f"postgres: {config.getoption('--postgres')}"


def new_folder() -> Path:
    """Name a folder that doesn't exist yet.

    pytest's own temporary folders are closed to the system user that root starts PostgreSQL as, so
    every server would take the detour over /var/tmp.
    """
    return Path(tempfile.gettempdir()) / f"migration-assets-test-{secrets.token_hex(6)}"


def _remove(folder: Path) -> None:
    remove(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """Return a server shared by the session: durability is off, nothing outlives the session."""
    version = str(request.config.getoption("--postgres"))
    if version != EMBEDDED:
        with debian_server(version) as server:
            yield server
        return
    folder = new_folder()
    try:
        yield start(folder, options=FAST)
    finally:
        _remove(folder)


@contextmanager
def debian_server(
    version: str, *, prepare: debian_postgres.Prepare = debian_postgres.plain
) -> Iterator[EmbeddedServer]:
    """Run Debian's PostgreSQL of a major version; without it the test fails and says what to do."""
    folder = new_folder()
    try:
        with debian_postgres.running(folder, version, prepare=prepare) as server:
            with psycopg.connect(server.url("postgres")) as connection:
                assert connection.info.server_version // 10_000 == int(version)
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def target_url(postgres: EmbeddedServer) -> Iterator[str]:
    """Return the URL of an empty database that only this test uses."""
    with own_database(postgres) as url:
        yield url


@contextmanager
def own_database(postgres: EmbeddedServer) -> Iterator[str]:
    """Lend the URL of an empty database."""
    name = f"test_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    yield postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """Return a folder, not made yet, for a test that starts and stops servers of its own."""
    folder = new_folder()
    yield folder
    _remove(folder)
