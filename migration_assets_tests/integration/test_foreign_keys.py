"""Foreign keys are checked every week, in the cut and on the target, before they are created."""

import pytest

from migration_assets import standing
from migration_assets.findings import ForeignKeyCheck
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    change,
    load_week,
    week,
    write_on_target,
)

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES customers, score INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id));
CREATE TABLE lines (order_id INTEGER, line INTEGER, PRIMARY KEY (order_id, line)) WITHOUT ROWID;
CREATE TABLE parcels (id INTEGER PRIMARY KEY, order_id INTEGER, line INTEGER,
    FOREIGN KEY (order_id, line) REFERENCES lines);
INSERT INTO customers VALUES (1, NULL, 1), (2, 1, 2);
INSERT INTO orders VALUES (1, 1), (2, 2), (3, NULL);
INSERT INTO lines VALUES (1, 1), (1, 2);
INSERT INTO parcels VALUES (1, 1, 1), (2, 1, 2), (3, NULL, 9);
"""


def checks(migration: Migration, table: str) -> dict[str, ForeignKeyCheck]:
    """Return what is found of a table's foreign keys, by their columns."""
    found = standing.inspect(migration, table)
    assert found is not None
    return {",".join(check.key.columns): check for check in found.foreign_keys}


def counts(check: ForeignKeyCheck) -> tuple[int | None, int | None, int | None]:
    """Return the rows without a parent: in the cut, on the target, and those only withheld."""
    return check.source_orphans, check.target_orphans, check.withheld


def test_keys_whose_rows_all_have_parents_hold(make_migration: MakeMigration) -> None:
    """Simple, to itself, and composite; a NULL refers to nothing."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    for table, column in (("orders", "customer"), ("customers", "boss")):
        check = checks(migration, table)[column]
        assert (counts(check), check.holds) == ((0, 0, 0), True)
    composite = checks(migration, "parcels")["order_id,line"]
    assert (counts(composite), composite.holds) == ((0, 0, 0), True)
    assert checks(migration, "lines") == {}


def test_orphans_of_the_source_are_counted_on_both_sides(make_migration: MakeMigration) -> None:
    """SQLite doesn't enforce keys unless it is told to; the rows are carried all the same."""
    migration = make_migration(SCHEMA)
    change(
        migration,
        "INSERT INTO orders VALUES (4, 77), (5, 77), (6, 78)",
        "UPDATE parcels SET line = 9 WHERE id = 1",
        "UPDATE customers SET boss = 50 WHERE id = 2",
    )
    load_week(migration, 1)
    assert counts(checks(migration, "orders")["customer"]) == (3, 3, 0)
    assert counts(checks(migration, "parcels")["order_id,line"]) == (1, 1, 0)
    boss = checks(migration, "customers")["boss"]
    assert (counts(boss), boss.holds) == ((1, 1, 0), False)


def test_rows_whose_parent_is_in_quarantine_are_told_apart(make_migration: MakeMigration) -> None:
    """Their parent is in the cut: mending it mends them; the source's own orphan stays one."""
    migration = make_migration(SCHEMA)
    change(
        migration,
        "WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        " INSERT INTO customers SELECT i, NULL, i FROM n",
        "UPDATE customers SET score = 'high' WHERE id = 2",
        "INSERT INTO orders VALUES (4, 2), (5, 9999)",
    )
    load_week(migration, 1)
    check = checks(migration, "orders")["customer"]
    assert (counts(check), check.holds) == ((1, 3, 2), False)


def test_a_row_removed_on_the_target_alone_leaves_orphans_there(
    make_migration: MakeMigration,
) -> None:
    """Somebody's delete shows here too."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    write_on_target(migration, "DELETE FROM customers WHERE id = 1")
    assert counts(checks(migration, "orders")["customer"]) == (0, 1, 1)


def test_a_parent_that_is_not_on_the_target_yet_is_said(make_migration: MakeMigration) -> None:
    """Tables of a week move one by one, so that is no failure."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1, tables=["orders"])
    check = checks(migration, "orders")["customer"]
    assert check.pending == "customers isn't on the target yet"
    assert (counts(check), check.holds) == ((0, None, None), True)


