"""The delta: applied to what an older cut gives, it gives exactly what the newer one does."""

import dataclasses
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.document import sealed
from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.mapping.rows import RowFitter
from migration_assets.mapping.types import BIGINT, BYTEA, DOUBLE, NUMERIC, TEXT
from migration_assets.model import (
    Change,
    Cut,
    Delta,
    Misfit,
    Op,
    Scope,
    SqliteValue,
    TableMapping,
    TargetRow,
    TargetValue,
    UndecodableText,
)
from migration_assets.source import delta_files
from migration_assets.source.delta import Step, changes, everything
from migration_assets.source.multiset import changed_copies
from migration_assets.state import LocalState
from migration_assets.target.staging import travels_as_text
from migration_assets.verify.digest import RowHasher
from migration_assets.verify.expect import expect
from migration_assets_tests.fixtures_sqlite import (
    LATER,
    MEMORY,
    TRICKY,
    as_cut,
    make,
    proposed,
    rows_of,
    table_of,
    values,
)

SCHEMAS = {
    "integer": "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b TEXT)",
    "text": "CREATE TABLE t (k TEXT PRIMARY KEY, a REAL, b DECIMAL(10,2))",
    "composite": "CREATE TABLE t (k TEXT, a INT, b, PRIMARY KEY (a, k))",
    "without rowid": "CREATE TABLE t (k TEXT, a BLOB, b DATE, PRIMARY KEY (k, a)) WITHOUT ROWID",
    "nocase": "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, a COLLATE NOCASE, b BOOLEAN)",
    "rtrim": "CREATE TABLE t (k TEXT COLLATE RTRIM PRIMARY KEY, a COLLATE RTRIM, b DATETIME)",
    "untyped": "CREATE TABLE t (k PRIMARY KEY, a, b)",
    "unique": "CREATE TABLE t (k NOT NULL UNIQUE, a NUMERIC, b VARCHAR(3))",
    "no key": "CREATE TABLE t (k, a TEXT, b REAL)",
    "no key, nocase": "CREATE TABLE t (k COLLATE NOCASE, a COLLATE RTRIM, b INT)",
    "real key": "CREATE TABLE t (k REAL PRIMARY KEY, a, b)",
    "real key without rowid": "CREATE TABLE t (k REAL PRIMARY KEY, a, b) WITHOUT ROWID",
    "numeric key": "CREATE TABLE t (k NUMERIC, a, b, PRIMARY KEY (k, b))",
    "nullable unique": "CREATE TABLE t (k UNIQUE, a, b, UNIQUE (a, b))",
    "rowid is a column": "CREATE TABLE t (rowid, a, oid)",
    "every rowid is a column": "CREATE TABLE t (RowId, OID, _rowid_)",
    "blob key": "CREATE TABLE t (k BLOB PRIMARY KEY, a BLOB, b) WITHOUT ROWID",
}
KEYS: tuple[SqliteValue, ...] = (
    *(1, 2, 1.0, 0.0, -0.0, 1.5, "1", "a", "A", "a ", "b", "", None),
    *(b"a", b"", "a\0b", UndecodableText(b"\xff"), 2**53, 2**53 + 1),
)
_cells = st.one_of(st.sampled_from(TRICKY), values)
_rows = st.lists(st.tuples(st.sampled_from(KEYS), _cells, _cells), max_size=8)


