"""Let lives run for as long as it is said, after the long fault tests, and tell the figures.

`python -m migration_assets_tests.soak --minutes 30 --write` is what `make soak` runs. Lives are
drawn from seeds, ten from each, so that `--seed N --seeds 1` repeats some; `--write` puts the
figures into docs/reliability.md. Ends with 1 where a life or a test failed.
"""

import argparse
import platform
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from typing import Final

import psycopg
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from migration_assets.target.embedded import FAST, ensure_database, remove, start
from migration_assets_tests.command import ROOT
from migration_assets_tests.fixtures_postgres import new_folder
from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.machine import Life

PAGE: Final = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `make soak` -->\n", "<!-- end of what `make soak` made -->"
STEPS: Final = 60  # of a life, at most
LIVES: Final = 10  # of a seed; the first is the simplest there is
FAULT_TESTS_SHARE: Final = 0.5  # of the time, at most
_NO_TESTS: Final = 5  # pytest's exit code where nothing was selected


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What a soak found, for its table."""

    figures: Figures
    first_seed: int
    last_seed: int
    seconds: float
    fault_tests: str
    server: str
    command: str


def main() -> int:
    """Run, tell, and write where that is asked for."""
    told = _arguments()
    began = time.monotonic()
    fault_tests = "not run" if told.seeds else _fault_tests(told.minutes * 60 * FAULT_TESTS_SHARE)
    figures, last, server = _lives(told.seed, told.seeds, began + told.minutes * 60)
    text = table(
        Soak(
            figures=figures,
            first_seed=told.seed,
            last_seed=last,
            seconds=time.monotonic() - began,
            fault_tests=fault_tests,
            server=server,
            command=f"python -m migration_assets_tests.soak {' '.join(sys.argv[1:])}",
        )
    )
    sys.stdout.write(text)
    if told.write:
        PAGE.write_text(written(PAGE.read_text("utf-8"), text), "utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m migration_assets_tests.soak")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long it may take")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=0, help="so many seeds, and no fault tests")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {PAGE.name}")
    return parser.parse_args()


def _fault_tests(seconds: float) -> str:
    """Run what is marked `soak`; return pytest's last line. Ends the soak where one failed.

    What didn't end in time is stopped, with the servers it started, and the soak with it.
    """
    options = ["-q", "-m", "soak", "-p", "no:randomly", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(ROOT / "migration_assets_tests")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as tests:
        try:
            said, _ = tests.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            tests.send_signal(signal.SIGINT)  # pytest stops its servers
            tests.communicate()
            sys.stdout.write(
                f"the long fault tests did not end within {seconds:.0f} s: give more minutes\n"
            )
            raise SystemExit(1) from None
    if tests.returncode not in (0, _NO_TESTS):
        sys.stdout.write(said)
        raise SystemExit(1)
    counted = said.strip().splitlines()[-1]
    return counted.partition(" in ")[0]


def _lives(first: int, seeds: int, deadline: float) -> tuple[Figures, int, str]:
    """Live until the deadline, or so many seeds; return the figures, the last seed, the server."""
    figures, folder, last = Figures(), new_folder(), first
    server = start(folder, options=FAST)
    try:
        ensure_database(server, "lives")
        url = server.url("lives")
        with psycopg.connect(url) as session:
            found = session.execute("SHOW server_version").fetchone()
        for last in range(first, first + seeds) if seeds else count(first):
            _live(url, figures, last)
            if time.monotonic() > deadline:
                break
    finally:
        remove(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return figures, last, str(found[0]) if found else ""


def _live(url: str, figures: Figures, number: int) -> None:
    """Live some lives of a seed."""

    class Here(Life):
        """A life on this server."""

    Here.url, Here.figures, Here.deadly = url, figures, True
    try:
        run_state_machine_as_test(
            seed(number)(Here),
            settings=hypothesis_settings(
                max_examples=LIVES,
                stateful_step_count=STEPS,
                phases=[Phase.generate],
                database=None,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
    except BaseException:
        sys.stderr.write(f"seed {number} failed: to repeat it, --seed {number} --seeds 1\n")
        raise


def table(soak: Soak) -> str:
    """Return the figures as a table for the page."""
    figures = soak.figures
    rows = {
        "command": f"`{soak.command}`",
        "when, how long": f"{datetime.now(UTC).date()}, {soak.seconds / 60:.0f} minutes",
        "versions": f"migration-assets {version('migration-assets')}, PostgreSQL {soak.server},"
        f" Python {platform.python_version()}, hypothesis {version('hypothesis')}",
        "seeds": f"{soak.first_seed} to {soak.last_seed}, {LIVES} lives each",
        "long fault tests": soak.fault_tests,
        "lives": f"{figures.lives:,}",
        "steps": _listed(figures.steps),
        "changes at the source": f"{figures.source_changes:,}",
        "faults injected": _listed(figures.faults),
        "writes on the target by somebody else": f"{figures.foreign_writes:,}",
        "moves committed": _listed(figures.moves),
        "moves that stopped, as they had to": _listed(figures.stops),
        "proofs on their own": _listed(figures.proofs),
        "rows compared with the model": f"{figures.rows_compared:,}",
        "**rows lost**": f"**{figures.rows_lost:,}**",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| figure | value |", "|---|---|", *lines, ""])


def _listed(counted: dict[str, int]) -> str:
    total = sum(counted.values())
    named = ", ".join(f"{n} {counted[n]:,}" for n in sorted(counted, key=lambda n: -counted[n]))
    return f"{total:,}: {named}" if named else "0"


def written(page: str, text: str) -> str:
    """Return the page with a table in place of the one it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text}{END}{after}"
