"""The judge of schema objects: silent where all is there or listed, and it names what is not."""

import pytest
from psycopg import sql

from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    load_week,
    on_target,
    write_on_target,
)
from migration_assets_tests.independent_schema import compare_objects

SCHEMA = """
CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, x INT, y INT, UNIQUE (x, y));
CREATE TABLE "Child T" (
    Id INTEGER PRIMARY KEY, a INTEGER DEFAULT 5 CHECK (a > 0), b TEXT DEFAULT 'x''y',
    f BOOLEAN DEFAULT 1, p DECIMAL(5,2) DEFAULT 2.5, d DATE DEFAULT CURRENT_DATE,
    bad INTEGER DEFAULT 'no', r TEXT DEFAULT (hex(id)), g INTEGER AS (a + 1), h REAL AS (round(a)),
    up INTEGER REFERENCES "child t" (Id), x INT, y INT, par INTEGER REFERENCES parent,
    lost INTEGER REFERENCES nowhere, FOREIGN KEY (x, y) REFERENCES parent (x, y),
    CHECK (round(a) < 9 OR b = 'CHECK (no)')
);
CREATE INDEX down ON "Child T" (a DESC, b COLLATE NOCASE);
CREATE UNIQUE INDEX part ON "Child T" (a) WHERE b IS NULL;
CREATE INDEX expr ON "Child T" (lower(b));
CREATE INDEX odd ON "Child T" (round(a));
INSERT INTO parent VALUES (7, 1, 2); DELETE FROM parent;
INSERT INTO "Child T" (Id, f, d, bad) VALUES (3, 1, '2026-01-01', 1);
"""


@pytest.fixture
def loaded(make_migration: MakeMigration) -> Migration:
    """Return a migration with objects of every kind, loaded."""
    migration = make_migration(SCHEMA.replace("DEFAULT (hex(id))", "DEFAULT (hex('a'))"))
    load_week(migration, 1)
    return migration


def judged(migration: Migration) -> list[str]:
    """Return what the judge misses."""
    return compare_objects(migration.settings.source, migration.target.url)


def test_what_stands_or_is_listed_is_missed_by_nobody(loaded: Migration) -> None:
    """Every kind of object is in this schema, and some that no rule translates."""
    assert judged(loaded) == []


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ('ALTER TABLE "child t" ALTER a DROP DEFAULT', "a has no default, and 5 is not listed"),
        ('ALTER TABLE "child t" ALTER a SET DEFAULT 6', "a has another default than 5"),
        ('ALTER TABLE "child t" ALTER f SET DEFAULT false', "f has another default than 1"),
        ('ALTER TABLE "child t" ALTER g DROP EXPRESSION', "g is not generated, and not listed"),
        ('ALTER TABLE "child t" ALTER id DROP IDENTITY', "id is no identity"),
        ('ALTER TABLE "child t" ALTER id RESTART WITH 9', "the next id is 9, not one after 3"),
        ("ALTER TABLE parent ALTER id RESTART WITH 1", "the next id is 1, not one after 7"),
        ('DROP INDEX "child t_a_b_idx"', "index down is missing, and not listed"),
        ('DROP INDEX "child t_a_key"', "index part is missing, and not listed"),
        ('DROP INDEX "child t_expr_idx"', "index expr is missing, and not listed"),
    ],
)
def test_what_is_gone_from_the_target_is_named(loaded: Migration, change: str, missed: str) -> None:
    """One object each."""
    write_on_target(loaded, change)
    (found,) = judged(loaded)
    assert found.partition(": ")[2] == missed


@pytest.mark.parametrize(
    ("listed", "instead", "missed"),
    [
        ('"original":"\'no\'"', '"original":"7"', "bad has no default, and 'no' is not listed"),
        ('"kind":"check"', '"kind":"chock"', "2 CHECKs, and 0 are listed"),
        ('"kind":"foreign key"', '"kind":"key"', "4 foreign keys, and 0 are listed"),
        (
            '(\\"x\\", \\"y\\") REF',
            '(\\"y\\", \\"x\\") REF',
            "is not one of the source's",
        ),
        ('"name":"h"', '"name":"i"', "h is not generated, and not listed"),
        ('ON \\"Child T\\" (round(a))', "ON other", "is missing, and not listed"),
    ],
)
def test_what_is_not_listed_is_named(
    loaded: Migration, listed: str, instead: str, missed: str
) -> None:
    """The sealed document is believed only where it says so."""
    with on_target(loaded) as connection:
        connection.execute("ALTER TABLE migration.mapping DISABLE TRIGGER USER")
        done = connection.execute(
            sql.SQL(
                "UPDATE migration.mapping SET document = replace(document, {}, {})"
                " WHERE strpos(document, {}) > 0"
            ).format(sql.Literal(listed), sql.Literal(instead), sql.Literal(listed))
        )
        assert done.rowcount == 1
    assert [found for found in judged(loaded) if missed in found]
