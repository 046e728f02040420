"""Weeks that are taken back: the same proved step, in the other direction."""

import pytest

from migration_assets import holds, undo
from migration_assets.errors import GuardError, HoldError, RollbackError, StateError
from migration_assets.findings import Moved, Outcome
from migration_assets.history import standing
from migration_assets.migration import Migration
from migration_assets.model import HeadMove
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.target import ledger
from migration_assets.target.connection import connect
from migration_assets_tests.fixtures_migration import (
    NOTHING,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    load_week,
    run_week,
    snapshot,
    week,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER);
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30), (4, 'jar', 40);
"""
KEYLESS = STOCK.replace(" PRIMARY KEY", "")
WEEKS = (
    (
        "UPDATE stock SET amount = 11 WHERE id = 1",
        "DELETE FROM stock WHERE id = 4",
        "INSERT INTO stock VALUES (5, 'hat', 50), (6, 'mug', 'some')",
    ),
    ("UPDATE stock SET amount = 12 WHERE id < 3", "DELETE FROM stock WHERE id = 6"),
)
both_kinds = pytest.mark.parametrize("schema", [STOCK, KEYLESS], ids=["by key", "without a key"])


def lived(migration: Migration) -> Migration:
    """Load three weeks."""
    load_week(migration, 1)
    for number, statements in enumerate(WEEKS, 2):
        change(migration, *statements)
        load_week(migration, number)
    return migration


def taken_back(
    migration: Migration,
    *,
    number: int | None = None,
    entry: int | None = None,
    acknowledged: frozenset[str] = NOTHING,
) -> Moved:
    """Take a week or an entry back; there has to be something to take back."""
    moved = undo.rollback(
        migration,
        "stock",
        week=week(number) if number else None,
        entry=entry,
        run="test",
        acknowledged=acknowledged,
    )
    assert moved is not None
    return moved


def history(migration: Migration) -> tuple[HeadMove, ...]:
    """Return the table's head moves."""
    with connect(migration.target) as connection:
        return ledger.history(connection, "main", "stock")


def assert_at(migration: Migration, number: int) -> None:
    """Let the table be equal to the cut of a week, to the judge and to the pipeline itself."""
    cut = next(c for c in cuts.cuts(migration.state, "main") if c.week == week(number))
    assert_equal(migration, file=cut.path)
    assert_proved(migration, "stock")


@both_kinds
@pytest.mark.parametrize(("taken", "stands"), [(2, 1), (3, 2)])
def test_a_week_and_everything_later_is_taken_back(
    make_migration: MakeMigration, schema: str, taken: int, stands: int
) -> None:
    """The table equals the cut of the week before; quarantine too; the entry says what it is."""
    migration = lived(make_migration(schema))
    moved = taken_back(migration, number=taken)
    assert moved.outcome is Outcome.LOADED
    assert_at(migration, stands)
    last = history(migration)[-1]
    assert (last.kind, last.week, last.restores) == ("rollback", week(stands), stands)
    assert [m.entry for m in standing(history(migration))] == list(range(1, stands + 1))


@both_kinds
def test_a_rollback_is_taken_back_like_any_other_move(
    make_migration: MakeMigration, schema: str
) -> None:
    """By its own entry; the weeks it had taken back stand again."""
    migration = lived(make_migration(schema))
    undone = taken_back(migration, number=2)
    again = taken_back(migration, entry=undone.entry)
    assert_at(migration, 3)
    assert history(migration)[-1].restores == 3
    assert [m.entry for m in standing(history(migration))] == [1, 2, 3]
    taken_back(migration, entry=again.entry)
    assert_at(migration, 1)


def test_a_table_that_was_rolled_back_is_on_hold_until_released(
    make_migration: MakeMigration,
) -> None:
    """Then its weeks load again as they did, from where it stands."""
    migration = lived(make_migration(STOCK))
    moved = taken_back(migration, number=2)
    result = run_week(migration, 3)["stock"]
    assert isinstance(result, HoldError)
    assert f"rolled back from week {week(3)} to {week(1)} (entry {moved.entry})" in str(result)
    holds.release(migration, "stock")
    load_week(migration, 2)
    load_week(migration, 3)
    assert_at(migration, 3)
    assert [m.entry for m in standing(history(migration))] == [1, 5, 6]


def test_a_table_on_hold_can_be_rolled_back(make_migration: MakeMigration) -> None:
    """A hold keeps schedules away, not the person who mends what it is for."""
    migration = lived(make_migration(STOCK))
    holds.hold(migration, "stock", "looks wrong")
    taken_back(migration, number=3)
    assert_at(migration, 2)


