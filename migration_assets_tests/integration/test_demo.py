"""The demo as a newcomer starts it: it ends well, shows its failure, and leaves nothing running."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from migration_assets.defs.resources import TARGET_DATABASE
from migration_assets.target.embedded import remove, running, start
from migration_assets_tests import command, independent
from migration_assets_tests.fixtures_postgres import new_folder

WEEKS = 4  # the fourth is the one with the failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that holds the project's dagster.yaml, in which a demo was or is to be run."""

    folder: Path

    def demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the demo without its UI, in an environment that says nothing about a migration."""
        home = {"HOME": str(self.folder)}
        return command.run("demo", "--no-ui", *arguments, folder=self.folder, environment=home)

    def state(self, name: str) -> Path:
        """Return the state folder of the `demo`, or of one's `own` file."""
        return self.folder / ".migration" / name / "state"

    def judged(self, source: Path, state: Path) -> independent.Comparison:
        """Let the independent judge compare the source with what the demo left, started again."""
        return independent.compare(source, start(state / "postgres").url(TARGET_DATABASE))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Return a place for demos; its servers end with it."""
    place = Place(folder=new_folder())
    place.folder.mkdir()
    shutil.copy(command.ROOT / "dagster.yaml", place.folder)
    try:
        yield place
    finally:
        for name in ("demo", "own"):
            remove(place.state(name) / "postgres")
        shutil.rmtree(place.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the demo printed, how it ended, and whether its server still ran then."""

    done: subprocess.CompletedProcess[str]
    server_running: bool
    files: set[str]


@pytest.fixture(scope="module")
def shown(place: Place) -> Shown:
    """Run the demo once for all tests that look at it."""
    done = place.demo("--weeks", str(WEEKS))
    return Shown(
        done=done,
        server_running=running(place.state("demo") / "postgres"),
        files={path.name for path in place.folder.iterdir()},
    )


def test_the_demo_ends_proved_equal(shown: Shown) -> None:
    """Exit code 0, a line for every week, nothing on standard error."""
    assert shown.done.returncode == 0, shown.done.stdout + shown.done.stderr
    assert shown.done.stderr == ""
    weeks = [line for line in shown.done.stdout.splitlines() if line.startswith("week ")]
    assert sum("proved equal in" in line for line in weeks) == WEEKS - 1


def test_the_demo_shows_a_failure_and_its_mending(shown: Shown) -> None:
    """The rule, the red table with the reason, and that it alone is mended."""
    said = shown.done.stdout
    told = [
        "somebody gives the target a rule: no refunds in payments",
        "not complete in",
        "aurora__payments: ",
        "dba_no_refunds",
        "the DBA drops the rule; only this table's partition is materialized again",
        "aurora/payments, ",
    ]
    places = [said.find(text) for text in told]
    assert -1 not in places
    assert places == sorted(places)
    assert said[places[-1] :].splitlines()[0].endswith("proved equal")


def test_the_demo_shows_a_repair_and_a_week_taken_back(shown: Shown, place: Place) -> None:
    """What somebody wrote is named and put right; the week returns and is carried again."""
    said = shown.done.stdout
    told = [
        "somebody changes a row of customers on the target",
        "verify: customers: id=4: differs (city)",
        "repair: 1 row put right, what stood there kept in migration.displaced: proved equal",
        "rollback: orders takes ",
        "again, proved, and on hold",
        "carried again: proved equal",
        "somebody gives the target a rule",
    ]
    places = [said.find(text) for text in told]
    assert -1 not in places, said
    assert places == sorted(places)
    url = start(place.state("demo") / "postgres").url(TARGET_DATABASE)
    with psycopg.connect(url) as connection:
        kinds = connection.execute(
            "SELECT kind, table_name FROM migration.ledger"
            " WHERE kind IN ('repair', 'rollback') ORDER BY entry"
        ).fetchall()
    assert kinds == [("repair", "customers"), ("rollback", "orders")]


def test_the_demo_proves_every_table(shown: Shown, place: Place) -> None:
    """Its last table says `equal` for each of them, and the independent judge agrees."""
    found = place.judged(
        place.folder / ".migration" / "demo" / "business.sqlite", place.state("demo")
    )
    assert found.equal, found.describe()
    verdicts = [
        cells[-2].strip()
        for cells in (line.split("│") for line in shown.done.stdout.splitlines())
        if cells[-2:-1] and cells[-2].strip() in ("equal", "differs", "never loaded")
    ]
    assert verdicts == ["equal"] * len(found.tables)
    assert len(found.tables) > 5


def test_the_demo_leaves_no_server_and_one_folder(shown: Shown) -> None:
    """Its PostgreSQL is stopped, by its pid file; all it made lies in `.migration`."""
    assert not shown.server_running
    assert shown.files == {"dagster.yaml", ".migration"}


def test_the_demo_carries_ones_own_file(place: Place, tmp_path: Path) -> None:
    """One week of it, proved; the file is as it was, with nothing beside it."""
    own = tmp_path / "own" / "shop.sqlite"
    own.parent.mkdir()
    with closing(sqlite3.connect(own)) as connection:
        connection.executescript(
            """CREATE TABLE "Order Details" (id INTEGER PRIMARY KEY, price DECIMAL(8,2), note TEXT);
            CREATE TABLE empty (a);
            INSERT INTO "Order Details" VALUES (1, 9.5, 'first'), (2, 3, NULL);"""
        )
    before = own.read_bytes()
    done = place.demo("--source", str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Order Details" in done.stdout
    assert not running(place.state("own") / "postgres")
    assert own.read_bytes() == before
    assert [path.name for path in own.parent.iterdir()] == ["shop.sqlite"]
    found = place.judged(own, place.state("own"))
    assert found.equal, found.describe()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"just a text\n" * 20, "the file is no SQLite database"),
        (b"SQLite format 3\0" + b"\xff" * 4096, "source"),
    ],
    ids=["text", "damaged"],
)
def test_a_file_that_is_no_database_ends_with_one_message(
    place: Place, tmp_path: Path, content: bytes, said: str
) -> None:
    """No traceback, no server left: what is wrong with which file."""
    own = tmp_path / "broken.sqlite"
    own.write_bytes(content)
    done = place.demo("--source", str(own))
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert printed.count("broken.sqlite") == 1
    assert said in printed
    assert "Traceback" not in printed
    assert not running(place.state("own") / "postgres")
    assert own.read_bytes() == content
