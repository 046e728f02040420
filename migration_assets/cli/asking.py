"""Ask a person before something is changed that can't be seen from here."""

import sys

import typer

from migration_assets.errors import SettingsError


def ask(question: str, *, instead: str) -> None:
    """Let a person say yes; where there is none, `--yes` has to.

    `instead` says what can be typed then. Raises `SettingsError` without a terminal and
    `typer.Abort` for a no.
    """
    if not sys.stdin.isatty():
        raise SettingsError(
            what="nobody can be asked: this is no terminal", where="command line", expected=instead
        )
    typer.confirm(question, abort=True, err=True)
