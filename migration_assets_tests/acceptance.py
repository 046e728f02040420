"""Carry every SQLite database of a folder through two weeks, and let a judge decide each step.

`python -m migration_assets_tests.acceptance DATA` copies each database it finds below DATA (by its
header, whatever its name), runs the real command line on the copy against a PostgreSQL of its own,
and prints one line a step: what was found, and in how many seconds. A step that fails ends its
database. The last line counts; the exit code is 0 where nothing failed.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

import psycopg
from psycopg import sql

from migration_assets.defs.resources import DAGSTER_DATABASE, TARGET_DATABASE
from migration_assets.errors import MigrationError
from migration_assets.model import DEFAULT_SOURCE
from migration_assets.source import cut as cuts
from migration_assets.state import LocalState
from migration_assets.target import embedded
from migration_assets_tests import changes, command, independent, independent_schema

SEED: Final = 1
MAGIC: Final = b"SQLite format 3\0"
_COMPANIONS: Final = ("-wal", "-journal")  # part of a database whose application was interrupted
_QUOTED: Final = 2_000  # characters of a command's output in a failure

# How somebody changes a value behind our back, by the column's type on the target.
_MEDDLING: Final = {
    "text": sql.SQL("coalesce({}, '') || '!'"),
    "bigint": sql.SQL("CASE {0} WHEN 1 THEN 2 ELSE 1 END"),
    "double precision": sql.SQL("CASE {0} WHEN 1 THEN 2 ELSE 1 END"),
    "numeric": sql.SQL("CASE {0} WHEN 0 THEN NULL ELSE 0 END"),
    "boolean": sql.SQL("NOT coalesce({}, false)"),
    "bytea": sql.SQL(r"coalesce({}, '') || '\x21'"),
    "date": sql.SQL("CASE {0} WHEN DATE '2000-01-01' THEN DATE '2000-01-02' ELSE '2000-01-01' END"),
}


class StepFailedError(Exception):
    """A step did not end as it has to."""


def main(arguments: list[str]) -> int:
    """Run the acceptance on the folder named; return the exit code."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m migration_assets_tests.acceptance FOLDER", file=sys.stderr)
        return 2
    data = Path(arguments[0])
    databases = list(find_databases(data))
    if not databases:
        print(f"there is no SQLite database below {data}", file=sys.stderr)
        return 1
    before = _contents(data)
    tally = Tally()
    for database in databases:
        _accept(tally, database, str(database.relative_to(data)))
    with tally.step("all", f"{data} as it was before"):
        _demand(_contents(data) == before, f"files in {data} were changed, added or removed")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


def find_databases(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that start as SQLite databases do, in order of name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(MAGIC)) == MAGIC:
                    yield path


@dataclass(slots=True)
class Step:
    """One step that runs; what it found is printed when it ends."""

    found: str = ""


@dataclass(slots=True)
class Tally:
    """Steps that passed and failed, each printed when it ends."""

    passed: int = 0
    failed: int = 0

    @contextmanager
    def step(self, database: str, name: str) -> Iterator[Step]:
        """Time and count one step. What goes wrong in it is printed, then raised no further."""
        step, started = Step(), monotonic()
        try:
            yield step
        except (
            StepFailedError,
            MigrationError,
            changes.ChangesRefusedError,
            psycopg.Error,
            sqlite3.Error,
            OSError,
            subprocess.TimeoutExpired,
        ) as error:
            self.failed += 1
            self._print("FAILED", database, name, started, f"{type(error).__name__}: {error}")
        else:
            self.passed += 1
            self._print("passed", database, name, started, step.found)

    @staticmethod
    def _print(verdict: str, database: str, name: str, started: float, found: str) -> None:
        seconds = f"{monotonic() - started:6.1f} s"
        line = f"{verdict} {seconds}  {database}: {name}"
        print(f"{line}: {found}" if found else line, flush=True)


