"""The commands before anything is carried: write the settings, examine everything, plan."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.output import FAILED, AsJson, Tables, answering
from migration_assets.errors import SettingsError

if TYPE_CHECKING:
    from migration_assets.doctor import Places
    from migration_assets.settings import Settings
    from migration_assets.target.connection import Target


def init(
    *,
    source: Annotated[
        str | None, typer.Option(help="Path of the SQLite database.", metavar="FILE")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="URL of the target, or env:NAME for a variable that holds it; an embedded"
            " PostgreSQL by default.",
            metavar="URL",
        ),
    ] = None,
    target_schema: Annotated[
        str | None, typer.Option(help="Schema of the target's tables.", metavar="NAME")
    ] = None,
    first_week: Annotated[
        str | None, typer.Option(help="First day of the first week.", metavar="YYYY-MM-DD")
    ] = None,
    weeks: Annotated[int | None, typer.Option(help="Number of weeks.", metavar="N")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Where weeks start at midnight.", metavar="ZONE")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Folder of cuts, deltas and reports.", metavar="FOLDER")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", metavar="", help="Write anew; an existing file is kept as a backup."
        ),
    ] = False,
) -> None:
    """Look at the source and write a commented migration.yaml into this folder.

    Every setting stands in it with its meaning. A password never does. MIGRATION_SOURCE and
    MIGRATION_TARGET are taken where the options are missing.
    """
    from migration_assets.report import terminal
    from migration_assets.scaffold import look, write
    from migration_assets.settings import CONFIG_FILE

    folder = Path.cwd()
    fields = {
        "source": source or os.environ.get("MIGRATION_SOURCE") or None,
        "target": target or os.environ.get("MIGRATION_TARGET") or None,
        "target_schema": target_schema,
        "first_week": first_week,
        "weeks": weeks,
        "timezone": timezone,
        "state": state,
    }
    if fields["source"] is None:
        raise SettingsError(
            what="no source is named",
            where="option --source",
            expected="the path of the SQLite database",
            hint="`migration-assets init --source app.sqlite`",
        )
    made = look(fields, os.environ, folder)
    backup = write(folder / CONFIG_FILE, made.text, force=force)
    console = terminal.console()
    named = os.environ.get("MIGRATION_CONFIG")
    notes = [f"MIGRATION_CONFIG is set: {named} is read, not this file"] if named else []
    for line in (
        *made.found,
        *([f"the older file is kept as {backup.name}"] if backup else []),
        f"written: {CONFIG_FILE}",
        *(f"to do: {hint}" for hint in (*made.hints, *notes)),
        "next: `migration-assets doctor`, then `plan`, then `run`",
    ):
        console.print(line, markup=False, soft_wrap=True)


def plan(
    *,
    table: Tables = None,
    ddl: Annotated[
        bool, typer.Option("--ddl", metavar="", help="Print only the DDL of the first loads.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", metavar="", help="Add the proposed mapping to migration.yaml, to be pinned."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what will be done, before anything is: keys, types, DDL, rows that will not fit.

    Leaves nothing behind: the source is copied to a temporary folder, the target is only read, and
    migration.yaml is changed with `--write` alone. Ends with 1 where a table's load would be
    stopped as things stand.
    """
    from migration_assets.cli.choices import known_tables, settings_here
    from migration_assets.pinning import require_file
    from migration_assets.pinning import write as pin
    from migration_assets.planning import make
    from migration_assets.report import documents, plan_text, terminal
    from migration_assets.settings import file_of

    with answering(as_json=as_json) as answer:
        settings = settings_here()
        file = require_file(file_of(os.environ, Path.cwd())) if write else None
        with _lent(settings):
            target, absent = _target_to_ask(settings)
            made = make(
                settings,
                target,
                absent=absent,
                choose=lambda names: known_tables(table, names) or names,
            )
        pinned = pin(file, made) if file else None
        if as_json:
            answer.document = documents.plan(made, pinned)
        elif ddl:
            typer.echo("\n".join(plan_text.ddl_text(made)))
            for found in made.tables:
                for stop in found.stops:
                    typer.echo(f"{found.table} would be stopped: {stop}", err=True)
            for line in plan_text.pinned_text(pinned) if pinned else ():
                typer.echo(line, err=True)
        else:
            plan_text.print_plan(made, terminal.console(), pinned)
            if not settings.embedded and all(found.head is None for found in made.tables):
                terminal.console().print(_backup_offer(settings), style="dim", soft_wrap=True)
        if made.stopped:
            raise typer.Exit(FAILED)


def _backup_offer(settings: "Settings") -> str:
    """Say how the target is backed up before anything is loaded into it."""
    if settings.backup == "none":
        return "before the first load: `backup` in migration.yaml says how to back up the target"
    return "before the first load: `migration-assets backup` backs up the target"


def _lent(settings: "Settings") -> AbstractContextManager[object]:
    """Start an embedded target that was made already, for as long as the plan is made."""
    from migration_assets.defs.resources import embedded_folder
    from migration_assets.target import embedded

    folder = embedded_folder(settings)
    return (
        embedded.borrowed(folder) if settings.embedded and embedded.made(folder) else nullcontext()
    )


def _target_to_ask(settings: "Settings") -> "tuple[Target | None, str]":
    """Return the target, unless it is an embedded one that would have to be started."""
    from migration_assets.target.connection import target_of

    if not settings.embedded:
        return target_of(settings), ""
    from migration_assets.defs.resources import TARGET_DATABASE

    url = _running_embedded(settings, TARGET_DATABASE)
    if url is None:
        return None, "the embedded target was not made yet: this is a proposal"
    return target_of(settings, url), ""


def _running_embedded(settings: "Settings", database: str) -> str | None:
    """Return the URL of a database of the embedded PostgreSQL; None where it doesn't run."""
    from migration_assets.defs.resources import embedded_folder
    from migration_assets.target import embedded

    folder = embedded_folder(settings)
    return embedded.start(folder).url(database) if embedded.running(folder) else None


def doctor(*, as_json: AsJson = False) -> None:
    """Examine settings, source, state folder, target and Dagster; say what to do.

    Nothing is created or changed. Ends with 1 where there is a problem.
    """
    from migration_assets.doctor import examine
    from migration_assets.report import checkup, documents, terminal

    with answering(as_json=as_json) as answer:
        checks = examine(os.environ, Path.cwd(), _places)
        if as_json:
            answer.document = documents.checks(checks)
        else:
            checkup.print_checks(checks, terminal.console())
        if not checkup.healthy(checks):
            raise typer.Exit(FAILED)


def _places(settings: "Settings") -> "Places":
    """Return where target and Dagster's storage can be asked without starting anything."""
    from psycopg import conninfo

    from migration_assets.defs.resources import DAGSTER_DATABASE
    from migration_assets.doctor import Places
    from migration_assets.target.connection import Target

    host = os.environ.get("DAGSTER_PG_HOST")
    if host:
        url = conninfo.make_conninfo(
            host=host,
            port=os.environ.get("DAGSTER_PG_PORT"),
            user=os.environ.get("DAGSTER_PG_USERNAME"),
            password=os.environ.get("DAGSTER_PG_PASSWORD"),
            dbname=os.environ.get("DAGSTER_PG_DB"),
        )
    else:
        url = _running_embedded(settings, DAGSTER_DATABASE)
    return Places(
        target=_target_to_ask(settings)[0],
        storage=Target(url=url, patience=settings.connect_patience) if url else None,
    )
