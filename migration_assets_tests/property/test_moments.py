"""Moments that numbers count, zones, and sessions whose settings would print values otherwise."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.affinity import identical
from migration_assets.mapping.types import BIGINT
from migration_assets.mapping.values import NO_FIT, convert, fitter, render
from migration_assets.model import ColumnMapping, Kind, TargetRow, TargetType
from migration_assets.target.connection import Connection
from migration_assets.verify.digest import Accumulator, RowHasher
from migration_assets.verify.prove import target_digest
from migration_assets.verify.round_trip import as_stored
from migration_assets_tests.fixtures_target import TYPES, loaded, mapping_over, read, target_rows

JULIAN = TargetType(kind=Kind.TIMESTAMP, form="julian")
# Julian days of the years 1 to 9999
_days = st.floats(1721425.5, 5373484.4999999)


def _fit(kind: TargetType, value: float) -> object:
    column = ColumnMapping(name="v", declared="", target="v", type=kind, not_null=False)
    return fitter(column)(value).value


@given(_days)
@example(2440587.5)
@example(2460370.9166666665)
def test_every_julian_day_comes_back_to_the_bit(days: float) -> None:
    """A real has fewer values than there are microseconds, so each has a moment of its own."""
    moment = _fit(JULIAN, days)
    assert isinstance(moment, datetime)
    assert identical(render(moment, JULIAN), days)


@settings(max_examples=50)
@given(st.lists(st.datetimes(), min_size=1, max_size=20))
def test_julian_days_of_sqlite_are_the_moments_that_sqlite_meant(moments: list[datetime]) -> None:
    """To its own millisecond, not to what the double happens to be nearest to."""
    texts = [moment.isoformat(" ", "milliseconds") for moment in moments]
    with closing(sqlite3.connect(":memory:")) as connection:
        query = "SELECT julianday(?)"
        days = [connection.execute(query, (text,)).fetchone()[0] for text in texts]
    assert [_fit(JULIAN, d) for d in days] == [datetime.fromisoformat(text) for text in texts]


@pytest.mark.parametrize(("form", "unit"), [("s", 1), ("ms", 1_000), ("us", 1_000_000)])
@given(value=st.integers(-(2**63), 2**63 - 1))
@example(value=0)
@example(value=-1)
def test_an_epoch_number_comes_back_or_has_no_place(form: str, unit: int, value: int) -> None:
    """Within the years 1 to 9999 it is exact; outside it does not fit."""
    kind = TargetType(kind=Kind.TIMESTAMPTZ, form=form)
    moment = _fit(kind, value)
    if -62135596800 * unit <= value < 253402300800 * unit:
        assert isinstance(moment, datetime)
        assert moment == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            seconds=value // unit, microseconds=value % unit * 1_000_000 // unit
        )
        assert render(moment, kind) == value
    else:
        assert moment is None


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        (TargetType(kind=Kind.TIMESTAMP, form=" 0"), datetime(2024, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
        (TargetType(kind=Kind.TIMESTAMP, form=" m"), datetime(2024, 1, 1, 0, 0, 1)),  # noqa: DTZ001
        (TargetType(kind=Kind.TIMESTAMP, form="s"), datetime(2024, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
        (
            TargetType(kind=Kind.TIMESTAMPTZ, form="T3Z"),
            datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        ),
    ],
)
def test_a_value_with_more_than_its_form_has_is_not_cut(kind: TargetType, lost: datetime) -> None:
    """What someone else wrote on the target must not read like a value of the source."""
    whole = lost.replace(second=0, microsecond=0)
    assert render(lost, kind) != render(whole, kind)
    assert convert(render(lost, kind), kind) != whole


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TargetType(kind=Kind.TIMESTAMP, form="T0"), "2024-01-01T10:00+05"),
        (TargetType(kind=Kind.TIMESTAMPTZ, form=" 0+02:00"), "2024-01-01 10:00:00+01:00"),
        (TargetType(kind=Kind.TIMESTAMPTZ, form="T0Z"), "2024-01-01T10:00+05Z"),
    ],
)
def test_another_zone_of_the_same_length_is_not_read_as_ours(kind: TargetType, text: str) -> None:
    """The conversion itself refuses it, before anything is compared."""
    assert convert(text, kind) is NO_FIT


@pytest.mark.parametrize("suffix", ["", "x", "+16:00", "+01:60", " CET"])
def test_a_moment_without_a_zone_is_never_taken_for_the_machines_own(suffix: str) -> None:
    """A suffix that means no offset makes a form that nothing fits."""
    kind = TargetType(kind=Kind.TIMESTAMPTZ, form=" 0" + suffix)
    assert convert("2024-02-29 10:00:00" + suffix, kind) is NO_FIT


@pytest.mark.parametrize(
    ("form", "moment"),
    [
        (" 0-00:01", datetime(1, 1, 1, tzinfo=UTC)),
        (" 0+00:01", datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_that_a_form_can_not_write_is_no_crash(form: str, moment: datetime) -> None:
    """Someone else's; what it is written as is no value of the source."""
    kind = TargetType(kind=Kind.TIMESTAMPTZ, form=form)
    assert convert(render(moment, kind), kind) is NO_FIT


