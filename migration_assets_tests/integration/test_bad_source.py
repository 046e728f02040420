"""Bad sources and state folders: a clear stop, nothing lost, and then the week goes on."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from migration_assets import step
from migration_assets.errors import MigrationError, SourceBusyError, SourceError, StateError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    migration_of,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.fixtures_sqlite import NOBODY, plain_user
from migration_assets_tests.processes import FullState, exit_code, run_limited, started

SECRET = "r0w-VALUE-marker"  # noqa: S105 - a marker that no message may contain
SHOP = f"""
PRAGMA journal_mode = {{journal}};
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE visit (page TEXT, at DATETIME);
INSERT INTO customer VALUES (1, '{SECRET} one'), (2, '{SECRET} two'), (3, 'three');
INSERT INTO visit VALUES ('/', '2026-05-06 07:08:09'), ('/', '2026-05-06 07:08:09');
"""
DELETE_MODE, WAL_MODE = SHOP.format(journal="DELETE"), SHOP.format(journal="WAL")
WEEK = ("UPDATE customer SET name = 'new' WHERE id = 1", "INSERT INTO visit VALUES ('/b', NULL)")
CUSTOMERS = "SELECT * FROM customer ORDER BY id"
JOURNALS = ("DELETE", "WAL")


def kept(migration: Migration) -> tuple[object, list[str]]:
    """Return everything that a refused week must leave as it was: the target and the state."""
    files = [k for k in migration.state.keys("") if not k.startswith("locks/")]
    return snapshot(migration), files


def refused(migration: Migration, number: int) -> MigrationError:
    """Run a week that its source stops; the error is whole, and nothing is changed by it."""
    before = kept(migration)
    with pytest.raises(MigrationError) as caught:
        run_week(migration, number)
    assert kept(migration) == before
    error = caught.value
    assert error.what
    assert str(migration.settings.source) in error.where
    assert error.hint
    assert SECRET not in str(error)
    return error


def goes_on(migration: Migration, number: int) -> None:
    """Run a week of a mended source: its changes arrive, and both judges agree."""
    change(migration, *WEEK)
    load_week(migration, number)
    assert_equal(migration)
    assert_proved(migration, "customer", "visit")


# ---- what is no database

Spoil = Callable[[Path, bytes], object]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a directory": (lambda path, _: path.mkdir(), "not a file"),
    "missing": (lambda _path, _: None, "no such file"),
    "empty": (lambda path, _: path.write_bytes(b""), "the file is empty"),
    "encrypted": (
        lambda path, sound: path.write_bytes(Random(7).randbytes(len(sound))),
        "no SQLite database",
    ),
    # SQLCipher's `cipher_plaintext_header_size = 32`, as on iOS
    "encrypted but for its first bytes": (
        lambda path, sound: path.write_bytes(sound[:32] + Random(7).randbytes(len(sound) - 32)),
        "encrypted, or its header is damaged",
    ),
    "cut off": (lambda path, sound: path.write_bytes(sound[: len(sound) // 2]), "damaged"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_source_that_is_none_stops_the_week_until_it_is_mended(
    make_migration: MakeMigration, spoilt: str
) -> None:
    """The second week says what the file is instead; the first week's load stays as it was."""
    spoil, what = SPOILT[spoilt]
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    source = migration.settings.source
    aside = source.rename(source.with_name("aside"))
    spoil(source, aside.read_bytes())
    error = refused(migration, 2)
    assert isinstance(error, SourceError)
    assert what in error.what
    shutil.rmtree(source) if source.is_dir() else source.unlink(missing_ok=True)
    aside.rename(source)
    goes_on(migration, 2)


def test_an_encrypted_source_is_told_the_way_out(make_migration: MakeMigration) -> None:
    """Nobody can read it but its application, which can export a copy."""
    migration = make_migration(DELETE_MODE)
    source = migration.settings.source
    for sound_bytes in (0, 32):
        content = source.read_bytes()
        source.write_bytes(content[:sound_bytes] + Random(7).randbytes(8192))
        with pytest.raises(SourceError, match="export a plain copy"):
            step.take_cut(migration, week(1))
        source.write_bytes(content)


