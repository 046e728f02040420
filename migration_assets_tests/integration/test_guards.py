"""Guards before a move: mass changes, a restored source, and several guards at once."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.errors import GuardError, MigrationError
from migration_assets.migration import Migration
from migration_assets.source import delta_files
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    change,
    entries,
    load_week,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

MASS = frozenset({"mass_change"})
RESTORED = frozenset({"restored_source"})
SCHEMA = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
INSERT INTO item SELECT i, 'name ' || i, i FROM n;
"""
KEYLESS = SCHEMA.replace("id INTEGER PRIMARY KEY", "id INTEGER")


def stopped(
    migration: Migration,
    number: int,
    table: str = "item",
    *,
    acknowledged: frozenset[str] = frozenset(),
) -> str:
    """Return the error that a guard stops a table's week with; nothing was changed."""
    before = snapshot(migration)
    done = run_week(migration, number, tables=[table], acknowledged=acknowledged)[table]
    assert isinstance(done, GuardError), done
    assert done.where == f"table {table}, week {week(number)}"
    assert snapshot(migration) == before
    return str(done)


@pytest.fixture
def loaded(make_migration: MakeMigration) -> Migration:
    """Return a migration whose table of 100 rows stands at its first week."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    return migration


# ---- mass changes


@pytest.mark.parametrize(
    ("statement", "figures"),
    [
        ("DELETE FROM item WHERE id > 49", "delete 51 and change 0"),
        ("DELETE FROM item", "delete 100 and change 0"),
        ("UPDATE item SET price = price + 1 WHERE id < 92", "delete 0 and change 91"),
        ("UPDATE item SET id = id + 1000 WHERE id > 40", "delete 60 and change 0"),
    ],
)
def test_a_mass_change_stops_its_table_with_the_figures(
    loaded: Migration, statement: str, figures: str
) -> None:
    """More than half of the rows deleted, or nine tenths of them changed."""
    change(loaded, statement)
    said = stopped(loaded, 2)
    assert f"of the 100 rows that stand since week {week(1)} this step would {figures}" in said
    assert "at most 50 deleted (deleted_share), and 90 deleted or changed (changed_share)" in said
    assert "`--acknowledge mass_change`" in said


def test_deleted_and_changed_rows_count_together(loaded: Migration) -> None:
    """Neither alone is too much."""
    change(loaded, "DELETE FROM item WHERE id > 60", "UPDATE item SET price = -1 WHERE id > 5")
    assert "delete 40 and change 55" in stopped(loaded, 2)


def test_what_is_within_the_shares_passes(loaded: Migration) -> None:
    """Half may go, and the rest may change up to nine tenths of all."""
    change(loaded, "DELETE FROM item WHERE id > 50", "UPDATE item SET price = -1 WHERE id > 10")
    load_week(loaded, 2)
    assert_equal(loaded)


def test_many_new_rows_are_no_mass_change(loaded: Migration) -> None:
    """Only rows that stand can be lost."""
    change(
        loaded,
        "INSERT INTO item SELECT id + 1000 * r, 'new', 1 FROM item, (SELECT 1 AS r"
        " UNION ALL SELECT 2 UNION ALL SELECT 3)",
    )
    load_week(loaded, 2)
    assert_equal(loaded)


def test_an_acknowledged_mass_change_passes_once(loaded: Migration) -> None:
    """The ledger says that it was acknowledged; the next one is stopped again."""
    change(
        loaded,
        "DELETE FROM item WHERE id > 40",
        "INSERT INTO item SELECT id + 500, '', 0 FROM item",
    )
    load_week(loaded, 2, acknowledged=MASS)
    assert_equal(loaded)
    assert target_rows(loaded, "SELECT acknowledged FROM migration.ledger ORDER BY entry DESC")[
        0
    ] == (["mass_change"],)
    change(loaded, "DELETE FROM item")
    settings = loaded.settings.model_copy(update={"guard_rows": 10})
    again = Migration(settings=settings, state=loaded.state, target=loaded.target)
    assert "of the 80 rows" in stopped(again, 3)


def test_a_small_table_is_not_guarded(make_migration: MakeMigration) -> None:
    """Below `guard_rows` shares mean nothing."""
    migration = make_migration(SCHEMA, guard_rows=101)
    load_week(migration, 1)
    change(migration, "DELETE FROM item")
    load_week(migration, 2)
    assert_equal(migration)


def test_changed_rows_without_a_key_are_not_taken_for_deleted_ones(
    make_migration: MakeMigration,
) -> None:
    """A multiset has no updates: a row that changed is one that went and one that came."""
    migration = make_migration(KEYLESS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET price = -1 WHERE id <= 80")
    load_week(migration, 2)
    change(migration, "UPDATE item SET price = -2", "DELETE FROM item WHERE id > 95")
    assert "delete 5 and change 95" in stopped(migration, 3)


@pytest.mark.parametrize("keyless", [False, True])
def test_a_mass_deletion_is_seen_beside_a_change_of_the_schema(
    make_migration: MakeMigration, *, keyless: bool
) -> None:
    """Then the whole cut is staged, and no delta counts."""
    migration = make_migration(KEYLESS if keyless else SCHEMA)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item ADD COLUMN note TEXT", "DELETE FROM item WHERE id > 30")
    assert "delete 70 and change 0" in stopped(migration, 2)


def test_rows_that_change_beside_a_change_of_the_schema_are_counted(loaded: Migration) -> None:
    """Matched by key; the new column's first value makes no row another."""
    change(
        loaded,
        "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'none'",
        "UPDATE item SET price = -1 WHERE id <= 95",
    )
    assert "delete 0 and change 95" in stopped(loaded, 2)


