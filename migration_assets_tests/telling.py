"""Migrations whose settings say something of a table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from migration_assets.migration import Migration
from migration_assets.settings import Settings


def telling(migration: Migration, table: str = "item", **said: object) -> Migration:
    """Return the migration whose settings say this of a table, and nothing else of tables."""
    fields: dict[str, Any] = {**migration.settings.model_dump(), "tables": {table: said}}
    return replace(migration, settings=Settings(**fields))


def columns(**told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what is said of columns."""
    return dict(told)
