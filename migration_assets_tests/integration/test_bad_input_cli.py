"""Wrong input at the command line: words, an exit code, no traceback; the next run completes."""

import os
import resource
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from migration_assets.target.embedded import EmbeddedServer, ensure_database, remove, running
from migration_assets_tests import command, independent
from migration_assets_tests.fixtures_postgres import new_folder

SECRET = "r0w-VALUE-marker"  # noqa: S105 - a marker that nothing printed may contain
SCHEMA = f"""
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE visits (page TEXT, seconds INTEGER);
INSERT INTO customers VALUES (1, '{SECRET}'), (2, 'Bob');
INSERT INTO visits VALUES ('/', 1), ('/', 1), ('/a', 2);
"""
WEEKS = ("2024-10-06", "2024-10-13", "2024-10-20")
GOOD, FAILED, MISUSED = 0, 1, 2
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder as a team sets it up, and what its commands find in the environment."""

    folder: Path
    target: str
    storage: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The application's database."""
        return self.folder / "app.sqlite"

    def prepare(self) -> None:
        """Make everything that is there before the first command."""
        self.folder.mkdir(exist_ok=True)
        shutil.copy(command.ROOT / "dagster.yaml", self.folder)
        self.change(SCHEMA)
        fields = {"source": "app.sqlite", "target": "env:APP_TARGET", "state": "state"}
        fields |= {"first_week": WEEKS[0], "weeks": 3, "connect_patience": 1, "source_timeout": 0.5}
        (self.folder / "migration.yaml").write_text(yaml.safe_dump(fields), "utf-8")

    def environment(self, **given: str) -> dict[str, str]:
        """Return what a command finds beside PATH."""
        home = {"HOME": str(self.folder), "APP_TARGET": self.target}
        return home | dict(self.storage) | given

    def type_in(self, *arguments: str, **given: str) -> Done:
        """Run a command in this process, which saves it the imports."""
        return command.type_in(
            *arguments, folder=self.folder, environment=self.environment(**given)
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("migration-assets"), *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(command.ROOT)} | self.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def change(self, script: str) -> None:
        """Change the source."""
        with closing(sqlite3.connect(self.source)) as connection:
            connection.executescript(script)

    def on_target(self, query: str) -> list[tuple[object, ...]]:
        """Return what a query finds on the target."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def equal(self) -> bool:
        """Let the independent judge compare the source with the target."""
        return independent.compare(self.source, self.target).equal


@pytest.fixture
def site(tmp_path: Path, postgres: EmbeddedServer) -> Iterator[Site]:
    """Return a site with Dagster's storage and the target on the tests' own server."""
    names = [f"test_{secrets.token_hex(6)}" for _ in range(2)]
    for name in names:
        ensure_database(postgres, name)
    url = urlsplit(postgres.url(names[1]))
    storage = {
        "DAGSTER_PG_HOST": str(url.hostname),
        "DAGSTER_PG_PORT": str(url.port),
        "DAGSTER_PG_USERNAME": str(url.username),
        "DAGSTER_PG_PASSWORD": str(url.password),
        "DAGSTER_PG_DB": names[1],
    }
    site = Site(folder=tmp_path, target=postgres.url(names[0]), storage=storage)
    site.prepare()
    yield site
    drop(postgres, *names)


def drop(postgres: EmbeddedServer, *names: str) -> None:
    """Drop databases of the tests' server."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def in_words(done: Done, *said: str, code: int = FAILED) -> None:
    """Make sure that a command ended with words for people, these among them."""
    everything = done.stdout + done.stderr
    assert done.returncode == code, everything
    assert "Traceback" not in everything
    assert 'File "' not in everything
    assert "to do: " in everything
    assert SECRET not in everything
    for words in said:
        assert words in everything


