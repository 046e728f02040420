"""The catalog: what a source declares, read from a real SQLite, and what is left out and why."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from migration_assets.model import (
    Catalog,
    SourceColumn,
    SourceIndex,
)
from migration_assets.source.catalog import dumps, loads, read_catalog
from migration_assets.source.connection import quote


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Return an empty database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def catalog_of(database: sqlite3.Connection, schema: str) -> Catalog:
    """Return the catalog after a script."""
    database.executescript(schema)
    return read_catalog(database, "main")


def names(catalog: Catalog) -> Sequence[str]:
    """Return the names of a catalog's tables."""
    return [t.name for t in catalog.tables]


def test_columns_keep_order_declaration_and_constraints(database: sqlite3.Connection) -> None:
    """As the source declares them, each with its place in the key."""
    schema = "CREATE TABLE t (b VARCHAR(5) NOT NULL, a, c INT, PRIMARY KEY (c, b))"
    table = catalog_of(database, schema).tables[0]
    assert table.columns == (
        SourceColumn(name="b", declared="VARCHAR(5)", not_null=True, key=2),
        SourceColumn(name="a", declared=""),
        SourceColumn(name="c", declared="INT", key=1),
    )
    assert table.key == ("c", "b")


@pytest.mark.parametrize(
    ("schema", "alias"),
    [
        ("CREATE TABLE t (k INTEGER PRIMARY KEY)", "k"),
        ("CREATE TABLE t (k integer primary key autoincrement)", "k"),
        ("CREATE TABLE t (k INTEGER, PRIMARY KEY (k))", "k"),
        ("CREATE TABLE t (k INTEGER, PRIMARY KEY (k DESC))", "k"),
        ("CREATE TABLE t (k INTEGER PRIMARY KEY DESC)", None),
        ("CREATE TABLE t (k INT PRIMARY KEY)", None),
        ("CREATE TABLE t (k INTEGER PRIMARY KEY) WITHOUT ROWID", None),
        ("CREATE TABLE t (k INTEGER, l INTEGER, PRIMARY KEY (k, l))", None),
        ("CREATE TABLE t (k INTEGER UNIQUE)", None),
    ],
)
def test_the_rowid_has_an_alias_where_sqlite_says_so(
    database: sqlite3.Connection, schema: str, alias: str | None
) -> None:
    """The quirk of DESC included; a real rowid decides."""
    table = catalog_of(database, schema).tables[0]
    assert table.rowid_alias == alias
    if alias and not table.without_rowid:
        database.execute(f"INSERT INTO t ({quote(alias)}) VALUES (42)")
        assert database.execute("SELECT rowid FROM t").fetchone() == (42,)


def test_a_key_without_rowid_is_not_null(database: sqlite3.Connection) -> None:
    """There SQLite keeps NULLs out of the key, elsewhere it doesn't."""
    plain, without = catalog_of(
        database,
        "CREATE TABLE a (k TEXT PRIMARY KEY); CREATE TABLE b (k TEXT PRIMARY KEY) WITHOUT ROWID",
    ).tables
    assert (plain.columns[0].not_null, without.columns[0].not_null) == (False, True)
    assert (plain.without_rowid, without.without_rowid) == (False, True)


def test_indexes_are_read_with_what_is_special_about_them(database: sqlite3.Connection) -> None:
    """Constraint or not, unique or not, folded or not; those that aren't plain say why."""
    table = catalog_of(
        database,
        """
        CREATE TABLE t (a TEXT COLLATE NOCASE, b, UNIQUE (b, a));
        CREATE INDEX plain ON t (b, a COLLATE BINARY);
        CREATE UNIQUE INDEX partial ON t (b) WHERE b > 0;
        CREATE INDEX expression ON t (b, abs(a));
        CREATE INDEX on_rowid ON t (b);
        """,
    ).tables[0]
    index = {i.name: i for i in table.indexes}
    assert index["plain"] == SourceIndex(
        name="plain",
        columns=("b", "a"),
        unique=False,
        sql="CREATE INDEX plain ON t (b, a COLLATE BINARY)",
    )
    assert index["partial"].reason == "a partial index"
    assert index["expression"].reason == "an expression index"
    assert index["sqlite_autoindex_t_1"] == SourceIndex(
        name="sqlite_autoindex_t_1",
        columns=("b", "a"),
        unique=True,
        nocase=("a",),
        constraint=True,
    )


