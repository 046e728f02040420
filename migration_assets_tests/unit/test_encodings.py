"""Encodings: what texts look like, forms and their patterns, and types named in the settings."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.mapping.encodings import (
    OPEN,
    WITH_FORM,
    form_of,
    look,
    pattern,
    plausible,
    settle,
)
from migration_assets.mapping.types import BIGINT, BYTEA, DATE, DOUBLE, JSON, NUMERIC, TEXT, parse
from migration_assets.mapping.values import fitter, render
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    Kind,
    SourceColumn,
    SourceTable,
    SqliteValue,
    TargetType,
)
from migration_assets.source.census import count
from migration_assets_tests.fixtures_target import TYPES, target_values

SOME_UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def kind_of(kind: Kind, form: str = "") -> TargetType:
    """Return a type of a form."""
    return TargetType(kind=kind, form=form)


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        ("2024-02-29 10:00:00", ("timestamp  0",)),
        ("2024-02-29T10:00:00", ("timestamp T0",)),
        ("2024-02-29 10:00:00.1", ("timestamp  1",)),
        ("2024-02-29T10:00:00.12", ("timestamp T2",)),
        ("2024-02-29 10:00:00.123", ("timestamp  3",)),
        ("2024-02-29T10:00:00.1234", ("timestamp T4",)),
        ("2024-02-29T10:00:00.12345", ("timestamp T5",)),
        ("2024-02-29T10:00:00.123456", ("timestamp T6",)),
        ("2024-02-29 10:00", ("timestamp  m",)),
        ("2024-02-29 10:00:00Z", ("timestamptz  0Z",)),
        ("2024-02-29 10:00:00 UTC", ("timestamptz  0 UTC",)),
        ("2024-02-29T10:00:00.123Z", ("timestamptz T3Z",)),
        ("2024-02-29 10:00:00+01:00", ("timestamptz  0+01:00",)),
        ("2024-02-29 10:00:00 -0330", ("timestamptz  0 -0330",)),
        ("2024-02-29T10:00+05", ("timestamptz Tm+05",)),
        ("2024-02-29 10:00:00.123456789", ()),
        ("2024-02-29 10:00:00.", ()),
        ("2024-02-29  10:00:00", ()),
        ("2024-02-29 10:00:00\n", ()),
        ("2024-02-29 10:00:00 CET", ()),
        ("2024-02-29 10:00:00z", ()),
        ("2024-02-29 10", ()),
        ("2024-02-29 10:00:00+15:59", ("timestamptz  0+15:59",)),
        ("2024-02-29 10:00:00+16:00", ()),
        ("2024-02-29 10:00:00+01:60", ()),
        ("2024-02-29 10:00:00+1", ()),
        ("2024-02-29", ("date",)),
        ("29.02.2024", ()),
        ("10:00", ("time m",)),
        ("10:00:00", ("time 0",)),
        ("10:00:00.5", ("time 1",)),
        ("10:00:00.123456", ("time 6",)),
        ("9:00", ()),
        ("10:00:00 PM", ()),
        ("true", ("boolean true/false",)),
        ("FALSE", ("boolean TRUE/FALSE",)),
        ("No", ("boolean Yes/No",)),
        ("y", ("boolean y/n",)),
        ("F", ("boolean T/F",)),
        ("off", ("boolean on/off",)),
        ("yEs", ()),
        ("", ()),
        (" ", ()),
        (SOME_UUID, ("uuid 36l",)),
        (SOME_UUID.upper(), ("uuid 36u",)),
        (SOME_UUID.replace("-", ""), ("uuid 32l",)),
        ("{" + SOME_UUID.upper() + "}", ("uuid 38u",)),
        ("0" * 32, ("uuid 32l", "uuid 32u")),
        ("3F2504e0-4f89-41d3-9a0c-0305e82c3301", ()),
        (SOME_UUID[:-1], ()),
        ("3f2504e04f89-41d3-9a0c-0305e82c3301-", ()),
        ('{"a": 1}', ("json",)),
        ("[]", ("json",)),
        ("{" + "x" * 36 + "}", ("json",)),
        ("{", ()),
        ("12.50", ("numeric text",)),
        ("-0.5", ("numeric text",)),
        ("0", ("numeric text",)),
        ("9" * 50, ("numeric text",)),
        ("-0.00", ("money",)),
        ("1,234.50", ("money",)),
        ("$5.00", ("money",)),
        ("-$1,234", ("money",)),
        ("5 €", ("money",)),
        ("007", ("money",)),
        ("+1", ("money",)),
        ("1,23", ()),
        ("1e5", ()),
        ("\u0661\u0662", ()),
        ("abc", ()),
    ],
)
def test_a_text_looks_like_one_encoding_or_none(text: str, encodings: tuple[str, ...]) -> None:
    """By its outward form; a UUID of digits alone could be in either case."""
    assert look(text) == encodings


@pytest.mark.parametrize("kind", TYPES)
def test_a_form_has_a_pattern_that_names_it(kind: TargetType) -> None:
    """What a plan shows is what the settings take, and the other way round."""
    shown = pattern(kind)
    if shown:
        assert form_of(kind.kind, shown) == kind.form
    else:
        assert kind.form == ""


@given(st.sampled_from(TYPES).flatmap(lambda k: st.tuples(st.just(k), target_values(k))))
def test_a_value_written_in_a_form_looks_like_it(
    case: tuple[TargetType, int | str],
) -> None:
    """Whatever our own forms write, the census recognises."""
    kind, value = case
    written = render(value, kind)
    column = ColumnMapping(name="v", declared="", target="v", type=kind, not_null=False)
    if not isinstance(written, str) or fitter(column)(written).reason:
        return
    if kind.form and kind.form not in ("N/Y", "1/0"):  # words of the settings' own
        assert f"{kind.kind.value} {kind.form}" in look(written)


@pytest.mark.parametrize(
    ("text", "encoding", "kind"),
    [
        ("bigint", "", BIGINT),
        (" INT8 ", "", BIGINT),
        ("double  precision", "", DOUBLE),
        ("text", "", TEXT),
        ("varchar(20)", "", TEXT),
        ("character varying (20)", "", TEXT),
        ("bytea", "", BYTEA),
        ("json", "", JSON),
        ("date", "YYYY-MM-DD", DATE),
        ("numeric", "number", NUMERIC),
        ("numeric(12,2)", "number", TargetType(kind=Kind.NUMERIC, precision=12, scale=2)),
        ("decimal( 12 )", "number", TargetType(kind=Kind.NUMERIC, precision=12, scale=0)),
        (
            "numeric(12,2)",
            "text",
            TargetType(kind=Kind.NUMERIC, precision=12, scale=2, form="text"),
        ),
        ("numeric(12,2)", "", TargetType(kind=Kind.NUMERIC, precision=12, scale=2, form=OPEN)),
        ("boolean", "", kind_of(Kind.BOOLEAN, OPEN)),
        ("bool", "0/1", kind_of(Kind.BOOLEAN)),
        ("bool", "J/N", kind_of(Kind.BOOLEAN, "J/N")),
        ("timestamp", "", kind_of(Kind.TIMESTAMP, OPEN)),
        ("timestamp", "YYYY-MM-DD HH:MM", kind_of(Kind.TIMESTAMP, " m")),
        ("timestamp", "YYYY-MM-DDTHH:MM:SS.ff", kind_of(Kind.TIMESTAMP, "T2")),
        ("timestamp without time zone", "epoch ms", kind_of(Kind.TIMESTAMP, "ms")),
        ("timestamptz", "epoch s", kind_of(Kind.TIMESTAMPTZ, "s")),
        ("timestamp with time zone", "julian", kind_of(Kind.TIMESTAMPTZ, "julian")),
        ("timestamptz", "YYYY-MM-DD HH:MM:SS+02:00", kind_of(Kind.TIMESTAMPTZ, " 0+02:00")),
        ("time", "HH:MM:SS.fff", kind_of(Kind.TIME, "3")),
        ("uuid", "plain upper", kind_of(Kind.UUID, "32u")),
        ("uuid", "blob", kind_of(Kind.UUID, "blob")),
    ],
)
def test_a_type_of_the_settings_is_read(text: str, encoding: str, kind: TargetType) -> None:
    """As PostgreSQL spells it; without an encoding the form stays open for the census."""
    assert parse(text, encoding) == kind


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("integer", "", "bigint"),
        ("smallint", "", "bigint"),
        ("real", "", "double precision"),
        ("char(3)", "", "write `text`"),
        ("jsonb", "", "write `json`"),
        ("timetz", "", "write `time`"),
        ("money", "", "expected one of bigint"),
        ("", "", "expected one of bigint"),
        ("text; drop table t", "", "expected one of bigint"),
        ("bigint(20)", "", "without a precision"),
        ("timestamp(3)", "", "without a precision"),
        ("text(3)", "", "without a precision"),
        ("varchar(3,2)", "", "without a precision"),
        ("numeric(0)", "", "1 to 1000 digits"),
        ("numeric(1001)", "", "1 to 1000 digits"),
        ("numeric(2,3)", "", "1 to 1000 digits"),
        ("bigint", "epoch s", "takes no encoding"),
        ("date", "DD.MM.YYYY", "takes no encoding"),
        ("timestamp", "epoch m", "'epoch s'"),
        ("timestamp", "YYYY-MM-DD HH:MM:SSZ", "'YYYY-MM-DD HH:MM:SS.fff'"),
        ("timestamptz", "YYYY-MM-DD HH:MM:SS", "one suffix"),
        ("timestamptz", "YYYY-MM-DD HH:MM:SS+16:00", "one suffix"),
        ("timestamptz", "YYYY-MM-DD HH:MM:SS+01:60", "one suffix"),
        ("time", "HH", "'HH:MM'"),
        ("uuid", "upper", "'dashed upper'"),
        ("boolean", "yes", "'true/false'"),
        ("boolean", "x/x", "'true/false'"),
        ("boolean", "/x", "'true/false'"),
        ("boolean", "a/b/c", "'true/false'"),
        ("numeric", "money", "'text'"),
    ],
)
def test_a_type_that_is_not_known_is_refused_with_what_is(
    text: str, encoding: str, expected: str
) -> None:
    """The message says what to write instead."""
    with pytest.raises(ValueError, match=expected.replace("(", r"\(")):
        parse(text, encoding)


def census_of(values: Sequence[SqliteValue]) -> ColumnCensus:
    """Return the census of an untyped column."""
    table = SourceTable(source="main", name="t", columns=(SourceColumn(name="v", declared=""),))
    return count(table, lambda: [(v,) for v in values])["v"]


@pytest.mark.parametrize(
    ("text", "values", "form"),
    [
        ("timestamp", ["2024-01-01 10:00", "2024-01-01 10:00", "2024-01-01 10:00:00"], " m"),
        ("timestamptz", ["2024-01-01 10:00:00.1Z", "2024-01-01 10:00:00"], " 1Z"),
        ("time", ["10:00"], "m"),
        ("uuid", [SOME_UUID.upper(), "0" * 32], "36u"),
        ("uuid", [b"x" * 16, b"y" * 16, SOME_UUID], "blob"),
        ("boolean", ["Y", "N", 1], "Y/N"),
        ("boolean", ["Y", 0, 1], ""),
        ("numeric(8,2)", ["1.50", "2.00"], "text"),
        ("numeric(8,2)", [1, 2.5], ""),
        ("timestamp", [], " 0"),
        ("uuid", [None], "36l"),
    ],
)
def test_an_open_form_is_the_commonest_of_the_census(
    text: str, values: list[SqliteValue], form: str
) -> None:
    """A column without values gets the form that its kind has most often."""
    assert settle(parse(text), census_of(values)).form == form


@pytest.mark.parametrize(("text", "value"), [("timestamp", 1709200800), ("uuid", "x"), ("time", 5)])
def test_a_form_that_no_value_shows_has_to_be_named(text: str, value: SqliteValue) -> None:
    """Numbers are never taken for moments unless the settings say how they count."""
    with pytest.raises(ValueError, match="name its encoding"):
        settle(parse(text), census_of([value]))


def test_a_form_that_is_given_stays() -> None:
    """Whatever the census shows."""
    wanted = parse("timestamp", "epoch s")
    assert settle(wanted, census_of(["2024-01-01 10:00"])) == wanted
    assert settle(parse("bigint"), census_of(["x"])) == BIGINT
    assert {kind for kind in Kind if form_of(kind, "") == OPEN} == WITH_FORM


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ([1_700_000_000, None], "epoch s"),
        ([1_700_000_000_000], "epoch ms"),
        ([1_700_000_000_000_000], "epoch us"),
        ([1_700_000_000, 0], ""),
        ([1_700_000_000, "x"], ""),
        ([1_700_000_000, 1_700_000_000_000], ""),
        ([2460370.5, 2460371.25], "julian"),
        ([2460370.5, 0.5], ""),
        ([1, 2, 3], ""),
        ([], ""),
    ],
)
def test_numbers_that_could_count_time_are_noticed(values: list[SqliteValue], counts: str) -> None:
    """From their range alone; it is evidence, never a type."""
    assert plausible(census_of(values)) == counts
