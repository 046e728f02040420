"""Views: each gives the same rows in both databases, or is listed with the reason."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_assets.deferring import try_on
from migration_assets.mapping.views import translate_views
from migration_assets.migration import Migration
from migration_assets.model import DeferredObject
from migration_assets.source.catalog import read_catalog
from migration_assets.target.embedded import EmbeddedServer
from migration_assets.target.trial import view_statement
from migration_assets_tests.fixtures_migration import (
    load_week,
    mapping_of,
    migration_of,
    on_target,
)
from migration_assets_tests.fixtures_postgres import own_database

SCHEMA = """
CREATE TABLE Customer (Id INTEGER PRIMARY KEY, "First Name" TEXT, mail TEXT COLLATE NOCASE,
    active BOOLEAN, born DATE);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES Customer, at DATETIME,
    qty INTEGER, price REAL, total DECIMAL(10,2), note);
INSERT INTO Customer VALUES (1, 'Ann', 'ann@x', 1, '1990-01-02'), (2, 'bob', 'B@x', 0, NULL),
    (3, 'Émile', NULL, 1, '1985-12-31'), (4, NULL, 'z@x', NULL, '2001-06-15');
INSERT INTO orders VALUES (1, 1, '2026-01-02 10:00:00', 2, 1.5, 3, 'a'),
    (2, 1, '2026-02-03 11:30:00', 1, 0.25, 0.25, NULL), (3, 2, NULL, NULL, 9.0, 9.99, 'b'),
    (4, NULL, '2025-12-31 23:59:59', 5, NULL, NULL, 'c');
"""
SAME = """
SELECT * FROM customer;
SELECT c.*, o.id AS number FROM Customer AS c JOIN orders o ON o.customer = c.Id;
SELECT Id, mail FROM customer WHERE active ORDER BY mail DESC, Id;
SELECT c."First Name" AS name, count(o.id) AS n, sum(qty) AS q, avg(qty) AS m, max(at) AS last
    FROM Customer c LEFT JOIN orders o ON o.customer = c.Id GROUP BY c.Id, name;
SELECT customer, sum(price) AS p, min(price) AS low, total(qty) AS t FROM orders GROUP BY 1
    HAVING count(*) > 0;
SELECT DISTINCT active FROM customer;
SELECT count(*), count(DISTINCT customer), min(at), max(note) FROM orders;
SELECT id, qty > 1 AS many, CASE WHEN qty IS NULL THEN 'none' ELSE 'some' END AS x FROM orders;
SELECT Id FROM customer WHERE EXISTS (SELECT 1 FROM orders WHERE customer = Customer.Id);
SELECT Id FROM customer WHERE Id IN (SELECT customer FROM orders WHERE qty > 0);
SELECT Id FROM customer WHERE Id NOT IN (SELECT customer FROM orders WHERE customer IS NOT NULL);
SELECT Id, (SELECT count(*) FROM orders o WHERE o.customer = c.Id) AS n FROM customer c;
SELECT Id AS a, 'customer' AS b FROM customer UNION ALL SELECT id, 'order' FROM orders;
SELECT customer FROM orders UNION SELECT Id FROM customer;
SELECT Id FROM customer INTERSECT SELECT customer FROM orders;
SELECT Id FROM customer EXCEPT SELECT customer FROM orders;
WITH big AS (SELECT * FROM orders WHERE qty > 1), named (i, m) AS (SELECT Id, mail FROM
    customer) SELECT big.id, m FROM big LEFT JOIN named ON i = customer;
SELECT x.n + 1 AS more FROM (SELECT count(*) AS n FROM orders) AS x;
SELECT id FROM orders ORDER BY at, id LIMIT 2 OFFSET 1;
SELECT id, at FROM orders ORDER BY 2 DESC LIMIT 3;
SELECT c.Id, o.id AS o FROM customer c, orders o WHERE c.Id = o.customer;
SELECT customer.Id FROM customer CROSS JOIN orders;
SELECT Id, mail FROM customer WHERE mail = 'b@X' OR mail LIKE 'A%';
SELECT strftime('%Y-%m', at) AS month, count(*) AS n FROM orders GROUP BY month;
SELECT Id, date(born) AS born, "First Name" || ' <' || ifnull(mail, '?') || '>' AS who FROM
    customer;