def test_another_type_for_all_rows_is_no_mass_change(loaded: Migration) -> None:
    """The rows are the same; only the mapping moves."""
    change(loaded, "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'none'")
    load_week(loaded, 2)
    assert_equal(loaded)


def test_a_mass_deletion_is_not_let_through_with_foreign_writes(loaded: Migration) -> None:
    """Each guard is acknowledged by itself."""
    write_on_target(loaded, "UPDATE public.item SET price = 7 WHERE id = 1")
    change(loaded, "DELETE FROM item WHERE id > 10")
    said = stopped(loaded, 2, acknowledged=frozenset({"foreign_writes"}))
    assert "delete 90 and change 0" in said


def test_two_guards_are_said_in_one_error(loaded: Migration) -> None:
    """One run with both names goes on."""
    change(loaded, "UPDATE item SET price = 'none'")
    said = stopped(loaded, 2)
    assert "100 of 100 rows don't fit the mapping" in said
    assert "would delete 100 and change 0" in said
    assert "`--acknowledge quarantine_limit --acknowledge mass_change`" in said
    assert "don't fit" not in stopped(loaded, 2, acknowledged=frozenset({"quarantine_limit"}))
    load_week(loaded, 2, acknowledged=frozenset({"quarantine_limit", "mass_change"}))
    assert target_rows(loaded, "SELECT count(*) FROM migration.quarantine") == [(100,)]


# ---- a restored source

SHOP = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT NOT NULL, day INTEGER NOT NULL);
CREATE TABLE log (id INTEGER PRIMARY KEY, line TEXT);
CREATE TABLE ticket (id INTEGER PRIMARY KEY AUTOINCREMENT, day INTEGER);
CREATE TABLE queue (id INTEGER PRIMARY KEY, job TEXT);
CREATE TABLE member (person INTEGER, club INTEGER, PRIMARY KEY (person, club)) WITHOUT ROWID;
CREATE TABLE note (line TEXT);
"""
DAYS = 7


def live(migration: Migration, *days: int) -> None:
    """Let the shop live through these days: rows come, change and go in every table."""
    for day in days:
        change(
            migration,
            *(f"INSERT INTO orders (state, day) VALUES ('new', {day})" for _ in range(8)),
            f"UPDATE orders SET state = 'sent', day = {day} WHERE state = 'new' AND day < {day}",
            f"DELETE FROM orders WHERE day < {day - 9} AND id % 2",
            *(f"INSERT INTO log (line) VALUES ('day {day}')" for _ in range(6)),
            *(f"INSERT INTO ticket (day) VALUES ({day})" for _ in range(3)),
            f"DELETE FROM ticket WHERE day < {day - 3}",
            "DELETE FROM queue",
            *(f"INSERT INTO queue (job) VALUES ('job of {day}')" for _ in range(20)),
            *(f"INSERT INTO member VALUES ({day}, {club})" for club in range(6)),
            f"DELETE FROM member WHERE person < {day - 10}",
            *(f"INSERT INTO note VALUES ('{day} {line % 3}')" for line in range(6)),
            f"DELETE FROM note WHERE CAST(line AS INTEGER) = {day - 12}",
        )


def days_of(number: int) -> range:
    """Return the days of a week, counted from the first one's."""
    return range((number - 1) * DAYS, number * DAYS)