def test_a_source_that_is_none_ends_in_words_and_mended_the_same_command_completes(
    site: Site,
) -> None:
    """Each kind by its name, one after the other; in the end the week is carried."""
    assert site.type_in("run", "--week", WEEKS[0]).returncode == GOOD
    ledger = site.on_target("SELECT * FROM migration.ledger ORDER BY entry")
    aside = site.source.rename(site.folder / "aside")
    sound = aside.read_bytes()
    spoilt = {
        "not a file": None,
        "the file is empty": b"",
        "no SQLite database": Random(7).randbytes(8192),
        "the database is encrypted": sound[:32] + Random(7).randbytes(8192),
        "the database is damaged": sound[: len(sound) // 2],
    }
    for what, content in spoilt.items():
        site.source.mkdir() if content is None else site.source.write_bytes(content)
        in_words(site.type_in("run", "--week", WEEKS[1]), "app.sqlite", what)
        site.source.rmdir() if content is None else site.source.unlink()
    aside.rename(site.source)
    with closing(sqlite3.connect(site.source, isolation_level=None)) as application:
        application.execute("BEGIN EXCLUSIVE")
        in_words(site.type_in("run", "--week", WEEKS[1]), "app.sqlite", "locked")
    assert site.on_target("SELECT * FROM migration.ledger ORDER BY entry") == ledger
    site.change("DELETE FROM customers WHERE id = 2; INSERT INTO visits VALUES ('/', 1)")
    assert site.type_in("run", "--week", WEEKS[1]).returncode == GOOD
    assert site.equal()


PASSWORD = "pa55-W0RD-marker"  # noqa: S105 - a marker that nothing printed may contain


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (f"postgresql://u:{PASSWORD}@[", MISUSED, "the target's URL can't be read"),
        (f"postgresql://u:{PASSWORD}@nowhere.invalid/x", FAILED, "nowhere.invalid/x"),
        (f"postgresql://u:{PASSWORD}@127.0.0.1:1/x", FAILED, "no connection within 1 s"),
        ("database", FAILED, "no_such_database"),
        ("password", FAILED, "password authentication failed"),
    ],
)
@pytest.mark.parametrize("name", ["run", "status", "verify"])
def test_a_wrong_target_url_ends_in_words_for_every_command(
    site: Site, url: str, code: int, said: str, name: str
) -> None:
    """No URL, unknown host, wrong port, wrong database, wrong password; none is repeated."""
    parts = urlsplit(site.target)
    if url == "database":
        url = parts._replace(path="/no_such_database").geturl()
    elif url == "password":
        url = site.target.replace(f":{parts.password}@", f":{PASSWORD}@")
    done = site.type_in(name, APP_TARGET=url)
    if name == "run" and code == MISUSED:
        code = done.returncode  # found by the step that asks for the target, or before it
        assert code in (FAILED, MISUSED)
    in_words(done, said, code=code)
    assert PASSWORD not in done.stdout + done.stderr
    assert str(parts.password) not in done.stdout + done.stderr
    assert site.on_target("SELECT to_regnamespace('migration')") == [(None,)]


@pytest.mark.parametrize("closed", ["port", "password", "half"])
def test_a_dagster_storage_that_is_away_ends_in_words(site: Site, closed: str) -> None:
    """Nothing is touched at the target; with the storage back, the same command completes."""
    wrong = {"port": ("DAGSTER_PG_PORT", "1"), "password": ("DAGSTER_PG_PASSWORD", PASSWORD)}
    if closed == "half":
        storage = {"DAGSTER_PG_HOST": "127.0.0.1"}
        half = Site(folder=site.folder, target=site.target, storage=storage)
        in_words(half.type_in("run"), "not set: DAGSTER_PG_PORT", code=MISUSED)
    else:
        variable, value = wrong[closed]
        done = site.type_in("run", **{variable: value})
        in_words(done, "Dagster's storage can't be used", "DAGSTER_PG_HOST")
        assert PASSWORD not in done.stdout + done.stderr
    assert site.on_target("SELECT to_regnamespace('migration')") == [(None,)]
    assert site.type_in("run").returncode == GOOD
    assert site.equal()


