"""Weeks fail, are skipped, run late and twice, in any order; the end is the same."""

import itertools
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets import step
from migration_assets.errors import MigrationError, StateError, TargetError
from migration_assets.findings import Moved, Outcome
from migration_assets.migration import Migration
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets_tests import changes
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    NOTHING,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, joined DATE);
CREATE TABLE basket (customer INTEGER, article TEXT, amount INTEGER,
    PRIMARY KEY (customer, article));
CREATE TABLE visit (page TEXT, at DATETIME);
INSERT INTO customer VALUES (1, 'Ada', '2026-01-02'), (2, 'Bob', NULL), (3, 'Cy', '2026-03-04');
INSERT INTO basket VALUES (1, 'pen', 2), (1, 'ink', 1), (2, 'pen', 7);
INSERT INTO visit VALUES ('/', '2026-05-06 07:08:09'), ('/', '2026-05-06 07:08:09');
"""
TABLES = ("basket", "customer", "visit")
WEEKS = (1, 2, 3, 4)


def live_weeks(migration: Migration, numbers: tuple[int, ...] = WEEKS) -> None:
    """Take the cuts of weeks, with random changes of the source between them."""
    for number in numbers:
        if number > numbers[0]:
            changes.live(migration.settings.source, seed=number)
        step.take_cut(migration, week(number))
    step.bootstrap(migration)


def refuse(migration: Migration, *tables: str) -> None:
    """Let the target refuse every new row of tables, loaded before or not."""
    for table in tables:
        if target_rows(migration, f"SELECT to_regclass('public.{table}')") == [(None,)]:
            write_on_target(migration, f"CREATE VIEW public.{table} AS SELECT 1 AS mine")
        else:
            write_on_target(
                migration, f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID"
            )


def admit(migration: Migration) -> None:
    """Take back every refusal."""
    for (table,) in target_rows(
        migration, "SELECT conrelid::regclass FROM pg_constraint WHERE conname = 'refused'"
    ):
        write_on_target(migration, f"ALTER TABLE {table} DROP CONSTRAINT refused")
    for (view,) in target_rows(
        migration, "SELECT viewname FROM pg_views WHERE schemaname='public'"
    ):
        write_on_target(migration, f"DROP VIEW public.{view}")


ATTEMPTS = st.lists(
    st.tuples(st.sampled_from(WEEKS), st.sets(st.sampled_from(TABLES))), min_size=1, max_size=6
)


@settings(
    max_examples=5,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(attempts=ATTEMPTS)
def test_any_order_of_weeks_ends_equal_whichever_tables_fail(
    make_migration: MakeMigration, attempts: list[tuple[int, set[str]]]
) -> None:
    """Repeated, late and missing weeks, in which any tables fail; then the last week runs well."""
    migration = fresh(make_migration)
    live_weeks(migration)
    for number, failing in attempts:
        before = {table: entries(migration, table) for table in TABLES}
        refuse(migration, *failing)
        for table, result in run_week(migration, number).items():
            moved = entries(migration, table) != before[table]
            assert moved == (isinstance(result, Moved) and result.outcome is Outcome.LOADED)
            if isinstance(result, MigrationError):
                assert table in failing
        admit(migration)
        for table in TABLES:
            at_its_head(migration, table)
    load_week(migration, WEEKS[-1])
    assert_equal(migration)
    assert_proved(migration, *TABLES)


def fresh(make_migration: MakeMigration) -> Migration:
    """Make the migration anew for each example of a property, in the test's one database."""
    migration = make_migration("")
    for file in migration.settings.source.parent.rglob("*"):
        if file.is_file():
            file.unlink()
    write_on_target(
        migration,
        "DROP SCHEMA IF EXISTS migration CASCADE",
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
    )
    return make_migration(SHOP)


def at_its_head(migration: Migration, table: str) -> None:
    """Let the judge compare a table with the cut of the last week in the ledger."""
    moves = entries(migration, table)
    weeks = [move[0] for move in moves]
    assert weeks == sorted(set(weeks)), "a table only moves forward, once a week"
    assert [move[1] for move in moves] == [None, *weeks][: len(weeks)], "each from the one before"
    if weeks:
        cut = cuts.covering(migration.state, migration.source, weeks[-1])
        assert cut is not None
        assert_equal(migration, table, file=cut.path)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_every_permutation_of_three_weeks_ends_equal(
    make_migration: MakeMigration, order: tuple[int, ...]
) -> None:
    """An older week after a newer one changes nothing."""
    migration = make_migration(SHOP)
    live_weeks(migration, (1, 2, 3))
    highest = 0
    for number in order:
        moved = load_week(migration, number)
        expected = Outcome.LOADED if number > highest else Outcome.COVERED
        assert {m.outcome for m in moved.values()} == {expected}
        highest = max(highest, number)
    assert_equal(migration)
    assert_proved(migration, *TABLES)


