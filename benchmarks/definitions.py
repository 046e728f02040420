"""How long Dagster takes to load our definitions, by the number of tables in the source.

Each time is the median of several fresh processes, from the interpreter's first statement to the
repository that Dagster's webserver, daemon and every worker ask for; the catalog is cached, as it
is after the first load. `import dagster` alone is the floor that nobody can go below. Processor
seconds stand beside the clock's: they say what the clock would on a machine that is not busy.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

TABLES = (1, 300, 1_000)
PROCESSES = 5  # a median of five leaves out one slow start on either side

_TABLE = """
CREATE TABLE table_{i:04} (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount DECIMAL(10,2), note TEXT, at DATETIME);
CREATE UNIQUE INDEX name_{i:04} ON table_{i:04} (name);
"""
_IMPORT = "import dagster"
_LOAD = "from migration_assets.definitions import defs; defs.get_repository_def()"
_TIMED = """
import time
began = time.perf_counter()
{work}
print(time.perf_counter() - began, time.process_time())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """What one piece of work took: by the clock, and of a processor's time."""

    clock: float
    processor: float


def main() -> None:
    """Measure and print the table."""
    floor = _median(_IMPORT, {})
    print(f"medians of {PROCESSES} fresh processes\n")
    print("| tables | seconds | processor seconds | times `import dagster` |")
    print("| ---: | ---: | ---: | ---: |")
    print(_row("`import dagster`", floor, floor))
    for tables in TABLES:
        with tempfile.TemporaryDirectory(prefix="migration-assets-benchmark-") as folder:
            took = _loading(tables, Path(folder))
        print(_row(f"{tables:,}", took, floor))


def _row(what: str, took: Seconds, floor: Seconds) -> str:
    ratio = took.processor / floor.processor
    return f"| {what} | {took.clock:.2f} | {took.processor:.2f} | {ratio:.1f} |"


def _loading(tables: int, folder: Path) -> Seconds:
    """Return what it takes to load the definitions of so many tables."""
    source = folder / "app.sqlite"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript("".join(_TABLE.format(i=i) for i in range(tables)))
    environment = {
        "MIGRATION_SOURCE": str(source),
        "MIGRATION_TARGET": "postgresql://nobody@nowhere.invalid/nothing",  # is not asked
        "MIGRATION_STATE": str(folder / "state"),
    }
    _measure(_LOAD, environment)  # caches the catalog
    return _median(_LOAD, environment)


def _median(work: str, environment: dict[str, str]) -> Seconds:
    took = [_measure(work, environment) for _ in range(PROCESSES)]
    return Seconds(
        clock=statistics.median(t.clock for t in took),
        processor=statistics.median(t.processor for t in took),
    )


def _measure(work: str, environment: dict[str, str]) -> Seconds:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(work=work)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])}
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    clock, processor = map(float, done.stdout.split())
    return Seconds(clock=clock, processor=processor)


if __name__ == "__main__":
    main()
