"""The scripts of deploy/sql in psql itself, as a DBA runs them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from migration_assets_tests import psql
from migration_assets_tests.debian_postgres import MissingProgramError

SCRIPTS = ("roles.sql", "least.sql")
# Everything that a script grants in this database, to whom, by whom, on what.
GRANTED = """
SELECT 'database', acl::text FROM pg_database, unnest(datacl) AS acl
WHERE datname = current_database()
UNION ALL SELECT nspname, acl::text FROM pg_namespace, unnest(nspacl) AS acl
UNION ALL SELECT 'default ' || defaclobjtype::text || defaclnamespace::regnamespace, acl::text
FROM pg_default_acl, unnest(defaclacl) AS acl
UNION ALL SELECT relname, acl::text FROM pg_class, unnest(relacl) AS acl
WHERE relname = 'early'
ORDER BY 1, 2
"""
EARLY = """
CREATE ROLE "lo'ader"; CREATE TABLE early (a int); ALTER TABLE early OWNER TO "lo'ader";
"""
GIVEN = {"loader": "lo'ader", "reader": 'rea"der', "schema": "a schema"}


@pytest.fixture
def database(target_url: str) -> Iterator[str]:
    """Return the URL of a database with a table of a loader; its roles are gone afterwards."""
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(EARLY.encode())
        yield target_url
        for role in (GIVEN["loader"], GIVEN["reader"]):
            drop = sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE IF EXISTS {0}")
            connection.execute(drop.format(sql.Identifier(role)))


def by_psql(url: str, script: Path) -> None:
    """Run a script in psql."""
    program = shutil.which("psql")
    if program is None:
        raise MissingProgramError("psql isn't installed. On Debian: apt-get install postgresql-15")
    variables = [f"--set={name}={value}" for name, value in GIVEN.items()]
    done = subprocess.run(
        [program, "--no-psqlrc", url, *variables, "--file", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not {"ERROR", "WARNING"} & set(done.stderr.replace(":", " ").split())


def granted(url: str) -> list[tuple[str, str]]:
    """Return what is granted, in a database whose name differs each time."""
    with psycopg.connect(url) as connection:
        return connection.execute(GRANTED).fetchall()


@pytest.mark.parametrize("name", SCRIPTS)
def test_psql_does_what_the_tests_reading_of_a_script_does(database: str, name: str) -> None:
    """The other tests need no psql because of that; a second run changes nothing."""
    script = psql.SCRIPTS / name
    by_psql(database, script)
    first = granted(database)
    by_psql(database, script)
    assert granted(database) == first
    with psycopg.connect(database, autocommit=True) as connection:
        for role in GIVEN["loader"], GIVEN["reader"]:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
        connection.execute('DROP SCHEMA IF EXISTS "a schema", migration')
        connection.execute("CREATE TABLE early (a int)")
        connection.execute('ALTER TABLE early OWNER TO "lo\'ader"')
        psql.run(connection, script, **GIVEN)
    assert granted(database) == first
    assert any("early" in on for on, _ in first)
    assert conninfo.conninfo_to_dict(database)["dbname"]
