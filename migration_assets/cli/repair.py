"""The command that puts right what somebody changed on the target, or lets it stay, by name."""

from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.asking import ask
from migration_assets.cli.each import apart
from migration_assets.cli.output import FAILED, AsJson, answering
from migration_assets.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migration_assets.migration import Migration
    from migration_assets.report.answers import Repaired

_RUN = "repair"  # what the ledger names as the run of such a move


def repair(
    table: Annotated[
        list[str] | None,
        typer.Argument(metavar="TABLE", help="Only these tables, as the source calls them."),
    ] = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Only show what differs, and what would be done."
        ),
    ] = False,
    keep_target: Annotated[
        bool,
        typer.Option(
            "--keep-target", metavar="", help="Let the rows stay as they are on the target."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why rows are kept; every check shows it.")
    ] = None,
    kept: Annotated[
        bool,
        typer.Option("--kept", metavar="", help="Put rows right too that were kept, and end that."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put exactly the rows right in which tables differ from the cut they stand at, and prove it.

    What stood in their place is kept in migration.displaced. With --keep-target the rows stay as
    they are instead, as exceptions that every check lists until either side changes again.
    """
    from migration_assets.cli.choices import known_tables, settings_here
    from migration_assets.defs.known import tables_of
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import documents

    with answering(as_json=as_json) as answer:
        _refuse_misuse(keep_target=keep_target, reason=reason or "", kept=kept)
        settings = settings_here()
        known = tables_of(settings)
        names = known_tables(table, known) or known
        with embedded_target(settings) as migration:
            found = [_previewed(migration, name, kept=kept) for name in names]
            _show(found, as_json=as_json, show_keys=settings.show_keys)
            if not dry_run and any(t.preview and t.preview.differs for t in found):
                if not yes:
                    ask("Do it?", instead="`--yes`, or a look with `--dry-run`")
                done = [_done(migration, t, reason or "", kept=kept) for t in found]
                _show_done(found, done, as_json=as_json, show_keys=settings.show_keys)
                found = done
        if as_json:
            answer.document = documents.repaired(found, show_keys=settings.show_keys)
        if not all(t.good for t in found):
            raise typer.Exit(FAILED)


def _refuse_misuse(*, keep_target: bool, reason: str, kept: bool) -> None:
    if keep_target and not reason.strip():
        raise SettingsError(
            what="rows that are kept need a reason",
            where="command line",
            hint="say why: `--reason TEXT`",
        )
    if keep_target and kept:
        raise SettingsError(what="--keep-target and --kept say the opposite", where="command line")
    if reason and not keep_target:
        raise SettingsError(
            what="--reason is of --keep-target",
            where="command line",
            hint="add --keep-target to let the rows stay as they are on the target",
        )


def _previewed(migration: "Migration", table: str, *, kept: bool) -> "Repaired":
    from migration_assets.repair import preview
    from migration_assets.report.answers import Repaired

    return _tried(
        lambda: Repaired(table=table, preview=preview(migration, table, kept=kept)), table
    )


def _done(migration: "Migration", found: "Repaired", reason: str, *, kept: bool) -> "Repaired":
    """Repair one table, or keep its rows; what stops it doesn't keep the others from theirs."""
    from dataclasses import replace

    from migration_assets.repair import keep_target
    from migration_assets.repair import repair as repair_table

    if found.preview is None or not found.preview.differs:
        return found
    table = found.table
    if reason:
        return _tried(
            lambda: replace(found, kept=keep_target(migration, table, reason=reason)), table
        )
    return _tried(
        lambda: replace(found, moved=repair_table(migration, table, run=_RUN, kept=kept)), table
    )


def _tried(action: "Callable[[], Repaired]", table: str) -> "Repaired":
    from migration_assets.report.answers import Repaired

    return apart(action, lambda error: Repaired(table=table, error=error))


def _show(found: "list[Repaired]", *, as_json: bool, show_keys: bool) -> None:
    from migration_assets.report import terminal

    for table in () if as_json else found:
        terminal.print_preview(table, terminal.console(), show_keys=show_keys)


def _show_done(
    found: "list[Repaired]", done: "list[Repaired]", *, as_json: bool, show_keys: bool
) -> None:
    from migration_assets.report import terminal

    for before, after in zip(found, done, strict=True):
        if not as_json and before is not after:
            terminal.print_repaired(after, terminal.console(), show_keys=show_keys)
