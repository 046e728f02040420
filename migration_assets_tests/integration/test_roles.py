"""The roles of deploy/sql: enough for everything the pipeline does, and for nothing else."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from migration_assets import holds, standing, step
from migration_assets.errors import MigrationError
from migration_assets.migration import Migration
from migration_assets.settings import Settings
from migration_assets.target.connection import target_of
from migration_assets_tests import psql
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    change,
    load_week,
    run_week,
    week,
)

ROLES, LEAST = psql.SCRIPTS / "roles.sql", psql.SCRIPTS / "least.sql"
PASSWORD = "pw"  # noqa: S105 - of a role that ends with its test
SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, mail TEXT UNIQUE);
CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, amount INTEGER NOT NULL,
    customer INTEGER REFERENCES customer, placed DATE DEFAULT (date('now')));
CREATE TABLE visit (page TEXT);
INSERT INTO customer VALUES (1, 'Ada', 'a@x'), (2, 'Bob', NULL);
INSERT INTO orders VALUES (1, 10, 1, '2026-01-02'), (2, 20, 2, '2026-01-03');
INSERT INTO visit VALUES ('/'), ('/');
"""
TABLES = ("customer", "orders", "visit")
# What a rehearsed and executed cutover, and an opt-in write guard, do to the loader's own tables.
REFERENCES = "FOREIGN KEY (customer) REFERENCES {s}.customer NOT VALID"
FUNCTION = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN NULL; END $$"
EACH_WRITE = "AFTER INSERT OR UPDATE OR DELETE ON {s}.orders FOR EACH STATEMENT"
OWN = (
    f"ALTER TABLE {{s}}.orders ADD CONSTRAINT f {REFERENCES}",
    "ALTER TABLE {s}.orders VALIDATE CONSTRAINT f",
    "ALTER TABLE {s}.orders ADD CONSTRAINT c CHECK (id > 0)",
    "CREATE INDEX later ON {s}.orders (amount)",
    "ANALYZE {s}.orders",
    "SELECT setval(pg_get_serial_sequence('{s}.orders', 'id'), 100)",
    f"CREATE FUNCTION migration.guarded() {FUNCTION}",
    f"CREATE TRIGGER guard {EACH_WRITE} EXECUTE FUNCTION migration.guarded()",
    "DROP TRIGGER guard ON {s}.orders",
    "DROP FUNCTION migration.guarded()",
    "ALTER TABLE {s}.orders DROP CONSTRAINT f",
    "ALTER TABLE {s}.orders DROP CONSTRAINT c",
    "DROP INDEX {s}.later",
)
NOT_THE_LOADERS = (
    "CREATE ROLE another",
    "CREATE DATABASE another",
    "ALTER SYSTEM SET work_mem TO '1GB'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE EXTENSION plpython3u",
    "SET session_replication_role TO replica",
    "SELECT * FROM theirs.secret",
    "INSERT INTO theirs.secret VALUES (1)",
    "CREATE TABLE theirs.mine (a int)",
    "ALTER TABLE theirs.secret ADD COLUMN b int",
    "DROP TABLE theirs.secret",
    "DROP SCHEMA theirs CASCADE",
    "SELECT * FROM pg_authid",
)
NO_FUNCTION = "suppress_redundant_updates_trigger"
LEDGER = (
    *("version", "mapping", "ledger", "attempt", "quarantine", "displaced", "hold"),
    *("exception", "foreign_write"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database as its owner prepared it, and the names of the roles in it."""

    url: str
    loader: str
    reader: str
    schema: str

    def run(self, script: Path, *leave_out: str) -> None:
        """Run a script as the superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            psql.run(
                connection,
                script,
                *leave_out,
                loader=self.loader,
                reader=self.reader,
                schema=self.schema,
            )
            for role in (self.loader, self.reader):
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), PASSWORD)
                )

    def as_role(self, role: str) -> str:
        """Return the database's URL for a role."""
        return conninfo.make_conninfo(self.url, user=role, password=PASSWORD)

    def do(self, role: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as a role."""
        with psycopg.connect(self.as_role(role), autocommit=True) as connection:
            cursor = connection.execute(statement.format(s=self.schema).encode())
            return cursor.fetchall() if cursor.description else []

    def refused(self, role: str, statement: str) -> None:
        """Make sure that a role may not do this."""
        with pytest.raises(psycopg.Error) as caught:
            self.do(role, statement)
        assert caught.value.sqlstate in ("42501", "0A000"), f"{statement}: {caught.value}"

    def migration(self, like: Migration, role: str) -> Migration:
        """Return the migration as a role sees it."""
        settings = Settings(
            **{
                **like.settings.model_dump(),
                "target": self.as_role(role),
                "target_schema": self.schema,
            }
        )
        return Migration(settings=settings, state=like.state, target=target_of(settings))


@contextmanager
def closed_database(url: str, *, schema: str, hostile: bool = False) -> Iterator[Place]:
    """Lend a database that grants nothing to everybody, with a table of somebody else's."""
    tag = secrets.token_hex(4)
    mark = "\"; DROP TABLE x; -- %s {}'" if hostile else ""
    place = Place(url=url, loader=f"l{mark}{tag}", reader=f"r{mark}{tag}", schema=schema)
    name = conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "CREATE SCHEMA theirs",
            "CREATE TABLE theirs.secret (a int)",
        ):
            connection.execute(statement.encode())
        try:
            yield place
        finally:
            for role in (place.loader, place.reader):
                there = connection.execute(
                    "SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)
                ).fetchone()
                if there:
                    drop = sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}")
                    connection.execute(drop.format(sql.Identifier(role)))


