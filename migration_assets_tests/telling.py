"""Migrations whose settings say something of a table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from migration_assets.model import ColumnOverride, TableOverride
from migration_assets.settings import Settings
from migration_assets.step import Migration


class Told(Settings):
    """Settings that say something of tables."""

    told: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies a default

    def override(self, table: str) -> TableOverride:
        """Return what is said of a table."""
        return self.told.get(table, TableOverride())


def telling(migration: Migration, table: str = "item", **said: object) -> Migration:
    """Return the migration whose settings say this of a table, and nothing else."""
    told = replace(TableOverride(), **said)  # pyright: ignore[reportArgumentType] - any field
    fields: dict[str, Any] = {**migration.settings.model_dump(), "told": {table: told}}
    return replace(migration, settings=Told(**fields))


def columns(**told: Mapping[str, Any]) -> dict[str, ColumnOverride]:
    """Return what is said of columns."""
    return {name: ColumnOverride(**said) for name, said in told.items()}
