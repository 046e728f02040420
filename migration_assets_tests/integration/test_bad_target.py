"""Targets that are away, closed, wrong or changed: a clear error within bounds, and then go on."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from migration_assets import standing, step
from migration_assets.errors import (
    MigrationError,
    SettingsError,
    TargetError,
    TargetUnavailableError,
    TargetUnreachableError,
    TerminalError,
    TransientError,
    UnsupportedError,
)
from migration_assets.migration import Migration
from migration_assets.target import embedded
from migration_assets.target.embedded import EmbeddedServer
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    carry,
    change,
    entries,
    load_week,
    migration_of,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

PASSWORD = "pa55-W0RD-marker"  # noqa: S105 - a marker that no message may contain
SECRET = "r0w-VALUE-marker"  # noqa: S105 - likewise
BOOKS = f"""
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, pages INTEGER);
INSERT INTO book VALUES (1, '{SECRET} one', 100), (2, '{SECRET} two', 200);
CREATE TABLE shelf (id INTEGER PRIMARY KEY);
INSERT INTO shelf VALUES (1);
"""


def connected_as(migration: Migration, **parts: str | int | None) -> Migration:
    """Return the same migration with other parts in its target's URL."""
    url = conninfo.make_conninfo(migration.target.url, **parts)
    target = replace(migration.target, url=url)
    return Migration(settings=migration.settings, state=migration.state, target=target)


def failure(migration: Migration, number: int = 1, table: str = "book") -> MigrationError:
    """Run a week in which this table has to fail; no message may hold a secret or a row value."""
    result = run_week(migration, number, tables=[table])[table]
    assert isinstance(result, MigrationError), result
    told = [result, result.__cause__, *getattr(result, "__notes__", [])]
    noted: list[object] = []
    with suppress(psycopg.Error):  # what can't be reached has no notes
        noted = [m for (m,) in target_rows(migration, "SELECT message FROM migration.attempt")]
    for text in map(str, [*told, *noted]):
        assert PASSWORD not in text
        assert SECRET not in text
        password = conninfo.conninfo_to_dict(migration.target.url).get("password")
        assert not password or str(password) not in text
    return result


