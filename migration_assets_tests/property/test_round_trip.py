"""The second witness believes every table that was loaded as it should be, and no other."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from migration_assets.findings import RoundTrip
from migration_assets.mapping.rows import RowFitter
from migration_assets.model import (
    Cut,
    SourceTable,
    SqliteValue,
    TableMapping,
    TargetRow,
)
from migration_assets.source.reader import rows
from migration_assets.target.connection import Connection
from migration_assets.verify.round_trip import round_trip
from migration_assets_tests.fixtures_sqlite import (
    DECLARED,
    MEMORY,
    as_cut,
    make,
    proposed,
    table_of,
    values,
)
from migration_assets_tests.fixtures_target import loaded

Rows = Sequence[Sequence[SqliteValue]]


@contextmanager
def cut_of(declared: Sequence[str], content: Rows, *, keyed: bool) -> Iterator[Cut]:
    """Lend the cut of a table of these columns, behind an INTEGER PRIMARY KEY or without a key."""
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(declared))
    key = "id INTEGER PRIMARY KEY, " if keyed else ""
    numbered = [(i, *row) if keyed else row for i, row in enumerate(content)]
    with tempfile.TemporaryDirectory(prefix="migration-assets-test-", dir=MEMORY) as folder:
        file = make(Path(folder) / "cut.sqlite", f"CREATE TABLE t ({key}{columns})", numbered)
        yield as_cut(file)


def fitting(cut: Cut, table: SourceTable, mapping: TableMapping) -> list[TargetRow]:
    """Return the target rows of a cut."""
    fit = RowFitter(mapping)
    return [found for row in rows(cut, table) if (found := fit(row).values) is not None]


def witnessed(
    connection: Connection, cut: Cut, change: Sequence[TargetRow] | None = None
) -> RoundTrip:
    """Load a cut as a first load does (or `change` instead of its rows), and read it back."""
    table, mapping = table_of(cut), proposed(cut, schema="pg_temp")
    content = fitting(cut, table, mapping) if change is None else change
    with loaded(connection, mapping, content):
        return round_trip(connection, mapping, cut, table, target_rows=len(content))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], Rows, bool]:
    """Draw declared types, rows of any values, and whether there is a key."""
    declared = draw(st.lists(st.sampled_from(DECLARED), min_size=1, max_size=3))
    content = draw(st.lists(st.tuples(*(values for _ in declared)), max_size=6))
    copies = draw(st.lists(st.sampled_from(content), max_size=3)) if content else []
    return declared, [*content, *copies], draw(st.booleans())


@given(tables())
@settings(max_examples=120)
def test_a_loaded_table_always_comes_back(
    connection: Connection, drawn: tuple[list[str], Rows, bool]
) -> None:
    """Any values in any declared columns, with a key or as copies: not one false alarm."""
    declared, content, keyed = drawn
    with cut_of(declared, content, keyed=keyed) as cut:
        found = witnessed(connection, cut)
        expected = fitting(cut, table_of(cut), proposed(cut, schema="pg_temp"))
    assert found.differences == ()
    assert found.sampled_rows == len(expected)


@given(tables(), st.data())
@settings(max_examples=80)
def test_a_row_that_is_not_the_cuts_never_passes(
    connection: Connection, drawn: tuple[list[str], Rows, bool], data: st.DataObject
) -> None:
    """A cell that takes another row's value, or a row that stands once too often."""
    declared, content, keyed = drawn
    with cut_of(declared, content, keyed=keyed) as cut:
        good = fitting(cut, table_of(cut), proposed(cut, schema="pg_temp"))
        assume(len(good) > 1)
        target, other = data.draw(st.permutations(range(len(good))))[:2]
        cell = data.draw(st.integers(int(keyed), len(good[0]) - 1))
        changed = list(good[target])
        assume(str(changed[cell]) != str(good[other][cell]))
        assume(changed[cell] != good[other][cell])  # 0.0 and -0.0 are one in a REAL column
        changed[cell] = good[other][cell]
        bad = [tuple(changed) if i == target else row for i, row in enumerate(good)]
        assume(sorted(map(repr, bad)) != sorted(map(repr, good)))
        assert not witnessed(connection, cut, bad).holds
