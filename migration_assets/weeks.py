"""The weeks of a migration: labels, and which of them are complete.

A week's label is the day on which its window starts. The first week, where it isn't set, is the
last complete one on the day the migration is first looked at; it is then remembered, or the
calendar would slide by a week every week.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from migration_assets.errors import SettingsError, StateError
from migration_assets.settings import Settings
from migration_assets.state import State

_KEY = "weeks.json"
_SUNDAY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Weeks:
    """The first week, their number, and the time zone in which they start at midnight."""

    first: date
    count: int
    timezone: str

    @property
    def end(self) -> date:
        """The day after the last week."""
        return self.first + timedelta(weeks=self.count)

    def midnight(self, day: date) -> datetime:
        """Return the moment at which a day begins in the migration's time zone."""
        return datetime.combine(day, time(), ZoneInfo(self.timezone))

    def complete(self, now: datetime) -> list[date]:
        """Return the weeks that have ended at `now` (with a time zone), oldest first."""
        today = now.astimezone(ZoneInfo(self.timezone)).date()
        ended = max(0, min(self.count, (today - self.first).days // 7))
        return [self.first + timedelta(weeks=i) for i in range(ended)]

    def parse(self, text: str, now: datetime) -> date:
        """Return the complete week of that label. Raises `SettingsError` for anything else."""
        complete = self.complete(now)
        try:
            week = date.fromisoformat(text)
        except ValueError:
            week = None
        if week is None or week not in complete:
            known = f"{complete[0]} … {complete[-1]}" if complete else "none is complete yet"
            raise SettingsError(
                what=f"{text} is no complete week of this migration",
                expected=f"the first day of a complete week: {known}, every 7 days",
            )
        return week


def weeks(settings: Settings, state: State, now: datetime) -> Weeks:
    """Return the migration's calendar, remembering a first week that isn't set."""
    first = (
        settings.first_week or _remembered(state) or _remember(state, _last_sunday(settings, now))
    )
    return Weeks(first=first, count=settings.weeks, timezone=settings.timezone)


def _remembered(state: State) -> date | None:
    text = state.read_text(_KEY)
    if text is None:
        return None
    try:
        return date.fromisoformat(json.loads(text)["first_week"])
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            what="the first week that was remembered can't be read",
            where=f"state {_KEY}",
            expected='a document such as {"first_week": "2026-10-04"}',
            hint="restore it from a backup, or set `first_week` to the migration's first week",
        ) from error


def _remember(state: State, first: date) -> date:
    state.write_text(_KEY, json.dumps({"first_week": first.isoformat()}))
    return first


def _last_sunday(settings: Settings, now: datetime) -> date:
    """Return the Sunday on which the last complete week began."""
    today = now.astimezone(ZoneInfo(settings.timezone)).date()
    since_sunday = (today.weekday() - _SUNDAY) % 7
    return today - timedelta(days=since_sunday + 7)
