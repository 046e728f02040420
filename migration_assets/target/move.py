"""The one step: head to cut in one transaction, proved before it shows.

READ COMMITTED, and the first statement is the table's advisory lock: under REPEATABLE READ a
second run would not see the ledger row of the first and would apply the delta twice. Readers of
the target go on; other writers wait. A move that can't be proved is rolled back.

A move between mappings (`remap`) is the same step: what stands is digested under the older mapping,
the cut is staged whole under the newer one, and readers wait too, from when the table is altered.
"""

import hashlib
import shlex
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from migration_assets.errors import (
    ForeignWriteError,
    ProofError,
    StateError,
    TargetError,
    TargetUnavailableError,
)
from migration_assets.findings import (
    Moved,
    Outcome,
    Proof,
    RoundTrip,
)
from migration_assets.model import (
    Cut,
    Delta,
    Digest,
    Expected,
    Head,
    Scope,
    SourceTable,
    TableMapping,
)
from migration_assets.source import delta_files
from migration_assets.target import apply as changes
from migration_assets.target import (
    copies,
    ddl,
    exceptions,
    ledger,
    quarantine,
    remap,
    staging,
    way_out,
    write_guard,
)
from migration_assets.target import displaced as displaced_rows
from migration_assets.target.connection import (
    Connection,
    Target,
    connect,
    require_writer,
    transaction,
    translated,
)
from migration_assets.target.identity import restart_identity
from migration_assets.target.making import as_taken, differing_columns, make_indexes, make_table
from migration_assets.target.present import HINT, read_present
from migration_assets.target.repairing import Repairing, stage_extras
from migration_assets.target.repairing import displace as displace_staged
from migration_assets.target.restoring import Restoring, put_on_hold
from migration_assets.target.sqlstate import translate
from migration_assets.target.writing import Applied
from migration_assets.verify.digest import combine
from migration_assets.verify.prove import prove, target_digest
from migration_assets.verify.round_trip import round_trip

EVERY_GUARD = "all"


def passes(acknowledged: frozenset[str], guard: str) -> bool:
    """Tell whether a run was told to let a guard pass."""
    return guard in acknowledged or EVERY_GUARD in acknowledged


def _no_stop(_stage: str) -> None:
    """Go on; crash tests put a kill here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Everything one step needs, prepared before its transaction opens.

    `head` is where the table stood when this was prepared. `remapping` leads from the head's
    mapping to `mapping` where that is another one. `head_hashes` gives the row hashes of the
    head's cut where rows are to be displaced: those somebody else wrote or those that exceptions
    keep, as `acknowledged` says. `repairing` makes it a repair, at the head's own cut; `restoring`
    a rollback. `write_guard` is that setting; None leaves the triggers as they are. `show_keys`
    lets errors name rows by key. `at` is told each stage's name.
    """

    cut: Cut
    table: SourceTable
    mapping: TableMapping
    head: Head | None
    delta: Delta
    expected: Expected
    run: str
    remapping: remap.Remapping | None = None
    acknowledged: frozenset[str] = frozenset()
    head_hashes: Callable[[], Iterator[int]] | None = None
    repairing: Repairing | None = None
    write_guard: str | None = None
    show_keys: bool = True
    restoring: Restoring | None = None
    move: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: Callable[[str], None] = _no_stop

    @property
    def where(self) -> str:
        """Name table and week for an error."""
        way = "back to week" if self.restoring else "week"
        return f"table {self.mapping.table}, {way} {self.cut.week}"

    def passes(self, guard: str) -> bool:
        """Tell whether the step was told to let a guard pass."""
        return passes(self.acknowledged, guard)

    @property
    def standing(self) -> TableMapping:
        """The mapping under which the table stands before the step."""
        return self.remapping.older if self.remapping else self.mapping


