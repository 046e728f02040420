"""The backup of the target: complete and readable, no secret where others see it, or refused."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import psycopg
import pytest
from psycopg import conninfo

from migration_assets.cutover import backup
from migration_assets.errors import SettingsError, TargetError, TargetUnavailableError
from migration_assets.migration import Migration
from migration_assets.report.certificate import Verdict
from migration_assets.settings import Settings
from migration_assets.target import dump
from migration_assets.target.connection import Target, connect
from migration_assets.target.embedded import EmbeddedServer
from migration_assets.target.snapshot import Snapshots
from migration_assets_tests.fixtures_migration import MakeMigration, load_week, on_target
from migration_assets_tests.fixtures_postgres import own_database

NOTES = """
CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
INSERT INTO note VALUES (1, 'one'), (2, 'two');
CREATE TABLE "odd; name $x" (id INTEGER PRIMARY KEY);
"""


@pytest.fixture
def migration(make_migration: MakeMigration) -> Migration:
    """Return a migration with one week on its target, backed up by pg_dump."""
    made = make_migration(NOTES, backup="pg_dump")
    load_week(made, 1)
    return made


# ------------------------------------------------------------------------------------- pg_dump


def test_a_backup_restores_what_the_target_held(
    migration: Migration, postgres: EmbeddedServer
) -> None:
    """Into an empty database, with the same rows, keys and ledger."""
    taken = backup.take(migration)
    file = migration.state.path(taken.place)
    with own_database(postgres) as url:
        programs = dump.find(18)
        restored = subprocess.run(
            [programs.folder / "pg_restore", "--exit-on-error", f"--dbname={url}", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert restored.returncode == 0, restored.stderr
        query = "SELECT id, body FROM public.note ORDER BY id"
        with psycopg.connect(url) as there, on_target(migration) as here:
            assert there.execute(query).fetchall() == here.execute(query).fetchall()
            counted = there.execute("SELECT count(*) FROM migration.ledger").fetchone()
            assert counted == (2,)


def test_a_damaged_backup_is_not_called_one(migration: Migration, tmp_path: Path) -> None:
    """Cut off at any place, or without a table's data: its own list can still be read."""
    taken = backup.take(migration)
    whole = migration.state.path(taken.place).read_bytes()
    programs = dump.find(18)
    cut_off = tmp_path / "cut_off.dump"
    for length in (len(whole) // 2, len(whole) - 10, 4):
        cut_off.write_bytes(whole[:length])
        with pytest.raises(TargetError):
            dump.check(programs, cut_off, [("public", "note")])
    cut_off.write_bytes(whole)
    dump.check(programs, cut_off, [("public", "note"), ("public", "odd; name $x")])
    with pytest.raises(TargetError, match=r"lacks the data of public\.other"):
        dump.check(programs, cut_off, [("public", "other")])


def test_no_secret_is_among_the_arguments(tmp_path: Path) -> None:
    """Any user of the machine can read those; an environment only its owner."""
    seen = tmp_path / "seen"
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" > {seen}\necho "$PGPASSWORD" >> {seen}\n')
    program.chmod(0o755)
    target = Target(url="postgresql://me:hush-hush@127.0.0.1:1/db?sslmode=prefer")
    dump.dump(dump.Programs(folder=tmp_path, major=18), target, tmp_path / "file")
    arguments, password = seen.read_text().splitlines()
    assert "hush-hush" not in arguments
    assert "dbname=db" in arguments
    assert "user=me" in arguments
    assert password == "hush-hush"  # noqa: S105 - a made-up one
    with_key = Target(url=f"{target.url}&sslpassword=quiet")
    with pytest.raises(TargetError, match="sslpassword") as refused:
        dump.dump(dump.Programs(folder=tmp_path, major=18), with_key, tmp_path / "file")
    assert "quiet" not in str(refused.value)


def test_programs_older_than_the_server_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that fits is taken; where none does, all are named."""
    for name, version in (("old", 9), ("new", 99)):
        for program in ("pg_dump", "pg_restore"):
            file = tmp_path / name / program
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.1'\n")
            file.chmod(0o755)
    path = os.pathsep.join(str(tmp_path / name) for name in ("none", "old", "new"))
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    assert dump.find(20) == dump.Programs(folder=tmp_path / "new", major=99)
    with pytest.raises(TargetError, match="no pg_dump for PostgreSQL 100") as missing:
        dump.find(100)
    assert f"{tmp_path / 'old'}: 9" in missing.value.what


def test_a_role_that_may_not_read_everything_gets_no_backup(migration: Migration) -> None:
    """And is told what it lacks; a half backup is none."""
    with on_target(migration) as connection:
        connection.execute("CREATE SCHEMA theirs CREATE TABLE secret (n int)")
        connection.execute("CREATE ROLE reader_of_half LOGIN PASSWORD 'x'")
        try:
            parts = conninfo.conninfo_to_dict(migration.target.url)
            role = {"user": "reader_of_half", "password": "x"}
            half = conninfo.make_conninfo("", **{**parts, **role})
            folder = migration.settings.state
            with pytest.raises(TargetError, match="permission denied") as refused:
                dump.dump(dump.find(18), Target(url=half), folder / "half.dump")
            assert "pg_read_all_data" in refused.value.hint
        finally:
            connection.execute("DROP ROLE reader_of_half")


# ------------------------------------------------------------------------------------- snapshot

_NAMESPACE = "http://rds.amazonaws.com/doc/2014-10-31/"


class Rds(BaseHTTPRequestHandler):
    """A stand-in for the query API of Amazon RDS, on this machine."""

    statuses: list[str]
    calls: list[dict[str, list[str]]]
    host: str

    def do_POST(self) -> None:
        """Answer as RDS does: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = parse_qs(body)
        self.calls.append(asked)
        action = asked["Action"][0]
        if action == "DescribeDBClusters" and asked["DBClusterIdentifier"] != ["app"]:
            self._answer(
                404,
                f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type>'
                "<Code>DBClusterNotFoundFault</Code><Message>arn secret</Message>"
                "</Error></ErrorResponse>",
            )
        else:
            self._answer(200, self._document(action, asked))

    def _document(self, action: str, asked: dict[str, list[str]]) -> str:
        if action == "DescribeDBClusters":
            found = (
                "<DBClusters><DBCluster><DBClusterIdentifier>app</DBClusterIdentifier>"
                f"<Status>available</Status><Endpoint>{escape(self.host)}</Endpoint>"
                "</DBCluster></DBClusters>"
            )
        else:
            name = asked["DBClusterSnapshotIdentifier"][0]
            status = "creating" if action.startswith("Create") else self.statuses.pop(0)
            one = (
                f"<DBClusterSnapshotIdentifier>{name}</DBClusterSnapshotIdentifier>"
                f"<Status>{status}</Status>"
            )
            found = (
                f"<DBClusterSnapshot>{one}</DBClusterSnapshot>"
                if action.startswith("Create")
                else "<DBClusterSnapshots><DBClusterSnapshot>"
                f"{one}</DBClusterSnapshot></DBClusterSnapshots>"
            )
        return (
            f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{found}</{action}Result>'
            f"</{action}Response>"
        )

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "text/xml")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - says nothing
        """Say nothing."""


