"""Changes as files and on the way to the target: every value exact, every damage noticed."""

import dataclasses
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from migration_assets.errors import StateError
from migration_assets.mapping.frames import control_columns, dtype, schema, to_frame
from migration_assets.mapping.frames import target_rows as target_rows_of
from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.mapping.types import BIGINT, TEXT
from migration_assets.model import (
    Change,
    Delta,
    Misfit,
    Op,
    RawRow,
    Scope,
    TableMapping,
    TargetRow,
)
from migration_assets.source import delta_files
from migration_assets.source.delta import Step
from migration_assets.state import LocalState
from migration_assets.target import staging
from migration_assets.target.connection import Connection
from migration_assets.verify.digest import RowHasher
from migration_assets_tests.fixtures_sqlite import values
from migration_assets_tests.fixtures_target import (
    NO_CUT,
    NUMERIC_60_20,
    TYPES,
    any_type,
    loaded,
    mapping_over,
    read,
    target_rows,
    written,
)

MAPPING = mapping_over([BIGINT, TEXT], key=1)
_every = mapping_over(TYPES)
_hashes = st.none() | st.integers(-(2**63), 2**63 - 1)


@st.composite
def tables(draw: st.DrawFn) -> tuple[TableMapping, list[TargetRow]]:
    """Draw a mapping of any types with some of its rows."""
    types = draw(st.lists(any_type, min_size=1, max_size=8))
    mapping = mapping_over(types)
    return mapping, draw(st.lists(target_rows(mapping), max_size=10))


def _hashed(mapping: TableMapping, rows: Sequence[TargetRow]) -> list[int]:
    """Return what tells rows apart to the last bit; 0.0 == -0.0 and 1.5 == 1.50 in Python."""
    return [RowHasher(mapping).row_hash(row) for row in rows]


def _read(mapping: TableMapping, delta: Delta) -> list[tuple[str, int | None, TargetRow]]:
    frame = pl.read_parquet(delta.rows_path)
    control = frame.select(delta.op_column, delta.hash_column).iter_rows()
    rows = target_rows_of(mapping, frame)
    return [(op, old_hash, row) for (op, old_hash), row in zip(control, rows, strict=True)]


@settings(max_examples=60)
@given(tables(), st.lists(st.tuples(st.sampled_from(Op), _hashes), min_size=10, max_size=10))
def test_changes_come_back_from_parquet_exactly(
    table: tuple[TableMapping, list[TargetRow]], control: list[tuple[Op, int | None]]
) -> None:
    """Operation, older hash and every value of every type, in the order they were written."""
    mapping, rows = table
    changes = [
        Change(op=op, old_hash=old_hash, values=row)
        for row, (op, old_hash) in zip(rows, control, strict=False)
    ]
    with written(mapping, changes) as delta:
        back = _read(mapping, delta)
        assert delta_files.frame(delta).collect_schema() == schema(mapping)
    assert [(op, old_hash) for op, old_hash, _ in back] == [(c.op, c.old_hash) for c in changes]
    assert _hashed(mapping, [row for _, _, row in back]) == _hashed(mapping, rows)


@settings(max_examples=60)
@given(tables())
def test_rows_come_back_from_postgresql_exactly(
    connection: Connection, table: tuple[TableMapping, list[TargetRow]]
) -> None:
    """Through Parquet, binary COPY and staging no value changes, no row goes, none is added."""
    mapping, rows = table
    with loaded(connection, mapping, rows):
        assert _hashed(mapping, read(connection, mapping)) == _hashed(mapping, rows)


@settings(max_examples=20)
@given(st.lists(target_rows(_every), min_size=1, max_size=3))
def test_rows_of_every_type_at_once_come_back_exactly(
    connection: Connection, rows: list[TargetRow]
) -> None:
    """Every kind in each of its forms."""
    with loaded(connection, _every, rows):
        assert _hashed(_every, read(connection, _every)) == _hashed(_every, rows)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(values, min_size=1, max_size=4).map(tuple), st.booleans())))
