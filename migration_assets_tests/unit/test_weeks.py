"""Weeks: labels that never slide, complete weeks only, in the zone where they are counted."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import SettingsError, StateError
from migration_assets.settings import Settings
from migration_assets.state import LocalState
from migration_assets.weeks import Weeks, weeks

SUNDAY = date(2026, 10, 4)


def _calendar(timezone: str = "UTC", count: int = 26, first: date = SUNDAY) -> Weeks:
    return Weeks(first=first, count=count, timezone=timezone)


def _settings(**fields: object) -> Settings:
    return Settings.model_validate({"source": "a", "target": "embedded"} | fields)


def _utc(*parts: int) -> datetime:
    year, month, day, *time = parts
    return datetime(year, month, day, *time, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "complete"),
    [
        (_utc(2026, 10, 3), 0),
        (_utc(2026, 10, 10, 23, 59, 59), 0),
        (_utc(2026, 10, 11), 1),
        (_utc(2026, 10, 17, 23, 59, 59), 1),
        (_utc(2026, 10, 18), 2),
        (_utc(2030, 1, 1), 26),
    ],
)
def test_a_week_is_complete_when_its_last_day_has_ended(now: datetime, complete: int) -> None:
    """Never before, never more weeks than the migration has."""
    found = _calendar().complete(now)
    assert found == [SUNDAY + timedelta(weeks=i) for i in range(complete)]


@pytest.mark.parametrize(
    ("timezone", "local_midnight"),
    [
        ("UTC", _utc(2026, 10, 11)),
        ("Europe/Zurich", _utc(2026, 10, 10, 22)),
        ("America/New_York", _utc(2026, 10, 11, 4)),
        ("Pacific/Kiritimati", _utc(2026, 10, 10, 10)),
        ("Asia/Kathmandu", _utc(2026, 10, 10, 18, 15)),
    ],
)
def test_a_week_ends_at_midnight_of_its_own_zone(timezone: str, local_midnight: datetime) -> None:
    """Whatever the clock of the machine shows."""
    calendar = _calendar(timezone)
    assert calendar.complete(local_midnight - timedelta(microseconds=1)) == []
    assert calendar.complete(local_midnight) == [SUNDAY]


@pytest.mark.parametrize(
    ("timezone", "first"),
    [
        ("Europe/Zurich", date(2026, 10, 18)),  # 25 October 2026: an hour more
        ("Europe/Zurich", date(2027, 3, 21)),  # 28 March 2027: an hour less
        ("America/New_York", date(2026, 10, 25)),  # 1 November 2026
        ("America/Havana", date(2027, 3, 7)),  # 14 March 2027: midnight itself is left out
        ("Pacific/Apia", date(2011, 12, 24)),  # 30 December 2011 was left out altogether
    ],
)
def test_a_change_of_the_clock_neither_ends_nor_holds_up_a_week(timezone: str, first: date) -> None:
    """Weeks are counted in days of the calendar, not in hours."""
    calendar = _calendar(timezone, first=first)
    zone = ZoneInfo(timezone)
    end = first + timedelta(days=7)
    at_noon = datetime(end.year, end.month, end.day, 12, tzinfo=zone)
    assert calendar.complete(at_noon) == [first]
    assert calendar.complete(at_noon - timedelta(days=1, hours=1)) == []


@given(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1)),  # noqa: DTZ001 - UTC is added
    st.sampled_from(["UTC", "Europe/Zurich", "Pacific/Apia", "America/St_Johns"]),
)
def test_every_label_has_the_first_weeks_weekday(first: date, now: datetime, timezone: str) -> None:
    """Complete weeks lie in the past, whole, and are counted from the first."""
    calendar = _calendar(timezone, first=first)
    now = now.replace(tzinfo=UTC)
    today = now.astimezone(ZoneInfo(timezone)).date()
    found = calendar.complete(now)
    assert all(week.weekday() == first.weekday() for week in found)
    assert all(week + timedelta(days=7) <= today for week in found)
    assert len(found) in {0, 26} or found[-1] + timedelta(days=14) > today
    assert calendar.end == first + timedelta(weeks=26)


@pytest.mark.parametrize("text", ["2026-10-04", "2026-10-11"])
def test_the_label_of_a_complete_week_is_parsed(text: str) -> None:
    """As the day on which its window starts."""
    assert _calendar().parse(text, _utc(2026, 10, 18)) == date.fromisoformat(text)


@pytest.mark.parametrize(
    "text", ["2026-10-18", "2026-10-05", "2026-09-27", "2027-10-03", "soon", "", "2026-13-01", "4"]
)
def test_any_other_text_is_refused_with_the_weeks_there_are(text: str) -> None:
    """A week that isn't complete, a day inside one, one before the first, or no date at all."""
    with pytest.raises(SettingsError, match=r"no complete week[\s\S]*2026-10-04 … 2026-10-11"):
        _calendar().parse(text, _utc(2026, 10, 18))


def test_before_the_first_week_is_complete_the_error_says_so() -> None:
    """There is nothing to choose from yet."""
    with pytest.raises(SettingsError, match="none is complete yet"):
        _calendar().parse("2026-10-04", _utc(2026, 10, 5))


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (_utc(2026, 10, 11), SUNDAY),  # a Sunday
        (_utc(2026, 10, 12), SUNDAY),
        (_utc(2026, 10, 17, 23), SUNDAY),  # a Saturday
        (_utc(2026, 10, 18), date(2026, 10, 11)),
    ],
)
def test_a_first_week_that_is_not_set_is_the_last_complete_one(
    tmp_path: Path, now: datetime, first: date
) -> None:
    """A new user has one week to load, at once."""
    calendar = weeks(_settings(), LocalState(tmp_path), now)
    assert calendar.first == first
    assert calendar.complete(now) == [first]


def test_the_first_week_is_remembered(tmp_path: Path) -> None:
    """Or the calendar would slide by a week every week."""
    state = LocalState(tmp_path)
    first = weeks(_settings(), state, _utc(2026, 10, 12)).first
    later = weeks(_settings(), LocalState(tmp_path), _utc(2026, 12, 12))
    assert later.first == first == SUNDAY
    assert len(later.complete(_utc(2026, 12, 12))) == 9


def test_the_first_week_is_told_in_the_migrations_zone(tmp_path: Path) -> None:
    """Late on Saturday in New York it is Sunday in Zurich."""
    now = _utc(2026, 10, 11, 2)
    in_new_york = weeks(_settings(timezone="America/New_York"), LocalState(tmp_path / "a"), now)
    in_zurich = weeks(_settings(timezone="Europe/Zurich"), LocalState(tmp_path / "b"), now)
    assert (in_new_york.first, in_zurich.first) == (date(2026, 9, 27), SUNDAY)


def test_a_first_week_that_is_set_is_taken_on_any_weekday(tmp_path: Path) -> None:
    """And nothing else is remembered."""
    state = LocalState(tmp_path)
    chosen = _settings(first_week="2026-10-07", weeks=3, timezone="Europe/Zurich")
    calendar = weeks(chosen, state, _utc(2026, 12, 12))
    assert calendar == _calendar("Europe/Zurich", 3, date(2026, 10, 7))
    assert state.keys("") == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"first_week": "soon"}', "[]"])
def test_a_damaged_memory_of_the_first_week_is_named(tmp_path: Path, text: str) -> None:
    """It is never replaced in silence: another first week would be another calendar."""
    state = LocalState(tmp_path)
    state.write_text("weeks.json", text)
    with pytest.raises(StateError, match=r"weeks\.json[\s\S]*first_week"):
        weeks(_settings(), state, _utc(2026, 12, 12))
