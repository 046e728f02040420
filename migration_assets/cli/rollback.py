"""The command that takes weeks back: it says what it would do, asks, and does it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.asking import ask
from migration_assets.cli.each import apart
from migration_assets.cli.output import FAILED, AsJson, Guards, Tables, answering
from migration_assets.errors import SettingsError

if TYPE_CHECKING:
    from migration_assets.migration import Migration
    from migration_assets.report.answers import TakenBack
    from migration_assets.settings import Settings


def rollback(
    *,
    week: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Take back this week and everything later."),
    ] = None,
    entry: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Or this entry of the ledger and everything after it in its table."
        ),
    ] = None,
    table: Tables = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Only say what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do it without asking.")] = False,
    acknowledge: Guards = None,
    as_json: AsJson = False,
) -> None:
    """Take a week and everything later back: tables return to where they stood before, proved.

    Each table moves in one transaction of its own, and is on hold afterwards. A rollback is an
    entry of the ledger that can itself be taken back.
    """
    from migration_assets.cli.choices import complete_week, known_guards, settings_here
    from migration_assets.defs.known import calendar_of
    from migration_assets.report import documents

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        if (week is None) == (entry is None):
            raise SettingsError(
                what="either a week or an entry is taken back",
                where="command line",
                expected="one of --week and --entry",
            )
        now = datetime.now(UTC)
        chosen = complete_week(week, calendar_of(settings, now), now) if week else None
        guards = known_guards(acknowledge or [])
        if as_json and not (dry_run or yes):
            raise SettingsError(
                what="nobody can be asked", where="command line", expected="--yes or --dry-run"
            )
        found = _previewed(settings, chosen, entry, table)
        run = None
        if not as_json:
            _print_previews(settings, found)
        if not dry_run:
            run, found = _done(settings, chosen, entry, found, guards, yes=yes)
        if as_json:
            answer.document = documents.taken_back(found, show_keys=settings.show_keys, run=run)
        elif run is not None:
            _print_done(found, run)
        if any(result.error or (result.preview and result.preview.obstacle) for result in found):
            raise typer.Exit(FAILED)


def _previewed(
    settings: "Settings", week: date | None, entry: int | None, names: Sequence[str] | None
) -> "list[TakenBack]":
    """Preview every table; of those that nobody named, the ones with nothing to take back go."""
    from migration_assets.cli.choices import known_tables
    from migration_assets.defs.known import tables_of
    from migration_assets.defs.resources import embedded_target

    known = tables_of(settings)
    named = known_tables(names, known)
    with embedded_target(settings) as migration:
        tables = named or (known if entry is None else [_table_of(migration, entry)])
        found = [_preview(migration, name, week, entry) for name in tables]
    return [one for one in found if named or one.preview or one.error]


def _table_of(migration: "Migration", entry: int) -> str:
    from migration_assets.undo import table_of

    table = table_of(migration, entry)
    if table is None:
        raise SettingsError(
            what=f"the ledger has no entry {entry}",
            where="migration.ledger",
            expected="the number of an entry: `SELECT entry, table_name, kind, week FROM"
            " migration.ledger`",
        )
    return table


def _preview(
    migration: "Migration", table: str, week: date | None, entry: int | None
) -> "TakenBack":
    """Preview one table; what stops it doesn't keep the others from theirs."""
    from migration_assets.report.answers import TakenBack
    from migration_assets.undo import preview

    return apart(
        lambda: TakenBack(table=table, preview=preview(migration, table, week=week, entry=entry)),
        lambda error: TakenBack(table=table, error=error),
    )


def _done(
    settings: "Settings",
    week: date | None,
    entry: int | None,
    found: "list[TakenBack]",
    guards: Sequence[str],
    *,
    yes: bool,
) -> "tuple[str | None, list[TakenBack]]":
    """Take back what can be, where somebody says so; return the run and how each table ended."""
    from dataclasses import replace

    from migration_assets.defs.instance import instance
    from migration_assets.defs.launch import run_rollback

    ready = [one.table for one in found if one.preview and not one.preview.obstacle]
    if not ready:
        return None, found
    if not yes:
        ask(
            f"Roll back {len(ready)} tables?",
            instead="--yes, once the preview was read, or --dry-run",
        )
    with instance(settings) as opened:
        outcome = run_rollback(opened, week=week, entry=entry, tables=ready, acknowledged=guards)
    missed = "" if outcome.success else outcome.reason
    return outcome.run_id, [
        replace(
            one,
            figures=outcome.figures.get(one.table),
            error=one.error
            or outcome.failures.get(one.table, "" if one.table in outcome.figures else missed),
        )
        if one.table in ready
        else one
        for one in found
    ]


def _print_previews(settings: "Settings", found: "Sequence[TakenBack]") -> None:
    from migration_assets.report import rollback_text, terminal

    console = terminal.console()
    rollback_text.print_previews(found, console, show_keys=settings.show_keys)
    if not found:
        console.print("nothing to take back")


def _print_done(found: "Sequence[TakenBack]", run: str) -> None:
    from migration_assets.report import rollback_text, terminal

    console = terminal.console()
    rollback_text.print_taken_back(found, console)
    console.print(f"run {run}", style="dim", soft_wrap=True)