SESSIONS = (
    {"TimeZone": "America/St_Johns", "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601"},
    {"TimeZone": "Pacific/Kiritimati", "DateStyle": "German", "IntervalStyle": "sql_standard"},
    {"TimeZone": "<-15:30>15:30", "DateStyle": "Postgres, MDY", "IntervalStyle": "postgres"},
)
_mapping = mapping_over([BIGINT, *TYPES], key=1)


@settings(max_examples=40)
@given(st.sampled_from(SESSIONS), st.lists(target_rows(_mapping), min_size=1, max_size=3))
def test_no_setting_of_a_session_changes_a_digest(
    connection: Connection, session: dict[str, str], rows: list[TargetRow]
) -> None:
    """Zones, date and interval styles, digits of floats: canonical bytes don't depend on them."""
    accumulator = Accumulator(_mapping)
    for row in rows:
        accumulator.add(row)
    with loaded(connection, _mapping, rows):
        _set(connection, session)
        assert target_digest(connection, _mapping) == accumulator.digest()


@settings(max_examples=40)
@given(st.sampled_from(SESSIONS), st.data())
def test_no_setting_of_a_session_changes_what_is_loaded_or_read_back(
    connection: Connection, session: dict[str, str], data: st.DataObject
) -> None:
    """Copy and casts of a load are binary or exact text; what is read is rendered by instant."""
    # psycopg refuses moments that are before year 1 or after year 9999 in the session's own zone
    near = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    session = session | {"DateStyle": "ISO, DMY"}  # psycopg reads no other, and says so
    kinds = [k for k in TYPES if k.kind is Kind.TIMESTAMPTZ]
    row = tuple(data.draw(near) for _ in kinds)
    mapping = mapping_over(kinds)
    with connection.transaction(force_rollback=True):
        _set(connection, session)
        with loaded(connection, mapping, [row]):
            (back,) = read(connection, mapping)
    assert RowHasher(mapping).row_hash(back) == RowHasher(mapping).row_hash(row)
    assert as_stored(mapping, back) == as_stored(mapping, row)


def _set(connection: Connection, session: dict[str, str]) -> None:
    """Change the session until its transaction ends."""
    for name, value in (session | {"extra_float_digits": "-15"}).items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, value))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_a_moment_reads_the_same_in_any_zone(connection: Connection, zone: str) -> None:
    """In the hour that a clock shows twice, too."""
    kind = TargetType(kind=Kind.TIMESTAMPTZ, form=" 0-04:00")
    texts = ["2024-11-03 00:30:00-04:00", "2024-11-03 01:30:00-04:00", "2024-11-03 02:30:00-04:00"]
    rows: list[TargetRow] = [(convert(text, kind),) for text in texts]  # pyright: ignore[reportAssignmentType]
    mapping = mapping_over([kind])
    with loaded(connection, mapping, rows):
        _set(connection, {"TimeZone": zone})
        assert [render(value, kind) for (value,) in read(connection, mapping)] == texts
