"""The commands that stop one table and let it go on again, whatever asks for it meanwhile."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from migration_assets.settings import Settings

Table = Annotated[str, typer.Argument(metavar="TABLE", help="The table, as the source calls it.")]


def hold(
    table: Table,
    *,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; whoever finds the table on hold reads it.")
    ],
) -> None:
    """Put a table on hold: schedule, sensor and runs leave it where it stands until it is released.

    Waits for a step of this table that is under way.
    """
    from migration_assets.defs.resources import embedded_target
    from migration_assets.holds import hold as put_on_hold
    from migration_assets.report import terminal

    settings = _settings_with(table)
    with embedded_target(settings) as migration:
        put_on_hold(migration, table, reason)
    terminal.console().print(
        f"{table} is on hold; `migration-assets release {table}` lets it go on",
        markup=False,
        soft_wrap=True,
    )


def release(
    table: Annotated[
        list[str], typer.Argument(metavar="TABLE...", help="Tables, as the source calls them.")
    ],
    *,
    cut_over: Annotated[
        bool,
        typer.Option(
            "--cut-over", metavar="", help="Also one that was cut over: the cutover is given up."
        ),
    ] = False,
) -> None:
    """Let tables that are on hold go on: the next run carries them to its week."""
    from migration_assets.defs.resources import embedded_target
    from migration_assets.holds import release as let_go
    from migration_assets.report import terminal

    settings = _settings_with(*table)
    with embedded_target(settings) as migration:
        for name in dict.fromkeys(table):
            ended = let_go(migration, name, cut_over=cut_over)
            text = (
                f"{name} is released; it was on hold {ended.text}"
                if ended
                else f"{name} is not held"
            )
            terminal.console().print(text, markup=False, soft_wrap=True)


def _settings_with(*tables: str) -> "Settings":
    """Read the settings. Raises `SettingsError` for a table that they don't have."""
    from migration_assets.cli.choices import known_tables, settings_here
    from migration_assets.defs.known import tables_of

    settings = settings_here()
    known_tables(tables, tables_of(settings))
    return settings
