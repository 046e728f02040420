"""The target's catalogue is compared with the sealed mapping, the newest cut's columns too."""

import sqlite3
from contextlib import closing

import pytest

from migration_assets import standing, step
from migration_assets.findings import SchemaCheck
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    change,
    load_week,
    week,
    write_on_target,
)

SCHEMA = """
CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, label TEXT COLLATE NOCASE,
    price DECIMAL(10,2), at DATETIME);
CREATE INDEX item_label ON item (label);
CREATE INDEX item_price ON item (price, at);
INSERT INTO item VALUES (1, 'a', 'A', 1.5, '2026-01-02 03:04:05'), (2, 'b', NULL, NULL, NULL);
"""


@pytest.fixture
def migration(make_migration: MakeMigration) -> Migration:
    """Return a migration whose table was loaded."""
    made = make_migration(SCHEMA)
    load_week(made, 1)
    return made


def schema(migration: Migration) -> SchemaCheck:
    """Return what the check finds now."""
    found = standing.inspect(migration, "item")
    assert found is not None
    return found.schema


def named(migration: Migration) -> list[str]:
    """Return what differs."""
    return [finding.what for finding in schema(migration).findings]


def test_a_table_as_it_was_made_has_no_findings(migration: Migration) -> None:
    """Columns and indexes are counted; nothing is the target's own."""
    found = schema(migration)
    assert found.holds
    assert (found.columns, found.indexes, found.extras) == (5, 4, ())
    assert found.cut_week == week(1)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("ALTER TABLE item DROP COLUMN at CASCADE", "column at (timestamp) is gone"),
        (
            "ALTER TABLE item ALTER price TYPE numeric(12,2)",
            "column price is numeric(12,2) instead of numeric(10,2)",
        ),
        ("ALTER TABLE item ALTER code DROP NOT NULL", "column code is no longer NOT NULL"),
        ("ALTER TABLE item DROP CONSTRAINT item_pkey", "the primary key (id) is gone"),
        ("DROP INDEX item_label_idx", "index item_label_idx (label) is gone or not valid"),
        ("DROP INDEX item_code_key", "unique index item_code_key (code) is gone or not valid"),
        (
            "DROP INDEX item_price_at_idx; CREATE INDEX item_price_at_idx ON item (price)",
            "index item_price_at_idx (price, at) is gone or not valid",
        ),
        (
            "DROP INDEX item_code_key; CREATE INDEX item_code_key ON item (code)",
            "unique index item_code_key (code) is gone or not valid",
        ),
        (
            (
                "DROP INDEX item_price_at_idx;"
                "CREATE INDEX item_price_at_idx ON item (price, at) WHERE price > 0"
            ),
            "index item_price_at_idx (price, at) is gone or not valid",
        ),
        ("DROP TABLE item", "table public.item is gone from the target"),
    ],
)
def test_what_of_ours_was_taken_or_changed_is_named(
    migration: Migration, statement: str, what: str
) -> None:
    """With something to do for each."""
    write_on_target(migration, statement)
    found = schema(migration)
    assert not found.holds
    assert what in [finding.what for finding in found.findings]
    assert all(finding.to_do for finding in found.findings)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE item ALTER code DROP NOT NULL",
        "ALTER TABLE item DROP CONSTRAINT item_pkey",
        "DROP INDEX item_label_idx",
        "DROP INDEX item_code_key",
    ],
)
def test_what_is_to_be_done_mends_it(migration: Migration, statement: str) -> None:
    """The statement that is given can be run as it stands."""
    write_on_target(migration, statement)
    for finding in schema(migration).findings:
        write_on_target(migration, finding.to_do)
    assert schema(migration).holds


def test_names_of_keys_and_indexes_are_the_dbas_to_change(migration: Migration) -> None:
    """What they cover is not; the new names are listed as the target's own."""
    write_on_target(
        migration,
        "ALTER INDEX item_label_idx RENAME TO quick",
        "ALTER TABLE item RENAME CONSTRAINT item_pkey TO pk",
    )
    found = schema(migration)
    assert found.holds
    assert found.extras == ("index pk", "index quick")


def test_what_the_target_has_of_its_own_is_listed_and_fine(migration: Migration) -> None:
    """Columns, indexes, triggers and constraints beside ours."""
    write_on_target(
        migration,
        "ALTER TABLE item ADD COLUMN remark text NOT NULL DEFAULT ''",
        "CREATE INDEX item_remark ON item (remark)",
        "ALTER TABLE item ADD CONSTRAINT item_positive CHECK (id > 0)",
        "ALTER TABLE item ADD CONSTRAINT item_self FOREIGN KEY (id) REFERENCES item (id)",
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER item_noted AFTER INSERT ON item EXECUTE FUNCTION nothing()",
    )
    found = schema(migration)
    assert found.holds
    assert found.extras == (
        "column remark",
        "index item_remark",
        "check item_positive",
        "foreign key item_self",
        "trigger item_noted",
    )


