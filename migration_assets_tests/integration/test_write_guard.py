"""The write guard notes, or refuses, what others write on our tables, and is never in our way."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from migration_assets import repair, standing, step
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    Row,
    assert_equal,
    assert_proved,
    change,
    load_week,
    migration_of,
    on_target,
    target_rows,
    write_on_target,
)

STOCK = """
CREATE TABLE stock (id INTEGER PRIMARY KEY, article TEXT UNIQUE, amount INTEGER,
                    twice INTEGER GENERATED ALWAYS AS (amount * 2) STORED);
INSERT INTO stock (id, article, amount) VALUES (1, 'pen', 10), (2, 'ink', 20), (3, 'cup', 30);
"""
WRITES = {
    "INSERT": ("INSERT INTO stock VALUES (50, 'hat', 5), (51, 'cap', 5)", 2),
    "UPDATE": ("UPDATE stock SET amount = 99", 3),
    "DELETE": ("DELETE FROM stock WHERE id = 2", 1),
    "TRUNCATE": ("TRUNCATE stock", 0),
}


def again(migration: Migration, **settings: object) -> Migration:
    """Return the same migration with other settings."""
    chosen = migration.settings
    return migration_of(Path(chosen.source), chosen.state, migration.target.url, **settings)


def noted(migration: Migration) -> list[Row]:
    """Return what the guard noted: operation, rows and role."""
    return target_rows(
        migration,
        "SELECT op, written_rows, role = session_user FROM migration.foreign_write ORDER BY 1",
    )


def guards(migration: Migration) -> list[Row]:
    """Return the guard's triggers, by table."""
    return target_rows(
        migration,
        "SELECT tgrelid::regclass::text, count(*) FROM pg_trigger"
        " WHERE tgname LIKE 'migration\\_assets\\_%' GROUP BY 1 ORDER BY 1",
    )


@pytest.mark.parametrize("op", WRITES)
def test_log_notes_who_wrote_how_many_rows_and_verify_says_so(
    make_migration: MakeMigration, op: str
) -> None:
    """The role's name and application, never a value; our own steps and repairs aren't noted."""
    migration = make_migration(STOCK, write_guard="log")
    load_week(migration, 1)
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    load_week(migration, 2)
    assert noted(migration) == []
    statement, rows = WRITES[op]
    write_on_target(migration, "SET application_name = 'backoffice'", statement)
    assert noted(migration) == [(op, rows, True)]
    found = standing.verify(migration, "stock")
    assert found is not None
    assert found.proof.attribution is not None
    (write,) = found.proof.attribution.writes
    assert (write.op, write.rows, write.application) == (op, rows, "backoffice")
    assert not found.inspection.schema.extras
    repair.repair(migration, "stock", run="test")
    assert_proved(migration, "stock")
    assert len(noted(migration)) == 1


def test_a_role_that_may_only_write_the_table_is_noted_too(make_migration: MakeMigration) -> None:
    """It needs no right on schema `migration`, and a function of its own can't take our place."""
    migration = make_migration(STOCK, write_guard="log")
    load_week(migration, 1)
    with on_target(migration) as connection:
        name = sql.Identifier("guest " + migration.settings.state.parent.name)
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        try:
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
            connection.execute(sql.SQL("GRANT INSERT ON stock TO {}").format(name))
            connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(name))
            connection.execute("CREATE TEMPORARY TABLE foreign_write (op text)")
            connection.execute("SET search_path = pg_temp, public")
            connection.execute("INSERT INTO public.stock VALUES (50, 'hat', 5)")
            connection.execute("RESET SESSION AUTHORIZATION")
            found = connection.execute("SELECT op, role FROM migration.foreign_write").fetchall()
            assert found == [("INSERT", name.as_string(None).strip('"'))]
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.mark.parametrize("op", WRITES)
def test_refuse_forbids_others_by_name_and_lets_our_own_steps_through(
    make_migration: MakeMigration, op: str
) -> None:
    """The error names the tool and its setting; loads, another mapping and repairs go on."""
    migration = make_migration(STOCK, write_guard="refuse")
    load_week(migration, 1)
    with pytest.raises(psycopg.Error, match="migration_assets guards public") as caught:
        write_on_target(migration, WRITES[op][0])
    assert "write_guard" in str(caught.value.diag.message_hint)
    change(
        migration,
        "ALTER TABLE stock ADD COLUMN note TEXT",
        "UPDATE stock SET amount = 11, note = 'n' WHERE id = 1",
        "DELETE FROM stock WHERE id = 3",
    )
    load_week(migration, 2)
    assert_equal(migration)
    assert noted(migration) == []


def test_the_triggers_follow_the_setting(make_migration: MakeMigration) -> None:
    """Made, changed and removed by the next step, and by the bootstrap where no step is due."""
    migration = make_migration(STOCK)
    load_week(migration, 1)
    assert guards(migration) == []
    step.bootstrap(again(migration, write_guard="refuse"))
    assert guards(migration) == [("stock", 4)]
    with pytest.raises(psycopg.Error, match="guards"):
        write_on_target(migration, "TRUNCATE stock")
    load_week(again(migration, write_guard="log"), 2)
    write_on_target(migration, "DELETE FROM stock WHERE id = 2")
    assert noted(migration) == [("DELETE", 1, True)]
    write_on_target(migration, "ALTER TABLE stock DISABLE TRIGGER migration_assets_delete")
    load_week(again(migration, write_guard="log"), 3, acknowledged=DISPLACE)
    write_on_target(migration, "DELETE FROM stock WHERE id = 2")
    assert len(noted(migration)) == 2
    load_week(migration, 4, acknowledged=DISPLACE)
    assert guards(migration) == []


def test_a_partitioned_table_is_guarded_too(make_migration: MakeMigration) -> None:
    """What is written through the parent is noted, and our own steps go on."""
    migration = make_migration(
        "CREATE TABLE stock (id INTEGER PRIMARY KEY, amount INTEGER);"
        "INSERT INTO stock VALUES (1, 10), (2, 20);"
    )
    load_week(migration, 1)
    write_on_target(
        migration,
        "ALTER TABLE stock RENAME TO whole",
        "CREATE TABLE stock (LIKE whole INCLUDING DEFAULTS) PARTITION BY HASH (id)",
        "CREATE TABLE stock_0 PARTITION OF stock FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO stock SELECT * FROM whole",
        "ALTER TABLE stock ADD PRIMARY KEY (id)",
        "DROP TABLE whole",
    )
    guarded = again(migration, write_guard="log")
    change(migration, "UPDATE stock SET amount = 11 WHERE id = 1")
    load_week(guarded, 2)
    write_on_target(migration, "UPDATE stock SET amount = 5 WHERE id = 2")
    assert noted(migration) == [("UPDATE", 1, True)]
    repair.repair(guarded, "stock", run="test")
    assert_equal(migration)
