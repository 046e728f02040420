"""The cut: consistent, sealed, harmless at the source, and never green over a damaged file."""

import dataclasses
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from migration_assets.errors import (
    MigrationError,
    SourceBusyError,
    SourceError,
    StateError,
)
from migration_assets.model import Cut
from migration_assets.source import cut as cuts
from migration_assets.source import taking
from migration_assets.source.connection import open_cut, open_source
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_sqlite import (
    LATER,
    NOBODY,
    WEEK,
    make,
    plain_user,
    rows_of,
    sha256,
)

JOURNALS = ("WAL", "DELETE")
# Small pages make many: the backup looks at progress every 2,000 of them.
ACCOUNTS = """
PRAGMA page_size = 512;
PRAGMA journal_mode = {journal};
CREATE TABLE t (k INTEGER PRIMARY KEY, amount INTEGER NOT NULL, filler TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO t SELECT i, 100, hex(zeroblob(150)) FROM n;
"""
MOVE = "UPDATE t SET amount = amount + CASE k WHEN 1 THEN -1 ELSE 1 END WHERE k IN (1, {last})"
NEXT_TO = ("-wal", "-shm", "-journal")


@pytest.fixture
def state(tmp_path: Path) -> LocalState:
    """Return a state folder of its own."""
    return LocalState(tmp_path / "state")


def source(folder: Path, journal: str = "DELETE", rows: int = 20) -> Path:
    """Make a source whose accounts sum up to 100 each."""
    folder.mkdir(exist_ok=True)
    return make(folder / "app.sqlite", ACCOUNTS.format(journal=journal, rows=rows))


def take(state: LocalState, path: Path, timeout: float = 5.0) -> Cut:
    """Take the first week's cut."""
    return taking.take(state, "main", path, WEEK, timeout=timeout)


def ask(path: Path, query: str) -> object:
    """Return one value of a database."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute(query).fetchone()[0]


def beside(path: Path) -> list[str]:
    """Return the names of everything in the source's folder."""
    return sorted(f.name for f in path.parent.iterdir())


def refusal(state: LocalState, path: Path, timeout: float = 0.2) -> MigrationError:
    """Return the error that a source is refused with; it is complete, and nothing is kept."""
    with pytest.raises(MigrationError) as caught:
        take(state, path, timeout)
    error = caught.value
    assert str(path) in error.where
    assert error.what
    assert error.hint or error.expected
    assert cuts.cuts(state, "main") == []
    assert [key for key in state.keys("") if not key.startswith("locks/")] == []
    return error


# ---- what a cut is


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_cut_is_the_source_page_by_page(tmp_path: Path, state: LocalState, journal: str) -> None:
    """Same rows, same pages; its manifest says what it is."""
    path = source(tmp_path / "app", journal)
    cut = take(state, path)
    with closing(sqlite3.connect(path)) as connection:
        assert rows_of(cut) == connection.execute("SELECT * FROM t").fetchall()
        assert connection.execute("PRAGMA page_count").fetchone() == (cut.pages,)
    assert (cut.week, cut.page_size, cut.size) == (WEEK, 512, cut.path.stat().st_size)
    assert cut.sha256 == sha256(cut.path)
    assert cut.id.startswith("2026-10-04-")
    cuts.check(cut)


def test_a_cut_stands_alone_and_can_only_be_read(tmp_path: Path, state: LocalState) -> None:
    """One file without a WAL, closed to everybody else, and for its owner read-only."""
    cut = take(state, source(tmp_path / "app", "WAL"))
    assert cut.path.stat().st_mode & 0o777 == 0o400
    assert cut.path.read_bytes()[18:20] == b"\1\1"  # a WAL database says 2 and 2
    with open_cut(cut) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM t")
    assert [p.name for p in cut.path.parent.iterdir() if p.suffix != ".json"] == [cut.path.name]


