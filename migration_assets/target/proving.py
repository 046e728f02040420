"""Prove a move before it shows: counts and digests, then rows read back by the second witness."""

from migration_assets.errors import ProofError
from migration_assets.findings import Proof, RoundTrip
from migration_assets.model import Digest, Scope
from migration_assets.target import apply as changes
from migration_assets.target import exceptions, way_out
from migration_assets.target.connection import Connection
from migration_assets.target.guarding import refuse_foreign_somewhere
from migration_assets.target.step import Step
from migration_assets.target.writing import Applied
from migration_assets.verify.digest import combine
from migration_assets.verify.prove import prove, target_digest
from migration_assets.verify.round_trip import round_trip


def prove_step(connection: Connection, step: Step, applied: Applied) -> tuple[Proof, Digest]:
    """Compare the target with the cut; return the proof and the digest that the ledger keeps."""
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
        refuse_foreign_somewhere(step, named, hint)
    raise ProofError(
        what=f"the target is not equal to the cut: {proof.source_rows} rows in the source,"
        f" {proof.target_rows} on the target, {proof.quarantined_rows} quarantined;"
        f" {'; '.join(named)}",
        where=step.where,
        expected="equal counts, digests and quarantine; nothing was committed",
        hint=way_out.of_unequal(connection, step.mapping, proof),
    )


def read_back(connection: Connection, step: Step, proof: Proof) -> RoundTrip:
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