def test_many_objects_of_the_targets_own_are_counted_not_all_listed(migration: Migration) -> None:
    """A page stays readable."""
    adds = (f"ADD COLUMN extra_{n} int" for n in range(30))
    write_on_target(migration, f"ALTER TABLE item {', '.join(adds)}")
    extras = schema(migration).extras
    assert len(extras) == 21
    assert extras[-1] == "10 more"


def test_what_the_next_load_will_carry_is_said(migration: Migration) -> None:
    """As soon as its cut is taken; it is nothing to do."""
    change(migration, "ALTER TABLE item ADD COLUMN weight REAL")
    assert schema(migration).pending == ()
    step.take_cut(migration, week(2))
    found = schema(migration)
    assert found.holds
    assert found.pending == ("column weight is new: double precision",)
    assert found.cut_week == week(2)


def test_what_has_to_be_confirmed_is_a_finding(migration: Migration) -> None:
    """What the next load will refuse is known as soon as its cut is taken, with what to write."""
    change(migration, "ALTER TABLE item RENAME COLUMN id TO number")
    step.take_cut(migration, week(2))
    (found,) = schema(migration).findings
    assert found.what.startswith("at the source: the key was (id)")
    assert "`key: [number]` below `tables: item`" in found.to_do


def test_a_table_that_left_the_source_is_a_finding(migration: Migration) -> None:
    """The target still has it."""
    change(migration, "CREATE TABLE other (id INTEGER PRIMARY KEY)", "DROP TABLE item")
    step.take_cut(migration, week(2))
    assert named(migration) == ["at the source: table item is gone"]


def test_nothing_is_read_back_through_columns_that_changed(migration: Migration) -> None:
    """The round trip says so instead of failing, and is no pass."""
    write_on_target(migration, "ALTER TABLE item DROP COLUMN at CASCADE")
    found = standing.inspect(migration, "item")
    assert found is not None
    assert not found.round_trip.holds
    assert "not those of the mapping" in found.round_trip.differences[0].what


def test_a_mended_target_loads_on(migration: Migration) -> None:
    """Nothing of the check is left behind."""
    write_on_target(migration, "DROP INDEX item_label_idx")
    for finding in schema(migration).findings:
        write_on_target(migration, finding.to_do)
    change(migration, "INSERT INTO item VALUES (3, 'c', 'C', 2, NULL)")
    load_week(migration, 2)
    assert_equal(migration)


LIMITED = """
CREATE TABLE item (id INTEGER PRIMARY KEY, code VARCHAR(3), n INTEGER CHECK (n > 0),
    CHECK (n < 9 -- a comment
    ), CHECK (length(code) > 0 OR code IS NULL));
PRAGMA ignore_check_constraints = ON;
INSERT INTO item VALUES (1, 'abc', 1), (2, 'abcd', 0), (3, 'äöüß', NULL), (4, '', 20), (5, NULL, 0);
"""


def test_rows_against_later_constraints_are_counted(make_migration: MakeMigration) -> None:
    """At the source, by SQLite itself; they are no difference from the mapping."""
    made = make_migration(LIMITED)
    load_week(made, 1)
    found = schema(made)
    assert found.holds
    assert {v.constraint: v.rows for v in found.violations} == {
        "length code (code VARCHAR(3))": 2,
        "check item_check1 (n > 0)": 2,
        "check item_check2 (n < 9 -- a comment)": 1,
        "check item_check3 (length(code) > 0 OR code IS NULL)": 1,
    }


def test_a_check_over_the_applications_own_function_is_said_not_to_be_counted(
    make_migration: MakeMigration,
) -> None:
    """The others are counted all the same."""
    made = make_migration("CREATE TABLE item (id INTEGER PRIMARY KEY, code VARCHAR(1))")
    with closing(sqlite3.connect(made.settings.source)) as connection, connection:
        connection.execute("INSERT INTO item VALUES (1, 'ab')")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(1))', '(1), CHECK (own(code)))')"
        )
    load_week(made, 1)
    assert [v.text for v in schema(made).violations] == [
        "check item_check1 (own(code)): the rows that violate it can't be counted",
        "length code (code VARCHAR(1)): 1 rows at the source violate it",
    ]
