"""Rows that don't fit the sealed mapping: in quarantine, whole, and back when they are mended."""

import struct

import pytest

from migration_assets import standing
from migration_assets.errors import GuardError, MigrationError, ProofError
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    Row,
    assert_equal,
    assert_proved,
    change,
    entries,
    load_week,
    run_week,
    snapshot,
    target_rows,
    write_on_target,
)

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, amount INTEGER, due DATE, note TEXT);
INSERT INTO item VALUES (1, 10, '2026-01-01', 'a'), (2, 20, NULL, 'b'), (3, 30, '2026-03-03', 'c');
"""
LINES = """
CREATE TABLE line (amount INTEGER, note TEXT);
INSERT INTO line VALUES (1, 'a'), (1, 'a'), (2, 'b');
"""
CODES = """
CREATE TABLE code (code TEXT PRIMARY KEY, meaning TEXT);
INSERT INTO code VALUES ('a', 'Alpha'), ('b', 'Beta');
"""
UNFIT = "UPDATE item SET amount = 'ten' WHERE id = 1"
TAMPER = """UPDATE migration.quarantine SET "values" = array_replace("values", 'ten', 'six')"""


def quarantined(migration: Migration) -> list[Row]:
    """Return what stands in quarantine, in the order of keys."""
    return target_rows(
        migration,
        "SELECT table_name, week::text, key, column_names, unfit_columns, reasons, storage_classes,"
        ' "values" FROM migration.quarantine ORDER BY key',
    )


def test_a_row_that_stops_fitting_leaves_the_target_for_quarantine(
    make_migration: MakeMigration,
) -> None:
    """In one move: deleted there, entered here, and the counts still add up."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, UNFIT)
    moved = load_week(migration, 2)["item"]
    assert (moved.inserted, moved.updated, moved.deleted) == (0, 0, 1)
    assert (moved.proof.source_rows, moved.proof.target_rows) == (3, 2)
    assert (moved.proof.quarantined_rows, moved.proof.unfit_rows) == (1, 1)
    assert target_rows(migration, "SELECT id FROM item ORDER BY id") == [(2,), (3,)]
    assert_equal(migration)
    assert_proved(migration, "item")


def test_a_quarantined_row_is_kept_whole_and_exact(make_migration: MakeMigration) -> None:
    """Storage class and bytes of every value, the names of all columns, and every reason."""
    migration = make_migration(
        "CREATE TABLE v (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, n INTEGER);"
        "INSERT INTO v VALUES (1, 1, 1.5, 'x', x'00', NULL);"
    )
    load_week(migration, 1)
    change(
        migration,
        "INSERT INTO v VALUES (-2, 'word', 0.1, CAST(x'ff00fe' AS TEXT), x'00ff00', NULL)",
    )
    load_week(migration, 2)
    ((table, week, key, names, unfit, reasons, classes, values),) = quarantined(migration)
    assert (table, week, key) == ("v", "2026-10-11", "id=-2")
    assert names == ["id", "i", "r", "t", "b", "n"]
    assert unfit == ["i", "t"]
    assert reasons == ["text is no bigint", "text that is not UTF-8 is no text"]
    assert classes == ["integer", "text", "real", "text", "blob", "null"]
    assert values == [
        (-2).to_bytes(8, "big", signed=True),
        b"word",
        struct.pack(">d", 0.1),
        b"\xff\x00\xfe",
        b"\x00\xff\x00",
        None,
    ]
    assert_equal(migration)


def test_a_mended_row_comes_back_from_quarantine(make_migration: MakeMigration) -> None:
    """It leaves quarantine in the move that inserts it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, UNFIT)
    load_week(migration, 2)
    change(migration, "UPDATE item SET amount = 11 WHERE id = 1")
    moved = load_week(migration, 3)["item"]
    assert (moved.inserted, moved.updated, moved.deleted) == (1, 0, 0)
    assert quarantined(migration) == []
    assert_equal(migration)


def test_a_row_deleted_while_in_quarantine_is_gone_from_there(
    make_migration: MakeMigration,
) -> None:
    """Nothing of it stays, on either side."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, UNFIT, "UPDATE item SET due = 'soon' WHERE id = 3")
    load_week(migration, 2)
    change(migration, "DELETE FROM item WHERE id = 1")
    load_week(migration, 3)
    assert [row[2] for row in quarantined(migration)] == ["id=3"]
    assert_equal(migration)


