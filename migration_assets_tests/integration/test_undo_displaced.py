"""What a move had displaced is put back when the move is taken back, and listed from then on."""

import pytest

from migration_assets import holds, undo
from migration_assets.errors import GuardError, TargetError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    NOTHING,
    MakeMigration,
    assert_proved,
    change,
    load_week,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER);
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30), (4, 'jar', 40);
"""
UNIQUE = STOCK.replace("article TEXT", "article TEXT UNIQUE")
KEYLESS = STOCK.replace(" PRIMARY KEY", "")
WEEK = ("UPDATE stock SET amount = 11 WHERE id = 1", "DELETE FROM stock WHERE id = 4")
ROWS = "SELECT id, article, amount FROM stock ORDER BY 1, 2, 3"


def displaced(migration: Migration) -> list[str]:
    """Return the rows that were displaced and were not put back."""
    return [r for (r,) in target_rows(migration, "SELECT target_row FROM migration.displaced")]


def exceptions(migration: Migration) -> list[tuple[object, ...]]:
    """Return the exceptions that have not lapsed."""
    query = (
        "SELECT key, source_hash IS NULL, target_hash IS NULL, columns, origin"
        " FROM migration.exception WHERE lapsed_at IS NULL ORDER BY key"
    )
    return target_rows(migration, query)


def overwritten(migration: Migration, *foreign: str) -> Migration:
    """Load week 1, let somebody else write, and load week 2 over it."""
    load_week(migration, 1)
    write_on_target(migration, *foreign)
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=DISPLACE)
    return migration


def back(migration: Migration, number: int = 2, *, acknowledged: frozenset[str] = NOTHING) -> Moved:
    """Take a week back."""
    moved = undo.rollback(
        migration, "stock", week=week(number), run="test", acknowledged=acknowledged
    )
    assert moved is not None
    return moved


@pytest.mark.parametrize("schema", [STOCK, UNIQUE], ids=["one unique index", "another"])
def test_displaced_rows_stand_as_somebody_else_had_written_them(
    make_migration: MakeMigration, schema: str
) -> None:
    """Changed rows, an added one; each is an exception, so that later checks pass and list it."""
    migration = make_migration(schema)
    overwritten(
        migration,
        "UPDATE stock SET amount = 99 WHERE id = 1",
        "UPDATE stock SET article = 'x' WHERE id = 2",
        "UPDATE stock SET article = 'ink' WHERE id = 3",
        "INSERT INTO stock VALUES (50, 'hat', 5)",
    )
    moved = back(migration)
    assert moved.restored == 4
    assert target_rows(migration, ROWS) == [
        (1, "pen", 99),
        (2, "x", 20),
        (3, "ink", 30),
        (4, "jar", 40),
        (50, "hat", 5),
    ]
    assert exceptions(migration) == [
        ("id=1", False, False, ["amount"], "restored"),
        ("id=2", False, False, ["article"], "restored"),
        ("id=3", False, False, ["article"], "restored"),
        ("id=50", True, False, [], "restored"),
    ]
    assert displaced(migration) == []
    assert_proved(migration, "stock")
    assert target_rows(
        migration, "SELECT target_rows FROM migration.ledger ORDER BY entry DESC LIMIT 1"
    ) == [(5,)]


def test_a_row_changed_once_more_is_no_exception_any_longer(make_migration: MakeMigration) -> None:
    """It was put back as it stood, no further."""
    migration = overwritten(make_migration(STOCK), "UPDATE stock SET amount = 99 WHERE id = 2")
    back(migration)
    write_on_target(migration, "UPDATE stock SET amount = 98 WHERE id = 2")
    with pytest.raises(AssertionError, match="id=2"):
        assert_proved(migration, "stock")


def test_copies_of_rows_without_a_key_are_put_back(make_migration: MakeMigration) -> None:
    """As many as were displaced, beside the cut's."""
    migration = overwritten(
        make_migration(KEYLESS),
        "INSERT INTO stock VALUES (2, 'ink', 20), (2, 'ink', 20), (7, 'hat', 1)",
    )
    assert back(migration).restored == 3
    assert target_rows(migration, ROWS) == [
        (1, "pen", 10),
        *[(2, "ink", 20)] * 3,
        (3, "cup", 30),
        (4, "jar", 40),
        (7, "hat", 1),
    ]
    assert_proved(migration, "stock")


