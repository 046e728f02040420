"""What a cutover is decided by: a fresh copy of the source, and where every table stands.

Everything here only reads. The copy lies in a workspace of the state folder and is gone afterwards;
it is no cut of any week.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from migration_assets.cutover.label import next_label, open_week
from migration_assets.errors import MigrationError, SettingsError, SourceError, TransformError
from migration_assets.evolving import follow
from migration_assets.findings import Quarantined
from migration_assets.mapping.evolution import Evolution
from migration_assets.migration import Migration
from migration_assets.model import AcceptedRow, Catalog, Cut, Head, Hold, SourceTable, TableMapping
from migration_assets.source import cut as cuts
from migration_assets.source import taking
from migration_assets.source.catalog import matches, select
from migration_assets.source.reader import catalog_in
from migration_assets.state import LocalState
from migration_assets.target import exceptions, figures, ledger, quarantine
from migration_assets.target.connection import Connection, connect, require_writer, translated
from migration_assets.weeks import weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLook:
    """One chosen table: its shape in the copy, its head, and how its mapping follows to the copy.

    `problem` says why that can't be told.
    """

    shape: SourceTable
    head: Head | None = None
    evolution: Evolution | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Its name at the source."""
        return self.shape.name

    @property
    def mapping(self) -> TableMapping | None:
        """The mapping that it will have at the final cut."""
        return self.evolution.mapping if self.evolution else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that was found; `gone` are loaded tables that the source has no more."""

    opened: date
    label: date
    folder: Path
    copy: Cut
    catalog: Catalog
    tables: tuple[TableLook, ...]
    gone: tuple[str, ...]
    held: dict[str, Hold]
    quarantined: tuple[Quarantined, ...]
    exceptions: dict[str, tuple[AcceptedRow, ...]]
    moves: dict[str, float]
    database_bytes: int
    server: str

    @property
    def pairs(self) -> list[tuple[SourceTable, TableMapping]]:
        """The tables that can stand on the target, with their mappings at the final cut."""
        return [(t.shape, t.mapping) for t in self.tables if t.mapping is not None]


@contextmanager
def looked(migration: Migration, now: datetime) -> Generator[Look]:
    """Lend what is found, with the copy of the source, which is gone afterwards."""
    opened = open_week(weeks(migration.settings, migration.state, now), now)
    with migration.state.workspace() as folder:
        with connect(migration.target) as connection:
            where = f"target {migration.target.name}"
            with translated(where):
                require_writer(connection, where)
                taken = _taken(migration, connection)
                label = next_label(opened, taken)
                copy = copied(migration, folder, label)
                found = _look(
                    migration, connection, opened=opened, label=label, folder=folder, copy=copy
                )
        yield found


def copied(migration: Migration, folder: Path, label: date) -> Cut:
    """Copy the source as a cut is taken, into a folder that isn't the state's."""
    settings = migration.settings
    apart = LocalState(folder / "look", patience=settings.lock_timeout)
    return taking.take(
        apart, migration.source, settings.source, label, timeout=settings.source_timeout
    )


def _taken(migration: Migration, connection: Connection) -> list[date]:
    """Return the weeks of all cuts and heads there are."""
    found = [cut.week for cut in cuts.cuts(migration.state, migration.source)]
    if ledger.exists(connection):
        found += ledger.head_weeks(connection, migration.source).values()
    return found


def _look(
    migration: Migration,
    connection: Connection,
    *,
    opened: date,
    label: date,
    folder: Path,
    copy: Cut,
) -> Look:
    settings, source = migration.settings, migration.source
    catalog = select(catalog_in(copy), settings.include, settings.exclude)
    there = ledger.exists(connection)
    loaded = ledger.head_weeks(connection, source) if there else {}
    names = {t.name for t in catalog.tables}
    return Look(
        opened=opened,
        label=label,
        folder=folder,
        copy=copy,
        catalog=catalog,
        tables=tuple(
            _table(migration, connection, shape, copy) if there else TableLook(shape=shape)
            for shape in catalog.tables
        ),
        gone=tuple(_gone(loaded, names, settings.exclude)),
        held=ledger.holds(connection, source) if there else {},
        quarantined=tuple(quarantine.summary(connection, source, keys=0) if there else ()),
        exceptions=exceptions.by_table(connection, source),
        moves=figures.last_moves(connection, source) if there else {},
        database_bytes=figures.database_size(connection),
        server=str(connection.info.parameter_status("server_version")),
    )


def _gone(loaded: Iterable[str], names: set[str], exclude: tuple[str, ...]) -> list[str]:
    return [name for name in loaded if name not in names and not matches(name, exclude)]


def _table(
    migration: Migration, connection: Connection, shape: SourceTable, copy: Cut
) -> TableLook:
    head = ledger.head(connection, migration.source, shape.name)
    if head is None:
        return TableLook(shape=shape)

    def older() -> Cut:
        return cuts.find(migration.state, migration.source, head.cut)

    try:
        base = ledger.sealed_mapping(connection, head.mapping_hash)
        evolution = follow(migration.settings, base, shape, copy, older=older)
    except (SettingsError, TransformError, SourceError) as error:
        return TableLook(shape=shape, head=head, problem=_short(error))
    return TableLook(shape=shape, head=head, evolution=evolution)


def _short(error: MigrationError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what
