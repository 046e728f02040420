"""Tables with a transform through the weeks: what it makes of a row is what is proved."""

import secrets
import shutil
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from migration_assets import standing
from migration_assets.errors import MigrationError, ProofError, TransformError
from migration_assets.migration import Migration
from migration_assets.target.embedded import EmbeddedServer, ensure_database
from migration_assets_tests import command, transforms
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    entries,
    load_week,
    run_week,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.telling import telling

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, price TEXT, n INTEGER, at INTEGER NOT NULL);
INSERT INTO item VALUES (1, '1,50', 7, 0), (2, '2,25', 12, 86400), (3, NULL, NULL, 5);
"""
LINES = ITEMS.replace(" PRIMARY KEY", "") + "INSERT INTO item VALUES (1, '1,50', 7, 0);"
ROWS = "SELECT DISTINCT id, price::text, n, at FROM item ORDER BY id"


def load_first(make_migration: MakeMigration, function: str, schema: str = ITEMS) -> Migration:
    """Return a migration whose first week went through a transform."""
    name = f"migration_assets_tests.transforms:{function}"
    migration = make_migration(schema, quarantine_rows=10, tables={"item": {"transform": name}})
    load_week(migration, 1)
    return migration


def test_a_column_that_was_renamed_is_all_that_changed(make_migration: MakeMigration) -> None:
    """What the transform need not promise of it, the source did before and does still."""
    migration = load_first(make_migration, "same")
    change(migration, "ALTER TABLE item RENAME COLUMN at TO AT")
    moved = load_week(migration, 2)["item"]
    assert moved.changes == ("column AT was called at",)
    assert_proved(migration, "item")


def test_a_transform_that_was_changed_comes_with_the_way_out(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its old name nothing tells it from a target that somebody changed; it needs a new."""
    migration = load_first(make_migration, "same")
    monkeypatch.setattr(transforms, "same", transforms.doubled)
    change(migration, "UPDATE item SET n = 8 WHERE id = 1")
    error = run_week(migration, 2)["item"]
    assert isinstance(error, MigrationError)
    assert "give the function another name" in error.hint
    load_week(telling(migration, transform="migration_assets_tests.transforms:doubled"), 2)
    assert_proved(migration, "item")


@pytest.mark.parametrize("schema", [ITEMS, LINES])
def test_a_table_with_a_transform_lives_through_its_weeks(
    make_migration: MakeMigration, schema: str
) -> None:
    """Values and types of the transform's making, misfits as they stand at the source."""
    migration = load_first(make_migration, "typed", schema)
    assert target_rows(migration, ROWS) == [
        (1, "1.50", "007", datetime(1970, 1, 1)),  # noqa: DTZ001 - without a zone
        (2, "2.25", "012", datetime(1970, 1, 2)),  # noqa: DTZ001 - without a zone
        (3, None, None, datetime(1970, 1, 1, 0, 0, 5)),  # noqa: DTZ001 - without a zone
    ]
    change(
        migration,
        "UPDATE item SET price = '9,75' WHERE id = 2",
        "UPDATE item SET n = 'many' WHERE id = 1",
        "DELETE FROM item WHERE id = 3",
        "INSERT INTO item VALUES (4, '0,10', 1, 1)",
    )
    load_week(migration, 2)
    assert [row[:3] for row in target_rows(migration, ROWS)] == [
        (2, "9.75", "012"),
        (4, "0.10", "001"),
    ]
    assert target_rows(
        migration, 'SELECT DISTINCT unfit_columns, "values"[2:3] FROM migration.quarantine'
    ) == [(["n"], [b"1,50", b"many"])]
    assert_proved(migration, "item")
    change(migration, "UPDATE item SET n = 3 WHERE id = 1")
    moved = load_week(migration, 3)["item"]
    assert moved.proof.quarantined_rows == 0
    assert (moved.updated, moved.deleted) == (0, 0)
    assert moved.round_trip is not None
    assert (moved.round_trip.changed_rows, moved.round_trip.differences) == (moved.inserted, ())
    assert_proved(migration, "item")
    load_week(migration, 4)
    assert entries(migration, "item")[-1][2:] == (0, 0, 0)


