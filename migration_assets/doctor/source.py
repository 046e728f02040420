"""The source: there, readable, by whom, how large, and how long a cut of it may take."""

import math
import os
import pwd
from pathlib import Path

from migration_assets.errors import SourceBusyError
from migration_assets.report.checkup import Check, ok, size, warning
from migration_assets.settings import Settings
from migration_assets.source.catalog import read_catalog, select
from migration_assets.source.connection import open_source, translated

_WAIT = 2.0  # seconds for a locked source: here it is only said
# A copy takes up to 3.4 s a GB from a warm cache; checking, hashing and a cold disk come on top.
_SECONDS_PER_GB = 10


def look(settings: Settings) -> list[Check]:
    """Check the source. Raises its errors where it can't be read at all."""
    path = settings.source
    try:
        with (
            open_source(path, timeout=_WAIT) as (connection, _),
            translated(f"source {path}"),
        ):
            journal = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            encoding = str(connection.execute("PRAGMA encoding").fetchone()[0])
            catalog = read_catalog(connection, settings.source_name)
    except SourceBusyError as error:
        return [_access(path), warning("source", f"{path}: {error.what}", error.hint)]
    wanted = select(catalog, settings.include, settings.exclude)
    count = path.stat().st_size
    facts = f"{size(count)}, journal {journal}, {encoding}, {len(wanted.tables)} tables"
    seconds = max(1, math.ceil(count / 1e9 * _SECONDS_PER_GB))
    checks = [ok("source", f"{path}: {facts}"), _access(path)]
    if not wanted.tables:
        to_do = "see `include` and `exclude` in migration.yaml"
        checks.append(warning("source tables", "none is to be carried", to_do))
    return [*checks, ok("cut", f"may take {seconds} s or less")]


def _access(path: Path) -> Check:
    owner, us = path.stat().st_uid, os.geteuid()
    who = f"owned by {_name(owner)}, read as {_name(us)}"
    return ok("source access", who)


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