def test_misfits_come_back_with_class_and_bytes(rows: list[tuple[RawRow, bool]]) -> None:
    """What is quarantined is the row itself: NUL, broken UTF-8 and negative zero included."""
    misfits = [
        Misfit(entering=entering, row=row, key="k=1", columns=("a",), reasons=("text is no date",))
        for row, entering in rows
    ]
    with written(MAPPING, misfits) as delta:
        back = list(delta_files.misfits(delta))
        assert (delta.misfits_in, delta.misfits_out, delta.changes) == (
            sum(entering for _, entering in rows),
            sum(not entering for _, entering in rows),
            0,
        )
    assert [(m["classes"], m["values"]) for m in back] == [row_parts(row) for row, _ in rows]
    assert [m["entering"] for m in back] == [entering for _, entering in rows]
    assert [raw_digest(m["classes"], m["values"]) for m in back] == [
        raw_digest(*row_parts(row)) for row, _ in rows
    ]


@given(
    st.lists(values, max_size=3).map(tuple),
    st.lists(values, max_size=3).map(tuple),
)
def test_raw_rows_have_one_hash_only_if_they_are_one(left: RawRow, right: RawRow) -> None:
    """Storage class, length and bytes all count."""
    same = row_parts(left) == row_parts(right)
    assert (raw_digest(*row_parts(left)) == raw_digest(*row_parts(right))) == same


def test_an_empty_delta_is_staged(connection: Connection) -> None:
    """A week without changes is a week, not an error of the COPY protocol."""
    with written(MAPPING, []) as delta, connection.transaction(force_rollback=True):
        staging.stage(connection, MAPPING, delta, delta_files.row_batches(delta))
        query = sql.SQL("SELECT count(*) FROM {}").format(staging.STAGED)
        assert connection.execute(query).fetchone() == (0,)
        assert (delta.changes, delta.misfits_in, delta.misfits_out) == (0, 0, 0)


def test_many_batches_keep_their_order_and_every_row(connection: Connection) -> None:
    """Row groups end after 10,000 rows; nothing is lost at the seams."""
    steps: list[Step] = [
        Change(op=Op.INSERT, old_hash=None, values=(i, str(i))) for i in range(25_001)
    ]
    with written(MAPPING, steps) as delta, connection.transaction(force_rollback=True):
        assert delta.inserts == 25_001
        batches = list(delta_files.row_batches(delta))
        assert [row for b in batches for row in b.column(2).to_pylist()] == list(range(25_001))
        staging.stage(connection, MAPPING, delta, batches)
        query = sql.SQL("SELECT count(*), count(DISTINCT c0), sum(c0) FROM {}").format(
            staging.STAGED
        )
        assert connection.execute(query).fetchone() == (25_001, 25_001, sum(range(25_001)))


def test_a_batch_ends_where_its_text_is_large() -> None:
    """Memory is bounded by bytes too: 65 rows of 1 MiB are two row groups."""
    large = "x" * 2**20
    steps: list[Step] = [Change(op=Op.INSERT, old_hash=None, values=(i, large)) for i in range(65)]
    with written(MAPPING, steps) as delta:
        sizes = [len(batch) for batch in delta_files.row_batches(delta)]
    assert sizes == [64, 1]


@pytest.mark.parametrize("name", ["op", "old_hash", "_op"])
def test_a_column_of_the_tables_own_is_not_taken_for_a_control_column(name: str) -> None:
    """A table may have a column `op`; the delta's own is then called otherwise."""
    mapping = mapping_over(
        [TEXT, TEXT, TEXT], names=(name, "op", "b") if name != "op" else ("op", "old_hash", "b")
    )
    names = (*control_columns(mapping), *(c.target for c in mapping.columns))
    assert len(set(names)) == 5
    with written(mapping, [Change(op=Op.UPDATE, old_hash=1, values=("x", "y", "z"))]) as delta:
        assert _read(mapping, delta) == [("update", 1, ("x", "y", "z"))]
        assert (delta.op_column, delta.hash_column) == control_columns(mapping)


