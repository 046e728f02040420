"""Faults of the real thing, counted: what was injected, which weeks finished, which rows were lost.

The independent judge counts the rows, never the pipeline. `--figures=FILE` writes the counts down.
"""

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
from psycopg import conninfo

from migration_assets import repeats
from migration_assets.migration import Migration
from migration_assets.target import embedded
from migration_assets.target.embedded import EmbeddedServer
from migration_assets.target.embedded_programs import Programs, find_programs, system_account
from migration_assets_tests import independent
from migration_assets_tests.fixtures_postgres import new_folder

PATIENT: dict[str, object] = {"retry_patience": 60.0, "connect_patience": 60.0}
_TALLIES = pytest.StashKey[list["Tally"]]()


@dataclass(kw_only=True)
class Tally:
    """What one test did to a migration, and what became of it."""

    test: str
    faults: int = 0
    repetitions: int = 0
    weeks_finished: int = 0
    rows_compared: int = 0
    rows_lost: int = 0
    said: list[str] = field(default_factory=list[str])

    def fault(self, number: int = 1) -> None:
        """Count what was injected."""
        self.faults += number

    def told(self, text: str) -> None:
        """Count a repetition that the pipeline says."""
        self.repetitions += 1
        self.said.append(text)

    def finished(self, migration: Migration, *, file: Path | None = None, weeks: int = 1) -> None:
        """Count weeks that came to their end; every row must stand, as the judge counts them."""
        source = file or migration.settings.source
        found = independent.compare(source, migration.target.url)
        assert found.tables, "nothing was compared"
        self.weeks_finished += weeks
        for table in found.tables:
            there = table.target_rows + table.quarantined_rows
            self.rows_compared += table.source_rows
            self.rows_lost += abs(table.source_rows - there) + table.differing_rows
        assert self.rows_lost == 0, found.describe()
        assert not found.differences, found.describe()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the counts be written down."""
    parser.addoption(
        "--figures", metavar="FILE", help="write what the fault tests counted, as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin counting."""
    config.stash[_TALLIES] = []


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Return what this test counts in."""
    found = Tally(test=request.node.name)
    request.config.stash[_TALLIES].append(found)
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what all fault tests counted together."""
    tallies = config.stash[_TALLIES]
    if not tallies:
        return
    counted = (
        f"{sum(t.faults for t in tallies)} faults injected",
        f"{sum(t.repetitions for t in tallies)} repetitions said",
        f"{sum(t.weeks_finished for t in tallies)} weeks finished",
        f"{sum(t.rows_compared for t in tallies)} rows compared",
        f"{sum(t.rows_lost for t in tallies)} rows lost",
    )
    terminalreporter.write_line(f"faults: {', '.join(counted)}")
    if config.option.figures:
        figures = [{k: v for k, v in asdict(t).items() if k != "said"} for t in tallies]
        Path(config.option.figures).write_text(json.dumps(figures, indent=1), "utf-8")


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step that was broken off begin again at once; how pauses grow has a test of its own."""
    monkeypatch.setattr(repeats, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(repeats, "_LONGEST_PAUSE", 0.1)


def patient(migration: Migration, tally: Tally, **settings: object) -> Migration:
    """Return the migration as one that does again what is broken off, and says so to the tally."""
    chosen = migration.settings.model_copy(update=PATIENT | settings)
    return replace(
        migration,
        settings=chosen,
        target=replace(migration.target, patience=chosen.connect_patience),
        told=tally.told,
    )


class Server:
    """A PostgreSQL that tests let die and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: EmbeddedServer = embedded.start(folder, options=embedded.FAST)

    @property
    def programs(self) -> Programs:
        """PostgreSQL's programs, as the server's user runs them."""
        return find_programs(self.server.data.parent.parent, system_account())

    def stop_immediately(self) -> None:
        """Abort every session at once, as a power failure of the server would."""
        done = self.programs.run(
            "pg_ctl", "stop", "--mode=immediate", "--wait", f"--pgdata={self.server.data}"
        )
        assert done.returncode == 0, done.stderr

    def start(self, **options: str) -> None:
        """Recover and take connections, on the same port; `options` are settings besides."""
        port = self.server.port
        self.server = embedded.start(self.folder, options={**embedded.FAST, **options})
        assert self.server.port == port

    def of(self, migration: Migration) -> Migration:
        """Return the migration to a new database of this server."""
        name = f"test_{secrets.token_hex(6)}"
        embedded.ensure_database(self.server, name)
        parts = conninfo.conninfo_to_dict(self.server.url(name))
        url = conninfo.make_conninfo(migration.target.url, **parts)
        return replace(migration, target=replace(migration.target, url=url))


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """Return a server that the tests of a module may stop; it runs when each of them begins."""
    folder = new_folder()
    yield Server(folder)
    embedded.remove(folder)
    shutil.rmtree(folder, ignore_errors=True)
