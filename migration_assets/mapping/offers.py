"""What a column could be beside its proposed type, as the settings would have to say it.

A proposal is careful: text stays text, and numbers stay numbers, whatever they look like. Whoever
knows better says so in `migration.yaml`, and these are the lines for it.
"""

from dataclasses import dataclass

from migration_assets.mapping.encodings import JULIAN, pattern, plausible
from migration_assets.mapping.propose import TOLERANCE
from migration_assets.model import ColumnCensus, Kind, TargetType

_PLAIN = frozenset({Kind.TEXT, Kind.BIGINT, Kind.DOUBLE, Kind.NUMERIC})
_MEANT = (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.UUID, Kind.BOOLEAN, Kind.NUMERIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A type that a column could have, and how many of its values look like it.

    `type` and `encoding` are what the settings take.
    """

    type: str
    encoding: str
    values: int


def encoding_of(kind: TargetType, census: ColumnCensus | None = None) -> str:
    """Return the encoding of a type as the settings name it; '' where it goes without saying.

    So it does for numbers, unless the census found as many numerals in text.
    """
    if kind.kind is Kind.DATE:
        return ""
    if kind.kind is Kind.BOOLEAN and not kind.form:
        return "0/1"
    if kind.kind is Kind.NUMERIC and not kind.form and census is not None and census.values:
        numbers = census.classes.get("integer", 0) + census.classes.get("real", 0)
        return "" if numbers > census.encodings.get("numeric text", 0) else "number"
    return pattern(kind)


def offers(kind: TargetType, census: ColumnCensus, *, compared: bool = False) -> tuple[Offer, ...]:
    """Return what a column of that proposed type could be, the likeliest first.

    At least 99.9 % of its values look like it. json is not for columns that keys or indexes
    compare (`compared`).
    """
    if kind.kind not in _PLAIN or not census.values:
        return ()
    counts = {_type_of(name): count for name, count in census.encodings.items()}
    if plausible(census):
        counts[_counted(plausible(census))] = census.values
    found = [
        Offer(type=other.sql, encoding=encoding_of(other), values=count)
        for other, count in counts.items()
        if other is not None
        and other != kind
        and count >= TOLERANCE * census.values
        and not (compared and other.kind is Kind.JSON)
    ]
    return tuple(sorted(found, key=lambda offer: (-offer.values, offer.type, offer.encoding)))


def _type_of(name: str) -> TargetType | None:
    """Return the type of an encoding as the census names it; None for one that no type has."""
    if name in (Kind.DATE, Kind.JSON):
        return TargetType(kind=Kind(name))
    for kind in _MEANT:
        if name.startswith(f"{kind.value} "):
            return TargetType(kind=kind, form=name.removeprefix(f"{kind.value} "))
    return None


def _counted(name: str) -> TargetType:
    """Return the type of numbers that count time."""
    form = JULIAN if name == JULIAN else name.removeprefix("epoch ")
    return TargetType(kind=Kind.TIMESTAMP, form=form)
