"""Look at a source, and a target where one is named, and write the settings to start from.

Nothing but the one file is written, and no password gets into it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from psycopg import conninfo

from migration_assets.errors import MigrationError, SettingsError, UnsupportedError
from migration_assets.mapping.names import allocate
from migration_assets.mapping.propose import propose
from migration_assets.model import (
    Catalog,
    ColumnCensus,
    SourceTable,
)
from migration_assets.report.settings_text import render
from migration_assets.settings import CONFIG_FILE, EMBEDDED, Settings, validated
from migration_assets.source.catalog import name_pattern, read_catalog
from migration_assets.source.connection import open_source, translated
from migration_assets.target.connection import Target, connect

PATIENCE = 5.0
_TEMPORARY = frozenset({"tmp", "temp", "bak", "backup", "old", "copy", "scratch", "obsolete"})
_WORDS = re.compile(r"[a-z]+")
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_OTHER_SECRETS = (
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)
_NO_VALUES = ColumnCensus(nulls=0, classes={}, fits={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """The text of a new settings file, and what was found on the way, for people.

    `found` are facts, `hints` what to do next.
    """

    text: str
    found: tuple[str, ...]
    hints: tuple[str, ...]


def look(
    fields: Mapping[str, Any],
    environment: Mapping[str, str],
    folder: Path,
    *,
    patience: float = PATIENCE,
) -> Scaffold:
    """Return the settings to start from; `fields` are those that were named.

    `patience` bounds, in seconds, the wait for the target, which may not be there yet. Raises
    `SettingsError` for a wrong one, and the source's errors where it can't be read.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    target, hints = _without_password(given.get("target") or EMBEDDED)
    resolved = _resolved(given.get("target") or EMBEDDED, environment)
    settings = validated(given | {"target": resolved or EMBEDDED}, _option, folder)
    catalog = _catalog(settings)
    found = [f"source {settings.source}: {len(catalog.tables)} tables"]
    found += [f"left out: {name}: {reason}" for name, reason in catalog.left_out.items()]
    if resolved and not settings.embedded:
        found.append(_target_text(resolved, patience))
    suggestions = _suggestions(catalog)
    if suggestions:
        count = f"{len(suggestions)} table{'s' if len(suggestions) > 1 else ''}"
        hints.append(f"{count} may be left out: see `exclude` in {CONFIG_FILE}")
    written = {name: getattr(settings, name) for name in given if name != "target"}
    written["target"] = target
    for name in ("source", "state"):  # as they were typed: relative to the file
        if name in given:
            written[name] = str(given[name])
    return Scaffold(text=render(written, suggestions), found=tuple(found), hints=tuple(hints))


def _option(*place: object) -> str:
    """Name a setting by the option that it came from."""
    return f"option --{str(place[0]).replace('_', '-')}" if place else "command line"


def _resolved(target: str, environment: Mapping[str, str]) -> str:
    """Return the URL that a target stands for; '' where its variable isn't set yet."""
    if target.startswith("env:"):
        return environment.get(target.removeprefix("env:"), "")
    return target


def _without_password(target: str) -> tuple[str, list[str]]:
    """Return the target as it may stand in a file, and what to do about its password."""
    if target.startswith("env:") or target == EMBEDDED:
        return target, []
    Target(url=target).name  # noqa: B018 - refuses what is no URL
    parts = conninfo.conninfo_to_dict(target)
    if any(parts.get(name) for name in _OTHER_SECRETS):
        raise SettingsError(
            what="the target's URL holds a secret that has no place in a file",
            where=_option("target"),
            expected=f"a URL without {', '.join(_OTHER_SECRETS)}",
            hint="put the whole URL into a variable, and say `--target env:NAME`",
        )
    if not parts.get("password"):
        return target, []
    hint = "the password was not written: export PGPASSWORD, or use a passfile"
    bare = _bare_url(target)
    if "password" not in conninfo.conninfo_to_dict(bare):
        return bare, [hint]
    kept = {name: value for name, value in parts.items() if name != "password"}
    return conninfo.make_conninfo("", **kept), [hint]


def _bare_url(target: str) -> str:
    """Return a URL without the password before its host; it may hold another one behind."""
    url = urlsplit(target)
    user, at, host = url.netloc.rpartition("@")
    return urlunsplit(url._replace(netloc=f"{user.split(':')[0]}{at}{host}"))


def _catalog(settings: Settings) -> Catalog:
    with (
        open_source(settings.source, timeout=settings.source_timeout) as (connection, _),
        translated(f"source {settings.source}"),
    ):
        return read_catalog(connection, settings.source_name)


def _target_text(url: str, patience: float) -> str:
    target = Target(url=url, patience=patience)
    try:
        with connect(target) as connection:
            version = connection.info.parameter_status("server_version")
            encrypted = "with TLS" if connection.pgconn.ssl_in_use else "without TLS"
    except MigrationError as error:
        return f"target {target.name}: it did not answer: {error.what}"
    return f"target {target.name}: PostgreSQL {version}, {encrypted}"


def _suggestions(catalog: Catalog) -> list[tuple[str, str]]:
    """Return patterns of tables that look temporary or can't be carried, each with the reason."""
    found: list[tuple[str, str]] = []
    names = allocate(catalog.tables)
    for table in catalog.tables:
        try:
            nothing = {c.name: _NO_VALUES for c in table.columns}
            propose(table, nothing, target_schema="public", names=names[table.name])
        except UnsupportedError as error:
            found.append((name_pattern(table.name), f"can't be carried: {error.what}"))
            continue
        if _looks_temporary(table):
            found.append((name_pattern(table.name), "its name looks temporary"))
    return found


def _looks_temporary(table: SourceTable) -> bool:
    words = _WORDS.findall(table.name.lower())
    return bool(words) and not _TEMPORARY.isdisjoint({words[0], words[-1]})


def write(file: Path, text: str, *, force: bool) -> Path | None:
    """Write a new settings file, whole or not at all; return where an older one was kept.

    An existing file is never overwritten: with `force` it is kept under another name first. Raises
    `SettingsError`.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(text, "utf-8")
        try:
            os.link(partial, file)  # unlike a rename, a link never overwrites
        except FileExistsError:
            if not force:
                raise
            backup = _keep(file)
            partial.replace(file)
            return backup
    except FileExistsError:
        raise SettingsError(
            what="exists already and is never overwritten",
            where=str(file),
            hint="edit it; or `--force`: it is kept under another name, and a new one written",
        ) from None
    except OSError as error:
        raise SettingsError(
            what=f"can't be written ({error.strerror})",
            where=str(file),
            expected="a folder this user may write to",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return None


def _keep(file: Path) -> Path:
    """Give an existing file a second name that no file has yet."""
    number = 1
    while True:
        backup = file.with_name(_backups(file, number))
        try:
            os.link(file, backup)
        except FileExistsError:
            number += 1
        else:
            return backup


def _backups(file: Path, number: int) -> str:
    return f"{file.name}.backup" if number == 1 else f"{file.name}.backup-{number}"
