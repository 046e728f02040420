"""A rehearsal: the whole cutover in a schema of its own, from a copy of the source as it is now.

Every table is loaded anew there, proved and signed off, constraints and views are made over it, and
each stage is measured. The target's own tables, their heads and the ledger aren't touched; the
application may go on writing to the source. The schema is gone at the end, whatever happens.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from migration_assets.cutover import backup, checks, objects
from migration_assets.cutover.changed import differences
from migration_assets.cutover.journal import Journal
from migration_assets.cutover.look import Look, copied, looked
from migration_assets.cutover.objects import Making, Planned
from migration_assets.cutover.proofs import signed
from migration_assets.errors import MigrationError, ProofError
from migration_assets.mapping.document import sealed
from migration_assets.migration import Migration
from migration_assets.model import Cut, Scope, SourceTable, TableMapping
from migration_assets.report.certificate import Certificate, ProvedTable
from migration_assets.source import delta_files
from migration_assets.source.delta import everything
from migration_assets.state import LocalState
from migration_assets.target import constraints, dump, scratch, staging
from migration_assets.target.apply import insert_all
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.target.identity import restart_identity
from migration_assets.target.making import make_indexes, make_table
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import target_digest
from migration_assets.verify.round_trip import round_trip

Pairs = Sequence[tuple[SourceTable, TableMapping]]


def rehearse(
    migration: Migration,
    *,
    acknowledged: frozenset[str] = frozenset(),
    keep: bool = False,
    now: datetime | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Certificate:
    """Rehearse the cutover; return its certificate, which is also written to the state folder.

    `keep` leaves the schema for people to look at; the next rehearsal drops it. What stops the
    rehearsal is raised, after the certificate of what was done was written.
    """
    schema = scratch.name_of(migration.target.schema)
    journal = Journal(
        kind="rehearsal", migration=migration, schema=schema, acknowledged=acknowledged, say=say
    )
    with migration.state.lock("cutover", purpose="a rehearsal of the cutover"):
        try:
            with looked(migration, now or datetime.now(UTC)) as look:
                _rehearse(journal, look, schema)
            if not keep:
                _drop(journal, schema)
        except MigrationError as error:
            with suppress(MigrationError):  # what stopped it is what has to be said
                _drop(journal, schema)
                journal.keep(f"{error.where}: {error.what}" if error.where else error.what)
            raise
        return journal.keep(_stopped(journal))


def _stopped(journal: Journal) -> str:
    bad = [c.name for c in journal.conditions if c.stops(journal.acknowledged)]
    return f"as things stand, these would stop it: {', '.join(bad)}" if bad else ""


def _rehearse(journal: Journal, look: Look, schema: str) -> None:
    migration, cut = journal.migration, look.copy
    journal.cut = cut
    journal.server = look.server
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        with journal.stage("conditions") as tell:
            planned = objects.plan(
                connection, look.pairs, look.catalog.views, cut, migration.target.schema
            )
            journal.conditions = checks.conditions(migration, connection, look, planned)
            tell(f"{len(look.tables)} tables, {len(planned.wanted)} objects tried")
        _back_up(journal, look.folder)
        scratch.make(connection, schema)
        pairs = _load(journal, connection, look, schema)
        _sign(journal, connection, look, pairs)
    with journal.stage("second look") as tell:
        tell(_look_again(journal, look, pairs))
    _make(journal, planned, pairs, cut, schema)


def _back_up(journal: Journal, folder: Path) -> None:
    """Take a dump to measure it, and drop it; a snapshot of a cluster isn't rehearsed."""
    migration = journal.migration
    with journal.stage("backup") as tell:
        if migration.settings.backup != "pg_dump":
            tell(f"{migration.settings.backup}: not rehearsed")
            return
        with connect(migration.target) as connection:
            programs = dump.find(dump.server_major(connection))
            tables = backup.tables(migration, connection)
        file = folder / "rehearsed.dump"
        dump.dump(programs, migration.target, file)
        dump.check(programs, file, tables)
        tell(f"pg_dump, {file.stat().st_size:,} bytes, complete, not kept")
        file.unlink()


