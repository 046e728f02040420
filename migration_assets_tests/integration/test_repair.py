"""A table that somebody changed is put right, row by row, proved, and the other's rows are kept."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from migration_assets import holds, repair, standing, undo
from migration_assets.errors import ProofError, TargetError
from migration_assets.findings import Moved, Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    run_week,
    snapshot,
    target_rows,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER, price DECIMAL(40,2));
INSERT INTO stock VALUES (1, 'pen', 10, 1), (2, 'ink', 20, 2), (3, 'cup', 30, 3);
"""
UNIQUE_STOCK = STOCK.replace("article TEXT", "article TEXT UNIQUE")
COPIES = STOCK.replace("id INTEGER PRIMARY KEY", "id INTEGER")
# What somebody did on the target, and what of theirs is kept in `migration.displaced`.
FOREIGN = {
    "a changed row": (["UPDATE stock SET amount = 99 WHERE id = 1"], ["(1,pen,99,1.00)"]),
    "a deleted row": (["DELETE FROM stock WHERE id = 2"], []),
    "added rows": (
        ["INSERT INTO stock VALUES (50, 'hat', 5, 'NaN'), (51, 'cap', 5, 1e30)"],
        ["(50,hat,5,NaN)", f"(51,cap,5,1{'0' * 30}.00)"],
    ),
    "swapped values": (
        [
            "UPDATE stock SET article = '-' WHERE id = 2",
            "UPDATE stock SET article = 'ink' WHERE id = 3",
            "UPDATE stock SET article = 'cup' WHERE id = 2",
        ],
        ["(2,cup,20,2.00)", "(3,ink,30,3.00)"],
    ),
    "a changed key": (["UPDATE stock SET id = 7 WHERE id = 3"], ["(7,cup,30,3.00)"]),
    "everything gone": (["TRUNCATE stock"], []),
}


def right(migration: Migration, table: str = "stock", *, kept: bool = False) -> Moved:
    """Repair a table that was loaded."""
    found = repair.repair(migration, table, run="test", kept=kept)
    assert found is not None
    return found


def displaced(migration: Migration) -> list[str]:
    """Return the rows that were kept, in order."""
    rows = target_rows(migration, "SELECT target_row, column_names FROM migration.displaced")
    assert all(names == ["id", "article", "amount", "price"] for _, names in rows)
    return sorted(row for row, _ in rows)


@pytest.mark.parametrize(
    "schema", [STOCK, UNIQUE_STOCK, COPIES], ids=["upsert", "delete and insert", "no key"]
)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_exactly_the_differing_rows_are_put_right_and_kept(
    make_migration: MakeMigration, foreign: str, schema: str
) -> None:
    """Whatever was done, with a key or without one; the entry counts no other row."""
    statements, kept = FOREIGN[foreign]
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    moved = right(migration)
    assert moved.outcome is Outcome.LOADED
    assert displaced(migration) == kept
    assert moved.displaced == len(kept)
    assert moved.inserted + moved.updated + moved.deleted <= 4
    assert_equal(migration)
    assert_proved(migration, "stock")
    assert target_rows(migration, "SELECT kind FROM migration.ledger ORDER BY entry") == [
        ("load",),
        ("repair",),
    ]
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    load_week(migration, 2)
    assert_equal(migration)


def test_where_nothing_differs_nothing_is_written(make_migration: MakeMigration) -> None:
    """A repair of an equal table is covered by its head; one never loaded has nothing to repair."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    assert right(migration).outcome is Outcome.COVERED
    assert len(target_rows(migration, "SELECT FROM migration.ledger")) == 1
    assert repair.repair(migration, "nothing", run="test") is None


def test_quarantine_that_somebody_changed_is_made_anew(make_migration: MakeMigration) -> None:
    """Rows taken out of it, added or changed in place are what the cut says again."""
    migration = make_migration(
        STOCK,
        quarantine_rows=5,
        tables={"stock": {"columns": {"amount": {"type": "bigint"}}}},
    )
    change(migration, "INSERT INTO stock VALUES (8, 'odd', 'many', 1)")
    load_week(migration, 1, tables=["stock"])
    assert target_rows(migration, "SELECT count(*) FROM migration.quarantine") == [(1,)]
    write_on_target(migration, "DELETE FROM migration.quarantine")
    moved = right(migration)
    assert (moved.inserted, moved.updated, moved.deleted) == (0, 0, 0)
    assert target_rows(migration, "SELECT key FROM migration.quarantine") == [("id=8",)]
    assert_proved(migration, "stock")


def test_a_table_that_is_gone_is_made_anew_from_its_cut(make_migration: MakeMigration) -> None:
    """Columns, key and rows as the sealed mapping has them, at the week where it stood."""
    migration = make_migration(UNIQUE_STOCK)
    load_week(migration, 1)
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    write_on_target(migration, "DROP TABLE stock")
    moved = right(migration)
    assert moved.inserted == 3
    assert_proved(migration, "stock")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_repair_can_be_taken_back_with_what_it_replaced(make_migration: MakeMigration) -> None:
    """Their rows stand on the target again, as exceptions, and the repair does as before."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "UPDATE stock SET amount = 99 WHERE id = 1",
        "INSERT INTO stock VALUES (50, 'hat', 5, 1)",
    )
    entry = right(migration).entry
    undone = undo.rollback(migration, "stock", entry=entry, run="test")
    assert undone is not None
    assert len(undone.proof.accepted) == 2
    assert target_rows(migration, "SELECT id, amount FROM stock ORDER BY id") == [
        (1, 99),
        (2, 20),
        (3, 30),
        (50, 5),
    ]
    assert right(migration).outcome is Outcome.COVERED
    right(migration, kept=True)
    assert_equal(migration)


