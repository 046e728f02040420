"""What the settings say reaches the target; what they say wrongly stops before it is written."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migration_assets import planning
from migration_assets.errors import GuardError, SettingsError
from migration_assets.mapping.document import loads
from migration_assets.migration import Migration
from migration_assets.model import Policy, TableMapping
from migration_assets.report.plan import REFUSED
from migration_assets.settings import load
from migration_assets.target.connection import target_of
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    load_week,
    migration_of,
    run_week,
    target_rows,
)

SCHEMA = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, code TEXT, price REAL, placed TEXT, note TEXT, shop INTEGER NOT NULL
);
INSERT INTO orders VALUES (1, 'a', 1.25, '2026-01-01T10:00:00.500', NULL, 1),
    (2, 'a', 7.5, '2026-01-02T10:00:00.250', 'x', 2), (3, 'b', 0.5, 'some day', NULL, 1);
CREATE INDEX orders_note ON orders (note);
CREATE TABLE "Customers" (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE archive (a);
CREATE VIEW totals AS SELECT sum(price) FROM orders;
"""
Tables = Mapping[str, Any]
MILLISECONDS = "YYYY-MM-DDTHH:MM:SS.fff"


def sealed(migration: Migration, table: str) -> TableMapping:
    """Return a table's sealed mapping."""
    ((document,),) = target_rows(
        migration, f"SELECT document::text FROM migration.mapping WHERE table_name = '{table}'"
    )
    return loads(document)


def test_a_table_is_made_as_the_settings_say(make_migration: MakeMigration) -> None:
    """Name, key, types and policies; what is not said comes from the census."""
    orders = {
        "target": "Orders v2",
        "key": ["code", "shop"],
        "policy": "widen",
        "columns": {
            "price": {"type": "numeric(12,2)"},
            "placed": {
                "type": "timestamp",
                "encoding": "YYYY-MM-DDTHH:MM:SS.fff",
                "policy": "quarantine",
            },
        },
    }
    migration = make_migration(SCHEMA, tables={"orders": orders})
    moved = load_week(migration, 1)["orders"]
    assert moved.proof.quarantined_rows == 1
    found = target_rows(
        migration, 'SELECT id, price::text, placed::text FROM "Orders v2" ORDER BY id'
    )
    assert found == [
        (1, "1.25", "2026-01-01 10:00:00.5"),
        (2, "7.50", "2026-01-02 10:00:00.25"),
    ]
    mapping = sealed(migration, "orders")
    assert mapping.key == ("code", "shop")
    assert [c.policy for c in mapping.columns[2:5]] == [
        Policy.WIDEN,
        Policy.QUARANTINE,
        Policy.WIDEN,
    ]


def test_rows_without_a_key_may_be_asked_for(make_migration: MakeMigration) -> None:
    """A multiset, though there is a key; that stays an index."""
    migration = make_migration(SCHEMA, tables={"orders": {"key": []}})
    load_week(migration, 1)
    mapping = sealed(migration, "orders")
    assert mapping.key == ()
    assert [index.columns for index in mapping.indexes] == [("id",), ("note",)]


def test_the_settings_choose_the_same_as_the_census_where_they_agree(
    make_migration: MakeMigration,
) -> None:
    """A type that is pinned as it was proposed changes nothing of what is sealed."""
    plain = make_migration(SCHEMA)
    load_week(plain, 1, tables=["orders"])
    before = sealed(plain, "orders")
    columns = {c.name: {"type": c.type.sql} for c in before.columns}
    pinned = plain.settings.model_validate(
        plain.settings.model_dump()
        | {"tables": {"orders": {"key": ["id"], "policy": "quarantine", "columns": columns}}}
    )
    cut_of = planning.make(pinned, None)
    (found,) = [t for t in cut_of.tables if t.table == "orders"]
    assert [c.evidence for c in found.columns] == [c.evidence for c in before.columns]
    assert [c.type for c in found.columns] == [c.type.sql for c in before.columns]


def test_other_tables_keep_clear_of_a_name_that_was_given(make_migration: MakeMigration) -> None:
    """Names are swapped, and an index that would be called so gets another name."""
    migration = make_migration(
        "CREATE TABLE a (x TEXT UNIQUE); CREATE TABLE b (y); CREATE TABLE c (z);",
        tables={"a": {"target": "b"}, "b": {"target": "a"}, "c": {"target": "b_x_key"}},
    )
    load_week(migration, 1)
    names = target_rows(
        migration,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    )
    assert {"a", "b", "b_x_key"} < {name for (name,) in names}


