"""What a run of one week asks for: the assets of its tables, those on hold left out."""

from collections.abc import Iterable

import dagster as dg

from migration_assets.defs.assets import AURORA_SCHEMA, SOURCE_CUT
from migration_assets.defs.resources import open_migration
from migration_assets.defs.tables import aurora_key, delta_key
from migration_assets.errors import MigrationError
from migration_assets.migration import Migration
from migration_assets.model import Hold
from migration_assets.settings import Settings
from migration_assets.standing import holds

PARTITION_TAG = "dagster/partition"
_PATIENCE = 2.0  # seconds that a question may wait for the target; a run has its own patience


def selection(tables: Iterable[str], *, only_targets: bool = False) -> list[dg.AssetKey]:
    """Return the assets that carry these tables; `only_targets` leaves cut and deltas out."""
    names = list(tables)
    targets = [aurora_key(name) for name in names]
    if only_targets:
        return targets
    return [SOURCE_CUT, AURORA_SCHEMA, *(delta_key(name) for name in names), *targets]


def open_briefly(settings: Settings) -> Migration:
    """Open the migration for a question that is not worth a long wait."""
    patience = min(_PATIENCE, settings.connect_patience)
    return open_migration(
        settings.model_copy(update={"connect_patience": patience, "retry_patience": 0.0})
    )


def holds_now(settings: Settings) -> dict[str, Hold]:
    """Return the tables on hold; none where the target can't be asked.

    Nothing is risked by that: the step itself refuses a table on hold.
    """
    try:
        return holds(open_briefly(settings))
    except MigrationError:
        return {}
