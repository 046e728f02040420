"""The source's side of a proof: read from the cut, whole, never from a delta."""

from collections import Counter

from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.model import (
    Cut,
    Expected,
    SourceTable,
    TableMapping,
)
from migration_assets.source.reader import fitted_rows
from migration_assets.verify.digest import Accumulator


def expect(cut: Cut, table: SourceTable, mapping: TableMapping) -> Expected:
    """Return what must stand on the target and in quarantine for this cut."""
    digest = Accumulator(mapping)
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
    )