class Model:
    """A target table and its quarantine, as plain Python: what a move does, without a server."""

    def __init__(self, mapping: TableMapping) -> None:
        self._mapping = mapping
        self._hasher = RowHasher(mapping)
        self.rows: dict[tuple[TargetValue, ...], TargetRow] = {}
        self.copies: Counter[int] = Counter()  # of a table without a key, by row hash
        self.quarantine: Counter[bytes] = Counter()

    @property
    def count(self) -> int:
        """Return how many rows stand on the target."""
        return len(self.rows) + self.copies.total()

    def key(self, row: TargetRow) -> tuple[TargetValue, ...]:
        """Return a row's key."""
        return tuple(row[i] for i in self._mapping.key_positions)

    def apply(self, delta: Delta) -> None:
        """Apply a delta in the order of its files, and check what it says of the rows before."""
        for change in read_changes(self._mapping, delta):
            if not self._mapping.key:
                self._copy(change)
                continue
            key = self.key(change.values)
            before = self.rows.get(key)
            if change.op is Op.INSERT:
                assert before is None, "an insert of a row that is there"
                assert change.old_hash is None
            else:
                assert before is not None, f"an {change.op} of a row that isn't there"
                assert change.old_hash == self._hasher.row_hash(before)
            if change.op is Op.DELETE:
                del self.rows[key]
            else:
                self.rows[key] = change.values
        for misfit in delta_files.misfits(delta):
            digest = raw_digest(misfit["classes"], misfit["values"])
            self.quarantine[digest] += 1 if misfit["entering"] else -1
        assert min(self.quarantine.values(), default=0) >= 0, "a misfit left that wasn't there"
        self.quarantine = +self.quarantine

    def _copy(self, change: Change) -> None:
        row_hash = self._hasher.row_hash(change.values)
        if change.op is Op.INSERT:
            assert change.old_hash is None
            self.copies[row_hash] += 1
        else:
            assert change.op is Op.DELETE, "without a key nothing is updated"
            assert change.old_hash == row_hash, "a delete carries the whole row"
            assert self.copies[row_hash], "a delete of a copy that isn't there"
            self.copies[row_hash] -= 1

    def state(self) -> tuple[Counter[int], Counter[bytes]]:
        """Return what tells two states apart: hashes, since 0.0 == -0.0 in Python too."""
        keyed = Counter(map(self._hasher.row_hash, self.rows.values()))
        return keyed + self.copies, self.quarantine


def read_changes(mapping: TableMapping, delta: Delta) -> Iterator[Change]:
    """Read a delta's Parquet file back, without the code that wrote it."""
    frame = pl.read_parquet(delta.rows_path)
    assert frame.columns == [
        delta.op_column,
        delta.hash_column,
        *(c.target for c in mapping.columns),
    ]
    for op, old_hash, *cells in frame.iter_rows():
        row: TargetRow = tuple(
            Decimal(cell) if cell is not None and travels_as_text(column) else cell
            for cell, column in zip(cells, mapping.columns, strict=True)
        )
        yield Change(op=Op(op), old_hash=old_hash, values=row)


def reference(cut: Cut, mapping: TableMapping) -> tuple[Counter[int], Counter[bytes]]:
    """Return what a cut gives, row by row."""
    fit, hasher = RowFitter(mapping), RowHasher(mapping)
    rows: Counter[int] = Counter()
    quarantine: Counter[bytes] = Counter()
    for row in rows_of(cut):
        fitted = fit(row).values
        if fitted is None:
            quarantine[raw_digest(*row_parts(row))] += 1
        else:
            rows[hasher.row_hash(fitted)] += 1
    return rows, quarantine


def write(
    folder: Path, steps: Iterator[Step] | list[Step], mapping: TableMapping, cut: Cut, scope: Scope
) -> Delta:
    """Write a delta into a folder."""
    return delta_files.write(
        LocalState(folder), steps, mapping, week=cut.week, base=None, cut=cut, scope=scope
    )


def compared(older: Cut, newer: Cut, mapping: TableMapping) -> list[Step]:
    """Compare two cuts, with a scratch folder of their own."""
    with tempfile.TemporaryDirectory(prefix="migration-assets-test-", dir=MEMORY) as scratch:
        return list(changes(older, newer, table_of(newer), mapping, scratch=Path(scratch)))