def test_a_parent_at_another_week_is_said(make_migration: MakeMigration) -> None:
    """Its new rows are still to come; once it has moved, nothing is missing."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    change(migration, "INSERT INTO customers VALUES (3, 1, 3)", "INSERT INTO orders VALUES (4, 3)")
    load_week(migration, 2, tables=["orders"])
    behind = checks(migration, "orders")["customer"]
    assert behind.pending == f"customers stands at {week(1)}"
    assert (counts(behind), behind.holds) == ((0, 1, 1), True)
    load_week(migration, 2, tables=["customers"])
    after = checks(migration, "orders")["customer"]
    assert (after.pending, counts(after), after.holds) == ("", (0, 0, 0), True)


@pytest.mark.parametrize(
    ("schema", "obstacle"),
    [
        (
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, p INTEGER REFERENCES nowhere (id));"
                "INSERT INTO t VALUES (1, NULL);"
            ),
            "the source has no table nowhere",
        ),
        (
            (
                "CREATE TABLE p (id INTEGER PRIMARY KEY);"
                "CREATE TABLE t (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (id));"
                "INSERT INTO p VALUES (1); INSERT INTO t VALUES (1, '1');"
            ),
            "types differ: p text, p.id bigint",
        ),
        (
            (
                "CREATE TABLE p (id INTEGER PRIMARY KEY, a, b);"
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES p (a));"
            ),
            "SQLite can't check it: a foreign key of this table names no unique key of its parent",
        ),
        (
            (
                "CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b));"
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES p);"
            ),
            "p has no key that this could refer to",
        ),
        (
            (
                "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT COLLATE NOCASE UNIQUE);"
                "CREATE TABLE t (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (code));"
            ),
            "no unique key of p over code",
        ),
        (
            (
                "CREATE VIEW p AS SELECT 1 AS id;"
                "CREATE TABLE t (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id));"
            ),
            "p is not carried: a view: it holds no rows",
        ),
    ],
)
def test_a_key_that_can_not_be_created_says_why(
    make_migration: MakeMigration, schema: str, obstacle: str
) -> None:
    """Weeks before the cutover, with the load itself undisturbed."""
    migration = make_migration(schema)
    load_week(migration, 1)
    (check,) = checks(migration, "t").values()
    assert check.obstacle == obstacle
    assert not check.holds


def test_a_parent_that_the_settings_leave_out_is_an_obstacle(
    make_migration: MakeMigration,
) -> None:
    """It will never come."""
    migration = make_migration(SCHEMA, exclude=("customers",))
    load_week(migration, 1, tables=["orders"])
    check = checks(migration, "orders")["customer"]
    assert check.obstacle == "customers is not carried: excluded by the settings"


def test_a_parent_whose_columns_changed_on_the_target_is_an_obstacle(
    make_migration: MakeMigration,
) -> None:
    """It is said, not raised."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE customers RENAME COLUMN id TO number")
    check = checks(migration, "orders")["customer"]
    assert check.obstacle == "the target's columns of customers are not those of its mapping"


@pytest.mark.parametrize(
    ("statements", "obstacle"),
    [
        (
            ["UPDATE migration.mapping SET document = '' WHERE table_name = 'customers'"],
            "the sealed mapping",
        ),
        (
            [
                "ALTER TABLE customers RENAME TO kept",
                "CREATE VIEW customers AS SELECT * FROM kept WHERE 1 / (id - id) = 1",
            ],
            "22012 DivisionByZero",
        ),
    ],
)
def test_what_goes_wrong_at_the_parent_leaves_the_childs_proof_alone(
    make_migration: MakeMigration, statements: list[str], obstacle: str
) -> None:
    """It is named at the key; everything else of the table is still found."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    write_on_target(migration, *statements)
    found = standing.verify(migration, "orders")
    assert found is not None
    assert found.proof.holds
    assert found.inspection.round_trip.holds
    (check,) = found.inspection.foreign_keys
    assert obstacle in check.obstacle
    assert not check.holds


def test_names_that_differ_in_case_are_one_parent(make_migration: MakeMigration) -> None:
    """As they are to SQLite."""
    migration = make_migration(
        'CREATE TABLE "Größe %s" (Id INTEGER PRIMARY KEY);'
        'CREATE TABLE t (id INTEGER PRIMARY KEY, "p %s" INT REFERENCES "GRößE %S" (ID));'
        'INSERT INTO "Größe %s" VALUES (1); INSERT INTO t VALUES (1, 1), (2, 2);'
    )
    load_week(migration, 1)
    check = checks(migration, "t")["p %s"]
    assert (check.key.parent, counts(check)) == ("Größe %s", (1, 1, 0))