def move(connection: Connection, target: Target, step: Step) -> Moved | None:
    """Do the step; None where the table's head is no longer the one it was prepared for.

    Raises `GuardError`, `ProofError`, `TargetError` or `TargetUnavailableError`; in each case the
    target is as it was. An unknown outcome of COMMIT is settled from the ledger.
    """
    started = datetime.now(UTC)
    with translated(step.where), transaction(connection, "READ COMMITTED"):
        lock_table(connection, step.mapping.source, step.mapping.table)
        write_guard.mark(connection, step.move)
        step.at("locked")
        head = ledger.head(connection, step.mapping.source, step.mapping.table)
        if (head and head.entry) != (step.head and step.head.entry):
            return None
        if step.restoring is None and step.repairing is None:
            # Under the lock that `hold` takes too: one that was set while this was prepared wins.
            ledger.refuse_held(connection, step.mapping.source, step.mapping.table, step.where)
        else:
            ledger.refuse_cut_over(connection, step.mapping.source, step.mapping.table, step.where)
        written = _write_rows(connection, step)
        if written is None:
            return None
        applied, displaced, statements, step = written
        step.at("applied")
        restart_identity(connection, step.mapping, step.cut, step.table)
        quarantine.change(
            connection,
            step.mapping,
            step.cut.week,
            delta_files.misfits(step.delta),
            replace=step.delta.scope is Scope.EVERYTHING
            or (step.repairing is not None and step.repairing.requarantine),
        )
        # Deferred triggers fire now, not after the proof.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if step.write_guard is not None:
            write_guard.settle(connection, step.mapping, step.write_guard)
        step.at("quarantined")
        proof, digest = _prove(connection, step, applied)
        step.at("proved")
        read_back = _read_back(connection, step, proof)
        step.at("read_back")
        restored = 0
        if step.restoring is not None:
            restored = _put_displaced_back(connection, step, step.restoring, proof)
            if restored:
                proof, digest = _prove(connection, step, applied)
            step.at("restored")
        ledger.seal(connection, step.mapping)
        entry = ledger.write(
            connection,
            step.mapping,
            _entry(
                step,
                proof=proof,
                digest=digest,
                applied=applied,
                displaced=displaced,
                started=started,
                statements=statements,
            ),
        )
        if step.restoring is not None and step.head is not None:
            put_on_hold(connection, step.mapping, step.restoring, step.head, entry)
        step.at("written")
        _commit(connection, target, step)
        step.at("committed")
    return Moved(
        outcome=Outcome.LOADED,
        entry=entry,
        mapping=step.mapping,
        proof=proof,
        round_trip=read_back,
        inserted=applied.inserted,
        updated=applied.updated,
        deleted=applied.deleted,
        displaced=displaced,
        restored=restored,
        changes=step.remapping.changes if step.remapping else (),
    )


def _write_rows(
    connection: Connection, step: Step
) -> tuple[Applied, int, Sequence[str], Step] | None:
    """Bring the table's rows to the cut; None where a repair was overtaken.

    Returns the row counts, the rows displaced, the statements that changed the table, and the step
    with the mapping as the server took it.
    """
    repairing = step.repairing
    if repairing is not None and repairing.seen is not None:
        found = _repair(connection, step, repairing, repairing.seen)
        return (*found, (), step) if found else None
    if step.head is None or repairing is not None:
        applied, step = _first_load(connection, step)
        return applied, 0, (), step
    if step.remapping is not None:
        return _remap(connection, step, step.remapping)
    return (*_apply(connection, step), (), step)


def _put_displaced_back(
    connection: Connection, step: Step, restoring: Restoring, proof: Proof
) -> int:
    """Put back what the moves that are taken back had displaced; return how many rows.

    They are exceptions from then on: the cut doesn't have them so.
    """
    mapping = step.mapping
    kept = {row.key_hash for row in proof.accepted}
    done = displaced_rows.put_back(connection, mapping, restoring.taken, kept)
    if done.left and not restoring.leaves_rows:
        displaced_rows.refuse_left(done.left, step.where)
    exceptions.accept(
        connection,
        mapping,
        done.rows,
        origin=exceptions.RESTORED,
        reason=f"put back on the way back to week {step.cut.week}",
        by=restoring.by,
    )
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return done.count


def lock_table(connection: Connection, source: str, table: str) -> None:
    """Take the table's advisory lock: one move of a table at a time, also before it exists."""
    name = hashlib.sha256(f"migration-assets\0{source}\0{table}".encode()).digest()
    number = int.from_bytes(name[:8], "big", signed=True)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))


