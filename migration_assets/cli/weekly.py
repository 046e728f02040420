"""The commands of every week: carry it, see where tables stand, prove them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.output import FAILED, AsJson, Guards, Tables, answering
from migration_assets.errors import MigrationError

if TYPE_CHECKING:
    import dagster as dg

    from migration_assets.defs.launch import RunOutcome
    from migration_assets.report.status import Status
    from migration_assets.settings import Settings


def run(
    *,
    week: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="First day of a complete week; the last one by default."
        ),
    ] = None,
    table: Tables = None,
    acknowledge: Guards = None,
    as_json: AsJson = False,
) -> None:
    """Carry one week: take its cut, move every table to it, prove each one.

    Runs through Dagster's instance in this process, from plain cron too; no daemon is needed.
    """
    from migration_assets.cli.choices import (
        complete_week,
        known_guards,
        known_tables,
        settings_here,
    )
    from migration_assets.defs.instance import instance
    from migration_assets.defs.known import calendar_of, tables_of
    from migration_assets.defs.report import report_week
    from migration_assets.report import documents, terminal
    from migration_assets.report.answers import Carried

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        now = datetime.now(UTC)
        chosen = complete_week(week, calendar_of(settings, now), now)
        guards = known_guards(acknowledge or [])
        names = known_tables(table, tables_of(settings))
        with instance(settings) as opened:
            outcomes, new = _carry(opened, settings, chosen, names, guards)
            tables = names or tables_of(settings)
            unreported = report_week(opened, settings, tables_of(settings), chosen)
            figures, unread = _figures(settings, tables, chosen)
        carried = Carried(
            week=chosen,
            runs=tuple(outcome.run_id for outcome in outcomes),
            success=all(outcome.success for outcome in outcomes),
            failures={k: v for outcome in outcomes for k, v in outcome.failures.items()},
            new_tables=tuple(new),
            held=outcomes[0].held,
            status=figures,
            problems=(unreported or unread,) if unreported or unread else (),
        )
        if as_json:
            answer.document = documents.carried(carried)
        else:
            terminal.print_carried(carried, terminal.console())
        if not carried.complete:
            raise typer.Exit(FAILED)


def _carry(
    opened: "dg.DagsterInstance",
    settings: "Settings",
    week: date,
    names: list[str] | None,
    guards: Sequence[str],
) -> "tuple[list[RunOutcome], list[str]]":
    """Run the week; tables that its cut is the first to have follow in a second run.

    The definitions of the first run come from a catalog that didn't have them yet.
    """
    from migration_assets.defs.known import tables_of
    from migration_assets.defs.launch import run_week

    before = set(tables_of(settings))
    outcomes = [run_week(opened, week, tables=names, acknowledged=guards)]
    new = [] if names else [name for name in tables_of(settings) if name not in before]
    if new:
        outcomes.append(run_week(opened, week, tables=new, acknowledged=guards))
    return outcomes, new


def _figures(
    settings: "Settings", tables: Sequence[str], week: date
) -> "tuple[Status | None, str]":
    """Return where the tables stand after a run; or why that can't be told now.

    The run has said already what failed; a target that is away is not waited for again.
    """
    from migration_assets.defs.resources import open_migration
    from migration_assets.standing import standing

    try:
        briefly = {"connect_patience": 1.0, "retry_patience": 0.0}
        migration = open_migration(settings.model_copy(update=briefly))
        return standing(migration, tables, [week]), ""
    except MigrationError as error:
        return None, f"the week's figures could not be read: {error}"


def status(*, as_json: AsJson = False) -> None:
    """Show every table week by week: loads with their figures, heads, what failed and why."""
    from migration_assets.cli.choices import settings_here
    from migration_assets.defs.known import calendar_of, tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import documents, terminal
    from migration_assets.standing import standing

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        now = datetime.now(UTC)
        weeks = calendar_of(settings, now).complete(now)
        with embedded_target(settings) as migration:
            found = standing(migration, tables_of(settings), weeks)
        if as_json:
            answer.document = documents.status(found)
        else:
            terminal.print_status(found, terminal.console())
        if found.reasons:
            raise typer.Exit(FAILED)


def verify(
    *,
    week: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="Also require that each table stands at this week or later."
        ),
    ] = None,
    table: Tables = None,
    as_json: AsJson = False,
) -> None:
    """Prove tables as they stand now, each against its head's cut; nothing is changed."""
    from migration_assets.cli.choices import complete_week, known_tables, settings_here
    from migration_assets.defs.known import calendar_of, tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import documents, terminal
    from migration_assets.standing import prove_table

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        now = datetime.now(UTC)
        required = complete_week(week, calendar_of(settings, now), now) if week else None
        known = tables_of(settings)
        with embedded_target(settings) as migration:
            found = [
                prove_table(migration, name, required)
                for name in known_tables(table, known) or known
            ]
        if as_json:
            answer.document = documents.proofs(found, show_keys=settings.show_keys)
        else:
            terminal.print_verified(found, terminal.console(), show_keys=settings.show_keys)
        if not all(table.holds for table in found):
            raise typer.Exit(FAILED)
