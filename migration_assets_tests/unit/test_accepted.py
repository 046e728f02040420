"""Exceptions adjust exactly what they name, and only while both sides are as they were accepted."""

from datetime import UTC, datetime

import pytest

from migration_assets.model import BUCKETS, AcceptedRow, Digest
from migration_assets.verify.accepted import adjust, more_rows, settle

KEY = -7  # a key hash, in the last but six bucket
OURS, THEIRS, OTHER = 100, -200, 300


def row(source: int | None, target: int | None, *, key: int = KEY, number: int = 1) -> AcceptedRow:
    """Return an exception of mapping `m`."""
    return AcceptedRow(
        number=number,
        key="id=1",
        key_hash=key,
        source_hash=source,
        target_hash=target,
        columns=(),
        mapping_hash="m",
        origin="kept",
        reason="agreed",
        by="somebody",
        at=datetime(2026, 11, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("source", "target", "holds"),
    [
        ([OURS], [THEIRS], True),
        ([OURS], [OTHER], False),
        ([OTHER], [THEIRS], False),
        ([OURS], [], False),
        ([], [THEIRS], False),
        ([OURS], [OURS], False),
        ([], [], False),
    ],
)
def test_a_changed_row_is_excepted_while_both_hashes_stand(
    *, source: list[int], target: list[int], holds: bool
) -> None:
    """Any other row on either side, or none, ends it."""
    found = settle(
        [row(OURS, THEIRS)], mapping_hash="m", source={KEY: source}, target={KEY: target}
    )
    assert (len(found.holding), len(found.lapsed)) == ((1, 0) if holds else (0, 1))


def test_a_row_that_one_side_lacks_is_excepted_until_it_comes() -> None:
    """Absent is a value: it ends when a row appears there."""
    extra, missing = row(None, THEIRS), row(OURS, None)
    assert settle([extra], mapping_hash="m", source={}, target={KEY: [THEIRS]}).holding == (extra,)
    assert settle([missing], mapping_hash="m", source={KEY: [OURS]}, target={}).holding == (
        missing,
    )
    for source, target in (([OURS], [THEIRS]), ([OURS], [OURS])):
        sides = {"source": {KEY: source}, "target": {KEY: target}}
        assert settle([extra], mapping_hash="m", **sides).lapsed == (extra,)
        assert settle([missing], mapping_hash="m", **sides).lapsed == (missing,)


def test_an_exception_of_another_mapping_has_lapsed() -> None:
    """Its hashes are of columns and types that stand no longer."""
    found = settle(
        [row(OURS, THEIRS)], mapping_hash="n", source={KEY: [OURS]}, target={KEY: [THEIRS]}
    )
    assert not found.holding


def test_copies_of_a_row_without_a_key_are_excepted_by_number() -> None:
    """Two copies too many hold together, whatever the cut has of them; a third ends both."""
    both = [row(None, OURS, key=OURS, number=n) for n in (1, 2)]
    sides = {"source": {OURS: [OURS]}, "target": {OURS: [OURS] * 3}}
    assert len(settle(both, mapping_hash="m", **sides).holding) == 2
    sides["target"] = {OURS: [OURS] * 4}
    assert len(settle(both, mapping_hash="m", **sides).lapsed) == 2


def test_the_cuts_digest_is_adjusted_in_the_rows_own_bucket() -> None:
    """Count and sum of one bucket become the target's; the others stay."""
    bucket = KEY % BUCKETS
    cut = Digest(algorithm="a", counts=(1,) * BUCKETS, sums=(OURS,) * BUCKETS)
    for accepted, count, total in (
        (row(OURS, THEIRS), 1, THEIRS),
        (row(OURS, None), 0, 0),
        (row(None, THEIRS), 2, OURS + THEIRS),
    ):
        found = adjust(cut, [accepted])
        assert (found.counts[bucket], found.sums[bucket]) == (count, total)
        assert set(found.counts[:bucket] + found.counts[bucket + 1 :]) == {1}
        assert more_rows([accepted]) == count - 1
