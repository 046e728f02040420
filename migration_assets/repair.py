"""Repair: exactly the rows in which a table differs from its head's cut are put right, and proved.

What is found is found in one snapshot, before the transaction that writes; that one starts by
making sure that the target is still what was looked at. The move is an entry of the ledger at the
head's own cut, the rows it replaced are kept, so it can be taken back. A table on hold may be
repaired: it stays where it stands.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import LiteralString

from migration_assets.attempts import note
from migration_assets.errors import GuardError, MigrationError, SettingsError
from migration_assets.findings import DifferingRow, Moved, Outcome, Proof, RepairPreview
from migration_assets.holds import who_says_so
from migration_assets.migration import Migration, persistent
from migration_assets.model import (
    AcceptedRow,
    Change,
    Cut,
    Delta,
    Digest,
    Expected,
    Head,
    Misfit,
    Op,
    Scope,
    SourceTable,
    TableMapping,
)
from migration_assets.sessions import ROUNDS, at_head, overtaken, reading
from migration_assets.source import cut as cuts
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.source.reader import table_in
from migration_assets.target import ddl, exceptions, ledger
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.target.move import move
from migration_assets.target.repairing import Keeping, Repairing, refuse_lost_columns
from migration_assets.target.step import Step
from migration_assets.verify.accepted import adjust
from migration_assets.verify.differing import Differing, Lacking, describe
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import attributed, prove

KEPT_MOST = 10_000  # rows that one word may keep: more are no exceptions
_RUN = "repair"  # what the ledger names as the run of an entry that no run made
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
    guarded: bool

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
    heads: list[Head] = []

    def do(connection: Connection, head: Head) -> Moved | None:
        heads.append(head)
        return _repair(migration, connection, table, head, run=run, kept=kept, at=at)

    try:
        return migration.until_done(
            f"repair of table {table}", lambda: at_head(migration, table, do)
        )
    except MigrationError as error:
        if heads:
            note(migration, table, heads[-1].week, run, error)
        raise


@persistent
def preview(migration: Migration, table: str, *, kept: bool = False) -> RepairPreview | None:
    """Return what a repair would do as the table stands now; None before its first load.

    Only reads. `kept` as for `repair`.
    """
    with (
        reading(migration),
        connect(migration.target) as connection,
        translated(f"table {table}"),
    ):
        for _ in range(ROUNDS):
            head = (
                ledger.head(connection, migration.source, table)
                if ledger.exists(connection)
                else None
            )
            if head is None:
                return None
            place = _placed(migration, connection, table, head, kept=kept)
            if ddl.read_table(connection, place.mapping) is None:
                fitting = place.expected.digest.rows
                return RepairPreview(
                    week=head.week, proof=None, insert=fitting, gone=True, ending=place.ended
                )
            found = _counted(migration, connection, place)
            if found is not None:
                return found
    raise overtaken(f"table {table}")


def _counted(migration: Migration, connection: Connection, place: _Place) -> RepairPreview | None:
    with (
        migration.state.workspace() as work,
        Differing(place.mapping, work / "target.sqlite") as differing,
    ):
        looked = _look(connection, place, differing)
        if looked is None:
            return None
        proof, _ = looked
        ops = Counter[bool]()
        if not proof.digest_equal:
            for found in differing.lacking(place.cut, place.shape):
                ops[isinstance(found, Lacking) and found.target_hash is not None] += 1
        return RepairPreview(
            week=place.head.week,
            proof=proof,
            insert=ops[False],
            update=ops[True],
            delete=0 if proof.digest_equal else differing.extra_rows,
            ending=place.ended,
        )


def keep_target(
    migration: Migration,
    table: str,
    *,
    reason: str,
    by: str | None = None,
    at: Callable[[str], None] = lambda _stage: None,
) -> tuple[AcceptedRow, ...]:
    """Let a table's differing rows stay as they are on the target: exceptions, which are returned.

    No row is written; an entry of the ledger says what stands from then on. `by` names who says so;
    the system user by default. Raises `SettingsError` without a reason, and `GuardError` where the
    rows are too many, or quarantine differs, which can only be repaired.
    """
    where = f"table {table}"
    if not reason.strip():
        raise SettingsError(
            what="rows that are kept need a reason",
            where=where,
            hint="say why (`--reason`), for those who find the exceptions",
        )
    text = " ".join(reason.split())

    def do(connection: Connection, head: Head) -> tuple[AcceptedRow, ...] | None:
        return _keep(migration, connection, table, head, reason=text, by=by or who_says_so(), at=at)

    kept = migration.until_done(
        f"rows of table {table} that are kept", lambda: at_head(migration, table, do)
    )
    return kept or ()


def _keep(
    migration: Migration,
    connection: Connection,
    table: str,
    head: Head,
    *,
    reason: str,
    by: str,
    at: Callable[[str], None],
) -> tuple[AcceptedRow, ...] | None:
    """Look, and accept what differs; None where that was overtaken."""
    place = _placed(migration, connection, table, head, kept=False)
    at("prepared")
    with (
        migration.state.workspace() as work,
        Differing(place.mapping, work / "target.sqlite") as differing,
    ):
        looked = _look(connection, place, differing)
        at("looked")
        if looked is None:
            return None
        proof, seen = looked
        if proof.holds:
            return ()
        if not proof.quarantine_equal:
            raise GuardError(
                what="quarantine differs from the cut too, and that can't be kept",
                where=place.where,
                expected="the cut's unfit rows in migration.quarantine",
                hint=f"`migration-assets repair {shlex.quote(table)}` makes it anew, with the rows",
            )
        rows = _described(connection, place, differing)
        if not migration.settings.show_keys:
            rows = tuple(replace(row, key="") for row in rows)
        step = _step(
            place,
            _delta(place, work, (), whole=False),
            Repairing(
                seen=seen,
                extras=tuple,
                ended=proof.lapsed,
                keeping=Keeping(rows=rows, reason=reason, by=by),
            ),
            run=f"{_RUN} --keep-target",
        )
        at("compared")
        if move(connection, migration.target, _shown(migration, step, at)) is None:
            return None
    numbers = {row.number for row in proof.accepted}
    known = exceptions.accepted(connection, migration.source, table)
    return tuple(row for row in known if row.number not in numbers)


def _described(
    connection: Connection, place: _Place, differing: Differing
) -> tuple[DifferingRow, ...]:
    """Return the differing rows with their columns. Raises `GuardError` where they are too many."""
    lacking = list(islice(differing.lacking(place.cut, place.shape), KEPT_MOST + 1))
    if len(lacking) <= KEPT_MOST:
        extras = list(islice(differing.extras(), KEPT_MOST + 1))
        if len(lacking) + differing.extra_rows <= KEPT_MOST:
            found = [row for row in lacking if isinstance(row, Lacking)]
            return describe(connection, place.mapping, found, extras)
    raise GuardError(
        what=f"more than {KEPT_MOST:,} rows differ",
        where=place.where,
        expected="a few rows that are to stay as they are",
        hint=f"`migration-assets repair {shlex.quote(place.mapping.table)}` puts them right",
    )


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
    settings = migration.settings
    return replace(step, write_guard=settings.write_guard, show_keys=settings.show_keys, at=at)


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
        guarded=migration.settings.write_guard == "log",
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
        proof = attributed(
            connection,
            place.head,
            proof,
            expected=place.expected,
            actual=seen,
            guarded=place.guarded,
            ending=place.ended,
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

    delta = _delta(place, work, steps(), whole=False)
    return _step(
        place,
        replace(delta, deletes=differing.extra_rows),
        Repairing(
            seen=seen,
            extras=lambda: ((extra.row_hash, extra.copies) for extra in differing.extras()),
            requarantine=requarantine,
            ended=place.ended,
        ),
        run=run,
    )


def _rebuilding(place: _Place, work: Path, *, run: str) -> Step:
    """Return the step that makes a table anew which is gone from the target, from its cut."""
    steps = compare_cuts.everything(place.cut, place.shape, place.mapping)
    delta = _delta(place, work, steps, whole=True)
    return _step(place, delta, Repairing(seen=None, extras=tuple), run=run)


def _delta(place: _Place, work: Path, steps: Iterable[Change | Misfit], *, whole: bool) -> Delta:
    return delta_files.write_apart(
        work,
        steps,
        place.mapping,
        week=place.cut.week,
        base=None if whole else place.cut,
        cut=place.cut,
        scope=Scope.EVERYTHING if whole else Scope.CHANGES,
    )


def _step(place: _Place, delta: Delta, repairing: Repairing, *, run: str) -> Step:
    return Step(
        cut=place.cut,
        table=place.shape,
        mapping=place.mapping,
        head=place.head,
        delta=delta,
        expected=place.expected,
        run=run,
        repairing=repairing,
    )