@pytest.fixture
def role(target_url: str) -> Iterator[str]:
    """Return a login role without any rights of its own."""
    with psycopg.connect(target_url, autocommit=True) as connection:
        row = connection.execute("SELECT 'loader_' || current_database()").fetchone()
        assert row is not None
        name = sql.Identifier(str(row[0]))
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(PASSWORD))
        )
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        yield str(row[0])
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_a_target_that_is_away_is_given_up_after_its_patience(
    make_migration: MakeMigration,
) -> None:
    """Nobody listens there: tried again until patience ends, then an error that may go away."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    migration = connected_as(
        make_migration(BOOKS, connect_patience=1.5), port=port, password=PASSWORD
    )
    started = time.monotonic()
    error = failure(migration)
    assert isinstance(error, TargetUnavailableError)
    assert "within 1.5 s" in str(error)
    assert 1.5 <= time.monotonic() - started < 10


@pytest.fixture
def server(server_folder: Path) -> EmbeddedServer:
    """Return a server in `server_folder` that a test may stop."""
    server = embedded.start(server_folder, options=embedded.FAST)
    embedded.ensure_database(server, "app")
    return server


@pytest.fixture
def restartable(make_migration: MakeMigration, server: EmbeddedServer) -> Migration:
    """Return a patient migration to a server that a test may stop."""
    made = make_migration(BOOKS, connect_patience=60.0)
    return connected_as(made, **conninfo.conninfo_to_dict(server.url("app")))


def test_a_target_that_comes_back_within_the_patience_is_used(
    restartable: Migration, server: EmbeddedServer, server_folder: Path
) -> None:
    """Restarted between two tables, and still away when the second begins: the step waits."""
    load_week(restartable, 1, tables=["book"])
    embedded.stop(server_folder)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(embedded.start, server_folder, options=embedded.FAST)
        carry(restartable, 1, "shelf")
        assert again.result().port == server.port
    assert_equal(restartable)


def test_a_restart_during_a_move_is_transient_and_the_next_run_completes(
    restartable: Migration, server_folder: Path
) -> None:
    """The transaction is gone with the server; nothing of it shows."""
    step.take_cut(restartable, week(1))

    def at(stage: str) -> None:
        if stage == "proved":
            embedded.stop(server_folder)
            embedded.start(server_folder, options=embedded.FAST)

    with pytest.raises(TransientError):
        carry(restartable, 1, "book", at=at)
    assert "book" not in snapshot(restartable)
    load_week(restartable, 1)
    assert_equal(restartable)


def test_a_restart_between_delta_and_load_loses_nothing(
    restartable: Migration, server_folder: Path
) -> None:
    """The stored delta is used by the server that came back, on whichever port."""
    load_week(restartable, 1)
    change(restartable, "UPDATE book SET pages = 7 WHERE id = 1", "DELETE FROM book WHERE id = 2")
    step.take_cut(restartable, week(2))
    stored = step.make_delta(restartable, "book", week(2))
    embedded.stop(server_folder)
    embedded.start(server_folder, options=embedded.FAST)
    carry(restartable, 2, "book")
    assert entries(restartable, "book")[-1] == (week(2), week(1), 0, 1, 1)
    assert stored.rows_path.exists(), "it was not made again"
    assert_equal(restartable, "book")


def test_a_standby_is_read_only_and_can_be_verified(
    restartable: Migration, server: EmbeddedServer, server_folder: Path
) -> None:
    """Nothing is written there; what stands can be proved there; promoted, the week goes on."""
    load_week(restartable, 1)
    before = snapshot(restartable)
    embedded.stop(server_folder)
    signal_file = server.data / "standby.signal"
    signal_file.touch()
    os.chown(signal_file, server.data.stat().st_uid, server.data.stat().st_gid)
    embedded.start(server_folder, options=embedded.FAST)
    change(restartable, "UPDATE book SET pages = 7")
    error = failure(restartable, 2)
    assert isinstance(error, TargetUnavailableError)
    assert "read-only" in error.what
    assert "writer endpoint" in error.hint
    found = standing.verify(restartable, "book")
    assert found is not None
    assert found[0].holds
    assert snapshot(restartable) == before
    write_on_target(restartable, "SELECT pg_promote()")
    load_week(restartable, 2)
    assert_equal(restartable)


@pytest.fixture
def crowded(make_migration: MakeMigration, role: str) -> tuple[Migration, Migration]:
    """Return a migration as a role that may have one connection only, and the same as admin."""
    admin = make_migration(BOOKS)
    name = target_rows(admin, "SELECT current_database()")[0][0]
    write_on_target(
        admin,
        f'ALTER ROLE "{role}" CONNECTION LIMIT 1',
        f'GRANT CREATE ON DATABASE "{name}" TO "{role}"',
        f'GRANT CREATE, USAGE ON SCHEMA public TO "{role}"',
    )
    return connected_as(admin, user=role, password=PASSWORD), admin


def test_too_many_connections_are_tried_again_and_then_named(
    crowded: tuple[Migration, Migration],
) -> None:
    """53300 at connect is worth the patience; after it, the reason is told, and nothing is made."""
    migration, admin = crowded
    started = time.monotonic()
    with on_target(migration):
        error = failure(migration)
    assert isinstance(error, TargetUnreachableError)
    assert "too many connections" in error.what
    assert "within 2 s" in error.what
    assert 2 <= time.monotonic() - started < 20
    assert snapshot(admin) == {}
    load_week(migration, 1)
    assert_equal(admin)


def test_a_connection_that_gets_free_within_the_patience_is_used(
    crowded: tuple[Migration, Migration],
) -> None:
    """Nobody has to run the week again."""
    migration, admin = crowded
    patient = replace(migration, target=replace(migration.target, patience=60.0))
    with ExitStack() as other:
        other.enter_context(on_target(migration))
        timer = threading.Timer(1.0, other.close)
        timer.start()
        load_week(patient, 1)
        timer.join()
    assert_equal(admin)


@pytest.mark.parametrize(
    ("parts", "said"),
    [({"host": "nowhere.invalid"}, "nowhere.invalid"), ({"port": "1"}, "no connection within")],
)
def test_a_wrong_host_or_port_is_given_up_after_its_patience_and_nothing_is_made(
    make_migration: MakeMigration, parts: dict[str, str], said: str
) -> None:
    """A name may come back, a server too; with the right one, the same week goes through."""
    migration = make_migration(BOOKS)
    wrong = connected_as(migration, password=PASSWORD, **parts)
    error = failure(wrong)
    assert isinstance(error, TargetUnavailableError)
    assert said in str(error)
    assert snapshot(migration) == {}
    load_week(migration, 1)
    assert_equal(migration)


def test_a_wrong_password_fails_at_once(make_migration: MakeMigration) -> None:
    """Waiting can't help, and trying again may lock the account."""
    migration = connected_as(make_migration(BOOKS, connect_patience=60.0), password=PASSWORD)
    started = time.monotonic()
    error = failure(migration)
    assert isinstance(error, TargetError)
    assert "password" in str(error)
    assert time.monotonic() - started < 20