@contextmanager
def rds(
    monkeypatch: pytest.MonkeyPatch, *statuses: str, host: str = "127.0.0.1"
) -> Iterator[list[dict[str, list[str]]]]:
    """Run the stand-in, and let boto3 find it; yields what it was asked."""
    calls: list[dict[str, list[str]]] = []
    fields = {"statuses": list(statuses), "calls": calls, "host": host}
    server = HTTPServer(("127.0.0.1", 0), type("Of", (Rds,), fields))
    for name, value in (
        ("AWS_ENDPOINT_URL_RDS", f"http://127.0.0.1:{server.server_port}"),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def snapshots(**settings: object) -> Snapshots:
    """Return the boundary to AWS, for cluster `app` unless told otherwise."""
    fields = {"aurora_cluster": "app", "aws_region": "eu-central-1", **settings}
    return Snapshots(Settings(source=Path("a"), target="postgresql://h/d", **fields))  # pyright: ignore[reportArgumentType] - of settings


def test_a_snapshot_is_waited_for_until_it_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once, by the cluster's name, and its own says when."""
    with rds(monkeypatch, "creating", "creating", "available") as calls:
        name = snapshots().take(datetime(2026, 11, 24, 17, tzinfo=UTC), pause=0)
    assert name == "migration-assets-20261124170000"
    assert [c["Action"][0] for c in calls] == [
        "CreateDBClusterSnapshot",
        *["DescribeDBClusterSnapshots"] * 3,
    ]
    assert calls[0]["DBClusterIdentifier"] == ["app"]
    assert {tuple(c["DBClusterSnapshotIdentifier"]) for c in calls} == {(name,)}


def test_a_snapshot_that_fails_or_takes_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says so; the cutover stops there."""
    with rds(monkeypatch, "creating", "failed"), pytest.raises(TargetError, match="is failed"):
        snapshots().take(pause=0)
    with (
        rds(monkeypatch, "creating"),
        pytest.raises(TargetUnavailableError, match="still creating"),
    ):
        snapshots().take(patience=0, pause=0)


def test_what_aws_refuses_is_said_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages name accounts and roles."""
    with rds(monkeypatch), pytest.raises(TargetError, match="DBClusterNotFoundFault") as refused:
        snapshots(aurora_cluster="other").look()
    assert "secret" not in str(refused.value)


def test_a_cluster_that_is_not_the_targets_needs_a_word(
    make_migration: MakeMigration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of another cluster would be no backup at all."""
    migration = make_migration(
        NOTES, backup="snapshot", aurora_cluster="app", aws_region="eu-central-1"
    )
    host = str(conninfo.conninfo_to_dict(migration.target.url)["host"])
    for answered, verdict in ((host, Verdict.GO), ("elsewhere.example", Verdict.EXCEPTION)):
        with rds(monkeypatch, host=answered), connect(migration.target) as connection:
            assert backup.condition(migration, connection).verdict is verdict


def test_a_cluster_has_to_be_named() -> None:
    """Before AWS is asked anything."""
    with pytest.raises(SettingsError, match="`aurora_cluster` is not set"):
        snapshots(aurora_cluster=None)


def test_without_boto3_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an optional extra."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match="boto3 is not installed") as missing:
        snapshots()
    assert "migration-assets[aws]" in missing.value.hint
