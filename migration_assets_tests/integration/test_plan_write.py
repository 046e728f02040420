"""`plan --write`: the mapping gets into migration.yaml, and nothing else happens to that file."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets import pinning, planning
from migration_assets.errors import SettingsError
from migration_assets.report.plan import Plan
from migration_assets.settings import load
from migration_assets.target.connection import target_of
from migration_assets_tests import command
from migration_assets_tests.fixtures_migration import load_week, migration_of, run_week

SCHEMA = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, price DECIMAL(12,2), placed TEXT, at INTEGER, note TEXT
);
INSERT INTO orders VALUES (1, 1.25, '2026-01-01T10:00:00Z', 1767261600, NULL),
    (2, 7.5, '2026-01-02T10:00:00Z', 1767348000, NULL), (3, 'x', '2026-01-03T10:00:00Z', 5, NULL);
CREATE TABLE visits (page TEXT);
CREATE TABLE log (a);
"""
OURS = """\
# Ours: ask Ada before you change anything
source: app.sqlite
target: embedded   # for now
tables:
  log:
    policy: fail  # it is never wrong
quarantine_rows: 3
"""
ORDERS = """\
  # 3 rows; key: its INTEGER PRIMARY KEY; without a value of their type, so left open: note
  orders:
    key: [id]
    policy: quarantine
    columns:
      # 3 integer
      id: {type: bigint}
      # 2 real, 1 text
      price: {type: text}
      # 3 text (all look like timestamptz YYYY-MM-DDTHH:MM:SSZ); or {type: timestamptz, encoding: "YYYY-MM-DDTHH:MM:SSZ"}
      placed: {type: text}
      # 3 integer
      at: {type: bigint}
"""  # noqa: E501 - as it stands in the file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a source and its settings."""
    with closing(sqlite3.connect(tmp_path / "app.sqlite")) as connection:
        connection.executescript(SCHEMA)
    (tmp_path / "migration.yaml").write_text(OURS, "utf-8")
    return tmp_path


def made(folder: Path) -> Plan:
    """Make the plan of these settings."""
    return planning.make(load({}, folder), None)