def test_directions_and_collations_of_an_index_are_read(database: sqlite3.Connection) -> None:
    """Of each member; a collation that SQLite doesn't know itself is no plain index."""
    database.create_collation("german", lambda a, b: (a > b) - (a < b))
    table = catalog_of(
        database,
        """
        CREATE TABLE t (a TEXT COLLATE RTRIM UNIQUE, b, c);
        CREATE INDEX down ON t (b DESC, c, a COLLATE BINARY DESC);
        CREATE INDEX own ON t (b COLLATE german);
        """,
    ).tables[0]
    index = {i.name: i for i in table.indexes}
    assert index["sqlite_autoindex_t_1"].rtrim == ("a",)
    assert (index["down"].columns, index["down"].descending) == (("b", "c", "a"), ("b", "a"))
    assert index["own"].reason == "an index under GERMAN, a collation of the application's own"


DECLARED = """
CREATE TABLE "main-table" (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- CHECK (not this)
    [b (x] TEXT COLLATE nocase DEFAULT 'CHECK (nor this)' CHECK ("b (x" <> ')'), /* AS (no) */
    c INT DEFAULT (1 + 2) CONSTRAINT positive CHECK (c > 0 AND c IN (1, 2, 3)),
    d DEFAULT CURRENT_TIMESTAMP, e DEFAULT -1.5, f DEFAULT NULL, g DEFAULT (NULL),
    v TEXT GENERATED ALWAYS AS ('a,' || (c || ')')) VIRTUAL CHECK (v <> ''),
    s AS (c * 2) STORED,
    CHECK (c < 10), CONSTRAINT both CHECK (c > 0 OR d IS NULL) CHECK (e < 0)
)
"""


def test_what_only_the_statement_says_is_read_from_it(database: sqlite3.Connection) -> None:
    """CHECKs, expressions, collations, AUTOINCREMENT; what stands in quotes or comments is none."""
    table = catalog_of(database, DECLARED).tables[0]
    columns = {c.name: c for c in table.columns}
    assert table.autoincrement
    assert table.checks == (
        "\"b (x\" <> ')'",
        "c > 0 AND c IN (1, 2, 3)",
        "v <> ''",
        "c < 10",
        "c > 0 OR d IS NULL",
        "e < 0",
    )
    assert {n: c.default for n, c in columns.items() if c.default} == {
        "b (x": "'CHECK (nor this)'",
        "c": "1 + 2",
        "d": "CURRENT_TIMESTAMP",
        "e": "-1.5",
        "f": "NULL",
        "g": "NULL",
    }
    assert {n: c.expression for n, c in columns.items() if c.expression} == {
        "v": "'a,' || (c || ')')",
        "s": "c * 2",
    }
    assert {n: c.collation for n, c in columns.items() if c.collation} == {"b (x": "NOCASE"}


def test_a_column_added_later_is_found_in_the_statement(database: sqlite3.Connection) -> None:
    """SQLite writes it in after the last column."""
    table = catalog_of(
        database,
        "CREATE TABLE t (a INT, CHECK (a > 0)); ALTER TABLE t ADD COLUMN b INT CHECK (b > 1);"
        "ALTER TABLE t ADD COLUMN c AS (a + b); CREATE TABLE u AS SELECT * FROM t",
    ).tables[0]
    assert table.checks == ("b > 1", "a > 0")
    assert table.columns[2].expression == "a + b"


def test_views_are_read_with_their_statements(database: sqlite3.Connection) -> None:
    """They are made at the cutover."""
    catalog = catalog_of(database, "CREATE TABLE t (a); CREATE VIEW v (x) AS SELECT a FROM t")
    assert catalog.views == {"v": "CREATE VIEW v (x) AS SELECT a FROM t"}


@pytest.mark.parametrize(
    ("module", "shadows"),
    [
        ("fts3 (body)", ("content", "segments", "segdir")),
        ("fts4 (body)", ("content", "segments", "segdir", "docsize", "stat")),
        ("fts5 (body)", ("content", "config", "data", "docsize", "idx")),
        ("rtree (id, low, high)", ("node", "parent", "rowid")),
    ],
)
def test_shadow_tables_are_left_out_and_look_alikes_are_not(
    database: sqlite3.Connection, module: str, shadows: tuple[str, ...]
) -> None:
    """The tables of an extension, and no table that is only called like one."""
    alike = [f"other_{name}" for name in shadows] + ["f_contents", "f", "other"]
    database.executescript("".join(f"CREATE TABLE {name} (a);" for name in alike if name != "f"))
    catalog = catalog_of(database, f"CREATE VIRTUAL TABLE f USING {module}")
    assert set(catalog.left_out) == {"f", *(f"f_{name}" for name in shadows)}
    assert set(names(catalog)) == set(alike) - {"f"}


