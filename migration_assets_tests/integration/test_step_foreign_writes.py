"""What somebody else wrote on the target is never replaced in silence."""

import pytest

from migration_assets import standing
from migration_assets.errors import GuardError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
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

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER);
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30), (4, 'jar', 40);
"""
UNIQUE_STOCK = STOCK.replace("article TEXT", "article TEXT UNIQUE")
LINES = """
CREATE TABLE line (article TEXT, amount INTEGER);
INSERT INTO line VALUES ('pen', 1), ('pen', 1), ('ink', 2);
"""
# The week's own change touches rows 1 and 4.
WEEK = ("UPDATE stock SET amount = 11 WHERE id = 1", "DELETE FROM stock WHERE id = 4")

FOREIGN = {
    "a changed row that the delta touches": (
        ["UPDATE stock SET amount = 99 WHERE id = 1"],
        "id=1",
        ["(1,pen,99)"],
    ),
    "a changed row that the delta does not touch": (
        ["UPDATE stock SET amount = 99 WHERE id = 2"],
        "id=2",
        ["(2,ink,99)"],
    ),
    "a changed row that the delta deletes": (
        ["UPDATE stock SET amount = 99 WHERE id = 4"],
        "id=4",
        ["(4,jar,99)"],
    ),
    "a deleted row that the delta touches": (["DELETE FROM stock WHERE id = 1"], "id=1", []),
    "a deleted row that the delta does not touch": (
        ["DELETE FROM stock WHERE id = 3"],
        "id=3",
        [],
    ),
    "a row deleted that the delta deletes too": (["DELETE FROM stock WHERE id = 4"], "id=4", []),
    "an added row": (["INSERT INTO stock VALUES (50, 'hat', 5)"], "id=50", ["(50,hat,5)"]),
    "two rows that swapped values": (
        [
            "UPDATE stock SET amount = 30 WHERE id = 2",
            "UPDATE stock SET amount = 20 WHERE id = 3",
        ],
        "id=2",
        ["(2,ink,30)", "(3,cup,20)"],
    ),
    "two rows that swapped keys": (
        [
            "UPDATE stock SET id = -2 WHERE id = 2",
            "UPDATE stock SET id = 2 WHERE id = 3",
            "UPDATE stock SET id = 3 WHERE id = -2",
        ],
        "id=2",
        ["(2,cup,30)", "(3,ink,20)"],
    ),
    "a row that somebody brought to where the delta brings it": (
        ["UPDATE stock SET amount = 11 WHERE id = 1"],
        "id=1",
        ["(1,pen,11)"],
    ),
}


def displaced(migration: Migration) -> list[str]:
    """Return the foreign rows that were kept."""
    query = "SELECT target_row FROM migration.displaced ORDER BY 1"
    return [row for (row,) in target_rows(migration, query)]


@pytest.mark.parametrize("schema", [STOCK, UNIQUE_STOCK], ids=["upsert", "delete and insert"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_write_stops_the_step_and_is_displaced_when_acknowledged(
    make_migration: MakeMigration, foreign: str, schema: str
) -> None:
    """It is named by key, nothing changes; acknowledged, exactly the foreign rows are kept."""
    statements, key, kept = FOREIGN[foreign]
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    change(migration, *WEEK)
    before = snapshot(migration)
    result = run_week(migration, 2)["stock"]
    assert isinstance(result, GuardError)
    assert key in str(result)
    assert "--acknowledge foreign_writes" in str(result)
    assert snapshot(migration) == before
    moved = load_week(migration, 2, acknowledged=DISPLACE)["stock"]
    assert moved.displaced == len(kept)
    assert displaced(migration) == kept
    assert_equal(migration)
    assert_proved(migration, "stock")


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_write_is_named_without_its_key_where_keys_are_not_shown(
    make_migration: MakeMigration, foreign: str
) -> None:
    """`show_keys: false` keeps keys out of every error, and so out of logs and the ledger."""
    statements, key, _ = FOREIGN[foreign]
    migration = make_migration(STOCK, show_keys=False)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    change(migration, *WEEK)
    result = run_week(migration, 2)["stock"]
    assert isinstance(result, GuardError)
    assert key not in str(result)
    assert "changed on the target by someone else" in str(result)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_verify_names_a_foreign_write_by_key_and_column(
    make_migration: MakeMigration, foreign: str
) -> None:
    """Between two loads, against the head: which rows, and in which columns they differ."""
    statements, key, kept = FOREIGN[foreign]
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    found = standing.verify(migration, "stock")
    assert found is not None
    proof = found[0]
    assert not proof.holds
    named = {d.key: d.columns for d in proof.differences}
    assert key in named
    if "keys" not in foreign and "added" not in foreign and kept:
        assert set(named.values()) == {("amount",)}


def test_acknowledging_displaces_nothing_where_nobody_wrote(make_migration: MakeMigration) -> None:
    """Our own older rows are no foreign rows."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    change(migration, *WEEK, "INSERT INTO stock VALUES (5, 'hat', 1)")
    moved = load_week(migration, 2, acknowledged=DISPLACE)["stock"]
    assert (moved.inserted, moved.updated, moved.deleted, moved.displaced) == (1, 1, 1, 0)
    assert displaced(migration) == []
    assert_equal(migration)


