"""A source that was crafted to run code: nothing runs, and what can be carried is carried."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migration_assets import planning, standing
from migration_assets.errors import MigrationError, SourceError
from migration_assets.migration import Migration
from migration_assets.source import conditions, scratch
from migration_assets.source.connection import guarded, open_cut, open_source
from migration_assets.step import take_cut
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    run_week,
    week,
)

GOOD = """
CREATE TABLE good (id INTEGER PRIMARY KEY, note TEXT);
INSERT INTO good VALUES (1, 'one'), (2, 'two');
"""
# SQLite's defaults, in the order of PRAGMAs below: what a file could use against us.
PRAGMAS = ("trusted_schema", "query_only", "mmap_size", "cell_size_check")
GUARDED = (0, 1, 0, 1)


def crafted(path: Path, *objects: tuple[str, str, str]) -> None:
    """Put objects (kind, name, statement) into the schema, as no honest application would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for kind, name, statement in objects:
            connection.execute(
                "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql)"
                " VALUES (?, ?, ?, 0, ?)",
                (kind, name, "good" if kind == "trigger" else name, statement),
            )


class Recording(sqlite3.Connection):
    """A connection to a file that notes, when it is closed, how it was guarded."""

    noted: list[tuple[int, ...]]

    def close(self) -> None:
        """Note the settings, then close."""
        (_, _, file), *_ = self.execute("PRAGMA database_list")
        if not file:
            return super().close()
        settings = tuple((self.execute(f"PRAGMA {p}").fetchone() or (0,))[0] for p in PRAGMAS)
        limits = (sqlite3.SQLITE_LIMIT_ATTACHED, sqlite3.SQLITE_LIMIT_SQL_LENGTH)
        Recording.noted.append((*settings, *(self.getlimit(limit) for limit in limits)))
        return super().close()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the settings of every SQLite connection of the test that was closed."""
    Recording.noted = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Recording, **k))
    return Recording.noted


def test_every_file_is_opened_guarded(
    make_migration: MakeMigration,
    recorded: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Source, copies, cuts and scratch files, through loads, a cast, a plan and a proof."""
    migration = make_migration(
        f"{GOOD} CREATE TABLE visit (page TEXT); INSERT INTO visit VALUES ('/'), ('/'), ('/b');",
        tables={"good": {"columns": {"note": {"cast": "upper(note)"}}}},
    )
    changes = ("UPDATE good SET note = 'x' WHERE id = 1", "DELETE FROM visit WHERE page = '/b'")
    recorded.clear()
    load_week(migration, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Recording, "close", sqlite3.Connection.close)
        change(migration, *changes)  # the application's own connection
    load_week(migration, 2)
    planning.make(migration.settings, migration.target)
    assert_proved(migration, "good", "visit")
    assert {(noted[0], *noted[2:4]) for noted in recorded} == {(0, 0, 1)}
    assert {noted[1] for noted in recorded} == {0, 1}  # copies and scratch files are written
    assert {noted[4] for noted in recorded} == {1}
    assert max(noted[5] for noted in recorded) < 100 * 2**20
    assert len(recorded) > 10


def _opened(migration: Migration, how: str, work: Path) -> Any:  # noqa: ANN401 - three contexts
    source = migration.settings.source
    if how == "source":
        return open_source(source, timeout=1)
    if how == "cut":
        return open_cut(take_cut(migration, week(1)))
    return closing(scratch.scratch_database(work / "scratch.sqlite"))


@pytest.mark.parametrize("how", ["source", "cut", "scratch"])
def test_a_schema_calls_none_of_our_functions(
    make_migration: MakeMigration, tmp_path: Path, how: str
) -> None:
    """Views and triggers of a file reach what we register no more than SQLite's dangerous ones."""
    migration = make_migration(
        f"{GOOD} CREATE VIEW reached AS SELECT sign_of_zero(id) AS x FROM good;"
    )
    called: list[object] = []
    with _opened(migration, how, tmp_path) as opened:
        connection: sqlite3.Connection = opened[0] if how == "source" else opened
        if how == "scratch":
            connection.execute("CREATE TABLE good (id)")
            connection.execute("INSERT INTO good VALUES (1)")
            connection.execute("CREATE VIEW reached AS SELECT sign_of_zero(id) AS x FROM good")
        conditions.prepare(connection)
        connection.create_function("sign_of_zero", 1, called.append, deterministic=True)
        connection.execute("SELECT sign_of_zero(1)").fetchone()  # ours to call
        with pytest.raises(sqlite3.OperationalError, match="unsafe use"):
            connection.execute("SELECT * FROM reached").fetchall()
    assert called == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO good VALUES (9, 'x')",
        "CREATE TABLE made (x)",
        "DROP TABLE good",
        "DELETE FROM good",
        "SELECT load_extension('/lib/x86_64-linux-gnu/libm.so.6')",
        "SELECT writefile('/tmp/written', 'x')",
        "SELECT edit('x', 'touch')",
    ],
)
def test_a_cut_and_the_source_only_answer_questions(
    make_migration: MakeMigration, statement: str
) -> None:
    """Whatever a statement of ours could be made to do: it is refused."""
    migration = make_migration(f"{GOOD} PRAGMA journal_mode = WAL;")
    cut = take_cut(migration, week(1))
    with open_cut(cut) as connection, pytest.raises(sqlite3.Error):
        connection.execute(statement)
    with open_source(migration.settings.source, timeout=1) as (connection, wal):
        assert wal
        with pytest.raises(sqlite3.Error):
            connection.execute(statement)
    assert_source_is(migration, [(1, "one"), (2, "two")])