@pytest.mark.parametrize(
    "module", ["fts4 (content='f_content', body)", "fts5 (body, content='f_content')"]
)
def test_the_applications_own_content_of_a_full_text_table_is_carried(
    database: sqlite3.Connection, module: str
) -> None:
    """SQLite takes it for a shadow table by its name; it holds the application's rows."""
    database.execute("CREATE TABLE f_content (id INTEGER PRIMARY KEY, body TEXT)")
    catalog = catalog_of(database, f"CREATE VIRTUAL TABLE f USING {module}")
    kinds = dict(database.execute("SELECT name, type FROM pragma_table_list").fetchall())
    assert kinds["f_content"] == "shadow"
    assert names(catalog) == ["f_content"]


def test_an_index_may_be_over_a_column_without_a_name(database: sqlite3.Connection) -> None:
    """The empty name is a name; only an expression has none."""
    table = catalog_of(
        database, 'CREATE TABLE t ("" TEXT COLLATE NOCASE, b); CREATE INDEX i ON t (b, "")'
    ).tables[0]
    assert [(i.columns, i.nocase, i.reason) for i in table.indexes] == [(("b", ""), ("",), "")]


def test_a_key_is_no_secondary_index(database: sqlite3.Connection) -> None:
    """The primary key's own index is the key."""
    assert catalog_of(database, "CREATE TABLE t (k TEXT PRIMARY KEY)").tables[0].indexes == ()


def test_generated_columns_are_marked(database: sqlite3.Connection) -> None:
    """Virtual and stored ones: they are carried by value."""
    schema = "CREATE TABLE t (a, v AS (a + 1), s AS (a + 2) STORED)"
    columns = catalog_of(database, schema).tables[0].columns
    assert [(c.name, c.generated) for c in columns] == [("a", False), ("v", True), ("s", True)]


def test_what_holds_no_rows_of_its_own_is_left_out_with_the_reason(
    database: sqlite3.Connection,
) -> None:
    """Views, virtual tables and their shadows; SQLite's own tables aren't the application's."""
    catalog = catalog_of(
        database,
        """
        CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT);
        CREATE VIEW v AS SELECT * FROM t;
        CREATE VIRTUAL TABLE f USING fts5 (body);
        """,
    )
    assert names(catalog) == ["t"]
    assert catalog.left_out["v"] == "a view: it holds no rows"
    assert catalog.left_out["f"].startswith("a virtual table")
    assert catalog.left_out["f_data"].startswith("a shadow table")
    assert not any(name.startswith("sqlite_") for name in catalog.left_out)


def test_patterns_choose_tables_and_every_one_left_out_is_named(
    database: sqlite3.Connection,
) -> None:
    """Shell patterns, case and all; excluding wins."""
    database.executescript("CREATE TABLE a1 (x); CREATE TABLE a2 (x); CREATE TABLE B1 (x)")
    catalog = read_catalog(database, "main", include=iter(("a*",)), exclude=iter(("*2",)))
    assert names(catalog) == ["a1"]
    assert catalog.left_out == {
        "a2": "excluded by the settings",
        "B1": "not included by the settings",
    }


@pytest.mark.parametrize("name", ["a*b", "a?b", "[ab]", "a]b", "!a", "a'b", 'a"b', "select", "ä b"])
def test_any_name_is_read(database: sqlite3.Connection, name: str) -> None:
    """None breaks out of its quotes, and none is taken for another's."""
    database.execute(f"CREATE TABLE {quote(name)} ({quote(name)} INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE axb (x)")
    table = read_catalog(database, "main").table(name)
    assert table is not None
    assert [column.name for column in table.columns] == [name]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN c",
        "ALTER TABLE t RENAME COLUMN a TO z",
        "ALTER TABLE t RENAME TO u",
        "CREATE TABLE u (a)",
        "DROP TABLE t; CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)",
        "DROP TABLE t; CREATE TABLE t (k INTEGER PRIMARY KEY, a INT NOT NULL)",
        "DROP TABLE t; CREATE TABLE t (k INTEGER, a INT)",
        "DROP TABLE t; CREATE TABLE t (a INT, k INTEGER PRIMARY KEY)",
    ],
)
def test_the_fingerprint_changes_with_what_a_mapping_depends_on(
    database: sqlite3.Connection, change: str
) -> None:
    """Names, declarations, NOT NULL, keys and their order."""
    before = catalog_of(database, "CREATE TABLE t (k INTEGER PRIMARY KEY, a INT)").fingerprint
    assert catalog_of(database, change).fingerprint != before


