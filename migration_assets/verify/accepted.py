"""Exceptions in a proof, as arithmetic: which still hold, and how they adjust the source's side.

An exception holds only while the cut has its row as it was accepted and the target too. The row of
the cut is taken out of the expected sum then and the target's put in, bucket by bucket, so that
what is proved stays exact. Without a key rows of one hash are told by their number alone. Nothing
here does I/O.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from migration_assets.model import BUCKETS, AcceptedRow, Digest


class Settled(NamedTuple):
    """Exceptions that hold, and those that have lapsed."""

    holding: tuple[AcceptedRow, ...]
    lapsed: tuple[AcceptedRow, ...]


def settle(
    accepted: Iterable[AcceptedRow],
    *,
    mapping_hash: str,
    source: Mapping[int, Sequence[int]],
    target: Mapping[int, Sequence[int]],
) -> Settled:
    """Tell which exceptions hold; `source` and `target` have the row hashes under each key hash.

    All that were accepted under one key hash hold together or not at all.
    """
    groups: defaultdict[int, list[AcceptedRow]] = defaultdict(list)
    for row in accepted:
        groups[row.key_hash].append(row)
    holding: list[AcceptedRow] = []
    lapsed: list[AcceptedRow] = []
    for key_hash, rows in groups.items():
        stands = all(row.mapping_hash == mapping_hash for row in rows) and _hold(
            rows, Counter(source.get(key_hash, ())), Counter(target.get(key_hash, ()))
        )
        (holding if stands else lapsed).extend(rows)
    return Settled(_ordered(holding), _ordered(lapsed))


def _hold(rows: Sequence[AcceptedRow], source: Counter[int], target: Counter[int]) -> bool:
    ours = Counter(r.source_hash for r in rows if r.source_hash is not None)
    theirs = Counter(r.target_hash for r in rows if r.target_hash is not None)
    return ours <= source and source - ours + theirs == target


def _ordered(rows: Iterable[AcceptedRow]) -> tuple[AcceptedRow, ...]:
    return tuple(sorted(rows, key=lambda row: row.number))


def adjust(digest: Digest, accepted: Iterable[AcceptedRow]) -> Digest:
    """Return a cut's digest with the accepted rows as they stand on the target."""
    counts, sums = list(digest.counts), list(digest.sums)
    for row in accepted:
        bucket = row.key_hash % BUCKETS
        if row.source_hash is not None:
            counts[bucket] -= 1
            sums[bucket] -= row.source_hash
        if row.target_hash is not None:
            counts[bucket] += 1
            sums[bucket] += row.target_hash
    return Digest(algorithm=digest.algorithm, counts=tuple(counts), sums=tuple(sums))


def more_rows(accepted: Iterable[AcceptedRow]) -> int:
    """Return by how many rows the target has more than the cut; negative where it has less."""
    return sum((r.target_hash is not None) - (r.source_hash is not None) for r in accepted)
