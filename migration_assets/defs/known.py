"""What is known without asking source or target: the calendar, and the tables as last seen."""

from datetime import datetime

from migration_assets.defs.resources import state_of
from migration_assets.model import Catalog
from migration_assets.settings import Settings
from migration_assets.source.catalog import cached, read_catalog, remember, select
from migration_assets.source.connection import open_source, translated
from migration_assets.state import State
from migration_assets.weeks import Weeks, weeks


def calendar_of(settings: Settings, now: datetime) -> Weeks:
    """Return the weeks of these settings."""
    return weeks(settings, state_of(settings), now)


def tables_of(settings: Settings) -> list[str]:
    """Return the names of the tables that the settings don't leave out."""
    catalog = known_catalog(settings, state_of(settings))
    return [t.name for t in select(catalog, settings.include, settings.exclude).tables]


def known_catalog(settings: Settings, state: State) -> Catalog:
    """Return the cached catalog; before the first time, read it from the source."""
    catalog = cached(state, settings.source_name)
    if catalog is not None:
        return catalog
    with (
        open_source(settings.source, timeout=settings.source_timeout) as (connection, _),
        translated(f"source {settings.source}"),
    ):
        return remember(state, read_catalog(connection, settings.source_name))
