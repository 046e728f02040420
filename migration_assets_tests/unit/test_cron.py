"""Cron schedules: what the settings take Dagster takes too, and what is wrong is said in words."""

import pytest
from dagster._utils.schedules import is_valid_cron_string
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.cron import problem

_ITEMS = """
* 0 00 2 7 12 23 28 29 30 31 59 60 1-5 5-1 5-5 0-7 */2 */7 */70 1/2 1-5/2 1,3
sun mon-fri fri-sun feb JAN mar-may feb,apr -1 a ? L 5#2 1- -
"""
_ITEM = st.sampled_from(_ITEMS.split())
_SCHEDULE = st.lists(_ITEM, min_size=5, max_size=5).map(" ".join)


@given(_SCHEDULE)
def test_what_is_taken_dagster_takes_too(schedule: str) -> None:
    """A schedule that only fails when definitions load would take the whole UI away."""
    if not problem(schedule):
        assert is_valid_cron_string(schedule)


@pytest.mark.parametrize(
    "schedule",
    ["0 2 * * 0", "*/15 0-6 1,15 jan-mar mon", "0 2 29 2 *", "30 2 * * SUN", "0 2 31 feb,mar 7"],
)
def test_schedules_in_use_are_taken(schedule: str) -> None:
    """Lists, spans, steps and names, in any case of letters."""
    assert problem(schedule) == ""


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        ("0 2 * *", "five fields"),
        ("@weekly", "five fields"),
        ("60 2 * * 0", "its minute"),
        ("0 24 * * 0", "its hour"),
        ("0 2 0 * *", "its day"),
        ("0 2 * foo *", "its month"),
        ("0 2 * * 8", "its weekday"),
        ("*/0 2 * * 0", "its minute"),
        ("5-1 2 * * 0", "its minute"),
        ("0 2 * * ,", "its weekday"),
        ("0 2 30 2 *", "has a day 30"),
        ("0 2 31 apr,jun *", "has a day 31"),
    ],
)
def test_the_wrong_field_is_named(schedule: str, named: str) -> None:
    """Five numbers in a row are easily mistaken for each other."""
    assert named in problem(schedule)
