"""A real PostgreSQL for the tests: one server a session, a database of its own for each test."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
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
def postgres() -> Iterator[EmbeddedServer]:
    """Return a server shared by the session: durability is off, nothing outlives the session."""
    folder = new_folder()
    try:
        yield start(folder, options=FAST)
    finally:
        _remove(folder)


@pytest.fixture
def target_url(postgres: EmbeddedServer) -> Iterator[str]:
    """Return the URL of an empty database that only this test uses."""
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