def copy_source(migration: Migration, to: Path) -> Path:
    """Make a backup as an administrator does."""
    shutil.copyfile(migration.settings.source, to)
    return to


@pytest.fixture
def shop(make_migration: MakeMigration) -> Migration:
    """Return a migration of a shop; no mass guard is in the way."""
    return make_migration(SHOP, guard_rows=10_000)


@pytest.mark.parametrize(
    ("backup", "later"),
    [
        pytest.param(14, 0, id="last week's cut"),
        pytest.param(18, 0, id="the week's middle"),
        pytest.param(9, 0, id="weeks ago"),
        pytest.param(18, 2, id="and it lived on"),
    ],
)
def test_a_restored_source_stops_the_tables_that_would_go_back(
    shop: Migration, tmp_path: Path, backup: int, later: int
) -> None:
    """A copy of last week's cut, of the week's middle, of weeks ago; also one that lived on."""
    for number in (1, 2, 3):
        for day in days_of(number):
            if day == backup:
                copy_source(shop, tmp_path / "backup")
            live(shop, day)
        load_week(shop, number)
    shutil.copyfile(tmp_path / "backup", shop.settings.source)
    live(shop, *range(22, 22 + later))
    done = run_week(shop, 4)
    told = {name: str(e) for name, e in done.items() if isinstance(e, GuardError)}
    # Where it has lived on, new rows may have taken the keys of all that are missing.
    sure = {"ticket", "note"} if later else {"orders", "log", "ticket", "member", "note"}
    assert sure <= set(told), told
    assert all("--acknowledge restored_source" in said for said in told.values())
    assert "are undone (" in told["note"]
    assert all(len(entries(shop, name)) == (3 if name in told else 4) for name in done)


def test_a_living_source_is_never_taken_for_a_restored_one(shop: Migration) -> None:
    """Queues are emptied, tickets deleted, rows put back; nothing stops."""
    for number in range(1, 6):
        live(shop, *days_of(number))
        if number > 1:
            day = number * DAYS
            change(
                shop,
                f"UPDATE orders SET state = 'new', day = {day - 8} WHERE id % 50 = 0",
                "DELETE FROM log WHERE id IN (SELECT id FROM log ORDER BY id DESC LIMIT 5)",
            )
        load_week(shop, number)
    assert_equal(shop)


def test_what_is_undone_every_week_stops_once(loaded: Migration) -> None:
    """A state that goes to and fro looks like an older copy the first time; then it is known."""
    to, fro = (f"UPDATE item SET price = {price} WHERE id > 80" for price in ("0", "id"))
    change(loaded, to)
    load_week(loaded, 2)
    change(loaded, fro)
    assert "20 as before" in stopped(loaded, 3)
    load_week(loaded, 3, acknowledged=RESTORED)
    for number, statement in ((4, to), (5, fro)):
        change(loaded, statement)
        load_week(loaded, number)
    assert_equal(loaded)


def test_an_acknowledged_older_copy_is_carried(shop: Migration, tmp_path: Path) -> None:
    """Then the target goes back with its source, and is equal."""
    live(shop, *days_of(1))
    load_week(shop, 1)
    backup = copy_source(shop, tmp_path / "backup")
    live(shop, *days_of(2))
    load_week(shop, 2)
    shutil.copyfile(backup, shop.settings.source)
    assert isinstance(run_week(shop, 3)["orders"], GuardError)
    load_week(shop, 3, acknowledged=RESTORED)
    assert_equal(shop)


def test_after_the_right_copy_is_put_back_the_next_week_goes_on(
    shop: Migration, tmp_path: Path
) -> None:
    """The stopped week is covered by it; nothing has to be acknowledged."""
    live(shop, *days_of(1))
    load_week(shop, 1)
    old = copy_source(shop, tmp_path / "old")
    live(shop, *days_of(2))
    load_week(shop, 2)
    right = copy_source(shop, tmp_path / "right")
    shutil.copyfile(old, shop.settings.source)
    assert isinstance(run_week(shop, 3, tables=["orders"])["orders"], GuardError)
    shutil.copyfile(right, shop.settings.source)
    live(shop, *days_of(4))
    load_week(shop, 4)
    load_week(shop, 3)
    assert_equal(shop)


