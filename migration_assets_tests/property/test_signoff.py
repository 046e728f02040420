"""The sign-off proof: both sides hash the same bytes for the same rows, and only for those."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.model import Kind, TableMapping, TargetRow, TargetType
from migration_assets.target.connection import Connection
from migration_assets.target.signoff import target_sha256
from migration_assets.verify import signoff
from migration_assets.verify.digest import RowHasher
from migration_assets_tests.fixtures_target import loaded, mapping_over
from migration_assets_tests.property.test_digest import tables

BIGINT, TEXT, NUMERIC, DOUBLE = (
    TargetType(kind=kind) for kind in (Kind.BIGINT, Kind.TEXT, Kind.NUMERIC, Kind.DOUBLE)
)


def once(mapping: TableMapping, rows: Sequence[TargetRow]) -> list[TargetRow]:
    """Return the rows without those that a primary key would refuse; all where there is none."""
    if not mapping.key:
        return list(rows)
    found: dict[str, TargetRow] = {}
    for row in rows:
        key = [row[i] for i in mapping.key_positions]
        if None not in key:
            # Values that PostgreSQL takes for equal under a key are one row to it.
            found.setdefault(repr([v + 0.0 if isinstance(v, float) else v for v in key]), row)
    return list(found.values())


def hashed(mapping: TableMapping, rows: Sequence[TargetRow], folder: Path) -> tuple[str, int]:
    """Return the source's side, of rows in the opposite order."""
    return signoff.rows_sha256(mapping, rows[::-1], scratch=folder)


@settings(max_examples=150)
@given(tables())
def test_both_sides_hash_the_same_stream(
    connection: Connection, folder: Path, case: tuple[TableMapping, list[TargetRow]]
) -> None:
    """Of any types under any names, with a key or without, whatever the order they come in."""
    mapping, found = case
    rows = once(mapping, found)
    with loaded(connection, mapping, rows):
        there = target_sha256(connection, mapping)
    assert there == hashed(mapping, rows, folder)
    assert there[1] == len(rows)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=7) | st.integers().map(str))
@example("0")
@example("0.0000")
@example("-10000.00010000")
@example("100000000")
@example("1E+9")
@example("0.00001")
def test_a_number_of_any_scale_is_what_the_server_sends(
    connection: Connection, value: object
) -> None:
    """Groups of zeros at either end are left out by the server, the scale is kept."""
    (sent,) = connection.execute(
        "SELECT pg_catalog.numeric_send(%s::numeric)", (str(value),)
    ).fetchone() or (None,)
    (kept,) = connection.execute("SELECT %s::numeric", (str(value),)).fetchone() or (None,)
    assert signoff._SEND[Kind.NUMERIC](kept) == sent


def test_more_rows_than_memory_are_sorted_all_the_same(
    connection: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are written and merged, again where there are too many to be read at once."""
    monkeypatch.setattr(signoff, "_RUN_BYTES", 1_000)
    monkeypatch.setattr(signoff, "_MERGED", 3)
    mapping = mapping_over([TEXT, BIGINT], key=1)
    rows: list[TargetRow] = [(f"{i * 7919 % 997:x}", i) for i in range(997)]
    with loaded(connection, mapping, rows):
        assert target_sha256(connection, mapping) == hashed(mapping, rows, folder)


def test_keys_that_begin_alike_are_ordered_as_the_server_does(
    connection: Connection, folder: Path
) -> None:
    """Bytes and texts end where they end, whatever column follows; numbers below 0 come first."""
    mapping = mapping_over([TargetType(kind=Kind.BYTEA), TEXT, BIGINT], key=3)
    parts = (b"", b"\0", b"\0\0", b"\0\1", b"a", b"a\0", b"a\0b", b"a\1", b"ab", b"\xff")
    rows: list[TargetRow] = [
        (raw, text, number)
        for raw in parts
        for text in ("", "\x01", "b", "ba", "é", "z")
        for number in (-(2**63), -1, 0, 1, 256)
    ]
    with loaded(connection, mapping, rows):
        assert target_sha256(connection, mapping) == hashed(mapping, rows, folder)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((1, "a", 1.5), (1, "b", 1.5)),
        ((1, "a", 0.0), (1, "a", -0.0)),
        ((1, "", 1.5), (1, None, 1.5)),
    ],
)
def test_one_changed_value_shows(
    connection: Connection, folder: Path, ours: TargetRow, theirs: TargetRow
) -> None:
    """Also where SQL would take both for equal."""
    mapping = mapping_over([BIGINT, TEXT, DOUBLE], key=1)
    rest: list[TargetRow] = [(i, "x", 2.0) for i in range(2, 50)]
    with loaded(connection, mapping, [theirs, *rest]):
        there, counted = target_sha256(connection, mapping)
    here, expected = hashed(mapping, [ours, *rest], folder)
    assert counted == expected
    assert there != here


def test_a_row_too_many_shows_where_there_is_no_key(connection: Connection, folder: Path) -> None:
    """Copies are sorted and hashed like all rows."""
    mapping = mapping_over([BIGINT, TEXT])
    with loaded(connection, mapping, [(1, "a"), (1, "a"), (2, None)]):
        there = target_sha256(connection, mapping)
    assert there == hashed(mapping, [(2, None), (1, "a"), (1, "a")], folder)
    assert there[0] != hashed(mapping, [(2, None), (2, None), (1, "a")], folder)[0]


def test_excepted_rows_are_left_out_by_their_key(connection: Connection, folder: Path) -> None:
    """The rest of the table has to be the same all the same."""
    mapping = mapping_over([BIGINT, TEXT], key=1)
    excepted = [RowHasher(mapping).key_hash((2, "x"))]
    with loaded(connection, mapping, [(1, "a"), (2, "kept here")]):
        there = target_sha256(connection, mapping, excepted)
    assert there == hashed(mapping, [(1, "a")], folder)
