"""The three proofs of a table as asset checks: what was compared, and where it differs."""

from collections.abc import Iterator

import dagster as dg

from migration_assets.errors import MigrationError
from migration_assets.model import Proof

ROW_COUNT = "row_count"
CONTENT_DIGEST = "content_digest"
QUARANTINE = "quarantine"
DESCRIPTIONS = {
    ROW_COUNT: "Rows in the cut = rows on the target + rows in quarantine.",
    CONTENT_DIGEST: "Every fitting row of the cut stands on the target, cell for cell.",
    QUARANTINE: "Rows that don't fit, recomputed from the cut, are exactly those in quarantine.",
}


def specs(asset: dg.AssetKey, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the check specs of one table's asset."""
    return [
        dg.AssetCheckSpec(
            name, asset=asset, description=text, blocking=True, partitions_def=partitions
        )
        for name, text in DESCRIPTIONS.items()
    ]


def results(
    asset: dg.AssetKey, proof: Proof, *, selected: set[str], show_keys: bool
) -> Iterator[dg.AssetCheckResult]:
    """Yield the selected checks' results from a proof."""
    passed = {
        ROW_COUNT: proof.rows_equal,
        CONTENT_DIGEST: proof.digest_equal,
        QUARANTINE: proof.quarantine_equal,
    }
    for name, holds in passed.items():
        if name in selected:
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=holds,
                metadata=_metadata(name, proof, show_keys=show_keys),
            )


def _metadata(name: str, proof: Proof, *, show_keys: bool) -> dict[str, dg.MetadataValue]:
    values: dict[str, dg.MetadataValue] = {
        "head_week": dg.MetadataValue.text(proof.week.isoformat()),
        "source_rows": dg.MetadataValue.int(proof.source_rows),
        "target_rows": dg.MetadataValue.int(proof.target_rows),
        "quarantined_rows": dg.MetadataValue.int(proof.quarantined_rows),
    }
    if name == CONTENT_DIGEST:
        values |= {
            "algorithm": dg.MetadataValue.text(proof.algorithm),
            "source_digest": dg.MetadataValue.text(_hexadecimal(proof.source_total)),
            "target_digest": dg.MetadataValue.text(_hexadecimal(proof.target_total)),
        }
    if name == QUARANTINE:
        values["unfit_rows_in_cut"] = dg.MetadataValue.int(proof.unfit_rows)
    if proof.differences:
        lines = [d.text(show_key=show_keys) for d in proof.differences]
        values["differences"] = dg.MetadataValue.md("\n".join(f"- {line}" for line in lines))
    return values


def _hexadecimal(total: int) -> str:
    """Render a sum of hashes for people: its lowest 64 bits; exact sums were compared."""
    return f"{total % (1 << 64):016x}"


def failures(
    asset: dg.AssetKey, error: MigrationError, *, selected: set[str]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the selected checks as failed: a step that stopped has proved nothing."""
    for name in DESCRIPTIONS:
        if name in selected:
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=False,
                description=error.what,
                metadata={
                    "error": type(error).__name__,
                    "what": error.what,
                    "where": error.where,
                    "expected": error.expected,
                    "to_do": error.hint,
                },
            )
