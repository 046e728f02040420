"""A first load finds something of somebody else's in its place: it is described and left alone."""

import pytest

from migration_assets import planning
from migration_assets.errors import TargetError
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    on_target,
    run_week,
    target_rows,
    write_on_target,
)

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, price DECIMAL(12,2), placed DATETIME);
INSERT INTO orders VALUES (1, 1.25, '2026-01-01 10:00:00');
"""
SAME = "CREATE TABLE orders (id bigint, price numeric(12,2), placed timestamp)"
EVERYTHING = "SELECT * FROM orders ORDER BY 1"
PRESENT = [
    (SAME, "a table with 0 rows and the same columns"),
    (f"{SAME}; INSERT INTO orders VALUES (7)", "a table with 1 row and the same columns"),
    (
        f"{SAME}; INSERT INTO orders SELECT generate_series(1, 1000)",
        "a table with 1,000 rows and the same columns",
    ),
    (
        f"{SAME}; INSERT INTO orders SELECT generate_series(1, 1001)",
        "a table with more than 1,000 rows and the same columns",
    ),
    (
        "CREATE TABLE orders (id int, extra text, price numeric(12,2))",
        "a table with 0 rows and other columns: id is integer, not bigint, no placed, extra",
    ),
    (
        "CREATE VIEW orders AS SELECT 1::bigint AS id",
        "a view with rows unread and other columns: no price, no placed",
    ),
    (
        f"{SAME}; ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "a table with rows unread and the same columns",
    ),
    ("CREATE SEQUENCE orders", "a sequence with rows unread and other columns: no id, no price"),
]


@pytest.mark.parametrize(("made", "said"), PRESENT)
def test_what_is_in_the_way_is_described_and_left_alone(
    make_migration: MakeMigration, made: str, said: str
) -> None:
    """By the plan beforehand and by the load alike, with the ways out."""
    migration = make_migration(SCHEMA)
    with on_target(migration) as connection:
        connection.execute(made.encode())
    before = target_rows(migration, EVERYTHING)
    (planned,) = planning.make(migration.settings, migration.target).tables
    assert f"public.orders exists already: {said}" in planned.stops[0]
    error = run_week(migration, 1)["orders"]
    assert isinstance(error, TargetError)
    assert f"public.orders exists already: {said}" in error.what
    assert "`target` under `tables`" in error.hint
    assert target_rows(migration, EVERYTHING) == before


def test_another_name_is_a_way_out(make_migration: MakeMigration) -> None:
    """What stood there stays, and the table is loaded beside it."""
    migration = make_migration(SCHEMA, tables={"orders": {"target": "orders_v2"}})
    write_on_target(migration, SAME)
    done = run_week(migration, 1)
    assert not isinstance(done["orders"], Exception)
    assert target_rows(migration, "SELECT count(*) FROM orders") == [(0,)]
    assert target_rows(migration, "SELECT count(*) FROM orders_v2") == [(1,)]
