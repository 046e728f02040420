"""What a column could be besides: lines that the settings take, for values that look like it."""

from collections.abc import Sequence

import pytest

from migration_assets.mapping.offers import Offer, encoding_of, offers
from migration_assets.mapping.propose import choose
from migration_assets.mapping.types import BIGINT, BOOLEAN, NUMERIC, TEXT, parse
from migration_assets.model import ColumnCensus, SourceColumn, SourceTable, SqliteValue
from migration_assets.source.census import count

GUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
DAY = "2026-01-01"
OFFERS = [
    ("TEXT", [f"{DAY}T10:00:00Z"], "timestamptz", "YYYY-MM-DDTHH:MM:SSZ"),
    ("TEXT", [f"{DAY} 10:00:00+02:00"], "timestamptz", "YYYY-MM-DD HH:MM:SS+02:00"),
    ("TEXT", [f"{DAY} 10:00"], "timestamp", "YYYY-MM-DD HH:MM"),
    ("TEXT", [DAY], "date", ""),
    ("TEXT", ["10:00:00.5"], "time", "HH:MM:SS.f"),
    ("TEXT", [GUID], "uuid", "dashed lower"),
    ("TEXT", ['{"a": 1}', "[]"], "json", ""),
    ("TEXT", ["yes", "no"], "boolean", "yes/no"),
    ("TEXT", ["1.50", "2.25"], "numeric", "text"),
    ("INTEGER", [1767261600], "timestamp", "epoch s"),
    ("INTEGER", [1767261600123], "timestamp", "epoch ms"),
    ("REAL", [2461041.5], "timestamp", "julian"),
]


def census_of(declared: str, values: Sequence[SqliteValue]) -> tuple[SourceColumn, ColumnCensus]:
    """Return the census of a column with these values."""
    column = SourceColumn(name="v", declared=declared)
    table = SourceTable(source="main", name="t", columns=(column,))
    return column, count(table, lambda: [(value,) for value in values])["v"]


@pytest.mark.parametrize(("declared", "values", "kind", "encoding"), OFFERS)
def test_what_all_values_look_like_is_offered_as_the_settings_say_it(
    declared: str, values: Sequence[SqliteValue], kind: str, encoding: str
) -> None:
    """And what is offered can be set."""
    column, census = census_of(declared, [*values, None])
    found = offers(choose(column, census), census)
    assert found == (Offer(type=kind, encoding=encoding, values=len(values)),)
    assert encoding_of(parse(kind, encoding)) == encoding


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("TEXT", ["a", DAY]),
        ("TEXT", []),
        ("TEXT", [None]),
        ("TEXT", ["$1.50"]),
        ("INTEGER", [1, 2]),
        ("DATE", [DAY]),
    ],
)
def test_nothing_is_offered_without_evidence(declared: str, values: Sequence[SqliteValue]) -> None:
    """Nor where the column has become that type already."""
    column, census = census_of(declared, values)
    assert offers(choose(column, census), census) == ()


def test_json_is_not_offered_where_values_are_compared() -> None:
    """It knows no equality."""
    _, census = census_of("TEXT", ["{}"])
    assert offers(TEXT, census, compared=True) == ()


def test_a_few_others_among_many_do_not_hide_an_offer() -> None:
    """As with the types themselves: 99.9 %."""
    _, census = census_of("TEXT", [DAY] * 999 + ["x"])
    assert offers(TEXT, census) == (Offer(type="date", encoding="", values=999),)


def test_the_encoding_of_numbers_is_said_only_where_it_matters() -> None:
    """Numerals in text beside them would be taken for the rule."""
    _, numbers = census_of("", [1.5, 2.5, "3.50"])
    _, mixed = census_of("", [1.5, "2.50"])
    assert encoding_of(NUMERIC, numbers) == encoding_of(NUMERIC) == ""
    assert encoding_of(NUMERIC, mixed) == "number"
    assert (encoding_of(BOOLEAN), encoding_of(BIGINT)) == ("0/1", "")