def test_a_database_that_does_not_exist_fails_at_once(make_migration: MakeMigration) -> None:
    """Its name is in the message, with what to check."""
    migration = connected_as(make_migration(BOOKS, connect_patience=60.0), dbname="no_such_db")
    error = failure(migration)
    assert isinstance(error, TargetError)
    assert "no_such_db" in str(error)


def test_a_url_that_is_none_is_a_wrong_setting(make_migration: MakeMigration) -> None:
    """The URL itself is not repeated: it may hold the password."""
    migration = make_migration(BOOKS, target=f"postgresql://user:{PASSWORD}@[host/x")
    with pytest.raises(SettingsError) as caught:
        step.bootstrap(migration)
    assert PASSWORD not in str(caught.value)


def test_a_role_without_rights_is_told_which_ones_and_completes_once_granted(
    make_migration: MakeMigration, role: str
) -> None:
    """First on the database, then on the schema; nothing is half made in between."""
    admin = make_migration(BOOKS)
    migration = connected_as(admin, user=role, password=PASSWORD)
    name = target_rows(admin, "SELECT current_database()")[0][0]
    error = failure(migration)
    assert isinstance(error, TargetError)
    assert f"permission denied for database {name}" in str(error)
    assert "grant" in str(error)
    write_on_target(admin, f'GRANT CREATE ON DATABASE "{name}" TO "{role}"')
    error = failure(migration)
    assert isinstance(error, TargetError)
    assert "permission denied for schema public" in str(error)
    write_on_target(admin, f'GRANT CREATE, USAGE ON SCHEMA public TO "{role}"')
    load_week(migration, 1)
    assert_equal(admin)
    noted = target_rows(admin, "SELECT error, table_name FROM migration.attempt")
    assert noted == [("TargetError", "book")]


