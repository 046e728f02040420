"""Prove one table: both sides counted and digested, quarantine recomputed, differences named."""

import dataclasses
from collections import Counter

from psycopg import sql

from migration_assets.findings import Difference, Proof
from migration_assets.model import (
    Cut,
    Digest,
    Expected,
    Head,
    SourceTable,
    TableMapping,
)
from migration_assets.target import quarantine
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.verify import digest_sql
from migration_assets.verify.compare import compare
from migration_assets.verify.digest import from_buckets


def target_digest(
    connection: Connection, mapping: TableMapping, rows: sql.Composable | None = None
) -> Digest:
    """Digest the target's rows in one statement; all of them, or those of a subquery."""
    query = digest_sql.buckets(mapping, rows or table_name(mapping), "d")
    found = connection.execute(query).fetchall()
    return from_buckets((int(str(b)), int(str(n)), int(str(s))) for b, n, s in found)


def prove(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    expected: Expected,
) -> tuple[Proof, Digest]:
    """Compare the target as it stands in this transaction with what the cut says.

    Differences are named when the proof doesn't hold. Also returns the target's digest.
    """
    actual = target_digest(connection, mapping)
    stored = quarantine.stored(connection, mapping.source, mapping.table)
    proof = Proof(
        week=cut.week,
        cut=cut.id,
        mapping_hash=mapping.hash,
        source_rows=expected.source_rows,
        target_rows=actual.rows,
        quarantined_rows=stored.total(),
        unfit_rows=expected.unfit_rows,
        source_total=expected.digest.total,
        target_total=actual.total,
        algorithm=actual.algorithm,
        rows_equal=expected.source_rows == actual.rows + stored.total()
        and expected.digest.counts == actual.counts,
        digest_equal=expected.digest == actual,
        quarantine_equal=Counter(expected.misfits) == stored,
    )
    if not proof.digest_equal:
        found = compare(connection, mapping, cut=cut, table=table, expected=expected, actual=actual)
        proof = dataclasses.replace(proof, differences=found)
    if not proof.quarantine_equal:
        lost = (Counter(expected.misfits) - stored).total()
        extra = (stored - Counter(expected.misfits)).total()
        note = Difference(key="quarantine", what=f"{lost} unfit rows missing, {extra} too many")
        proof = dataclasses.replace(proof, differences=(*proof.differences, note))
    return proof, actual


def stored_proof(head: Head) -> Proof:
    """Return the proof that a head was committed with: an entry without one does not exist."""
    return Proof(
        week=head.week,
        cut=head.cut,
        mapping_hash=head.mapping_hash,
        source_rows=head.source_rows,
        target_rows=head.rows,
        quarantined_rows=head.quarantined,
        unfit_rows=head.quarantined,
        source_total=head.digest.total,
        target_total=head.digest.total,
        algorithm=head.digest.algorithm,
        rows_equal=True,
        digest_equal=True,
        quarantine_equal=True,
    )
