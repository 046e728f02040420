"""What `on_mismatch` does about rows that somebody else changed, and what it never touches."""

import pytest

from migration_assets import mismatch, standing
from migration_assets.errors import ForeignWriteError, HoldError
from migration_assets.findings import Outcome
from migration_assets.holds import hold
from migration_assets.migration import Migration
from migration_assets.repair import repair
from migration_assets.step import take_cut
from migration_assets.target.connection import connect
from migration_assets.verify.prove import target_digest
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    mapping_of,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT, amount INTEGER);
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30);
"""


def kinds(migration: Migration) -> list[str]:
    """Return the kinds of the ledger's entries, in order."""
    rows = target_rows(migration, "SELECT kind FROM migration.ledger ORDER BY entry")
    return [str(kind) for (kind,) in rows]


def settled(migration: Migration) -> str:
    """Let the policy look at the table as it stands."""
    found = standing.verify(migration, "stock")
    return mismatch.settle(migration, "stock", found, run="test")


@pytest.mark.parametrize("row", [1, 2], ids=["touched by the week", "not touched"])
def test_a_week_that_meets_foreign_rows_repairs_them_and_goes_on(
    make_migration: MakeMigration, row: int
) -> None:
    """Theirs are kept; with `keep` the same week stops."""
    migration = make_migration(STOCK, on_mismatch="repair")
    load_week(migration, 1)
    write_on_target(migration, f"UPDATE stock SET amount = 99 WHERE id = {row}")
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    take_cut(migration, week(2))
    moved = mismatch.carry(migration, "stock", week(2), run="test")
    assert moved.outcome is Outcome.LOADED
    assert kinds(migration) == ["load", "repair", "load"]
    assert len(target_rows(migration, "SELECT FROM migration.displaced")) == 1
    assert len(moved.notes) == 1
    assert "`on_mismatch: repair`: entry 2 wrote 0, changed 1" in moved.notes[0]
    assert_equal(migration)
    assert_proved(migration, "stock")


def test_by_default_a_foreign_row_stops_the_week_and_stays(make_migration: MakeMigration) -> None:
    """The error names every way out, and nothing is changed."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    take_cut(migration, week(2))
    before = snapshot(migration)
    with pytest.raises(ForeignWriteError) as caught:
        mismatch.carry(migration, "stock", week(2), run="test")
    for way in ("repair stock`", "--keep-target", "rollback", "--acknowledge foreign_writes"):
        assert way in caught.value.hint
    assert settled(migration) == ""
    assert snapshot(migration) == before


def test_a_week_that_meets_foreign_rows_is_taken_back_where_the_settings_say_so(
    make_migration: MakeMigration,
) -> None:
    """The table goes to the week before, on hold; what was there is kept, or stands again."""
    migration = make_migration(STOCK, on_mismatch="rollback")
    load_week(migration, 1)
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    load_week(migration, 2)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    change(migration, "UPDATE stock SET amount = 12 WHERE id = 1")
    take_cut(migration, week(3))
    with pytest.raises(HoldError, match="on_mismatch: rollback"):
        mismatch.carry(migration, "stock", week(3), run="test")
    assert kinds(migration) == ["load", "load", "rollback"]
    assert target_rows(migration, "SELECT id, amount FROM stock ORDER BY id") == [
        (1, 10),
        (2, 20),
        (3, 30),
    ]
    assert target_rows(migration, "SELECT target_row FROM migration.displaced") == [("(2,ink,99)",)]
    assert_proved(migration, "stock")
    write_on_target(migration, "UPDATE stock SET amount = 98 WHERE id = 3")
    assert settled(migration) == "", "on hold, it is taken back no further"


def test_without_an_earlier_week_there_is_nothing_to_go_back_to(
    make_migration: MakeMigration,
) -> None:
    """The first load stays, red, as with `keep`."""
    migration = make_migration(STOCK, on_mismatch="rollback")
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    before = snapshot(migration)
    assert settled(migration) == ""
    assert snapshot(migration) == before


@pytest.mark.parametrize("policy", ["repair", "rollback"])
def test_a_wrong_load_is_never_settled_by_itself(
    make_migration: MakeMigration, policy: str
) -> None:
    """The target is what the head's entry says, so nobody else's writing explains what differs."""
    migration = make_migration(STOCK, on_mismatch=policy)
    load_week(migration, 1)
    mapping = mapping_of(migration, "stock")
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 1")
    with connect(migration.target) as connection:
        sums = target_digest(connection, mapping).sums
    listed = ",".join(map(str, sums))
    write_on_target(migration, f"UPDATE migration.ledger SET bucket_sums = '{{{listed}}}'")
    found = standing.verify(migration, "stock")
    assert found is not None
    assert found.proof.attribution is not None
    assert (found.proof.attribution.foreign, found.proof.attribution.load) == (False, True)
    before = snapshot(migration)
    assert settled(migration) == ""
    assert snapshot(migration) == before


def test_a_changed_quarantine_is_somebody_elses_doing(make_migration: MakeMigration) -> None:
    """It is told from rows of the table, and repaired where the policy says so."""
    migration = make_migration(
        STOCK,
        on_mismatch="repair",
        tables={"stock": {"columns": {"amount": {"type": "bigint"}}}},
    )
    change(migration, "INSERT INTO stock VALUES (8, 'odd', 'many')")
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM migration.quarantine")
    found = standing.verify(migration, "stock")
    assert found is not None
    assert found.proof.attribution is not None
    assert found.proof.attribution.quarantine
    assert not (found.proof.attribution.foreign)
    assert not (found.proof.attribution.load)
    assert "on_mismatch: repair" in settled(migration)
    assert_proved(migration, "stock")


def test_a_table_on_hold_is_not_repaired_by_itself(make_migration: MakeMigration) -> None:
    """Nothing moves it until a person releases it; a person may repair it all the same."""
    migration = make_migration(STOCK, on_mismatch="repair")
    load_week(migration, 1)
    hold(migration, "stock", "somebody tries something")
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    before = snapshot(migration)
    assert settled(migration) == ""
    assert snapshot(migration) == before
    moved = repair(migration, "stock", run="test")
    assert moved is not None
    assert moved.updated == 1