@pytest.mark.parametrize("schema", [ITEMS, LINES])
def test_a_write_into_a_transformed_column_is_seen(
    make_migration: MakeMigration, schema: str
) -> None:
    """By the digest, which is of the transformed value, and by reading rows back."""
    migration = load_first(make_migration, "typed", schema)
    write_on_target(migration, "UPDATE item SET n = '7' WHERE id = 1")
    found = standing.verify(migration, "item")
    assert found is not None
    assert not found.proof.holds
    assert found.inspection.round_trip.differences
    write_on_target(migration, "UPDATE item SET n = '007' WHERE id = 1")
    assert_proved(migration, "item")


def test_rows_that_the_cut_does_not_have_are_told_from_those_it_has(
    make_migration: MakeMigration,
) -> None:
    """Reading back compares each row with its own, whichever others are missing in the cut."""
    migration = load_first(make_migration, "typed")
    write_on_target(
        migration,
        "INSERT INTO item SELECT i, 1, 'x', now() FROM unnest(ARRAY[-5, 9, 10]) AS i",
        "UPDATE item SET n = n WHERE id IN (2, 3)",  # so that they are read last
    )
    found = standing.inspect(migration, "item")
    assert found is not None
    assert {(d.key, d.what) for d in found.round_trip.differences} == {
        (f"id={number}", "comes back as a row that the cut doesn't have") for number in (-5, 9, 10)
    }


def test_a_transform_that_looks_at_other_rows_is_caught_by_the_proof(
    make_migration: MakeMigration,
) -> None:
    """Where the first load had nothing to find it by: a week's changes are not the whole cut."""
    one_row = ITEMS + "DELETE FROM item WHERE id > 1;"
    migration = load_first(make_migration, "batch_total", one_row)
    change(migration, "INSERT INTO item VALUES (2, '2,25', 12, 0), (3, '1,00', 1, 0)")
    error = run_week(migration, 2)["item"]
    assert isinstance(error, ProofError)
    assert target_rows(migration, "SELECT id, n FROM item") == [(1, 7)]


def test_a_transform_that_fails_stops_its_table_before_anything_is_written(
    make_migration: MakeMigration,
) -> None:
    """The error names table, week and function; the attempt is noted, and what stands stays."""
    migration = load_first(make_migration, "typed")
    change(migration, "UPDATE item SET price = 'a secret' WHERE id = 2")
    error = run_week(migration, 2)["item"]
    assert isinstance(error, TransformError)
    assert error.where == f"table item, week {week(2)}"
    assert "secret" not in str(error)
    assert [row[1] for row in target_rows(migration, ROWS)] == ["1.50", "2.25", None]
    change(migration, "UPDATE item SET price = '3,00' WHERE id = 2")
    load_week(migration, 3)
    assert_proved(migration, "item")


def test_the_module_is_found_beside_the_settings(
    make_migration: MakeMigration,
    tmp_path: Path,
    target_url: str,
    dagster_storage: dict[str, str],
) -> None:
    """By a command in a process of its own, and by the steps that Dagster starts from there."""
    settings = tmp_path / "settings"
    settings.mkdir()
    code = Path(str(transforms.__file__)).read_text("utf-8")
    (settings / "beside_settings.py").write_text(code, "utf-8")
    fields = {
        "source": "../app.sqlite",
        "state": "../state",
        "first_week": str(week(1)),
        "tables": {"item": {"transform": "beside_settings:typed"}},
    }
    (settings / "migration.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    shutil.copy(command.ROOT / "dagster.yaml", tmp_path)
    migration = make_migration(ITEMS)
    done = command.run(
        *("run", "--week", str(week(1))),
        folder=tmp_path,
        environment={
            "HOME": str(tmp_path),
            "MIGRATION_CONFIG": "settings/migration.yaml",
            "MIGRATION_TARGET": target_url,
            **dagster_storage,
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row[1] for row in target_rows(migration, ROWS)] == ["1.50", "2.25", None]


@pytest.fixture
def dagster_storage(postgres: EmbeddedServer) -> dict[str, str]:
    """Return the environment by which Dagster finds a database of its own on the tests' server."""
    name = f"test_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    url = urlsplit(postgres.url(name))
    return {
        "DAGSTER_PG_HOST": str(url.hostname),
        "DAGSTER_PG_PORT": str(url.port),
        "DAGSTER_PG_USERNAME": str(url.username),
        "DAGSTER_PG_PASSWORD": str(url.password),
        "DAGSTER_PG_DB": name,
    }