def test_a_target_that_is_read_only_is_transient(make_migration: MakeMigration) -> None:
    """As after a failover, when the name still leads to the old writer."""
    migration = make_migration(BOOKS)
    name = target_rows(migration, "SELECT current_database()")[0][0]
    write_on_target(migration, f"ALTER DATABASE {name} SET default_transaction_read_only TO on")
    error = failure(migration)
    assert isinstance(error, TargetUnavailableError)
    assert "read-only" in str(error)
    with on_target(migration) as connection:
        connection.execute("SET transaction_read_only TO off")
        connection.execute("SET default_transaction_read_only TO off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    load_week(migration, 1)
    assert_equal(migration)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE book (id bigint PRIMARY KEY, title text, pages bigint)",
        "CREATE TABLE book AS SELECT 'of somebody else' AS other_column, 7 AS id",
        "CREATE TABLE book AS SELECT 1::bigint AS id, 'theirs' AS title, 9::bigint AS pages",
        "CREATE VIEW book AS SELECT 1 AS id",
        "CREATE SEQUENCE book",
        "CREATE TYPE book AS (id bigint)",
    ],
)
def test_something_of_that_name_that_is_not_ours_is_left_alone(
    make_migration: MakeMigration, made: str
) -> None:
    """A first load makes its table; what stands there already belongs to somebody."""
    migration = make_migration(BOOKS)
    write_on_target(migration, made)
    before = target_rows(migration, "SELECT oid, relname FROM pg_class ORDER BY oid")
    theirs = target_rows(migration, "SELECT t::text FROM book AS t") if "AS SELECT" in made else []
    error = failure(migration)
    assert isinstance(error, TargetError)
    assert "book" in str(error)
    assert "rename" in str(error)
    if theirs:
        assert target_rows(migration, "SELECT t::text FROM book AS t") == theirs
    after = target_rows(migration, "SELECT oid, relname FROM pg_class ORDER BY oid")
    assert set(before) <= set(after)
    kind = made.split()[1]
    write_on_target(migration, f"DROP {kind} book")
    load_week(migration, 1)
    assert_equal(migration)


def test_a_table_that_was_dropped_on_the_target_is_named(make_migration: MakeMigration) -> None:
    """It is not made again in silence: somebody dropped it, with what others wrote in it."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE book RENAME TO gone")
    error = failure(migration, 2)
    assert isinstance(error, TargetError)
    assert "public.book is gone" in str(error)
    with pytest.raises(TargetError):
        standing.verify(migration, "book")
    write_on_target(migration, "ALTER TABLE gone RENAME TO book")
    load_week(migration, 2)
    assert_equal(migration)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        pytest.param(
            "ALTER TABLE book ALTER pages TYPE int",
            "ALTER TABLE book ALTER pages TYPE bigint",
            id="type",
        ),
        pytest.param(
            "ALTER TABLE book ALTER title TYPE varchar(200)",
            "ALTER TABLE book ALTER title TYPE text",
            id="length",
        ),
        pytest.param(
            "ALTER TABLE book RENAME pages TO leaves",
            "ALTER TABLE book RENAME leaves TO pages",
            id="name",
        ),
    ],
)
def test_a_column_that_was_changed_on_the_target_is_named(
    make_migration: MakeMigration, there: str, back: str
) -> None:
    """Loading on would round or cut; the step stops until the change is undone."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(migration, there)
    change(migration, "UPDATE book SET pages = 5000000000 WHERE id = 1")
    before = snapshot(migration)
    error = failure(migration, 2)
    assert isinstance(error, TargetError)
    assert there.split()[4] in str(error) or there.split()[5] in str(error)
    assert snapshot(migration) == before
    write_on_target(migration, back)
    load_week(migration, 2)
    assert_equal(migration)


def test_a_key_that_was_dropped_on_the_target_is_refused(make_migration: MakeMigration) -> None:
    """Without it a row could stand twice."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE book DROP CONSTRAINT book_pkey")
    change(migration, "UPDATE book SET pages = 1", "INSERT INTO book VALUES (3, NULL, NULL)")
    before = snapshot(migration)
    assert isinstance(failure(migration, 2), TerminalError)
    assert snapshot(migration) == before


def test_a_ledger_of_another_version_is_left_alone(make_migration: MakeMigration) -> None:
    """Found and expected version are named, and nothing is read or written."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE migration.version SET version = 99")
    error = failure(migration, 2)
    assert isinstance(error, TargetError)
    assert "version 99" in str(error)
    assert "version 4 or older" in str(error)
    assert len(entries(migration, "book")) == 1


