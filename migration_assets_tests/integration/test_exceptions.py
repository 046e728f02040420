"""Rows that are to differ are listed by every proof, and only for as long as they do just so."""

from collections.abc import Sequence

import pytest

from migration_assets import repair, standing
from migration_assets.errors import ForeignWriteError, GuardError, SettingsError
from migration_assets.findings import Proof
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
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
INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30);
"""
COPIES = STOCK.replace("id INTEGER PRIMARY KEY", "id INTEGER")
FOREIGN = {
    "a changed row": (["UPDATE stock SET amount = 99 WHERE id = 2"], 1),
    "a deleted row": (["DELETE FROM stock WHERE id = 2"], 1),
    "an added row": (["INSERT INTO stock VALUES (50, 'hat', 5)"], 1),
    "all of them": (
        [
            "UPDATE stock SET amount = 99 WHERE id = 2",
            "DELETE FROM stock WHERE id = 3",
            "INSERT INTO stock VALUES (50, 'hat', 5), (51, 'hat', 5)",
        ],
        4,
    ),
}


def proof(migration: Migration, table: str = "stock") -> Proof:
    """Prove a table as it stands now; what is read back must agree with its exceptions."""
    found = standing.verify(migration, table)
    assert found is not None
    if found.proof.holds:
        assert found.inspection.round_trip.holds
    return found.proof


def kept(make_migration: MakeMigration, statements: Sequence[str], schema: str) -> Migration:
    """Return a migration at week 1 whose foreign rows were accepted."""
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    repair.keep_target(migration, "stock", reason="agreed with Ada", by="me")
    return migration


@pytest.mark.parametrize("schema", [STOCK, COPIES], ids=["key", "no key"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_kept_rows_pass_every_check_listed(
    make_migration: MakeMigration, foreign: str, schema: str
) -> None:
    """No row is written; verify, the stored proof and the next week hold with them named."""
    statements, number = FOREIGN[foreign]
    migration = make_migration(schema)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    stood = target_rows(migration, "SELECT * FROM stock ORDER BY 1")
    accepted = repair.keep_target(migration, "stock", reason="agreed with\nAda", by="me")
    assert target_rows(migration, "SELECT * FROM stock ORDER BY 1") == stood
    assert {(row.reason, row.by, row.origin) for row in accepted} == {
        ("agreed with Ada", "me", "kept")
    }
    assert len(accepted) >= number
    assert proof(migration).accepted == accepted
    assert not proof(migration).differences
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    assert load_week(migration, 2)["stock"].proof.accepted == accepted
    assert load_week(migration, 2)["stock"].proof.accepted == accepted  # covered
    assert repair.keep_target(migration, "stock", reason="again") == ()
    found = standing.standing(migration, ["stock"], [week(2)])
    assert "agreed with Ada" in "".join(found.exceptions["stock"])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stock SET amount = 98 WHERE id = 2",
        "DELETE FROM stock WHERE id = 2",
        "UPDATE stock SET amount = 6 WHERE id = 50",
        "INSERT INTO stock VALUES (3, 'cup', 31)",
    ],
)
def test_a_kept_row_that_changes_on_the_target_again_is_red(
    make_migration: MakeMigration, statement: str
) -> None:
    """Its exception lapses alone; reading doesn't note it, the repair that puts it right does."""
    migration = kept(make_migration, FOREIGN["all of them"][0], STOCK)
    write_on_target(migration, statement)
    before = snapshot(migration)
    found = proof(migration)
    assert not found.holds
    assert (len(found.accepted), len(found.lapsed)) == (3, 1)
    assert len(found.differences) == 1
    assert found.attribution is not None
    assert found.attribution.foreign
    assert not found.attribution.load
    assert snapshot(migration) == before
    moved = repair.repair(migration, "stock", run="test")
    assert moved is not None
    assert len(moved.proof.accepted) == 3
    assert target_rows(
        migration, "SELECT count(*) FROM migration.exception WHERE lapsed_at IS NOT NULL"
    ) == [(1,)]
    assert not proof(migration).lapsed