def carry(folder: Path, older: Cut, newer: Cut, mapping: TableMapping) -> Model:
    """Load the older cut whole, then carry the model to the newer one by the delta."""
    model = Model(mapping)
    table = table_of(newer)
    model.apply(write(folder, everything(older, table, mapping), mapping, older, Scope.EVERYTHING))
    assert model.state() == reference(older, mapping)
    steps = compared(older, newer, mapping)
    model.apply(write(folder, steps, mapping, newer, Scope.CHANGES))
    return model


def pair(
    folder: Path, schema: str, older: Sequence[Sequence[object]], newer: Sequence[Sequence[object]]
) -> tuple[Cut, Cut]:
    """Return two cuts of one table."""
    return (
        as_cut(make(folder / "older.sqlite", schema, older)),
        as_cut(make(folder / "newer.sqlite", schema, newer), LATER),
    )


@settings(max_examples=150)
@given(
    schema=st.sampled_from(sorted(SCHEMAS)),
    older=_rows,
    newer=_rows,
    kept=st.integers(0, 8),
    turned=st.booleans(),
    sealed_by_older=st.booleans(),
    retype=st.sampled_from([None, BIGINT, DOUBLE, TEXT, BYTEA, NUMERIC]),
)
@example(
    schema="untyped",
    older=[(1, 0.0, 1)],
    newer=[(1, -0.0, 1.0)],
    kept=0,
    turned=False,
    sealed_by_older=True,
    retype=None,
)
def test_a_delta_applied_to_the_older_cut_gives_the_newer_one(
    folder: Path,
    schema: str,
    older: list[tuple[SqliteValue, ...]],
    newer: list[tuple[SqliteValue, ...]],
    kept: int,
    *,
    turned: bool,
    sealed_by_older: bool,
    retype: object,
) -> None:
    """Rows, quarantine and older hashes agree for any keys, values, misfits and mapping.

    `turned` stores the rows in another order, so that hardly any keeps its rowid.
    """
    rows = [*older[:kept], *newer]
    cuts = pair(folder, SCHEMAS[schema], older, rows[::-1] if turned else rows)
    mapping = proposed(cuts[0] if sealed_by_older else cuts[1])
    mapping = retyped(mapping, retype) if retype else mapping
    model = carry(folder, *cuts, mapping)
    assert model.state() == reference(cuts[1], mapping)
    again = Model(mapping)
    everything_new = everything(cuts[1], table_of(cuts[1]), mapping)
    again.apply(write(folder, everything_new, mapping, cuts[1], Scope.EVERYTHING))
    assert again.state() == model.state()
    expected = expect(cuts[1], table_of(cuts[1]), mapping)
    assert expected.source_rows == model.count + model.quarantine.total()
    assert (expected.digest.rows, Counter(expected.misfits)) == (model.count, model.quarantine)


def retyped(mapping: TableMapping, kind: object) -> TableMapping:
    """Give the columns outside the key another type, so that more of their values don't fit."""
    columns = tuple(
        c if c.name in mapping.key else dataclasses.replace(c, type=kind) for c in mapping.columns
    )
    return sealed(dataclasses.replace(mapping, columns=columns))


@settings(max_examples=60)
@given(schema=st.sampled_from(sorted(SCHEMAS)), rows=_rows)
def test_a_cut_compared_with_itself_has_no_changes(
    folder: Path, schema: str, rows: list[tuple[SqliteValue, ...]]
) -> None:
    """A quiet week carries nothing but rows without a key, which leave and enter again."""
    cuts = pair(folder, SCHEMAS[schema], rows, rows)
    mapping = proposed(cuts[0])
    steps = compared(*cuts, mapping)
    moves = Counter(
        (step.entering, raw_digest(*row_parts(step.row)))
        for step in steps
        if isinstance(step, Misfit)
    )
    assert all(isinstance(step, Misfit) for step in steps)
    assert all(moves[not entering, row] == n for (entering, row), n in moves.items())


