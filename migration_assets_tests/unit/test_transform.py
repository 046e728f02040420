"""Transforms: what they are given, what they may return, and what is said of what they may not."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from migration_assets.errors import TransformError
from migration_assets.mapping import document, transform
from migration_assets.mapping.document import sealed
from migration_assets.mapping.transform import fitter_of, load, target_type, with_outputs
from migration_assets.mapping.types import BIGINT, BOOLEAN, BYTEA, DATE, DOUBLE, NUMERIC, TEXT
from migration_assets.model import Kind, RawRow, TableMapping, TargetRow, TargetType
from migration_assets_tests.fixtures_target import mapping_over

NAMES = ("id", "price", "n", "at")
ROWS: list[RawRow] = [(1, "1,50", 7, 0), (2, "2,25", 12, 86400), (3, None, None, None)]


def mapping_by(function: str, rows: Sequence[RawRow] = ROWS, *, key: int = 1) -> TableMapping:
    """Return the mapping that a first load seals with a transform of the tests' module."""
    plain = mapping_over([BIGINT, TEXT, BIGINT, BIGINT], key=key, names=NAMES)
    columns = tuple(dataclasses.replace(c, declared=c.type.sql) for c in plain.columns)
    named = dataclasses.replace(
        plain, columns=columns, transform=f"migration_assets_tests.transforms:{function}"
    )
    return with_outputs(named, rows, "table t, week w")


def fitted(mapping: TableMapping, rows: Sequence[RawRow] = ROWS) -> list[TargetRow | None]:
    """Return what rows are on the target."""
    return [found.values for _, found in fitter_of(mapping).all(rows)]


def refused(function: str, rows: Sequence[RawRow] = ROWS) -> TransformError:
    """Return the error of a first load."""
    with pytest.raises(TransformError) as caught:
        mapping_by(function, rows)
    error = caught.value
    assert error.where == "table t, week w"
    assert f"migration_assets_tests.transforms:{function}" in error.what
    assert error.expected
    return error


def test_a_transform_changes_values_and_types() -> None:
    """Its types are sealed beside those that it is given, which the census chose."""
    mapping = mapping_by("typed")
    money = TargetType(kind=Kind.NUMERIC, precision=12, scale=2)
    moment = TargetType(kind=Kind.TIMESTAMP, form=" 6")
    assert [c.type for c in mapping.columns] == [BIGINT, money, TEXT, moment]
    assert [c.input for c in mapping.columns] == [BIGINT, TEXT, BIGINT, BIGINT]
    assert fitted(mapping) == [
        (1, Decimal("1.50"), "007", datetime(1970, 1, 1)),  # noqa: DTZ001 - without a zone
        (2, Decimal("2.25"), "012", datetime(1970, 1, 2)),  # noqa: DTZ001 - without a zone
        (3, None, None, None),
    ]
    assert document.loads(document.dumps(mapping)) == mapping


def test_a_transform_that_changes_nothing_keeps_every_type() -> None:
    """Those too that a frame holds as text, and whatever the order of its columns."""
    wide = mapping_over([BIGINT, NUMERIC], key=1, names=("id", "n"))
    wide = dataclasses.replace(wide, transform="migration_assets_tests.transforms:same")
    found = with_outputs(wide, [(1, 10**18), (2, None)])
    assert [c.type for c in found.columns] == [BIGINT, NUMERIC]
    assert fitted(found, [(1, 10**18), (2, None)]) == [(1, Decimal(10**18)), (2, None)]
    mapping = mapping_by("other_order_of_columns")
    assert fitted(mapping) == ROWS


def test_a_number_that_travels_as_text_has_to_stay_one() -> None:
    """What can't be read back as its column's type is said without the value."""
    wide = mapping_over([BIGINT, NUMERIC], key=1, names=("id", "price"))
    wide = dataclasses.replace(wide, transform="migration_assets_tests.transforms:no_number")
    found = with_outputs(wide, [(1, 10**18)])
    with pytest.raises(TransformError) as caught:
        fitted(found, [(1, 10**18)])
    assert "a value that its column's type doesn't have (InvalidOperation)" in caught.value.what
    assert caught.value.__cause__ is None


def test_rows_that_do_not_fit_their_input_types_never_reach_the_transform() -> None:
    """They are quarantined as they stand at the source; the order of all stays."""
    mapping = mapping_by("typed")
    rows: list[RawRow] = [("x", "1", 1, 1), ROWS[0], (5, b"\0", 1, 1), ROWS[1]]
    found = list(fitter_of(mapping).all(rows))
    assert [row for row, _ in found] == rows
    assert [fit.values and fit.values[0] for _, fit in found] == [None, 1, None, 2]
    assert found[0][1].misfits == (("id", "text is no bigint"),)
    assert found[2][1].misfits == (("price", "blob is no text"),)


