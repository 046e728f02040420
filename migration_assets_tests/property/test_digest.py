"""The digest: one definition, in Python and on the server, that no difference slips through."""

import dataclasses
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from migration_assets.mapping.names import column_names
from migration_assets.mapping.types import BIGINT, BYTEA, DOUBLE, NUMERIC, TEXT
from migration_assets.model import (
    BUCKETS,
    Digest,
    Kind,
    TableMapping,
    TargetRow,
    TargetType,
    TargetValue,
)
from migration_assets.target import ddl
from migration_assets.target.connection import Connection
from migration_assets.verify import digest_sql
from migration_assets.verify.digest import (
    ALGORITHM,
    Accumulator,
    RowHasher,
    combine,
    differing_buckets,
    from_buckets,
)
from migration_assets.verify.prove import target_digest
from migration_assets_tests.fixtures_target import (
    NUMERIC_18_2,
    TYPES,
    any_type,
    loaded,
    mapping_over,
    target_rows,
    target_values,
)

_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@st.composite
def mappings(draw: st.DrawFn) -> TableMapping:
    """Any mapping: some columns of any types, under any names, the first of them the key."""
    types = draw(st.lists(any_type, min_size=1, max_size=6))
    names = draw(
        st.lists(
            st.one_of(_names, st.sampled_from(['a"b', "50%", "%s", "{}", "select", "h", "k", "d"])),
            min_size=len(types),
            max_size=len(types),
            unique=True,
        )
    )
    targets = list(column_names(names).values())
    return mapping_over(types, key=draw(st.integers(0, len(types))), names=targets)


@st.composite
def tables(draw: st.DrawFn) -> tuple[TableMapping, list[TargetRow]]:
    """Any mapping with some of its rows."""
    mapping = draw(mappings())
    return mapping, draw(st.lists(target_rows(mapping), max_size=8))


def _digest(mapping: TableMapping, rows: Sequence[TargetRow]) -> Digest:
    accumulator = Accumulator(mapping)
    for row in rows:
        accumulator.add(row)
    return accumulator.digest()


@settings(max_examples=60)
@given(tables())
def test_python_and_server_hash_alike(
    connection: Connection, table: tuple[TableMapping, list[TargetRow]]
) -> None:
    """Row, key and cell hashes, and the digest over all rows, are equal on both sides."""
    mapping, rows = table
    hasher = RowHasher(mapping)
    cells = [digest_sql.cell_hash(mapping, column, "x") for column in mapping.columns]
    query = sql.SQL("SELECT {} FROM {} AS x ORDER BY x.ctid").format(
        sql.SQL(", ").join(
            [digest_sql.row_hash(mapping, "x"), digest_sql.key_hash(mapping, "x"), *cells]
        ),
        ddl.table_name(mapping),
    )
    with loaded(connection, mapping, rows):
        on_server = connection.execute(query).fetchall()
        digest = target_digest(connection, mapping)
    in_python = [(hasher.row_hash(r), hasher.key_hash(r), *hasher.cell_hashes(r)) for r in rows]
    assert on_server == in_python
    assert digest == _digest(mapping, rows)


def test_a_table_of_400_columns_is_hashed_alike(connection: Connection) -> None:
    """A wide row's expression is one that the server can still parse and evaluate."""
    mapping = mapping_over([TYPES[i % 4] for i in range(400)], key=1)
    values: list[TargetValue] = [7, 0.5, "x", b"\0"]
    rows: list[TargetRow] = [tuple(values * 100), (8, *(None,) * 399)]
    with loaded(connection, mapping, rows):
        assert target_digest(connection, mapping) == _digest(mapping, rows)


DIFFERENT: list[tuple[TargetType, TargetValue, TargetValue]] = [
    (TEXT, None, ""),
    (TEXT, "a", "a "),
    (TEXT, "a", "A"),
    (TEXT, "\u00e9", "e\u0301"),
    (BYTEA, None, b""),
    (BYTEA, b"", b"\0"),
    (DOUBLE, 0.0, -0.0),
    (DOUBLE, None, 0.0),
    (DOUBLE, 0.1 + 0.2, 0.3),
    (NUMERIC, Decimal("1.5"), Decimal("1.50")),
    (NUMERIC, None, Decimal(0)),
    (NUMERIC_18_2, Decimal("1.50"), Decimal("1.51")),
    (BIGINT, None, 0),
    (BIGINT, 2**53, 2**53 + 1),
    (TargetType(kind=Kind.BOOLEAN), None, False),
]


@pytest.mark.parametrize(("kind", "left", "right"), DIFFERENT)
def test_values_that_look_alike_hash_apart_on_both_sides(
    connection: Connection, kind: TargetType, left: TargetValue, right: TargetValue
) -> None:
    """NULL and '', zeros of either sign, numerics of another scale: none is taken for the other."""
    mapping = mapping_over([BIGINT, kind], key=1)
    rows: list[TargetRow] = [(1, left), (1, right)]
    in_python = [RowHasher(mapping).row_hash(row) for row in rows]
    with loaded(connection, mapping, rows):
        query = sql.SQL("SELECT {} FROM {} AS x ORDER BY x.ctid").format(
            digest_sql.row_hash(mapping, "x"), ddl.table_name(mapping)
        )
        on_server = [row[0] for row in connection.execute(query)]
    assert len(set(in_python)) == 2
    assert on_server == in_python


