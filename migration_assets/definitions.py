"""The one Definitions object that Dagster loads."""

from migration_assets.defs.build import from_environment

defs = from_environment()
