"""Tell whether a cron schedule is one: five fields, every number in its range, a day that exists.

Dagster has the last word, but only when definitions load; importing it to read settings would cost
half a second. What is taken here Dagster takes too (a test compares); of its extensions (`L`, `#`,
`@weekly`) none is taken.
"""

from collections.abc import Mapping

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS = "sun mon tue wed thu fri sat"


def _numbered(names: str, start: int) -> Mapping[str, int]:
    return {name: number for number, name in enumerate(names.split(), start)}


# name, lowest, highest, names: https://man7.org/linux/man-pages/man5/crontab.5.html
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _numbered(_MONTHS, 1)),
    ("weekday", 0, 7, _numbered(_WEEKDAYS, 0)),
)
_DAY, _MONTH = 2, 3  # places among the fields
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days of a month, by its number


def problem(schedule: str) -> str:
    """Return what is wrong with a schedule, in words; '' where nothing is."""
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        return "a cron schedule has five fields: minute hour day month weekday"
    values: list[set[int]] = []
    for part, (name, low, high, names) in zip(parts, _FIELDS, strict=True):
        found = _values(part.lower(), low, high, names)
        if not found:
            return f"its {name} is not *, or numbers from {low} to {high} as in 5, 1-5, 1,3 or */2"
        values.append(found)
    first = min(values[_DAY])
    if all(first > _LONGEST[month] for month in values[_MONTH]):
        return f"no month that it names has a day {first}"
    return ""


def _values(part: str, low: int, high: int, names: Mapping[str, int]) -> set[int]:
    """Return the numbers that a field stands for; none where it is no field."""
    found: set[int] = set()
    for item in part.split(","):
        span, slash, step = item.partition("/")
        width = _number(step, {}) if slash else 1
        first, last = _span(span, low, high, names, open_end=bool(slash))
        if width is None or first is None or last is None:
            return set()
        if not (low <= first <= last <= high and 1 <= width <= high):
            return set()
        found.update(range(first, last + 1, width))
    return found


def _span(
    text: str, low: int, high: int, names: Mapping[str, int], *, open_end: bool
) -> tuple[int | None, int | None]:
    if text == "*":
        return low, high
    first, dash, last = text.partition("-")
    start = _number(first, names)
    if dash:
        return start, _number(last, names)
    return start, high if open_end else start


def _number(text: str, names: Mapping[str, int]) -> int | None:
    if text in names:
        return names[text]
    return int(text) if text.isascii() and text.isdigit() else None