@pytest.fixture
def place(target_url: str) -> Iterator[Place]:
    """Return a closed database whose tables go to `public`."""
    with closed_database(target_url, schema="public") as place:
        yield place


def loads(migration: Migration) -> None:
    """Do as the loader what a life of weeks does: every kind of move, note, hold and replay."""
    load_week(migration, 1)
    change(
        migration,
        "UPDATE customer SET name = 'Eve' WHERE id = 1",
        "DELETE FROM visit WHERE rowid = 1",
        "INSERT INTO orders VALUES (3, 'many', 1, NULL)",  # to quarantine
        "ALTER TABLE customer ADD COLUMN phone TEXT",
        "CREATE INDEX orders_customer ON orders (customer)",
        "CREATE TABLE returns (id INTEGER PRIMARY KEY)",
    )
    load_week(migration, 2)
    change(migration, "UPDATE customer SET phone = '1'")
    step.take_cut(migration, week(3))
    holds.hold(migration, "orders", "looked at")
    holds.release(migration, "orders")
    widened = Settings(
        **{
            **migration.settings.model_dump(),
            "tables": {"orders": {"columns": {"amount": {"type": "text"}}}},
        }
    )
    again = Migration(settings=widened, state=migration.state, target=migration.target)
    assert step.replay(again, "orders", run="test") is not None
    load_week(again, 3)
    failing = run_week(again, 3, tables=["nothing"])["nothing"]
    assert isinstance(failing, MigrationError)
    assert_proved(again, *TABLES)


def reads(migration: Migration) -> None:
    """Do as the reader all that only reads."""
    for table in TABLES:
        found = standing.verify(migration, table)
        assert found is not None
        assert found[0].holds
        assert standing.prove_table(migration, table).holds
        standing.inspect(migration, table)
    status = standing.standing(migration, TABLES, [week(1), week(2), week(3)])
    assert status.heads["customer"] == week(3)
    assert standing.quarantined(migration) is not None
    assert standing.holds(migration) == {}


def everything(place: Place, like: Migration) -> None:
    """Live through weeks as the loader, then look as the reader."""
    loads(place.migration(like, place.loader))
    for statement in OWN:
        place.do(place.loader, statement)
    reads(place.migration(like, place.reader))
    for table in LEDGER:
        place.do(place.reader, f"SELECT * FROM migration.{table}")
    place.do(place.reader, "SELECT * FROM {s}.customer")


@pytest.mark.parametrize("script", [ROLES, LEAST], ids=["roles", "least"])
def test_the_roles_are_enough_for_a_life_of_weeks(
    make_migration: MakeMigration, place: Place, script: Path
) -> None:
    """Loads, changes of the schema, replays and what the cutover does; proofs and status."""
    place.run(script)
    like = make_migration(SHOP)
    everything(place, like)
    assert_equal(like, "customer", "visit")
    place.run(script)  # again, over all that stands
    reads(place.migration(like, place.reader))


