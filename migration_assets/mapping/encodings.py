"""How values are encoded in SQLite: recognised, named for people, and read from the settings.

The census counts what `look` recognises; an encoding that `migration.yaml` names becomes a form.
"""

import re
from functools import lru_cache

from migration_assets.mapping.moments import (
    EPOCH_UNITS,
    JULIAN,
    NUMBERS,
    is_form,
    moment_form,
    time_form,
)
from migration_assets.mapping.words import (
    BLOB,
    NUMERAL,
    UUID_FORMS,
    WORDS,
    is_numeral,
    uuid_forms,
)
from migration_assets.model import ColumnCensus, Kind, SqliteValue, TargetType

OPEN = "?"  # the form of a type whose encoding the census has yet to tell
WITH_FORM = frozenset(
    {Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.UUID, Kind.BOOLEAN, Kind.NUMERIC}
)
MONEY = "money"  # amounts with signs or thousands: shown, never converted
_DEFAULT = {
    Kind.TIMESTAMP: " 0",
    Kind.TIMESTAMPTZ: " 0+00:00",
    Kind.TIME: "0",
    Kind.UUID: "36l",
    Kind.BOOLEAN: "",
    Kind.NUMERIC: "",
}
_EPOCHS = {f"epoch {unit}": unit for unit in EPOCH_UNITS}
_UUIDS = {
    "dashed lower": "36l",
    "dashed upper": "36u",
    "plain lower": "32l",
    "plain upper": "32u",
    "braced lower": "38l",
    "braced upper": "38u",
    BLOB: BLOB,
}
_UUID_NAMES = {form: name for name, form in _UUIDS.items()}
_CLOCK = re.compile(r"HH:MM(:SS(?:\.(f{1,6}))?)?")
_PATTERN = re.compile(r"YYYY-MM-DD([ T])(HH:MM(?::SS(?:\.f{1,6})?)?)(.*)", re.DOTALL)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_LENGTH = 10
_SHORTEST_MOMENT = len("YYYY-MM-DD HH:MM")
_UUID_LENGTHS = (32, 36, 38)
_LONGEST = 40  # of a text that may be anything but JSON or a numeral
_AMOUNT = re.compile(
    r"[-+]?(?:[$€£¥] ?)?[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?: ?[$€£¥])?"
)
_FIRST_OF_AMOUNT = frozenset("+-$€£¥0123456789")
_HEX = frozenset("0123456789abcdefABCDEF{")
# What clocks of real systems show: 1990 to 2100, in seconds since 1970, and the same as Julian days
_PLAUSIBLE_SECONDS = (631_152_000, 4_102_444_800)
_PLAUSIBLE_DAYS = (2_447_892.5, 2_488_069.5)


@lru_cache(maxsize=1024)  # asked once a value, for a handful of forms
def label(kind: Kind, form: str = "") -> str:
    """Name an encoding in a census: the type's name and its form."""
    return f"{kind.value} {form}" if form else kind.value


def look(text: str) -> tuple[str, ...]:  # noqa: PLR0911 - one line an encoding
    """Return the encodings that a text seems to have, by its outward form alone.

    A UUID without letters may be of either case; else there is at most one.
    """
    length, first = len(text), text[:1]
    if first in ("{", "[") and text[-1] in ("}", "]"):
        forms = uuid_forms(text) if length in _UUID_LENGTHS else ()
        return _labels(Kind.UUID, forms) if forms else ("json",)
    if length > _LONGEST or not length:
        return ("numeric text",) if length and is_numeral(text) else ()
    if text in WORDS:
        return (f"boolean {WORDS[text]}",)
    if length in _UUID_LENGTHS and first in _HEX and (forms := uuid_forms(text)):
        return _labels(Kind.UUID, forms)
    if first not in _FIRST_OF_AMOUNT:
        return ()
    if length == _DATE_LENGTH and _DATE.fullmatch(text):
        return ("date",)
    if ":" in text:
        return _clocks(text)
    if is_numeral(text):
        return ("numeric text",)
    return (MONEY,) if _AMOUNT.fullmatch(text) else ()


@lru_cache(maxsize=1024)
def _labels(kind: Kind, forms: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label(kind, form) for form in forms)


def _clocks(text: str) -> tuple[str, ...]:
    if len(text) >= _SHORTEST_MOMENT:
        moment = moment_form(text)
        return _labels(moment[0], moment[1:]) if moment else ()
    form = time_form(text)
    return _labels(Kind.TIME, (form,)) if form else ()


def forms_of(value: SqliteValue, kind: Kind) -> tuple[str, ...]:  # noqa: PLR0911 - one a kind
    """Return the forms under which a value could be of a kind.

    Numbers that count time have none here: that is for the settings alone to say.
    """
    if kind is Kind.BOOLEAN:
        if isinstance(value, str):
            return (WORDS[value],) if value in WORDS else ()
        return ("",) if isinstance(value, int) else ()
    if kind is Kind.UUID and isinstance(value, bytes):
        return (BLOB,)
    if not isinstance(value, str):
        return ()
    if kind is Kind.UUID:
        return uuid_forms(value)
    if kind is Kind.TIME:
        form = time_form(value)
        return (form,) if form else ()
    moment = moment_form(value)
    return (moment[1],) if moment and moment[0] is kind else ()


