"""Nothing that was written holds a row value or a secret: markers are planted and searched for.

Searched is everything but what has to hold rows: cuts, deltas, the tables, quarantine, displaced
rows. Failures of every kind are lived through, since their texts are where values hide.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml
from psycopg import conninfo

from migration_assets import preparing, standing
from migration_assets.errors import MigrationError, TargetUnavailableError
from migration_assets.migration import Migration
from migration_assets_tests import command
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    change,
    load_week,
    run_week,
    week,
    write_on_target,
)

FIRST = "2024-10-06"
PASSWORD = "pa55-W0RD-marker"  # noqa: S105 - it is what is searched for
WRONG = "wr0ng-W0RD-marker"
TEXT, NUMBER, KEY = "M4RKv", "7319045", "M4RKk"
FORMS = (  # a value, and how it looks as bytes in text, whatever wrote it
    *(TEXT, NUMBER, TEXT.encode().hex(), TEXT.encode().hex().upper(), "TTRSS3"),
    *(PASSWORD, WRONG),
)
SCHEMA = f"""
CREATE TABLE people (
    name TEXT PRIMARY KEY, born INTEGER, weight REAL, price DECIMAL(20,2), photo BLOB, born_on DATE,
    seen DATETIME, notes JSON, extra TEXT DEFAULT ('M4' || 'RKv-default'), any_ ANY,
    CHECK (born > 0));
CREATE UNIQUE INDEX people_born ON people (born);
CREATE TABLE visit (page TEXT, seconds REAL);
INSERT INTO people (name, born, weight, price, photo, born_on, seen, notes, any_) VALUES
  ('{KEY}-a', {NUMBER}1, {NUMBER}.5, {NUMBER}.25, CAST('{TEXT}' AS BLOB), '1999-01-02',
   '1999-01-02 03:04:05', '{{"a": "{TEXT}"}}', '{TEXT}'),
  ('{KEY}-b', {NUMBER}2, {NUMBER}.75, {NUMBER}.5, NULL, NULL, NULL, NULL, {NUMBER}),
  ('{KEY}-q', '{TEXT}-unfit', '{TEXT}', '{TEXT}', '{TEXT}', '{TEXT}', '{TEXT}', '{TEXT}', NULL);
INSERT INTO visit VALUES ('/{TEXT}', {NUMBER}.5), ('/{TEXT}', {NUMBER}.5), ('/{TEXT}', '{TEXT}');
"""
INSERT = "INSERT INTO people (name, born, notes) VALUES ('{key}-{n}', {number}{n}, '{text}')"
# Typed on purpose: the rows of markers that don't fit go to quarantine.
TYPED = {
    "people": {"columns": {"born": {"type": "bigint"}, "weight": {"type": "double precision"}}},
    "visit": {"columns": {"seconds": {"type": "double precision"}}},
}
TRANSFORMS = """
def raising(frame):
    raise ValueError(f"no: {frame.rows()}")
"""
DATA = ("cuts/", "deltas/", "work/")  # what holds rows, below the state folder
DYNAMIC = """
CREATE FUNCTION public.complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('SELECT %I', NEW.name || NEW.notes); RETURN NEW; END $$;
CREATE TRIGGER complain BEFORE INSERT ON public.people
    FOR EACH ROW EXECUTE FUNCTION public.complain();
