"""A table's delta for a week: the stored one where it fits the step, else one that is made."""

import logging

from migration_assets.errors import StateError
from migration_assets.migration import Migration
from migration_assets.model import Cut, Delta, Head, Scope, SourceTable, TableMapping
from migration_assets.source import cut as cuts
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.target import ledger
from migration_assets.target.connection import Connection

_log = logging.getLogger(__name__)


def covered_delta(
    migration: Migration, connection: Connection, table: str, cut: Cut, head: Head
) -> Delta:
    """Return the delta of a week that the head covers: as it was stored, else an empty one."""
    stored = delta_files.find(migration.state, migration.source, table, cut.week)
    damage = _damage(migration, table, cut)
    if stored is not None and stored.cut == cut.id and not damage:
        return stored
    return delta_files.write(
        migration.state,
        (),
        ledger.sealed_mapping(connection, head.mapping_hash),
        week=cut.week,
        base=cut,
        cut=cut,
        scope=Scope.CHANGES,
        rebuilt=damage,
    )


def stored_delta(
    migration: Migration, mapping: TableMapping, cut: Cut, head: Head | None, *, whole: bool
) -> Delta | None:
    """Return the stored delta if it starts at the head, is intact, and ends at this cut.

    One of another mapping is never used. Where the cut has to be staged whole, only one that is,
    and only there: one that a run left which was told to displace would write over kept rows.
    """
    scope = Scope.EVERYTHING if whole or head is None else Scope.CHANGES
    delta = delta_files.find(migration.state, migration.source, mapping.table, cut.week)
    if delta is None or delta.cut != cut.id or delta.base_cut != (head.cut if head else None):
        return None
    if delta.mapping_hash != mapping.hash or delta.scope is not scope:
        return None
    try:
        delta_files.check(delta)
    except StateError:
        return None  # what is made in its place names it
    return delta


def compute(
    migration: Migration,
    mapping: TableMapping,
    shape: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    whole: bool,
) -> Delta:
    """Compare head and cut, or read the whole cut, and store the delta."""
    base = cuts.find(migration.state, migration.source, head.cut) if head else None
    with migration.state.workspace() as scratch:
        if base is None or whole:
            scope, steps = Scope.EVERYTHING, compare_cuts.everything(cut, shape, mapping)
        else:
            cuts.check(base)
            scope = Scope.CHANGES
            steps = compare_cuts.changes(base, cut, shape, mapping, scratch=scratch)
        return delta_files.write(
            migration.state,
            steps,
            mapping,
            week=cut.week,
            base=base,
            cut=cut,
            scope=scope,
            rebuilt=_damage(migration, mapping.table, cut),
        )


def _damage(migration: Migration, table: str, cut: Cut) -> str:
    """Say what is wrong with a stored delta, which is made again then, in the log, too."""
    found = delta_files.damage(migration.state, migration.source, table, cut.week)
    if found:
        _log.warning("%s; it is made again from its cuts", found)
    return found