UNSEEN_BY_SQLITE: list[tuple[str, SqliteValue, SqliteValue]] = [
    ("", 1, 1.0),
    ("", 0.0, -0.0),
    ("", 2**53, 2.0**53),
    ("TEXT COLLATE NOCASE", "abc", "ABC"),
    ("TEXT COLLATE RTRIM", "abc", "abc  "),
    ("", "a", b"a"),
    ("", None, ""),
    ("", "a\0b", "a\0c"),
    ("TEXT", "\u00e9", "e\u0301"),
    ("", UndecodableText(b"\xff"), b"\xff"),
    ("", UndecodableText(b"\xff"), UndecodableText(b"\xfe")),
]


@pytest.mark.parametrize(("declared", "before", "after"), UNSEEN_BY_SQLITE)
@pytest.mark.parametrize("swap", [False, True])
def test_changes_that_sqlite_takes_for_none_are_seen(
    tmp_path: Path, declared: str, before: SqliteValue, after: SqliteValue, *, swap: bool
) -> None:
    """Equal under `IS` or a collation is not the same value."""
    if swap:
        before, after = after, before
    schema = f"CREATE TABLE t (k INTEGER PRIMARY KEY, a {declared})"
    cuts = pair(tmp_path, schema, [(1, before)], [(1, after)])
    mapping = proposed(cuts[1])
    assert compared(*cuts, mapping)
    assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


@pytest.mark.parametrize(("declared", "before", "after"), UNSEEN_BY_SQLITE)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    "schema", ["CREATE TABLE t (k, a {})", "CREATE TABLE t (rowid, a {}, oid)"]
)
def test_copies_that_sqlite_takes_for_alike_are_counted_apart(
    tmp_path: Path,
    declared: str,
    before: SqliteValue,
    after: SqliteValue,
    schema: str,
    *,
    swap: bool,
) -> None:
    """Two copies become one of each, whether the rowid says where they stood or not."""
    if swap:
        before, after = after, before
    rest = (None,) if "oid" in schema else ()
    old, new = (0, before, *rest), (0, after, *rest)
    cuts = pair(tmp_path, schema.format(declared), [old, old], [new, old])
    mapping = proposed(cuts[0])
    assert mapping.key == ()
    steps = compared(*cuts, mapping)
    went = [s for s in steps if (s.op is Op.DELETE if isinstance(s, Change) else not s.entering)]
    assert (len(steps), len(went)) == (2, 1)
    assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


@pytest.mark.parametrize("schema", ["no key", "rowid is a column", "every rowid is a column"])
def test_copies_are_counted_whatever_their_rowids(tmp_path: Path, schema: str) -> None:
    """Rows that only moved are no change; three copies that become one are two deletes."""
    older = [("a", "x", 1), ("b", "y", 2), ("a", "x", 1), ("a", "x", 1), ("c", "z", 3)]
    newer = [("c", "z", 3), ("a", "x", 1), ("b", "y", 2), ("c", "z", 3)]
    cuts = pair(tmp_path, SCHEMAS[schema], older, newer)
    steps = compared(*cuts, proposed(cuts[0]))
    assert [step.op for step in steps if isinstance(step, Change)] == [
        *(Op.DELETE, Op.DELETE),
        Op.INSERT,
    ]


