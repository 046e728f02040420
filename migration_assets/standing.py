"""Where tables stand: status by weeks, the proof of this moment, what else is found at them.

Everything here only reads, at the source's cuts and at the target.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, LiteralString, NamedTuple

from migration_assets.errors import (
    MigrationError,
    SettingsError,
    StateError,
    TransformError,
    TransientError,
)
from migration_assets.evolving import follow
from migration_assets.findings import (
    Difference,
    Finding,
    ForeignKeyCheck,
    Inspection,
    Quarantined,
    RoundTrip,
    Verified,
    Violation,
)
from migration_assets.mapping.evolution import Evolution
from migration_assets.migration import Migration, persistent
from migration_assets.model import (
    AcceptedRow,
    Cut,
    Head,
    Hold,
    SourceTable,
    TableMapping,
    TableOverride,
)
from migration_assets.report.answers import TableProof
from migration_assets.report.checks import exception_lines
from migration_assets.report.status import Status, status
from migration_assets.sessions import ROUNDS, overtaken
from migration_assets.source import cut as cuts
from migration_assets.source.catalog import matches, select
from migration_assets.source.reader import catalog_in, table_in
from migration_assets.source.violations import violating_rows
from migration_assets.step import cut_for
from migration_assets.target import exceptions, ledger, quarantine
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.verify.expect import expect
from migration_assets.verify.foreign_keys import check_foreign_keys
from migration_assets.verify.prove import attributed, prove
from migration_assets.verify.round_trip import round_trip
from migration_assets.verify.schema import columns_differ, compare_schema

_SNAPSHOT: LiteralString = "REPEATABLE READ READ ONLY"


@persistent
def schema_drift(migration: Migration, week: date) -> dict[str, list[str]]:
    """Return, per table that was loaded before, how the week's cut differs from its mapping."""
    cut = cut_for(migration, week)
    catalog = catalog_in(cut)
    found: dict[str, list[str]] = {}
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        for name, stands in ledger.head_weeks(connection, migration.source).items():
            gone = catalog.table(name) is None and stands <= cut.week
            if gone and not matches(name, migration.settings.exclude):
                found[name] = ["to confirm: the table is gone (add it to `exclude`)"]
        for table in catalog.tables:
            head = ledger.head(connection, migration.source, table.name)
            if head is None or head.week > cut.week:
                continue
            base = ledger.sealed_mapping(connection, head.mapping_hash)
            evolution = _follow(migration, base, table, cut, head)
            if evolution.changed or evolution.unsafe:
                unsafe = (f"to confirm: {f.what} ({f.to_do})" for f in evolution.unsafe)
                found[table.name] = [*unsafe, *evolution.changes]
    return found


def _follow(
    migration: Migration, base: TableMapping, table: SourceTable, cut: Cut, head: Head
) -> Evolution:
    """Tell how a sealed mapping follows its table to a cut; values aren't looked at for policies.

    Where the cut of the head is lost, which columns were renamed can't be told.
    """

    def older() -> Cut | None:
        try:
            return cuts.find(migration.state, migration.source, head.cut)
        except StateError:
            return None

    try:
        return follow(migration.settings, base, table, cut, older=older, policies=False)
    except (SettingsError, TransformError) as error:
        # What stands can be proved whatever the settings say; the next load is what stops.
        wrong = Finding(what=f"{error.where}: {error.what}", to_do=error.hint or error.expected)
        return Evolution(base=base, mapping=base, unsafe=(wrong,))


@persistent
def standing(migration: Migration, tables: Iterable[str], weeks: Sequence[date]) -> Status:
    """Return where the tables stand in these weeks, from ledger and attempts."""
    entries: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    held: dict[str, Hold] = {}
    known: dict[str, tuple[AcceptedRow, ...]] = {}
    where = f"target {migration.target.name}"
    with connect(migration.target) as connection, translated(where):
        if ledger.exists(connection):
            entries = ledger.entries(connection, migration.source)
            attempts = ledger.attempts(connection, migration.source)
            held = ledger.holds(connection, migration.source)
            known = exceptions.by_table(connection, migration.source)
    found = status(tables=tables, weeks=weeks, entries=entries, attempts=attempts, holds=held)
    show = migration.settings.show_keys
    named = {t: exception_lines(rows, show_keys=show) for t, rows in known.items()}
    return replace(found, exceptions={t: said for t, said in named.items() if t in found.cells})


