"""Affinity: a real SQLite decides what becomes of a value; the model of it has to agree."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.affinity import affinity_of, apply_affinity, identical, real_text
from migration_assets.mapping.values import storage_class
from migration_assets.model import (
    Affinity,
    SqliteValue,
    UndecodableText,
)
from migration_assets_tests.fixtures_sqlite import (
    DECLARED,
    TRICKY,
    storage_classes,
    stored,
    values,
)


@pytest.mark.parametrize(
    ("declared", "affinity"),
    [
        ("INTEGER", Affinity.INTEGER),
        ("tinyint", Affinity.INTEGER),
        ("CHARINT", Affinity.INTEGER),
        ("POINT", Affinity.INTEGER),
        ("NVARCHAR(100)", Affinity.TEXT),
        ("clob", Affinity.TEXT),
        ("BLOB", Affinity.BLOB),
        ("", Affinity.BLOB),
        ("DOUBLE PRECISION", Affinity.REAL),
        ("FLOAT", Affinity.REAL),
        ("STRING", Affinity.NUMERIC),
        ("DECIMAL(10,5)", Affinity.NUMERIC),
        ("DATETIME", Affinity.NUMERIC),
    ],
)
def test_a_declared_type_has_the_affinity_of_sqlites_rules(
    declared: str, affinity: Affinity
) -> None:
    """The rules are tried in SQLite's order: INT wins over CHAR, even inside POINT."""
    assert affinity_of(declared) is affinity


def _is_real_text(value: SqliteValue) -> bool:
    """Tell whether a text is a number that SQLite's own reading may round by one bit.

    SQLite before 3.47 reads a decimal with more than 15 digits, or with a large exponent, up to
    one unit in the last place beside the nearest double; Python always finds the nearest.
    """
    return isinstance(value, str) and any(c.isdigit() for c in value)


def _close(left: SqliteValue, right: SqliteValue) -> bool:
    """Tell whether two reals are the same, or neighbours."""
    if not (isinstance(left, float) and isinstance(right, float)):
        return identical(left, right)
    bits = [int.from_bytes(struct.pack(">d", abs(v)), "big") for v in (left, right)]
    return abs(bits[0] - bits[1]) <= 1 and (left < 0) == (right < 0)


@settings(max_examples=150)
@given(declared=st.sampled_from(DECLARED), given_values=st.lists(values, min_size=1, max_size=20))
@example(declared="INTEGER", given_values=list(TRICKY))
@example(declared="NUMERIC", given_values=list(TRICKY))
@example(declared="REAL", given_values=list(TRICKY))
@example(declared="TEXT", given_values=list(TRICKY))
@example(declared="BLOB", given_values=list(TRICKY))
def test_the_model_agrees_with_a_real_insert(
    declared: str, given_values: list[SqliteValue]
) -> None:
    """Storage class and bytes are what SQLite stores, for all classes and declared types."""
    affinity = affinity_of(declared)
    for value, held in zip(given_values, stored(declared, given_values), strict=True):
        modelled = apply_affinity(value, affinity)
        assert storage_class(modelled) == storage_class(held), value
        if affinity is Affinity.TEXT and isinstance(value, float):
            continue  # see test_a_real_in_a_text_column_is_text
        same = _close if _is_real_text(value) else identical
        assert same(modelled, held), (value, modelled, held)


@pytest.mark.parametrize("declared", DECLARED)
def test_storage_classes_agree_with_typeof(declared: str) -> None:
    """SQLite's own typeof names the class that the model predicts."""
    modelled = [apply_affinity(value, affinity_of(declared)) for value in TRICKY]
    assert [storage_class(v) for v in modelled] == storage_classes(declared, TRICKY)


@pytest.mark.parametrize(
    "text",
    [
        *("9007199254740993.0", "9223372036854775807.0", "-9223372036854775808.0"),
        *("922337203685477580700e-2", "9223372036854775807", "-9223372036854775808"),
        *("9223372036854775808", "1e18", "9e18", "9.3e18", "123456789012345678.0"),
    ],
)
@pytest.mark.parametrize("declared", ["INTEGER", "NUMERIC", "REAL"])
def test_whole_numbers_in_text_go_through_a_double_unless_spelled_as_integers(
    declared: str, text: str
) -> None:
    """With a point or an exponent SQLite reads a double first: 9007199254740993.0 loses its 3."""
    assert identical(apply_affinity(text, affinity_of(declared)), stored(declared, [text])[0])


@pytest.mark.parametrize(
    "text",
    [
        *("٣", "\uff11", "1٣", "\u00a05", "1_000", "0x10", "inf", "nan", ".", "+", "1e", "1e+"),
        *("12\0", "", " ", "1 2", "1e99999999999999999999", "-0", "-0.0", " 12 ", "\x0b5\x0c"),
        *("5.", ".5", "+5", "00123", "9" * 400),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("declared", ["INTEGER", "NUMERIC", "REAL"])
def test_only_what_sqlite_reads_as_a_number_becomes_one(declared: str, text: str) -> None:
    """ASCII digits and blanks alone make a number; all else stays the text it is."""
    assert identical(apply_affinity(text, affinity_of(declared)), stored(declared, [text])[0])


@pytest.mark.parametrize(
    "value", [1.5, 0.1, 0.1 + 0.2, 1e15, 1e16, 1e20, -2.5e-10, 123456789.125, float("inf"), 0.0]
)
def test_a_real_in_a_text_column_is_text(value: float) -> None:
    """SQLite prints 15 significant digits, so a real never comes back from a text column."""
    assert apply_affinity(value, Affinity.TEXT) == stored("TEXT", [value])[0]


@given(st.floats(allow_nan=False))
def test_the_text_of_a_real_reads_back_as_the_same_double(value: float) -> None:
    """The shortest repr is exact, negative zero and subnormals included."""
    assert identical(float(real_text(value)), value)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (0.0, -0.0),
        ("abc", b"abc"),
        ("", b""),
        (None, ""),
        ("a", "a "),
        (UndecodableText(b"\xff"), b"\xff"),
    ],
    ids=repr,
)
def test_values_of_other_classes_or_bytes_are_not_identical(
    left: SqliteValue, right: SqliteValue
) -> None:
    """What SQLite calls equal may still be two values."""
    assert not identical(left, right)
    assert identical(left, left)
    assert identical(right, right)
