"""Cuts and deltas are let go when nothing needs them, and never while something does."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from migration_assets import step
from migration_assets.errors import StateBusyError, StateError
from migration_assets.findings import Outcome
from migration_assets.holds import hold, release
from migration_assets.migration import Migration
from migration_assets.retention import pinned, prune
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    load_week,
    migration_of,
    week,
    write_on_target,
)

SCHEMA = """
CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE b (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO a VALUES (1, 'one');
INSERT INTO b VALUES (1, 'one');
"""


def live(migration: Migration, number: int, *tables: str) -> None:
    """Let a week happen, and carry it."""
    change(migration, *(f"INSERT INTO {t} (v) VALUES ('week {number}')" for t in ("a", "b")))
    load_week(migration, number, tables=tables or None)


@pytest.fixture
def migration(make_migration: MakeMigration) -> Migration:
    """Return a migration that keeps two weeks, with four behind it."""
    made = make_migration(SCHEMA, keep_weeks=2)
    for number in range(1, 5):
        live(made, number)
    return made


def weeks_there(migration: Migration) -> list[date]:
    """Return the weeks whose cuts are there."""
    return [cut.week for cut in cuts.cuts(migration.state, migration.source)]


def files(migration: Migration) -> list[str]:
    """Return all files of cuts and deltas."""
    return [*migration.state.keys("cuts"), *migration.state.keys("deltas")]


def test_what_nothing_needs_is_removed_and_told(migration: Migration) -> None:
    """Two weeks stay, and the state below them; what became free is what was there."""
    before = sum(migration.state.path(key).stat().st_size for key in files(migration))
    found = prune(migration)
    after = sum(migration.state.path(key).stat().st_size for key in files(migration))
    assert weeks_there(migration) == [week(2), week(3), week(4)]
    assert [cut[:10] for cut in found.cuts] == [str(week(1))]
    assert (found.deltas, found.problem) == (4, "")
    assert found.freed == before - after > 0
    assert {key.split("/")[3] for key in migration.state.keys("deltas")} == {
        str(week(3)),
        str(week(4)),
    }
    assert [(cut[:10], why) for cut, why in found.kept.items()] == [
        (str(week(2)), "table a can be rolled back to it")
    ]
    again = prune(migration)
    assert (again.cuts, again.deltas, again.freed) == ((), 0, 0)


def test_tables_go_on_and_are_proved_afterwards(migration: Migration) -> None:
    """The next week, a proof, and an old week asked for again."""
    prune(migration)
    old = step.make_delta(migration, "a", week(1))
    assert old.week == week(2)
    assert carry(migration, 1, "a").outcome is Outcome.COVERED
    assert_proved(migration, "a", "b")
    live(migration, 5)
    assert_equal(migration)


def test_a_table_that_lags_keeps_its_cut_and_those_it_was_not_carried_to(
    make_migration: MakeMigration,
) -> None:
    """On hold or not; each kept cut says for which table."""
    migration = make_migration(SCHEMA, keep_weeks=1)
    live(migration, 1)
    live(migration, 2)
    hold(migration, "b", "being looked at", by="me")
    for number in range(3, 7):
        live(migration, number, "a")
    found = prune(migration)
    assert (found.cuts, found.deltas) == ((), 6)  # a's of four weeks, both of the first
    assert {cut[:10]: why for cut, why in pinned(migration).items()} == {
        str(week(1)): "table b can be rolled back to it",
        str(week(2)): "table b stands at it",
        **{
            str(week(n)): f"table b was not carried to it yet: it stands at {week(2)}"
            for n in (3, 4, 5)
        },
        str(week(6)): "table a stands at it",
    }
    release(migration, "b")
    load_week(migration, 4, tables=["b"])
    load_week(migration, 6, tables=["b"])
    prune(migration)
    assert weeks_there(migration) == [week(4), week(5), week(6)]
    assert_equal(migration)


def test_a_table_left_out_keeps_only_where_it_stands(migration: Migration) -> None:
    """Nothing carries it any more; it can still be proved and rolled back."""
    for number in range(5, 8):
        live(migration, number, "a")
    settings = migration.settings.model_copy(update={"exclude": ("b",)})
    without = replace(migration, settings=settings)
    prune(without)
    assert weeks_there(without) == [week(n) for n in (3, 4, 5, 6, 7)]
    assert_proved(without, "b")


def test_before_anything_is_old_the_target_is_not_asked(make_migration: MakeMigration) -> None:
    """Nothing could be removed."""
    migration = make_migration(SCHEMA, keep_weeks=2)
    live(migration, 1)
    live(migration, 2)
    nowhere = migration_of(
        migration.settings.source,
        migration.settings.state,
        "postgresql://nobody@127.0.0.1:1/nowhere",
        keep_weeks=2,
    )
    assert prune(nowhere).cuts == ()


@pytest.mark.parametrize("gone", ["migration.ledger", "the whole ledger"])
def test_without_a_ledger_that_tells_nothing_is_removed(migration: Migration, gone: str) -> None:
    """Another database, or an emptied one: which cuts are needed can't be known."""
    if gone == "migration.ledger":
        write_on_target(migration, "DELETE FROM migration.ledger")
    else:
        write_on_target(migration, "DROP SCHEMA migration CASCADE")
    before = files(migration)
    with pytest.raises(StateError, match="the ledger names no table of this source"):
        prune(migration)
    assert files(migration) == before


def test_a_ledger_of_another_state_folder_removes_nothing(migration: Migration) -> None:
    """Its heads are cuts that this folder doesn't have."""
    write_on_target(
        migration, "UPDATE migration.ledger SET cut = cut || 'x' WHERE table_name = 'b'"
    )
    before = files(migration)
    with pytest.raises(StateError, match="at which tables stand are not there: b"):
        prune(migration)
    assert files(migration) == before


def test_while_a_step_reads_or_a_cut_is_taken_it_is_put_off(migration: Migration) -> None:
    """It is not waited for: the next week's end comes."""
    before = files(migration)
    other = LocalState(migration.settings.state)
    with other.lock("reading-main", purpose="a step of table a", shared=True):
        assert "a step of table a" in prune(migration).problem
    with other.lock("cut-main", purpose="taking the cut of 2026-11-08"):
        assert "taking the cut" in prune(migration).problem
    assert files(migration) == before
    assert prune(migration).problem == ""


def test_a_step_waits_while_cuts_are_removed(migration: Migration) -> None:
    """Or it could lose the one that it has just found."""
    live_state = LocalState(migration.settings.state, patience=0.0)
    hasty = replace(migration, state=live_state)
    change(migration, "INSERT INTO a (v) VALUES ('more')")
    step.take_cut(migration, week(5))
    with migration.state.lock("reading-main", purpose="removing cuts"):
        with pytest.raises(StateBusyError, match="removing cuts"):
            step.make_delta(hasty, "a", week(5))
        with pytest.raises(StateBusyError, match="removing cuts"):
            carry(hasty, 5, "a")
    carry(hasty, 5, "a")
    assert_equal(migration, "a")


def test_steps_of_many_tables_read_at_once(migration: Migration) -> None:
    """Readers don't keep each other waiting."""
    other = LocalState(migration.settings.state)
    with other.lock("reading-main", purpose="a step of table a", shared=True):
        live(migration, 5)
    assert_equal(migration)


class Killed(BaseException):
    """The process is gone."""


class DyingState(LocalState):
    """A state folder whose process dies after some files were removed."""

    left = 0

    def remove(self, key: str) -> None:
        """Remove, or die."""
        if not self.left:
            raise Killed
        self.left -= 1
        super().remove(key)


# Two deltas a week of four files, then the cut of one week: its manifest, its file
@pytest.mark.parametrize("removed", [0, 1, 6, 16, 17])
def test_killed_on_the_way_it_leaves_no_half_of_anything(
    migration: Migration, removed: int
) -> None:
    """What is there is whole, all that is needed is there, and the next time the rest goes."""
    dying = DyingState(migration.settings.state)
    dying.left = removed
    with pytest.raises(Killed):
        prune(replace(migration, state=dying))
    for cut in cuts.cuts(migration.state, "main"):
        cuts.check(cut)
    for number in range(1, 5):
        for table in ("a", "b"):
            delta = delta_files.find(migration.state, "main", table, week(number))
            if delta is not None:
                delta_files.check(delta)
    prune(migration)
    assert weeks_there(migration) == [week(2), week(3), week(4)]
    assert len(migration.state.keys("cuts")) == 6
    assert len(migration.state.keys("deltas")) == 16
    live(migration, 5)
    assert_equal(migration)


def test_a_cut_whose_manifest_is_lost_is_not_swept_away(migration: Migration) -> None:
    """The ledger names it, so its file is worth keeping: the manifest is made again from it."""
    newest = cuts.cuts(migration.state, "main")[-1]
    migration.state.remove(f"cuts/main/{newest.week}/manifest.json")
    assert cuts.find(migration.state, "main", newest.id).sha256 == newest.sha256
    assert weeks_there(migration)[-1] == newest.week
    prune(migration)
    assert_proved(migration, "a")


def test_a_lost_cut_of_a_head_stops_the_removal(migration: Migration, tmp_path: Path) -> None:
    """Something is wrong with the folder: nothing more is taken from it."""
    newest = cuts.cuts(migration.state, "main")[-1]
    shutil.move(newest.path.parent, tmp_path / "elsewhere")
    before = files(migration)
    with pytest.raises(StateError, match="stand are not there: a, b"):
        prune(migration)
    assert files(migration) == before