def test_without_last_weeks_delta_the_counter_still_tells(shop: Migration, tmp_path: Path) -> None:
    """A first load, a lost or a damaged delta leave the other signs."""
    live(shop, *days_of(1))
    backup = copy_source(shop, tmp_path / "backup")
    live(shop, *days_of(2))
    load_week(shop, 2)
    for key in shop.state.keys("deltas"):
        shop.state.remove(key)
    shutil.copyfile(backup, shop.settings.source)
    said = stopped(shop, 3, "ticket")
    assert "counter went back from 42 to 21, and 12 rows of week" in said


def test_a_damaged_delta_of_last_week_is_not_compared(shop: Migration, tmp_path: Path) -> None:
    """What it says can't be trusted; the step itself is proved all the same."""
    live(shop, *days_of(1))
    load_week(shop, 1)
    backup = copy_source(shop, tmp_path / "backup")
    live(shop, *days_of(2))
    load_week(shop, 2)
    last = delta_files.find(shop.state, "main", "orders", week(2))
    assert last is not None
    last.rows_path.write_bytes(b"PAR1")
    shutil.copyfile(backup, shop.settings.source)
    load_week(shop, 3, tables=["orders"])
    assert_equal(shop, "orders")


def test_a_table_made_anew_counts_from_its_highest_key_and_passes(shop: Migration) -> None:
    """That is how schema tools change a table; its counter goes back, and no row is lost."""
    live(shop, *days_of(1))
    change(shop, "INSERT INTO ticket (id, day) VALUES (500, 6)")
    change(shop, "DELETE FROM ticket WHERE id = 500")
    load_week(shop, 1)
    change(
        shop,
        "CREATE TABLE fresh (id INTEGER PRIMARY KEY AUTOINCREMENT, day INTEGER)",
        "INSERT INTO fresh SELECT * FROM ticket",
        "DROP TABLE ticket",
        "ALTER TABLE fresh RENAME TO ticket",
    )
    with closing(sqlite3.connect(shop.settings.source)) as connection:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'ticket'"
        assert connection.execute(query).fetchone() == (21,)
    load_week(shop, 2)
    assert_equal(shop)


def test_a_schema_that_goes_back_with_its_rows_stops_the_tables_it_takes_along(
    shop: Migration, tmp_path: Path
) -> None:
    """An older copy has no column that a later release added, nor the rows that came since."""
    live(shop, *days_of(1))
    load_week(shop, 1)
    backup = copy_source(shop, tmp_path / "backup")
    change(shop, "ALTER TABLE log ADD COLUMN level INTEGER")
    live(shop, *days_of(2))
    load_week(shop, 2)
    shutil.copyfile(backup, shop.settings.source)
    said = stopped(shop, 3, "log")
    assert (
        f"its schema is again that of week {week(1)}, and 42 rows differ from week {week(2)}, but"
        " 0 from then"
    ) in said


def test_a_release_that_is_taken_back_is_no_older_copy(shop: Migration) -> None:
    """The rows are those of today."""
    live(shop, *days_of(1))
    load_week(shop, 1)
    change(shop, "ALTER TABLE log ADD COLUMN level INTEGER")
    live(shop, *days_of(2))
    load_week(shop, 2)
    change(shop, "ALTER TABLE log DROP COLUMN level")
    live(shop, *days_of(3))
    load_week(shop, 3)
    assert_equal(shop, extra_columns=["level"])


# ---- what is gone


def test_a_key_that_is_gone_stops_its_table_alone_once_rows_are_not_told_apart(
    make_migration: MakeMigration,
) -> None:
    """The sealed key goes on while it is one; then a person says what the key is."""
    migration = make_migration(SCHEMA + "CREATE TABLE other (id INTEGER PRIMARY KEY);")
    load_week(migration, 1)
    change(
        migration,
        "ALTER TABLE item RENAME TO was",
        "CREATE TABLE item (id INTEGER, name TEXT NOT NULL, price INTEGER)",
        "INSERT INTO item SELECT * FROM was",
        "DROP TABLE was",
    )
    load_week(migration, 2)
    assert_equal(migration)
    change(migration, "INSERT INTO item VALUES (7, 'twice', 1)", "INSERT INTO other VALUES (1)")
    before = target_rows(migration, "SELECT * FROM public.item ORDER BY id")
    done = run_week(migration, 3)
    error = done["item"]
    assert isinstance(error, MigrationError)
    assert "id" in error.what
    assert error.hint
    assert target_rows(migration, "SELECT * FROM public.item ORDER BY id") == before
    assert_equal(migration, "other")
