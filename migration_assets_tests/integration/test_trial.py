"""What is made at the cutover is tried on the target of today, and nothing of it stays."""

from migration_assets import step
from migration_assets.deferring import deferred_at
from migration_assets.migration import Migration
from migration_assets.target.trial import statement
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    load_week,
    mapping_of,
    snapshot,
    target_rows,
    week,
    write_on_target,
)

TAKEN = "the target takes it"
SCHEMA = """
CREATE TABLE pair (x INTEGER, y TEXT, a INTEGER REFERENCES tree ON UPDATE SET NULL,
    PRIMARY KEY (y, x));
CREATE TABLE tree (
    id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree ON DELETE CASCADE,
    px INTEGER, py TEXT, p INTEGER REFERENCES Pair (x), t TEXT REFERENCES tree (id),
    name VARCHAR(3) CHECK (name <> ''), word VARCHAR(4) AS (name || '!') STORED,
    FOREIGN KEY (py, px) REFERENCES pair (y, x)
);
CREATE VIEW names AS SELECT name FROM tree WHERE up IS NULL;
CREATE VIEW later AS SELECT * FROM names;
INSERT INTO tree (id, name, t) VALUES (1, 'abc', 'x');
"""


def later(migration: Migration) -> dict[str, str]:
    """Take the week's cut and try what is deferred."""
    step.take_cut(migration, week(1))
    step.bootstrap(migration)
    return deferred_at(migration, week(1))


def test_constraints_and_views_are_tried_between_empty_copies(
    make_migration: MakeMigration,
) -> None:
    """Foreign keys composite, cyclic, to itself; what can't be made is said with the reason."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    before = snapshot(migration)
    found = later(migration)
    assert found.pop("tree: foreign key tree_p_fkey").startswith("there is no unique constraint")
    assert "cannot be implemented" in found.pop("tree: foreign key tree_t_fkey")
    assert found == {
        "tree: check tree_check1": TAKEN,
        "tree: foreign key tree_up_fkey": TAKEN,
        "tree: foreign key tree_py_px_fkey": TAKEN,
        "tree: length name": (
            "cannot alter type of a column used by a generated column (0A000 FeatureNotSupported)"
        ),
        "tree: length word": TAKEN,
        "pair: foreign key pair_a_fkey": TAKEN,
        "source: view names": TAKEN,
        "source: view later": TAKEN,
    }
    assert snapshot(migration) == before
    assert (
        target_rows(
            migration,
            "SELECT relname FROM pg_class WHERE relkind = 'v' AND"
            " relnamespace = 'public'::regnamespace",
        )
        == []
    )


def test_the_statements_of_the_cutover_make_them(make_migration: MakeMigration) -> None:
    """Those that the trial took, on the real tables."""
    migration = make_migration(SCHEMA)
    load_week(migration, 1)
    found = later(migration)
    for table in ("pair", "tree"):
        mapping = mapping_of(migration, table)
        for o in mapping.deferred:
            if found[f"{table}: {o.kind} {o.name}"] == TAKEN:
                write_on_target(migration, statement(mapping, o).as_string(None))
    made = target_rows(
        migration,
        "SELECT conname FROM pg_constraint WHERE contype IN ('c', 'f') AND"
        " connamespace = 'public'::regnamespace ORDER BY 1",
    )
    assert made == [("pair_a_fkey",), ("tree_check1",), ("tree_py_px_fkey",), ("tree_up_fkey",)]


def test_before_the_first_load_there_is_nothing_to_try(make_migration: MakeMigration) -> None:
    """The views read tables that aren't there yet, and say so."""
    assert later(make_migration(SCHEMA)) == {
        "source: view later": "names, which is not carried",
        "source: view names": "tree, which is not carried",
    }
