"""Damaged files of the state folder are named, and made again from what is left of them."""

import json
import logging
from pathlib import Path

import pytest

from migration_assets import manifests, step
from migration_assets.defs.known import tables_of
from migration_assets.errors import StateError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.model import Delta
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.source.catalog import cached
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    carry,
    change,
    load_week,
    week,
)

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'one');"


@pytest.fixture
def migration(make_migration: MakeMigration) -> Migration:
    """Return a migration at its first week, with a second week's cut and delta."""
    made = make_migration(SCHEMA)
    load_week(made, 1)
    change(made, "INSERT INTO t VALUES (2, 'two')")
    step.take_cut(made, week(2))
    step.make_delta(made, "t", week(2))
    return made


def stored(migration: Migration) -> Delta:
    """Return the second week's delta."""
    found = delta_files.find(migration.state, "main", "t", week(2))
    assert found is not None
    return found


def flip(path: Path, place: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def manifest_of_delta(migration: Migration) -> Path:
    """Return the file of the second week's delta's manifest."""
    return stored(migration).rows_path.with_name("manifest.json")


def damage(migration: Migration, what: str) -> str:
    """Damage a part of the stored delta; return how it is to be named."""
    delta = stored(migration)
    if what == "rows":
        flip(delta.rows_path, 40)
        return f"the file {delta.rows_path.name} is missing, damaged or was changed"
    if what == "misfits":
        delta.misfits_path.unlink()
        return f"the file {delta.misfits_path.name} is missing, damaged or was changed"
    manifest = manifest_of_delta(migration)
    text = manifest.read_text("utf-8")
    manifest.write_text(
        text.replace('"inserts": 1', '"inserts": 3') if what == "figure" else text[:-20], "utf-8"
    )
    return "its manifest is damaged or was changed"


PARTS = ("rows", "misfits", "figure", "manifest")


@pytest.mark.parametrize("what", PARTS)
def test_a_damaged_delta_is_named_and_made_again_when_it_is_asked_for(
    migration: Migration, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """In the log, and in the delta that takes its place."""
    said = damage(migration, what)
    with caplog.at_level(logging.WARNING):
        again = step.make_delta(migration, "t", week(2))
    assert again.rebuilt == f"delta of table t, week {week(2)}: {said}"
    assert f"{again.rebuilt}; it is made again from its cuts" in caplog.text
    assert (again.inserts, stored(migration)) == (1, again)
    delta_files.check(again)


@pytest.mark.parametrize("what", PARTS)
def test_a_delta_that_is_damaged_before_its_load_is_named_by_the_load(
    migration: Migration, what: str
) -> None:
    """The step goes on with one that it makes itself, and is proved."""
    said = damage(migration, what)
    moved = carry(migration, 2, "t")
    assert moved.notes == (f"delta of table t, week {week(2)}: {said}; it was made again",)
    assert (moved.inserted, moved.outcome) == (1, Outcome.LOADED)
    assert_equal(migration)


def test_a_sound_delta_is_not_called_damaged(migration: Migration) -> None:
    """Made twice or loaded, nothing is noted."""
    assert step.make_delta(migration, "t", week(2)).rebuilt == ""
    assert carry(migration, 2, "t").notes == ()


def test_a_damaged_delta_of_a_covered_week_is_named(migration: Migration) -> None:
    """There is nothing to load, but a disk may be failing."""
    carry(migration, 2, "t")
    damage(migration, "rows")
    assert "is missing, damaged" in step.make_delta(migration, "t", week(2)).rebuilt


def without_checksum(file: Path) -> None:
    """Write a manifest as earlier releases did."""
    fields = json.loads(file.read_text("utf-8"))
    del fields["checksum"]
    file.chmod(0o600)
    file.write_text(json.dumps(fields, indent=1), "utf-8")


def test_manifests_of_earlier_releases_stay_readable(migration: Migration) -> None:
    """They have no checksum."""
    delta, cut = stored(migration), cuts.cuts(migration.state, "main")[0]
    without_checksum(manifest_of_delta(migration))
    without_checksum(cut.path.with_name("manifest.json"))
    assert stored(migration) == delta
    assert cuts.cuts(migration.state, "main")[0] == cut


@pytest.mark.parametrize("how", ["figure", "cut off", "not text", "another week", "gone"])
def test_a_damaged_manifest_of_a_cut_is_named_and_made_again(
    migration: Migration, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Its file's name and content tell everything but when it was taken."""
    cut = cuts.cuts(migration.state, "main")[0]
    file = cut.path.with_name("manifest.json")
    text = file.read_text("utf-8")
    file.chmod(0o600)
    if how == "figure":
        file.write_text(text.replace(f'"pages": {cut.pages}', '"pages": 77'), "utf-8")
    elif how == "cut off":
        file.write_text(text[:-20], "utf-8")
    elif how == "not text":
        file.write_bytes(b"\xff\xfe" + bytes(50))
    elif how == "another week":
        fields = manifests.loads(text)
        file.write_text(manifests.dumps(fields | {"week": "2026-10-11"}), "utf-8")
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING):
        found = cuts.find(migration.state, "main", cut.id)
    assert f"the manifest of cut {cut.id} was damaged" in caplog.text
    assert (found.id, found.sha256, found.size) == (cut.id, cut.sha256, cut.size)
    assert (found.pages, found.page_size, found.fingerprint) == (
        cut.pages,
        cut.page_size,
        cut.fingerprint,
    )
    assert cuts.cuts(migration.state, "main")[0] == found
    caplog.clear()
    load_week(migration, 2)
    assert_equal(migration)
    assert caplog.text == ""


def test_a_cut_whose_file_is_another_has_no_way_back_but_its_backup(migration: Migration) -> None:
    """A manifest is never made from a file that isn't the one it named."""
    cut = cuts.cuts(migration.state, "main")[1]
    file = cut.path.with_name("manifest.json")
    file.chmod(0o600)
    file.write_text("{}", "utf-8")
    flip(cut.path, 5000)
    with pytest.raises(StateError) as caught:
        carry(migration, 2, "t")
    assert "can't be read, nor can it be made again" in caught.value.what
    assert str(file) in caught.value.where
    assert f"if no table stands at {week(2)}" in caught.value.hint
    assert f"remove {cut.path.parent} instead" in caught.value.hint


def test_a_damaged_cut_that_no_table_stands_at_is_taken_anew_as_it_says(
    migration: Migration,
) -> None:
    """The error names the folder; without it the week's cut is taken again."""
    cut = cuts.cuts(migration.state, "main")[1]
    flip(cut.path, 5000)
    with pytest.raises(StateError) as caught:
        carry(migration, 2, "t")
    assert f"cut {cut.id}" in caught.value.where
    assert f"remove {cut.path.parent} instead" in caught.value.hint
    for key in migration.state.keys(f"cuts/main/{week(2)}"):
        migration.state.remove(key)
    load_week(migration, 2)
    assert_equal(migration)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tables": 3}', "null"])
def test_a_damaged_cached_catalog_is_made_again(
    migration: Migration, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """It is a cache; the source is read instead."""
    migration.state.write_text("catalog/main.json", text)
    with caplog.at_level(logging.WARNING):
        assert tables_of(migration.settings) == ["t"]
    assert cached(migration.state, "main") is not None
    assert ("damaged" in caplog.text) == bool(text)
