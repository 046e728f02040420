"""Tutorial and how-tos, done as they say: what they print, what they allow, what stands after."""

import re
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from migration_assets.settings import load
from migration_assets.target.embedded import FAST, EmbeddedServer, ensure_database, start
from migration_assets_tests import command, independent, markdown, psql
from migration_assets_tests.command import ROOT
from migration_assets_tests.documentation import page, run_page
from migration_assets_tests.fixtures_documentation import terminal

PORT = "3000"
DATABASE, MASTER = "app", "master"
READERS = "another long one"
SOURCE = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE visits (page TEXT, seconds REAL);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO visits VALUES ('/', 1.5), ('/', 1.5);
"""


def free_port() -> str:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def make_source(file: Path) -> None:
    """Make a small database: a table with a key, and one without."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(SOURCE)


@pytest.mark.timeout(900)
def test_the_tutorial_is_true(clone: Path) -> None:
    """Every command works in its order, every output is the one shown, nothing is left at home."""
    run_page(
        page("tutorial/first-migration.md"),
        folder=clone,
        environment=terminal(clone),
        replace={PORT: free_port()},
    )
    assert not list((clone / "home").iterdir())
    assert {f.name for f in clone.iterdir()} == {
        ".venv",
        "dagster.yaml",
        "home",
        "workspace.yaml",
    }


# ----------------------------------------------------------------------------- own database


@pytest.fixture
def cluster(server_folder: Path) -> Iterator[EmbeddedServer]:
    """Return a server as Amazon hands it over: a master who is no superuser owns the database."""
    server = start(server_folder, options=FAST)
    ensure_database(server, DATABASE)
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        for statement in (
            f"CREATE ROLE {MASTER} LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER}'",
            f"ALTER DATABASE {DATABASE} OWNER TO {MASTER}",
            f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",  # only what the page grants
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        ):
            connection.execute(statement.encode())
    yield server  # noqa: PT022 - server_folder ends it


def url_as(server: EmbeddedServer, role: str) -> str:
    """Return the database's URL for a role, without a password."""
    return f"postgresql://{role}@127.0.0.1:{server.port}/{DATABASE}"


@pytest.mark.parametrize("script", ["", "deploy/sql/least.sql"], ids=["as shown", "least"])
def test_the_rights_of_the_how_to_are_enough_for_a_week(
    clone: Path, cluster: EmbeddedServer, script: str
) -> None:
    """What the page grants is all the loader has; what it says to type then works."""
    text = page("how-to/own-database.md")
    (command_line,) = (b.text for b in markdown.blocks(text) if b.text.startswith("psql "))
    given = dict(re.findall(r"-v (\w+)=(\w+)", command_line))
    (named,) = re.findall(r"-f (\S+)", command_line)
    with psycopg.connect(url_as(cluster, MASTER), password=MASTER, autocommit=True) as connection:
        psql.run(connection, ROOT / (script or named), **given)
        for role, password in (("loader", "a long one"), ("migration_reader", READERS)):
            connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'".encode())
    source = clone / "app" / "app.sqlite"
    make_source(source)
    (url,) = re.findall(r"MIGRATION_TARGET='([^']+)'", text)
    run_page(
        text,
        folder=clone,
        environment=terminal(clone),
        replace={"/var/lib/app/app.sqlite": str(source), url: url_as(cluster, "loader")},
    )
    assert independent.compare(source, cluster.url(DATABASE)).equal
    with psycopg.connect(url_as(cluster, "migration_reader"), password=READERS) as connection:
        assert connection.execute("SELECT count(*) FROM public.customers").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM public.customers")


# --------------------------------------------------------------------------------- a mapping


def test_a_mapping_is_pinned_as_the_how_to_says(clone: Path) -> None:
    """What the page says to type works, and what it says to write is understood."""
    make_source(clone / "app.sqlite")
    base = "source: app.sqlite\ntarget: embedded\n"
    file = clone / "migration.yaml"
    file.write_text(base, "utf-8")
    text = page("how-to/pin-a-mapping.md")
    run_page(text, folder=clone, environment=terminal(clone))
    assert load({}, clone).override("customers").key == ("id",)
    for block in markdown.blocks(text):
        if block.language == "yaml":
            file.write_text(base + block.text, "utf-8")
            assert load({}, clone).override("orders").column("price").type == "numeric(12,2)"
    for row in next(t for t in markdown.tables(text)).rows:
        said = next(code for code in markdown.code(row["write"]) if ":" in code)
        at = "    columns:\n      " if said.endswith("}") else "    "
        at = "    columns:\n      x:\n        " if said.startswith("cast") else at
        file.write_text(f"{base}tables:\n  orders:\n{at}{said}\n", "utf-8")
        assert load({}, clone).tables["orders"].model_fields_set


# ------------------------------------------------------------------- changes at the source

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER, placed DATE, remark TEXT);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob'), (3, 'Cy'), (4, 'Di');
INSERT INTO orders VALUES (1, 10, '2025-01-06', 'a'), (2, 20, '2025-01-07', 'b'),
    (3, 30, '2025-01-08', 'c'), (4, 40, '2025-01-09', 'd');
"""
RELEASE = """
ALTER TABLE customers ADD COLUMN email TEXT;
ALTER TABLE orders RENAME COLUMN placed TO ordered;
ALTER TABLE orders DROP COLUMN remark;
CREATE TABLE returns (id INTEGER PRIMARY KEY, of INTEGER);
INSERT INTO returns VALUES (1, 2);
"""
UNFIT = """
INSERT INTO orders VALUES (5, 12.5, '2025-01-13', NULL), (6, 7.25, '2025-01-14', NULL),
    (7, 9, '15.01.2025', NULL);