def test_the_deltas_of_the_weeks_stay_as_they_are(make_migration: MakeMigration) -> None:
    """The way back has a place of its own, and nothing of it is left."""
    migration = lived(make_migration(STOCK))
    before = {key: migration.state.read_text(key) for key in _manifests(migration)}
    taken_back(migration, number=2)
    assert {key: migration.state.read_text(key) for key in _manifests(migration)} == before
    for number in (1, 2, 3):
        delta = delta_files.find(migration.state, "main", "stock", week(number))
        assert delta is not None
        delta_files.check(delta)
    assert list((migration.settings.state / "work").iterdir()) == []


def _manifests(migration: Migration) -> list[str]:
    return [key for key in migration.state.keys("deltas") if key.endswith(".json")]


def test_there_is_nothing_to_take_back_of_a_week_that_did_not_come(
    make_migration: MakeMigration,
) -> None:
    """Nothing changes, and nothing is put on hold; nor before the first load, nor twice."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    before = snapshot(migration)
    assert undo.rollback(migration, "stock", week=week(2), run="test") is None
    assert undo.rollback(migration, "unknown", week=week(2), run="test") is None
    assert snapshot(migration) == before
    change(migration, *WEEKS[0])
    load_week(migration, 2)
    taken_back(migration, number=2)
    before = snapshot(migration)
    assert undo.rollback(migration, "stock", week=week(2), run="test") is None
    assert undo.rollback(migration, "stock", entry=2, run="test") is None
    assert snapshot(migration) == before


def test_the_first_load_can_not_be_taken_back(make_migration: MakeMigration) -> None:
    """There was nothing before it; the error says what can be done instead."""
    migration = lived(make_migration(STOCK))
    before = snapshot(migration)
    with pytest.raises(RollbackError, match="nothing before it"):
        undo.rollback(migration, "stock", week=week(1), run="test")
    with pytest.raises(RollbackError, match="nothing before it"):
        undo.rollback(migration, "stock", entry=1, run="test")
    with pytest.raises(RollbackError, match="no entry 9"):
        undo.rollback(migration, "stock", entry=9, run="test")
    assert snapshot(migration) == before


@pytest.mark.parametrize("damage", ["pruned", "damaged"])
def test_without_the_older_cut_there_is_no_way_back(
    make_migration: MakeMigration, damage: str
) -> None:
    """The error names it; nothing is changed."""
    migration = lived(make_migration(STOCK))
    older = cuts.cuts(migration.state, "main")[0]
    older.path.chmod(0o600)
    if damage == "pruned":
        for key in migration.state.keys(f"cuts/main/{week(1)}"):
            migration.state.remove(key)
    else:
        older.path.write_bytes(older.path.read_bytes()[:-1] + b"x")
    before = snapshot(migration)
    with pytest.raises(StateError, match="needed for the way back"):
        undo.rollback(migration, "stock", week=week(2), run="test")
    assert snapshot(migration) == before


@both_kinds
def test_the_way_back_is_open_where_the_newest_cut_is_damaged(
    make_migration: MakeMigration, schema: str
) -> None:
    """That may be why it is wanted: the older cut is staged whole then."""
    migration = lived(make_migration(schema))
    newest = cuts.cuts(migration.state, "main")[-1]
    newest.path.chmod(0o600)
    newest.path.write_bytes(b"")
    taken_back(migration, number=3)
    assert_at(migration, 2)


@pytest.mark.parametrize(
    "foreign",
    ["UPDATE stock SET amount = 99 WHERE id = 1", "UPDATE stock SET amount = 99 WHERE id = 3"],
    ids=["a row of the way back", "another row"],
)
def test_what_somebody_else_wrote_since_stops_the_way_back(
    make_migration: MakeMigration, foreign: str
) -> None:
    """As it stops any move, until it is acknowledged: then it is displaced."""
    migration = lived(make_migration(STOCK))
    write_on_target(migration, foreign)
    before = snapshot(migration)
    with pytest.raises(GuardError, match="changed on the target by someone else"):
        undo.rollback(migration, "stock", week=week(3), run="test")
    assert snapshot(migration) == before
    moved = taken_back(migration, number=3, acknowledged=frozenset({"foreign_writes"}))
    assert moved.displaced == 1
    assert_at(migration, 2)


def test_a_late_week_after_a_rollback_is_carried_from_where_the_table_stands(
    make_migration: MakeMigration,
) -> None:
    """The newest week brings all that was taken back, in one step."""
    migration = lived(make_migration(STOCK))
    taken_back(migration, number=2)
    holds.release(migration, "stock")
    assert carry(migration, 3, "stock").outcome is Outcome.LOADED
    assert_at(migration, 3)
