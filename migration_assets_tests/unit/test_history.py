"""Which head moves of a table stand after rollbacks."""

from datetime import UTC, date, datetime

import pytest

from migration_assets.history import standing
from migration_assets.model import HeadMove

START = datetime(2026, 10, 4, tzinfo=UTC)


def moves(*restores: int | None) -> list[HeadMove]:
    """Return entries 1, 2 … of one table; a number is the entry that a rollback restores."""
    return [
        HeadMove(
            entry=entry,
            kind="load" if restored is None else "rollback",
            week=date(2026, 10, 4),
            cut="",
            mapping_hash="",
            inserted=0,
            updated=0,
            deleted=0,
            displaced=0,
            move="",
            run="",
            written_at=START,
            restores=restored,
        )
        for entry, restored in enumerate(restores, start=1)
    ]


@pytest.mark.parametrize(
    ("restores", "expected"),
    [
        ((), []),
        ((None, None), [1, 2]),
        ((None, None, None, 1), [1]),
        ((None, None, 1, None), [1, 4]),
        ((None, None, 1, 2), [1, 2]),  # the rollback was taken back
        ((None, None, 1, None, 2, None), [1, 2, 6]),
        ((None, None, None, 2, 1, 3), [1, 2, 3]),
    ],
)
def test_what_a_rollback_took_back_does_not_stand(
    restores: tuple[int | None, ...], expected: list[int]
) -> None:
    """Until the rollback is itself taken back."""
    assert [move.entry for move in standing(moves(*restores))] == expected