"""


def script(file: Path, statements: str) -> None:
    """Run statements on a SQLite file, as the application would."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)


@pytest.fixture
def shop(clone: Path, target_url: str) -> Path:
    """Return the folder of a migration that stands at the first of two weeks."""
    script(clone / "app.sqlite", SHOP)
    settings = {
        "source": "app.sqlite",
        "target": target_url,
        "dagster_storage": "sqlite",
        "first_week": "2025-01-05",
        "weeks": 2,
    }
    (clone / "migration.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    done = run("--week", "2025-01-05", folder=clone)
    assert done.returncode == 0, done.stdout
    return clone


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Carry a week by the command line."""
    return command.run("run", *arguments, folder=folder, environment=terminal(folder))


def answers(text: str, url: str) -> list[list[tuple[Any, ...]]]:
    """Return what the SQL of a page answers."""
    queries = [block.text for block in markdown.blocks(text) if block.language == "sql"]
    with psycopg.connect(url) as connection:
        return [connection.execute(query.encode()).fetchall() for query in queries]


def test_a_changed_schema_is_carried_as_the_how_to_says(shop: Path, target_url: str) -> None:
    """What is safe goes by itself, what is confirmed goes then, and the ledger has all of it."""
    script(shop / "app.sqlite", RELEASE)
    text = page("how-to/schema-changed.md")
    run_page(text, folder=shop, environment=terminal(shop))
    found = independent.compare(shop / "app.sqlite", target_url)
    assert [(d.column, d.what) for d in found.differences] == [
        ("remark", "stands at the target only")
    ]
    (rows,) = answers(text, target_url)
    changes = {table: said for _, table, said, _ in rows}
    assert changes["customers"] == ["column email is new: text"]
    assert changes["orders"][0] == "column ordered was called placed"


def test_quarantined_rows_go_in_as_the_how_to_says(shop: Path, target_url: str) -> None:
    """The page's own rows: by a policy, and by a cast."""
    script(shop / "app.sqlite", UNFIT)
    assert run(folder=shop).returncode == 0
    text = page("how-to/quarantined-rows.md")
    ((one, *_),) = answers(text, target_url)
    assert one[:3] == (
        "id=5",
        ["id", "amount", "placed", "remark"],
        ["integer", "real", "text", "null"],
    )
    run_page(text, folder=shop, environment=terminal(shop))
    assert answers(text, target_url) == [[]]
    with psycopg.connect(target_url) as connection:
        carried = connection.execute("SELECT amount, placed FROM orders WHERE id > 4 ORDER BY id")
        assert [(float(a), str(b)) for a, b in carried] == [
            (12.5, "2025-01-13"),
            (7.25, "2025-01-14"),
            (9.0, "2025-01-15"),
        ]


@pytest.mark.parametrize("name", ["schema-changed", "quarantined-rows"])
def test_what_a_how_to_says_to_write_is_understood(clone: Path, name: str) -> None:
    """Each setting that its tables name, by itself."""
    file = clone / "migration.yaml"
    tables = markdown.tables(page(f"how-to/{name}.md"))
    rows = [list(row.values())[1] for table in tables for row in table.rows]
    said = [c for cell in rows for c in markdown.code(cell) if re.match("[a-z_]+: ", c)]
    assert said
    for setting in said:
        word = setting.partition(":")[0]
        indent = {"exclude": "", "key": "    "}.get(word, "        ")
        above = {"exclude": "", "key": "tables:\n  orders:\n"}.get(
            word, "tables:\n  orders:\n    columns:\n      x:\n"
        )
        file.write_text(f"source: a\ntarget: embedded\n{above}{indent}{setting}\n", "utf-8")
        assert load({}, clone).model_fields_set >= {"exclude" if word == "exclude" else "tables"}


# ------------------------------------------------------------------------------------- cron


def crontab() -> tuple[dict[str, str], str]:
    """Return the variables and the command of the page's crontab."""
    text = (ROOT / "docs" / "how-to" / "plain-cron.md").read_text("utf-8")
    (block,) = (b for b in markdown.blocks(text) if b.language == "crontab")
    lines = [line for line in block.text.splitlines() if not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines[:-1])
    *_, command = lines[-1].split(maxsplit=5)
    return variables, command


def test_the_crontab_is_silent_after_a_good_week_and_tells_all_after_a_bad_one(
    clone: Path, target_url: str
) -> None:
    """Run as cron does: by /bin/sh, in an environment that holds next to nothing."""
    variables, command = crontab()
    make_source(clone / "app.sqlite")
    settings = {"source": "app.sqlite", "target": target_url, "first_week": "2025-01-05"}
    (clone / "migration.yaml").write_text(yaml.safe_dump(settings), "utf-8")

    def mail() -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("/srv/migration", str(clone))],
            env=terminal(clone) | variables | {"PATH": "/usr/bin:/bin"},
            cwd=clone / "home",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert mail() == (0, "")
    assert mail() == (0, "")
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE public.customers RENAME TO gone")
    (clone / "migration.yaml").write_text(yaml.safe_dump(settings | {"weeks": 27}), "utf-8")
    code, told = mail()
    assert code == 1
    assert "public.customers is gone from the target" in told
    assert "to do: " in told
    assert re.search(r"│ *customers", told)