def test_what_was_written_after_the_week_that_it_goes_back_to_stays_displaced(
    make_migration: MakeMigration,
) -> None:
    """Only what stood there before the first of the moves taken back is put back."""
    migration = overwritten(make_migration(STOCK), "UPDATE stock SET amount = 99 WHERE id = 2")
    write_on_target(migration, "UPDATE stock SET amount = 98 WHERE id IN (2, 3)")
    change(migration, "UPDATE stock SET amount = 12 WHERE id = 1")
    load_week(migration, 3, acknowledged=DISPLACE)
    assert back(migration).restored == 1
    assert target_rows(migration, ROWS)[1] == (2, "ink", 99)
    assert displaced(migration) == ["(2,ink,98)", "(3,cup,98)"]
    assert_proved(migration, "stock")


def test_only_what_the_moves_taken_back_had_displaced_is_put_back(
    make_migration: MakeMigration,
) -> None:
    """What an earlier week replaced stays replaced."""
    migration = overwritten(make_migration(STOCK), "UPDATE stock SET amount = 99 WHERE id = 2")
    change(migration, "UPDATE stock SET amount = 12 WHERE id = 1")
    load_week(migration, 3)
    assert back(migration, 3).restored == 0
    assert target_rows(migration, ROWS)[1] == (2, "ink", 20)
    assert displaced(migration) == ["(2,ink,99)"]


def test_the_week_stops_for_what_was_put_back_when_it_comes_again(
    make_migration: MakeMigration,
) -> None:
    """As it did the first time; nothing of it is lost by loading over it once more."""
    migration = overwritten(make_migration(STOCK), "UPDATE stock SET amount = 99 WHERE id = 1")
    back(migration)
    holds.release(migration, "stock")
    assert isinstance(run_week(migration, 2)["stock"], GuardError)


@pytest.mark.parametrize("columns", ["known", "not known"])
def test_a_row_of_other_columns_stops_the_way_back_until_it_may_stay(
    make_migration: MakeMigration, columns: str
) -> None:
    """Nothing of it is guessed; acknowledged, it stays displaced."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock ADD COLUMN note text",
        "UPDATE stock SET amount = 99, note = 'theirs' WHERE id = 2",
    )
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=DISPLACE)
    write_on_target(migration, "ALTER TABLE stock DROP COLUMN note")
    if columns == "not known":
        write_on_target(migration, "UPDATE migration.displaced SET column_names = NULL")
    before = snapshot(migration)
    with pytest.raises(GuardError, match="displaced rows can't be put back: 1 rows") as error:
        back(migration)
    assert "theirs" not in str(error.value)
    assert snapshot(migration) == before
    moved = back(migration, acknowledged=frozenset({"displaced_rows"}))
    assert moved.restored == 0
    assert displaced(migration) == ["(2,ink,99,theirs)"]
    assert_proved(migration, "stock")


def test_rows_displaced_before_their_columns_were_noted_are_put_back(
    make_migration: MakeMigration,
) -> None:
    """The table's own columns are taken, where they parse."""
    migration = overwritten(make_migration(STOCK), "UPDATE stock SET amount = 99 WHERE id = 2")
    write_on_target(migration, "UPDATE migration.displaced SET column_names = NULL")
    assert back(migration).restored == 1
    assert target_rows(migration, ROWS)[1] == (2, "ink", 99)


def test_a_row_that_a_unique_index_refuses_stops_the_way_back(
    make_migration: MakeMigration,
) -> None:
    """The index is named; its values aren't."""
    migration = overwritten(
        make_migration(UNIQUE),
        "DELETE FROM stock WHERE id = 3",
        "INSERT INTO stock VALUES (50, 'cup', 5)",
    )
    before = snapshot(migration)
    with pytest.raises(GuardError, match=r"UniqueViolation \(.*article") as error:
        back(migration)
    assert "50" not in str(error.value)
    assert snapshot(migration) == before


