"""Moments between SQLite's texts or numbers and PostgreSQL's types, by the column's one form.

A form says how every value of the column is written, so that it prints back the same:

- `timestamp`: separator and precision, such as `" 0"`, `"T3"`, `" m"`; or how a number counts:
  `s`, `ms`, `us` since 1970, or `julian` (days, as SQLite's julianday() has them)
- `timestamptz`: the same, then the suffix that all values end with, such as `"T3Z"`, `" 0+02:00"`
- `time`: the precision alone, such as `"0"`, `"6"`, `"m"`

A precision is the number of fraction digits, or `m` where there are no seconds.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, timezone
from functools import lru_cache

from migration_assets.model import Kind, SqliteValue, TargetType

EPOCH_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds in one of them
JULIAN = "julian"
NUMBERS = frozenset({*EPOCH_UNITS, JULIAN})

_CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?"
_SUFFIXES = r" ?(?:Z|UTC|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)"  # as far as PostgreSQL's zones go
_MOMENT = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}([ T])({_CLOCK})({_SUFFIXES})?", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)
_FORM = re.compile(r"([ T])([m0-6])(.*)", re.DOTALL)
_SUFFIX = re.compile(_SUFFIXES, re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?", re.ASCII)
_MINUTES = len("HH:MM")
_SECONDS = len("HH:MM:SS")
_DAY = 10  # characters of YYYY-MM-DD
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as a timestamp without a zone
_MICROSECOND = timedelta(microseconds=1)
# Julian day 0 is noon of a day long before year 1; that of the epoch is 2440587.5
# (https://sqlite.org/lang_datefunc.html).
_JULIAN_EPOCH = 2_440_587_500_000 * 86_400  # in microseconds: days * 86,400,000,000
_DAY_MICROSECONDS = 86_400_000_000
_DAY_MILLISECONDS = 86_400_000


def moment_form(text: str) -> tuple[Kind, str] | None:
    """Return kind and form of a text that looks like a timestamp, with a zone or without."""
    match = _MOMENT.fullmatch(text)
    if not match:
        return None
    form = match[1] + _precision(match[2])
    return (Kind.TIMESTAMPTZ, form + match[3]) if match[3] else (Kind.TIMESTAMP, form)


def time_form(text: str) -> str:
    """Return the form of a text that looks like a time of day, or ''."""
    return _precision(text) if _TIME.fullmatch(text) else ""


def _precision(clock: str) -> str:
    return "m" if len(clock) == _MINUTES else str(max(0, len(clock) - _SECONDS - 1))


def is_form(kind: Kind, form: str) -> bool:
    """Tell whether a kind has this form."""
    if kind is Kind.TIME:
        return bool(re.fullmatch("[m0-6]", form))
    if form in NUMBERS:
        return True
    match = _FORM.fullmatch(form)
    if not match:
        return False
    return offset(match[3]) is not None if kind is Kind.TIMESTAMPTZ else not match[3]


@lru_cache(maxsize=64)
def offset(suffix: str) -> timezone | None:
    """Return the offset that a suffix means; None where it means none."""
    if not _SUFFIX.fullmatch(suffix):
        return None
    match = _OFFSET.fullmatch(suffix.lstrip())
    if not match:
        return UTC
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(-ahead if match[1] == "-" else ahead)


def read_moment(value: SqliteValue, kind: TargetType) -> datetime | None:
    """Return the moment a value means under a form; None where it is none.

    With a zone it is in UTC. A moment before year 1 or after year 9999 is none. Texts of almost
    that form may be read: whether one prints back the same is for the fit to say.
    """
    if kind.form in NUMBERS:
        found = _from_number(value, kind.form)
        return found.replace(tzinfo=UTC) if found and kind.kind is Kind.TIMESTAMPTZ else found
    suffix = kind.form[2:]
    if not isinstance(value, str) or len(value) != _written_length(kind.form):
        return None
    if not value.endswith(suffix):
        return None
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(value[: len(value) - len(suffix)])
        if found.tzinfo is None:
            return found if kind.kind is Kind.TIMESTAMP else _in_utc(found, offset(suffix))
    return None


def _in_utc(moment: datetime, zone: timezone | None) -> datetime | None:
    """Return the moment in UTC; without a zone it is none, and never the machine's own time."""
    return None if zone is None else moment.replace(tzinfo=zone).astimezone(UTC)


def write_moment(value: datetime, kind: TargetType) -> SqliteValue:
    """Return a moment as the form writes it, whatever zone it was read in.

    One that the form can't write, which only others put on the target, is written otherwise.
    """
    form = kind.form
    if form in NUMBERS:
        plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return _as_number(plain, form)
    suffix = form[2:]
    if value.tzinfo:
        try:
            value = value.astimezone(offset(suffix)).replace(tzinfo=None)
        except OverflowError:  # years 0 or 10000 there
            return value.isoformat()
    length = _written_length(form) - len(suffix)
    return _cut(value.isoformat(form[0], "microseconds"), length) + suffix


def read_time(value: SqliteValue, form: str) -> time | None:
    """Return the time of day a text means under a form; None where it is none of that form."""
    if isinstance(value, str) and form and time_form(value) == form:
        with suppress(ValueError):
            return time.fromisoformat(value)
    return None


def write_time(value: time, form: str) -> str:
    """Return a time of day as the form writes it."""
    return _cut(value.isoformat("microseconds"), _length(form))


def _cut(text: str, length: int) -> str:
    """Cut what the form has no place for, unless something would be lost."""
    return text[:length] if not text[length:].strip(".:0") else text


@lru_cache(maxsize=64)
def _written_length(form: str) -> int:
    """Return how long every text of a form is; none is where there is no form yet."""
    return _DAY + 1 + _length(form[1]) + len(form[2:]) if _FORM.fullmatch(form) else 0


def _length(precision: str) -> int:
    if precision == "m":
        return _MINUTES
    return _SECONDS if precision == "0" else _SECONDS + 1 + int(precision)


def _from_number(value: SqliteValue, form: str) -> datetime | None:
    with suppress(OverflowError, ValueError):  # beyond the years 1 to 9999; infinity
        if form == JULIAN:
            return _from_julian(float(value)) if isinstance(value, int | float) else None
        if isinstance(value, int):
            return _EPOCH + value * EPOCH_UNITS[form] * _MICROSECOND
    return None


def _from_julian(days: float) -> datetime:
    """Return a Julian day's moment: SQLite's own are whole milliseconds, others microseconds."""
    numerator, denominator = days.as_integer_ratio()
    found = _moment_of(1_000 * round(numerator * _DAY_MILLISECONDS / denominator))
    if _as_number(found, JULIAN) == days:
        return found
    return _moment_of((2 * numerator * _DAY_MICROSECONDS + denominator) // (2 * denominator))


def _moment_of(julian_microseconds: int) -> datetime:
    return _EPOCH + (julian_microseconds - _JULIAN_EPOCH) * _MICROSECOND


def _as_number(value: datetime, form: str) -> int | float:
    """Return the number; a part of a unit, which no source value has, makes it a real."""
    since = (value - _EPOCH) // _MICROSECOND
    if form == JULIAN:
        return (since + _JULIAN_EPOCH) / _DAY_MICROSECONDS  # one correct rounding
    units, rest = divmod(since, EPOCH_UNITS[form])
    return since / EPOCH_UNITS[form] if rest else units
