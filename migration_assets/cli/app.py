"""The commands put together, and how a command line that failed ends.

Commands import what they need when they run: Dagster alone takes half a second, and `--help`
needs none of it.
"""

import os
import signal
import sys
import traceback

import typer

from migration_assets.cli.before import doctor, init, plan
from migration_assets.cli.cutover import backup, cutover
from migration_assets.cli.faces import demo, ui
from migration_assets.cli.holds import hold, release
from migration_assets.cli.output import FAILED, MISUSED, report, report_misuse
from migration_assets.cli.quarantine import list_rows, replay
from migration_assets.cli.repair import repair
from migration_assets.cli.rollback import rollback
from migration_assets.cli.weekly import run, status, verify
from migration_assets.errors import MigrationError, SettingsError, bug

_OWNER_ALONE = 0o077

app = typer.Typer(
    help="SQLite to Aurora PostgreSQL, weekly, incrementally, provably equal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _flowed(text: str) -> str:
    """Return a docstring with its paragraphs on one line each, to be wrapped by the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


_COMMANDS = (
    init,
    doctor,
    plan,
    run,
    status,
    verify,
    repair,
    rollback,
    hold,
    release,
    backup,
    cutover,
    ui,
    demo,
)
for _command in _COMMANDS:
    app.command(help=_flowed(_command.__doc__ or ""))(_command)

_quarantine = typer.Typer(
    help="Rows that don't fit: see which are out, let in those that fit by now.",
    no_args_is_help=True,
)
for _name, _command in (("list", list_rows), ("replay", replay)):
    _quarantine.command(_name, help=_flowed(_command.__doc__ or ""))(_command)
app.add_typer(_quarantine, name="quarantine")


def main() -> None:
    """Run the command line; our errors become one message and an exit code."""
    # A service manager ends us by SIGTERM: what we started has to be stopped then, too. Dagster
    # gives SIGTERM the handler of SIGINT, which a shell sets to "ignore" for what it starts in the
    # background, and which the processes we start would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # For everything that is written, by SQLite, Parquet's writer and Dagster's processes too
    os.umask(_OWNER_ALONE)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app()
    except SettingsError as error:
        report(error)
        sys.exit(MISUSED)
    except MigrationError as error:
        report(error)
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the last to see it; its text may quote a row
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
        report(bug(error))
        sys.exit(FAILED)
    except SystemExit as end:
        if end.code == MISUSED and "--json" in sys.argv:
            report_misuse(sys.stdout)
        raise