def test_what_a_wal_holds_is_in_the_cut(tmp_path: Path, state: LocalState) -> None:
    """Rows that were committed but not checkpointed belong to the source."""
    path = source(tmp_path / "app", "WAL")
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("INSERT INTO t VALUES (999, 5, '')")
        before = sha256(path)
        cut = take(state, path)
        assert ask(cut.path, "SELECT amount FROM t WHERE k = 999") == 5
        assert sha256(path) == before


def test_what_is_not_committed_is_not_in_the_cut(tmp_path: Path, state: LocalState) -> None:
    """An open transaction of the application neither shows nor disturbs."""
    path = source(tmp_path / "app", "WAL")
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("BEGIN IMMEDIATE")
        application.execute("DELETE FROM t")
        cut = take(state, path)
        assert ask(cut.path, "SELECT count(*) FROM t") == 20
        application.execute("COMMIT")


def test_a_large_page_size_is_told_right(tmp_path: Path, state: LocalState) -> None:
    """The header spells 65,536 as 1."""
    path = make(tmp_path / "a.sqlite", "PRAGMA page_size = 65536; CREATE TABLE t (a)")
    cut = take(state, path)
    assert (cut.page_size, cut.pages) == (65536, cut.size // 65536)


def test_orphaned_rows_are_counted_not_refused(tmp_path: Path, state: LocalState) -> None:
    """A dirty source is reported, and still carried."""
    schema = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (a REFERENCES p (id));"
    path = make(tmp_path / "a.sqlite", schema + "INSERT INTO t VALUES (7), (8), (NULL)")
    assert take(state, path).orphaned_rows == 2


def test_a_foreign_key_to_no_table_does_not_stop_a_cut(tmp_path: Path, state: LocalState) -> None:
    """SQLite can't check such a key; neither do we."""
    path = make(tmp_path / "a.sqlite", "CREATE TABLE t (a REFERENCES gone (id))", [(1,)])
    take(state, path)


def test_a_row_that_breaks_a_check_does_not_stop_a_cut(tmp_path: Path, state: LocalState) -> None:
    """The application may have switched its constraints off; the row is there and is carried."""
    path = make(
        tmp_path / "a.sqlite",
        "PRAGMA ignore_check_constraints = ON; CREATE TABLE t (a CHECK (a > 0));"
        "INSERT INTO t VALUES (-1)",
    )
    assert rows_of(take(state, path)) == [(-1,)]


@pytest.mark.parametrize("key", ["l, k", "l, v, k", "v, l", "l", "v"])
def test_a_key_in_another_order_than_its_columns_is_no_damage(
    tmp_path: Path, state: LocalState, key: str
) -> None:
    """SQLite 3.40's checks see NULLs there that don't exist."""
    schema = (
        f"CREATE TABLE t (k INT NOT NULL, l TEXT, v BLOB NOT NULL, PRIMARY KEY ({key}))"
        " WITHOUT ROWID"
    )
    rows = [(1, "a", b"x"), (2, "b", b"y")]
    assert rows_of(take(state, make(tmp_path / "a.sqlite", schema, rows))) == rows


def test_a_strict_table_whose_key_comes_late_is_no_damage(
    tmp_path: Path, state: LocalState
) -> None:
    """SQLite 3.40's checks take its NULLs for values of another class."""
    schema = "CREATE TABLE t (k INT, l TEXT, v REAL, PRIMARY KEY (l)) STRICT, WITHOUT ROWID"
    rows = [(None, "a", None), (1, "b", 1.5)]
    assert rows_of(take(state, make(tmp_path / "a.sqlite", schema, rows))) == rows


def test_a_default_text_of_a_number_before_its_key_is_no_damage(
    tmp_path: Path, state: LocalState
) -> None:
    """SQLite 3.40's checks take the default for the value where the key comes late."""
    schema = "CREATE TABLE t (at DATETIME DEFAULT 'never', l TEXT PRIMARY KEY) WITHOUT ROWID"
    rows = [(0, "a"), ("never", "b"), (None, "c")]
    assert rows_of(take(state, make(tmp_path / "a.sqlite", schema, rows))) == rows


def test_text_that_should_have_become_a_number_is_damage(tmp_path: Path, state: LocalState) -> None:
    """A column whose type was changed behind SQLite's back holds what it never would."""
    path = tmp_path / "a.sqlite"
    text = "CREATE TABLE t (n TEXT DEFAULT 'x', l TEXT PRIMARY KEY) WITHOUT ROWID"
    make(path, text, [("x", "a"), ("12", "b")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'n TEXT', 'n INT')")
    assert "TEXT value in t.n" in refusal(state, path).what


def test_a_generated_column_of_a_strict_table_may_hold_anything(
    tmp_path: Path, state: LocalState
) -> None:
    """SQLite stores what the expression gives, and its own check complains of it."""
    schema = "CREATE TABLE t (k INT, g INT GENERATED ALWAYS AS (k || '!') STORED) STRICT"
    path = make(tmp_path / "a.sqlite", schema, [(1,), (2,)])
    assert rows_of(take(state, path)) == [(1, "1!"), (2, "2!")]


def test_a_value_of_another_class_in_a_strict_table_is_damage(
    tmp_path: Path, state: LocalState
) -> None:
    """A table that was made strict behind SQLite's back holds what it may not."""
    path = tmp_path / "a.sqlite"
    plain = "CREATE TABLE t (l TEXT, k INT, PRIMARY KEY (l)) WITHOUT ROWID"
    make(path, plain, [("a", 1), ("b", "x")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = sql || ', STRICT'")
    assert "non-INT value in t.k" in refusal(state, path).what


def test_a_null_where_none_may_be_is_damage(tmp_path: Path, state: LocalState) -> None:
    """A check that finds NULLs which aren't there is still believed where there is one."""
    path = tmp_path / "a.sqlite"
    without = "CREATE TABLE t (k INT, l TEXT, PRIMARY KEY (l)) WITHOUT ROWID"
    make(path, without, [(1, "a"), (None, "b"), (3, "c")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'k INT', 'k INT NOT NULL')")
    assert "NULL value in t.k" in refusal(state, path).what


def test_a_source_that_needs_the_applications_own_collation_is_refused_with_the_reason(
    tmp_path: Path, state: LocalState
) -> None:
    """SQLite can't read an index whose order only the application knows."""
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as application, application:
        application.create_collation("house", lambda a, b: (a > b) - (a < b))
        application.execute("CREATE TABLE t (k TEXT COLLATE house PRIMARY KEY)")
        application.execute("INSERT INTO t VALUES ('a'), ('b')")
    assert "collation" in refusal(state, path).hint


# ---- harmless at the source


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("as_plain_user", [False, True])
def test_nothing_is_changed_or_left_at_the_source(
    shared_folder: Path, journal: str, *, as_plain_user: bool
) -> None:
    """Its bytes, its time and its folder are as before, for root and for its owner alike."""
    folder = shared_folder / "app"
    path = source(folder, journal)
    owner = NOBODY if as_plain_user and os.geteuid() == 0 else os.geteuid()
    os.chown(folder, owner, -1)
    os.chown(path, owner, -1)
    mine = shared_folder / "state"
    mine.mkdir()
    os.chown(mine, owner, -1)
    before = sha256(path), path.stat().st_mtime_ns
    if as_plain_user:
        with plain_user():
            take(LocalState(mine), path)
    else:
        take(LocalState(mine), path)
    assert (sha256(path), path.stat().st_mtime_ns) == before
    assert beside(path) == ["app.sqlite"]


@pytest.mark.parametrize("as_plain_user", [False, True])
def test_the_files_of_a_running_application_stay_its_own(
    shared_folder: Path, *, as_plain_user: bool
) -> None:
    """While it has a WAL source open, whoever takes the cut, it goes on writing."""
    folder = shared_folder / "app"
    folder.mkdir()
    folder.chmod(0o777)
    with plain_user():
        path = source(folder, "WAL")
    mine = shared_folder / "state"
    mine.mkdir()
    mine.chmod(0o777)
    with plain_user():
        application = sqlite3.connect(path, isolation_level=None)
        application.execute("INSERT INTO t VALUES (999, 5, '')")
        owners = {p.name: p.stat().st_uid for p in folder.iterdir()}
        if as_plain_user:
            take(LocalState(mine), path)
    with closing(application):
        if not as_plain_user:
            take(LocalState(mine), path)
        assert {p.name: p.stat().st_uid for p in folder.iterdir()} == owners
        with plain_user():
            application.execute("INSERT INTO t VALUES (1000, 5, '')")


def test_a_wal_that_a_crash_left_is_read_and_not_touched(tmp_path: Path, state: LocalState) -> None:
    """What a killed application had committed is in the cut; its files stay for its recovery."""
    running = source(tmp_path / "running", "WAL")
    crashed = tmp_path / "crashed" / "app.sqlite"
    crashed.parent.mkdir()
    with closing(sqlite3.connect(running, isolation_level=None)) as application:
        application.execute("INSERT INTO t VALUES (999, 5, '')")
        for suffix in ("", "-wal"):
            content = running.with_name(running.name + suffix).read_bytes()
            crashed.with_name(crashed.name + suffix).write_bytes(content)
    wal = crashed.with_name(crashed.name + "-wal")
    before = sha256(crashed), sha256(wal)
    cut = take(state, crashed)
    assert ask(cut.path, "SELECT amount FROM t WHERE k = 999") == 5
    assert (sha256(crashed), sha256(wal)) == before
    # SQLite rebuilds the index of the WAL to read it, and gives it to the source's owner.
    assert beside(crashed) == ["app.sqlite", "app.sqlite-shm", "app.sqlite-wal"]
    index = crashed.with_name(crashed.name + "-shm")
    assert index.stat().st_uid == crashed.stat().st_uid


def test_a_link_to_a_crashed_wal_source_is_as_harmless(tmp_path: Path, state: LocalState) -> None:
    """The WAL lies beside the file itself, not beside the link to it."""
    running = source(tmp_path / "running", "WAL")
    crashed = tmp_path / "crashed" / "app.sqlite"
    crashed.parent.mkdir()
    with closing(sqlite3.connect(running, isolation_level=None)) as application:
        application.execute("INSERT INTO t VALUES (999, 5, '')")
        for suffix in ("", "-wal"):
            content = running.with_name(running.name + suffix).read_bytes()
            crashed.with_name(crashed.name + suffix).write_bytes(content)
    link = tmp_path / "link.sqlite"
    link.symlink_to(crashed)
    before = sha256(crashed), sha256(crashed.with_name("app.sqlite-wal"))
    cut = take(state, link)
    assert ask(cut.path, "SELECT amount FROM t WHERE k = 999") == 5
    assert (sha256(crashed), sha256(crashed.with_name("app.sqlite-wal"))) == before


# ---- writers


@contextmanager
def writing(path: Path, last: int) -> Iterator[None]:
    """Let a thread move amounts between two accounts for as long as the block runs."""
    stop, started = threading.Event(), threading.Event()

    def work() -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as application:
            while not stop.is_set():
                application.execute(MOVE.format(last=last))
                started.set()
                stop.wait(0.002)  # an application breathes; one that doesn't keeps every reader out

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_cut_is_consistent_while_the_application_commits(
    tmp_path: Path, state: LocalState, journal: str
) -> None:
    """No cut ever shows half of a transaction, first account and last being pages apart."""
    path = source(tmp_path / "app", journal, rows=8_000)
    with writing(path, 8_000):
        cut = take(state, path, timeout=30)
    assert cut.pages > 4_000
    assert ask(cut.path, "SELECT sum(amount) FROM t") == 800_000
    assert ask(cut.path, "PRAGMA integrity_check") == "ok"


def test_a_wal_source_is_not_held_up(tmp_path: Path, state: LocalState) -> None:
    """A writer commits between any two steps of the copy, at once, and the cut doesn't see it."""
    path = source(tmp_path / "app", "WAL", rows=8_000)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as application:
        steps = 0

        def commit(_done: int, _total: int) -> None:
            nonlocal steps
            steps += 1
            application.execute("UPDATE t SET amount = 0 WHERE k IN (1, 8000)")

        cut = taking.take(state, "main", path, WEEK, timeout=5, progress=commit)
    assert steps > 2
    assert ask(cut.path, "SELECT sum(amount) FROM t") == 800_000


def test_a_writer_that_never_rests_can_not_make_the_copy_start_over_forever(
    tmp_path: Path, state: LocalState
) -> None:
    """A rollback-journal source is copied unheld, and held after a few restarts."""
    path = source(tmp_path / "app", "DELETE", rows=8_000)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as application:
        refused = commits = 0

        def commit(_done: int, _total: int) -> None:
            nonlocal refused, commits
            assert commits < 50, "the copy starts over and over"
            try:
                application.execute(MOVE.format(last=8_000))
                commits += 1
            except sqlite3.OperationalError:
                refused += 1  # held at last

        cut = taking.take(state, "main", path, WEEK, timeout=5, progress=commit)
    assert commits > 0
    assert refused > 0
    assert ask(cut.path, "SELECT sum(amount) FROM t") == 800_000


def test_progress_counts_pages_up_to_all(tmp_path: Path, state: LocalState) -> None:
    """What is shown only grows, and ends at the whole."""
    seen: list[tuple[int, int]] = []
    path = source(tmp_path / "app", "WAL", rows=8_000)
    cut = taking.take(
        state,
        "main",
        path,
        WEEK,
        timeout=5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (cut.pages, cut.pages)


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_locked_source_is_busy_within_the_timeout(
    tmp_path: Path, state: LocalState, journal: str
) -> None:
    """A transaction that never ends is named, soon, and may go away by itself."""
    path = source(tmp_path / "app", journal, rows=8_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA locking_mode = EXCLUSIVE")
        application.execute("BEGIN EXCLUSIVE")
        application.execute("DELETE FROM t WHERE k = 1")
        began = monotonic()
        error = refusal(state, path, timeout=0.3)
        assert monotonic() - began < 3
    assert isinstance(error, SourceBusyError)
    assert "run again" in error.hint


# ---- what is no source


def broken_sources(folder: Path) -> dict[str, Path]:
    """Make everything that isn't a database to migrate."""
    sound = source(folder / "sound", rows=200).read_bytes()
    contents = {
        "empty": b"",
        "short": sound[:50],
        "png": b"\x89PNG\r\n\x1a\n" + bytes(2000),
        "encrypted": Random(7).randbytes(8192),
        "text": b"id;name\n1;a\n" * 100,
        "header only": sound[:100],
        "one page": sound[:512],
        "garbled page": sound[:5120] + Random(7).randbytes(1024) + sound[6144:],
        "zeroed page": sound[:5120] + bytes(1024) + sound[6144:],
        "garbled schema": sound[:200] + Random(7).randbytes(300) + sound[500:],
    }
    found = {name: folder / f"{name}.sqlite" for name in contents}
    for name, content in contents.items():
        found[name].write_bytes(content)
    found["missing"] = folder / "missing.sqlite"
    found["folder"] = folder / "folder.sqlite"
    found["folder"].mkdir()
    found["no tables"] = make(folder / "no.sqlite", "CREATE TABLE t (a); DROP TABLE t")
    return found


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("missing", "no such file"),
        ("folder", "not a file"),
        ("empty", "empty"),
        ("short", "no SQLite database"),
        ("png", "no SQLite database"),
        ("encrypted", "no SQLite database"),
        ("text", "no SQLite database"),
        ("header only", "damaged"),
        ("one page", "damaged"),
        ("garbled page", "damaged"),
        ("zeroed page", "damaged"),
        ("garbled schema", "damaged"),
        ("no tables", "no tables"),
    ],
)
def test_what_is_no_sound_database_is_refused_by_name(
    tmp_path: Path, state: LocalState, name: str, what: str
) -> None:
    """Each says what the file is instead and what to do; nothing of it is kept."""
    error = refusal(state, broken_sources(tmp_path)[name])
    assert what in error.what
    assert isinstance(error, SourceError)


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_truncated_source_never_gives_a_cut(tmp_path: Path, journal: str) -> None:
    """Wherever a copy of the source broke off, at a page's end or inside one."""
    path = source(tmp_path / "app", journal, rows=60)
    sound = path.read_bytes()
    for number, length in enumerate([*range(512, len(sound), 512), *range(700, len(sound), 1777)]):
        path.write_bytes(sound[:length])
        refusal(LocalState(tmp_path / f"state-{number}"), path)


def test_a_damaged_header_that_hides_the_size_gives_no_cut(
    tmp_path: Path, state: LocalState
) -> None:
    """Without a valid page count SQLite goes by the file's size; the lost pages still show."""
    path = source(tmp_path / "app", rows=60)
    content = bytearray(path.read_bytes()[:-1024])
    content[92:96] = b"\0\0\0\0"  # version-valid-for: no longer the change counter
    path.write_bytes(content)
    assert "damaged" in refusal(state, path).what


def test_a_hot_journal_is_not_read_over(tmp_path: Path, state: LocalState) -> None:
    """A half-written transaction has to be rolled back first, by the application."""
    path = source(tmp_path / "app", rows=200)
    crashed = tmp_path / "crashed" / "app.sqlite"
    crashed.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA cache_size = 1")
        application.execute("BEGIN IMMEDIATE")
        application.execute("UPDATE t SET amount = 0")
        for suffix in ("", "-journal"):
            content = path.with_name(path.name + suffix).read_bytes()
            crashed.with_name(crashed.name + suffix).write_bytes(content)
    before = sha256(crashed)
    error = refusal(state, crashed)
    assert "roll" in error.hint or "roll" in error.what
    assert sha256(crashed) == before
    assert beside(crashed) == ["app.sqlite", "app.sqlite-journal"]


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_source_that_may_not_be_read_is_refused(shared_folder: Path, closed: str) -> None:
    """Neither the file's nor its folder's permissions end in a bare error."""
    path = source(shared_folder / "app")
    mine = shared_folder / "state"
    mine.mkdir()
    mine.chmod(0o777)
    (path if closed == "file" else path.parent).chmod(0o000)
    with plain_user():
        error = refusal(LocalState(mine), path)
    assert isinstance(error, SourceError)
    assert "permission" in error.what
    assert "owner" in error.hint


if os.geteuid() == 0:  # only root can make a file that is another user's

    def test_a_wal_database_of_another_user_is_refused(shared_folder: Path) -> None:
        """Its reader would leave files that stop the application from writing."""
        path = source(shared_folder / "app", "WAL")
        path.parent.chmod(0o777)
        mine = shared_folder / "state"
        mine.mkdir()
        mine.chmod(0o777)
        with plain_user():
            error = refusal(LocalState(mine), path)
        assert isinstance(error, SourceError)
        assert "another user" in error.what
        assert "uid 0" in error.expected
        assert beside(path) == ["app.sqlite"]


# ---- sealed


def test_a_week_is_cut_once(tmp_path: Path, state: LocalState) -> None:
    """Taking it again returns what was sealed, whatever the source has become."""
    path = source(tmp_path / "app")
    cut = take(state, path)
    path.unlink()
    assert take(state, path) == cut
    assert cuts.cuts(state, "main") == [cut]


def test_an_older_week_folds_into_the_next_cut(tmp_path: Path, state: LocalState) -> None:
    """The source's past can't be read any more, so a late week has no cut of its own."""
    path = source(tmp_path / "app")
    later = taking.take(state, "main", path, LATER, timeout=5)
    assert take(state, path) == later
    assert cuts.covering(state, "main", WEEK) == later
    assert cuts.covering(state, "main", LATER + timedelta(weeks=1)) is None


def test_weeks_are_cut_one_after_the_other(tmp_path: Path, state: LocalState) -> None:
    """Two quiet weeks are two cuts with two names."""
    path = source(tmp_path / "app")
    first, second = take(state, path), taking.take(state, "main", path, LATER, timeout=5)
    assert first.sha256 == second.sha256
    assert first.id != second.id
    assert cuts.cuts(state, "main") == [first, second]
    assert cuts.find(state, "main", second.id) == second


def test_a_lost_cut_is_named(state: LocalState) -> None:
    """The error says which cut the ledger needs and where it has to come from."""
    with pytest.raises(StateError, match=r"2026-10-04-abc[\s\S]*restore the state folder"):
        cuts.find(state, "main", "2026-10-04-abc")


def test_a_copy_without_its_manifest_is_no_cut(tmp_path: Path, state: LocalState) -> None:
    """A crash came between file and manifest: the next run takes the cut anew."""
    path = source(tmp_path / "app")
    stray = tmp_path / "stray"
    stray.write_bytes(b"half a cut")
    state.publish(stray, "cuts/main/2026-10-04/0123456789abcdef.sqlite")
    assert cuts.cuts(state, "main") == []
    cut = take(state, path)
    assert len(state.keys("cuts")) == 2
    cuts.check(cut)


def test_the_same_copy_without_its_manifest_does_not_stand_in_the_way(
    tmp_path: Path, state: LocalState
) -> None:
    """Content names the file, so the crashed run left one of the very same name."""
    path = source(tmp_path / "app")
    cut = take(state, path)
    state.remove("cuts/main/2026-10-04/manifest.json")
    again = take(state, path)
    assert (again.id, again.path) == (cut.id, cut.path)
    cuts.check(again)


def test_two_runs_at_once_share_one_cut(tmp_path: Path) -> None:
    """Cuts are serial: the second waits and is given the first one's."""
    path = source(tmp_path / "app", "WAL", rows=2_000)
    taken: list[Cut] = []

    def run() -> None:
        taken.append(take(LocalState(tmp_path / "state"), path))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 4
    assert all(cut == taken[0] for cut in taken)


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_cut_is_noticed(tmp_path: Path, state: LocalState, damage: str) -> None:
    """It would be loaded and proved against itself; the check names it and the way out."""
    cut = take(state, source(tmp_path / "app"))
    content = bytearray(cut.path.read_bytes())
    content[-1] ^= 1
    cut.path.unlink()
    if damage != "missing":
        cut.path.write_bytes(content[:-512] if damage == "truncated" else content)
    with pytest.raises(StateError, match=r"cut 2026-10-04-[\s\S]*restore this file"):
        cuts.check(cut)


def test_a_cut_changed_after_it_was_checked_is_noticed(tmp_path: Path, state: LocalState) -> None:
    """A remembered hash belongs to one state of the file only."""
    cut = take(state, source(tmp_path / "app"))
    cuts.check(cut)
    content = bytearray(cut.path.read_bytes())
    content[-1] ^= 1
    cut.path.chmod(0o600)
    cut.path.write_bytes(content)
    with pytest.raises(StateError):
        cuts.check(cut)


def test_a_missing_cut_opened_anyway_is_an_error(tmp_path: Path, state: LocalState) -> None:
    """Opening never makes an empty database in a lost file's place."""
    cut = take(state, source(tmp_path / "app"))
    gone = dataclasses.replace(cut, path=tmp_path / "gone.sqlite")
    with pytest.raises(SourceError), open_cut(gone):
        pass
    assert not gone.path.exists()


def test_the_source_can_not_be_written_through_our_connection(tmp_path: Path) -> None:
    """Even where SQLite needs to open it for writing."""
    path = source(tmp_path / "app", "WAL")
    with open_source(path, timeout=1) as (connection, wal):
        assert wal
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM t")
    assert ask(path, "SELECT count(*) FROM t") == 20