def test_copies_are_not_counted_in_memory(tmp_path: Path) -> None:
    """Where no rowid helps every row is counted; a table is larger than memory, its counts too."""
    rows = [(f"value {i}", i, None) for i in range(30_000)]
    cuts = pair(tmp_path, SCHEMAS["every rowid is a column"], rows, rows[1:])
    table, mapping = table_of(cuts[1]), proposed(cuts[0])
    tracemalloc.start()
    try:
        found = list(changed_copies(*cuts, table, mapping, scratch=tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(rows[0], None)]
    assert peak < 1_000_000, "30,000 digests alone would take more"


def test_a_table_that_lost_its_rowid_is_compared(tmp_path: Path) -> None:
    """Made anew WITHOUT ROWID, with the same columns: there is nothing to go by but the rows."""
    schema = "CREATE TABLE t (k REAL PRIMARY KEY, a)"
    rows = [(0.5, "x"), (1.5, "y")]
    older = as_cut(make(tmp_path / "older.sqlite", schema, rows))
    newer = as_cut(make(tmp_path / "newer.sqlite", f"{schema} WITHOUT ROWID", rows[1:]), LATER)
    for cuts in ((older, newer), (newer, older)):
        mapping = proposed(cuts[0])
        assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


@settings(max_examples=60)
@given(schema=st.sampled_from(sorted(SCHEMAS)), weeks=st.lists(_rows, min_size=3, max_size=3))
def test_weeks_that_are_skipped_end_the_same(
    folder: Path, schema: str, weeks: list[list[tuple[SqliteValue, ...]]]
) -> None:
    """Week by week, straight to the last, and by way of going back: one end."""
    cuts = [
        as_cut(make(folder / f"week{i}.sqlite", SCHEMAS[schema], rows))
        for i, rows in enumerate(weeks)
    ]
    mapping = proposed(cuts[0])
    for path in ((0, 1, 2), (0, 2), (0, 1, 0, 2)):
        model = Model(mapping)
        whole = everything(cuts[0], table_of(cuts[0]), mapping)
        model.apply(write(folder, whole, mapping, cuts[0], Scope.EVERYTHING))
        for older, newer in pairwise(path):
            steps = compared(cuts[older], cuts[newer], mapping)
            model.apply(write(folder, steps, mapping, cuts[newer], Scope.CHANGES))
        assert model.state() == reference(cuts[2], mapping)


@pytest.mark.parametrize(
    ("declared", "before", "after"),
    [
        ("TEXT COLLATE NOCASE", "abc", "ABC"),
        ("TEXT COLLATE RTRIM", "abc", "abc "),
        ("TEXT", "a", "A"),
        ("INTEGER NOT NULL", 1, 2),
    ],
)
def test_a_changed_key_is_a_delete_and_then_an_insert(
    tmp_path: Path, declared: str, before: SqliteValue, after: SqliteValue
) -> None:
    """Deletes come first, or a unique index of the target would refuse the twin."""
    schema = f"CREATE TABLE t (k {declared} PRIMARY KEY, a)"
    cuts = pair(tmp_path, schema, [(before, 1)], [(after, 1)])
    steps = compared(*cuts, proposed(cuts[0]))
    assert [step.op for step in steps if isinstance(step, Change)] == [Op.DELETE, Op.INSERT]


def test_two_rows_that_swap_keys_are_two_updates(tmp_path: Path) -> None:
    """Each key keeps its row, with the other's values."""
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)"
    cuts = pair(tmp_path, schema, [(1, "x"), (2, "y")], [(1, "y"), (2, "x")])
    mapping = proposed(cuts[0])
    steps = compared(*cuts, mapping)
    assert [s.op for s in steps if isinstance(s, Change)] == [Op.UPDATE, Op.UPDATE]
    assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


def test_a_null_that_comes_into_a_declared_key_is_quarantined(tmp_path: Path) -> None:
    """SQLite allows NULLs in a key that isn't the rowid: each such row is kept, none is lost."""
    schema = "CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT)"
    cuts = pair(tmp_path, schema, [("a", "x")], [("a", "x"), (None, "y"), (None, "y"), (None, "z")])
    mapping = proposed(cuts[0])
    assert mapping.key == ("k",)
    model = carry(tmp_path, *cuts, mapping)
    assert model.state() == reference(cuts[1], mapping)
    assert sorted(model.quarantine.values()) == [1, 2]
    steps = compared(*cuts, mapping)
    assert {s.reasons for s in steps if isinstance(s, Misfit)} == {("null in a key",)}