@contextmanager
def elsewhere(shared_folder: Path, url: str, journal: str) -> Iterator[Migration]:
    """Yield a migration that every user may enter, loaded by a plain user who owns all of it."""
    source, state = shared_folder / "app" / "app.sqlite", shared_folder / "state"
    for folder in (source.parent, state):
        folder.mkdir()
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(SHOP.format(journal=journal))
    if os.geteuid() == 0:
        for path in (source.parent, source, state):
            os.chown(path, NOBODY, NOBODY)
    with plain_user():
        migration = migration_of(source, state, url)
        load_week(migration, 1)
        yield migration


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_source_that_became_unreadable_stops_the_week_until_it_is_opened(
    shared_folder: Path, target_url: str, closed: str
) -> None:
    """Permissions of the file and of its folder; a plain user reads again once they are back."""
    with elsewhere(shared_folder, target_url, "DELETE") as migration:
        path = migration.settings.source if closed == "file" else migration.settings.source.parent
        mode = path.stat().st_mode
        path.chmod(0o000)
        error = refused(migration, 2)
        assert isinstance(error, SourceError)
        assert "permission denied" in error.what
        path.chmod(mode)
        goes_on(migration, 2)


if os.geteuid() == 0:  # only root can make a file that is another user's

    def test_a_wal_source_that_became_another_users_stops_the_week_until_it_is_given_back(
        shared_folder: Path, target_url: str
    ) -> None:
        """Nothing is left beside it that would keep its application from writing."""
        with elsewhere(shared_folder, target_url, "WAL") as migration:
            source = migration.settings.source
            os.seteuid(0)
            os.chown(source, 0, 0)
            os.seteuid(NOBODY)
            error = refused(migration, 2)
            assert isinstance(error, SourceError)
            assert "belongs to another user" in error.what
            assert "uid 0" in error.expected
            assert [p.name for p in source.parent.iterdir()] == ["app.sqlite"]
            os.seteuid(0)
            os.chown(source, NOBODY, NOBODY)
            os.seteuid(NOBODY)
            goes_on(migration, 2)


# ---- locked, written to


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_source_that_is_locked_for_long_is_busy_and_done_the_next_time(
    make_migration: MakeMigration, journal: str
) -> None:
    """Given up within the bound, as something that may pass by itself."""
    migration = make_migration(SHOP.format(journal=journal), source_timeout=0.3)
    load_week(migration, 1)
    with closing(sqlite3.connect(migration.settings.source, isolation_level=None)) as application:
        application.execute("PRAGMA locking_mode = EXCLUSIVE")
        application.execute("BEGIN EXCLUSIVE")
        application.execute("INSERT INTO visit VALUES ('/open', NULL)")
        began = monotonic()
        assert isinstance(refused(migration, 2), SourceBusyError)
        assert monotonic() - began < 10
        application.execute("ROLLBACK")
    goes_on(migration, 2)


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_source_that_is_locked_for_a_moment_is_waited_for(
    make_migration: MakeMigration, journal: str
) -> None:
    """What the lock's holder commits in the end is part of the week."""
    migration = make_migration(SHOP.format(journal=journal), source_timeout=60)
    load_week(migration, 1)
    with closing(
        sqlite3.connect(migration.settings.source, isolation_level=None, check_same_thread=False)
    ) as application:
        application.execute("PRAGMA locking_mode = EXCLUSIVE")
        application.execute("BEGIN EXCLUSIVE")
        application.execute("INSERT INTO customer VALUES (9, 'at last')")

        def release() -> None:
            application.execute("COMMIT")
            application.close()  # in WAL mode the lock goes with the connection only

        timer = threading.Timer(0.5, release)
        timer.start()
        load_week(migration, 2)
        timer.join()
    assert target_rows(migration, "SELECT name FROM customer WHERE id = 9") == [("at last",)]
    assert_equal(migration)


