"""Dagster's own needs: its instance file, its storage, and whether its daemon is alive."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from migration_assets.doctor.target import PATIENCE
from migration_assets.report.checkup import Check, ok, problem, warning
from migration_assets.settings import Settings
from migration_assets.target.connection import Connection, Target, connect, translated

VARIABLES = (
    "DAGSTER_PG_HOST",
    "DAGSTER_PG_PORT",
    "DAGSTER_PG_USERNAME",
    "DAGSTER_PG_PASSWORD",
    "DAGSTER_PG_DB",
)
_ALIVE = 300  # seconds since a heartbeat; Dagster's own tolerance


def instance_file(environment: Mapping[str, str], here: Path) -> Check:
    """Check that Dagster's instance is described where it will be looked for."""
    file = Path(environment.get("DAGSTER_HOME") or here) / "dagster.yaml"
    to_do = "run in the project's folder, or set DAGSTER_HOME to one that holds a dagster.yaml"
    if not file.is_file():
        return problem("dagster.yaml", f"{file.parent}: there is none here", to_do)
    try:
        content: object = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        return problem("dagster.yaml", f"{file}: not valid YAML", "restore the project's own")
    return ok("dagster.yaml", str(file))


def storage(
    settings: Settings, target: Target | None, environment: Mapping[str, str]
) -> list[Check]:
    """Check Dagster's storage; `target` is None where it is embedded and doesn't run."""
    if settings.dagster_storage == "sqlite":
        return [_files(settings.state / "dagster")]
    if "DAGSTER_PG_HOST" in environment:
        missing = [name for name in VARIABLES if not environment.get(name)]
        if missing:
            what = f"not set: {', '.join(missing)}"
            return [problem("dagster storage", what, "set all five, or none for an embedded one")]
    if target is None:
        what = "embedded PostgreSQL: each command starts it, and stops it after"
        return [ok("dagster storage", what), _no_daemon()]
    where = f"dagster storage {target.name}"
    with connect(replace(target, patience=min(PATIENCE, target.patience))) as connection:
        version = connection.info.parameter_status("server_version")
        with translated(where):
            daemon = _daemon(connection)
    return [ok("dagster storage", f"{target.name}: PostgreSQL {version}"), daemon]


def _files(folder: Path) -> Check:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(there, os.W_OK | os.X_OK):
        return ok("dagster storage", f"SQLite files in {folder}")
    to_do = "run as the owner of the state folder"
    return problem("dagster storage", f"{there} can't be written", to_do)


def _daemon(connection: Connection) -> Check:
    """Look for a heartbeat of the scheduler in the table where Dagster's daemon leaves it."""
    there = connection.execute(
        "SELECT to_regclass('public.daemon_heartbeats') IS NOT NULL"
    ).fetchone()
    if there is None or not there[0]:
        return _no_daemon()
    row = connection.execute(
        "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - max(timestamp))::float8"
        " FROM public.daemon_heartbeats WHERE daemon_type = 'SCHEDULER'"
    ).fetchone()
    age = float(str(row[0])) if row and row[0] is not None else None
    if age is None or age > _ALIVE:
        return _no_daemon()
    return ok("dagster daemon", f"alive {max(0, age):.0f} s ago: the schedule runs")


def _no_daemon() -> Check:
    to_do = "nothing where cron calls `migration-assets run`; else start `migration-assets ui`"
    return warning("dagster daemon", "none was seen: the schedule does not run", to_do)
