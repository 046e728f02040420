"""The commands before anything is carried: write the settings, examine everything, plan."""

from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.output import FAILED, AsJson, Tables, answering

if TYPE_CHECKING:
    from migration_assets.settings import Settings
    from migration_assets.target.connection import Target


def init() -> None:
    """Write."""


def plan(
    table: Tables = None,
    ddl: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--ddl", help="Print only the DDL of the first loads.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show what will be done, before anything is: keys, types, DDL, rows that will not fit.

    Leaves nothing behind: the source is copied to a temporary folder, the target is only read.
    Ends with 1 where a table's load would be stopped as things stand.
    """
    from migration_assets.cli.choices import known_tables, settings_here
    from migration_assets.planning import make
    from migration_assets.report import documents, plan_text, terminal

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        target, absent = _target_to_ask(settings)
        made = make(
            settings,
            target,
            absent=absent,
            choose=lambda names: known_tables(table, names) or names,
        )
        if as_json:
            answer.document = documents.plan(made)
        elif ddl:
            typer.echo("\n".join(plan_text.ddl_text(made)))
            for found in made.tables:
                for stop in found.stops:
                    typer.echo(f"{found.table} would be stopped: {stop}", err=True)
        else:
            plan_text.print_plan(made, terminal.console())
        if made.stopped:
            raise typer.Exit(FAILED)


def _target_to_ask(settings: "Settings") -> "tuple[Target | None, str]":
    """Return the target, unless it is an embedded one that would have to be started."""
    from migration_assets.target.connection import target_of

    if not settings.embedded:
        return target_of(settings), ""
    from migration_assets.defs.resources import TARGET_DATABASE, embedded_folder
    from migration_assets.target import embedded

    if not embedded.running(embedded_folder(settings)):
        return None, "the embedded target does not run: this is a proposal, loaded tables included"
    server = embedded.start(embedded_folder(settings))
    return target_of(settings, server.url(TARGET_DATABASE)), ""


def doctor() -> None:
    """Doctor."""