def test_a_column_of_the_target_s_own_is_put_back_with_its_row(
    make_migration: MakeMigration,
) -> None:
    """The whole row, as it stood."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock ADD ours text, ADD twice bigint GENERATED ALWAYS AS (amount * 2) STORED",
        "UPDATE stock SET ours = 'x', amount = 99 WHERE id = 2",
        "INSERT INTO stock VALUES (50, 'hat', 5, 'y')",
    )
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=DISPLACE)
    write_on_target(migration, "ALTER TABLE stock ADD later int DEFAULT 7")
    back(migration)
    rows = target_rows(
        migration, "SELECT id, amount, ours, twice, later FROM stock WHERE ours <> '' ORDER BY 1"
    )
    assert rows == [(2, 99, "x", 198, 7), (50, 5, "y", 10, 7)]
    assert_proved(migration, "stock")


@pytest.mark.parametrize("drift", ["", "ALTER TABLE stock ADD COLUMN note TEXT"])
def test_what_was_put_back_goes_with_the_rollback_and_comes_back_again(
    make_migration: MakeMigration, drift: str
) -> None:
    """Nobody has to say so: it is the rollback that is taken back. Nothing is lost either way."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    change(migration, *WEEK, *([drift] if drift else []))
    load_week(migration, 2, acknowledged=DISPLACE)
    second = target_rows(migration, ROWS)
    first = back(migration)
    assert first.restored == 1
    again = undo.rollback(migration, "stock", entry=first.entry, run="test")
    assert again is not None
    assert again.displaced == 1
    assert target_rows(migration, ROWS) == second
    assert exceptions(migration) == []
    assert displaced(migration) == ["(2,ink,99)"]
    assert_proved(migration, "stock")
    assert back(migration).restored == 1
    assert target_rows(migration, ROWS)[1] == (2, "ink", 99)
    assert displaced(migration) == []
    assert_proved(migration, "stock")


def test_a_week_taken_back_twice_brings_the_same_row_both_times(
    make_migration: MakeMigration,
) -> None:
    """Not what a later week of those had displaced: that stood there after it."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    for number in (2, 3):
        write_on_target(migration, f"UPDATE stock SET amount = 9{number} WHERE id = 1")
        change(migration, f"UPDATE stock SET amount = 1{number} WHERE id = 1")
        load_week(migration, number, acknowledged=DISPLACE)
    moved = back(migration, 2)
    row = "SELECT amount FROM stock WHERE id = 1"
    assert target_rows(migration, row) == [(92,)]
    undo.rollback(migration, "stock", entry=moved.entry, run="test")
    assert target_rows(migration, row) == [(13,)]
    back(migration, 2)
    assert target_rows(migration, row) == [(92,)]
    assert displaced(migration) == ["(1,pen,93)"]
    assert_proved(migration, "stock")


@pytest.mark.parametrize("dropped", [False, True])
def test_rows_of_an_older_release_are_put_back_only_where_their_columns_are_sure(
    make_migration: MakeMigration, *, dropped: bool
) -> None:
    """It noted no names: after one column went and another came, values would change places."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock ADD COLUMN own integer",
        "UPDATE stock SET amount = 99, own = 5 WHERE id = 1",
    )
    change(migration, *WEEK)
    load_week(migration, 2, acknowledged=DISPLACE)
    write_on_target(migration, "UPDATE migration.displaced SET column_names = NULL")
    if not dropped:
        assert back(migration).restored == 1
        return
    write_on_target(
        migration, "ALTER TABLE stock DROP COLUMN own", "ALTER TABLE stock ADD COLUMN price integer"
    )
    before = snapshot(migration)
    with pytest.raises(GuardError, match="an older release"):
        back(migration)
    assert snapshot(migration) == before
    back(migration, acknowledged=frozenset({"displaced_rows"}))
    assert displaced(migration) == ["(1,pen,99,5)"]


def test_rows_that_are_put_back_change_no_rows_of_other_tables(
    make_migration: MakeMigration,
) -> None:
    """A foreign key of the target's own that would follow them is named; nothing is changed."""
    migration = make_migration(UNIQUE)
    overwritten(migration, "UPDATE stock SET article = 'theirs' WHERE id = 1")
    write_on_target(
        migration,
        "CREATE TABLE child (article text REFERENCES stock (article) ON UPDATE CASCADE)",
        "INSERT INTO child VALUES ('pen')",
    )
    before = snapshot(migration)
    with pytest.raises(TargetError, match="child_article_fkey"):
        back(migration)
    assert snapshot(migration) == before
    write_on_target(migration, "DROP TABLE child")
    assert back(migration).restored == 1
