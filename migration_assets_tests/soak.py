"""Let lives run for as long as it is said, then the long fault tests, and tell the figures.

`python -m migration_assets_tests.soak --minutes 30 --write` is what `make soak` runs: every life is
drawn from a seed of its own, so that `--seed N --lives 1` repeats one; `--write` puts the figures
into docs/reliability.md. Ends with 1 where a life or a test failed.
"""

import argparse
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
from hypothesis import Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from migration_assets.target.embedded import FAST, ensure_database, remove, start
from migration_assets_tests.command import ROOT
from migration_assets_tests.fixtures_postgres import new_folder
from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.machine import Life

PAGE: Final = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by the soak -->", "<!-- end of what the soak made -->"
STEPS: Final = 60  # steps of a life, at most
LIVES: Final = 10  # lives of a seed; the first is the simplest there is
FAULT_TESTS_SHARE: Final = 0.5  # of the time, at most


def main() -> int:
    """Run, tell, and write where that is asked for."""
    told = _arguments()
    started = time.monotonic()
    deadline = started + told.minutes * 60
    passed = told.lives > 0 or _fault_tests(told.minutes * 60 * FAULT_TESTS_SHARE)
    if passed is None:
        return 1
    figures, last, failed = _lives(told.seed, told.lives, deadline)
    table = _table(figures, told, last, time.monotonic() - started, str(passed))
    print(table)
    if failed:
        return 1
    if told.write:
        text = PAGE.read_text("utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.split(END)[1]}", "utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long it may take")
    parser.add_argument("--seed", type=int, default=1, help="the first life's seed")
    parser.add_argument("--lives", type=int, default=0, help="so many lives and no fault tests")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {PAGE.name}")
    return parser.parse_args()


def _fault_tests(seconds: float) -> str | None:
    """Run what is marked `soak`; return pytest's last line, None where something failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "soak", "-p", "no:randomly"]
    done = subprocess.run(
        [*command, str(ROOT / "migration_assets_tests")],
        cwd=ROOT,
        timeout=seconds,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, _NO_TESTS):
        print(done.stdout, done.stderr, sep="\n")
        return None
    return done.stdout.strip().splitlines()[-1]


_NO_TESTS: Final = 5  # pytest's exit code where nothing was selected


def _lives(first: int, lives: int, deadline: float) -> tuple[Figures, int, bool]:
    """Live until the deadline, or so many lives; return the figures, the last seed, and failure."""
    figures, folder, number = Figures(), new_folder(), first
    server = start(folder, options=FAST)
    try:
        ensure_database(server, "lives")
        for number in count(first):
            if time.monotonic() > deadline or (lives and number >= first + lives):
                break
            try:
                _live(server.url("lives"), figures, number)
            except Exception:
                print(f"life {number} failed: repeat it with --seed {number} --lives 1")
                raise
    finally:
        remove(folder)
    return figures, number - 1, False


def _live(url: str, figures: Figures, number: int) -> None:
    """Live once, by a seed."""

    class Here(Life):
        """A life on this server."""

    Here.url, Here.figures, Here.deadly = url, figures, True
    run_state_machine_as_test(
        seed(number)(Here),
        settings=hypothesis_settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis_settings().suppress_health_check),
        ),
    )


def _table(
    figures: Figures, told: argparse.Namespace, last: int, seconds: float, tests: str
) -> str:
    return repr(figures) + f"\n{told} {last} {seconds} {tests}\n"


if __name__ == "__main__":
    sys.exit(main())
