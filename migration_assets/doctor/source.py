"""The source: there, readable, by whom, how large, and how long a cut of it may take."""

import math
import os
import pwd
from pathlib import Path

from migration_assets.errors import SettingsError, SourceBusyError
from migration_assets.mapping.overrides import check_columns
from migration_assets.model import Catalog
from migration_assets.proposal import check_named
from migration_assets.report.checkup import Check, ok, problem, size, warning
from migration_assets.settings import Settings
from migration_assets.source.casts import check_casts
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
    return [
        *checks,
        *_tables(settings, catalog, wanted),
        ok("cut", f"may take {seconds} s or less"),
    ]


def _tables(settings: Settings, catalog: Catalog, wanted: Catalog) -> list[Check]:
    """Check that every table and column that the settings name is there.

    A missing table stops first loads. A missing column may be one that went after its table was
    loaded, which stops nothing.
    """
    if not settings.tables:
        return []
    try:
        check_named(settings, catalog)
    except SettingsError as error:
        return [problem("tables", *_said(error))]
    try:
        for table in wanted.tables:
            check_columns(settings.override(table.name), table)
            check_casts(table, settings.override(table.name))
    except SettingsError as error:
        return [warning("tables", *_said(error))]
    return [ok("tables", f"{len(settings.tables)} named in the settings, with columns that exist")]


def _said(error: SettingsError) -> tuple[str, str]:
    to_do = "; ".join(text for text in (error.expected, error.hint) if text)
    return f"{error.where}: {error.what}", to_do


def _access(path: Path) -> Check:
    owner, us = path.stat().st_uid, os.geteuid()
    who = f"owned by {_name(owner)}, read as {_name(us)}"
    return ok("source access", who)


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
