"""What tells a restored source from a week's business, by counts alone."""

import pytest

from migration_assets.model import Op
from migration_assets.source.going_back import Undone


def undone(
    inserts: tuple[int, int] = (0, 0),
    updates: tuple[int, int] = (0, 0),
    deletes: tuple[int, int] = (0, 0),
    *,
    older_deleted: int = 0,
    newest: bool | None = None,
) -> Undone:
    """Return counts, of each operation as (touched, undone)."""
    kinds = {Op.INSERT: inserts, Op.UPDATE: updates, Op.DELETE: deletes}
    return Undone(
        touched={op: touched for op, (touched, _) in kinds.items()},
        undone={op: again for op, (_, again) in kinds.items()},
        older_deleted=older_deleted,
        newest=newest,
    )


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(undone((40, 40), (20, 18), (10, 10)), id="the last cut, some rows changed on"),
        pytest.param(undone((40, 12), (20, 6), (10, 3)), id="five days after it"),
        pytest.param(undone((40, 30), (20, 9)), id="nothing is ever deleted"),
        pytest.param(undone((40, 10), (4, 0), newest=True), id="a log, with a few corrections"),
        pytest.param(undone((40, 12), newest=True), id="a log"),
        pytest.param(undone((40, 12), (8, 0), (30, 9), newest=True), id="the newest rows missing"),
        pytest.param(undone((40, 25)), id="a log with keys of another kind"),
        pytest.param(undone(updates=(40, 30)), id="rows that only change"),
        pytest.param(undone(deletes=(40, 30)), id="rows that only go"),
    ],
)
def test_a_restored_source_is_told(found: Undone) -> None:
    """Of the last cut, of the week's middle, of tables that are used in one way only."""
    assert found.tells


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(undone(), id="nothing happened"),
        pytest.param(undone((9, 9), newest=True), id="a few rows taken back"),
        pytest.param(undone((40, 4), (20, 3), (10, 2)), id="single rows, of each kind"),
        pytest.param(undone((100, 100), deletes=(50, 0)), id="a queue that is worked off"),
        pytest.param(undone((100, 100), older_deleted=1), id="older rows gone, too"),
        pytest.param(undone((100, 100), newest=False), id="rows used up, newer ones there"),
        pytest.param(undone((100, 19), newest=True), id="the end of a list taken back"),
        pytest.param(undone((100, 0), (200, 200)), id="prices lowered again in a busy shop"),
        pytest.param(undone(updates=(200, 90)), id="switches that were switched back"),
        pytest.param(undone((40, 15)), id="some of the new rows gone"),
    ],
)
def test_a_weeks_business_is_not_taken_for_it(found: Undone) -> None:
    """Each operation that has enough rows has to say so."""
    assert not found.tells