ELSEWHERE = [
    ({"order": {}}, "the source has no table order", "did you mean `orders`?"),
    ({"Orders": {}}, "the source has no table Orders", "did you mean `orders`?"),
    ({"customers": {}}, "the source has no table customers", "did you mean `Customers`?"),
    ({"xyzzy": {}}, "the source has no table xyzzy", "spell it as the source does"),
    ({"totals": {}}, "table totals can't be carried: a view", "remove it from `tables`"),
    (
        {"archive": {"target": "orders"}},
        "table archive can't be called orders: table orders is",
        "give table orders one by `target`",
    ),
    (
        {"archive": {"target": "customers"}},
        "table archive can't be called customers: table Customers is",
        "another name",
    ),
    (
        {"archive": {"target": "x"}, "orders": {"target": "x"}},
        "table archive can't be called x: table orders is",
        "another name",
    ),
]
OWN = [
    ({"columns": {"Price": {}}}, "has no column Price", "did you mean `price`?"),
    ({"columns": {"prize": {}}}, "has no column prize", "did you mean `price`?"),
    ({"key": ["identity"]}, "has no column identity", ""),
    ({"columns": {"price": {"renamed_from": "note"}}}, "can't have been called note", "remove"),
    ({"key": ["note"]}, "column note of table orders can't be in the key: it holds 2 NULL", ""),
    ({"key": ["price"]}, "it becomes double precision, in which equal doesn't mean", "`key: []`"),
    ({"key": ["code"]}, "1 keys (code) stand in more than one row", "name more columns"),
    (
        {"key": ["code", "shop"], "columns": {"code": {"cast": "lower(code)"}}},
        "column code of table orders can't be in the key: it has a `cast`",
        "",
    ),
    (
        {"columns": {"id": {"cast": "id + 1"}}},
        "column id of table orders can't be in the key: it has a `cast`",
        "`key: []`",
    ),
    (
        {"columns": {"code": {"type": "bigint"}}},
        "none of the 3 values of column code of table orders is a bigint",
        "3 of them are text",
    ),
    (
        {"columns": {"placed": {"type": "timestamp", "encoding": "epoch s"}}},
        "none of the 3 values of column placed of table orders is a timestamp written as epoch s",
        "",
    ),
    (
        {"columns": {"note": {"type": "uuid"}}},
        "column note of table orders can't become uuid: no value looks like uuid",
        "",
    ),
    (
        {"columns": {"note": {"type": "json"}}},
        "column note of table orders can't become json: a key or an index compares it",
        "`type: text` holds the same text",
    ),
    ({"columns": {"price": {"cast": "round(price"}}}, "SQLite says: incomplete input", ""),
    ({"columns": {"price": {"cast": "price price"}}}, "syntax error", ""),
    ({"columns": {"price": {"cast": "rund(price)"}}}, "no such function: rund", ""),
    ({"columns": {"price": {"cast": "prise * 2"}}}, "no such column: prise", ""),
    ({"columns": {"price": {"cast": "sum(price)"}}}, "misuse of aggregate", ""),
    ({"columns": {"price": {"cast": "(SELECT 1)"}}}, "subqueries prohibited in a cast", ""),
    ({"columns": {"price": {"cast": "random()"}}}, "non-deterministic", ""),
    ({"columns": {"price": {"cast": "datetime('now')"}}}, "non-deterministic", ""),
    ({"columns": {"price": {"cast": "price), (id"}}}, "more than one expression", ""),
    ({"columns": {"price": {"cast": "price)) WHERE ((id"}}}, "more than one expression", ""),
    ({"columns": {"price": {"cast": "price; DROP TABLE orders"}}}, "syntax error", ""),
    ({"columns": {"price": {"cast": "?"}}}, "SQLite says: ", ""),
    (
        {"columns": {"note": {"cast": "json_extract(note, '$.a')"}}},
        "stops at one of the values",
        "",
    ),
]