def _apply(connection: Connection, step: Step) -> tuple[Applied, int]:
    """Bring the table to the cut; return the row counts, and the foreign rows displaced."""
    mapping, delta = step.mapping, step.delta
    present = _present(connection, step)
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    staging.stage(connection, mapping, delta, delta_files.row_batches(delta))
    step.at("staged")
    _refuse_other_values(connection, step, present)
    displaced = _guard_foreign_rows(connection, step)
    return changes.apply(connection, mapping, delta, present), displaced


def _repair(
    connection: Connection, step: Step, repairing: Repairing, seen: Digest
) -> tuple[Applied, int] | None:
    """Put the rows right that were found to differ; None where somebody has written since then."""
    mapping, delta = step.mapping, step.delta
    present = _present(connection, step)
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    if target_digest(connection, mapping) != seen:
        return None
    exceptions.lapse(connection, repairing.ended)
    if repairing.keeping is not None:
        keeping = repairing.keeping
        exceptions.accept(
            connection,
            mapping,
            keeping.rows,
            origin=exceptions.KEPT,
            reason=keeping.reason,
            by=keeping.by,
        )
    staging.stage(connection, mapping, delta, delta_files.row_batches(delta))
    stage_extras(connection, mapping, delta, repairing.extras())
    step.at("staged")
    _refuse_other_values(connection, step, present)
    if not mapping.key and copies.lacking(connection, mapping, delta):
        return None
    displaced = 0
    if mapping.key or delta.deletes:
        displaced = displace_staged(
            connection, mapping, present, move=step.move, week=step.cut.week
        )
    return changes.apply(connection, mapping, delta, present), displaced


def _refuse_other_values(connection: Connection, step: Step, present: ddl.TargetTable) -> None:
    """Stop for generated columns that would give staged rows other values than the source."""
    columns = tuple(
        c if c.target in present.generated else replace(c, generated="")
        for c in step.mapping.columns
    )
    found = differing_columns(
        connection, replace(step.mapping, columns=columns), step.table, step.delta
    )
    if not found:
        return
    statement = ddl.drop_expressions(step.mapping, [o.name for o in found])
    raise TargetError(
        what="; ".join(f"generated column {o.name} {o.problem}" for o in found),
        where=step.where,
        expected="the source's value of every row; nothing was changed",
        hint=f"`{statement.as_string(None)}` makes it a plain column, which loads write again",
    )


def _exists(connection: Connection, mapping: TableMapping) -> str:
    """Say what is in the way of a first load."""
    found = read_present(connection, mapping.target_schema, mapping.target_table)
    return found.text(mapping) if found else f"{mapping.target_table} exists already"


