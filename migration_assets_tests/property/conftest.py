"""A database of a real PostgreSQL, and a folder, for all examples of a module's properties."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.target.connection import Connection, Target, connect
from migration_assets.target.embedded import EmbeddedServer, ensure_database
from migration_assets_tests.fixtures_sqlite import MEMORY


@pytest.fixture(scope="module")
def url(postgres: EmbeddedServer) -> str:
    """Return the URL of a database of the module's own; examples share it."""
    name = f"properties_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    return postgres.url(name)


@pytest.fixture(scope="module")
def connection(url: str) -> Iterator[Connection]:
    """Return a session as the pipeline opens it."""
    with connect(Target(url=url)) as connection:
        yield connection


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder for all examples; each writes its files anew."""
    with tempfile.TemporaryDirectory(prefix="migration-assets-test-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the transaction of a failed example, so that the next one starts in a clean session."""
    yield
    if "connection" in request.fixturenames:
        request.getfixturevalue("connection").rollback()