def test_what_is_committed_but_not_checkpointed_arrives(make_migration: MakeMigration) -> None:
    """All of the week stands in the `-wal` alone, and the application keeps the file open."""
    migration = make_migration(WAL_MODE)
    load_week(migration, 1)
    source = migration.settings.source
    with closing(sqlite3.connect(source, isolation_level=None)) as application:
        application.execute("PRAGMA wal_autocheckpoint = 0")
        before = source.read_bytes()
        for statement in (*WEEK, "DELETE FROM customer WHERE id = 2"):
            application.execute(statement)
        assert source.read_bytes() == before, "nothing was checkpointed"
        load_week(migration, 2)
        assert source.read_bytes() == before, "the source is not checkpointed by us"
        assert_equal(migration)
    assert entries(migration, "customer")[-1][2:] == (0, 1, 1)


ACCOUNTS = """
PRAGMA page_size = 512;
PRAGMA journal_mode = {journal};
CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, filler TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO account SELECT i, 100, hex(zeroblob(150)) FROM n;
"""
TRANSFER = "UPDATE account SET amount = amount + CASE id WHEN 1 THEN -1 ELSE 1 END"


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_writer_that_never_stops_neither_stops_a_week_nor_shows_half_a_transaction(
    make_migration: MakeMigration, journal: str
) -> None:
    """Two weeks while amounts move between accounts: their sum stays, and the time is bounded."""
    migration = make_migration(ACCOUNTS.format(journal=journal), source_timeout=30)
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        path = migration.settings.source
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as application:
            while not stop.is_set():
                application.execute(f"{TRANSFER} WHERE id IN (1, 6000)")
                began.set()
                stop.wait(0.002)  # an application breathes; one that doesn't keeps all readers out

    writer = threading.Thread(target=write)
    writer.start()
    try:
        began.wait()
        for number in (1, 2):
            started_at = monotonic()
            cut = step.take_cut(migration, week(number))
            assert monotonic() - started_at < 60
            load_week(migration, number)
            assert target_rows(migration, "SELECT sum(amount) FROM account") == [(600_000,)]
            assert_equal(migration, file=cut.path)
    finally:
        stop.set()
        writer.join()


# ---- tables that vanish, a source that goes back


def test_a_table_that_vanished_between_two_weeks_is_named_and_carried_when_it_is_back(
    make_migration: MakeMigration,
) -> None:
    """The other table goes on; the target keeps what the last week loaded."""
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    rows = target_rows(migration, CUSTOMERS)
    change(migration, "ALTER TABLE customer RENAME TO hidden", WEEK[1])
    done = run_week(migration, 2, tables=["customer", "visit"])
    error = done["customer"]
    assert isinstance(error, SourceError)
    assert "table customer, week 2026-10-11: the table is not in this cut" in str(error)
    assert "restore it, or add it to `exclude` in migration.yaml" in error.hint
    assert isinstance(done["visit"], Moved)
    assert target_rows(migration, CUSTOMERS) == rows
    change(migration, "ALTER TABLE hidden RENAME TO customer", WEEK[0])
    load_week(migration, 3)
    assert_equal(migration)
    assert [(e[0], e[1]) for e in entries(migration, "customer")] == [
        (week(1), None),
        (week(3), week(1)),
    ]


def test_a_table_that_vanishes_between_delta_and_load_is_loaded_from_the_cut(
    make_migration: MakeMigration,
) -> None:
    """The week is what the source was when it was cut; the next one says that the table is gone."""
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    change(migration, *WEEK)
    cut = step.take_cut(migration, week(2))
    step.make_delta(migration, "customer", week(2))
    change(migration, "DROP TABLE customer")
    carry(migration, 2, "customer")
    assert_equal(migration, "customer", file=cut.path)
    error = run_week(migration, 3, tables=["customer"])["customer"]
    assert isinstance(error, SourceError)
    assert_equal(migration, "customer", file=cut.path)


