"""The second witness: what comes back from the target is what the raw cut holds, value by value."""

from collections.abc import Callable

import pytest

from migration_assets import standing
from migration_assets.errors import ProofError
from migration_assets.findings import Inspection, RoundTrip
from migration_assets.mapping import values
from migration_assets.mapping.values import Converted
from migration_assets.migration import Migration
from migration_assets.model import (
    Kind,
    SqliteValue,
    TargetType,
    TargetValue,
)
from migration_assets.verify import round_trip as witness
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    load_week,
    run_week,
    snapshot,
    week,
    write_on_target,
)

KEYED = """
CREATE TABLE ware (id INTEGER PRIMARY KEY, name TEXT, price REAL, sold DATE);
INSERT INTO ware VALUES (1, 'pen', 1.5, '2026-01-02'), (2, 'ink', 0.1, NULL), (3, '', 2, NULL);
"""
KEYLESS = """
CREATE TABLE note (at INTEGER, text TEXT, grade);
INSERT INTO note VALUES (1, 'a', 1.5), (1, 'a', 1.5), (1, 'a', 1.5), (NULL, 'b', NULL),
    (2, '', 0.0);
"""
MANY = """
CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO part SELECT i, 'part ' || i FROM n;
"""
MANY_KEYLESS = """
CREATE TABLE part (name TEXT, size NUMERIC(10,2));
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO part SELECT 'part ' || (i % 3000), 1.5 FROM n;
"""


def inspected(migration: Migration, table: str) -> Inspection:
    """Inspect a table that was loaded."""
    found = standing.inspect(migration, table)
    assert found is not None
    return found


def read_back(migration: Migration, table: str) -> RoundTrip:
    """Return what a check alone reads back."""
    return inspected(migration, table).round_trip


def in_step(migration: Migration, number: int, table: str) -> RoundTrip:
    """Run a week; return what its step read back."""
    found = load_week(migration, number, tables=[table])[table].round_trip
    assert found is not None
    return found


def texts(found: RoundTrip) -> list[str]:
    """Return the differences as people read them."""
    return [d.text(show_key=True) for d in found.differences]


@pytest.mark.parametrize("schema", [KEYED, KEYLESS])
def test_every_row_of_a_small_table_is_read_back(
    make_migration: MakeMigration, schema: str
) -> None:
    """Those that the step wrote and those that stand, in the step and afterwards."""
    migration = make_migration(schema)
    table = "ware" if schema is KEYED else "note"
    rows = 3 if schema is KEYED else 5
    first = in_step(migration, 1, table)
    assert (first.changed_rows, first.sampled_rows, first.holds) == (rows, rows, True)
    assert first.week == week(1)
    alone = read_back(migration, table)
    assert (alone.changed_rows, alone.sampled_rows, alone.holds) == (0, rows, True)
    assert alone.cut == first.cut


def test_only_the_rows_that_a_week_wrote_count_as_changed(make_migration: MakeMigration) -> None:
    """A deleted row has nothing to read back."""
    migration = make_migration(KEYED)
    in_step(migration, 1, "ware")
    change(
        migration,
        "UPDATE ware SET name = 'x' WHERE id = 1",
        "DELETE FROM ware WHERE id = 2",
        "INSERT INTO ware VALUES (9, 'y', 3.25, '2026-05-05')",
    )
    second = in_step(migration, 2, "ware")
    assert (second.changed_rows, second.sampled_rows, second.holds) == (2, 3, True)


Convert = Callable[[SqliteValue, TargetType], Converted]


def wrong_for_text(convert: Convert) -> Convert:
    """Return a conversion that loses accents without a word, for both sides of the digest."""

    def wrong(value: SqliteValue, kind: TargetType) -> Converted:
        return "u" if value == "ü" else convert(value, kind)

    return wrong


