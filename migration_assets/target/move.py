"""The one step: head to cut in one transaction, proved before it shows.

READ COMMITTED, and the first statement is the table's advisory lock: under REPEATABLE READ a
second run would not see the ledger row of the first and would apply the delta twice. Readers of
the target go on; other writers wait. A move that can't be proved is rolled back.

A move between mappings (`remap`) is the same step: what stands is digested under the older mapping,
the cut is staged whole under the newer one, and readers wait too, from when the table is altered.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from migration_assets.errors import TargetUnavailableError
from migration_assets.findings import Moved, Outcome, Proof
from migration_assets.model import Digest, Scope
from migration_assets.source import delta_files
from migration_assets.target import displaced as displaced_rows
from migration_assets.target import exceptions, ledger, quarantine, write_guard
from migration_assets.target.connection import (
    Connection,
    Target,
    connect,
    require_writer,
    transaction,
    translated,
)
from migration_assets.target.identity import restart_identity
from migration_assets.target.loading import write_rows
from migration_assets.target.lock import lock_table
from migration_assets.target.proving import prove_step, read_back
from migration_assets.target.restoring import Restoring, put_on_hold
from migration_assets.target.sqlstate import translate
from migration_assets.target.step import Step
from migration_assets.target.writing import Applied


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
        written = write_rows(connection, step)
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
        proof, digest = prove_step(connection, step, applied)
        step.at("proved")
        round_trip = read_back(connection, step, proof)
        step.at("read_back")
        restored = 0
        if step.restoring is not None:
            restored = _put_displaced_back(connection, step, step.restoring, proof)
            if restored:
                proof, digest = prove_step(connection, step, applied)
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
        round_trip=round_trip,
        inserted=applied.inserted,
        updated=applied.updated,
        deleted=applied.deleted,
        displaced=displaced,
        restored=restored,
        changes=step.remapping.changes if step.remapping else (),
    )


def _put_displaced_back(
    connection: Connection, step: Step, restoring: Restoring, proof: Proof
) -> int:
    """Put back what the moves that are taken back had displaced; return how many rows.

    They are exceptions from then on: the cut doesn't have them so.
    """
    mapping = step.mapping
    kept = {row.key_hash for row in proof.accepted}
    done = displaced_rows.put_back(connection, mapping, restoring.away, kept)
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