@persistent
def holds(migration: Migration) -> dict[str, Hold]:
    """Return the tables that are on hold, by name."""
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        return ledger.holds(connection, migration.source)


@persistent
def heads_and_holds(migration: Migration) -> tuple[dict[str, date], dict[str, Hold]]:
    """Return the week at which each table stands, and the tables that are on hold.

    One connection and three short queries, for those who ask often. Without a ledger nothing
    stands anywhere.
    """
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        if not ledger.exists(connection):
            return {}, {}
        return (
            ledger.head_weeks(connection, migration.source),
            ledger.holds(connection, migration.source),
        )


_SHOWN_KEYS = 3  # of a table's quarantined rows


@persistent
def quarantined(migration: Migration) -> list[Quarantined]:
    """Return the tables that have rows in quarantine; keys only where they are to be shown."""
    keys = _SHOWN_KEYS if migration.settings.show_keys else 0
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        if not ledger.exists(connection):
            return []
        return quarantine.summary(connection, migration.source, keys=keys)


@persistent
def verify(migration: Migration, table: str) -> Verified | None:
    """Prove a table against its head's cut as it stands now, and inspect it; None if never loaded.

    Both sides are read whole; the target in one REPEATABLE READ snapshot, read only, which opens
    after the cut was read: a snapshot that waits for that would hold back the server's clean-up.
    """
    with connect(migration.target) as connection, translated(f"table {table}"):
        for found in _at_head(migration, connection, table):
            known = exceptions.accepted(connection, migration.source, table)
            watched = {row.key_hash for row in known}
            expected = expect(found.cut, found.shape, found.mapping, watched)
            with transaction(connection, _SNAPSHOT):
                if _still(migration, connection, found):
                    known = exceptions.accepted(connection, migration.source, table)
                    proof, actual = prove(
                        connection, found.mapping, found.cut, found.shape, expected, accepted=known
                    )
                    proof = attributed(
                        connection,
                        found.head,
                        proof,
                        expected=expected,
                        actual=actual,
                        guarded=migration.settings.write_guard == "log",
                    )
                    inspection = _inspect(migration, connection, found, read_back=None)
                    return Verified(proof=proof, mapping=found.mapping, inspection=inspection)
    return None


def prove_table(migration: Migration, table: str, required: date | None = None) -> TableProof:
    """Verify one table for people; what stops its proof doesn't keep others from being proved."""
    try:
        found = verify(migration, table)
    except (SettingsError, TransientError):
        raise  # no other table would do better
    except MigrationError as error:
        return TableProof(table=table, required=required, error=str(error))
    if found is None:
        return TableProof(table=table, required=required)
    return TableProof(
        table=table, required=required, proof=found.proof, inspection=found.inspection
    )


@persistent
def inspect(
    migration: Migration, table: str, *, read_back: RoundTrip | None = None
) -> Inspection | None:
    """Read a sample back, compare schemas, check foreign keys: all that needs no reading in full.

    Against the cut of the table's head; None before its first load. `read_back` stands in for
    the sample where a move has just read one back.
    """
    with connect(migration.target) as connection, translated(f"table {table}"):
        for found in _at_head(migration, connection, table):
            with transaction(connection, _SNAPSHOT):
                if _still(migration, connection, found):
                    return _inspect(migration, connection, found, read_back=read_back)
    return None


class _AtHead(NamedTuple):
    """A table with its head, and the cut and mapping at which it stands."""

    head: Head
    mapping: TableMapping
    cut: Cut
    shape: SourceTable


