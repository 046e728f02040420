"""The fit: whatever is accepted comes back from PostgreSQL and SQLite as it was."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import compress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.affinity import identical
from migration_assets.mapping.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    JSON,
    NUMERIC,
    TEXT,
    ladder,
)
from migration_assets.mapping.values import fitter, render
from migration_assets.model import (
    ColumnMapping,
    Kind,
    SqliteValue,
    TargetType,
    TargetValue,
    UndecodableText,
)
from migration_assets.target.connection import Connection
from migration_assets_tests.fixtures_sqlite import DECLARED, TRICKY, stored, values
from migration_assets_tests.fixtures_target import (
    NUMERAL,
    NUMERAL_12_2,
    NUMERIC_18_2,
    NUMERIC_38_10,
    NUMERIC_60_20,
    TYPES,
    loaded,
    mapping_over,
    read,
)

_REASON = (
    r"(integer|real|blob|text|text that is not UTF-8|text with a NUL character)"
    r" is no {}( of the form .+)?"
)


def _column(declared: str, kind: TargetType) -> ColumnMapping:
    return ColumnMapping(name="v", declared=declared, target="v", type=kind, not_null=False)


def _back_in_sqlite(
    declared: str, kind: TargetType, back: Sequence[TargetValue], held: Sequence[SqliteValue]
) -> list[SqliteValue]:
    """Render target values and let a real SQLite column take them."""
    if kind.kind in (Kind.TEXT, Kind.JSON):
        # SQLite before 3.47 reads some decimals one bit beside the nearest double, which Python's
        # reading always finds; the text is the shortest that names the double, so it is exact.
        back = [
            float(str(b)) if isinstance(h, float) else b for b, h in zip(back, held, strict=True)
        ]
    return stored(declared, [render(value, kind) for value in back])


@settings(max_examples=60)
@given(declared=st.sampled_from(DECLARED), given_values=st.lists(values, min_size=1, max_size=20))
@example(declared="INTEGER", given_values=list(TRICKY))
@example(declared="NUMERIC", given_values=list(TRICKY))
@example(declared="DECIMAL(18,2)", given_values=list(TRICKY))
@example(declared="REAL", given_values=list(TRICKY))
@example(declared="TEXT", given_values=list(TRICKY))
@example(declared="DATE", given_values=list(TRICKY))
@example(declared="BOOLEAN", given_values=list(TRICKY))
@example(declared="", given_values=list(TRICKY))
def test_what_fits_comes_back_with_class_and_bytes(
    connection: Connection, declared: str, given_values: list[SqliteValue]
) -> None:
    """Every accepted value, in every type, returns through PostgreSQL to a real SQLite column."""
    held = stored(declared, given_values)
    fits = [fitter(_column(declared, kind)) for kind in TYPES]
    rows = [tuple(fit(value).value for fit in fits) for value in held]
    mapping = mapping_over(TYPES, declared=declared)
    with loaded(connection, mapping, rows):
        back = read(connection, mapping)
    for position, (kind, fit) in enumerate(zip(TYPES, fits, strict=True)):
        accepted = [v is not None and not fit(v).reason for v in held]
        cells = [row[position] for row in back]
        assert not any(c is not None for c, a in zip(cells, accepted, strict=True) if not a)
        sources = list(compress(held, accepted))
        again = _back_in_sqlite(declared, kind, list(compress(cells, accepted)), sources)
        assert all(map(identical, again, sources)), (kind, again, sources)


@settings(max_examples=150)
@given(declared=st.sampled_from(DECLARED), given_values=st.lists(values, max_size=20))
@example(declared="", given_values=list(TRICKY))
@example(declared="NUMERIC", given_values=list(TRICKY))
def test_two_source_values_never_become_one_target_value(
    declared: str, given_values: list[SqliteValue]
) -> None:
    """A fit is one to one, so no difference of the source can vanish on the target."""
    for kind in ladder(declared):
        fit = fitter(_column(declared, kind))
        by_target: dict[str, list[SqliteValue]] = defaultdict(list)
        for value in stored(declared, given_values):
            if value is not None and not (fitted := fit(value)).reason:
                by_target[repr(fitted.value)].append(value)
        for sources in by_target.values():
            assert all(identical(sources[0], other) for other in sources), (kind, sources)


@settings(max_examples=150)
@given(declared=st.sampled_from(DECLARED), value=values)
def test_a_value_that_does_not_fit_has_a_reason_without_the_value(
    declared: str, value: SqliteValue
) -> None:
    """A misfit is told apart from NULL by its reason, which names class and type only."""
    for kind in TYPES:
        fitted = fitter(_column(declared, kind))(value)
        if value is None:
            assert fitted == (None, "")
        elif fitted.value is None:
            assert re.fullmatch(_REASON.format(re.escape(kind.sql)), fitted.reason)


NIL = "00000000-0000-0000-0000-000000000000"
FULL_RANGE: list[tuple[str, TargetType, list[SqliteValue]]] = [
    ("INTEGER", BIGINT, [2**63 - 1, -(2**63), 0, -1, 2**53 + 1]),
    ("", BIGINT, [2**63 - 1, -(2**63)]),
    ("REAL", DOUBLE, [5e-324, -5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), 1e15]),
    ("", DOUBLE, [-0.0, 0.0, 5e-324, 1e15, 1e20, 0.1 + 0.2]),
    ("DECIMAL(18,2)", NUMERIC_18_2, [9999999999999999, -9999999999999999, 2**53 + 1, 0.01, -0.1]),
    ("DECIMAL(38,10)", NUMERIC_38_10, [2**63 - 1, -(2**63), 1e-10, 12345.6789, 1e27]),
    ("NUMERIC(60,20)", NUMERIC_60_20, [2**63 - 1, -(2**63), 1e-20, 1e39]),
    ("NUMERIC", NUMERIC, [2**63 - 1, 1e300, 5e-324, 1.7976931348623157e308, 1e20, 9.3e18, -2.5]),
    ("TEXT", TEXT, ["", " ", "a ", "a\n", "\U0001f600", "\x01", "\ufeff", "\\N", "x" * 100_000]),
    ("TEXT", TEXT, ["1", "1.50", "0001", "inf", "e\u0301", "\u00e9", "\uffff", "\U0010ffff"]),
    ("BLOB", BYTEA, [b"", b"\0", bytes(range(256)), b"\\x41"]),
    ("TEXT", BYTEA, [b"", b"\xff"]),
    ("DATE", DATE, ["0001-01-01", "9999-12-31", "2024-02-29", "1582-10-10"]),
    ("BOOLEAN", BOOLEAN, [0, 1]),
    *(
        ("DATETIME", TargetType(kind=Kind.TIMESTAMP, form=form), [low, high])
        for form, low, high in (
            (" 0", "0001-01-01 00:00:00", "9999-12-31 23:59:59"),
            ("T0", "0001-01-01T00:00:00", "9999-12-31T23:59:59"),
            (" 3", "0001-01-01 00:00:00.000", "9999-12-31 23:59:59.999"),
            ("T6", "0001-01-01T00:00:00.000001", "9999-12-31T23:59:59.999999"),
            (" 1", "0001-01-01 00:00:00.0", "9999-12-31 23:59:59.9"),
            (" m", "0001-01-01 00:00", "9999-12-31 23:59"),
            ("s", -62135596800, 253402300799),
            ("ms", -62135596800000, 253402300799999),
            ("us", -62135596800000000, 253402300799999999),
            ("julian", 1721425.5, 5373484.499999988),
            ("julian", 2440587.5, 2440588),
        )
    ),
    *(
        ("TIMESTAMPTZ", TargetType(kind=Kind.TIMESTAMPTZ, form=form), [low, high])
        for form, low, high in (
            (" 0Z", "0001-01-01 00:00:00Z", "9999-12-31 23:59:59Z"),
            ("T6+15:59", "0001-01-01T15:59:00.000001+15:59", "9999-12-31T23:59:59.999999+15:59"),
            ("T1-0330", "0001-01-01T00:00:00.0-0330", "9999-12-31T20:29:59.9-0330"),
            (" m+02", "2024-02-29 00:30+02", "2024-03-31 02:30+02"),
            ("ms", -62135596800000, 253402300799999),
            ("julian", 1721425.5, 5373484.499999988),
        )
    ),
    *(
        ("TIME", TargetType(kind=Kind.TIME, form=form), [low, high])
        for form, low, high in (
            ("0", "00:00:00", "23:59:59"),
            ("m", "00:00", "23:59"),
            ("4", "00:00:00.0000", "23:59:59.9999"),
            ("6", "00:00:00.000000", "23:59:59.999999"),
        )
    ),
    *(
        (declared, TargetType(kind=Kind.UUID, form=form), [low, high])
        for declared, form, low, high in (
            ("UUID", "36l", NIL, NIL.replace("0", "f")),
            ("UUID", "38u", f"{{{NIL}}}", f"{{{NIL.replace('0', 'F')}}}"),
            ("TEXT", "32l", "0" * 32, "f" * 32),
            ("TEXT", "32u", "1" * 32, "F" * 32),
            ("UUID", "32l", "f" * 32, "a" + "0" * 31),
            ("UUID", "blob", bytes(16), b"\xff" * 16),
        )
    ),
    (
        "JSON",
        JSON,
        ["{}", ' {"b":1, "a" : 1.50,"a":null}\n', '"\\ud800\\u0000"', 12, 1.5, 1e20, "true"],
    ),
    ("TEXT", JSON, ["-0", "1.0", "1e400", "9" * 5000, '"\U0001f600"', "[[]]"]),
    ("BOOLEAN", TargetType(kind=Kind.BOOLEAN, form="true/false"), ["true", "false"]),
    ("TEXT", TargetType(kind=Kind.BOOLEAN, form="1/0"), ["1", "0"]),
    ("TEXT", NUMERAL_12_2, ["0.00", "-0.01", "9999999999.99", "-9999999999.99"]),
    ("TEXT", NUMERAL, ["0", "1.5", "1.50", "-0.001", "9" * 131072, "0." + "0" * 16382 + "1"]),
]


@pytest.mark.parametrize(("declared", "kind", "given_values"), FULL_RANGE)
def test_a_type_holds_its_full_range(
    connection: Connection, declared: str, kind: TargetType, given_values: list[SqliteValue]
) -> None:
    """The limits themselves fit, and come back from PostgreSQL and SQLite."""
    fit = fitter(_column(declared, kind))
    held = stored(declared, given_values)
    assert [fit(v).reason for v in held] == [""] * len(held)
    mapping = mapping_over([kind], declared=declared)
    with loaded(connection, mapping, [(fit(v).value,) for v in held]):
        back = [row[0] for row in read(connection, mapping)]
    again = _back_in_sqlite(declared, kind, back, held)
    assert all(map(identical, again, held)), (again, held)


def _refused(
    column: tuple[str, TargetType], what: str, *texts: str
) -> Iterator[tuple[str, TargetType, SqliteValue, str]]:
    """Texts that have no place in a column, each with the reason."""
    return ((*column, text, f"text is no {what}") for text in texts)


UUID_LOWER = TargetType(kind=Kind.UUID, form="36l")
EPOCH_S = TargetType(kind=Kind.TIMESTAMP, form="s")
JULIAN = TargetType(kind=Kind.TIMESTAMP, form="julian")
REFUSED: list[tuple[str, TargetType, SqliteValue, str]] = [
    ("TEXT", TEXT, "a\0b", "text with a NUL character is no text"),
    ("TEXT", TEXT, UndecodableText(b"\xff"), "text that is not UTF-8 is no text"),
    ("TEXT", TEXT, UndecodableText(b"\xed\xa0\x80"), "text that is not UTF-8 is no text"),
    ("TEXT", TEXT, b"abc", "blob is no text"),
    ("BLOB", BYTEA, "abc", "text is no bytea"),
    ("INTEGER", BIGINT, 2.5, "real is no bigint"),
    ("INTEGER", BIGINT, "many", "text is no bigint"),
    ("", BIGINT, 1.0, "real is no bigint"),
    ("", DOUBLE, 1, "integer is no double precision"),
    ("", TEXT, 1, "integer is no text"),
    ("INTEGER", DOUBLE, 2**53 + 1, "integer is no double precision"),
    ("REAL", TEXT, float("inf"), "real is no text"),
    ("DECIMAL(18,2)", NUMERIC_18_2, 0.001, "real is no numeric(18,2)"),
    ("DECIMAL(18,2)", NUMERIC_18_2, 10**16, "integer is no numeric(18,2)"),
    ("DECIMAL(18,2)", NUMERIC_18_2, float("inf"), "real is no numeric(18,2)"),
    ("BOOLEAN", BOOLEAN, 2, "integer is no boolean"),
    ("BOOLEAN", BOOLEAN, "true", "text is no boolean"),
    ("DATE", DATE, "2023-02-29", "text is no date of the form YYYY-MM-DD"),
    ("DATE", DATE, "0000-01-01", "text is no date of the form YYYY-MM-DD"),
    ("DATE", DATE, "2024-1-1", "text is no date of the form YYYY-MM-DD"),
    ("DATE", DATE, "2024-01-01 ", "text is no date of the form YYYY-MM-DD"),
    ("DATE", DATE, "\uff12\uff10\uff12\uff14-01-01", "text is no date of the form YYYY-MM-DD"),
    ("DATE", DATE, 20240101, "integer is no date of the form YYYY-MM-DD"),
    *_refused(
        ("TIMESTAMPTZ", TargetType(kind=Kind.TIMESTAMPTZ, form=" 0+02:00")),
        "timestamptz of the form YYYY-MM-DD HH:MM:SS+02:00",
        *("2024-01-01 10:00:00", "2024-01-01 10:00:00+01:00", "2024-01-01 10:00:00+0200"),
        *("0001-01-01 00:00:00+02:00", "0000-12-31 10:00:00+02:00", "10000-01-01 00:00:00+02:00"),
        *("2024-01-01 23:59:60+02:00", "2024-01-01 24:00:00+02:00", "2024-02-30 10:00:00+02:00"),
        *("2024-01-01 10:00:00.0+02:00", "2024-01-01T10:00:00+02:00", "2024-01-01 10:00:00+02:00 "),
    ),
    *_refused(
        ("TIMESTAMPTZ", TargetType(kind=Kind.TIMESTAMPTZ, form="T0-0200")),
        "timestamptz of the form YYYY-MM-DDTHH:MM:SS-0200",
        "9999-12-31T23:00:00-0200",
    ),
    *_refused(
        ("TIME", TargetType(kind=Kind.TIME, form="0")),
        "time of the form HH:MM:SS",
        *("24:00:00", "23:59:60", "23:60:00", "10:00", "10:00:00.0", "10:00:00Z", " 10:00:00"),
    ),
    *_refused(
        ("UUID", TargetType(kind=Kind.UUID, form="36l")),
        "uuid of the form dashed lower",
        *(NIL[:-1], NIL + "0", f"{{{NIL}}}", NIL.replace("0", "F"), NIL.replace("0", "g"), ""),
    ),
    *_refused(
        ("JSON", JSON), "json", "", "{", "NaN", "[1,]", "'x'", "\ufeff1", "[" * 201 + "]" * 201
    ),
    *_refused(
        ("TEXT", NUMERAL_12_2),
        "numeric(12,2) of the form text",
        *("1.5", "1.500", "1", "+1.50", "01.50", ".50", "-0.00", " 1.50", "1,234.50", "$1.50"),
        *("10000000000.00", "1e2", "\u0661.50", ""),
    ),
    *_refused(
        ("TEXT", NUMERAL), "numeric of the form text", "-0", "007", "1.", "9" * 131073, "inf"
    ),
    ("UUID", UUID_LOWER, "1" * 32, "real is no uuid of the form dashed lower"),
    ("UUID", UUID_LOWER, bytes(16), "blob is no uuid of the form dashed lower"),
    (
        "UUID",
        TargetType(kind=Kind.UUID, form="blob"),
        bytes(15),
        "blob is no uuid of the form blob",
    ),
    ("DATETIME", EPOCH_S, 253402300800, "integer is no timestamp of the form epoch s"),
    ("DATETIME", EPOCH_S, -62135596801, "integer is no timestamp of the form epoch s"),
    ("DATETIME", EPOCH_S, 2**63 - 1, "integer is no timestamp of the form epoch s"),
    ("DATETIME", EPOCH_S, 1.5, "real is no timestamp of the form epoch s"),
    ("TEXT", EPOCH_S, "1", "text is no timestamp of the form epoch s"),
    ("REAL", JULIAN, float("inf"), "real is no timestamp of the form julian"),
    ("REAL", JULIAN, 0.5, "real is no timestamp of the form julian"),
    ("", JULIAN, 2440588, "integer is no timestamp of the form julian"),
    *(
        (
            "DATETIME",
            TargetType(kind=Kind.TIMESTAMP, form=" 3"),
            text,
            "text is no timestamp of the form YYYY-MM-DD HH:MM:SS.fff",
        )
        for text in (
            "2024-01-01 10:00:00",
            "2024-01-01 24:00:00.000",
            "2024-01-01 10:00:60.000",
            "2024-01-01T10:00:00.000",
            "2024-01-01 10:00:00.000Z",
            "2024-01-01 10:00:00,000",
            "2024-01-01 10:00:00.0000",
        )
    ),
]


@pytest.mark.parametrize(("declared", "kind", "value", "reason"), REFUSED)
def test_what_would_not_come_back_is_refused_with_the_reason(
    declared: str, kind: TargetType, value: SqliteValue, reason: str
) -> None:
    """A value that PostgreSQL can't hold exactly has no place, and the reason says why."""
    assert fitter(_column(declared, kind))(stored(declared, [value])[0]) == (None, reason)
