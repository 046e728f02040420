"""The plan: what it says comes true, and making it leaves nothing behind."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from migration_assets import planning, step
from migration_assets.errors import GuardError, SettingsError, SourceError, StateError
from migration_assets.migration import Migration
from migration_assets.report.plan import NEW, REFUSED, SEALED, Plan, TablePlan
from migration_assets.report.plan_text import ddl_text, print_plan
from migration_assets.source.catalog import remember
from migration_assets.source.reader import catalog_in
from migration_assets.target.connection import target_of
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    change,
    load_week,
    migration_of,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
)

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, balance DECIMAL(10,2));
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer INTEGER, at DATETIME, amount REAL, code TEXT UNIQUE
);
CREATE INDEX orders_customer ON orders (customer);
INSERT INTO customers VALUES (1, 'Ada', 12.5), (2, 'Bob', 3);
"""
ORDERS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
    " INSERT INTO orders SELECT i, 1, '2026-01-01 10:00:00', 1.5, 'c' || i FROM n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give every plan a folder of its own for temporary files."""
    folder, kept = tmp_path_factory.mktemp("temporary"), tempfile.tempdir
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = kept


def plan(migration: Migration) -> Plan:
    """Make the plan."""
    return planning.make(migration.settings, migration.target)


def planned(migration: Migration, table: str) -> TablePlan:
    """Return what is planned for one table."""
    (found,) = [t for t in plan(migration).tables if t.table == table]
    return found


def tree(folder: Path) -> dict[str, object]:
    """Return everything below a folder: names, bytes, times, rights."""
    return {
        str(file.relative_to(folder)): (
            file.stat().st_mtime_ns,
            file.stat().st_mode,
            file.read_bytes() if file.is_file() else b"",
        )
        for file in sorted(folder.rglob("*"))
    }


