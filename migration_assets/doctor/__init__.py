"""Look at everything a migration needs, before it is needed, and say what to do.

Nothing is created or changed. Every check is tried, whatever the others found.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from migration_assets.doctor import backup, dagster, folder, machine, source, target
from migration_assets.errors import MigrationError, SettingsError
from migration_assets.report.checkup import Check, ok, problem, warning
from migration_assets.settings import CONFIG_FILE, Settings, load
from migration_assets.target.connection import Target

__all__ = ["Places", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where target and Dagster's storage can be asked; None where an embedded one doesn't run."""

    target: Target | None
    storage: Target | None


def examine(
    environment: Mapping[str, str], here: Path, places: Callable[[Settings], Places]
) -> list[Check]:
    """Return all checks. `here` is where `migration.yaml` and `dagster.yaml` are looked for."""
    checks = [*machine.versions(machine.requirements()), machine.time_zones()]
    settings, found = _settings(environment, here)
    checks.append(found)
    checks += _tried("dagster.yaml", lambda: [dagster.instance_file(environment, here)])
    if settings is None:
        to_do = "mend the settings, then run `doctor` again"
        names = ("source", "state folder", "target", "backup", "dagster storage")
        return checks + [warning(name, "not looked at", to_do) for name in names]
    checks += _tried("source", lambda: source.look(settings))
    checks += _tried("state folder", lambda: folder.look(settings))
    checks += _tried("target", lambda: target.look(places(settings).target))
    checks += _tried("backup", lambda: backup.look(settings, places(settings).target))
    checks += _tried(
        "dagster storage", lambda: dagster.storage(settings, places(settings).storage, environment)
    )
    return checks


def _settings(environment: Mapping[str, str], here: Path) -> tuple[Settings | None, Check]:
    file = Path(environment.get("MIGRATION_CONFIG") or here / CONFIG_FILE)
    try:
        settings = load(environment, here)
    except SettingsError as error:
        return None, _of(error, "settings")
    origin = str(file) if file.exists() else "from the environment alone"
    return settings, ok("settings", origin)


def _of(error: MigrationError, name: str) -> Check:
    what = f"{error.where}: {error.what}" if error.where else error.what
    to_do = "; ".join(text for text in (error.expected, error.hint) if text)
    return problem(name, what, to_do or "see the message")


def _tried(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Return what a look found; one that fails is a problem by itself, and the others go on."""
    try:
        return look()
    except MigrationError as error:
        return [_of(error, name)]
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        to_do = "run as a user who may read it"
        return [problem(name, f"the system refuses: {error.strerror}{where}", to_do)]
    except (sqlite3.Error, psycopg.Error) as error:  # its text may hold values
        return [problem(name, f"unexpected {type(error).__name__}", "report it")]
