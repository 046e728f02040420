"""The source's side of a proof: read from the cut, whole, never from a delta."""

from collections import Counter
from collections.abc import Collection, Mapping

from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.model import (
    Cut,
    Expected,
    SourceTable,
    TableMapping,
)
from migration_assets.source.reader import fitted_rows
from migration_assets.verify.digest import Accumulator, RowHasher

_NONE: frozenset[int] = frozenset()


def expect(
    cut: Cut, table: SourceTable, mapping: TableMapping, watched: Collection[int] = _NONE
) -> Expected:
    """Return what must stand on the target and in quarantine for this cut.

    `watched` are key hashes whose rows are noted by their hashes: those of exceptions.
    """
    digest = Accumulator(mapping, watched)
    misfits: Counter[bytes] = Counter()
    count = 0
    for row, fitted in fitted_rows(cut, table, mapping):
        count += 1
        if fitted.values is None:
            misfits[raw_digest(*row_parts(row))] += 1
        else:
            digest.add(fitted.values)
    return Expected(
        cut=cut.id,
        mapping_hash=mapping.hash,
        source_rows=count,
        digest=digest.digest(),
        misfits=misfits,
        watched=digest.watched,
    )


def rows_under(
    cut: Cut, table: SourceTable, mapping: TableMapping, key_hashes: Collection[int]
) -> Mapping[int, tuple[int, ...]]:
    """Return the hashes of a cut's fitting rows under these key hashes; reads the cut whole."""
    hasher = RowHasher(mapping)
    found = {key_hash: list[int]() for key_hash in key_hashes}
    for _, (values, _) in fitted_rows(cut, table, mapping) if found else ():
        if values is not None and (key_hash := hasher.key_hash(values)) in found:
            found[key_hash].append(hasher.row_hash(values))
    return {key_hash: tuple(hashes) for key_hash, hashes in found.items()}
