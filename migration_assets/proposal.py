"""The mapping that a table will have by its first load: census and settings, checked together."""

from migration_assets.mapping.overrides import check_columns, check_tables
from migration_assets.mapping.propose import propose
from migration_assets.model import Catalog, ColumnCensus, Cut, SourceTable, TableMapping
from migration_assets.settings import Settings
from migration_assets.source.casts import check_casts
from migration_assets.source.catalog import matches
from migration_assets.source.chosen import take_census_for
from migration_assets.source.reader import catalog_in, names_in, with_transform
from migration_assets.source.unique import require_said_key


def check_named(settings: Settings, catalog: Catalog) -> None:
    """Make sure that every table that the settings name is one of the source's.

    One that was dropped may be named still once it is excluded. Raises `SettingsError`.
    """
    check_tables(settings.of_tables, catalog, excluded=lambda name: matches(name, settings.exclude))


def propose_for(
    settings: Settings, cut: Cut, table: SourceTable, *, target_schema: str
) -> tuple[TableMapping, dict[str, ColumnCensus]]:
    """Return the proposed mapping of a table in a cut, and the census behind it.

    Raises `SettingsError` for what the settings say wrongly, of any table: a misspelt name may mean
    this one.
    """
    check_named(settings, catalog_in(cut))
    override = settings.override(table.name)
    check_columns(override, table)
    check_casts(table, override)
    census = take_census_for(cut, table, override)
    mapping = propose(
        table,
        census,
        target_schema=target_schema,
        names=names_in(cut, settings.targets)[table.name],
        override=override,
    )
    mapping = with_transform(cut, table, mapping)
    if override.key:
        require_said_key(cut, table, mapping, override)
    return mapping, census