def test_a_row_changed_while_in_quarantine_is_kept_as_it_is_now(
    make_migration: MakeMigration,
) -> None:
    """Changed in the unfit column and in another: quarantine shows the row of the new cut, once."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, UNFIT)
    load_week(migration, 2)
    change(migration, "UPDATE item SET amount = 'zehn', note = 'now' WHERE id = 1")
    load_week(migration, 3)
    ((_, week, *_, values),) = quarantined(migration)
    assert (week, values[1], values[3]) == ("2026-10-18", b"zehn", b"now")
    assert_equal(migration)
    change(migration, "UPDATE item SET id = 99 WHERE id = 1")
    load_week(migration, 4)
    assert [row[2] for row in quarantined(migration)] == ["id=99"]
    assert_equal(migration)


def test_duplicates_of_an_unfit_row_are_counted_in_a_keyless_table(
    make_migration: MakeMigration,
) -> None:
    """Three alike are three; when one is mended, two are left."""
    migration = make_migration(LINES)
    load_week(migration, 1)
    change(migration, *["INSERT INTO line VALUES ('many', 'a')"] * 3)
    moved = load_week(migration, 2)["line"]
    assert moved.proof.quarantined_rows == 3
    assert_equal(migration)
    change(migration, "UPDATE line SET amount = 5 WHERE rowid = 4")
    moved = load_week(migration, 3)["line"]
    assert moved.proof.quarantined_rows == 2
    assert_equal(migration)
    assert_proved(migration, "line")


def test_a_null_in_a_key_is_quarantined_and_comes_back_with_a_key(
    make_migration: MakeMigration,
) -> None:
    """SQLite allows it, several times over; PostgreSQL doesn't. The copies are counted."""
    migration = make_migration(CODES)
    assert load_week(migration, 1)["code"].mapping.key == ("code",)
    change(
        migration,
        "UPDATE code SET code = NULL WHERE code = 'b'",
        *["INSERT INTO code VALUES (NULL, 'Beta')"] * 2,
        "INSERT INTO code VALUES (NULL, 'Gamma')",
    )
    moved = load_week(migration, 2)["code"]
    assert (moved.deleted, moved.proof.quarantined_rows) == (1, 4)
    assert {row[5][0] for row in quarantined(migration)} == {"null in a key"}
    assert_equal(migration)
    load_week(migration, 3)
    assert_equal(migration)
    change(
        migration,
        "DELETE FROM code WHERE rowid = 2",
        "UPDATE code SET code = 'g' WHERE meaning = 'Gamma'",
    )
    moved = load_week(migration, 4)["code"]
    assert moved.proof.quarantined_rows == 2
    assert_equal(migration)
    assert_proved(migration, "code")


def test_too_many_unfit_rows_stop_the_step_until_acknowledged(
    make_migration: MakeMigration,
) -> None:
    """The guard is named, nothing changes; with its name the same week goes through."""
    migration = make_migration(ITEMS, quarantine_rows=1, quarantine_share=0.0)
    load_week(migration, 1)
    change(migration, "UPDATE item SET due = 'soon' WHERE id < 3")
    before = snapshot(migration)
    result = run_week(migration, 2)["item"]
    assert isinstance(result, GuardError)
    assert "quarantine_limit" in str(result)
    assert "2 of 3 rows" in str(result)
    assert snapshot(migration) == before
    moved = load_week(migration, 2, acknowledged=frozenset({"quarantine_limit"}))["item"]
    assert moved.proof.quarantined_rows == 2
    assert_equal(migration)
    assert target_rows(migration, "SELECT acknowledged FROM migration.ledger ORDER BY entry") == [
        ([],),
        (["quarantine_limit"],),
    ]


def test_the_quarantine_limit_counts_rows_that_stand_there_already(
    make_migration: MakeMigration,
) -> None:
    """A row a week must not creep past the limit."""
    migration = make_migration(ITEMS, quarantine_rows=1, quarantine_share=0.0)
    load_week(migration, 1)
    change(migration, UNFIT)
    load_week(migration, 2)
    change(migration, "UPDATE item SET due = 'soon' WHERE id = 2")
    assert isinstance(run_week(migration, 3)["item"], GuardError)
    assert len(entries(migration, "item")) == 2


def test_a_first_load_quarantines_the_few_rows_that_do_not_fit(
    make_migration: MakeMigration,
) -> None:
    """In a large column a single misfit doesn't change the type; the row is kept aside."""
    migration = make_migration(
        "CREATE TABLE big (id INTEGER PRIMARY KEY, n INTEGER);"
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000)"
        " INSERT INTO big SELECT i, i FROM c;"
        "UPDATE big SET n = 'odd' WHERE id = 777;"
    )
    moved = load_week(migration, 1)["big"]
    assert (moved.inserted, moved.proof.quarantined_rows) == (1999, 1)
    assert_equal(migration)


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(TAMPER, id="a value changed"),
        pytest.param("DELETE FROM migration.quarantine", id="a row deleted"),
        pytest.param(
            "INSERT INTO migration.quarantine SELECT * FROM migration.quarantine",
            id="a row doubled",
        ),
        pytest.param(
            "UPDATE migration.quarantine SET storage_classes[2] = 'blob'", id="a class changed"
        ),
    ],
)
def test_a_quarantine_that_somebody_changed_is_seen(
    make_migration: MakeMigration, tamper: str
) -> None:
    """By verify at once and by the next move's proof, which commits nothing; then it is mended."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, UNFIT)
    load_week(migration, 2)
    write_on_target(migration, tamper)
    found = standing.verify(migration, "item")
    assert found is not None
    assert (found[0].digest_equal, found[0].quarantine_equal) == (True, False)
    change(migration, "UPDATE item SET note = 'later' WHERE id = 2")
    before = snapshot(migration)
    result = run_week(migration, 3)["item"]
    assert isinstance(result, ProofError)
    assert "quarantine" in str(result)
    assert "foreign_writes" in str(result), "the way out is named"
    assert snapshot(migration) == before
    load_week(migration, 3, acknowledged=DISPLACE)
    assert_equal(migration)
    assert_proved(migration, "item")


def test_errors_name_keys_and_never_unfit_values(make_migration: MakeMigration) -> None:
    """What an unfit row holds stays in quarantine."""
    migration = make_migration(ITEMS, quarantine_rows=0, quarantine_share=0.0)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 'S3CRET-VALUE' WHERE id = 1")
    result = run_week(migration, 2)["item"]
    assert isinstance(result, MigrationError)
    assert "S3CRET" not in str(result)
