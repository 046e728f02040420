"""A cutover that is killed anywhere, run again: the same end, once."""

import signal

from migration_assets import standing
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import MakeMigration, change, entries, target_rows
from migration_assets_tests.integration.test_cutover import (
    NOW,
    assert_cut_over,
    cut_over,
    shop,
)
from migration_assets_tests.processes import die_in_cutover, exit_code, started

STAGES = (
    *("cut", "moved customer", "signed", "identities", "making checks"),
    *("made checks", "made lengths", "made foreign keys", "cleaned", "drafted", "held"),
)
BEFORE_OBJECTS = STAGES[: STAGES.index("made checks")]


def kill_at(migration: Migration, stage: str) -> None:
    """Run the cutover until it is killed at a stage."""
    assert exit_code(started(die_in_cutover, migration, NOW, stage)) == -signal.SIGKILL, stage


def made(migration: Migration) -> int:
    """Count the CHECKs and foreign keys of the target's tables."""
    ((found,),) = target_rows(
        migration,
        "SELECT count(*) FROM pg_constraint WHERE contype IN ('c', 'f')"
        " AND connamespace = 'public'::regnamespace",
    )
    return found


def test_a_cutover_killed_at_every_stage_ends_as_one_that_was_not(
    make_migration: MakeMigration,
) -> None:
    """Each run goes on where the one before was killed; the source was cut and moved to once."""
    migration = shop(make_migration)
    for stage in STAGES:
        kill_at(migration, stage)
        if stage in BEFORE_OBJECTS:
            assert made(migration) == 0, stage
        if stage != "held":
            assert standing.holds(migration) == {}, stage
    document = cut_over(migration)
    assert_cut_over(migration)
    assert len([k for k in migration.state.keys("cuts") if k.endswith("manifest.json")]) == 2
    for table in ("customer", "product", "log"):
        assert len(entries(migration, table)) == 2, table
    assert len(document["made"]) == 10
    assert len(document["sign_offs"]) == 4
    assert list((migration.settings.state / "work").iterdir()) == []


def test_a_source_that_went_on_after_objects_were_made_is_cut_anew(
    make_migration: MakeMigration,
) -> None:
    """What was made is dropped again: foreign keys would not let tables move one by one."""
    migration = shop(make_migration)
    kill_at(migration, "made views")
    assert made(migration) == 6
    change(
        migration,
        "UPDATE customer SET favourite = NULL, boss = NULL",
        "UPDATE product SET best_customer = NULL",
        "DELETE FROM product WHERE id = 8",
        "INSERT INTO product (id, code, price) VALUES (8, 'way too long', 2.5)",
        "DELETE FROM product WHERE id = 8",
        "INSERT INTO product (id, code, price) VALUES (20, 'new', 200)",
        "INSERT INTO customer (id, mail, name, favourite) VALUES (20, 'n@x', 'Anna', 20)",
        "UPDATE customer SET favourite = 7 WHERE id = 1",
        "DELETE FROM customer WHERE id = 20",
    )
    document = cut_over(migration)
    assert "10 objects were dropped again" in " ".join(s["what"] for s in document["stages"])
    assert_cut_over(migration)