def type_in(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Type `plan` with these arguments; return how it ended, and what it printed."""
    done = command.type_in(
        "plan", *arguments, folder=folder, environment={"HOME": str(folder), **environment}
    )
    return done.returncode, done.stdout, done.stderr


def test_the_mapping_is_written_with_its_evidence(folder: Path) -> None:
    """Between the lines of a person, none of which is changed; what they say wins."""
    code, out, _ = type_in(folder, "--write")
    assert code == 0
    assert f"written: {folder / 'migration.yaml'}: log, orders, visits" in out
    assert "nothing was changed" not in out
    written = (folder / "migration.yaml").read_text("utf-8")
    assert ORDERS in written
    assert "    policy: fail  # it is never wrong\n    key: []\n" in written
    before, after = written.split("quarantine_rows")
    assert OURS.startswith(before.partition("    key: []")[0])
    assert after == ": 3\n"


def test_a_second_time_there_is_nothing_to_write(folder: Path) -> None:
    """The file isn't even touched."""
    type_in(folder, "--write")
    before = (folder / "migration.yaml").stat(), (folder / "migration.yaml").read_bytes()
    code, out, _ = type_in(folder, "--write")
    assert code == 0
    assert f"nothing to write: {folder / 'migration.yaml'} says it all" in out
    after = (folder / "migration.yaml").stat(), (folder / "migration.yaml").read_bytes()
    assert (after[0].st_mtime_ns, after[0].st_ino) == (before[0].st_mtime_ns, before[0].st_ino)
    assert after[1] == before[1]


def test_without_write_the_file_is_left_alone(folder: Path) -> None:
    """A plan changes nothing."""
    assert type_in(folder)[0] == 0
    assert (folder / "migration.yaml").read_text("utf-8") == OURS


def test_one_table_can_be_written_alone(folder: Path) -> None:
    """And a machine is told which."""
    code, out, _ = type_in(folder, "--write", "--json", "--table", "orders")
    assert code == 0
    document = json.loads(out)
    assert document["written"] == {
        "file": str(folder / "migration.yaml"),
        "tables": ["orders"],
        "not_written": {},
    }
    placed = document["tables"][0]["columns"][2]
    assert placed["offers"] == [
        {"type": "timestamptz", "encoding": "YYYY-MM-DDTHH:MM:SSZ", "values": 3}
    ]
    assert placed["found"]["classes"] == {"text": 3}
    assert load({}, folder).tables.keys() == {"log", "orders"}
    assert json.loads(type_in(folder, "--json")[1])["written"] is None


def test_ddl_stays_alone_on_standard_output(folder: Path) -> None:
    """What was written is said beside it."""
    code, out, error = type_in(folder, "--write", "--ddl")
    assert code == 0
    assert "written" not in out
    assert "log, orders, visits" in error


@pytest.mark.parametrize("named", [True, False])
def test_without_a_file_init_is_offered(folder: Path, *, named: bool) -> None:
    """Settings may come from the environment alone, but a mapping needs a file."""
    (folder / "migration.yaml").unlink()
    environment = {"MIGRATION_SOURCE": "app.sqlite", "MIGRATION_TARGET": "embedded"}
    if named:
        environment["MIGRATION_CONFIG"] = str(folder / "other.yaml")
    code, _, error = type_in(folder, "--write", **environment)
    assert code == 2
    assert "migration-assets init" in error
    assert not list(folder.glob("*.yaml"))


def test_a_file_elsewhere_is_the_one_that_is_written(folder: Path) -> None:
    """The one that MIGRATION_CONFIG names; a link to it stays one, its rights stay too."""
    there = folder / "etc"
    there.mkdir()
    file = (folder / "migration.yaml").rename(there / "m.yaml")
    file.chmod(0o640)
    link = folder / "link.yaml"
    link.symlink_to(file)
    code, _, _ = type_in(folder, "--write", MIGRATION_CONFIG=str(link))
    assert code == 0
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "orders:" in file.read_text("utf-8")
    assert [f.name for f in there.iterdir()] == ["m.yaml"]


def test_a_change_of_somebody_else_is_not_overwritten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever edits the file while the plan is made keeps what they wrote."""
    file, plan = folder / "migration.yaml", made(folder)
    write_down = os.fsync

    def meanwhile(descriptor: int) -> None:
        write_down(descriptor)
        file.write_text(f"{OURS}weeks: 5\n", "utf-8")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(SettingsError, match="somebody changed it"):
        pinning.write(file, plan)
    assert file.read_text("utf-8") == f"{OURS}weeks: 5\n"
    assert len(list(folder.iterdir())) == 2


def test_a_file_that_cannot_be_added_to_is_left_alone(folder: Path) -> None:
    """An alias stands for the lines of another table."""
    file = folder / "migration.yaml"
    text = OURS.replace("  log:\n", "  log: &x\n") + "  visits: *x\n"
    text = text.replace("quarantine_rows: 3\n", "")
    file.write_text(text, "utf-8")
    code, _, error = type_in(folder, "--write")
    assert code == 2
    assert f"{file}: lines can't be added" in error
    assert file.read_text("utf-8") == text


def test_a_table_that_is_refused_is_not_written(folder: Path) -> None:
    """Nothing is known of what it would become; the others are."""
    file = folder / "migration.yaml"
    file.write_text(OURS.replace("policy: fail", "key: [b]"), "utf-8")
    code, out, _ = type_in(folder, "--write")
    assert code == 1
    assert "orders, visits\n" in out
    assert "not written: log: " in out
    assert "has no column b" in out


def test_what_was_written_loads_the_same_mapping(folder: Path, target_url: str) -> None:
    """Also after the first load: what is pinned is what is sealed."""
    file = folder / "migration.yaml"
    file.write_text(OURS.replace("embedded", target_url), "utf-8")
    plain = migration_of(folder / "app.sqlite", folder / "state", target_url)
    sealed = load_week(plain, 1)["orders"].mapping
    settings = load({}, folder)
    pinning.write(file, planning.make(settings, target_of(settings)))
    pinned = load({}, folder).override("orders")
    assert pinned.key == sealed.key
    assert [pinned.column(c.name).type for c in sealed.columns] == [
        None if c.open else c.type.sql for c in sealed.columns
    ]
    done = run_week(migration_of(folder / "app.sqlite", folder / "state", target_url), 2)
    assert not [error for error in done.values() if isinstance(error, Exception)]
