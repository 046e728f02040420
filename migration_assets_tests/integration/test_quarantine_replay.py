"""Rows that fit by now leave quarantine by the one proved step, at the week the table stands at."""

import signal
from dataclasses import replace
from typing import Any

import pytest

from migration_assets import holds, standing, step
from migration_assets.errors import DriftError, HoldError, MigrationError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.model import Policy
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.processes import exit_code, replay_and_die, started
from migration_assets_tests.telling import columns, telling

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER);
INSERT INTO item VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30);
"""
KEYLESS = ITEMS.replace(" PRIMARY KEY", "")
UNFIT = ("UPDATE item SET amount = 'many' WHERE id = 2", "INSERT INTO item VALUES (4, 'd', 1.5)")
AS_TEXT: dict[str, Any] = {"columns": columns(amount={"type": "text"})}


def with_quarantine(make_migration: MakeMigration, schema: str = ITEMS) -> Migration:
    """Return a migration that stands at week 2 with two rows in quarantine."""
    migration = make_migration(schema)
    load_week(migration, 1)
    change(migration, *UNFIT)
    assert load_week(migration, 2)["item"].proof.quarantined_rows == 2
    return migration


def replay(migration: Migration, **said: Any) -> Any:  # noqa: ANN401 - a move that took place
    """Replay the table's quarantine."""
    return step.replay(migration, "item", run="test", **said)


@pytest.mark.parametrize("schema", [ITEMS, KEYLESS], ids=["by key", "without a key"])
@pytest.mark.parametrize("said", [AS_TEXT, {"policy": Policy.WIDEN}], ids=["type", "policy"])
def test_rows_that_fit_by_now_go_in(
    make_migration: MakeMigration, schema: str, said: dict[str, Any]
) -> None:
    """After a change of type or policy, without a new cut, with an entry of its own."""
    migration = with_quarantine(make_migration, schema)
    moved = replay(telling(migration, **said))
    assert (moved.outcome, moved.inserted) == (Outcome.LOADED, 2)
    assert moved.proof.quarantined_rows == 0
    assert_equal(migration)
    assert_proved(migration, "item")
    assert target_rows(migration, "SELECT count(*) FROM migration.quarantine") == [(0,)]
    assert [e[:2] for e in entries(migration, "item")][-1] == (week(2), week(2))
    assert replay(telling(migration, **said)).outcome is Outcome.COVERED
    change(migration, "UPDATE item SET amount = 'few' WHERE id = 1")
    load_week(telling(migration, **said), 3)
    assert_equal(migration)


def test_nothing_is_done_where_the_settings_ask_for_nothing(make_migration: MakeMigration) -> None:
    """Nor before the first load."""
    migration = with_quarantine(make_migration)
    before = snapshot(migration)
    assert replay(migration).outcome is Outcome.COVERED
    assert snapshot(migration) == before
    assert step.replay(migration, "none", run="test") is None


def test_rows_that_still_do_not_fit_stay(make_migration: MakeMigration) -> None:
    """The others leave."""
    migration = with_quarantine(make_migration)
    moved = replay(telling(migration, columns=columns(amount={"type": "numeric"})))
    assert (moved.inserted, moved.proof.quarantined_rows) == (1, 1)
    assert_equal(migration)


def test_a_replay_looks_at_the_source_no_more(make_migration: MakeMigration) -> None:
    """The cut of the head is what counts: later changes come with their own week."""
    migration = with_quarantine(make_migration)
    cut = step.cut_for(migration, week(2))
    change(migration, "DELETE FROM item", "ALTER TABLE item ADD COLUMN note TEXT")
    replay(telling(migration, **AS_TEXT))
    assert_equal(migration, file=cut.path)
    load_week(telling(migration, **AS_TEXT), 3)
    assert_equal(migration)


def test_a_replay_is_stopped_by_what_stops_a_load(make_migration: MakeMigration) -> None:
    """Foreign writes, holds, a policy to fail; each attempt is noted, and nothing is changed."""
    migration = with_quarantine(make_migration)
    write_on_target(migration, "UPDATE item SET name = 'foreign' WHERE id = 1")
    before = snapshot(migration)
    with pytest.raises(MigrationError, match="by someone else"):
        replay(telling(migration, **AS_TEXT))
    with pytest.raises(DriftError, match="its policy is to fail"):
        replay(telling(migration, policy=Policy.FAIL))
    assert snapshot(migration) == before
    assert target_rows(migration, "SELECT week, error FROM migration.attempt") == [
        (week(2), "ForeignWriteError"),
        (week(2), "DriftError"),
    ]
    holds.hold(migration, "item", "looked at")
    with pytest.raises(HoldError):
        replay(telling(migration, **AS_TEXT))
    holds.release(migration, "item")
    assert replay(telling(migration, **AS_TEXT), acknowledged=DISPLACE).displaced == 1
    assert_equal(migration)


@pytest.mark.parametrize("stage", ["altered", "proved", "written", "committed"])
def test_a_replay_that_was_killed_is_finished_by_the_next(
    make_migration: MakeMigration, stage: str
) -> None:
    """Before COMMIT nothing of it shows, after it nothing is done again."""
    migration = telling(with_quarantine(make_migration), **AS_TEXT)
    before = snapshot(migration)
    assert exit_code(started(replay_and_die, migration, "item", stage)) == -signal.SIGKILL
    if stage != "committed":
        assert snapshot(migration) == before
    done = replay(migration).outcome
    assert done is (Outcome.COVERED if stage == "committed" else Outcome.LOADED)
    assert_equal(migration)
    assert len(entries(migration, "item")) == 3


def test_a_week_may_be_run_again_after_a_replay(make_migration: MakeMigration) -> None:
    """It is covered by the head, under its new mapping."""
    migration = with_quarantine(make_migration)
    replay(telling(migration, **AS_TEXT))
    assert carry(migration, 2, "item").outcome is Outcome.COVERED
    step.make_delta(migration, "item", week(2))
    status = standing.standing(migration, ["item"], [week(2)])
    cell = status.cells["item"][week(2)]
    assert (cell.state, cell.rows, cell.inserted, cell.quarantined) == ("loaded", 4, 2, 0)
    assert status.changes[("item", week(2))] == ("column amount becomes text: the settings say so",)


def test_quarantined_rows_are_counted_by_column_and_reason(make_migration: MakeMigration) -> None:
    """With a few keys, unless keys are not to be shown."""
    migration = with_quarantine(make_migration)
    (found,) = standing.quarantined(migration)
    assert (found.table, found.rows) == ("item", 2)
    assert found.reasons == {"amount": {"real is no bigint": 1, "text is no bigint": 1}}
    assert found.keys == ("id=2", "id=4")
    quiet = migration.settings.model_copy(update={"show_keys": False})
    assert standing.quarantined(replace(migration, settings=quiet))[0].keys == ()
