"""The label of the open week's final cut.

Weeks are ordered by their labels, and the open week has none to give: were the final cut labelled
with it, a cutover that is given up would cover that week's regular run, and what the application
wrote after it would be missed until a week later, or for ever in the last one. So a final cut is
labelled with a day of the last complete week, after that week's own label: it comes after it and
before the open one. Each attempt that needs another cut takes the next day.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from migration_assets.errors import StateError
from migration_assets.weeks import Weeks

_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)


def open_week(weeks: Weeks, now: datetime) -> date:
    """Return the first day of the week that contains now, also after the migration's last one."""
    today = now.astimezone(ZoneInfo(weeks.timezone)).date()
    return weeks.first + _WEEK * ((today - weeks.first).days // 7)


def is_final(label: date, opened: date) -> bool:
    """Tell whether a label is one of a final cut of this open week."""
    return opened - _WEEK < label < opened


def next_label(opened: date, taken: Iterable[date]) -> date:
    """Return the label of the next final cut, after all that were taken.

    Raises `StateError` where there is none left before the open week's own.
    """
    label = max((opened - _WEEK, *taken)) + _DAY
    if label < opened:
        return label
    raise StateError(
        what=f"there is no label left for another final cut before week {opened}",
        where=f"week {opened}",
        expected="at most 6 final cuts in one week, and no cut of a later week",
        hint="let the week end, carry it as any other, and cut over in the next one",
    )