def _at_head(migration: Migration, connection: Connection, table: str) -> Iterator[_AtHead]:
    """Yield where the table stands, again after another run has moved it meanwhile.

    Ends at once before the first load; raises when it was moved too often.
    """
    if not ledger.exists(connection):
        return
    for _ in range(ROUNDS):
        head = ledger.head(connection, migration.source, table)
        if head is None:
            return
        cut = cuts.find(migration.state, migration.source, head.cut)
        cuts.check(cut)
        mapping = ledger.sealed_mapping(connection, head.mapping_hash)
        yield _AtHead(head, mapping, cut, table_in(cut, table))
    raise overtaken(f"table {table}")


def _still(migration: Migration, connection: Connection, found: _AtHead) -> bool:
    """Tell whether the table's head is, in this snapshot, the one that was looked at."""
    return ledger.head(connection, migration.source, found.mapping.table) == found.head


def _inspect(
    migration: Migration, connection: Connection, found: _AtHead, *, read_back: RoundTrip | None
) -> Inspection:
    newest, drift, pending = _drift(migration, found)
    schema = compare_schema(
        connection, found.mapping, cut_week=newest, drift=drift, pending=pending
    )
    schema = replace(schema, violations=_violations(found))
    return Inspection(
        week=found.head.week,
        mapping=found.mapping,
        round_trip=read_back or _read_back(connection, found),
        schema=schema,
        foreign_keys=_foreign_keys(migration, connection, found),
    )


def _violations(found: _AtHead) -> tuple[Violation, ...]:
    """Name the deferred constraints that rows of the head's cut violate."""
    counted = violating_rows(found.cut, found.shape, found.mapping)
    return tuple(
        Violation(constraint=f"{o.kind} {o.name} ({o.original})", rows=rows)
        for o, rows in counted.items()
        if rows != 0
    )


def _drift(
    migration: Migration, found: _AtHead
) -> tuple[date, tuple[Finding, ...], tuple[str, ...]]:
    """Name how the newest cut differs from the mapping: what the next load will meet.

    Returns that cut's week, what a person has to confirm, and what the load will do by itself.
    """
    newest = cuts.cuts(migration.state, migration.source)[-1]
    table = catalog_in(newest).table(found.mapping.table)
    if table is None:
        gone = Finding(
            what=f"table {found.mapping.table} is gone",
            to_do="restore it at the source, or leave it out with `exclude`: the target's table"
            " stays as it is",
        )
        return newest.week, (gone,), ()
    if newest.id == found.cut.id and migration.settings.override(table.name) == TableOverride():
        return newest.week, (), ()  # nothing can have changed, so nothing has to be looked up
    evolution = _follow(migration, found.mapping, table, newest, found.head)
    return newest.week, evolution.unsafe, evolution.changes if evolution.changed else ()


def _read_back(connection: Connection, found: _AtHead) -> RoundTrip:
    if not columns_differ(connection, found.mapping):
        mapping = found.mapping
        return round_trip(
            connection,
            mapping,
            found.cut,
            found.shape,
            target_rows=found.head.rows,
            accepted=exceptions.accepted(connection, mapping.source, mapping.table),
        )
    what = "nothing could be read back: the target's columns are not those of the mapping"
    return RoundTrip(
        week=found.cut.week,
        cut=found.cut.id,
        changed_rows=0,
        sampled_rows=0,
        differences=(Difference(key="", what=what),),
    )


def _foreign_keys(
    migration: Migration, connection: Connection, found: _AtHead
) -> tuple[ForeignKeyCheck, ...]:
    if not found.shape.foreign_keys:
        return ()
    settings = migration.settings
    catalog = select(catalog_in(found.cut), settings.include, settings.exclude)
    return check_foreign_keys(
        connection,
        found.mapping,
        found.cut,
        found.shape,
        tables={t.name for t in catalog.tables},
        left_out=catalog.left_out,
    )