CATALOGUE = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_indexdef(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE n.nspname !~ '^(pg_|information_schema)' AND c.relkind IN ('r', 'i') ORDER BY 1, 2, a.attnum
"""


@pytest.mark.parametrize("journal", ["delete", "wal", "open wal"])
def test_a_plan_leaves_nothing_behind_anywhere(
    make_migration: MakeMigration, tmp_path: Path, temporary: Path, journal: str
) -> None:
    """Neither beside the source, nor a state folder, nor on the target, nor a temporary copy."""
    migration = make_migration(SCHEMA)
    with closing(sqlite3.connect(migration.settings.source)) as application:
        application.execute(f"PRAGMA journal_mode = {journal.rsplit(maxsplit=1)[-1]}")
        if journal != "open wal":
            application.close()
        before = tree(tmp_path), target_rows(migration, CATALOGUE)
        assert len(plan(migration).tables) == 2
        assert (tree(tmp_path), target_rows(migration, CATALOGUE)) == before
    assert not migration.settings.state.exists()
    assert list(temporary.iterdir()) == []


def test_a_plan_that_fails_leaves_nothing_behind_either(
    make_migration: MakeMigration, tmp_path: Path, temporary: Path
) -> None:
    """An empty database is copied before it is found to have no tables."""
    migration = make_migration("CREATE TABLE t (a); DROP TABLE t")
    before = tree(tmp_path)
    with pytest.raises(SourceError, match="no tables"):
        plan(migration)
    assert tree(tmp_path) == before
    assert list(temporary.iterdir()) == []


def test_the_ddl_is_what_the_first_load_runs(make_migration: MakeMigration) -> None:
    """Run by hand it makes the same tables, keys and indexes as the load does."""
    migration = make_migration(SCHEMA)
    change(migration, ORDERS)
    with on_target(migration) as connection:
        connection.execute("\n".join(ddl_text(plan(migration))).encode())
        by_hand = connection.execute(CATALOGUE).fetchall()
        connection.execute("DROP TABLE orders, customers")
    load_week(migration, 1)
    loaded = [row for row in target_rows(migration, CATALOGUE) if row[0] == "public"]
    assert by_hand == loaded
    assert len(by_hand) > 8


def test_types_come_with_their_evidence(make_migration: MakeMigration) -> None:
    """What was counted, per column, and what the column becomes."""
    migration = make_migration(SCHEMA)
    change(migration, ORDERS, "UPDATE orders SET amount = 'a lot' WHERE id = 7")
    found = {c.name: c for c in planned(migration, "orders").columns}
    assert (found["at"].type, found["at"].evidence) == (
        "timestamp",
        "2000 text (YYYY-MM-DD HH:MM:SS)",
    )
    assert found["amount"].type == "double precision"
    assert found["amount"].evidence == "1999 real, 1 text; 1 don't fit"
    assert found["id"].not_null
    assert found["at"].declared == "DATETIME"


def test_rows_that_will_not_fit_are_those_that_then_do_not(make_migration: MakeMigration) -> None:
    """Counted with column and reason, some named by key; the load quarantines just them."""
    migration = make_migration(SCHEMA)
    change(migration, ORDERS, "UPDATE orders SET amount = 'a lot' WHERE id % 1000 = 7")
    found = planned(migration, "orders")
    assert found.unfit is not None
    assert (found.rows, found.unfit.rows) == (2000, 2)
    assert found.unfit.reasons == {"amount": {"text is no double precision": 2}}
    assert found.unfit.keys == ("id=7", "id=1007")
    assert not found.stops
    load_week(migration, 1)
    assert target_rows(migration, "SELECT count(*) FROM migration.quarantine") == [(2,)]


def test_no_key_is_named_where_keys_are_not_to_be_shown(make_migration: MakeMigration) -> None:
    """A key may be a person's number."""
    migration = make_migration(SCHEMA, show_keys=False)
    change(migration, ORDERS, "UPDATE orders SET amount = 'a lot' WHERE id = 7")
    unfit = planned(migration, "orders").unfit
    assert unfit is not None
    assert (unfit.rows, unfit.keys) == (1, ())


def test_a_load_that_the_quarantine_guard_would_stop_is_named(
    make_migration: MakeMigration,
) -> None:
    """And the load is then stopped."""
    migration = make_migration(SCHEMA, quarantine_rows=0, quarantine_share=0)
    change(migration, ORDERS, "UPDATE orders SET amount = 'a lot' WHERE id = 7")
    found = plan(migration)
    assert found.stopped
    assert [t.table for t in found.tables if t.stops] == ["orders"]
    assert "quarantine guard" in planned(migration, "orders").stops[0]
    assert isinstance(run_week(migration, 1)["orders"], GuardError)


NOT_BYTES = "a becomes double precision, in which equal doesn't mean the same bytes"
OVER = "over columns that are NOT NULL"
KEYS = [
    ("a INTEGER PRIMARY KEY, b", ("a",), "its INTEGER PRIMARY KEY"),
    ("a TEXT PRIMARY KEY, b", ("a",), "its PRIMARY KEY"),
    ("a, b TEXT NOT NULL UNIQUE", ("b",), f"UNIQUE (b) {OVER}"),
    (
        "a REAL PRIMARY KEY, b TEXT NOT NULL UNIQUE",
        ("b",),
        f"UNIQUE (b) {OVER}; the PRIMARY KEY can't serve: {NOT_BYTES}",
    ),
    ("a, b", (), "no PRIMARY KEY"),
    ("a, b TEXT UNIQUE", (), "no PRIMARY KEY; UNIQUE (b) can't serve: b may be NULL"),
    ("a REAL NOT NULL UNIQUE, b", (), f"no PRIMARY KEY; UNIQUE (a) can't serve: {NOT_BYTES}"),
]


@pytest.mark.parametrize(("declared", "key", "reason"), KEYS)
def test_a_key_is_explained(
    make_migration: MakeMigration, declared: str, key: tuple[str, ...], reason: str
) -> None:
    """Which one it is, or why there is none."""
    migration = make_migration(f"CREATE TABLE t ({declared}); INSERT INTO t VALUES (1, 'x')")
    found = planned(migration, "t")
    assert (found.key, found.key_reason) == (key, reason)


def test_a_primary_key_that_holds_null_is_explained(make_migration: MakeMigration) -> None:
    """SQLite allows it, PostgreSQL does not."""
    migration = make_migration("CREATE TABLE t (a TEXT PRIMARY KEY); INSERT INTO t VALUES (NULL)")
    found = planned(migration, "t")
    assert found.key == ()
    assert found.key_reason == "the PRIMARY KEY can't serve: a holds 1 NULL"


def test_a_loaded_table_is_shown_with_its_sealed_mapping(make_migration: MakeMigration) -> None:
    """What would be proposed today is not what stands; nothing is made any more."""
    migration = make_migration("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    change(migration, "INSERT INTO t VALUES (1, 5)")
    load_week(migration, 1)
    sealed = planned(migration, "t").columns
    change(migration, "UPDATE t SET v = 'now a text'")
    found = planned(migration, "t")
    assert (found.state, found.head, found.ddl) == (SEALED, week(1), ())
    assert found.columns == sealed
    assert found.unfit is not None
    assert found.unfit.rows == 1


def test_what_the_next_load_will_change_is_named(make_migration: MakeMigration) -> None:
    """Columns and rows are shown as they will be then."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    change(migration, "ALTER TABLE customers ADD COLUMN email TEXT")
    found = planned(migration, "customers")
    assert found.stops == ()
    assert found.pending == ("column email is new: text",)
    assert found.columns[-1].target == "email"
    assert found.unfit is not None


def test_a_change_that_has_to_be_confirmed_is_named(make_migration: MakeMigration) -> None:
    """With what to write into migration.yaml; the next load would stop."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    change(migration, "ALTER TABLE customers RENAME COLUMN id TO number")
    (stop,) = planned(migration, "customers").stops
    assert "`key: [number]` below `tables: customers`" in stop


def test_nothing_is_applied_while_a_word_is_missing(make_migration: MakeMigration) -> None:
    """What is safe waits with what isn't, and the plan says no other thing."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    change(
        migration,
        "ALTER TABLE customers RENAME COLUMN id TO number",
        "ALTER TABLE customers ADD COLUMN email TEXT",
    )
    assert planned(migration, "customers").pending == ()


def test_a_loaded_table_that_the_source_dropped_is_named_until_it_is_excluded(
    make_migration: MakeMigration,
) -> None:
    """The next run would stop for it; a plan of other tables says nothing of it."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    remember(migration.state, catalog_in(step.cut_for(migration, week(1))))
    change(migration, "DROP TABLE customers")
    found = planned(migration, "customers")
    assert found.state == REFUSED
    assert "add it to `exclude`" in found.stops[0]
    alone = planning.make(migration.settings, migration.target, choose=lambda _: ["orders"])
    assert [t.table for t in alone.tables] == ["orders"]
    excluded = migration.settings.model_copy(update={"exclude": ("customers",)})
    tables = planning.make(excluded, migration.target).tables
    assert [t.table for t in tables] == ["orders"]


def test_a_loaded_table_that_is_gone_from_the_target_is_named(
    make_migration: MakeMigration,
) -> None:
    """The next load would find nothing to move."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    with on_target(migration) as connection:
        connection.execute("DROP TABLE customers")
    (stop,) = planned(migration, "customers").stops
    assert "public.customers is gone" in stop


def test_a_table_of_somebody_else_s_in_the_way_is_named(make_migration: MakeMigration) -> None:
    """The first load would refuse to touch it."""
    migration = make_migration(SCHEMA)
    with on_target(migration) as connection:
        connection.execute("CREATE TABLE customers (id int)")
    found = planned(migration, "customers")
    assert found.state == NEW
    assert "public.customers exists already: a table with 0 rows" in found.stops[0]


def test_a_target_that_does_not_answer_is_said_and_a_proposal_shown(
    make_migration: MakeMigration, tmp_path: Path
) -> None:
    """The plan of a newcomer who has no target yet; no password gets out."""
    source = make_migration(SCHEMA).settings.source
    nowhere = "postgresql://x:s3cret@127.0.0.1:1/nowhere"
    found = plan(migration_of(source, tmp_path / "state", nowhere, connect_patience=0))
    assert not found.answered
    assert "127.0.0.1/nowhere" in found.note
    assert "s3cret" not in found.note
    assert {t.state for t in found.tables} == {NEW}


def test_a_target_url_that_is_none_is_refused(make_migration: MakeMigration) -> None:
    """That is a wrong setting, not a target that is away."""
    settings = make_migration(SCHEMA).settings.model_copy(update={"target": "no url"})
    with pytest.raises(SettingsError, match="can't be read"):
        planning.make(settings, target_of(settings))


def test_a_table_that_cannot_be_carried_is_refused_by_name(make_migration: MakeMigration) -> None:
    """The others are planned all the same."""
    wide = ", ".join(f"c{i}" for i in range(1700))
    migration = make_migration(f"{SCHEMA} CREATE TABLE wide ({wide});")
    found = {t.table: t for t in plan(migration).tables}
    assert found["wide"].state == REFUSED
    assert "1700 columns" in found["wide"].stops[0]
    assert {found["orders"].state, found["customers"].state} == {NEW}


def test_a_transform_that_raises_stops_the_plan_of_its_table_alone(
    make_migration: MakeMigration,
) -> None:
    """The others are planned all the same."""
    broken = {"customers": {"transform": "migration_assets_tests.transforms:raising"}}
    found = {t.table: t for t in plan(make_migration(SCHEMA, tables=broken)).tables}
    assert found["customers"].state == REFUSED
    assert "it raised RuntimeError" in found["customers"].stops[0]
    assert found["orders"].state == NEW


LATER = """
CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id) ON DELETE CASCADE, n INTEGER DEFAULT 5,
    "CHECK (" VARCHAR(5), -- CHECK (no)
    g AS (n * 2), r REAL AS (round(n)), d DATE, y TEXT AS (strftime('%Y', d)),
    gone INTEGER REFERENCES nowhere (id), CHECK (n > 0), CHECK (round(n) < 9)
);
CREATE INDEX t_some ON t (n) WHERE n > 3;
CREATE TRIGGER t_after AFTER INSERT ON t BEGIN SELECT 1; END;
CREATE TABLE tmp_x (a);
CREATE VIEW v AS SELECT n AS "N" FROM t;
CREATE VIEW w AS SELECT n, count(*) FROM t;
CREATE VIEW x AS SELECT round(n) FROM t;
INSERT INTO t (id, d) VALUES (1, '2026-01-01');
"""


def test_what_is_left_out_is_named_with_the_reason(make_migration: MakeMigration) -> None:
    """Whole objects, and what of a table is not carried; nothing is dropped in silence."""
    migration = make_migration(LATER, exclude=("tmp_*",))
    found = plan(migration)
    assert found.left_out == {"tmp_x": "excluded by the settings"}
    tables = {t.table: t for t in found.tables}
    assert (tables["a"].left_out, tables["a"].deferred) == ((), ())
    assert [left.partition(":")[0] for left in tables["t"].left_out] == [
        "generated y (strftime('%Y', d))",
        "generated r (round(n))",
        "trigger t_after",
    ]
    assert "immutable" in tables["t"].left_out[0]
    assert tables["t"].left_out[1].endswith("ROUND has no rule")


def test_what_is_made_at_the_cutover_is_tried_now(make_migration: MakeMigration) -> None:
    """On empty copies that are gone afterwards; what fails is named with its own text."""
    migration = make_migration(LATER, exclude=("tmp_*",))
    found = plan(migration)
    (later,) = [t.deferred for t in found.tables if t.table == "t"]
    assert [(o.kind, o.name, o.definition, o.problem) for o in later] == [
        ("check", "t_check1", 'CHECK (("n" > 0))', ""),
        ("check", "t_check2", "", "ROUND has no rule"),
        ("foreign key", "t_gone_fkey", "", "the source has no table nowhere"),
        (
            "foreign key",
            "t_a_fkey",
            'FOREIGN KEY ("a") REFERENCES "a" ("id") ON DELETE CASCADE',
            "",
        ),
        ("length", "check (", "varchar(5)", ""),
    ]
    assert all(o.tried for o in later)
    views = {v.name: v.problem for v in found.views}
    assert views["v"] == ""
    assert "must appear in the GROUP BY clause" in views["w"]
    assert views["x"] == "ROUND has no rule"
    assert snapshot(migration) == {}
    console = Console(file=StringIO(), width=200)
    print_plan(found, console)
    said = cast("StringIO", console.file).getvalue()
    assert 'at the cutover: check t_check1: CHECK (("n" > 0)); the target takes it' in said
    assert "check t_check2 can't be made: ROUND has no rule; it is round(n) < 9" in said
    assert 'view v: SELECT "t"."n" AS "n" FROM "t" AS "t"; the target takes it' in said


def test_without_a_target_nothing_is_tried(make_migration: MakeMigration) -> None:
    """What can be said without one is said."""
    migration = make_migration(LATER)
    found = planning.make(migration.settings, None, absent="no target")
    (later,) = [t.deferred for t in found.tables if t.table == "t"]
    assert later[0].text.endswith("not tried: the target was not asked")
    assert not any(o.tried for o in (*later, *found.views))


def test_a_loaded_table_is_planned_as_it_was_made(make_migration: MakeMigration) -> None:
    """What the server refused at the first load stays listed, and what is deferred is tried."""
    migration = make_migration(LATER)
    load_week(migration, 1)
    (found,) = [t for t in plan(migration).tables if t.table == "t"]
    assert found.state == SEALED
    assert any("immutable" in left for left in found.left_out)
    assert [o.kind for o in found.deferred] == [
        "check",
        "check",
        "foreign key",
        "foreign key",
        "length",
    ]


def test_a_copy_that_would_not_fit_on_the_disk_is_not_begun(
    make_migration: MakeMigration, temporary: Path
) -> None:
    """A full disk under everything else would be too high a price for a plan."""
    migration = make_migration(SCHEMA)
    os.truncate(migration.settings.source, 1 << 42)
    with pytest.raises(StateError, match="TMPDIR"):
        plan(migration)
    assert list(temporary.iterdir()) == []


def test_some_tables_can_be_planned_alone(make_migration: MakeMigration) -> None:
    """Names are still given in view of all tables."""
    migration = make_migration(SCHEMA)
    seen: list[Any] = []

    def choose(names: list[str]) -> list[str]:
        seen.extend(names)
        return ["orders"]

    found = planning.make(migration.settings, migration.target, choose=choose)
    assert seen == ["customers", "orders"]
    assert [t.table for t in found.tables] == ["orders"]


def test_what_a_column_holds_is_shown_and_no_value_where_keys_are_not(
    make_migration: MakeMigration,
) -> None:
    """NULLs, classes and lengths always; numbers and keys only for eyes that may see keys."""
    schema = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, s TEXT);
    WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < 2000)
    INSERT INTO t SELECT x, x * 1000, 'abc' FROM i;
    UPDATE t SET n = 'secret' WHERE id = 77;
    UPDATE t SET s = NULL WHERE id = 5;
    """
    shown = make_migration(schema)
    hidden = migration_of(
        shown.settings.source, shown.settings.state, shown.settings.target, show_keys=False
    )
    texts: list[str] = []
    for migration in (shown, hidden):
        out = Console(width=300, file=StringIO())
        print_plan(plan(migration), out)
        assert isinstance(out.file, StringIO)
        texts.append(out.file.getvalue())
    assert "from 1000 to 2000000" in texts[0]
    assert "don't fit, such as: id=77" in texts[0]
    assert not {word for word in ("2000000", "id=77", "secret") if word in texts[1]}
    assert "1 NULL, up to 3 bytes" in texts[1]
