"""Prove one table: both sides counted and digested, quarantine recomputed, differences named."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from psycopg import sql

from migration_assets.findings import Difference, Proof
from migration_assets.model import (
    AcceptedRow,
    Cut,
    Digest,
    Expected,
    Head,
    SourceTable,
    TableMapping,
)
from migration_assets.target import ddl, ledger, quarantine
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.target.foreign_writes import noted_since
from migration_assets.verify import digest_sql
from migration_assets.verify.accepted import Settled, adjust, more_rows, settle
from migration_assets.verify.attribution import attribute
from migration_assets.verify.compare import compare
from migration_assets.verify.digest import from_buckets
from migration_assets.verify.expect import rows_under


def target_digest(
    connection: Connection, mapping: TableMapping, rows: sql.Composable | None = None
) -> Digest:
    """Digest the target's rows in one statement; all of them, or those of a subquery."""
    query = digest_sql.buckets(mapping, rows or table_name(mapping), "d")
    found = connection.execute(query).fetchall()
    return from_buckets((int(str(b)), int(str(n)), int(str(s))) for b, n, s in found)


def target_rows_under(
    connection: Connection, mapping: TableMapping, key_hashes: Collection[int]
) -> Mapping[int, list[int]]:
    """Return the hashes of the target's rows under these key hashes; reads the table whole."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    if key_hashes:
        query = sql.SQL(
            "SELECT k, h FROM (SELECT {} AS k, {} AS h FROM {} AS t) AS hashed"
            " WHERE k = ANY (%s::pg_catalog.int8[])"
        ).format(
            # `%` in a name would be taken for a placeholder
            *(
                ddl.raw(part.as_string(None).replace("%", "%%"))
                for part in (
                    digest_sql.key_hash(mapping, "t"),
                    digest_sql.row_hash(mapping, "t"),
                    table_name(mapping),
                )
            )
        )
        for key_hash, row_hash in connection.execute(query, (list(key_hashes),)):
            found[int(str(key_hash))].append(int(str(row_hash)))
    return found


def settle_exceptions(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    *,
    expected: Expected,
    accepted: Sequence[AcceptedRow],
) -> Settled:
    """Tell which exceptions hold between cut and target as it stands in this transaction.

    Rows of the cut that `expected` didn't watch are looked up: the cut is read once more then.
    """
    key_hashes = {row.key_hash for row in accepted}
    unwatched = key_hashes - expected.watched.keys()
    return settle(
        accepted,
        mapping_hash=mapping.hash,
        source={**expected.watched, **rows_under(cut, table, mapping, unwatched)},
        target=target_rows_under(connection, mapping, key_hashes),
    )


def prove(
    connection: Connection,
    mapping: TableMapping,
    cut: Cut,
    table: SourceTable,
    expected: Expected,
    *,
    accepted: Sequence[AcceptedRow] = (),
) -> tuple[Proof, Digest]:
    """Compare the target as it stands in this transaction with what the cut says.

    Exceptions (`accepted`) that hold adjust what the cut says. Differences are named when the proof
    doesn't hold. Also returns the target's digest.
    """
    actual = target_digest(connection, mapping)
    stored = quarantine.stored(connection, mapping.source, mapping.table)
    settled = settle_exceptions(
        connection, mapping, cut, table, expected=expected, accepted=accepted
    )
    wanted = adjust(expected.digest, settled.holding)
    source_rows = expected.source_rows + more_rows(settled.holding)
    proof = Proof(
        week=cut.week,
        cut=cut.id,
        mapping_hash=mapping.hash,
        source_rows=expected.source_rows,
        target_rows=actual.rows,
        quarantined_rows=stored.total(),
        unfit_rows=expected.unfit_rows,
        source_total=wanted.total,
        target_total=actual.total,
        algorithm=actual.algorithm,
        rows_equal=source_rows == actual.rows + stored.total() and wanted.counts == actual.counts,
        digest_equal=wanted == actual,
        quarantine_equal=Counter(expected.misfits) == stored,
        accepted=settled.holding,
        lapsed=settled.lapsed,
    )
    if not proof.digest_equal:
        found = compare(
            connection,
            mapping,
            cut=cut,
            table=table,
            wanted=wanted,
            actual=actual,
            accepted=settled.holding,
        )
        proof = dataclasses.replace(proof, differences=found)
    if not proof.quarantine_equal:
        lost = (Counter(expected.misfits) - stored).total()
        extra = (stored - Counter(expected.misfits)).total()
        note = Difference(key="quarantine", what=f"{lost} unfit rows missing, {extra} too many")
        proof = dataclasses.replace(proof, differences=(*proof.differences, note))
    return proof, actual


def attributed(
    connection: Connection,
    head: Head,
    proof: Proof,
    *,
    expected: Expected,
    actual: Digest,
    guarded: bool,
    ending: Sequence[AcceptedRow] = (),
) -> Proof:
    """Return a proof of what stands at the head with where its differences come from.

    `guarded` tells whether the write guard notes who writes; `ending` are exceptions in force that
    the proof leaves out, since they are to end.
    """
    if proof.holds:
        return proof
    mapping = ledger.sealed_mapping(connection, head.mapping_hash)
    found = attribute(
        head,
        expected,
        actual,
        quarantine_equal=proof.quarantine_equal,
        accepted=(*proof.accepted, *proof.lapsed, *ending),
        lapsed=len(proof.lapsed),
        writes=noted_since(connection, mapping.source, mapping.table, head.entry),
        writes_known=guarded,
    )
    return dataclasses.replace(proof, attribution=found)


def stored_proof(head: Head, accepted: Sequence[AcceptedRow] = ()) -> Proof:
    """Return the proof that a head was committed with: an entry without one does not exist.

    `accepted` are the exceptions that it lists.
    """
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
        accepted=tuple(accepted),
    )