def test_a_state_folder_that_is_none_ends_in_words(site: Site) -> None:
    """A file stands where the folder should."""
    (site.folder / "state").write_text("", "utf-8")
    for name in ("run", "status", "verify"):
        in_words(site.type_in(name), "Not a directory", "MIGRATION_STATE")
    (site.folder / "state").unlink()
    assert site.type_in("run").returncode == GOOD


def test_a_lost_state_folder_ends_in_words_and_restored_the_week_completes(site: Site) -> None:
    """The cut that the ledger names is named, with what to restore."""
    assert site.type_in("run", "--week", WEEKS[0]).returncode == GOOD
    state, lost = site.folder / "state", site.folder / "lost"
    state.rename(lost)
    site.change("DELETE FROM customers WHERE id = 2")
    done = site.type_in("run", "--week", WEEKS[1])
    in_words(done, "is not in the state folder", "restore the state folder", WEEKS[0])
    shutil.rmtree(state)
    lost.rename(state)
    assert site.type_in("run", "--week", WEEKS[1]).returncode == GOOD
    assert site.equal()


def test_a_full_disk_ends_in_words_and_with_room_the_week_completes(site: Site) -> None:
    """A real limit on the size of files, as `ulimit -f` sets it."""
    site.change("CREATE TABLE bulk (b BLOB); INSERT INTO bulk VALUES (randomblob(2000000))")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        running_command = site.start("run")
        printed = running_command.communicate(timeout=240)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    done = Done((), running_command.returncode, printed, "")
    in_words(done, "the disk is full, or a limit is reached", "free space")
    assert not list((site.folder / "state" / "cuts").rglob("*.sqlite"))
    assert site.type_in("run").returncode == GOOD
    assert site.equal()


@pytest.fixture
def own_storage(postgres: EmbeddedServer) -> Iterator[Site]:
    """Return a site whose Dagster storage is the embedded one, as where nobody set up another."""
    name = f"test_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    site = Site(folder=new_folder(), target=postgres.url(name))
    with ExitStack() as clean_up:
        clean_up.callback(drop, postgres, name)
        clean_up.callback(shutil.rmtree, site.folder, ignore_errors=True)
        clean_up.callback(remove, site.folder / "state" / "postgres")
        site.prepare()
        yield site


def test_two_runs_at_once_both_end_well_and_each_table_is_loaded_once(own_storage: Site) -> None:
    """Of the same week, with one state folder and one embedded storage, from the first start on."""
    site = own_storage
    runs = [site.start("run", "--week", WEEKS[0]) for _ in range(2)]
    printed = [run.communicate(timeout=280)[0] for run in runs]
    assert [run.returncode for run in runs] == [GOOD, GOOD], "\n".join(printed)
    assert all(f"week {WEEKS[0]}: proved equal" in text for text in printed)
    assert site.on_target(
        "SELECT table_name, count(*) FROM migration.ledger GROUP BY 1 ORDER BY 1"
    ) == [("customers", 1), ("visits", 1)]
    assert not running(site.folder / "state" / "postgres"), "the last to end stops the storage"
    site.change("UPDATE customers SET name = 'Eve' WHERE id = 2; DELETE FROM visits")
    runs = [site.start("run", "--week", week) for week in WEEKS[1:]]
    printed = [run.communicate(timeout=280)[0] for run in runs]
    assert [run.returncode for run in runs] == [GOOD, GOOD], "\n".join(printed)
    for table in ("customers", "visits"):
        weeks = [
            str(week)
            for (week,) in site.on_target(
                f"SELECT week FROM migration.ledger WHERE table_name = '{table}' ORDER BY entry"
            )
        ]
        assert weeks in ([*WEEKS], [WEEKS[0], WEEKS[2]]), "no week twice, none after a later one"
    assert site.equal()