def test_a_kept_row_brought_back_to_the_sources_ends_its_exception_quietly(
    make_migration: MakeMigration,
) -> None:
    """Nothing differs any more; the next week's step notes that it lapsed."""
    migration = kept(make_migration, FOREIGN["a changed row"][0], STOCK)
    write_on_target(migration, "UPDATE stock SET amount = 20 WHERE id = 2")
    assert proof(migration).holds
    load_week(migration, 2)
    assert proof(migration).lapsed == ()
    assert_equal(migration)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stock SET amount = 21 WHERE id = 2",
        "UPDATE stock SET amount = 99 WHERE id = 2",
        "DELETE FROM stock WHERE id = 2",
        "DELETE FROM stock WHERE id = 3",
        "UPDATE stock SET amount = 31 WHERE id = 3",
        "INSERT INTO stock VALUES (50, 'hat', 5)",
    ],
)
def test_a_kept_row_that_changes_at_the_source_stops_the_week(
    make_migration: MakeMigration, statement: str
) -> None:
    """It is named as a kept row; given back to the source, the week goes on."""
    migration = kept(make_migration, FOREIGN["all of them"][0], STOCK)
    change(migration, statement)
    before = snapshot(migration)
    error = run_week(migration, 2)["stock"]
    assert isinstance(error, GuardError)
    assert not isinstance(error, ForeignWriteError)
    assert "kept as they are on the target" in error.what
    assert "repair stock --kept" in error.hint
    assert snapshot(migration) == before
    repair.repair(migration, "stock", run="test", kept=True)
    load_week(migration, 2)
    assert proof(migration).accepted == ()
    assert_equal(migration)


def test_a_kept_copy_that_goes_at_the_source_is_no_foreign_write(
    make_migration: MakeMigration,
) -> None:
    """Without a key, too, the way out is named that there is."""
    migration = make_migration(STOCK.replace(" PRIMARY KEY", ""))
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM stock WHERE id = 2")
    repair.keep_target(migration, "stock", reason="agreed")
    change(migration, "DELETE FROM stock WHERE id = 2")
    error = run_week(migration, 2)["stock"]
    assert isinstance(error, GuardError)
    assert "repair stock --kept" in error.hint
    repair.repair(migration, "stock", run="test", kept=True)
    load_week(migration, 2)
    assert_equal(migration)


def test_another_mapping_writes_over_kept_rows_only_when_told(
    make_migration: MakeMigration,
) -> None:
    """The guard names it; acknowledged, they are displaced and their exceptions end."""
    migration = kept(make_migration, FOREIGN["all of them"][0], STOCK)
    change(migration, "ALTER TABLE stock ADD COLUMN note TEXT")
    error = run_week(migration, 2)["stock"]
    assert isinstance(error, GuardError)
    assert "--acknowledge kept_rows" in error.hint
    assert "id=2" in error.what
    moved = load_week(migration, 2, acknowledged=frozenset({"kept_rows"}))["stock"]
    assert moved.displaced == 3
    assert proof(migration).accepted == ()
    assert_equal(migration)


def test_somebody_elses_rows_aren_t_displaced_by_a_word_for_kept_ones(
    make_migration: MakeMigration,
) -> None:
    """`kept_rows` lets kept rows go, and nothing that nobody kept."""
    migration = kept(make_migration, FOREIGN["a changed row"][0], STOCK)
    write_on_target(migration, "UPDATE stock SET amount = 77 WHERE id = 1")
    change(migration, "ALTER TABLE stock ADD COLUMN note TEXT")
    error = run_week(migration, 2, acknowledged=frozenset({"kept_rows"}))["stock"]
    assert isinstance(error, ForeignWriteError)
    error = run_week(migration, 2, acknowledged=frozenset({"foreign_writes"}))["stock"]
    assert isinstance(error, GuardError)
    assert "kept_rows" in error.hint
    load_week(migration, 2, acknowledged=frozenset({"all"}))
    assert_equal(migration)


def test_what_cant_be_kept_is_refused(make_migration: MakeMigration) -> None:
    """No reason, or a quarantine that differs: nothing is accepted."""
    migration = make_migration(STOCK, tables={"stock": {"columns": {"amount": {"type": "bigint"}}}})
    change(migration, "INSERT INTO stock VALUES (8, 'odd', 'many')")
    load_week(migration, 1)
    write_on_target(migration, "UPDATE stock SET amount = 99 WHERE id = 2")
    with pytest.raises(SettingsError, match="reason"):
        repair.keep_target(migration, "stock", reason=" ")
    write_on_target(migration, "DELETE FROM migration.quarantine")
    with pytest.raises(GuardError, match="quarantine"):
        repair.keep_target(migration, "stock", reason="agreed")
    assert target_rows(migration, "SELECT FROM migration.exception") == []