SELECT lower(note) AS note FROM orders ORDER BY note, id;
SELECT a.id FROM orders a JOIN orders b USING (id);
SELECT group_concat(note, '- ') AS all_notes FROM (SELECT note FROM orders WHERE id = 1);
SELECT total FROM orders WHERE total >= 1;
SELECT 1 AS one, NULL AS void, 'x' AS text, x'00' AS bytes, 1.5 AS real;
SELECT number FROM v_second WHERE many
"""
SECOND = "CREATE VIEW v_second (number, many) AS SELECT id, qty > 1 FROM orders"
LISTED = {
    "SELECT sum(total) FROM orders": "exact in PostgreSQL",
    "SELECT round(price) FROM orders": "ROUND has no rule",
    "SELECT id, row_number() OVER (ORDER BY id) FROM orders": "WINDOW has no rule",
    "SELECT sum(qty) FILTER (WHERE id > 1) FROM orders": "FILTER has no rule",
    "SELECT DISTINCT mail FROM customer": "under a collation",
    "SELECT mail, count(*) FROM customer GROUP BY mail": "under a collation",
    "SELECT id FROM orders NATURAL JOIN customer": "METHOD has no rule",
    "SELECT name FROM sqlite_master": "sqlite_master, which is not carried",
    "SELECT rowid FROM orders": "rowid, which is no column",
    "SELECT id FROM orders UNION SELECT mail FROM customer": "under a collation",
    "SELECT id FROM orders UNION SELECT note FROM orders": "different types",
    "SELECT id FROM orders UNION SELECT 1 ORDER BY 1": "ORDER has no rule",
    "WITH RECURSIVE r (n) AS (SELECT 1 UNION SELECT n FROM r) SELECT n FROM r": "RECURSIVE",
    "VALUES (1)": "VALUES has no rule",
    "SELECT id, id FROM orders": "two columns of one name",
    "SELECT id FROM orders LIMIT -1": "no number",
}


class Both:
    """The same tables in both databases."""

    def __init__(self, migration: Migration, target: psycopg.Connection[Any]) -> None:
        self.migration, self.target = migration, target
        self.source = sqlite3.connect(migration.settings.source)
        catalog = read_catalog(self.source, "main")
        self.tables = [(t, mapping_of(migration, t.name)) for t in catalog.tables]

    def translated(self, query: str) -> tuple[DeferredObject, ...]:
        """Translate a view of that query, beside one that it may read."""
        return translate_views({"v": f"CREATE VIEW v AS {query}", "v_second": SECOND}, self.tables)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedServer) -> Iterator[Both]:
    """Load the tables."""
    with own_database(postgres) as url:
        yield from loaded(tmp_path_factory.mktemp("views"), url)


def loaded(folder: Path, url: str) -> Iterator[Both]:
    """Yield both databases once the rows are carried."""
    with closing(sqlite3.connect(folder / "app.sqlite")) as connection:
        connection.executescript(SCHEMA)
    migration = migration_of(folder / "app.sqlite", folder / "state", url)
    load_week(migration, 1)
    with on_target(migration) as target:
        found = Both(migration, target)
        yield found
        found.source.close()


@pytest.mark.parametrize("query", [q.strip() for q in SAME.strip().split(";\n")])
def test_a_view_gives_the_same_rows(both: Both, query: str) -> None:
    """In the order it asks for; the target takes it in the trial, too."""
    views = both.translated(query)
    assert [v.problem for v in views] == ["", ""]
    tried = try_on(both.migration.target, both.tables, views)
    assert [t.problem for t in tried if not t.table] == ["", ""]
    with both.target.transaction(force_rollback=True):
        for view in views:
            both.target.execute(view_statement(view))
        name = next(v.name for v in views if v.name == "v")
        found = [plain(row) for row in both.target.execute(f"SELECT * FROM {name}".encode())]
    both.source.execute(SECOND)
    expected = [tuple(row) for row in both.source.execute(query)]
    both.source.rollback()
    both.source.execute("DROP VIEW v_second")
    if "ORDER BY" not in query:
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
    assert found == expected


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of the target as SQLite has its values."""

    def value(found: object) -> object:
        if isinstance(found, bool):
            return int(found)
        if isinstance(found, Decimal):
            return int(found) if found == found.to_integral_value() else float(found)
        return str(found) if hasattr(found, "isoformat") else found

    return tuple(map(value, row))


@pytest.mark.parametrize(("query", "reason"), LISTED.items())
def test_a_view_without_a_faithful_translation_is_listed(
    both: Both, query: str, reason: str
) -> None:
    """With its own text, and without a guess."""
    (found,) = [v for v in both.translated(query) if v.name == "v"]
    assert reason in found.problem
    assert (found.definition, found.original) == ("", f"CREATE VIEW v AS {query}")


def test_a_view_comes_after_those_it_reads(both: Both) -> None:
    """Whatever their names are."""
    views = {
        "a": "CREATE VIEW a AS SELECT * FROM b",
        "b": "CREATE VIEW b AS SELECT * FROM c",
        "c": "CREATE VIEW c AS SELECT id FROM orders",
    }
    assert [v.name for v in translate_views(views, both.tables)] == ["c", "b", "a"]


def test_a_view_never_takes_a_tables_name(both: Both) -> None:
    """They share one namespace on the target."""
    views = {"orders_pkey": "CREATE VIEW orders_pkey AS SELECT 1 AS a"}
    (found,) = translate_views(views, both.tables)
    assert found.name.startswith("orders_pkey_")