def assert_source_is(migration: Migration, rows: list[tuple[int, str]]) -> None:
    """Look at the source as its application would."""
    with closing(sqlite3.connect(migration.settings.source)) as connection:
        assert connection.execute("SELECT * FROM good").fetchall() == rows


BOMB = (
    "CREATE VIEW bomb AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT count(*) AS c FROM n"
)
OBJECTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "a trigger that deletes": (
        (
            "trigger",
            "evil",
            "CREATE TRIGGER evil AFTER INSERT ON good BEGIN DELETE FROM good; END",
        ),
    ),
    "a view that loads a library": (
        ("view", "evil", "CREATE VIEW evil AS SELECT load_extension('/tmp/evil.so') AS x"),
    ),
    "a view that writes a file": (
        ("view", "evil", "CREATE VIEW evil AS SELECT writefile('/tmp/evil', 'x') AS x"),
    ),
    "a view with a tokenizer's address": (
        ("view", "evil", "CREATE VIEW evil AS SELECT fts3_tokenizer('simple', x'41') AS x"),
    ),
    "a view of a file's own pages": (("view", "evil", "CREATE VIEW evil AS SELECT * FROM dbstat"),),
    "a view that never ends": (("view", "bomb", BOMB),),
    "views that call each other": (
        ("view", "a", "CREATE VIEW a AS SELECT * FROM b"),
        ("view", "b", "CREATE VIEW b AS SELECT * FROM a"),
    ),
    "a virtual table of no module": (
        ("table", "evil", "CREATE VIRTUAL TABLE evil USING csv(filename='/etc/passwd')"),
    ),
    "a virtual table that reads an archive": (
        ("table", "evil", "CREATE VIRTUAL TABLE evil USING zipfile('/tmp/evil.zip')"),
    ),
    "a full-text table over nothing": (
        ("table", "evil", "CREATE VIRTUAL TABLE evil USING fts5(x, content='sqlite_master')"),
    ),
}


def _looks(migration: Migration) -> None:
    """Look at a migration in every way that reads the source's schema."""
    planning.make(migration.settings, migration.target)
    standing.verify(migration, "good")


@pytest.mark.parametrize("name", list(OBJECTS))
@pytest.mark.timeout(60)
def test_a_crafted_object_does_nothing(make_migration: MakeMigration, name: str) -> None:
    """It is left out; the honest table beside it is carried, and the source is as it was."""
    migration = make_migration(GOOD)
    crafted(migration.settings.source, *OBJECTS[name])
    before = migration.settings.source.read_bytes()
    load_week(migration, 1, tables=["good"])
    _looks(migration)
    assert migration.settings.source.read_bytes() == before
    assert_equal(migration, "good", file=take_cut(migration, week(1)).path)
    assert not [path for path in (Path("/tmp/evil"), Path("/tmp/evil.so")) if path.exists()]  # noqa: S108


CALLING = {
    "a generated column": "x TEXT GENERATED ALWAYS AS (spy(id)) VIRTUAL",
    "a stored generated column": "x TEXT GENERATED ALWAYS AS (spy(id)) STORED",
    "a CHECK": "x TEXT CHECK (spy(id) IS NOT NULL)",
    "a default": "x TEXT DEFAULT (spy(1))",
}
INDEXES = {
    "an index over an expression": "CREATE INDEX i ON bad (spy(id))",
    "a partial index": "CREATE INDEX i ON bad (id) WHERE spy(id) > 0",
}


def _with_spy(spy: Callable[[object], int]) -> Any:  # noqa: ANN401 - as sqlite3.connect
    connect = sqlite3.connect

    def opened(*arguments: Any, **named: Any) -> sqlite3.Connection:  # noqa: ANN401
        connection = connect(*arguments, **named)
        connection.create_function("spy", 1, spy, deterministic=True)
        return connection

    return opened