"""


def row(number: int, text: str = TEXT) -> str:
    """Return the statement that inserts another row of markers."""
    return INSERT.format(key=KEY, n=number, number=NUMBER, text=text)


def marked(text: str, *, keys: bool = False) -> list[str]:
    """Return the markers in a text."""
    return [form for form in (*FORMS, *([] if keys else [KEY])) if form in text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder as a team sets it up, and what the commands said in it."""

    folder: Path
    target: str
    said: list[str]

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    def configure(self, **settings: object) -> None:
        """Write settings; those not named stand as they were."""
        file = self.folder / "migration.yaml"
        stand = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {}
        file.write_text(yaml.safe_dump(stand | settings), "utf-8")

    def type_in(self, *arguments: str, **variables: str) -> int:
        """Run a command and keep what it says."""
        given = {"HOME": str(self.folder), "PYTHONPATH": str(self.folder), **variables}
        done = command.type_in(*arguments, folder=self.folder, environment=given)
        self.said.append(f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.returncode

    def change(self, *statements: str) -> None:
        """Change the source."""
        with closing(sqlite3.connect(self.folder / "app.sqlite")) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                connection.execute(statement)

    def files(self) -> dict[str, str]:
        """Return everything that was written in the folder but rows, by path."""
        return {
            path: found.read_bytes().decode("latin-1")
            for found in self.folder.rglob("*")
            if found.is_file()
            and found.suffix not in (".sqlite", ".py", ".pyc")
            and not (path := str(found.relative_to(self.folder))).startswith(
                tuple(f"state/{name}" for name in DATA)
            )
        }


@pytest.fixture
def site(tmp_path: Path, target_url: str) -> Iterator[Site]:
    """Return a folder with a source full of markers, and a target with a password of its own."""
    parts = conninfo.conninfo_to_dict(target_url)
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE leaky LOGIN SUPERUSER PASSWORD '{PASSWORD}'".encode())
        url = f"postgresql://leaky:{{}}@{parts['host']}:{parts['port']}/{parts['dbname']}"
        site = Site(folder=tmp_path, target=url, said=[])
        shutil.copy(command.ROOT / "dagster.yaml", tmp_path)
        (tmp_path / "marker_transforms.py").write_text(TRANSFORMS, "utf-8")
        site.configure(
            source="app.sqlite",
            target="env:APP_TARGET",
            state="state",
            first_week=FIRST,
            dagster_storage="sqlite",
            show_keys=False,
            weeks=3,
            tables=TYPED,
            quarantine_rows=9,
            connect_patience=20,
        )
        with closing(sqlite3.connect(tmp_path / "app.sqlite")) as source:
            source.executescript(SCHEMA)
        try:
            yield site
        finally:
            connection.execute("DROP OWNED BY leaky CASCADE; DROP ROLE leaky")
            sys.modules.pop("marker_transforms", None)


LOOKS = (
    ("doctor",),
    ("doctor", "--json"),
    ("plan",),
    ("plan", "--json"),
    ("status",),
    ("status", "--json"),
    ("verify",),
    ("verify", "--json"),
    ("quarantine", "list"),
    ("quarantine", "list", "--json"),
    ("quarantine", "replay", "--json"),
)


def test_commands_and_dagster_keep_no_value_key_or_secret(site: Site, target_url: str) -> None:
    """Good weeks and failed ones, every command, with the right password and with a wrong one."""
    right = {"APP_TARGET": site.target.format(PASSWORD)}
    assert site.type_in("run", "--week", FIRST, **right) == 0
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(DYNAMIC)
        site.change(row(3), "UPDATE visit SET page = page || '!' WHERE rowid = 1")
        assert site.type_in("run", "--week", "2024-10-13", **right) == 1
        connection.execute("DROP FUNCTION public.complain CASCADE")
        site.configure(tables=TYPED | {"people": {"transform": "marker_transforms:raising"}})
        assert site.type_in("run", "--week", "2024-10-13", "--table", "people", **right) == 1
        assert site.type_in("plan", **right) in (0, 1)
        site.configure(tables=TYPED)
        connection.execute(f"UPDATE public.people SET notes = '[\"{TEXT}-foreign\"]'".encode())
        for look in LOOKS:
            site.type_in(*look, **right)
        ledger = [
            str(connection.execute(f"SELECT * FROM migration.{table}".encode()).fetchall())
            for table in ("ledger", "attempt", "mapping", "hold", "foreign_write")
        ]
    for look in (("run", "--week", "2024-10-13"), ("doctor",), ("verify", "--json")):
        assert site.type_in(*look, APP_TARGET=site.target.format(WRONG)) != 0
    files = site.files()
    assert any(TEXT.encode() in cut.read_bytes() for cut in site.state.rglob("cuts/**/*.sqlite"))
    assert any("storage" in path or path.endswith(".db") for path in files), list(files)
    assert any("complain" in text for text in [*files.values(), *site.said])
    assert "ValueError" in "".join(site.said)
    assert "password authentication failed" in "".join(site.said)
    assert {path: found for path, text in files.items() if (found := marked(text))} == {}
    assert {said.splitlines()[0]: f for said in site.said if (f := marked(said))} == {}
    assert [found for text in ledger if (found := marked(text))] == []


def test_keys_are_shown_where_they_may_and_values_are_not(site: Site, target_url: str) -> None:
    """`show_keys` is for people who need to find the row; that is all they are told."""
    right = {"APP_TARGET": site.target.format(PASSWORD)}
    site.configure(show_keys=True)
    assert site.type_in("run", "--week", FIRST, **right) == 0
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(f"UPDATE public.people SET notes = '[\"{TEXT}-foreign\"]'".encode())
    for look in LOOKS:
        site.type_in(*look, **right)
    said = "".join(site.said)
    assert KEY in said
    assert marked(said, keys=True) == []
    assert [found for text in site.files().values() if (found := marked(text, keys=True))] == []


def test_no_process_shows_the_password(site: Site) -> None:
    """Neither ours nor one that is started: not in the list of processes, which all may read."""
    given = {
        "HOME": str(site.folder),
        "APP_TARGET": site.target.format("").replace(":@", "@"),
        "PGPASSWORD": PASSWORD,
        "PYTHONPATH": str(command.ROOT),
        "PATH": "/usr/bin:/bin",
    }
    seen: set[str] = set()
    program = Path(sys.executable).with_name("migration-assets")
    with subprocess.Popen(
        [program, "run", "--week", FIRST],
        env=given,
        cwd=site.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        while True:
            for one in psutil.Process(process.pid).children(recursive=True):
                try:
                    seen.add(" ".join(one.cmdline()))
                except psutil.Error:
                    continue  # it has ended
            try:
                output, _ = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                continue
    assert process.returncode == 0, output.decode()
    assert PASSWORD not in "".join(seen) + output.decode()
    files = site.files()
    assert [path for path, text in files.items() if PASSWORD in text] == []


RAISING = """
CREATE OR REPLACE FUNCTION public.complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no: %', NEW USING ERRCODE = '{code}', DETAIL = NEW::text, HINT = NEW::text,
    CONSTRAINT = NEW.name, TABLE = NEW.name, COLUMN = NEW.name; END $$;
CREATE OR REPLACE TRIGGER complain BEFORE INSERT ON public.people
    FOR EACH ROW EXECUTE FUNCTION public.complain();
"""
FAILURES = {
    "a CHECK": "ALTER TABLE people ADD CONSTRAINT c CHECK (born < 0) NOT VALID",
    "a unique index": "CREATE UNIQUE INDEX u ON people ((born IS NULL))",
    "NOT NULL": "ALTER TABLE people ADD COLUMN more text; UPDATE people SET more = '';"
    " ALTER TABLE people ALTER COLUMN more SET NOT NULL",
    "a foreign key": "CREATE TABLE p (name text PRIMARY KEY); ALTER TABLE people"
    " ADD FOREIGN KEY (name) REFERENCES p NOT VALID",
    "a generated column that can't be": "ALTER TABLE people ADD COLUMN g int GENERATED ALWAYS AS"
    " (CASE WHEN name LIKE '%-3' THEN notes::text::int END) STORED",
    "a domain": "CREATE DOMAIN short AS text CHECK (length(VALUE) < 8);"
    " ALTER TABLE people ADD COLUMN d short GENERATED ALWAYS AS (name || '-long') STORED",
    "dynamic SQL": DYNAMIC,
    "a foreign write": f"UPDATE people SET notes = '[\"{TEXT}-foreign\"]'",
    **{f"a trigger with {code}": RAISING.format(code=code) for code in ("P0001", "23514", "42601")},
    **{f"a trigger with {code}": RAISING.format(code=code) for code in ("40001", "53100", "0A000")},
}


def told(error: BaseException) -> str:
    """Return an error with everything that it came from, as a log would have it."""
    chain: list[str] = []
    at: BaseException | None = error
    while at is not None:
        chain += [str(at), repr(at), *getattr(at, "__notes__", [])]
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n".join(chain)


@pytest.fixture
def migration(make_migration: MakeMigration) -> Migration:
    """Return a migration whose keys are not shown, loaded for a week."""
    migration = make_migration(SCHEMA, show_keys=False, quarantine_rows=9, tables=TYPED)
    load_week(migration, 1)
    return migration


@pytest.mark.parametrize("name", list(FAILURES))
def test_no_failure_of_the_target_quotes_a_row(migration: Migration, name: str) -> None:
    """Whatever the server says about it: the error, its causes and the ledger's note."""
    statement = FAILURES[name]
    if name in ("a domain", "a unique index"):
        write_on_target(migration, "DELETE FROM people")
        write_on_target(migration, *statement.split(";"))
    else:
        write_on_target(migration, statement)
    change(migration, row(3, text=f'["{TEXT}"]'), row(4, text=f'["{TEXT}"]'))
    error = run_week(migration, 2, tables=["people"])["people"]
    assert isinstance(error, MigrationError)
    assert marked(told(error)) == []
    with psycopg.connect(migration.target.url) as connection:
        notes = connection.execute("SELECT error, message FROM migration.attempt").fetchall()
    assert notes or isinstance(error, TargetUnavailableError)
    assert marked(json.dumps(notes)) == []


CASTS = {
    "a cast that fails": {"notes": {"cast": "json_extract(extra || '{', '$.a')"}},
    "a type that doesn't take it": {"notes": {"type": "timestamptz"}},
}


@pytest.mark.parametrize("name", list(CASTS))
def test_no_failure_of_a_mapping_quotes_a_row(make_migration: MakeMigration, name: str) -> None:
    """SQLite's own text, and that of a type, may hold the value."""
    migration = make_migration(
        SCHEMA, show_keys=False, quarantine_rows=0, tables={"people": {"columns": CASTS[name]}}
    )
    error = run_week(migration, 1, tables=["people"])["people"]
    assert isinstance(error, MigrationError)
    assert marked(told(error)) == []


def test_an_error_of_our_own_is_told_by_class_and_place(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text of Polars, pyarrow or pydantic may quote a row: no terminal and no document has it."""

    def fails(*_: object, **__: object) -> None:
        message = f"cannot convert '{TEXT}' of {KEY}"
        raise ValueError(message)

    right = {"APP_TARGET": site.target.format(PASSWORD)}
    assert site.type_in("run", "--week", FIRST, **right) == 0
    monkeypatch.setattr(standing, "prove", fails)
    monkeypatch.setattr(preparing, "expect", fails)
    site.change(row(3))
    assert site.type_in("verify", **right) == 1
    assert site.type_in("verify", "--json", **right) == 1
    assert "ValueError" in site.said[-1]
    assert [found for said in site.said if (found := marked(said))] == []


def test_the_search_finds_what_is_there(migration: Migration) -> None:
    """Quarantine holds the markers, as it has to."""
    with psycopg.connect(migration.target.url) as connection:
        (values,) = connection.execute(
            "SELECT string_agg(convert_from(v, 'UTF8'), ' ') FROM migration.quarantine,"
            ' unnest("values") AS v WHERE v IS NOT NULL'
        ).fetchone() or ("",)
    assert TEXT in marked(values)
    assert week(1).isoformat() not in values