def test_a_database_that_is_not_utf8_is_refused(
    make_migration: MakeMigration, postgres: EmbeddedServer, target_url: str
) -> None:
    """SQL_ASCII takes any bytes and hands them on as they come; equality would prove nothing."""
    name = str(conninfo.conninfo_to_dict(target_url)["dbname"]) + "_ascii"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        create = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
        connection.execute(sql.SQL(create).format(sql.Identifier(name)))
        migration = connected_as(make_migration(BOOKS), dbname=name)
        error = failure(migration)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    assert isinstance(error, UnsupportedError)
    assert "SQL_ASCII" in str(error)
    assert "UTF8" in str(error)


@pytest.mark.parametrize("stage", ["locked", "staged", "quarantined", "written"])
def test_a_session_ended_by_an_administrator_is_transient_and_the_next_run_completes(
    make_migration: MakeMigration, stage: str
) -> None:
    """`pg_terminate_backend` in the middle of a move: nothing shows, and it may be tried again."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    change(migration, "UPDATE book SET pages = pages + 1")
    step.take_cut(migration, week(2))
    before = snapshot(migration)

    def at(reached: str) -> None:
        if reached == stage:
            write_on_target(
                migration,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'migration-assets' AND datname = current_database()",
            )

    with pytest.raises(TransientError):
        carry(migration, 2, "book", at=at)
    assert snapshot(migration) == before
    carry(migration, 2, "book")
    assert_equal(migration, "book")
    assert len(entries(migration, "book")) == 2


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        ("ADD CONSTRAINT no_more CHECK (pages < 300)", "no_more"),
        ("ADD CONSTRAINT no_twins UNIQUE (pages)", "no_twins"),
        ("ADD CONSTRAINT no_parent FOREIGN KEY (pages) REFERENCES other", "no_parent"),
        ("ALTER title SET NOT NULL", "title"),
    ],
)
def test_a_constraint_of_the_target_that_refuses_a_row_is_named_without_the_row(
    make_migration: MakeMigration, refusal: str, named: str
) -> None:
    """PostgreSQL's own detail would quote the row."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE TABLE other (id bigint PRIMARY KEY)",
        "INSERT INTO other VALUES (100), (200)",
        f"ALTER TABLE book {refusal}",
    )
    change(
        migration,
        f"INSERT INTO book VALUES (3, '{SECRET} three', 300)",
        "INSERT INTO book VALUES (4, NULL, 300)",
    )
    before = snapshot(migration)
    error = failure(migration, 2)
    assert isinstance(error, TargetError)
    assert named in str(error)
    assert snapshot(migration) == before


@pytest.mark.parametrize("code", ["P0001", "22023", "XX123"])
def test_an_error_that_a_trigger_raises_is_told_by_its_code(
    make_migration: MakeMigration, code: str
) -> None:
    """Its text may hold a row value; codes that PostgreSQL doesn't know are told too."""
    migration = make_migration(BOOKS)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION"
        f" 'no: %', NEW.title USING ERRCODE = '{code}'; END$$",
        "CREATE TRIGGER complaining BEFORE INSERT ON book FOR EACH ROW EXECUTE FUNCTION complain()",
    )
    change(migration, f"INSERT INTO book VALUES (3, '{SECRET}', 1)")
    error = failure(migration, 2)
    assert isinstance(error, TargetError)
    assert code in str(error)


def test_another_target_schema_is_made_where_it_is_missing(
    make_migration: MakeMigration, target_url: str
) -> None:
    """Also where the ledger stands already, from an attempt with another setting."""
    step.bootstrap(make_migration(BOOKS))
    settings = make_migration("").settings
    migration = migration_of(settings.source, settings.state, target_url, target_schema="App Ω")
    load_week(migration, 1)
    rows = target_rows(migration, 'SELECT id FROM "App Ω".book ORDER BY id')
    assert rows == [(1,), (2,)]