@pytest.mark.parametrize("key", ["INTEGER PRIMARY KEY", "INTEGER"])
def test_a_wrong_conversion_that_the_digest_can_not_see_stops_the_step(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Both sides of a digest convert alike; the raw cut knows better, and nothing is committed."""
    migration = make_migration(
        f"CREATE TABLE t (id {key}, name TEXT); INSERT INTO t VALUES (1, 'ü'), (2, 'o');"
    )
    monkeypatch.setattr(values, "convert", wrong_for_text(values.convert))
    monkeypatch.setattr(values, "_comes_back", lambda *_: True)
    error = run_week(migration, 1)["t"]
    assert isinstance(error, ProofError)
    if key == "INTEGER":
        assert f"1 rows without a key: {witness.UNKNOWN}" in error.what
    else:
        assert f"id=1: {witness.DIFFERS} (name)" in error.what
        assert "id=2" not in error.what
    assert error.where == f"table t, week {week(1)}"
    assert standing.inspect(migration, "t") is None
    assert "ü" not in str(error)
    monkeypatch.undo()
    assert in_step(migration, 1, "t").holds


def test_a_value_that_is_rendered_otherwise_stops_the_step(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head stays where it was, and the columns are named."""
    migration = make_migration(KEYED)
    in_step(migration, 1, "ware")
    change(migration, "UPDATE ware SET price = 9 WHERE id = 3")
    before = snapshot(migration)
    render = witness.render

    def off_by_one_cent(value: TargetValue, kind: TargetType) -> SqliteValue:
        return value + 0.01 if isinstance(value, float) else render(value, kind)

    monkeypatch.setattr(witness, "render", off_by_one_cent)
    error = run_week(migration, 2, tables=["ware"])["ware"]
    assert isinstance(error, ProofError)
    assert error.what.count(witness.DIFFERS) == 3
    assert f"id=3: {witness.DIFFERS} (price)" in error.what
    after = snapshot(migration)
    assert {name: rows for name, rows in after.items() if name != "attempt"} == before


def test_keys_are_not_named_where_they_are_not_to_be_shown(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show_keys: false` holds for this error too."""
    migration = make_migration(KEYED, show_keys=False)
    monkeypatch.setattr(witness, "render", lambda value, _kind: value)  # a date stays a date
    error = run_week(migration, 1)["ware"]
    assert isinstance(error, ProofError)
    assert f"{witness.DIFFERS} (sold)" in error.what
    assert "id=" not in error.what


def test_verify_reads_back_what_somebody_changed(make_migration: MakeMigration) -> None:
    """Beside the digest, which sees it too; key and column are named."""
    migration = make_migration(KEYED)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE ware SET price = 0.5 WHERE id = 2")
    found = standing.verify(migration, "ware")
    assert found is not None
    assert not found.proof.holds
    assert texts(found.inspection.round_trip) == [f"id=2: {witness.DIFFERS} (price)"]


def test_a_row_that_the_cut_does_not_have_is_named(make_migration: MakeMigration) -> None:
    """By its key, which nobody finds in the cut."""
    migration = make_migration(KEYED)
    load_week(migration, 1)
    write_on_target(migration, "INSERT INTO ware VALUES (44, 'new', 1, NULL)")
    assert texts(read_back(migration, "ware")) == [f"id=44: {witness.UNKNOWN}"]


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("INSERT INTO note VALUES (2, '', 0)", "comes back in 2 copies, the cut has 1"),
        (
            "DELETE FROM note WHERE ctid = (SELECT min(ctid) FROM note WHERE at = 1)",
            "comes back in 2 copies, the cut has 3",
        ),
        ("UPDATE note SET grade = '-0.0' WHERE at = 2", witness.UNKNOWN),
    ],
)
def test_copies_of_a_row_without_a_key_are_counted(
    make_migration: MakeMigration, statement: str, difference: str
) -> None:
    """One too many, one too few, and one that only looks alike."""
    migration = make_migration(KEYLESS)
    load_week(migration, 1)
    write_on_target(migration, statement)
    assert texts(read_back(migration, "note")) == [f"1 rows without a key: {difference}"]


def test_a_value_that_no_load_writes_is_a_difference_and_no_crash(
    make_migration: MakeMigration,
) -> None:
    """PostgreSQL has an infinite date, Python has none."""
    migration = make_migration(KEYED)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE ware SET sold = 'infinity' WHERE id = 1")
    found = standing.verify(migration, "ware")
    assert found is not None
    assert [d.what for d in found.inspection.round_trip.differences] == [witness.UNREADABLE]


@pytest.mark.parametrize("schema", [MANY, MANY_KEYLESS])
def test_what_is_read_back_of_a_large_table_is_bounded(
    make_migration: MakeMigration, schema: str
) -> None:
    """A thousand changed rows and about as many of all, however many there are."""
    migration = make_migration(schema)
    found = in_step(migration, 1, "part")
    assert found.holds
    # copies of one row come together, so the last one drawn may bring another
    assert 500 < found.changed_rows <= witness.CHANGED_ROWS + (schema is MANY_KEYLESS) * 1000
    assert 500 < found.sampled_rows < 2 * witness.SAMPLED_ROWS


def test_a_sample_is_the_same_in_one_week_and_another_in_the_next(
    make_migration: MakeMigration,
) -> None:
    """A check that was red yesterday isn't green today by luck; over the weeks all rows come up."""
    migration = make_migration(MANY)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE part SET name = name || '!'")
    first, again = read_back(migration, "part"), read_back(migration, "part")
    assert first == again
    assert len(first.differences) == witness.SHOWN
    write_on_target(migration, "UPDATE part SET name = left(name, -1)")
    load_week(migration, 2)
    write_on_target(migration, "UPDATE part SET name = name || '!'")
    second = read_back(migration, "part")
    assert {d.key for d in first.differences} != {d.key for d in second.differences}


@pytest.mark.parametrize("schema", [MANY, MANY_KEYLESS])
def test_large_rows_end_a_reading_early(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    """Bytes are bounded too; copies that were left out are no difference."""
    monkeypatch.setattr(witness, "_BYTES", 100)
    migration = make_migration(schema)
    found = in_step(migration, 1, "part")
    assert found.holds
    assert 10 <= found.sampled_rows < 20


def test_a_row_that_is_large_is_fetched_alone(make_migration: MakeMigration) -> None:
    """Chunks shrink where rows are large."""
    migration = make_migration(
        "CREATE TABLE b (id INTEGER PRIMARY KEY, body BLOB);"
        "INSERT INTO b VALUES (1, randomblob(3000000)), (2, randomblob(3000000)), (3, x'');"
    )
    found = in_step(migration, 1, "b")
    assert (found.sampled_rows, found.holds) == (3, True)
    assert_proved(migration, "b")


def test_a_quarantined_row_is_not_expected_back(make_migration: MakeMigration) -> None:
    """It isn't on the target; if somebody puts it there, the cut knows it otherwise."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER);"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        "INSERT INTO t SELECT i, i FROM n; UPDATE t SET n = 'many' WHERE id = 5;"
    )
    assert in_step(migration, 1, "t").holds
    assert inspected(migration, "t").mapping.column("n").type.kind is Kind.BIGINT
    write_on_target(migration, "INSERT INTO t VALUES (5, 5)", "DELETE FROM t WHERE id > 5")
    assert f"id=5: {witness.DIFFERS} (n)" in texts(read_back(migration, "t"))


def test_columns_of_the_targets_own_do_not_matter(make_migration: MakeMigration) -> None:
    """Neither do they count as part of a row that has no key."""
    migration = make_migration(KEYLESS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE note ADD COLUMN mine int", "UPDATE note SET mine = at")
    found = read_back(migration, "note")
    assert (found.sampled_rows, found.holds) == (5, True)


def test_text_keys_are_found_by_their_bytes(make_migration: MakeMigration) -> None:
    """NOCASE twins, blobs and composite keys are each looked up as what they are."""
    migration = make_migration(
        "CREATE TABLE k (a TEXT COLLATE NOCASE NOT NULL, b BLOB NOT NULL, c BOOLEAN NOT NULL,"
        " d DATE NOT NULL, v REAL, PRIMARY KEY (a COLLATE BINARY, b, c, d)) WITHOUT ROWID;"
        "INSERT INTO k VALUES ('x', x'00', 1, '2026-01-01', 1), ('X', x'00', 1, '2026-01-01', 2),"
        " ('x', x'', 0, '2026-01-02', 3);"
    )
    found = in_step(migration, 1, "k")
    assert (found.sampled_rows, found.holds) == (3, True)
    write_on_target(migration, "UPDATE k SET v = 9 WHERE a = 'X'")
    assert len(read_back(migration, "k").differences) == 1