def test_what_postgresql_cannot_hold_is_quarantined() -> None:
    """The whole row, with what the transform made of it for a reason."""
    rows: list[RawRow] = [(1, "a", 1, 0), (2, "b", 2, 0), (3, "c", 3, 0)]
    found = [fit for _, fit in fitter_of(mapping_by("odd_values", rows)).all(rows)]
    assert found[0].misfits == (("price", "the transform's text with a NUL character is no text"),)
    assert found[1].misfits == (("n", "the transform's value is no number"),)
    assert found[2].values == (3, "c", 1.5, 0)


@pytest.mark.parametrize("limit", ["_BATCH_ROWS", "_BATCH_BYTES"])
def test_rows_come_in_batches_and_leave_in_their_order(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """However many there are, and however large they are."""
    monkeypatch.setattr(transform, limit, 2)
    rows: list[RawRow] = [(i, "x", i, 0) for i in range(5)]
    mapping = mapping_by("batch_total", rows[:1])
    sums = [values[2] for values in fitted(mapping, rows) if values]
    assert sums == [1, 1, 5, 5, 4]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fewer_rows", "of 3 rows it returned 2"),
        ("changed_key", "it changed the key column id, or the order of rows"),
        ("turned_around", "it changed the key column id, or the order of rows"),
        ("missing_column", "what it returned lacks column n, has column total too"),
        ("no_frame", "it returned dict"),
        ("no_type", "column n came as UInt64"),
        ("batch_total", "column n of a row depends on the rows that are given with it"),
    ],
)
def test_what_a_transform_may_not_return_is_named(function: str, said: str) -> None:
    """With the table, the function, and what was expected."""
    assert said in refused(function).what


def test_an_exception_is_named_by_its_line_and_not_by_its_text() -> None:
    """The text may hold values of a row."""
    error = refused("raising", [(1, "a secret", 1, 1)])
    source = Path(str(transform.sys.modules["migration_assets_tests.transforms"].__file__))
    line = source.read_text("utf-8").splitlines().index("    raise RuntimeError(message)") + 1
    assert f"it raised RuntimeError at transforms.py, line {line}" in error.what
    assert error.__suppress_context__
    assert error.__cause__ is None
    assert "secret" not in str(error)


def test_another_type_than_the_sealed_one_is_refused() -> None:
    """A type that hangs on the values of a batch would be another one each week."""
    mapping = mapping_by("type_by_value", [(1, "a", 1, 1)])
    with pytest.raises(TransformError) as caught:
        fitted(mapping, [(1, "a", 101, 1)])
    assert "column n came as text" in caught.value.what
    assert caught.value.expected == "bigint, as the first load sealed it"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here:f", "ModuleNotFoundError"),
        ("migration_assets_tests.transforms:no_such_function", "has no function no_such_function"),
        ("migration_assets_tests.transforms:A_CONSTANT", "is no function"),
    ],
)
def test_a_transform_that_is_not_there_is_named(name: str, said: str) -> None:
    """By its name, and by what Python says it is."""
    with pytest.raises(TransformError) as caught:
        load(name, "table t")
    assert said in caught.value.what
    assert name in caught.value.what


def test_a_module_that_breaks_off_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by the text of its exception."""
    (tmp_path / "broken_transforms.py").write_text("\n\nraise ValueError('a secret')\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TransformError) as caught:
        load("broken_transforms:f", "table t")
    assert "ValueError" in caught.value.what
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        *((d, BIGINT) for d in (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt32())),
        *((d, DOUBLE) for d in (pl.Float32(), pl.Float64())),
        *((pl.String(), TEXT), (pl.Binary(), BYTEA), (pl.Boolean(), BOOLEAN), (pl.Date(), DATE)),
        (pl.Decimal(20, 3), TargetType(kind=Kind.NUMERIC, precision=20, scale=3)),
        (pl.Datetime("us"), TargetType(kind=Kind.TIMESTAMP, form=" 6")),
        (pl.Datetime("ms"), TargetType(kind=Kind.TIMESTAMP, form=" 6")),
        (pl.Datetime("us", "Europe/Berlin"), None),
        *((d, None) for d in (pl.Datetime("ns"), pl.UInt64(), pl.Duration(), pl.Categorical())),
        *((d, None) for d in (pl.List(pl.Int64()), pl.Struct({"a": pl.Int64()}), pl.Object())),
    ],
)
def test_a_polars_type_has_the_postgresql_type_that_holds_it(
    dtype: pl.DataType, kind: TargetType | None
) -> None:
    """Or none, and then the transform is asked for another."""
    assert target_type(dtype) == kind


def test_without_a_transform_a_mapping_keeps_its_hash() -> None:
    """Documents sealed before there were transforms name no input types."""
    mapping = mapping_over([BIGINT])
    assert "input" not in document.dumps(mapping)
    assert sealed(mapping).hash == mapping.hash
