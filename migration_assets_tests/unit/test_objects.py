"""Schema objects of a mapping: a pure function of the declaration, and of what was refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from migration_assets.mapping.document import dumps, loads
from migration_assets.mapping.names import allocate
from migration_assets.mapping.objects import (
    as_sealed,
    length_limit,
    refused_default,
    refused_generated,
    refused_index,
    with_objects,
    without,
)
from migration_assets.model import SourceIndex, SourceTable, TableMapping
from migration_assets_tests.fixtures_sqlite import as_cut, make, proposed, table_of

SCHEMA = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER DEFAULT 5, g INTEGER AS (a + 1), b TEXT);
CREATE INDEX down ON t (a DESC);
CREATE INDEX plain ON t (b);
"""


@pytest.fixture
def wanted(tmp_path: Path) -> tuple[SourceTable, TableMapping]:
    """Return a table and what is proposed for it."""
    cut = as_cut(make(tmp_path / "app.sqlite", SCHEMA))
    return table_of(cut), proposed(cut)


def test_the_same_declaration_gives_the_same_objects(
    wanted: tuple[SourceTable, TableMapping],
) -> None:
    """Whatever stood in the mapping before."""
    table, mapping = wanted
    assert with_objects(mapping, table, allocate([table])["t"]) == mapping


def test_a_mapping_with_objects_comes_back_from_its_document(
    wanted: tuple[SourceTable, TableMapping],
) -> None:
    """Defaults, identity, expressions and definitions included."""
    _, mapping = wanted
    assert loads(dumps(mapping)) == mapping
    columns = {c.name: c for c in mapping.columns}
    assert columns["id"].identity
    assert columns["a"].default == "5"
    assert columns["g"].generated == '("a"::bigint + 1::bigint)'
    assert [i.definition for i in mapping.indexes] == ['("a" DESC)', ""]


def test_what_was_refused_once_is_not_asked_for_again(
    wanted: tuple[SourceTable, TableMapping],
) -> None:
    """In the words of the sealed mapping; another definition is another object."""
    table, mapping = wanted
    columns = {c.name: c for c in mapping.columns}
    down, plain = mapping.indexes
    refused = [
        refused_default(columns["a"], table, "no"),
        refused_generated(columns["g"], table, "no"),
        refused_index(mapping, down, table, "no"),
        refused_index(mapping, plain, table, "no"),
    ]
    written = "CREATE INDEX plain ON t (b)"
    assert [o.original for o in refused] == ["5", "a + 1", down.original, written]
    sealed = without(mapping, refused)
    assert sealed.indexes == ()
    assert [(c.default, c.generated) for c in sealed.columns] == [("", "")] * 4
    assert as_sealed(mapping, sealed) == sealed
    assert as_sealed(sealed, sealed) == sealed
    assert as_sealed(mapping, mapping) == mapping


def test_another_definition_is_asked_for(wanted: tuple[SourceTable, TableMapping]) -> None:
    """The source changed its default: the server has not seen this one."""
    table, mapping = wanted
    columns = {c.name: c for c in mapping.columns}
    sealed = without(mapping, [refused_default(columns["a"], table, "no")])
    changed = replace(
        mapping,
        columns=tuple(replace(c, default="6") if c.name == "a" else c for c in mapping.columns),
    )
    assert as_sealed(changed, sealed) == changed


def test_an_index_whose_statement_is_unknown_is_listed(
    wanted: tuple[SourceTable, TableMapping],
) -> None:
    """A catalog of an older version has none: it isn't taken for a plain one."""
    table, mapping = wanted
    old = SourceIndex(name="x", columns=("a",), unique=True, reason="a partial index")
    table = replace(table, indexes=(old,))
    found = with_objects(mapping, table, allocate([table])["t"])
    assert found.indexes == ()
    assert [(o.kind, o.original, o.problem) for o in found.deferred] == [
        ("index", "x", "a partial index")
    ]


@pytest.mark.parametrize(
    ("declared", "limit"),
    [
        ("VARCHAR(10)", 10),
        ("nvarchar ( 3 )", 3),
        ("TEXT", None),
        ("VARCHAR(0)", None),
        ("VARCHAR(99999999)", None),
        ("DECIMAL(10)", None),
        ("INT(11)", None),
        ("CHAR(1,2)", None),
    ],
)
def test_a_length_limit_is_read_from_a_text_type(declared: str, limit: int | None) -> None:
    """Of other types the figure says something else."""
    assert length_limit(declared) == limit