@pytest.mark.parametrize(("tables", "what", "hint"), ELSEWHERE)
def test_a_name_that_is_not_there_stops_every_first_load(
    make_migration: MakeMigration, tables: Tables, what: str, hint: str
) -> None:
    """And the plan: it may have been meant for any table. Nothing is written."""
    migration = make_migration(SCHEMA, tables=tables)
    with pytest.raises(SettingsError) as caught:
        planning.make(migration.settings, migration.target)
    assert what in caught.value.what
    assert hint in caught.value.hint
    done = run_week(migration, 1)
    assert {str(error) for error in done.values()} == {str(caught.value)}
    assert target_rows(migration, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []


@pytest.mark.parametrize(("orders", "what", "hint"), OWN)
def test_what_a_table_s_settings_say_wrongly_stops_that_table(
    make_migration: MakeMigration, orders: Tables, what: str, hint: str
) -> None:
    """In the plan and before its first load; the others are carried."""
    migration = make_migration(SCHEMA, tables={"orders": orders})
    (planned,) = [t for t in planning.make(migration.settings, migration.target).tables if t.stops]
    assert (planned.table, planned.state) == ("orders", REFUSED)
    done = run_week(migration, 1)
    error = done.pop("orders")
    assert isinstance(error, SettingsError)
    assert what in error.what
    assert hint in error.hint
    assert error.expected
    assert planned.stops == (str(error),)
    assert not [other for other in done.values() if isinstance(other, Exception)]
    assert ("orders",) not in target_rows(migration, "SELECT tablename FROM pg_tables")


def test_an_error_that_needs_the_source_names_the_line(tmp_path: Path, target_url: str) -> None:
    """Long after the file was read."""
    with closing(sqlite3.connect(tmp_path / "app.sqlite")) as connection:
        connection.executescript(SCHEMA)
    text = "tables:\n  orders:\n    columns:\n      code:\n        type: bigint\n"
    file = tmp_path / "migration.yaml"
    file.write_text(f"source: app.sqlite\ntarget: {target_url}\n{text}", "utf-8")
    settings = load({}, tmp_path)
    plan = planning.make(settings, target_of(settings))
    (stop,) = next(t for t in plan.tables if t.table == "orders").stops
    assert stop.startswith(f"{file}, line 7: none of the 3 values")


def test_what_is_said_of_a_table_that_is_left_out_waits(make_migration: MakeMigration) -> None:
    """A table that is excluded for a while keeps its lines; other tables go on."""
    migration = make_migration(
        SCHEMA, tables={"orders": {"columns": {"prize": {}}}}, exclude=("orders",)
    )
    plan = planning.make(migration.settings, migration.target)
    assert not plan.stopped
    assert plan.left_out["orders"] == (
        "excluded by the settings; what `tables` says of it waits until it is carried"
    )


def test_a_loaded_table_is_not_stopped_by_another_one_s_name(
    make_migration: MakeMigration, tmp_path: Path
) -> None:
    """Its mapping is sealed; only a first load could miss what was meant for it."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1, tables=["orders"])
    misspelt = migration_of(
        migration.settings.source,
        tmp_path / "state",
        migration.settings.target,
        tables={"archives": {"policy": "fail"}},
    )
    done = run_week(misspelt, 2)
    assert not isinstance(done["orders"], Exception)
    assert isinstance(done["archive"], SettingsError)


def test_settings_that_change_after_a_stopped_load_count_for_the_next_try(
    make_migration: MakeMigration, tmp_path: Path
) -> None:
    """The delta that waits was made with other types; it is made again."""
    migration = make_migration(SCHEMA, quarantine_rows=0, quarantine_share=0)
    pinned = {"orders": {"columns": {"placed": {"type": "timestamp", "encoding": MILLISECONDS}}}}

    def with_tables(tables: Tables) -> Migration:
        url = migration.settings.target
        limits = {"quarantine_rows": 0, "quarantine_share": 0}
        source = migration.settings.source
        return migration_of(source, tmp_path / "state", url, tables=tables, **limits)

    stopped = run_week(with_tables(pinned), 1, tables=["orders"])["orders"]
    assert isinstance(stopped, GuardError)
    columns = {"placed": {"type": "text"}, "price": {"type": "numeric(12,2)"}}
    moved = carry(with_tables({"orders": {"columns": columns}}), 1, "orders")
    assert [c.type.sql for c in moved.mapping.columns[2:4]] == ["numeric(12,2)", "text"]
    assert moved.proof.target_rows == 3