def _load(
    journal: Journal, connection: Connection, look: Look, schema: str
) -> list[tuple[SourceTable, TableMapping]]:
    """Load and prove every table that has a mapping; return them as they stand in the schema."""
    loaded: list[tuple[SourceTable, TableMapping]] = []
    with journal.stage("loads and proofs") as tell:
        for shape, mapping in look.pairs:
            journal.say(f"loading {shape.name}")
            within = sealed(replace(mapping, target_schema=schema))
            with translated(f"rehearsal, table {shape.name}"):
                loaded.append((shape, _load_one(journal, connection, look, shape, within)))
        rows = sum(t.target_rows for t in journal.tables)
        tell(f"{len(loaded)} tables, {rows:,} rows: digests of both sides are equal")
    return loaded


def _load_one(
    journal: Journal,
    connection: Connection,
    look: Look,
    shape: SourceTable,
    mapping: TableMapping,
) -> TableMapping:
    cut = look.copy
    delta = delta_files.write(
        LocalState(look.folder / "deltas"),
        everything(cut, shape, mapping),
        mapping,
        week=cut.week,
        base=None,
        cut=cut,
        scope=Scope.EVERYTHING,
    )
    with transaction(connection, "READ COMMITTED"):
        staging.stage(connection, mapping, delta, delta_files.row_batches(delta))
        mapping = make_table(connection, mapping, shape, delta)
        inserted = insert_all(connection, mapping)
        mapping = make_indexes(connection, mapping, shape)
        restart_identity(connection, mapping, cut, shape)
        proved = _proved(connection, mapping, shape, cut)
        journal.tables.append(replace(proved, inserted=inserted))
        connection.execute("COMMIT")
    return mapping


def _proved(
    connection: Connection, mapping: TableMapping, shape: SourceTable, cut: Cut
) -> ProvedTable:
    """Compare both sides as every load does; rows that don't fit are counted, and a condition."""
    expected = expect(cut, shape, mapping)
    actual = target_digest(connection, mapping)
    read_back = round_trip(connection, mapping, cut, shape, target_rows=actual.rows)
    if actual != expected.digest or not read_back.holds:
        raise ProofError(
            what=f"the rehearsal's table is not equal to the copy: {expected.digest.rows:,} rows"
            f" that fit at the source, {actual.rows:,} on the target",
            where=f"rehearsal, table {shape.name}",
            expected="equal digests, and rows that come back as they are",
            hint="report it; the target's own tables were not touched",
        )
    return ProvedTable(
        table=shape.name,
        source_rows=expected.source_rows,
        target_rows=actual.rows,
        quarantined=expected.unfit_rows,
        algorithm=actual.algorithm,
        source_digest=expected.digest.total,
        target_digest=actual.total,
        read_back=read_back.sampled_rows,
    )


def _sign(journal: Journal, connection: Connection, look: Look, pairs: Pairs) -> None:
    with journal.stage("sign-off") as tell:
        for shape, mapping in pairs:
            found = signed(connection, look.copy, shape, mapping, folder=look.folder)
            journal.sign_offs.append(found)
        tell(f"{len(pairs)} tables: sha256 of both ordered streams are equal")


def _look_again(journal: Journal, look: Look, pairs: Pairs) -> str:
    """Say what the application wrote meanwhile: in a rehearsal it may."""
    folder = look.folder / "again"
    folder.mkdir()
    copy = copied(journal.migration, folder, look.label)
    found = differences(look.copy, copy, pairs, look.folder)
    said = "; ".join(found) or "no change"
    journal.second_look = f"{copy.taken_at}: {said}"
    return said


def _make(journal: Journal, planned: Planned, pairs: Pairs, cut: Cut, schema: str) -> None:
    mappings = {mapping.table: mapping for _, mapping in pairs}
    wanted = [
        replace(w, schema=schema, mapping=mappings[w.table] if w.mapping else None)
        for w in planned.wanted
    ]
    with journal.stage("constraints and views") as tell:
        made = objects.make(Making(target=journal.migration.target, tolerant=True), wanted)
        journal.made += made.objects
        journal.left_out = [*planned.impossible, *planned.violated, *made.left_out]
        tell(f"{len(made.objects)} stand, {len(journal.left_out)} left out")
    with (
        journal.stage("statistics") as tell,
        connect(journal.migration.target) as connection,
        translated(f"rehearsal, cut {cut.id}"),
    ):
        for _, mapping in pairs:
            constraints.analyze(connection, mapping)
        tell(f"{len(pairs)} tables analyzed")


def _drop(journal: Journal, schema: str) -> None:
    with (
        journal.stage("clean-up") as tell,
        connect(journal.migration.target) as connection,
        translated(f"rehearsal, schema {schema}"),
    ):
        scratch.drop(connection, schema)
        tell(f"schema {schema} is gone")