@pytest.mark.parametrize("stage", ["delta", "prepared", "locked"])
def test_a_table_that_vanishes_on_the_target_during_a_run_is_named_and_not_made_again(
    make_migration: MakeMigration, stage: str
) -> None:
    """Between delta and load, and inside the step; put back, the same week goes through."""
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))
    step.make_delta(migration, "customer", week(2))

    def at(reached: str) -> None:
        if reached == stage:
            write_on_target(migration, "ALTER TABLE customer RENAME TO elsewhere")

    at("delta")
    with pytest.raises(MigrationError, match=r"public\.customer is gone[\s\S]*restore it"):
        carry(migration, 2, "customer", at=at)
    write_on_target(migration, "ALTER TABLE elsewhere RENAME TO customer")
    load_week(migration, 2)
    assert_equal(migration)


@pytest.mark.parametrize("how", ["replaced", "written over"])
@pytest.mark.parametrize("journal", JOURNALS)
def test_a_source_restored_from_a_backup_takes_the_target_back_with_it(
    make_migration: MakeMigration, journal: str, how: str
) -> None:
    """Older content under a newer week: what was inserted goes, what was deleted comes back."""
    migration = make_migration(SHOP.format(journal=journal))
    load_week(migration, 1)
    source = migration.settings.source
    backup = source.with_name("backup.sqlite")
    shutil.copy(source, backup)
    change(
        migration,
        *WEEK,
        "DELETE FROM customer WHERE id = 3",
        "INSERT INTO customer VALUES (4, 'four'), (5, 'five')",
        "DELETE FROM visit WHERE page = '/'",
    )
    load_week(migration, 2)
    assert_equal(migration)
    if how == "replaced":
        backup.replace(source)
    else:
        source.write_bytes(backup.read_bytes())
    load_week(migration, 3)
    assert_equal(migration)
    assert_proved(migration, "customer", "visit")
    assert [e[2:] for e in entries(migration, "customer")] == [(3, 0, 0), (2, 1, 1), (1, 1, 2)]
    assert target_rows(migration, "SELECT id FROM customer ORDER BY id") == [(1,), (2,), (3,)]


# ---- the state folder: full, closed, lost, damaged

BULK = """
CREATE TABLE bulk (id INTEGER PRIMARY KEY, body BLOB);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
INSERT INTO bulk SELECT i, randomblob(1000) FROM n;
"""
LIMIT = 100_000  # bytes a file may have: less than the source, its delta, and nothing else


@pytest.mark.parametrize("written", ["cut", "delta"])
def test_a_disk_that_is_full_while_a_week_is_written_is_named_and_nothing_is_published(
    make_migration: MakeMigration, tmp_path: Path, written: str
) -> None:
    """A real limit of the operating system on the copy of the source, or on its Parquet file."""
    migration = make_migration(BULK)
    if written == "delta":
        step.take_cut(migration, week(1))
    step.bootstrap(migration)
    before = kept(migration)
    answer = tmp_path / "answer"
    limited = started(run_limited, migration, "bulk", week(1), LIMIT, answer)
    assert exit_code(limited) == 0
    kind, _, said = answer.read_text("utf-8").partition("\n")
    assert kind == StateError.__name__, said
    assert "the disk is full, or a limit is reached" in said
    assert str(migration.settings.state) in said
    assert "free space" in said
    assert kept(migration) == before
    load_week(migration, 1)
    assert_equal(migration)


@pytest.mark.parametrize("full", ["rows", "misfits", "document"])
def test_a_disk_without_a_byte_left_is_named_and_no_half_delta_is_there(
    make_migration: MakeMigration, full: str
) -> None:
    """ENOSPC from the operating system itself, at each file of a delta."""
    migration = make_migration(DELETE_MODE)
    step.take_cut(migration, week(1))
    step.bootstrap(migration)
    before = snapshot(migration)
    state = FullState(migration.settings.state, full)
    stuck = Migration(settings=migration.settings, state=state, target=migration.target)
    with pytest.raises(StateError, match="disk is full") as caught:
        step.make_delta(stuck, "customer", week(1))
    assert "No space left" in caught.value.what
    assert delta_files.find(migration.state, "main", "customer", week(1)) is None
    assert list((migration.settings.state / "work").iterdir()) == []
    with pytest.raises(StateError, match="disk is full"):
        carry(stuck, 1, "customer")
    assert snapshot(migration) == before
    load_week(migration, 1)
    assert_equal(migration)