@pytest.mark.parametrize("script", [ROLES, LEAST], ids=["roles", "least"])
def test_the_roles_may_do_nothing_else(
    make_migration: MakeMigration, place: Place, script: Path
) -> None:
    """The loader touches nobody else's, the reader writes nowhere."""
    place.run(script)
    load_week(place.migration(make_migration(SHOP), place.loader), 1)
    for statement in NOT_THE_LOADERS:
        place.refused(place.loader, statement)
        place.refused(place.reader, statement)
    if script is LEAST:
        place.refused(place.loader, "CREATE SCHEMA more")
        place.refused(place.loader, "DROP SCHEMA migration CASCADE")
    for table in ("public.customer", *(f"migration.{name}" for name in LEDGER)):
        for statement in (
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table}",
            f"UPDATE {table} SET (a, b) = (1, 2)".replace("(a, b) = (1, 2)", _a_column(table)),
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"BEGIN; LOCK TABLE {table} IN SHARE MODE",
            f"CREATE TRIGGER t AFTER INSERT ON {table} EXECUTE FUNCTION {NO_FUNCTION}()",
            f"DROP TABLE {table}",
        ):
            place.refused(place.reader, statement)
    for statement in (
        "CREATE TABLE public.mine (a int)",
        "CREATE TABLE migration.mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "SELECT nextval(pg_get_serial_sequence('public.orders', 'id'))",
        f'SET ROLE "{place.loader}"',
    ):
        place.refused(place.reader, statement)
    attributes = place.do(
        place.reader,
        "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication"
        f" OR rolbypassrls) FROM pg_roles WHERE rolname IN ('{place.loader}', '{place.reader}')",
    )
    assert attributes == [(False,)]


def _a_column(table: str) -> str:
    column = {"public.customer": "id", "migration.version": "version", "migration.mapping": "hash"}
    return f"{column.get(table, 'source')} = {column.get(table, 'source')}"


def _granting(script: Path) -> list[str]:
    # Membership is for an owner who is no superuser: the how-to's test has such a one.
    return [
        text
        for text in psql.statements(script)
        if "GRANT" in text and "CURRENT_USER" not in text and "pg_class" not in text
    ]


@pytest.mark.parametrize(
    ("script", "statement"),
    [(script, text) for script in (ROLES, LEAST) for text in _granting(script)],
    ids=lambda part: part if isinstance(part, str) else part.stem,
)
def test_no_grant_is_more_than_is_needed(
    make_migration: MakeMigration, place: Place, script: Path, statement: str
) -> None:
    """Without any one of them something fails."""
    place.run(script, statement)
    like = make_migration(SHOP)
    with pytest.raises((MigrationError, psycopg.Error, AssertionError)):
        everything(place, like)


def test_tables_of_before_are_granted_when_a_script_comes_late(
    make_migration: MakeMigration, place: Place
) -> None:
    """Whoever loaded before there was a reader runs the script again."""
    late = [text for text in psql.statements(ROLES) if "DEFAULT PRIVILEGES" in text]
    place.run(ROLES, *late)
    like = make_migration(SHOP)
    loads(place.migration(like, place.loader))
    place.refused(place.reader, "SELECT * FROM {s}.customer")
    place.run(ROLES)
    reads(place.migration(like, place.reader))


@pytest.mark.parametrize("script", [ROLES, LEAST], ids=["roles", "least"])
def test_names_of_roles_and_schema_are_only_names(
    make_migration: MakeMigration, target_url: str, script: Path
) -> None:
    """Quotes, semicolons, percent signs and braces in them change nothing."""
    schema = 'sch"ema; --%s'
    with closed_database(target_url, schema=schema, hostile=True) as place:
        place.run(script)
        like = make_migration(SHOP)
        loads(place.migration(like, place.loader))
        reads(place.migration(like, place.reader))


def test_the_ledger_is_brought_forward_by_the_loader_alone(
    make_migration: MakeMigration, place: Place
) -> None:
    """A new release's layout needs no right that a load doesn't."""
    place.run(LEAST)
    like = place.migration(make_migration(SHOP), place.loader)
    load_week(like, 1)
    for statement in (
        "DROP TABLE migration.exception, migration.foreign_write",
        "ALTER TABLE migration.ledger DROP COLUMN restores",
        "UPDATE migration.version SET version = 3",
    ):
        place.do(place.loader, statement)
    load_week(like, 2)
    assert place.do(place.reader, "SELECT count(*) FROM migration.exception") == [(0,)]
