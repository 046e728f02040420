"""Repair: exactly the rows in which a table differs from its head's cut are put right, and proved.

What is found is found in one snapshot, before the transaction that writes; that one starts by
making sure that the target is still what was looked at. The move is an entry of the ledger at the
head's own cut, the rows it replaced are kept, so it can be taken back. A table on hold may be
repaired: it stays where it stands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import LiteralString

from migration_assets.errors import MigrationError
from migration_assets.findings import Moved, Outcome, Proof
from migration_assets.model import (
    AcceptedRow,
    Change,
    Cut,
    Digest,
    Expected,
    Head,
    Misfit,
    Op,
    Scope,
    SourceTable,
    TableMapping,
)
from migration_assets.source import cut as cuts
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.source.reader import table_in
from migration_assets.step import ROUNDS, Migration, alone, note, overtaken, session
from migration_assets.target import ddl, exceptions, ledger
from migration_assets.target.connection import Connection, transaction
from migration_assets.target.move import Step, move
from migration_assets.target.repairing import Repairing, refuse_lost_columns
from migration_assets.verify.accepted import adjust
from migration_assets.verify.differing import Differing
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import prove

_SNAPSHOT: LiteralString = "REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a table stands, and the exceptions that are to hold there."""

    head: Head
    cut: Cut
    shape: SourceTable
    mapping: TableMapping
    accepted: tuple[AcceptedRow, ...]
    ended: tuple[AcceptedRow, ...]
    expected: Expected

    @property
    def where(self) -> str:
        return f"table {self.mapping.table}, week {self.cut.week}"


def repair(
    migration: Migration,
    table: str,
    *,
    run: str,
    kept: bool = False,
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved | None:
    """Put a table's differing rows right at its head's cut; None before its first load.

    Where nothing differs nothing is written. Rows that exceptions keep stay, unless `kept` rows are
    to be put right too: their exceptions end then. A failed attempt is noted, then raised.
    """
    with alone(migration, table), session(migration, table) as connection:
        for _ in range(ROUNDS):
            head = ledger.head(connection, migration.source, table)
            if head is None:
                return None
            try:
                moved = _repair(migration, connection, table, head, run=run, kept=kept, at=at)
            except MigrationError as error:
                note(migration, table, head.week, run, error)
                raise
            if moved is not None:
                return moved
    raise overtaken(f"table {table}")


def _repair(
    migration: Migration,
    connection: Connection,
    table: str,
    head: Head,
    *,
    run: str,
    kept: bool,
    at: Callable[[str], None],
) -> Moved | None:
    """Look, and put right what was found; None where that was overtaken."""
    place = _placed(migration, connection, table, head, kept=kept)
    at("prepared")
    with migration.state.workspace() as work:
        if ddl.read_table(connection, place.mapping) is None:
            step = _rebuilding(place, work, run=run)
            at("compared")
            return move(connection, migration.target, _shown(migration, step, at))
        with Differing(place.mapping, work / "target.sqlite") as differing:
            looked = _look(connection, place, differing)
            at("looked")
            if looked is None:
                return None
            proof, seen = looked
            if proof.holds and not place.ended:
                return Moved(
                    outcome=Outcome.COVERED, entry=head.entry, mapping=place.mapping, proof=proof
                )
            step = _righting(place, differing, proof, seen, work, run=run)
            at("compared")
            return move(connection, migration.target, _shown(migration, step, at))


def _shown(migration: Migration, step: Step, at: Callable[[str], None]) -> Step:
    return replace(step, show_keys=migration.settings.show_keys, at=at)


def _placed(
    migration: Migration, connection: Connection, table: str, head: Head, *, kept: bool
) -> _Place:
    """Gather where the table stands; the cut is read whole."""
    cut = cuts.find(migration.state, migration.source, head.cut)
    cuts.check(cut)
    shape = table_in(cut, table)
    mapping = ledger.sealed_mapping(connection, head.mapping_hash)
    known = exceptions.accepted(connection, migration.source, table)
    return _Place(
        head=head,
        cut=cut,
        shape=shape,
        mapping=mapping,
        accepted=() if kept else known,
        ended=known if kept else (),
        expected=expect(cut, shape, mapping, {row.key_hash for row in known}),
    )


def _look(
    connection: Connection, place: _Place, differing: Differing
) -> tuple[Proof, Digest] | None:
    """Prove the table in one snapshot, and note what of it differs; None where it has moved on."""
    mapping = place.mapping
    with transaction(connection, _SNAPSHOT):
        if ledger.head(connection, mapping.source, mapping.table) != place.head:
            return None
        present = ddl.read_table(connection, mapping)
        if present is None:
            return None
        refuse_lost_columns(mapping, present, place.where)
        proof, seen = prove(
            connection, mapping, place.cut, place.shape, place.expected, accepted=place.accepted
        )
        differing.read_target(
            connection,
            wanted=adjust(place.expected.digest, proof.accepted),
            actual=seen,
            accepted=proof.accepted,
        )
    return proof, seen


def _righting(
    place: _Place, differing: Differing, proof: Proof, seen: Digest, work: Path, *, run: str
) -> Step:
    """Return the step that writes the cut's rows where the target lacks them or has others."""
    requarantine = not proof.quarantine_equal

    def steps() -> Iterator[Change | Misfit]:
        for found in differing.lacking(place.cut, place.shape, unfit=requarantine):
            if isinstance(found, Misfit):
                yield found
            else:
                op = Op.INSERT if found.target_hash is None else Op.UPDATE
                yield Change(op=op, old_hash=found.target_hash, values=found.values)

    delta = delta_files.write_apart(
        work,
        steps(),
        place.mapping,
        week=place.cut.week,
        base=place.cut,
        cut=place.cut,
        scope=Scope.CHANGES,
    )
    return Step(
        cut=place.cut,
        table=place.shape,
        mapping=place.mapping,
        head=place.head,
        delta=replace(delta, deletes=differing.extra_rows),
        expected=place.expected,
        run=run,
        repairing=Repairing(
            seen=seen,
            extras=lambda: ((extra.row_hash, extra.copies) for extra in differing.extras()),
            requarantine=requarantine,
            ended=place.ended,
        ),
    )


def _rebuilding(place: _Place, work: Path, *, run: str) -> Step:
    """Return the step that makes a table anew which is gone from the target, from its cut."""
    delta = delta_files.write_apart(
        work,
        compare_cuts.everything(place.cut, place.shape, place.mapping),
        place.mapping,
        week=place.cut.week,
        base=None,
        cut=place.cut,
        scope=Scope.EVERYTHING,
    )
    return Step(
        cut=place.cut,
        table=place.shape,
        mapping=place.mapping,
        head=place.head,
        delta=delta,
        expected=place.expected,
        run=run,
        repairing=Repairing(seen=None, extras=tuple),
    )