def test_a_row_that_stops_fitting_leaves_the_target_and_comes_back_when_mended(
    tmp_path: Path,
) -> None:
    """Into quarantine and out again: whole, and counted at every step."""
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER)"
    sound, broken = pair(tmp_path, schema, [(1, 10), (2, 20)], [(1, "ten"), (2, 20)])
    mapping = proposed(sound)
    model = carry(tmp_path, sound, broken, mapping)
    assert (len(model.rows), model.quarantine.total()) == (1, 1)
    back = compared(broken, sound, mapping)
    model.apply(write(tmp_path, back, mapping, sound, Scope.CHANGES))
    assert (len(model.rows), model.quarantine.total()) == (2, 0)


WIDE = [400, 1000, 1001, 1598]  # one result holds 2,000 columns: both rows of 1,000, or one row


@pytest.mark.parametrize("columns", WIDE)
@pytest.mark.parametrize(
    "key", ["INTEGER PRIMARY KEY", "TEXT COLLATE NOCASE PRIMARY KEY", "REAL PRIMARY KEY"]
)
def test_a_table_of_many_columns_is_compared(tmp_path: Path, columns: int, key: str) -> None:
    """SQLite's limits on expressions and results are not reached, with a key and without."""
    names = [f"c{i}" for i in range(columns - 1)]
    schema = f"CREATE TABLE t (k {key}, {', '.join(names)})"
    tail = tuple(range(columns - 1))
    older = [(1, *tail), (2, *tail), (3, *tail), (5, *tail)]
    newer = [(5, *tail), (4, *tail), (2, *tail), (1, *tail[:-1], -1)]
    cuts = pair(tmp_path, schema, older, newer)
    mapping = proposed(cuts[0])
    model = carry(tmp_path, *cuts, mapping)
    assert model.state() == reference(cuts[1], mapping)
    ops = Counter(step.op for step in compared(*cuts, mapping) if isinstance(step, Change))
    updated = 1 if mapping.key else 0
    assert ops == Counter(insert=2 - updated, delete=2 - updated, update=updated)


def test_new_rows_without_a_key_are_compared_in_a_wide_table(tmp_path: Path) -> None:
    """Rows whose key is NULL tie in every order; they are new on both sides, whichever is first."""
    names = ", ".join(f"c{i}" for i in range(1000))
    cuts = pair(
        tmp_path,
        f"CREATE TABLE t (k TEXT PRIMARY KEY, {names})",
        [("a", *range(1000)), ("b", *range(1000))],
        [(None, *range(1000)), ("b", *range(999), 0), (None, *range(1, 1001)), ("a", *range(1000))],
    )
    mapping = proposed(cuts[0])
    assert mapping.key == ("k",)
    assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


def test_names_that_need_quotes_are_compared(tmp_path: Path) -> None:
    """No name of the source gets into SQL unquoted."""
    schema = 'CREATE TABLE t ("a""b" INTEGER PRIMARY KEY, "select" TEXT, "x; DROP TABLE t" TEXT)'
    cuts = pair(tmp_path, schema, [(1, "a", "b")], [(1, "a", "c")])
    mapping = proposed(cuts[0])
    assert carry(tmp_path, *cuts, mapping).state() == reference(cuts[1], mapping)


def test_a_generated_column_is_carried_as_its_values(tmp_path: Path) -> None:
    """A virtual column changes with its sources."""
    path = tmp_path / "older.sqlite"
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a INT, b INT AS (a * 2) VIRTUAL);"
    make(path, schema + "INSERT INTO t VALUES (1, 10)")
    newer = make(tmp_path / "newer.sqlite", schema + "INSERT INTO t VALUES (1, 11)")
    cuts = as_cut(path), as_cut(newer, LATER)
    model = carry(tmp_path, *cuts, proposed(cuts[0]))
    assert model.rows == {(1,): (1, 11, 22)}