@given(mappings().flatmap(lambda m: st.tuples(st.just(m), target_rows(m), st.data())))
def test_a_single_changed_cell_changes_row_digest_and_that_cell(
    case: tuple[TableMapping, TargetRow, st.DataObject],
) -> None:
    """No cell may change unseen, and outside the key the changed cell alone is named."""
    mapping, row, data = case
    position = data.draw(st.integers(0, len(row) - 1))
    changed = data.draw(
        st.none() | target_values(mapping.columns[position].type).filter(lambda v: v is not None)
    )
    hasher = RowHasher(mapping)
    if repr(changed) == repr(row[position]):
        return
    other = (*row[:position], changed, *row[position + 1 :])
    assert hasher.row_hash(row) != hasher.row_hash(other)
    assert _digest(mapping, [row]) != _digest(mapping, [other])
    if mapping.key and position not in mapping.key_positions:
        pairs = zip(hasher.cell_hashes(row), hasher.cell_hashes(other), strict=True)
        assert [i for i, (a, b) in enumerate(pairs) if a != b] == [position]


def test_two_rows_that_swap_values_change_the_digest() -> None:
    """The same cells in other rows are another table."""
    mapping = mapping_over([BIGINT, TEXT], key=1)
    assert _digest(mapping, [(1, "a"), (2, "b")]) != _digest(mapping, [(1, "b"), (2, "a")])


def test_two_columns_that_swap_values_change_the_digest() -> None:
    """The same values in other columns are another row, with and without NULLs."""
    mapping = mapping_over([TEXT, TEXT])
    assert _digest(mapping, [("ab", "c")]) != _digest(mapping, [("a", "bc")])
    assert _digest(mapping, [(None, "a")]) != _digest(mapping, [("a", None)])
    assert _digest(mapping, [("", None)]) != _digest(mapping, [(None, "")])


def test_a_row_too_many_shows_even_where_it_is_a_copy() -> None:
    """A sum, unlike an exclusive or, does not cancel pairs."""
    mapping = mapping_over([TEXT])
    digests = [_digest(mapping, [("a",)] * copies) for copies in range(4)]
    assert len(set(digests)) == 4


@given(
    mappings()
    .map(lambda m: dataclasses.replace(m, key=()))
    .flatmap(
        lambda m: st.tuples(
            st.just(m), st.lists(target_rows(m), min_size=1, max_size=6), target_rows(m)
        )
    )
)
def test_any_copy_that_comes_goes_or_changes_shows(
    case: tuple[TableMapping, list[TargetRow], TargetRow],
) -> None:
    """Without a key, the digest knows how many copies there are of what."""
    mapping, rows, other = case
    whole = _digest(mapping, rows)
    assert _digest(mapping, rows[1:]) != whole
    assert _digest(mapping, [*rows, rows[0]]) != whole
    assert _digest(mapping, [*rows[::-1], other]) != whole
    if repr(other) != repr(rows[0]):
        assert _digest(mapping, [other, *rows[1:]]) != whole


@given(tables().flatmap(lambda t: st.tuples(st.just(t), st.integers(0, 8))))
def test_digests_of_parts_add_up(case: tuple[tuple[TableMapping, list[TargetRow]], int]) -> None:
    """Sums are additive, whatever the order: that is how a foreign write is found."""
    (mapping, rows), place = case
    whole, first, second = (
        _digest(mapping, part) for part in (rows[::-1], rows[:place], rows[place:])
    )
    assert combine(first, plus=[second]) == whole
    assert combine(whole, minus=[first]) == second
    assert combine(whole, minus=[first], plus=[first]) == whole
    assert differing_buckets(whole, whole) == []
    assert (whole.rows, whole.total) == (len(rows), first.total + second.total)


def test_a_differing_row_opens_its_bucket_alone() -> None:
    """What has to be read again is one bucket of key hashes, not the table."""
    mapping = mapping_over([BIGINT, TEXT], key=1)
    rows: list[TargetRow] = [(i, "x") for i in range(200)]
    other: list[TargetRow] = [*rows[:50], (50, "y"), *rows[51:]]
    buckets = differing_buckets(_digest(mapping, rows), _digest(mapping, other))
    assert buckets == [RowHasher(mapping).key_hash((50, "x")) % BUCKETS]


def test_buckets_without_rows_are_empty() -> None:
    """The server names only the buckets that hold rows."""
    digest = from_buckets([(3, 2, -5), (63, 1, 7)])
    assert (digest.algorithm, len(digest.counts), len(digest.sums)) == (ALGORITHM, BUCKETS, BUCKETS)
    assert (digest.rows, digest.total, digest.counts[3], digest.sums[3]) == (3, 2, 2, -5)


def test_the_definition_is_the_documented_one() -> None:
    """Stored digests stay comparable: this hash of (NULL, 'é', 1) must never change."""
    mapping = mapping_over([TEXT, TEXT, BIGINT])
    assert RowHasher(mapping).row_hash((None, "é", 1)) == EXPECTED


# sha256 of 00 | 01 00000002 c3a9 | 01 00000008 0000000000000001, its first 8 bytes, signed
EXPECTED = 3200640162717025743