def test_a_foreign_write_stops_a_quiet_week_too(make_migration: MakeMigration) -> None:
    """An empty delta touches no row; the sum of all rows tells."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = NULL WHERE id = 3")
    result = run_week(migration, 2)["stock"]
    assert isinstance(result, GuardError)
    assert "id=3" in str(result)
    assert len(entries(migration, "stock")) == 1


def test_a_displaced_row_is_kept_with_the_columns_that_are_not_ours(
    make_migration: MakeMigration,
) -> None:
    """The whole target row is kept, so that it can be put back."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock ADD note text DEFAULT 'mine'",
        "UPDATE stock SET amount = 0 WHERE id = 2",
    )
    load_week(migration, 2, acknowledged=DISPLACE)
    assert displaced(migration) == ["(2,ink,0,mine)"]
    assert target_rows(migration, "SELECT note FROM stock WHERE id = 2") == [("mine",)]
    assert_equal(migration, extra_columns=["note"])


def test_a_deferred_trigger_that_changes_rows_is_seen(make_migration: MakeMigration) -> None:
    """It would fire at COMMIT, after the proof; it fires before instead, and the proof sees it."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " UPDATE public.stock SET amount = 0 WHERE id = 2 AND amount <> 0; RETURN NULL; END$$",
        "CREATE CONSTRAINT TRIGGER meddling AFTER UPDATE ON stock DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION meddle()",
    )
    change(migration, *WEEK)
    before = snapshot(migration)
    result = run_week(migration, 2)["stock"]
    assert isinstance(result, GuardError)
    assert "id=2" in str(result)
    assert "amount" in str(result)
    assert snapshot(migration) == before
    write_on_target(migration, "DROP TRIGGER meddling ON stock")
    load_week(migration, 2)
    assert_equal(migration)


KEYLESS: dict[str, tuple[str, list[str]]] = {
    "a changed row": ("UPDATE line SET amount = 9 WHERE article = 'ink'", ["(ink,9)"]),
    "an added row": ("INSERT INTO line VALUES ('hat', 3)", ["(hat,3)"]),
    "a deleted copy": (
        "DELETE FROM line WHERE ctid = (SELECT min(ctid) FROM line WHERE article = 'pen')",
        [],
    ),
    "one more copy": ("INSERT INTO line VALUES ('pen', 1)", ["(pen,1)"]),
    "two more copies": ("INSERT INTO line VALUES ('ink', 2), ('ink', 2)", ["(ink,2)", "(ink,2)"]),
}


@pytest.mark.parametrize("foreign", KEYLESS)
def test_a_foreign_write_to_a_keyless_table_is_seen_and_kept(
    make_migration: MakeMigration, foreign: str
) -> None:
    """Copies are counted there too: one more than ours is foreign."""
    statement, kept = KEYLESS[foreign]
    migration = make_migration(LINES)
    load_week(migration, 1)
    write_on_target(migration, statement)
    change(migration, "INSERT INTO line VALUES ('jar', 4)")
    before = snapshot(migration)
    assert isinstance(run_week(migration, 2)["line"], GuardError)
    assert snapshot(migration) == before
    load_week(migration, 2, acknowledged=DISPLACE)
    assert displaced(migration) == kept
    assert_equal(migration)


def test_only_the_table_written_to_is_stopped(make_migration: MakeMigration) -> None:
    """One red table stays one red table."""
    migration = make_migration(STOCK + LINES)
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM stock")
    change(migration, "DELETE FROM line")
    done = run_week(migration, 2)
    assert isinstance(done["stock"], GuardError)
    assert isinstance(done["line"], Moved)


def test_writes_in_another_table_of_the_target_are_no_concern(
    make_migration: MakeMigration,
) -> None:
    """The successor's own tables live beside ours."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "CREATE TABLE own (id int)", "INSERT INTO own VALUES (1)")
    load_week(migration, 2)
    assert target_rows(migration, "SELECT * FROM own") == [(1,)]


def test_many_foreign_rows_are_named_up_to_a_bound(make_migration: MakeMigration) -> None:
    """Twenty are named; the message stays readable however many there are."""
    migration = make_migration(
        "CREATE TABLE many (id INTEGER PRIMARY KEY, v TEXT);"
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300)"
        " INSERT INTO many SELECT i, 'v' FROM c;",
        guard_rows=1000,
    )
    load_week(migration, 1)
    write_on_target(migration, "UPDATE many SET v = 'S3CRET'")
    change(migration, "UPDATE many SET v = 'w'")
    result = run_week(migration, 2)["many"]
    assert isinstance(result, GuardError)
    assert str(result).count("id=") == 20
    assert "maybe more" in str(result)
    assert "S3CRET" not in str(result)