@pytest.mark.parametrize("name", [*CALLING, *INDEXES])
def test_a_function_of_the_schema_is_never_called(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Even one that our process knows: the table stops or is read without it, others go on."""
    made: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", _with_spy(lambda x: made.append(x) or 1))
        migration = make_migration(
            f"{GOOD} CREATE TABLE bad (id INTEGER PRIMARY KEY{', ' + CALLING.get(name, 'x')});"
            f"{INDEXES.get(name, '')}; INSERT INTO bad (id) VALUES (1), (2);"
        )
    assert made or "VIRTUAL" in CALLING.get(name, "")  # the application itself calls it
    called: list[object] = []
    monkeypatch.setattr(sqlite3, "connect", _with_spy(lambda x: called.append(x) or 1))
    stopped: MigrationError | None = None
    try:
        done = run_week(migration, 1, tables=["good", "bad"])
    except MigrationError as error:
        stopped = error  # the cut is refused as a whole
    else:
        assert not isinstance(done["good"], MigrationError)
        assert_proved(migration, "good")
    assert stopped is None or (isinstance(stopped, SourceError) and stopped.hint)
    assert called == []


DAMAGED = {
    "a view over another file": ("view", "CREATE VIEW view AS SELECT * FROM other.secrets"),
    "a statement of 20 MB": (
        "table",
        f"CREATE TABLE \"table\" (a TEXT DEFAULT '{'x' * 20_000_000}')",
    ),
    "a statement that is none": ("table", 'CREATE TABLE "table" (a'),
    "a table on a page that isn't there": ("table", 'CREATE TABLE "table" (a)'),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_a_damaged_schema_is_refused_at_once(make_migration: MakeMigration, name: str) -> None:
    """In our words, and the target stays empty."""
    migration = make_migration(GOOD)
    called, made = DAMAGED[name]
    with closing(sqlite3.connect(migration.settings.source, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)",
            ("view", called, called, 0, made)
            if called == "v"
            else ("table", "t", "t", 99999, made),
        )
    with pytest.raises(SourceError) as caught:
        run_week(migration, 1)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


def test_statistics_of_the_planner_are_only_a_hint(make_migration: MakeMigration) -> None:
    """A file's own `sqlite_stat1` may say anything: rows come out all the same."""
    migration = make_migration(
        f"{GOOD} CREATE INDEX good_note ON good (note); ANALYZE;"
        "UPDATE sqlite_stat1 SET stat = '99999999999999999999 0 unordered sz=-1';"
    )
    load_week(migration, 1)
    change(migration, "UPDATE good SET note = 'x' WHERE id = 2")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_file_may_be_opened_by_a_name_that_looks_like_a_uri(tmp_path: Path) -> None:
    """A path is a path: nothing behind a question mark is taken for an option."""
    path = tmp_path / "a?mode=memory"
    with closing(guarded(path, writes=True)) as connection:
        connection.execute("CREATE TABLE t (a)")
    assert path.exists()


JSON = {
    "a CHECK": "note TEXT CHECK (json_valid(note) OR note IS NULL)",
    "a generated column": "note TEXT, x INTEGER AS (json_extract(note, '$.x'))",
    "a stored one": "note TEXT, x INTEGER AS (note ->> '$.x') STORED",
    "a default": "note TEXT DEFAULT (json_array())",
}
JSON_INDEXES = {
    "an index": "CREATE INDEX i ON doc (json_extract(note, '$.x'))",
    "a partial index": "CREATE INDEX i ON doc (id) WHERE json_valid(note)",
}


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("name", [*JSON, *JSON_INDEXES])
def test_a_schema_with_json_functions_is_carried(
    make_migration: MakeMigration, name: str, journal: str
) -> None:
    """They are SQLite's own and harmless, although SQLite 3.40 doesn't mark them so."""
    migration = make_migration(
        f"PRAGMA journal_mode = {journal};"
        f"CREATE TABLE doc (id INTEGER PRIMARY KEY, {JSON.get(name, 'note TEXT')});"
        f"{JSON_INDEXES.get(name, '')};"
        """INSERT INTO doc (id, note) VALUES (1, '{"x": 1}'), (2, '{"x": 2}');"""
    )
    load_week(migration, 1)
    change(migration, """UPDATE doc SET note = '{"x": 3}' WHERE id = 2""")
    load_week(migration, 2)
    assert_equal(migration)
    assert_proved(migration, "doc")


def test_beside_json_functions_all_others_stay_closed(make_migration: MakeMigration) -> None:
    """Where SQLite has to be told to trust a schema, what it doesn't hold for harmless refuses."""
    migration = make_migration(
        f"{GOOD} CREATE INDEX i ON good (json_valid(note));"
        "CREATE VIEW loads AS SELECT load_extension('x') AS x;"
        "CREATE VIEW checks AS SELECT rtreecheck('good') AS x;"
        "CREATE VIEW tokenizes AS SELECT fts3_tokenizer('simple') AS x;"
        "CREATE VIEW plain AS SELECT upper(note) AS x FROM good;"
    )
    with open_cut(take_cut(migration, week(1))) as connection:
        for name in ("loads", "checks", "tokenizes"):
            with pytest.raises(sqlite3.OperationalError):
                connection.execute(f"SELECT x FROM {name}").fetchall()
        assert connection.execute("SELECT x FROM plain").fetchall() == [("ONE",), ("TWO",)]