def _remap(
    connection: Connection, step: Step, remapping: remap.Remapping
) -> tuple[Applied, int, Sequence[str], Step]:
    """Bring the table to the cut under another mapping.

    Rows are staged before the table is locked, since its readers have to wait from then on.
    Returns the row counts, the foreign rows displaced, the statements that changed the table, and
    the step with the mapping as the server took it, to be sealed.
    """
    delta = step.delta
    present = _present(connection, step)
    _check_whole(step)
    remap.refuse_taken_names(remapping, present, step.where)
    staging.stage(connection, step.mapping, delta, delta_files.row_batches(delta))
    mapping = as_taken(connection, step.mapping, step.table, delta)
    remapping = replace(remapping, newer=mapping)
    step.at("staged")
    connection.execute(
        sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    locked = _present(connection, step)  # again: somebody may have changed it before
    remap.refuse_taken_names(remapping, locked, step.where)
    displaced = _guard_foreign_rows(connection, step)
    by = remap.method(connection, remapping)
    statements = remap.Changes(connection, remapping, by, step.where)
    statements.make_room()
    step.at("altered")
    made = _present(connection, step, mapping)
    applied = changes.apply(connection, by, delta, made)
    applied = replace(applied, deleted=applied.deleted + statements.deleted)
    remap.refuse_lost_values(remapping, by, made, applied, step.where)
    # A table with deferred triggers waiting can't be altered.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    mapping = statements.finish(step.table)
    return applied, displaced, statements.ddl, replace(step, mapping=mapping)


def _check_whole(step: Step) -> None:
    """Make sure that a move between mappings is given the whole cut, in the newer mapping."""
    delta = step.delta
    if delta.scope is Scope.EVERYTHING and delta.mapping_hash == step.mapping.hash:
        return
    raise StateError(
        what="the stored delta belongs to another mapping",
        where=step.where,
        expected="all rows of the cut under the mapping that the table is moved to",
        hint=f"materialize delta/{step.mapping.table} for {step.cut.week} again",
    )


def _present(
    connection: Connection, step: Step, mapping: TableMapping | None = None
) -> ddl.TargetTable:
    """Read the table as it has to stand: under `mapping`, or as before the step."""
    table = ddl.read_table(connection, mapping or step.standing)
    if table is None:
        raise _gone(step)
    _check_columns(step, table, mapping)
    return table


def _gone(step: Step) -> TargetError:
    return TargetError(
        what=f"{step.mapping.target_schema}.{step.mapping.target_table} is gone from the target",
        where=step.where,
        expected="the table that earlier weeks loaded",
        hint=f"`migration-assets repair {shlex.quote(step.mapping.table)}` makes it anew from its"
        " cut; or restore it from a backup of the target",
    )


def _first_load(connection: Connection, step: Step) -> tuple[Applied, Step]:
    """Make the table and fill it.

    Returns the row counts, and the step with the mapping as the server took it, to be sealed.
    """
    if ddl.read_table(connection, step.mapping) is not None:
        raise TargetError(
            what=_exists(connection, step.mapping),
            where=step.where,
            expected="no such table before the first load, which makes it",
            hint=HINT,
        )
    staging.stage(connection, step.mapping, step.delta, delta_files.row_batches(step.delta))
    step.at("staged")
    mapping = make_table(connection, step.mapping, step.table, step.delta)
    inserted = changes.insert_all(connection, mapping)
    mapping = make_indexes(connection, mapping, step.table)
    applied = Applied(inserted=inserted, updated=0, deleted=0)
    return applied, replace(step, mapping=mapping)


def _check_columns(
    step: Step, present: ddl.TargetTable, mapping: TableMapping | None = None
) -> None:
    missing = ddl.missing_columns(mapping or step.standing, present)
    if missing:
        raise TargetError(
            what=f"columns are gone or have another type: {', '.join(missing)}",
            where=step.where,
            expected="the columns of the sealed mapping",
            hint="undo the change on the target",
        )


def _guard_foreign_rows(connection: Connection, step: Step) -> int:
    """Refuse rows that someone else changed, or displace them where that is acknowledged."""
    mapping, delta = step.standing, step.delta
    kept = exceptions.accepted(connection, mapping.source, mapping.table)
    if delta.scope is Scope.CHANGES:
        found = changes.foreign_rows(connection, mapping, delta, kept)
        if found:
            changes.refuse_foreign(mapping, step.cut.week, found, show_keys=step.show_keys)
        return 0
    known = None if step.passes(changes.FOREIGN_WRITES) else step.head
    if known is not None and target_digest(connection, mapping) != known.digest:
        _refuse_foreign_somewhere(step, ())
    if kept and (step.head_hashes is None or not step.passes(exceptions.KEPT_ROWS)):
        raise exceptions.would_be_overwritten(kept, step.where, show_keys=step.show_keys)
    if step.head_hashes is None:
        return 0
    staging.stage_hashes(connection, step.head_hashes())
    exceptions.lapse(connection, kept)
    return changes.displace(connection, mapping, step.move, step.cut.week)


def _refuse_foreign_somewhere(step: Step, named: tuple[str, ...], hint: str = "") -> None:
    shown = f": {'; '.join(named)}" if named else ""
    raise ForeignWriteError(
        what=f"rows were changed on the target by someone else{shown}",
        where=step.where,
        expected="the rows as the last load left them",
        hint=hint or changes.foreign_hint(step.mapping),
    )


def _prove(connection: Connection, step: Step, applied: Applied) -> tuple[Proof, Digest]:
    known = exceptions.accepted(connection, step.mapping.source, step.mapping.table)
    proof, digest = prove(
        connection, step.mapping, step.cut, step.table, step.expected, accepted=known
    )
    if proof.holds:
        exceptions.lapse(connection, proof.lapsed)
        return proof, digest
    named = tuple(d.text(show_key=step.show_keys) for d in proof.differences)
    if not proof.digest_equal and _written_elsewhere(connection, step, digest, applied):
        hint = way_out.of_foreign_write(connection, step.mapping, proof)
        _refuse_foreign_somewhere(step, named, hint)
    raise ProofError(
        what=f"the target is not equal to the cut: {proof.source_rows} rows in the source,"
        f" {proof.target_rows} on the target, {proof.quarantined_rows} quarantined;"
        f" {'; '.join(named)}",
        where=step.where,
        expected="equal counts, digests and quarantine; nothing was committed",
        hint=way_out.of_unequal(connection, step.mapping, proof),
    )


def _read_back(connection: Connection, step: Step, proof: Proof) -> RoundTrip:
    """Let the second witness compare rows that this step wrote, and a sample, with the raw cut."""
    found = round_trip(
        connection,
        step.mapping,
        step.cut,
        step.table,
        target_rows=proof.target_rows,
        delta=step.delta,
        accepted=proof.accepted,
    )
    if found.holds:
        return found
    named = "; ".join(d.text(show_key=step.show_keys) for d in found.differences)
    raise ProofError(
        what=f"rows read back from the target are not the cut's: {named}",
        where=step.where,
        expected="every value back in its storage class and bytes; nothing was committed",
        hint="the digests agree, so a type's conversion is wrong: keep both cuts and report it",
    )


def _written_elsewhere(connection: Connection, step: Step, after: Digest, applied: Applied) -> bool:
    """Tell a foreign write from a wrong load: sums are additive.

    The digest now, less the rows the delta names, plus the rows it replaced (their older hashes,
    which were checked against the target before anything was changed), must be the head's. A row
    that was to be deleted and still stands is a wrong load, so it counts among those named.
    Without a key no row can be named; there what the server really inserted and deleted counts.
    """
    if step.head is None or step.delta.scope is not Scope.CHANGES or step.repairing is not None:
        return False
    if not step.mapping.key:
        return after.total - applied.net != step.head.digest.total
    named = changes.touched_rows(step.mapping, step.delta, written=False)
    rest_now = combine(after, minus=[target_digest(connection, step.mapping, named)])
    replaced = changes.replaced_total(connection, step.delta)
    return rest_now.total + replaced != step.head.digest.total


def _entry(
    step: Step,
    *,
    proof: Proof,
    digest: Digest,
    applied: Applied,
    displaced: int,
    started: datetime,
    statements: Sequence[str],
) -> ledger.Entry:
    remapping, back = step.remapping, step.restoring
    return ledger.Entry(
        kind=_kind(step),
        base=step.head,
        week=step.cut.week,
        cut=step.cut.id,
        inserted=applied.inserted,
        updated=applied.updated,
        deleted=applied.deleted,
        displaced=displaced,
        proof=proof,
        digest=digest,
        move=step.move,
        run=step.run,
        acknowledged=sorted(step.acknowledged),
        started_at=started,
        changes=remapping.changes if remapping else (),
        ddl=statements,
        restores=back.to.entry if back else None,
    )


def _kind(step: Step) -> str:
    if step.restoring is not None:
        return ledger.ROLLBACK
    if step.repairing is not None:
        return ledger.REPAIR
    return ledger.SCHEMA if step.remapping else ledger.LOAD


def _commit(connection: Connection, target: Target, step: Step) -> None:
    """Commit, and settle an unknown outcome from the ledger, under the lock, on the writer."""
    try:
        status = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        if connection.info.status == psycopg.pq.ConnStatus.OK:
            raise  # the server answered: it refused, and rolled back
        if not _settled(target, step):
            raise translate(error, step.where) from None
        return
    if status != "COMMIT":
        raise TargetUnavailableError(
            what="the server rolled the transaction back instead of committing it",
            where=step.where,
            hint="run this week again",
        )


def _settled(target: Target, step: Step) -> bool:
    with connect(target) as fresh, transaction(fresh, "READ COMMITTED"):
        require_writer(fresh, step.where)  # one that was demoted may show what nobody else has
        lock_table(fresh, step.mapping.source, step.mapping.table)
        return ledger.committed(fresh, step.move)
