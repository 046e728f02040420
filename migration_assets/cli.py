"""The command line: run weeks, see where tables stand, prove them; exit 0 good, 1 not, 2 misused.

Commands import what they need when they run: Dagster alone takes half a second, and `--help`
needs none of it.
"""

import difflib
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from migration_assets.errors import MigrationError, SettingsError, TransientError
from migration_assets.settings import Settings, load

GOOD, FAILED, MISUSED = 0, 1, 2

app = typer.Typer(
    help="SQLite to Aurora PostgreSQL, weekly, incrementally, provably equal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Only this table; may be given again.")
]


def main() -> None:
    """Run the command line; our errors become one message and an exit code."""
    # A service manager ends us by SIGTERM: what we started has to be stopped then, too. Dagster
    # gives SIGTERM the handler of SIGINT, which a shell sets to "ignore" for what it starts in the
    # background, and which the processes we start would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app()
    except SettingsError as error:
        _fail(error, MISUSED)
    except MigrationError as error:
        _fail(error, FAILED)


def _fail(error: MigrationError, code: int) -> None:
    console = Console(stderr=True, highlight=False)
    # A paragraph of its own lines; wrapped, its paths and commands could not be copied.
    console.print(str(error), style="red", markup=False, soft_wrap=True)
    if isinstance(error, TransientError):
        console.print("This may pass by itself: run again.", markup=False)
    sys.exit(code)


def _settings() -> Settings:
    return load(os.environ, Path.cwd())


@app.command()
def run(
    week: Annotated[
        str | None, typer.Option(help="First day of a complete week; the last one by default.")
    ] = None,
    table: Tables = None,
    acknowledge: Annotated[
        list[str] | None,
        typer.Option(help="Let this guard pass for one run (or `all`); may be given again."),
    ] = None,
) -> None:
    """Carry one week: take its cut, move every table to it, prove each one.

    Runs through Dagster's instance in this process, from plain cron too; no daemon is needed.
    """
    from migration_assets.defs.build import calendar_of, tables_of
    from migration_assets.defs.instance import instance
    from migration_assets.defs.launch import run_week
    from migration_assets.defs.report import report_week
    from migration_assets.report import terminal

    settings = _settings()
    now = datetime.now(UTC)
    weeks = calendar_of(settings, now)
    complete = weeks.complete(now)
    chosen = weeks.parse(week, now) if week else complete[-1] if complete else None
    if chosen is None:
        raise SettingsError(
            what=f"no week is complete yet: the first one starts on {weeks.first}",
            expected="to run after the first week's last day",
        )
    guards = _known_guards(acknowledge or [])
    known = tables_of(settings)
    names = _known_tables(table, known)
    with instance(settings) as opened:
        outcome = run_week(opened, chosen, tables=names, acknowledged=guards)
        unreported = report_week(opened, settings, known, chosen)
        console = terminal.console()
        for step, reason in outcome.failures.items():
            console.print(f"failed: {step}", style="red", markup=False)
            console.print(reason, markup=False, soft_wrap=True)
        console.print(f"week {chosen}: {'proved equal' if outcome.success else 'not complete'}")
        if unreported:
            console.print(unreported, style="red", markup=False)
        console.print(f"run {outcome.run_id}", style="dim")
    if not outcome.success:
        raise typer.Exit(FAILED)


@app.command()
def status() -> None:
    """Show every table week by week: loads with their figures, heads, what failed and why."""
    from migration_assets.defs.build import calendar_of, tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import terminal
    from migration_assets.standing import standing

    settings = _settings()
    now = datetime.now(UTC)
    weeks = calendar_of(settings, now).complete(now)
    with embedded_target(settings) as migration:
        found = standing(migration, tables_of(settings), weeks)
    terminal.print_status(found, terminal.console())
    if found.reasons:
        raise typer.Exit(FAILED)


@app.command()
def verify(table: Tables = None) -> None:
    """Prove tables as they stand now, each against its head's cut; nothing is changed."""
    from migration_assets.defs.build import tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import terminal
    from migration_assets.standing import verify as prove

    settings = _settings()
    known = tables_of(settings)
    with embedded_target(settings) as migration:
        found = {name: prove(migration, name) for name in _known_tables(table, known) or known}
    proofs = {name: result and result[0] for name, result in found.items()}
    terminal.print_proofs(proofs, terminal.console(), show_keys=settings.show_keys)
    if not all(proof is not None and proof.holds for proof in proofs.values()):
        raise typer.Exit(FAILED)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open Dagster on 127.0.0.1, with its daemon, until it is stopped with Ctrl-C."""
    from migration_assets.defs.instance import serve

    serve(_settings(), port)


@app.command()
def demo(
    source: Annotated[
        Path | None, typer.Option(help="Run one week on this SQLite file instead.")
    ] = None,
    no_ui: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--no-ui", help="End without opening Dagster.")
    ] = False,
    weeks: Annotated[int, typer.Option(min=1, max=26, help="Weeks to live through.")] = 6,
    scale: Annotated[int, typer.Option(min=1, help="Size of the made-up business.")] = 1,
    port: Annotated[int, typer.Option(help="Port of Dagster on 127.0.0.1.")] = 3000,
) -> None:
    """Carry a made-up business for some weeks, one failure and its mending included."""
    from migration_assets.demo.tour import tour

    proved = tour(Path.cwd(), source=source, weeks=weeks, scale=scale, port=None if no_ui else port)
    if not proved:
        raise typer.Exit(FAILED)


def _known_guards(names: list[str]) -> list[str]:
    from migration_assets.step import EVERY_GUARD, GUARDS

    for name in names:
        if name not in (*GUARDS, EVERY_GUARD):
            raise SettingsError(
                what=f"{name} is no guard",
                expected=f"one of {', '.join((*GUARDS, EVERY_GUARD))}",
            )
    return names


def _known_tables(names: list[str] | None, known: list[str]) -> list[str] | None:
    for name in names or []:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(
                what=f"there is no table {name}",
                expected="a table of the source that the settings don't leave out",
                hint=f"did you mean {close[0]}?" if close else "see `migration-assets status`",
            )
    return names or None