def _accept(tally: Tally, database: Path, name: str) -> None:
    """Run all steps on a copy of one database, until one fails."""
    folder = Path(tempfile.gettempdir()) / f"migration-assets-acceptance-{os.urandom(6).hex()}"
    folder.mkdir(mode=0o711)  # PostgreSQL's own user has to get through to its data
    try:
        trial = Trial.copied(folder, database)
        for title, check in trial.steps():
            failed = tally.failed
            with tally.step(name, title) as step:
                step.found = check()
            if tally.failed > failed:
                return
    finally:
        with suppress(MigrationError):
            embedded.remove(folder / "state" / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One database's copy, its two weeks, and where its target stands."""

    copy: Path
    state: Path
    weeks: tuple[date, date]

    @property
    def target(self) -> str:
        """The target's URL; its server was started by `_start`, and is found running."""
        return embedded.start(self.state / "postgres").url(TARGET_DATABASE)

    @classmethod
    def copied(cls, folder: Path, database: Path) -> "Trial":
        """Copy the database, with what an interrupted application left of it."""
        (folder / "source").mkdir(mode=0o700)
        copy = folder / "source" / database.name
        for companion in ("", *_COMPANIONS):
            original = database.with_name(database.name + companion)
            if original.exists():
                shutil.copyfile(original, copy.with_name(copy.name + companion))
        today = datetime.now(UTC).date()
        this_sunday = today - timedelta(days=(today.weekday() + 1) % 7)
        return cls(
            copy=copy,
            state=folder / "state",
            weeks=(this_sunday - timedelta(weeks=2), this_sunday - timedelta(weeks=1)),
        )

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield every step with its title, in order."""
        yield "a PostgreSQL of its own", self._start
        yield "week 1 equals its cut", self._first_week
        yield "a week of changes at the source", self._live
        yield "week 2 equals its cut", self._second_week
        yield "keys, NOT NULL, uniqueness, indexes", self._schema
        yield "defaults, identities, generated columns, foreign keys, CHECKs", self._objects
        yield "week 1 once more changes nothing", self._covered
        yield "verify proves what stands", self._verified
        yield "verify names what somebody else changed", self._meddled
        yield "a repair puts exactly that right", self._repaired
        yield "week 2 taken back is week 1 again, on hold", self._rolled_back
        yield "released, week 2 equals its cut again", self._carried_again
        yield "a rehearsed cutover is a go, or says why not", self._rehearsed

    def _start(self) -> str:
        """Start the server here, so that the commands find it running and leave it so."""
        server = embedded.start(self.state / "postgres", options=embedded.FAST)
        embedded.ensure_database(server, DAGSTER_DATABASE)
        embedded.ensure_database(server, TARGET_DATABASE)
        return f"on port {server.port}"

    def _first_week(self) -> str:
        self._run(self.weeks[0])
        return self._judged(self.weeks[0])

    def _second_week(self) -> str:
        self._run(self.weeks[1])
        return self._judged(self.weeks[1])

    def _live(self) -> str:
        done = changes.live(self.copy, seed=SEED)
        kinds = (*changes.KINDS, "refused")
        total = {kind: sum(table.get(kind, 0) for table in done.values()) for kind in kinds}
        return ", ".join(f"{kind} {count}" for kind, count in total.items())

    def _schema(self) -> str:
        lacks = independent.compare_schema(self._cut(self.weeks[1]), self.target)
        _demand(not lacks, "; ".join(lacks))
        return "none is missing"

    def _objects(self) -> str:
        lacks = independent_schema.compare_objects(self._cut(self.weeks[1]), self.target)
        _demand(not lacks, "; ".join(lacks))
        return "each stands or is listed"

    def _covered(self) -> str:
        entries = self._count("SELECT count(*) FROM migration.ledger")
        self._run(self.weeks[0])
        _demand(
            self._count("SELECT count(*) FROM migration.ledger") == entries,
            "a covered week wrote to the ledger",
        )
        return f"{entries} ledger entries; {self._judged(self.weeks[1])}"

    def _verified(self) -> str:
        verdicts = _verdicts(self._command(0, "verify"))
        differing = [table for table, verdict in verdicts.items() if verdict != "equal"]
        _demand(bool(verdicts) and not differing, f"not equal: {', '.join(differing) or 'all'}")
        return f"{len(verdicts)} tables"

    def _meddled(self) -> str:
        table, how = self._meddle()
        seen = [t.table for t in self._judge(self.weeks[1]).tables if not t.equal]
        _demand(len(seen) == 1, f"the judge sees differences in {seen}, not in one table")
        verdicts = _verdicts(self._command(1, "verify"))
        named = [name for name, verdict in verdicts.items() if verdict != "equal"]
        _demand(named == seen, f"verify names {named}, not {seen}")
        return f"{how} in {table}"

    def _repaired(self) -> str:
        self._command(0, "repair", "--yes")
        return self._judged(self.weeks[1])

    def _rolled_back(self) -> str:
        entries = self._count("SELECT count(*) FROM migration.ledger")
        self._command(0, "rollback", "--week", self.weeks[1].isoformat(), "--yes")
        written = self._count("SELECT count(*) FROM migration.ledger") - entries
        held = self._count("SELECT count(*) FROM migration.hold")
        _demand(0 < written == held, f"{written} tables taken back, {held} on hold")
        found = self._judged(self.weeks[0])
        self._command(1, "run", "--week", self.weeks[1].isoformat())
        _demand(self._judged(self.weeks[0]) == found, "a run moved a table that is on hold")
        return found

    def _carried_again(self) -> str:
        with psycopg.connect(self.target) as connection:
            held = [str(name) for (name,) in connection.execute(_HELD)]
        self._command(0, "release", "--", *held)
        self._run(self.weeks[1])
        return self._judged(self.weeks[1])

    def _rehearsed(self) -> str:
        """Rehearse: the target stays as it is, and a no-go names its conditions."""
        before = self._judged(self.weeks[1])
        code, said, _ = self._ended("cutover", "--rehearse", "--json", *_EXCEPTIONS)
        found = json.loads(said)
        _demand(code in (0, 1), f"the rehearsal ended with {code}")
        _demand(self._judged(self.weeks[1]) == before, "the rehearsal changed the target")
        left = self._count("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%rehears%'")
        _demand(not left, "the rehearsal left its schema behind")
        return f"{'go' if code == 0 else 'no-go'}: {found}"[:_QUOTED]

    def _run(self, week: date) -> None:
        """Run a week; its source must be as it was, with nothing left beside it."""
        before = _contents(self.copy.parent)
        self._command(0, "run", "--week", week.isoformat())
        _demand(_contents(self.copy.parent) == before, "the run touched the source or its folder")

    def _command(self, code: int, *arguments: str) -> str:
        """Run the command line; return what it printed where it ended with this exit code."""
        ended, printed, said = self._ended(*arguments)
        name = f"migration-assets {' '.join(arguments)}"
        _demand(ended == code, f"{name} ended with {ended}, not {code}:\n{said}")
        return printed

    def _ended(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command line; return its exit code, its answer, and the end of all it said."""
        given = {
            "MIGRATION_SOURCE": str(self.copy),
            "MIGRATION_TARGET": "embedded",
            "MIGRATION_STATE": str(self.state),
            "MIGRATION_FIRST_WEEK": self.weeks[0].isoformat(),
            "DAGSTER_HOME": str(command.ROOT),
        }
        done = command.run(*arguments, folder=self.state, environment=given)
        said = (done.stdout + done.stderr).strip()[-_QUOTED:]
        return done.returncode, done.stdout, said

    def _cut(self, week: date) -> Path:
        cut = cuts.covering(LocalState(self.state), DEFAULT_SOURCE, week)
        if cut is None:
            raise StepFailedError(f"there is no cut for week {week}")
        return cut.path

    def _judge(self, week: date) -> independent.Comparison:
        return independent.compare(self._cut(week), self.target)

    def _judged(self, week: date) -> str:
        found = self._judge(week)
        _demand(found.equal, found.describe())
        rows = sum(table.source_rows for table in found.tables)
        quarantined = sum(table.quarantined_rows for table in found.tables)
        return f"{len(found.tables)} tables, {rows} rows, {quarantined} quarantined"

    def _count(self, query: str) -> int:
        with psycopg.connect(self.target) as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0

    def _meddle(self) -> tuple[str, str]:
        """Change one value of one row outside all indexes, or remove a row where there is none."""
        with psycopg.connect(self.target) as connection:
            tables = connection.execute(_WITH_ROWS).fetchall()
            for table in random.Random(SEED).sample(tables, len(tables)):
                name = sql.Identifier("public", table[0])
                if connection.execute(_first_row(name)).fetchone() is None:
                    continue
                column = connection.execute(_FREE_COLUMN, [*table, list(_MEDDLING)]).fetchone()
                change = sql.SQL("DELETE FROM {}").format(name)
                if column is not None:
                    value = _MEDDLING[column[1]].format(sql.Identifier(column[0]))
                    change = sql.SQL("UPDATE {} SET {} = {}").format(
                        name, sql.Identifier(column[0]), value
                    )
                connection.execute(sql.SQL("{} WHERE ctid = ({})").format(change, _first_row(name)))
                return table[0], "a value changed" if column else "a row removed"
        raise StepFailedError("every table is empty")


_HELD: Final = "SELECT table_name FROM migration.hold ORDER BY 1"
# What real data has that a rehearsal lets pass when told: no backup, rows that break constraints.
_EXCEPTIONS: Final = tuple(
    word for name in ("no_backup", "violations", "left_out") for word in ("--acknowledge", name)
)
_WITH_ROWS: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_FREE_COLUMN: Final = """
    SELECT attname, format_type(atttypid, NULL)
    FROM pg_attribute AS a
    WHERE attrelid = format('public.%%I', %s::text)::regclass AND attnum > 0 AND NOT attisdropped
      AND format_type(atttypid, NULL) = ANY (%s)
      AND NOT EXISTS (
          SELECT FROM pg_index WHERE indrelid = a.attrelid AND a.attnum = ANY (indkey)
      )
    ORDER BY attnum LIMIT 1
"""


def _first_row(table: sql.Identifier) -> sql.Composed:
    return sql.SQL("SELECT ctid FROM {} LIMIT 1").format(table)


def _verdicts(printed: str) -> dict[str, str]:
    """Read the table that `verify` prints: names of tables and their proofs."""
    lines = (line.split("│") for line in printed.splitlines() if line.startswith("│"))
    return {cells[1].strip(): cells[-2].strip() for cells in lines}


def _contents(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _demand(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise StepFailedError(otherwise)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stop servers first
    sys.exit(main(sys.argv[1:]))
