"""What `run` and `verify` answer: verdicts, and keys only where they may be shown."""

from datetime import date

import pytest

from migration_assets.findings import Difference, Proof
from migration_assets.report.answers import TableProof
from migration_assets.report.documents import proofs

WEEK, LATER = date(2026, 10, 4), date(2026, 10, 11)


def proof(*, equal: bool = True) -> Proof:
    """Return the proof of a table that stands at the week."""
    return Proof(
        week=WEEK,
        cut="cut",
        mapping_hash="m",
        source_rows=1,
        target_rows=1,
        quarantined_rows=0,
        unfit_rows=0,
        source_total=1,
        target_total=1 if equal else 2,
        algorithm="a",
        rows_equal=True,
        digest_equal=equal,
        quarantine_equal=True,
        differences=() if equal else (Difference(key="id=7", what="differs", columns=("v",)),),
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (TableProof(table="t", proof=proof()), "equal"),
        (TableProof(table="t", proof=proof(), required=WEEK), "equal"),
        (TableProof(table="t", proof=proof(), required=LATER), "not carried"),
        (TableProof(table="t", proof=proof(equal=False), required=LATER), "differs"),
        (TableProof(table="t"), "never loaded"),
        (TableProof(table="t", error="the cut is damaged"), "not proved"),
    ],
)
def test_only_a_proof_that_covers_the_week_is_equal(found: TableProof, verdict: str) -> None:
    """Every other end keeps the document from saying equal."""
    document = proofs([found], show_keys=True)
    assert document["tables"][0]["verdict"] == verdict
    assert document["equal"] is found.holds is (verdict == "equal")


@pytest.mark.parametrize("show_keys", [True, False])
def test_rows_are_named_by_key_only_where_keys_may_be_shown(*, show_keys: bool) -> None:
    """Columns are always named, values never."""
    found = proofs([TableProof(table="t", proof=proof(equal=False))], show_keys=show_keys)
    (difference,) = found["tables"][0]["differences"]
    assert ("key" in difference) is show_keys
    assert difference["columns"] == ["v"]
