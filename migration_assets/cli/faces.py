"""Commands that open something to look at: Dagster's UI, and the demo."""

from pathlib import Path
from typing import Annotated

import typer

from migration_assets.cli.output import FAILED


def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open Dagster on 127.0.0.1, with its daemon, until it is stopped with Ctrl-C."""
    from migration_assets.cli.choices import settings_here
    from migration_assets.defs.instance import serve

    serve(settings_here(), port)


def demo(
    *,
    source: Annotated[
        Path | None, typer.Option(help="Run one week on this SQLite file instead.")
    ] = None,
    no_ui: Annotated[
        bool, typer.Option("--no-ui", metavar="", help="End without opening Dagster.")
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
