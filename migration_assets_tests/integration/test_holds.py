"""Tables on hold: nothing moves them, everybody is told, and a release lets them go on."""

import psycopg
import pytest

from migration_assets import standing, step
from migration_assets.errors import HoldError, SettingsError
from migration_assets.findings import Outcome
from migration_assets.holds import hold, release
from migration_assets.migration import Migration
from migration_assets.target import layout
from migration_assets.target.connection import connect
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    carry,
    change,
    entries,
    load_week,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

NOTES = """
CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
INSERT INTO note VALUES (1, 'one'), (2, 'two');
CREATE TABLE "order lines" (id INTEGER PRIMARY KEY);
INSERT INTO "order lines" VALUES (1);
"""


def test_a_table_on_hold_is_refused_and_says_how_to_release_it(
    make_migration: MakeMigration,
) -> None:
    """Reason, since when, by whom, and the command; the other table goes on."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    hold(migration, "order lines", "rolled back\nto look at it", by="the DBA")
    before = entries(migration, "order lines")
    change(migration, 'INSERT INTO "order lines" VALUES (2)', "DELETE FROM note WHERE id = 1")
    done = run_week(migration, 2)
    error = done["order lines"]
    assert isinstance(error, HoldError)
    held = standing.holds(migration)["order lines"]
    assert f"{held.since:%Y-%m-%d %H:%M}" in str(error)
    assert "(by the DBA): rolled back to look at it" in str(error)
    assert "`migration-assets release 'order lines'`" in str(error)
    assert entries(migration, "order lines") == before
    assert target_rows(migration, 'SELECT id FROM "order lines"') == [(1,)]
    assert_equal(migration, "note")


def test_a_covered_week_of_a_table_on_hold_changes_nothing_and_is_green(
    make_migration: MakeMigration,
) -> None:
    """The proof that stands is shown: that moves nothing."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    hold(migration, "note", "wait")
    before = snapshot(migration)
    assert load_week(migration, 1, tables=["note"])["note"].outcome is Outcome.COVERED
    assert snapshot(migration) == before


@pytest.mark.parametrize("stage", ["prepared", "compared"])
def test_a_hold_that_is_set_while_a_run_prepares_wins(
    make_migration: MakeMigration, stage: str
) -> None:
    """It is looked for once more under the table's lock, just before anything is changed."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    change(migration, "DELETE FROM note")
    step.take_cut(migration, week(2))

    def at(reached: str) -> None:
        if reached == stage:
            hold(migration, "note", "stop")

    with pytest.raises(HoldError, match="stop"):
        carry(migration, 2, "note", at=at)
    assert target_rows(migration, "SELECT count(*) FROM note") == [(2,)]
    assert len(entries(migration, "note")) == 1


def test_a_hold_waits_for_the_move_that_is_under_way(make_migration: MakeMigration) -> None:
    """Once `hold` has returned nothing moves any more: it takes the lock that the move has."""
    migration = make_migration(NOTES, lock_timeout=0.2)
    load_week(migration, 1)
    step.take_cut(migration, week(2))
    refused: list[str] = []

    def at(reached: str) -> None:
        if reached == "applied":
            with pytest.raises(Exception, match="LockNotAvailable") as error:
                hold(migration, "note", "stop")
            refused.append(str(error.value))

    carry(migration, 2, "note", at=at)
    assert len(refused) == 1
    assert standing.holds(migration) == {}


def test_a_table_that_was_released_goes_on(make_migration: MakeMigration) -> None:
    """Release returns the hold that ended, None where there was none."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    hold(migration, "note", "wait")
    change(migration, "DELETE FROM note WHERE id = 1")
    assert isinstance(run_week(migration, 2)["note"], HoldError)
    held = release(migration, "note")
    assert held is not None
    assert held.reason == "wait"
    assert release(migration, "note") is None
    load_week(migration, 2)
    assert_equal(migration)


def test_holding_again_changes_the_reason_and_keeps_the_beginning(
    make_migration: MakeMigration,
) -> None:
    """Since when is what on-call asks."""
    migration = make_migration(NOTES)
    hold(migration, "note", "first")
    first = standing.holds(migration)["note"]
    hold(migration, "note", "second", by="another")
    second = standing.holds(migration)["note"]
    assert (second.reason, second.by, second.since) == ("second", "another", first.since)


def test_a_hold_needs_a_reason(make_migration: MakeMigration) -> None:
    """Whoever finds it wants to know why."""
    with pytest.raises(SettingsError, match="needs a reason"):
        hold(make_migration(NOTES), "note", "  ")


def test_status_shows_on_hold_with_the_reason_and_no_failure(
    make_migration: MakeMigration,
) -> None:
    """A refused step was noted, and still is no failure of the table."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    hold(migration, "note", "wait")
    run_week(migration, 2)
    found = standing.standing(migration, ["note", "order lines"], [week(1), week(2)])
    assert [cell.state for cell in found.cells["note"].values()] == ["loaded", "on hold"]
    assert found.holds["note"].reason == "wait"
    assert found.reasons == {}
    assert target_rows(migration, "SELECT error FROM migration.attempt") == [("HoldError",)]


def _as_version_1(migration: Migration) -> None:
    """Turn the ledger into what the first release made."""
    write_on_target(
        migration,
        "DROP TABLE migration.hold",
        "DROP TABLE migration.exception, migration.foreign_write",
        "ALTER TABLE migration.displaced DROP column_names",
        "ALTER TABLE migration.ledger DROP changes, DROP ddl, DROP restores",
        "UPDATE migration.version SET version = 1",
    )


def test_a_ledger_of_version_1_is_brought_forward_in_place(make_migration: MakeMigration) -> None:
    """Its entries stay, the next step goes on from them, and holds can be set."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    _as_version_1(migration)
    before = snapshot(migration)
    assert standing.holds(migration) == {}
    standing.standing(migration, ["note"], [week(1)])
    assert snapshot(migration) == before  # asking changes nothing
    change(migration, "ALTER TABLE note ADD COLUMN more", "DELETE FROM note WHERE id = 1")
    load_week(migration, 2)
    assert target_rows(migration, "SELECT version FROM migration.version") == [(4,)]
    assert len(entries(migration, "note")) == 2
    hold(migration, "note", "wait")
    assert list(standing.holds(migration)) == ["note"]
    assert_equal(migration)


def test_a_newer_ledger_is_refused(make_migration: MakeMigration) -> None:
    """A release that doesn't know its layout must not write to it."""
    migration = make_migration(NOTES)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE migration.version SET version = 5")
    with pytest.raises(Exception, match="the ledger has version 5"):
        step.bootstrap(migration)


def test_an_upgrade_waits_for_another_one(make_migration: MakeMigration) -> None:
    """Two steps that find an old ledger bring it forward once."""
    migration = make_migration(NOTES, lock_timeout=0.2)
    load_week(migration, 1)
    _as_version_1(migration)
    with (
        on_target(migration) as other,
        other.transaction(),
        connect(migration.target) as connection,
    ):
        other.execute("SELECT pg_advisory_xact_lock(%s)", (layout._BOOTSTRAP_LOCK,))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            layout.bootstrap(connection, "public")
    step.bootstrap(migration)
    assert target_rows(migration, "SELECT version FROM migration.version") == [(4,)]
