"""One connection to a real PostgreSQL for all examples of a module's properties."""

import secrets
from collections.abc import Iterator

import pytest

from migration_assets.target.connection import Connection, Target, connect
from migration_assets.target.embedded import EmbeddedServer, ensure_database


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedServer) -> Iterator[Connection]:
    """Return a session as the pipeline opens it, in a database of the module's own."""
    name = f"properties_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    with connect(Target(url=postgres.url(name))) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the transaction of a failed example, so that the next one starts in a clean session."""
    yield
    if "connection" in request.fixturenames:
        request.getfixturevalue("connection").rollback()