def test_a_week_that_the_head_covers_changes_nothing_and_shows_its_proof(
    make_migration: MakeMigration,
) -> None:
    """The same week again, and an older one: the stored proof, and not a byte moved."""
    migration = make_migration(SHOP)
    live_weeks(migration, (1, 2))
    loaded = load_week(migration, 2)
    before = snapshot(migration)
    for number in (2, 1):
        for table, moved in load_week(migration, number).items():
            assert moved.outcome is Outcome.COVERED
            assert moved.entry == loaded[table].entry
            assert moved.proof == loaded[table].proof
            assert moved.mapping == loaded[table].mapping
    assert snapshot(migration) == before


def test_the_delta_of_a_covered_week_stays_as_it_was_stored(make_migration: MakeMigration) -> None:
    """What a loaded week's delta held can be looked up afterwards."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    stored = delta_files.find(migration.state, migration.source, "customer", week(1))
    assert stored is not None
    assert stored.inserts > 0
    assert step.make_delta(migration, "customer", week(1)) == stored


def test_the_delta_of_a_covered_week_that_had_none_is_empty(make_migration: MakeMigration) -> None:
    """A week that its table's head has passed is an empty frame, not a failure."""
    migration = make_migration(SHOP)
    for number in (1, 2):
        step.take_cut(migration, week(number))
    step.carry(migration, "customer", week(2), run="late")
    delta = step.make_delta(migration, "customer", week(1))
    assert delta.changes == 0
    assert delta_files.frame(delta).collect().is_empty()


def test_a_missed_week_is_carried_along_from_the_head(make_migration: MakeMigration) -> None:
    """Week 3 starts where the table stands, at week 1; two weeks' changes come in one step."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    change(migration, "INSERT INTO customer VALUES (4, 'Di', NULL)", "DELETE FROM basket")
    step.take_cut(migration, week(2))
    change(migration, "INSERT INTO customer VALUES (5, 'Ed', NULL)")
    load_week(migration, 3)
    assert entries(migration, "customer") == [(week(1), None, 3, 0, 0), (week(3), week(1), 2, 0, 0)]
    assert_equal(migration)


def test_a_table_that_failed_two_weeks_catches_up_in_one_step(
    make_migration: MakeMigration,
) -> None:
    """The other tables go on meanwhile; the failed attempts are noted, the head stays."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    refuse(migration, "customer")
    for number in (2, 3):
        changes.live(migration.settings.source, seed=number)
        change(migration, ("INSERT INTO customer VALUES (?, 'New', NULL)", (1000 + number,)))
        done = run_week(migration, number)
        assert isinstance(done["customer"], TargetError)
        assert isinstance(done["basket"], Moved)
        assert isinstance(done["visit"], Moved)
    admit(migration)
    load_week(migration, 3)
    assert [(e[0], e[1]) for e in entries(migration, "customer")] == [
        (week(1), None),
        (week(3), week(1)),
    ]
    assert_equal(migration)
    noted = target_rows(
        migration, "SELECT table_name, week FROM migration.attempt ORDER BY attempt"
    )
    assert noted == [("customer", week(2)), ("customer", week(3))]


def test_a_table_whose_first_load_failed_is_loaded_whole_in_a_later_week(
    make_migration: MakeMigration,
) -> None:
    """Without a head there is nothing to start from; the later cut is read whole."""
    migration = make_migration(SHOP)
    live_weeks(migration, (1, 2))
    refuse(migration, "customer")
    assert isinstance(run_week(migration, 1)["customer"], TargetError)
    admit(migration)
    moved = load_week(migration, 2)["customer"]
    assert moved.inserted == moved.proof.source_rows
    assert [(e[0], e[1]) for e in entries(migration, "customer")] == [(week(2), None)]
    assert_equal(migration)


