"""The how-to's nginx site lets in whom it should, and its UI for readers can't change anything."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.defs.resources import DAGSTER_DATABASE
from migration_assets.target.embedded import EmbeddedServer, ensure_database
from migration_assets_tests import markdown
from migration_assets_tests.documentation import page, run_page
from migration_assets_tests.fixtures_documentation import terminal
from migration_assets_tests.system.behind_nginx import (
    OPERATOR,
    READER,
    Proxy,
    free_port,
    nginx,
    stand_in,
)
from migration_assets_tests.system.waiting import until

PERMISSIONS = json.dumps({"query": "{ permissions { permission value } }"})


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Return nginx in front of a stand-in, which answers for both UIs."""
    with stand_in() as port, nginx(tmp_path, operators=port, readers=port) as running:
        yield running


def test_the_how_tos_commands_work(clone: Path) -> None:
    """A password file's line is what nginx takes."""
    text = page("how-to/behind-authentication.md")
    assert run_page(text, folder=clone, environment=terminal(clone))


@pytest.mark.parametrize(
    ("path", "login", "status"),
    [
        ("/", None, 401),
        ("/read/", None, 401),
        ("/", (OPERATOR[0], "wrong"), 401),
        ("/", OPERATOR, 200),
        ("/read/", READER, 200),
        ("/", READER, 401),
        ("/graphql", READER, 401),
        ("/read/../graphql", READER, 401),
        ("/read/", OPERATOR, 401),
    ],
)
def test_everybody_gets_what_is_theirs(
    proxy: Proxy, path: str, login: tuple[str, str] | None, status: int
) -> None:
    """Nobody gets nothing, readers nothing of the operators' UI."""
    assert proxy.get(path, login)[0] == status


def test_a_request_arrives_without_its_password(proxy: Proxy) -> None:
    """With its path and its host."""
    status, body = proxy.get("/assets?view=list", OPERATOR)
    assert status == 200
    arrived = json.loads(body)
    assert arrived["path"] == "/assets?view=list"
    assert arrived["Host"] == "127.0.0.1"
    assert "Authorization" not in arrived
    assert OPERATOR[1] not in body


@pytest.mark.parametrize(("path", "login"), [("/graphql", OPERATOR), ("/read/graphql", READER)])
def test_websockets_pass(proxy: Proxy, path: str, login: tuple[str, str]) -> None:
    """What is sent comes back over the same connection."""
    status, came = proxy.converse(path, login, b"over the socket\n")
    assert status.startswith(b"HTTP/1.1 101")
    assert came == b"over the socket\n"


@pytest.fixture
def readers_ui(clone: Path, postgres: EmbeddedServer) -> Iterator[int]:
    """Start the UI for readers as the how-to says; return its port."""
    with closing(sqlite3.connect(clone / "app.sqlite")) as connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY)")
    ensure_database(postgres, DAGSTER_DATABASE)
    (clone / "migration.env").write_text(
        f"DAGSTER_PG_HOST=127.0.0.1\nDAGSTER_PG_PORT={postgres.port}\n"
        f"DAGSTER_PG_USERNAME=postgres\nDAGSTER_PG_PASSWORD={postgres.password}\n"
        f"DAGSTER_PG_DB={DAGSTER_DATABASE}\nMIGRATION_SOURCE=app.sqlite\n"
        f"MIGRATION_TARGET={postgres.url('postgres')}\n"
    )
    text = page("how-to/behind-authentication.md")
    (block,) = (b.text for b in markdown.blocks(text) if "dagster-webserver" in b.text)
    port, log = free_port(), clone / "readers.log"
    script = block.replace("/srv/migration", str(clone)).replace("3001", str(port))
    with log.open("wb") as said:
        server = subprocess.Popen(
            ["/bin/bash", "-e", "-c", script.replace("/etc/migration.env", "./migration.env")],
            cwd=clone,
            env=terminal(clone),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: "Serving dagster-webserver" in _said(server, log), what="the UI for readers")
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _said(server: subprocess.Popen[bytes], log: Path) -> str:
    said = log.read_text("utf-8")
    assert server.poll() is None, said
    return said


def test_readers_may_look_and_press_nothing(readers_ui: int, tmp_path: Path) -> None:
    """Dagster itself says what may be done, below the path that nginx gives it."""
    with nginx(tmp_path, operators=free_port(), readers=readers_ui) as proxy:
        status, shown = proxy.get("/read/", READER)
        assert status == 200
        assert 'pathPrefix": "/read"' in shown
        status, body = proxy.ask("POST", "/read/graphql", READER, PERMISSIONS)
    assert status == 200
    permissions = json.loads(body)["data"]["permissions"]
    assert permissions
    assert [p["permission"] for p in permissions if p["value"]] == []
