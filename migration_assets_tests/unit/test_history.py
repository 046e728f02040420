"""Which head moves of a table stand after rollbacks."""

from datetime import UTC, date, datetime, timedelta

import pytest

from migration_assets.history import before_entry, standing, turned, way_back
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


@pytest.mark.parametrize(
    ("restores", "entry", "to", "taken"),
    [
        ((None, None, None), 2, 1, [2, 3]),
        ((None, None, None), 3, 2, [3]),
        ((None, None, 1), 3, 2, [3]),  # the rollback is taken back
        ((None, None, 1, None), 4, 3, [4]),
        ((None, None, 1, None), 3, 2, [3, 4]),
        ((None, None, 1, 2), 2, 1, [2, 4]),
        ((None, None, 1, 2), 4, 3, [2, 4]),
        ((None, None, 1, 2, None), 4, 3, [2, 4, 5]),
        ((None, None, 1), 2, None, []),  # it stands there already
    ],
)
def test_the_moves_taken_back_are_those_that_led_away(
    restores: tuple[int | None, ...], entry: int, to: int | None, taken: list[int]
) -> None:
    """And the rollback that did, where it is one that is taken back."""
    made = moves(*restores)
    before = before_entry(made, entry)
    assert before is not None
    way = way_back(made, before)
    if to is None:
        assert way is None
        return
    assert way is not None
    assert (way.to.entry, [move.entry for move in way.taken]) == (to, taken)


@pytest.mark.parametrize(
    ("weeks", "away", "again"),
    [
        ((1, 2, 3), [], []),
        ((1, 2, 3, 1), [2, 3], []),
        ((1, 3, 1), [2, 3], []),  # the second one was covered
        ((1, 2, 3, 1, 2), [3], [2]),
        ((1, 2, 3, 1, 4), [], [2, 3]),
        ((1, 2, 3, 1, 3), [], [2, 3]),
    ],
)
def test_weeks_are_taken_away_and_come_again(
    weeks: tuple[int, ...], away: list[int], again: list[int]
) -> None:
    """All after the head's that were carried once."""
    first = date(2026, 10, 4)
    found = turned(first + timedelta(weeks=number - 1) for number in weeks)
    numbers = [[(day - first).days // 7 + 1 for day in days] for days in (found.away, found.again)]
    assert numbers == [away, again]


def test_the_label_of_a_final_cut_moves_no_week() -> None:
    """Back to a cutover that was given up: the week after it is taken back, as its partition."""
    first = date(2026, 10, 4)
    final, second = first + timedelta(days=1), first + timedelta(weeks=1)
    assert turned((first, final, second, final)).away == (second,)
    assert turned((first, final, second, first)).away == (second,)
    assert turned((first, final, second)).away == ()
    assert turned((first, final, first)).away == ()
