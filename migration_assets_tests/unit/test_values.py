"""Single values: classes, exact bytes, forms; and rows with the reasons of their misfits."""

from datetime import date, datetime
from decimal import Decimal

import pytest

from migration_assets.mapping.raw import raw_digest, row_parts, value_bytes
from migration_assets.mapping.rows import RowFitter, key_text
from migration_assets.mapping.types import BIGINT, DATE, NUMERIC, TEXT
from migration_assets.mapping.values import (
    NO_FIT,
    convert,
    fitter,
    render,
    storage_class,
)
from migration_assets.model import (
    ColumnMapping,
    Kind,
    SqliteValue,
    TableMapping,
    TargetType,
    TargetValue,
    UndecodableText,
)
from migration_assets.source.connection import exact_text
from migration_assets_tests.fixtures_target import NUMERIC_18_2


@pytest.mark.parametrize(
    ("value", "name", "raw"),
    [
        (None, "null", None),
        (1, "integer", b"\0\0\0\0\0\0\0\1"),
        (-1, "integer", b"\xff" * 8),
        (1.0, "real", b"\x3f\xf0\0\0\0\0\0\0"),
        (-0.0, "real", b"\x80\0\0\0\0\0\0\0"),
        ("é", "text", b"\xc3\xa9"),
        ("a\0b", "text", b"a\0b"),
        (UndecodableText(b"\xff"), "text", b"\xff"),
        (b"", "blob", b""),
    ],
)
def test_a_value_has_a_class_and_exact_bytes(
    value: SqliteValue, name: str, raw: bytes | None
) -> None:
    """What quarantine keeps of it."""
    assert (storage_class(value), value_bytes(value)) == (name, raw)


def test_raw_rows_that_read_alike_have_different_hashes() -> None:
    """Class, length and bytes all count: none of these is any other."""
    rows: list[tuple[SqliteValue, ...]] = [
        *((None,), ("",), (b"",), (0,), (0.0,), (-0.0,), ("0",), (b"0",)),
        *(("ab", "c"), ("a", "bc"), ("abc",), ("abc", None), (None, "abc"), ()),
    ]
    assert len({raw_digest(*row_parts(row)) for row in rows}) == len(rows)


@pytest.mark.parametrize("raw", [b"", b"abc", "é漢\U0001f600".encode(), b"\0", b"a\xef\xbf\xbd"])
def test_utf8_is_decoded(raw: bytes) -> None:
    """Every sound text is a str of the same bytes."""
    text = exact_text(raw)
    assert isinstance(text, str)
    assert text.encode() == raw


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\xe9"]
)
def test_what_is_not_utf8_stays_bytes(raw: bytes) -> None:
    """Latin-1, lone surrogates, overlong forms: nothing is replaced."""
    assert exact_text(raw) == UndecodableText(raw)


@pytest.mark.parametrize(
    ("value", "kind", "rendered"),
    [
        (None, TEXT, None),
        ("1.50", TEXT, "1.50"),
        (b"a", TargetType(kind=Kind.BYTEA), b"a"),
        (True, TargetType(kind=Kind.BOOLEAN), 1),
        (date(1, 1, 1), DATE, "0001-01-01"),
        (
            datetime(2024, 2, 29, 1, 2, 3),  # noqa: DTZ001 - a timestamp without a zone
            TargetType(kind=Kind.TIMESTAMP, form=" 0"),
            "2024-02-29 01:02:03",
        ),
        (Decimal("9007199254740993.00"), NUMERIC_18_2, 9007199254740993),
        (Decimal(9223372036854775807), NUMERIC, 2**63 - 1),
        (Decimal(9223372036854776000), NUMERIC, 2.0**63),  # as repr spells that double
        (Decimal(9223372036854775808), NUMERIC, "9223372036854775808"),
        (Decimal("1.50"), NUMERIC_18_2, 1.5),
        (Decimal("0.1"), NUMERIC, 0.1),
        (Decimal("-0.00"), NUMERIC_18_2, 0),
        (Decimal("0.1000000000000000000001"), NUMERIC, "0.1000000000000000000001"),
    ],
)
def test_a_target_value_is_rendered_as_sqlite_would_be_given_it(
    value: TargetValue, kind: TargetType, rendered: SqliteValue
) -> None:
    """A numeric is the integer or double that it is exactly; else its text, not a near double."""
    found = render(value, kind)
    assert (found, type(found)) == (rendered, type(rendered))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.00"),
        (1.5, "1.50"),
        (0.07, "0.07"),
        (-12345.67, "-12345.67"),
        (1e15, "1" + "0" * 15 + ".00"),
    ],
)
def test_a_bounded_numeric_is_scaled_as_postgresql_scales_it(value: float, text: str) -> None:
    """The digest is over its text, so 1.5 and 1.50 must not both occur."""
    converted = convert(value, NUMERIC_18_2)
    assert isinstance(converted, Decimal)
    assert format(converted, "f") == text


