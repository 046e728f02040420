"""Names on the target: folded, short enough, unique, and none that PostgreSQL refuses."""

import re

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from migration_assets.mapping.names import (
    DECLARED_KEY,
    SYSTEM_COLUMNS,
    allocate,
    asset_name,
    column_names,
    fold,
    unique_name,
)
from migration_assets.model import (
    SourceColumn,
    SourceIndex,
    SourceTable,
)

_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


def _table(name: str, *indexes: SourceIndex, key: str = "k") -> SourceTable:
    columns = (
        SourceColumn(name=key, declared="INTEGER", key=1),
        SourceColumn(name="a", declared=""),
    )
    return SourceTable(source="main", name=name, columns=columns, indexes=indexes)


def _index(name: str, *columns: str, unique: bool = False, reason: str = "") -> SourceIndex:
    return SourceIndex(name=name, columns=columns, unique=unique, reason=reason)


@pytest.mark.parametrize(
    ("name", "folded"),
    [("Customer", "customer"), ("ÄÖÜ", "ÄÖÜ"), ("a b", "a b"), ("İ", "İ"), ('x"y', 'x"y')],
)
def test_only_ascii_letters_are_folded(name: str, folded: str) -> None:
    """As unquoted SQL behaves, whatever the locale."""
    assert fold(name) == folded


@pytest.mark.parametrize("letter", ["a", "ä", "漢", "\U0001f600"])
def test_a_long_name_keeps_its_beginning_and_carries_a_hash(letter: str) -> None:
    """PostgreSQL would cut it in silence, and two names would become one."""
    long, other = letter * 64, letter * 64 + "x"
    assert len(fold(long).encode()) <= 63
    assert re.fullmatch(rf"{letter}+_[0-9a-f]{{8}}", fold(long))
    assert fold(long) != fold(other)


def test_a_name_of_63_bytes_is_kept() -> None:
    """The limit itself needs no hash."""
    assert fold("n" * 63) == "n" * 63


@pytest.mark.parametrize("name", sorted(SYSTEM_COLUMNS))
def test_a_system_column_of_postgresql_is_renamed(name: str) -> None:
    """Every table has it already; a column that has the new name keeps it."""
    assert column_names([name.upper()]) == {name.upper(): name + "_"}
    both = column_names([name, name + "_"])
    assert len(set(both.values())) == 2


@given(st.lists(_names, unique=True, max_size=12))
@example(["", "_"])
@example(["A" * 70, "a" * 70])
@example(["xmin", "xmin_", "XMIN"])
def test_columns_get_names_of_their_own_that_postgresql_keeps(names: list[str]) -> None:
    """No two columns become one; no name is empty, too long or a system column's."""
    targets = column_names(names)
    assert list(targets) == names
    assert len(set(targets.values())) == len(names)
    assert all(0 < len(t.encode()) <= 63 for t in targets.values())
    assert not SYSTEM_COLUMNS.intersection(targets.values())


def test_a_column_without_a_name_gets_one(target_url: str) -> None:
    """SQLite allows the empty name, PostgreSQL does not."""
    name = column_names([""])[""]
    with psycopg.connect(target_url) as connection:
        connection.execute(sql.SQL("CREATE TABLE t ({} int)").format(sql.Identifier(name)))


def test_a_taken_name_gets_a_hash_of_the_whole_name() -> None:
    """Two names that fold alike stay two, and the same names always come out."""
    taken = {"orders"}
    assert unique_name("Orders", taken) == unique_name("Orders", taken)
    assert unique_name("Orders", taken) != unique_name("ORDERS", taken)
    assert unique_name("Orders", {*taken, unique_name("Orders", taken)}) not in taken


def _all_names(tables: list[SourceTable]) -> list[str]:
    return [
        name
        for names in allocate(tables).values()
        for name in (names.table, names.key, *names.indexes.values())
    ]


@given(st.lists(_names, unique=True, max_size=5), st.lists(_names, unique=True, max_size=4))
@example(["t", "t_pkey", "t_k_key", "t_a_idx"], ["i", "j"])
@example(["T" * 63, "t" * 63], ["i"])
def test_tables_keys_and_indexes_share_one_namespace(tables: list[str], indexes: list[str]) -> None:
    """Every relation has a name of its own, whatever the application called its tables."""
    made = [_table(t, *(_index(f"{t}/{i}", "a", unique=True) for i in indexes)) for t in tables]
    names = _all_names(made)
    assert len(set(names)) == len(names)
    assert all(0 < len(n.encode()) <= 63 for n in names)


def test_tables_keep_their_names_before_indexes_get_theirs() -> None:
    """An index gives way to the table that is called like it."""
    names = allocate([_table("orders", _index("i", "a")), _table("orders_a_idx")])
    assert names["orders_a_idx"].table == "orders_a_idx"
    assert names["orders"].indexes["i"] != "orders_a_idx"


def test_an_index_may_be_called_like_anything() -> None:
    """No name that a source can have is mistaken for that of the declared key."""
    names = allocate([_table("t", _index("primary key", "a"))])["t"]
    assert names.indexes["primary key"] == "t_a_idx"
    assert names.indexes[DECLARED_KEY] == "t_k_key"
    assert DECLARED_KEY.startswith("sqlite_")  # a name that SQLite keeps for itself


def test_an_index_that_is_not_plain_takes_no_name_from_a_plain_one() -> None:
    """Plain ones are called as they were before there were others, whichever table is first."""
    special = _index("i", "a", reason="a partial index")
    names = allocate([_table("t", special, _index("j", "a")), _table("t_a", _index("k"))])
    assert names["t"].indexes["j"] == "t_a_idx"
    assert names["t"].indexes["i"] == unique_name("t_a_idx", {"t_a_idx"})


def test_an_index_over_expressions_alone_has_a_name() -> None:
    """It has no columns to be called by."""
    names = allocate([_table("t", _index("i", reason="an expression index"))])
    assert names["t"].indexes["i"] == "t_expr_idx"


def test_every_table_knows_what_the_others_are_called() -> None:
    """Foreign keys refer to them."""
    names = allocate([_table("T"), _table("t")])
    assert names["T"].relations == names["t"].relations
    assert [r.table for r in names["T"].relations.values()] == ["t", names["t"].table]


@pytest.mark.parametrize("name", ["orders", "Order_Lines", "t1", "_x", "a" * 100])
def test_a_valid_asset_name_is_kept(name: str) -> None:
    """What Dagster takes as it is stays readable."""
    assert asset_name(name) == name


@settings(max_examples=300)
@given(st.lists(_names | st.from_regex(r"[a-z]{1,2}[ _]?[0-9a-f]{8}", fullmatch=True), unique=True))
@example(["a b", "a_b", "a-b", asset_name("a b"), asset_name(asset_name("a b")), "", "_"])
def test_asset_names_are_valid_and_never_shared(names: list[str]) -> None:
    """Two tables never share a key, not even a table that is called like another's hashed key."""
    keys = [asset_name(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", key) for key in keys)


def test_a_long_table_name_still_names_a_folder() -> None:
    """SQLite has no limit, a file system has: 255 bytes."""
    assert len(asset_name("n" * 300)) < 128
    assert asset_name("n" * 300) != asset_name("n" * 301)
