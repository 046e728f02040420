"""What was typed, checked against what there is: settings, weeks, tables, guards."""

import difflib
import os
from collections.abc import Collection, Sequence
from datetime import date, datetime
from pathlib import Path

from migration_assets.errors import SettingsError
from migration_assets.guards import GUARDS
from migration_assets.settings import Settings, load
from migration_assets.target.guarding import EVERY_GUARD
from migration_assets.weeks import Weeks


def settings_here() -> Settings:
    """Read the settings of the environment and this folder."""
    return load(os.environ, Path.cwd())


def complete_week(week: str | None, weeks: Weeks, now: datetime) -> date:
    """Return the week that was typed, or the last complete one."""
    if week:
        return weeks.parse(week, now)
    complete = weeks.complete(now)
    if not complete:
        raise SettingsError(
            what=f"no week is complete yet: the first one starts on {weeks.first}",
            expected="to run after the first week's last day",
        )
    return complete[-1]


def known_guards(names: Sequence[str]) -> list[str]:
    """Return the guards that were typed. Raises `SettingsError` for one that there isn't."""
    for name in names:
        if name not in (*GUARDS, EVERY_GUARD):
            raise SettingsError(
                what=f"{name} is no guard",
                expected=f"one of {', '.join((*GUARDS, EVERY_GUARD))}",
            )
    return list(names)


def known_tables(names: Sequence[str] | None, known: Collection[str]) -> list[str] | None:
    """Return the tables that were typed; None where none was.

    Raises `SettingsError` for one that there isn't.
    """
    for name in names or []:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(
                what=f"there is no table {name}",
                expected="a table of the source that the settings don't leave out",
                hint=f"did you mean {close[0]}?" if close else "see `migration-assets status`",
            )
    return list(dict.fromkeys(names)) if names else None
