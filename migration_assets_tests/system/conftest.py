"""System tests run against Debian's PostgreSQL 15, an older server than the embedded one."""

from collections.abc import Iterator

import pytest

from migration_assets.target.embedded import EmbeddedServer
from migration_assets_tests.fixtures_postgres import debian_server

OLDER = "15"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """Return the older server, shared by the session; it offers no TLS."""
    with debian_server(OLDER) as server:
        yield server
