"""The rehearsal: all of the cutover in a schema of its own, the target itself untouched."""

import json

import pytest
from psycopg import sql

from migration_assets.cutover.rehearse import rehearse
from migration_assets.errors import TargetError
from migration_assets.migration import Migration
from migration_assets.report.certificate import Verdict
from migration_assets.target import scratch
from migration_assets.target.connection import connect
from migration_assets_tests import independent
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    change,
    on_target,
    snapshot,
    target_rows,
    write_on_target,
)
from migration_assets_tests.integration.test_cutover import (
    NO_BACKUP,
    NOW,
    assert_cut_over,
    cut_over,
)
from migration_assets_tests.integration.test_cutover import shop as made_shop

SCHEMA = "public_rehearsal"


def catalogue(migration: Migration) -> list[tuple[object, ...]]:
    """Return all relations and constraints of the target's own schema."""
    return target_rows(
        migration,
        "SELECT relname::text, relkind::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace UNION ALL"
        " SELECT conname::text, contype::text FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    )


def schemas(migration: Migration) -> list[tuple[object, ...]]:
    """Return the schemas of that name."""
    return target_rows(
        migration, f"SELECT nspname::text FROM pg_namespace WHERE nspname = '{SCHEMA}'"
    )


def test_a_rehearsal_makes_everything_elsewhere_and_leaves_nothing(
    make_migration: MakeMigration,
) -> None:
    """The certificate has every figure; rows, heads, ledger and catalogue are as they were."""
    migration = made_shop(make_migration, backup="pg_dump")
    before, there = snapshot(migration), catalogue(migration)
    cuts = migration.state.keys("cuts"), migration.state.keys("deltas")
    found = rehearse(migration, now=NOW)
    assert (snapshot(migration), catalogue(migration)) == (before, there)
    assert (migration.state.keys("cuts"), migration.state.keys("deltas")) == cuts
    assert schemas(migration) == []
    assert migration.state.keys("backups") == []
    assert found.verdict is Verdict.GO
    assert len(found.made) == 10
    assert [s.name for s in found.stages] == [
        *("conditions", "backup", "loads and proofs", "sign-off", "second look"),
        *("constraints and views", "statistics", "clean-up"),
    ]
    assert {s.table: s.rows for s in found.sign_offs}["product"] == 4
    (kept,) = [k for k in migration.state.keys("reports") if k.endswith(".md")]
    assert "# Certificate of a rehearsal" in (migration.state.read_text(kept) or "")


def test_a_rehearsal_that_is_kept_stands_beside_and_is_the_source(
    make_migration: MakeMigration,
) -> None:
    """The judge compares the schema itself; the next rehearsal, and the cutover, drop it."""
    migration = made_shop(make_migration)
    rehearse(migration, acknowledged=NO_BACKUP, keep=True, now=NOW)
    judged = independent.compare(
        migration.settings.source, migration.target.url, target_schema=SCHEMA
    )
    assert judged.equal, judged.describe()
    with on_target(migration) as connection:
        rows = connection.execute(
            sql.SQL("SELECT * FROM {}.liked").format(sql.Identifier(SCHEMA))
        ).fetchall()
        keys = connection.execute(
            "SELECT DISTINCT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
            " AND connamespace = %s::regnamespace ORDER BY 1",
            (SCHEMA,),
        ).fetchall()
    assert rows == [("axe", "Anna")]
    assert keys == [(f"{SCHEMA}.customer",), (f"{SCHEMA}.product",)]
    rehearse(migration, acknowledged=NO_BACKUP, now=NOW)
    assert schemas(migration) == []
    rehearse(migration, acknowledged=NO_BACKUP, keep=True, now=NOW)
    cut_over(migration)
    assert schemas(migration) == []
    assert_cut_over(migration)


def test_a_schema_of_somebody_elses_is_left_alone(make_migration: MakeMigration) -> None:
    """It is named, and nothing in it is touched."""
    migration = made_shop(make_migration)
    write_on_target(migration, f"CREATE SCHEMA {SCHEMA}", f"CREATE TABLE {SCHEMA}.mine (n int)")
    with pytest.raises(TargetError, match="is not a rehearsal's"):
        rehearse(migration, acknowledged=NO_BACKUP, now=NOW)
    assert target_rows(migration, f"SELECT count(*) FROM {SCHEMA}.mine") == [(0,)]


def test_a_role_that_may_not_make_a_schema_is_told_so(make_migration: MakeMigration) -> None:
    """The right it lacks is named, with whom to ask for it."""
    migration = make_migration("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with on_target(migration) as owner, connect(migration.target) as connection:
        owner.execute("CREATE ROLE plain_loader")
        try:
            connection.execute("SET ROLE plain_loader")
            assert scratch.obstacle(connection, SCHEMA).startswith("plain_loader lacks CREATE")
            with pytest.raises(TargetError, match="lacks CREATE on the database") as refused:
                scratch.make(connection, SCHEMA)
            assert "GRANT CREATE ON DATABASE" in refused.value.hint
        finally:
            connection.execute("RESET ROLE")
            owner.execute("DROP ROLE plain_loader")


def test_a_rehearsal_says_what_would_stop_the_cutover(make_migration: MakeMigration) -> None:
    """It goes on all the same, as far as it can, and its certificate is a no-go."""
    migration = made_shop(make_migration)
    change(migration, "INSERT INTO product (id, code, price) VALUES (30, 'far too long', 1.9)")
    found = rehearse(migration, acknowledged=NO_BACKUP, now=NOW)
    assert found.verdict is Verdict.NO_GO
    assert found.stopped == "as things stand, these would stop it: constraints"
    assert [o.name for o in found.left_out] == ["code"]
    assert len(found.made) == 9
    document = [k for k in migration.state.keys("reports") if k.endswith(".json")]
    assert json.loads(migration.state.read_text(document[0]) or "")["verdict"] == "no-go"
    assert schemas(migration) == []
