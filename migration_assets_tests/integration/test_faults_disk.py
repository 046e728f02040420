"""A disk that is full, on our side and on the server's: said, nothing half done, and then on."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from migration_assets import step
from migration_assets.errors import StateError, TargetError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.target.embedded_programs import system_account
from migration_assets_tests.debian_postgres import give
from migration_assets_tests.fixtures_faults import Server, Tally, patient
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    entries,
    load_week,
    migration_of,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.processes import exit_code, run_limited, started
from migration_assets_tests.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.usefixtures("short_pauses")
ROOM = 4_000_000  # bytes
BULK = """
CREATE TABLE bulk (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO bulk SELECT i, randomblob(1000) FROM n;
"""
LITTLE, MUCH = BULK.format(rows=100), BULK.format(rows=6_000)
GROWN = "INSERT INTO bulk (body) SELECT randomblob(1000) FROM bulk, (SELECT 1 FROM bulk LIMIT 59)"
FULL = re.compile("53100|XX000")  # disk full; or, of a limit in its place, an internal error


def files(folder: Path) -> set[Path]:
    """Return every file of cuts and deltas, half ones too."""
    return {f for name in ("cuts", "deltas", "work") for f in (folder / name).rglob("*")} - {
        folder / "work"
    }


@pytest.mark.parametrize("number", [1, 2], ids=["first week", "second week"])
def test_a_state_folder_without_room_for_a_week_keeps_the_last_one_whole(
    make_migration: MakeMigration, tally: Tally, number: int
) -> None:
    """The cut finds no room: named, nothing half there, and the week goes through with room."""
    made = make_migration(LITTLE if number == 2 else MUCH)
    with small_disk(ROOM) as disk:
        state = disk.folder / "state"
        migration = migration_of(made.settings.source, state, made.target.url)
        if number == 2:
            load_week(migration, 1)
            change(migration, GROWN)
        step.bootstrap(migration)
        before, stood = files(state), snapshot(migration)
        answer = made.settings.source.with_name("answer")
        full = started(run_limited, migration, "bulk", week(number), disk.limit, answer)
        assert exit_code(full) == 0
        kind, _, said = answer.read_text("utf-8").partition("\n")
        assert kind == StateError.__name__, said
        assert "the next week needs" in said or "the disk is full, or a limit is reached" in said
        assert "free space where the state folder lies" in said
        tally.fault()
        assert files(state) == before
        assert snapshot(migration) == stood
        disk.free_space()
        load_week(migration, number)
        tally.finished(migration, weeks=number)


@pytest.fixture
def cramped(
    make_migration: MakeMigration, own_server: Server, tally: Tally
) -> Iterator[tuple[Migration, SmallDisk]]:
    """Return a migration whose tables, staging too, lie on a small disk of the server's."""
    made = own_server.of(make_migration(LITTLE))
    name = str(conninfo.conninfo_to_dict(made.target.url)["dbname"])
    with small_disk(ROOM) as disk:
        give(system_account(), disk.folder)
        with psycopg.connect(own_server.server.url("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder}'".encode())
            for setting in ("default_tablespace", "temp_tablespaces"):
                admin.execute(f"ALTER DATABASE {name} SET {setting} TO small".encode())
            yield patient(made, tally), disk
            disk.free_space(own_server.server.pid)
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            admin.execute("DROP TABLESPACE small")


@pytest.mark.parametrize("number", [1, 2], ids=["first load", "weekly delta"])
def test_a_target_without_room_for_a_week_stays_where_it_was(
    cramped: tuple[Migration, SmallDisk], own_server: Server, tally: Tally, number: int
) -> None:
    """The server has no room for staged rows: terminal, noted, and done once there is room."""
    migration, disk = cramped
    if number == 2:
        load_week(migration, 1)
    change(migration, GROWN)
    step.take_cut(migration, week(number))
    step.bootstrap(migration)
    before = snapshot(migration)
    disk.limit_server(own_server.server.pid)
    with pytest.raises(TargetError) as raised:
        carry(migration, number, "bulk")
    assert FULL.search(raised.value.what)
    if disk.mounted:
        assert "the target's disk is full: free space" in raised.value.hint
    tally.fault()
    assert tally.repetitions == 0, "it would be as full the next time"
    assert snapshot(migration) == before
    assert target_rows(migration, "SELECT error FROM migration.attempt") == [("TargetError",)]
    disk.free_space(own_server.server.pid)
    assert carry(migration, number, "bulk").outcome is Outcome.LOADED
    assert [e[0] for e in entries(migration, "bulk")] == [week(n + 1) for n in range(number)]
    tally.finished(migration, weeks=number)


def test_a_limit_on_temporary_files_is_named_with_the_way_out(
    make_migration: MakeMigration, tally: Tally
) -> None:
    """`temp_file_limit` of the role or the server: sorting for an index, or a join, reaches it."""
    migration = patient(make_migration(MUCH), tally)
    step.take_cut(migration, week(1))
    (name,) = target_rows(migration, "SELECT current_database()")[0]
    write_on_target(
        migration,
        f"ALTER DATABASE {name} SET temp_file_limit TO '64kB'",
        f"ALTER DATABASE {name} SET work_mem TO '64kB'",
        f"ALTER DATABASE {name} SET hash_mem_multiplier TO 1",
        f"ALTER DATABASE {name} SET maintenance_work_mem TO '1MB'",
    )
    change(migration, "CREATE INDEX by_body ON bulk (body)")
    with pytest.raises(TargetError) as raised:
        load_week(migration, 2)
    assert "53400" in raised.value.what
    assert "temp_file_limit: raise it for the loader's role" in raised.value.hint
    tally.fault()
    write_on_target(migration, f"ALTER DATABASE {name} RESET temp_file_limit")
    load_week(migration, 2)
    tally.finished(migration)
