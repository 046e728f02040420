"""How a source writes values that the target keeps as a type of its own, for the judge.

A timestamp, a time, a UUID or a boolean can be written in many ways, and the target keeps none of
them. A column has one way; values in another are quarantined. So the judge takes the way that is
the most frequent among the source's values once the quarantined ones are taken off, and demands
that every target value, written that way, is the source's to the last byte.

Shares no code with the product.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from psycopg import sql

# A value as SQLite stores it. TEXT is a bytearray so that its bytes stay exact (they need not be
# UTF-8) while it remains another thing than a BLOB; str only marks what no SQLite value can be.
Value = None | int | float | bytearray | bytes | str

TIMESTAMP: Final = "timestamp without time zone"
TIMESTAMPTZ: Final = "timestamp with time zone"
TIME: Final = "time without time zone"
UUID: Final = "uuid"
BOOLEAN: Final = "boolean"
WRITTEN: Final = frozenset({TIMESTAMP, TIMESTAMPTZ, TIME, UUID, BOOLEAN})

_MOMENT: Final = re.compile(
    rb"(\d{4}-\d\d-\d\d)?([ T])?\d\d:\d\d(:\d\d)?(?:\.(\d{1,6}))?( ?(?:Z|[+-]\d\d(?::?\d\d)?))?",
    re.ASCII,
)
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}", re.ASCII)
_TRUE: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off"})


class Form(Protocol):
    """One way to write a column's values."""

    def fetch(self, column: sql.Composable) -> sql.Composable:
        """Spell what is to be fetched of the target's column."""
        ...

    def write(self, fetched: Any) -> Any:  # noqa: ANN401 - what the driver made of it
        """Write a fetched value (never NULL) as the source does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A timestamp or a time: what stands between day and time, seconds, fraction, the suffix."""

    separator: str
    seconds: bool
    digits: int
    suffix: str

    def fetch(self, column: sql.Composable) -> sql.Composable:
        """Fetch the text; a moment with a zone as the clock at the suffix shows it."""
        if not self.suffix:
            return sql.SQL("{}::text").format(column)
        offset = sql.Literal(_offset(self.suffix.strip()))
        return sql.SQL("({} AT TIME ZONE {}::interval)::text").format(column, offset)

    def write(self, fetched: Any) -> Any:  # noqa: ANN401
        """Write PostgreSQL's ISO text, which drops a fraction's trailing zeros, in this form."""
        day, _, time = fetched.rpartition(" ")
        whole, _, fraction = time.partition(".")
        if whole.count(":") != 2:  # infinity, or a year before our era
            return fetched
        if not self.seconds and not fraction and whole.endswith(":00"):
            whole = whole.removesuffix(":00")
        fraction = fraction.ljust(self.digits, "0")
        ending = f"{'.' if fraction else ''}{fraction}{self.suffix}"
        return f"{day}{self.separator}{whole}{ending}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """A UUID: as 16 bytes, or as text with or without dashes, in one case."""

    blob: bool
    dashes: bool
    upper: bool

    def fetch(self, column: sql.Composable) -> sql.Composable:
        """Fetch the text."""
        return sql.SQL("{}::text").format(column)

    def write(self, fetched: Any) -> Any:  # noqa: ANN401
        """Write it as the source does."""
        if self.blob:
            return bytes.fromhex(fetched.replace("-", ""))
        text = fetched if self.dashes else fetched.replace("-", "")
        return text.upper() if self.upper else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A boolean: 0 and 1, or two words."""

    words: tuple[str, str] | None

    def fetch(self, column: sql.Composable) -> sql.Composable:
        """Fetch 0 or 1."""
        return sql.SQL("{}::integer").format(column)

    def write(self, fetched: Any) -> Any:  # noqa: ANN401
        """Write it as the source does."""
        return fetched if self.words is None else self.words[fetched]


class FormCount:
    """Counts the ways in which a column's values are written, and answers the commonest."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._counts: Counter[Any] = Counter()

    def count(self, value: Value, step: int) -> None:
        """Count a value of the source, or take a quarantined one off."""
        if value is not None:
            self._counts[_seen(self._kind, value)] += step

    def chosen(self) -> Form:
        """Answer the form; any, where no value shows one."""
        seen = [found for found, n in self._counts.most_common() if found is not None and n > 0]
        if self._kind == UUID:
            return _identifier(seen)
        if self._kind == BOOLEAN:
            return _truth(seen)
        found = next((f for f in seen if isinstance(f, Moment)), None)
        return found or Moment(separator=" ", seconds=True, digits=0, suffix="")


def _seen(kind: str, value: Value) -> object:
    """Answer what a value shows of its column's form; None where it shows nothing."""
    if kind == UUID:
        return _seen_identifier(value)
    if kind == BOOLEAN:
        return bytes(value).decode(errors="replace") if isinstance(value, bytearray) else "0"
    found = _MOMENT.fullmatch(value) if isinstance(value, bytearray) else None
    if found is None:
        return None
    day, separator, seconds, fraction, suffix = found.groups()
    if (kind == TIME) == bool(day) or (kind == TIMESTAMPTZ) != bool(suffix):
        return None
    return Moment(
        separator=(separator or b"").decode(),
        seconds=bool(seconds),
        digits=len(fraction or b""),
        suffix=(suffix or b"").decode(),
    )


def _seen_identifier(value: Value) -> tuple[bool, bool, bool | None] | None:
    if isinstance(value, bytes):
        return (True, False, None) if len(value) == 16 else None
    found = _UUID.fullmatch(value) if isinstance(value, bytearray) else None
    if found is None or not isinstance(value, bytearray):
        return None
    plain = value.decode()
    upper = None if plain.lower() == plain.upper() else plain.upper() == plain
    return (False, bool(found[1]), upper)


def _identifier(seen: Sequence[tuple[bool, bool, bool | None]]) -> Identifier:
    blob, dashes, upper = seen[0] if seen else (False, True, None)
    if upper is None:  # the commonest is all digits: another one of its kind tells the case
        alike = (u for b, d, u in seen if (b, d) == (blob, dashes) and u is not None)
        upper = next(alike, False)
    return Identifier(blob=blob, dashes=dashes, upper=upper)


def _truth(seen: Sequence[str]) -> Truth:
    true = next((word for word in seen if word.lower() in _TRUE - {"1"}), None)
    false = next((word for word in seen if word.lower() in _FALSE - {"0"}), None)
    if true is None and false is None:
        return Truth(words=None)
    return Truth(words=(false or "no such value", true or "no such value"))


def _offset(suffix: str) -> str:
    """Spell the suffix as an interval of hours and minutes: one of days is refused as a zone."""
    if suffix == "Z":
        return "00:00"
    digits = suffix[1:].replace(":", "").ljust(4, "0")
    return f"{suffix[0]}{digits[:2]}:{digits[2:]}"