@pytest.mark.parametrize("closed", ["", "cuts/main", "deltas/main/customer", "work"])
def test_a_state_folder_that_may_not_be_written_stops_the_week_until_it_is_opened(
    shared_folder: Path, target_url: str, closed: str
) -> None:
    """Whichever part of it; cuts that can't be listed are not taken for cuts that aren't there."""
    with elsewhere(shared_folder, target_url, "DELETE") as migration:
        folder = migration.settings.state / closed
        mode = folder.stat().st_mode
        before = target_rows(migration, CUSTOMERS)
        change(migration, *WEEK)
        # cuts that can't be listed, though new ones could be written, would seem to be none
        folder.chmod(0o300 if closed == "cuts/main" else 0o000)
        try:
            with pytest.raises(StateError, match="MIGRATION_STATE") as caught:
                load_week(migration, 2)
            assert str(migration.settings.state) in caught.value.where
            assert target_rows(migration, CUSTOMERS) == before
        finally:
            folder.chmod(mode)
        goes_on(migration, 3)


def test_a_lost_state_folder_names_the_cut_and_where_it_lay(make_migration: MakeMigration) -> None:
    """What has to be restored, and to which place."""
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    cut = cuts.covering(migration.state, "main", week(1))
    assert cut is not None
    shutil.rmtree(migration.settings.state)
    before = snapshot(migration)
    error = run_week(migration, 2, tables=["customer"])["customer"]
    assert isinstance(error, StateError)
    assert cut.id in error.what
    assert str(migration.settings.state / "cuts" / "main") in error.where
    assert "restore the state folder" in error.hint
    assert snapshot(migration) == before


@pytest.mark.parametrize("damage", ["{", "{}", '{"path": 1, "week": "never"}', "other"])
def test_a_damaged_manifest_of_a_cut_is_named_and_no_new_cut_taken(
    make_migration: MakeMigration, damage: str
) -> None:
    """A cut taken in its place would be another one, under the same week.

    Without its file the manifest can't be made again, either.
    """
    migration = make_migration(DELETE_MODE)
    for number in (1, 2):
        load_week(migration, number)
        change(migration, *WEEK)
    manifest = migration.settings.state / "cuts/main/2026-10-11/manifest.json"
    whole = manifest.read_text("utf-8")
    other = manifest.parent.with_name("2026-10-04") / manifest.name
    manifest.write_text(other.read_text("utf-8") if damage == "other" else damage, "utf-8")
    (file,) = manifest.parent.glob("*.sqlite")
    aside = file.rename(file.with_name("aside"))
    with pytest.raises(StateError, match=r"2026-10-11/manifest\.json[\s\S]*restore this file"):
        run_week(migration, 2)
    error = run_week(migration, 3, tables=["customer"])["customer"]
    assert isinstance(error, StateError)
    aside.rename(file)
    manifest.write_text(whole, "utf-8")
    load_week(migration, 3)
    assert_equal(migration)


def test_a_damaged_delta_is_made_again_from_its_cuts(make_migration: MakeMigration) -> None:
    """A Parquet file that was cut off is no reason to stop: both cuts are there, and checked."""
    migration = make_migration(DELETE_MODE)
    load_week(migration, 1)
    change(migration, *WEEK)
    step.take_cut(migration, week(2))
    stored = step.make_delta(migration, "customer", week(2))
    stored.rows_path.write_bytes(stored.rows_path.read_bytes()[:-20])
    carry(migration, 2, "customer")
    carry(migration, 2, "visit")
    assert_equal(migration)
    again = delta_files.find(migration.state, "main", "customer", week(2))
    assert again is not None
    delta_files.check(again)