@pytest.mark.parametrize("value", [1e20, 1e300, 5e-324, 1e16, 9.3e18])
def test_an_unbounded_numeric_has_no_exponent(value: float) -> None:
    """As PostgreSQL prints it."""
    assert "E" not in str(convert(value, NUMERIC)).replace("E-324", "")
    assert isinstance(convert(value, NUMERIC), Decimal)


@pytest.mark.parametrize("declared", ["TEXT", "REAL"])
def test_an_integer_does_not_fit_where_its_column_would_make_it_something_else(
    declared: str,
) -> None:
    """SQLite stores none there; one that is there all the same would not come back."""
    column = ColumnMapping(name="v", declared=declared, target="v", type=BIGINT, not_null=False)
    assert fitter(column)(5) == (None, "integer is no bigint")


def test_no_conversion_is_not_null() -> None:
    """A value without a place is told apart from the absence of one."""
    assert convert("x", BIGINT) is NO_FIT
    assert convert(2**63, BIGINT) is NO_FIT


def _mapping(*columns: ColumnMapping, key: tuple[str, ...] = ("k",)) -> TableMapping:
    return TableMapping(
        source="main",
        table="t",
        target_schema="public",
        target_table="t",
        columns=columns,
        key=key,
        key_name="t_pkey",
    )


K = ColumnMapping(name="k", declared="TEXT", target="k", type=TEXT, not_null=False)
A = ColumnMapping(name="a", declared="DATE", target="a", type=DATE, not_null=False)
B = ColumnMapping(name="b", declared="INT", target="b", type=BIGINT, not_null=True)


def test_a_row_fits_whole_or_not_at_all() -> None:
    """Every misfit is named, not only the first; no value is nulled to make the rest fit."""
    fit = RowFitter(_mapping(K, A, B))
    assert fit(("x", "2024-02-29", 1)) == (("x", date(2024, 2, 29), 1), ())
    assert fit(("x", None, 1)) == (("x", None, 1), ())
    assert fit((None, "soon", None)) == (
        None,
        (
            ("k", "null in a key"),
            ("a", "text is no date of the form YYYY-MM-DD"),
            ("b", "null in a column that is NOT NULL"),
        ),
    )


def test_a_row_of_another_width_is_an_error() -> None:
    """Columns are never paired by luck."""
    with pytest.raises(ValueError, match="shorter"):
        RowFitter(_mapping(K, A, B))(("x", None))


def test_a_misfit_is_the_row_itself_with_key_columns_and_reasons() -> None:
    """Reasons name class and type, never a value."""
    fit = RowFitter(_mapping(K, A, B))
    row = ("x", "secret", 1)
    misfit = fit.misfit(row, fit(row).misfits, entering=True)
    assert (misfit.row, misfit.key, misfit.columns) == (row, "k='x'", ("a",))
    assert "secret" not in "".join(misfit.reasons)


def test_a_key_is_shown_in_key_order() -> None:
    """Nothing is shown of a table without a key."""
    assert key_text(_mapping(K, A, B, key=("b", "k")), ("x", None, 1)) == "b=1, k='x'"
    assert key_text(_mapping(K, A, B, key=()), ("x", None, 1)) == ""