def default_form(kind: Kind) -> str:
    """Return the form of a column that holds no value yet."""
    return _DEFAULT.get(kind, "")


def pattern(kind: TargetType) -> str:  # noqa: PLR0911 - one line a kind
    """Return the form of a type for people, as the settings take it; '' where there is none."""
    form = kind.form
    if kind.kind is Kind.DATE:
        return "YYYY-MM-DD"
    if not form or form == OPEN:
        return ""
    if kind.kind is Kind.UUID:
        return _UUID_NAMES[form]
    if kind.kind is Kind.TIME:
        return _clock(form)
    if kind.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        if form in NUMBERS:
            return f"epoch {form}" if form in EPOCH_UNITS else JULIAN
        return f"YYYY-MM-DD{form[0]}{_clock(form[1])}{form[2:]}"
    return form


def _clock(precision: str) -> str:
    if precision == "m":
        return "HH:MM"
    return "HH:MM:SS" + ("." + "f" * int(precision) if precision != "0" else "")


def form_of(kind: Kind, encoding: str) -> str:
    """Return the form that an encoding in the settings names; `OPEN` where none is given.

    Raises ValueError with what is expected instead.
    """
    if kind not in WITH_FORM:
        if encoding and not (kind is Kind.DATE and encoding == "YYYY-MM-DD"):
            message = f"{kind.value} takes no encoding"
            raise ValueError(message)
        return ""
    if not encoding:
        return OPEN
    form = _named(kind, encoding)
    if form is None:
        message = f"{encoding!r} is no encoding of {kind.value}; expected {_EXPECTED[kind]}"
        raise ValueError(message)
    return form


_MOMENTS = (
    "a pattern such as 'YYYY-MM-DD HH:MM:SS.fff'{}, 'epoch s', 'epoch ms', 'epoch us', 'julian'"
)
_EXPECTED = {
    Kind.TIMESTAMP: _MOMENTS.format(""),
    Kind.TIMESTAMPTZ: _MOMENTS.format(" with one suffix such as 'Z' or '+02:00'"),
    Kind.TIME: "'HH:MM', 'HH:MM:SS' or 'HH:MM:SS.fff'",
    Kind.UUID: ", ".join(map(repr, _UUIDS)),
    Kind.BOOLEAN: "'0/1', or two words such as 'true/false' or 'Y/N', the true one first",
    Kind.NUMERIC: "'number', or 'text' for numerals in text",
}


def _named(kind: Kind, encoding: str) -> str | None:
    match kind:
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return _moment_named(kind, encoding)
        case Kind.TIME:
            match = _CLOCK.fullmatch(encoding)
            return _precision(match[0]) if match else None
        case Kind.UUID:
            return encoding if encoding in UUID_FORMS else _UUIDS.get(encoding)
        case Kind.BOOLEAN:
            yes, slash, no = encoding.partition("/")
            sound = slash and yes and no and yes != no and "/" not in no and "\0" not in encoding
            return ("" if encoding == "0/1" else encoding) if sound else None
        case _:
            return {"number": "", NUMERAL: NUMERAL}.get(encoding)


def _moment_named(kind: Kind, encoding: str) -> str | None:
    if encoding == JULIAN or encoding in _EPOCHS:
        return _EPOCHS.get(encoding, JULIAN)
    match = _PATTERN.fullmatch(encoding)
    form = f"{match[1]}{_precision(match[2])}{match[3]}" if match else ""
    return form if form and is_form(kind, form) else None


def _precision(clock: str) -> str:
    return "m" if clock == "HH:MM" else str(clock.count("f"))


def settle(wanted: TargetType, census: ColumnCensus) -> TargetType:
    """Return a type from the settings with the form that most of the column's values have.

    Raises ValueError where no value has one, and the settings have to name it.
    """
    kind = wanted.kind
    if wanted.form != OPEN:
        return wanted
    counts = {
        name.removeprefix(f"{kind.value} "): count
        for name, count in census.encodings.items()
        if name.startswith(f"{kind.value} ")
    }
    if kind in (Kind.BOOLEAN, Kind.NUMERIC):
        counts[""] = census.classes.get("integer", 0) + census.classes.get("real", 0)
    if kind is Kind.UUID:
        counts[BLOB] = census.classes.get("blob", 0)
    form = max(counts, key=lambda form: (counts[form], form), default="")
    if not counts.get(form):
        if census.values:
            message = f"no value looks like {kind.value}: name its encoding, {_EXPECTED[kind]}"
            raise ValueError(message)
        form = default_form(kind)
    return TargetType(kind=kind, precision=wanted.precision, scale=wanted.scale, form=form)


def plausible(census: ColumnCensus) -> str:
    """Name the way in which numbers could count time, by their range alone; '' for none."""
    low, high = census.lowest, census.highest
    if low is None or high is None or set(census.classes) - {"integer", "real"}:
        return ""
    if "real" in census.classes:
        return JULIAN if _PLAUSIBLE_DAYS[0] <= low <= high <= _PLAUSIBLE_DAYS[1] else ""
    for unit, size in EPOCH_UNITS.items():
        factor = 1_000_000 // size
        if _PLAUSIBLE_SECONDS[0] * factor <= low <= high <= _PLAUSIBLE_SECONDS[1] * factor:
            return f"epoch {unit}"
    return ""
