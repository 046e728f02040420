"""The commands of the last day: a backup of the target, and the cutover with its certificate."""

import json
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migration_assets.cli.asking import ask
from migration_assets.cli.output import FAILED, AsJson, answering
from migration_assets.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from migration_assets.cutover.execute import Ended
    from migration_assets.migration import Migration
    from migration_assets.report.certificate import Certificate


class _Way(Enum):
    DRY_RUN = "--dry-run"
    REHEARSE = "--rehearse"
    EXECUTE = "--execute"


def cutover(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Say go or no-go; change nothing.")
    ] = False,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", metavar="", help="Do all of it in a schema of its own."),
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", metavar="", help="Cut over.")] = False,
    acknowledge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Go on with this exception, or let this guard pass; may be given again.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", metavar="", help="Don't ask before the cutover is executed.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", metavar="", help="Leave the schema of a rehearsal to look at."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Cut over to the target, or see whether it is a go, or rehearse it.

    Ends with 1 where it is no go, or was stopped. Every run but a dry one leaves its certificate
    in the state folder's `reports`.
    """
    from migration_assets.cli.choices import settings_here
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import certificate, terminal
    from migration_assets.report.certificate import Verdict

    with answering(as_json=as_json) as answer:
        way = _way(dry_run=dry_run, rehearse=rehearse, execute=execute)
        _refuse_aimless(way, yes=yes, keep=keep)
        settings = settings_here()
        names = _known(acknowledge or [])
        console = terminal.console()
        earlier: dict[str, Any] = {}
        with embedded_target(settings) as migration:
            if way is _Way.EXECUTE:
                if not yes:
                    question = (
                        f"Cut over to {migration.target.name} now? The source has to be at rest."
                    )
                    ask(question, instead="`--yes`, or a terminal")
                ended = _executed(migration, names, console)
                found = ended.certificate
                place = f"{migration.state.path(ended.key)}.md"
                earlier = json.loads(migration.state.read_text(f"{ended.key}.json") or "{}")
            else:
                found, place = _tried(way, migration, names, console, keep=keep), ""
        if as_json:
            document = certificate.as_document(found) if found else earlier
            answer.document = {**document, "certificate": place}
        else:
            _print(found, place, console)
        if found and (
            found.verdict is Verdict.NO_GO or any(c.stops(names) for c in found.conditions)
        ):
            raise typer.Exit(FAILED)


def _way(**asked: bool) -> _Way:
    chosen = [_Way["DRY_RUN" if k == "dry_run" else k.upper()] for k, v in asked.items() if v]
    if len(chosen) == 1:
        return chosen[0]
    raise SettingsError(
        what="one of --dry-run, --rehearse and --execute has to be said"
        if not chosen
        else "--dry-run, --rehearse and --execute exclude each other",
        where="command line",
        expected="what is to be done",
        hint="begin with `migration-assets cutover --dry-run`",
    )


def _refuse_aimless(way: _Way, *, yes: bool, keep: bool) -> None:
    """Refuse options of another way: whoever typed them means something else."""
    for given, option, of in ((yes, "--yes", _Way.EXECUTE), (keep, "--keep", _Way.REHEARSE)):
        if given and way is not of:
            raise SettingsError(
                what=f"{option} means nothing with {way.value}",
                where="command line",
                expected=f"{option} with {of.value}",
            )


def _known(names: Sequence[str]) -> frozenset[str]:
    """Return the acknowledgements that were typed; each has to be named, `all` is refused."""
    from migration_assets.cutover.checks import ACKNOWLEDGEMENTS
    from migration_assets.guards import GUARDS

    for name in names:
        if name not in (*ACKNOWLEDGEMENTS, *GUARDS):
            raise SettingsError(
                what=f"{name} is nothing that a cutover can acknowledge",
                expected=f"one of {', '.join((*ACKNOWLEDGEMENTS, *GUARDS))}",
                hint="each exception of a cutover is acknowledged by its own name",
            )
    return frozenset(names)


def _executed(migration: "Migration", names: frozenset[str], console: "Console") -> "Ended":
    from migration_assets.cutover.execute import execute

    return execute(migration, acknowledged=names, say=_said(console))


def _tried(
    way: _Way, migration: "Migration", names: frozenset[str], console: "Console", *, keep: bool
) -> "Certificate":
    from migration_assets.cutover.execute import dry_run
    from migration_assets.cutover.rehearse import rehearse

    if way is _Way.DRY_RUN:
        return dry_run(migration)
    return rehearse(migration, acknowledged=names, keep=keep, say=_said(console))


def _said(console: "Console"):  # noqa: ANN202 - a function of one text
    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, soft_wrap=True)

    return say


def _print(found: "Certificate | None", place: str, console: "Console") -> None:
    from migration_assets.report import certificate

    if found is None:
        console.print("cut over already; nothing was changed", style="green")
    for style, line in certificate.lines(found) if found else ():
        console.print(line, style=style, markup=False, soft_wrap=True)
    if place:
        console.print(f"certificate: {place}", markup=False, soft_wrap=True)


def backup(*, as_json: AsJson = False) -> None:
    """Back up the target as `backup` in the settings says, and make sure that it can be read."""
    import dataclasses

    from migration_assets.cli.choices import settings_here
    from migration_assets.cutover.backup import take
    from migration_assets.defs.resources import embedded_target
    from migration_assets.report import terminal

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        if settings.backup == "none":
            raise SettingsError(
                what="`backup` is not set",
                where="migration.yaml",
                expected="`backup: pg_dump`, or `backup: snapshot` of an Aurora cluster",
                hint="set `backup` in migration.yaml",
            )
        with embedded_target(settings) as migration:
            found = take(migration)
        if as_json:
            answer.document = dataclasses.asdict(found)
        else:
            terminal.console().print(f"backup: {found.text}", markup=False, soft_wrap=True)
