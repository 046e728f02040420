"""This machine: Python, SQLite, packages of the versions that fit, time zone data."""

import platform
import sqlite3
import sys
import zoneinfo
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement

from migration_assets.report.checkup import Check, ok, problem, warning

_PACKAGE = "migration-assets"
_OLDEST_PYTHON = (3, 11)
_OLDEST_SQLITE = (3, 37, 0)  # table_list and its column `strict`
_SHOWN = ("dagster", "dagster-webserver", "dagster-postgres", "polars", "psycopg")


def requirements() -> list[str]:
    """Return what this package asks for; nothing where it isn't installed."""
    try:
        return metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []


def versions(required: Iterable[str]) -> list[Check]:
    """Check Python, its SQLite, and every package that is required."""
    checks = [
        _at_least("python", sys.version_info[:3], _OLDEST_PYTHON, platform.python_version()),
        _at_least("sqlite", sqlite3.sqlite_version_info, _OLDEST_SQLITE, sqlite3.sqlite_version),
    ]
    wanted = [Requirement(text) for text in required]
    if not wanted:
        return [*checks, warning("packages", "not installed as a package", "`make install`")]
    unfit = [text for text in map(_unfit, wanted) if text]
    if unfit:
        return [*checks, problem("packages", "; ".join(unfit), "`make install`")]
    shown = [f"{r.name} {metadata.version(r.name)}" for r in wanted if r.name in _SHOWN]
    return [*checks, ok("packages", ", ".join(shown) or f"{len(wanted)} that fit")]


def _at_least(name: str, found: tuple[int, ...], oldest: tuple[int, ...], shown: str) -> Check:
    if found >= oldest:
        return ok(name, shown)
    needed = ".".join(map(str, oldest))
    return problem(name, f"{shown} is too old", f"use {needed} or newer")


def _unfit(requirement: Requirement) -> str:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, not {requirement.specifier}"


def time_zones() -> Check:
    """Check that there are time zones: weeks start at midnight in one."""
    known = len(zoneinfo.available_timezones())
    if known:
        return ok("time zones", f"{known} known")
    return problem("time zones", "none is known", "install the system's tzdata, or PyPI's")