def test_rows_and_indexes_leave_the_fingerprint_alone(database: sqlite3.Connection) -> None:
    """They are no change of shape."""
    before = catalog_of(database, "CREATE TABLE t (k INTEGER PRIMARY KEY, a INT)").fingerprint
    change = "INSERT INTO t VALUES (1, 2); CREATE INDEX i ON t (a)"
    assert catalog_of(database, change).fingerprint == before


def test_a_catalog_comes_back_from_its_document(database: sqlite3.Connection) -> None:
    """Definitions load from it while the source is away."""
    catalog = catalog_of(
        database,
        """
        CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b AS (a));
        CREATE TABLE "ü" (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE INDEX i ON t (a) WHERE a > 0;
        CREATE VIEW v AS SELECT 1;
        """,
    )
    assert loads(dumps(catalog)) == catalog


def test_a_typeless_column_of_a_strict_table_keeps_what_it_is_given(
    database: sqlite3.Connection,
) -> None:
    """ANY has no affinity there, unlike the word in any other table: 00123 stays text."""
    strict, loose = catalog_of(
        database, "CREATE TABLE a (v ANY, w INT) STRICT; CREATE TABLE b (v ANY)"
    ).tables
    database.execute("INSERT INTO a (v) VALUES ('00123')")
    database.execute("INSERT INTO b VALUES ('00123')")
    assert database.execute("SELECT v FROM a UNION ALL SELECT v FROM b").fetchall() == [
        ("00123",),
        (123,),
    ]
    assert [c.declared for c in strict.columns] == ["", "INT"]
    assert loose.columns[0].declared == "ANY"


FOREIGN_KEYS = """
CREATE TABLE Parent (A INTEGER PRIMARY KEY, code TEXT UNIQUE);
CREATE TABLE pair (x INT, y INT, PRIMARY KEY (y, x));
CREATE TABLE t (
    id INTEGER PRIMARY KEY, up INT REFERENCES t, p INT REFERENCES parent (a),
    c TEXT REFERENCES PARENT (Code), i INT, j INT, gone INT REFERENCES nowhere (id),
    half INT REFERENCES pair, lost INT REFERENCES parent (no_such),
    FOREIGN KEY (I, j) REFERENCES pair
);
"""


def test_foreign_keys_are_read_with_names_as_the_tables_spell_them(
    database: sqlite3.Connection,
) -> None:
    """Composite, to itself, without named columns, to a parent or columns that are not there."""
    table = catalog_of(database, FOREIGN_KEYS).table("t")
    assert table is not None
    found = {key.columns: (key.parent, key.parent_columns) for key in table.foreign_keys}
    assert found == {
        ("up",): ("t", ("id",)),
        ("p",): ("Parent", ("A",)),
        ("c",): ("Parent", ("code",)),
        ("i", "j"): ("pair", ("y", "x")),
        ("gone",): ("nowhere", ()),
        ("half",): ("pair", ()),
        ("lost",): ("Parent", ()),
    }
    assert {key.text for key in table.foreign_keys} >= {"(i, j) → pair (y, x)", "(gone) → nowhere"}


def test_a_foreign_keys_place_is_its_id_in_sqlites_own_check(database: sqlite3.Connection) -> None:
    """The rows that PRAGMA foreign_key_check names by id are counted at the right key."""
    catalog = catalog_of(
        database,
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY);"
        "CREATE TABLE t (x INT REFERENCES a, y INT REFERENCES b); INSERT INTO t VALUES (1, NULL);",
    )
    table = catalog.table("t")
    assert table is not None
    ((_, _, parent, number),) = database.execute("PRAGMA foreign_key_check(t)").fetchall()
    assert (table.foreign_keys[number].columns, parent) == (("x",), "a")


def test_a_catalog_cached_before_foreign_keys_were_read_still_loads(
    database: sqlite3.Connection,
) -> None:
    """An upgrade doesn't need the source to show the assets."""
    catalog = catalog_of(database, FOREIGN_KEYS)
    assert loads(dumps(catalog)) == catalog
    document = json.loads(dumps(catalog))
    for table in document["tables"]:
        del table["foreign_keys"]
    old = loads(json.dumps(document))
    assert names(old) == names(catalog)
    assert all(table.foreign_keys == () for table in old.tables)
    assert old.fingerprint == catalog.fingerprint


def test_foreign_keys_leave_the_fingerprint_alone(database: sqlite3.Connection) -> None:
    """A mapping takes nothing from them."""
    with_key = catalog_of(database, "CREATE TABLE t (a INTEGER PRIMARY KEY, b INT REFERENCES t)")
    database.execute("DROP TABLE t")
    without = catalog_of(database, "CREATE TABLE t (a INTEGER PRIMARY KEY, b INT)")
    assert with_key.fingerprint == without.fingerprint