@pytest.mark.parametrize("schema", [STOCK, UNIQUE_STOCK, COPIES], ids=["key", "unique", "no key"])
def test_a_repair_never_deletes_what_would_take_other_rows_along(
    make_migration: MakeMigration, schema: str
) -> None:
    """The foreign key is named, and nothing is changed until it is gone."""
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock ADD CONSTRAINT stock_one UNIQUE (id)",
        "INSERT INTO stock VALUES (50, 'hat', 5, 1)",
        "CREATE TABLE bin (stock bigint CONSTRAINT bin_of REFERENCES stock (id) ON DELETE CASCADE)",
        "INSERT INTO bin VALUES (50)",
    )
    before = snapshot(migration)
    with pytest.raises(TargetError, match=r"bin\.bin_of"):
        right(migration)
    assert snapshot(migration) == before
    write_on_target(migration, "ALTER TABLE bin DROP CONSTRAINT bin_of")
    right(migration)
    assert_equal(migration, "stock")
    assert target_rows(migration, "SELECT stock FROM bin") == [(50,)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_an_update_that_others_would_follow_is_refused_by_name(
    make_migration: MakeMigration, action: str
) -> None:
    """Only where it changes the column that they point at; other columns are updated in place."""
    migration = make_migration(UNIQUE_STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE TABLE tag (of text CONSTRAINT tag_of REFERENCES stock (article)"
        f" ON UPDATE {action})",
        "INSERT INTO tag VALUES ('ink')",
    )
    change(migration, "UPDATE stock SET amount = 21 WHERE id = 2")
    load_week(migration, 2)
    before = snapshot(migration)
    change(migration, "UPDATE stock SET article = 'INK' WHERE id = 2")
    error = run_week(migration, 3)["stock"]
    assert isinstance(error, TargetError)
    assert "tag.tag_of" in error.what
    assert snapshot(migration) == before


def test_a_foreign_key_to_a_single_partition_is_seen_too(make_migration: MakeMigration) -> None:
    """A delete through the parent would cascade from there."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock RENAME TO whole",
        "CREATE TABLE stock (LIKE whole) PARTITION BY HASH (id)",
        "CREATE TABLE stock_0 PARTITION OF stock FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO stock SELECT * FROM whole",
        "ALTER TABLE stock ADD PRIMARY KEY (id)",
        "DROP TABLE whole",
        "CREATE TABLE bin (stock bigint CONSTRAINT bin_of REFERENCES stock_0 ON DELETE CASCADE)",
    )
    change(migration, "DELETE FROM stock WHERE id = 2")
    error = run_week(migration, 2)["stock"]
    assert isinstance(error, TargetError)
    assert "bin.bin_of" in error.what


def test_a_column_that_is_gone_is_named_with_what_brings_it_back(
    make_migration: MakeMigration,
) -> None:
    """The statement is run as it is given; a repair fills the column."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE stock DROP COLUMN amount, DROP COLUMN price")
    with pytest.raises(TargetError, match="amount, price") as caught:
        right(migration)
    write_on_target(migration, caught.value.hint.split("`")[1])
    assert right(migration).updated == 3
    assert_equal(migration)


@pytest.mark.parametrize("stage", ["prepared", "looked", "compared", "staged", "applied", "proved"])
def test_a_repair_that_ends_anywhere_is_done_again_from_the_beginning(
    make_migration: MakeMigration, stage: str
) -> None:
    """Nothing of it stays: no row, no entry, no displaced row twice."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    before = snapshot(migration)

    def end(at: str) -> None:
        if at == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair.repair(migration, "stock", run="test", at=end)
    assert snapshot(migration) == before
    right(migration)
    assert displaced(migration) == ["(1,pen,99,1.00)"]
    assert_equal(migration)


def test_somebody_who_writes_while_it_is_prepared_is_seen(make_migration: MakeMigration) -> None:
    """It looks again, so both of their rows are put right and kept."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    seen: list[str] = []

    def meanwhile(at: str) -> None:
        if at == "compared" and at not in seen:
            write_on_target(migration, "UPDATE stock SET amount = 98 WHERE id = 2")
        seen.append(at)

    repair.repair(migration, "stock", run="test", at=meanwhile)
    assert seen.count("compared") == 2
    assert displaced(migration) == ["(1,pen,99,1.00)", "(2,ink,98,2.00)"]
    assert_equal(migration)


def test_two_repairs_at_once_make_one_entry(make_migration: MakeMigration) -> None:
    """The second waits, and finds nothing to do."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: right(migration).outcome, range(2)))
    assert sorted(found) == [Outcome.COVERED, Outcome.LOADED]
    assert len(displaced(migration)) == 1


def test_a_table_on_hold_is_repaired_where_it_stands(make_migration: MakeMigration) -> None:
    """It stays on hold."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    holds.hold(migration, "stock", "being looked at")
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    assert right(migration).outcome is Outcome.LOADED
    assert_equal(migration)
    assert "stock" in standing.holds(migration)


def test_a_trigger_of_the_targets_own_that_is_in_the_way_is_named(
    make_migration: MakeMigration,
) -> None:
    """The proof sees what it did to the rows, and nothing is committed."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.article := upper(NEW.article); RETURN NEW; END$$",
        "CREATE TRIGGER shouting BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION shout()",
        "UPDATE stock SET amount = 99 WHERE id = 1",
    )
    before = snapshot(migration)
    with pytest.raises(ProofError) as caught:
        right(migration)
    assert "shouting" in caught.value.hint
    assert snapshot(migration) == before
