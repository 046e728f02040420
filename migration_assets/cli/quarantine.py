"""The commands for rows that don't fit: see what is out, and let in what fits by now."""

from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.each import apart
from migration_assets.cli.output import FAILED, AsJson, Guards, answering

if TYPE_CHECKING:
    from migration_assets.migration import Migration
    from migration_assets.report.answers import Replayed

_RUN = "quarantine replay"  # what the ledger names as the run of such a move

TableNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="TABLE", help="Only these tables, as the source calls them."),
]


def list_rows(table: TableNames = None, *, as_json: AsJson = False) -> None:
    """Show how many rows of each table are in quarantine, and why; no row's values."""
    from migration_assets.cli.choices import known_tables, settings_here
    from migration_assets.defs.known import tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import documents, terminal
    from migration_assets.standing import quarantined

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        wanted = known_tables(table, tables_of(settings))
        with embedded_target(settings) as migration:
            found = [q for q in quarantined(migration) if wanted is None or q.table in wanted]
        if as_json:
            answer.document = documents.quarantined(found)
        else:
            terminal.print_quarantined(found, terminal.console())


def replay(
    table: TableNames = None,
    *,
    acknowledge: Guards = None,
    as_json: AsJson = False,
) -> None:
    """Let tables follow their settings now: quarantined rows that fit by then go in, proved.

    Each table moves at the week it stands at, after a change of a type or policy in
    migration.yaml. Where nothing changed, nothing is done.
    """
    from migration_assets.cli.choices import known_guards, known_tables, settings_here
    from migration_assets.defs.known import tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import documents, terminal

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        guards = frozenset(known_guards(acknowledge or []))
        known = tables_of(settings)
        wanted = known_tables(table, known) or known
        with embedded_target(settings) as migration:
            found = [_replayed(migration, name, guards) for name in wanted]
        if as_json:
            answer.document = documents.replayed(found)
        else:
            terminal.print_replayed(found, terminal.console())
        if any(result.error for result in found):
            raise typer.Exit(FAILED)


def _replayed(migration: "Migration", table: str, guards: frozenset[str]) -> "Replayed":
    """Replay one table; what stops it doesn't keep the others from theirs."""
    from migration_assets.report.answers import Replayed
    from migration_assets.step import replay as replay_table

    return apart(
        lambda: Replayed(
            table=table,
            moved=replay_table(migration, table, run=_RUN, acknowledged=guards),
        ),
        lambda error: Replayed(table=table, error=error),
    )