def test_a_numeric_beyond_38_digits_travels_as_text() -> None:
    """decimal128 ends at 38 digits; a wider one would be refused or rounded."""
    mapping = mapping_over([NUMERIC_60_20])
    wide = Decimal("9" * 40 + "." + "9" * 20)
    frame = to_frame(mapping, [Change(op=Op.INSERT, old_hash=None, values=(wide,))])
    assert frame.dtypes[2] == dtype(NUMERIC_60_20) == pl.String()
    assert frame.item(0, 2) == "9" * 40 + "." + "9" * 20


def test_a_value_of_another_type_is_refused_not_converted() -> None:
    """A frame takes nothing that isn't of its type: no rounding, no NULL in silence."""
    for wrong in (1.5, "1", 2**63):
        with pytest.raises((TypeError, OverflowError, pl.exceptions.PolarsError)):
            to_frame(MAPPING, [Change(op=Op.INSERT, old_hash=None, values=(wrong, "x"))])


@pytest.fixture
def state(tmp_path: Path) -> LocalState:
    """Return an empty state folder."""
    return LocalState(tmp_path)


def _write(state: LocalState, *rows: TargetRow) -> Delta:
    steps: Iterator[Step] = (Change(op=Op.INSERT, old_hash=None, values=row) for row in rows)
    return delta_files.write(
        state, steps, MAPPING, week=NO_CUT.week, base=NO_CUT, cut=NO_CUT, scope=Scope.CHANGES
    )


def test_a_stored_delta_is_found_again_with_its_mapping(state: LocalState) -> None:
    """The handle says which cuts and which mapping it belongs to, and how much it holds."""
    delta = _write(state, (1, "a"), (2, "b"))
    found = delta_files.find(state, "main", "t", NO_CUT.week)
    assert found == delta
    assert (delta.base_cut, delta.cut, delta.inserts) == (NO_CUT.id, NO_CUT.id, 2)
    assert delta_files.mapping_of(state, delta) == MAPPING
    delta_files.check(delta)


def test_a_mapping_document_of_another_mapping_is_not_used(state: LocalState) -> None:
    """Only the document whose hash the delta names is its mapping."""
    delta = dataclasses.replace(_write(state, (1, "a")), mapping_hash="0" * 32)
    assert delta_files.mapping_of(state, delta) is None


def test_a_delta_made_again_replaces_the_earlier_one(state: LocalState) -> None:
    """Nothing of the earlier delta stays behind."""
    earlier = _write(state, (1, "a"))
    again = _write(state, (1, "b"))
    assert delta_files.find(state, "main", "t", NO_CUT.week) == again
    assert not earlier.rows_path.exists()
    assert len(state.keys("deltas")) == 4


def test_a_delta_that_breaks_off_leaves_nothing(state: LocalState) -> None:
    """A delta is whole or not there; an earlier one stays as it was."""
    earlier = _write(state, (1, "a"))

    def steps() -> Iterator[Step]:
        yield Change(op=Op.INSERT, old_hash=None, values=(2, "b"))
        raise StateError(what="the cut went away")

    with pytest.raises(StateError, match="went away"):
        delta_files.write(
            state, steps(), MAPPING, week=NO_CUT.week, base=None, cut=NO_CUT, scope=Scope.CHANGES
        )
    assert delta_files.find(state, "main", "t", NO_CUT.week) == earlier
    assert len(state.keys("")) == 4
    delta_files.check(earlier)


@pytest.mark.parametrize("file", ["rows_path", "misfits_path"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "longer"])
def test_a_damaged_delta_is_noticed(state: LocalState, file: str, damage: str) -> None:
    """Whatever happened to a file, its sha256 tells; the error says how to get a new one."""
    delta = _write(state, (1, "a"))
    path: Path = getattr(delta, file)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(
            {"truncated": content[:-1], "longer": content + b"\0"}.get(damage, changed)
        )
    with pytest.raises(StateError, match=r"week 2026-10-04[\s\S]*materialize delta/t"):
        delta_files.check(delta)