def test_a_table_new_at_the_source_is_loaded_in_its_first_week(
    make_migration: MakeMigration,
) -> None:
    """Other tables have a head already."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    change(migration, "CREATE TABLE late (id INTEGER PRIMARY KEY)", "INSERT INTO late VALUES (1)")
    assert set(load_week(migration, 2)) == {*TABLES, "late"}
    assert_equal(migration)


def test_a_quiet_week_moves_the_head_and_not_a_row(make_migration: MakeMigration) -> None:
    """Nothing changed at the source: the week is proved all the same, and the rows untouched."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    before = target_rows(migration, "SELECT ctid, xmin, id FROM customer ORDER BY id")
    moved = load_week(migration, 2)["customer"]
    assert (moved.outcome, moved.inserted, moved.updated, moved.deleted) == (
        Outcome.LOADED,
        0,
        0,
        0,
    )
    assert moved.proof.week == week(2)
    assert moved.proof.holds
    assert target_rows(migration, "SELECT ctid, xmin, id FROM customer ORDER BY id") == before
    assert_equal(migration)


def test_an_empty_table_is_made_and_takes_rows_later(make_migration: MakeMigration) -> None:
    """Empty, filled, emptied again: each of them is a state to be proved."""
    migration = make_migration("CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, v TEXT);")
    load_week(migration, 1)
    assert_equal(migration)
    change(migration, "INSERT INTO t VALUES (1, '2026-01-01 00:00:00', 'a'), (2, NULL, NULL)")
    load_week(migration, 2)
    assert_equal(migration)
    change(migration, "DELETE FROM t")
    load_week(migration, 3)
    assert_equal(migration)
    assert_proved(migration, "t")


def test_a_week_older_than_every_cut_folds_into_the_next(make_migration: MakeMigration) -> None:
    """The source's past can't be read any more: the next cut stands for it."""
    migration = make_migration(SHOP)
    cut = step.take_cut(migration, week(3))
    assert step.take_cut(migration, week(1)) == cut
    moved = load_week(migration, 1)["customer"]
    assert moved.proof.week == week(3)
    assert load_week(migration, 3)["customer"].outcome is Outcome.COVERED
    assert len(entries(migration, "customer")) == 1
    assert_equal(migration)


def test_a_week_without_a_cut_says_how_to_take_it(make_migration: MakeMigration) -> None:
    """Nothing is loaded from the live source behind the operator's back."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    before = snapshot(migration)
    with pytest.raises(StateError, match="source_cut"):
        carry(migration, 2, "customer")
    assert snapshot(migration) == before


def test_a_column_that_comes_and_goes_again_stays_on_the_target(
    make_migration: MakeMigration,
) -> None:
    """Every week is carried by the table's own move."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    change(migration, "ALTER TABLE customer ADD COLUMN phone TEXT")
    load_week(migration, 2, tables=["customer"])
    assert_equal(migration, "customer")
    change(migration, "ALTER TABLE customer DROP COLUMN phone")
    load_week(migration, 3)
    assert_equal(migration, extra_columns=["phone"])


def test_a_first_load_without_a_stored_delta_makes_it(make_migration: MakeMigration) -> None:
    """The load doesn't depend on the delta having been materialized."""
    migration = make_migration(SHOP)
    step.take_cut(migration, week(1))
    for table in TABLES:
        carry(migration, 1, table)
    change(migration, "UPDATE customer SET name = 'Eve'")
    step.take_cut(migration, week(2))
    for table in TABLES:
        carry(migration, 2, table)
    assert_equal(migration)


def test_a_lost_state_folder_stops_the_next_week_and_changes_nothing(
    make_migration: MakeMigration,
) -> None:
    """Without the head's cut there is no older side to compare; restored, the week goes through."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    state = migration.settings.state
    lost = state.rename(state.with_name("lost"))
    before = snapshot(migration)
    change(migration, "DELETE FROM customer WHERE id = 1")
    for acknowledged in (NOTHING, DISPLACE):
        error = run_week(migration, 2, tables=["customer"], acknowledged=acknowledged)["customer"]
        assert isinstance(error, StateError)
        assert "restore the state folder" in str(error)
    assert snapshot(migration) == before
    shutil.rmtree(state)
    lost.rename(state)
    load_week(migration, 2)
    assert_equal(migration)


def test_a_damaged_cut_is_never_loaded(make_migration: MakeMigration) -> None:
    """It would be proved against itself; neither as the new cut nor as the head's is it read."""
    migration = make_migration(SHOP)
    load_week(migration, 1)
    before = snapshot(migration)
    for number in (2, 1):
        cut = step.take_cut(migration, week(2))
        damaged = cuts.covering(migration.state, migration.source, week(number)) or cut
        whole = damaged.path.read_bytes()
        damaged.path.chmod(0o600)
        damaged.path.write_bytes(whole.replace(b"Ada", b"Eve"))
        error = run_week(migration, 2, tables=["customer"])["customer"]
        assert isinstance(error, StateError)
        damaged.path.write_bytes(whole)
    assert snapshot(migration) == before
    load_week(migration, 2)
    assert_equal(migration)
