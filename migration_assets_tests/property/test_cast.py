"""Casts: SQLite's own value of an expression over one row stands in place of a column's own."""

import dataclasses
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.mapping.document import sealed
from migration_assets.mapping.expressions import misspelt
from migration_assets.mapping.raw import raw_digest, row_parts
from migration_assets.mapping.rows import RowFitter
from migration_assets.mapping.types import BIGINT, BYTEA, DOUBLE, TEXT
from migration_assets.model import (
    Change,
    Cut,
    Kind,
    Op,
    RawRow,
    Scope,
    TableMapping,
    TargetType,
    UndecodableText,
)
from migration_assets.source.connection import exact_text, open_cut
from migration_assets.source.delta import everything
from migration_assets.source.reader import cast_rows, row_by_key, rows
from migration_assets.verify.digest import RowHasher
from migration_assets.verify.expect import expect
from migration_assets.verify.round_trip import as_stored
from migration_assets_tests.fixtures_sqlite import (
    ENCODINGS,
    LATER,
    MEMORY,
    as_cut,
    make,
    proposed,
    table_of,
    values,
)
from migration_assets_tests.property.test_delta import KEYS, SCHEMAS, Model, compared, write

_cells = st.one_of(values, values.filter(lambda v: not isinstance(v, UndecodableText)))
_rows = st.lists(st.tuples(st.sampled_from(KEYS), _cells, _cells), max_size=8)
CASTS = ("typeof(a)", "a || b", "length(a) + 1.5", "CAST(a AS BLOB)", "coalesce(b, k)", "NULL")


def with_casts(
    mapping: TableMapping, casts: dict[str, str], types: dict[str, TargetType]
) -> TableMapping:
    """Return a mapping with casts in some columns, and their types."""
    columns = tuple(
        dataclasses.replace(c, cast=casts.get(c.name, ""), type=types.get(c.name, c.type))
        for c in mapping.columns
    )
    return sealed(dataclasses.replace(mapping, columns=columns))


def by_sqlite(cut: Cut, expressions: list[str]) -> list[RawRow]:
    """Return a table's rows and the values of expressions, as SQLite says without our queries."""
    with closing(sqlite3.connect(cut.path)) as connection:
        connection.text_factory = exact_text
        more = "".join(f", ({e})" for e in expressions)
        return connection.execute(f"SELECT *{more} FROM t").fetchall()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_casts_are_read_behind_a_rows_own_values(tmp_path: Path, encoding: str) -> None:
    """Bare names, quoted ones, comments, affinities and collations mean what they mean in SQL."""
    schema = """CREATE TABLE t (
        k INTEGER PRIMARY KEY, "a ""b" TEXT COLLATE NOCASE, [select] INTEGER, `n``o` REAL, Ä
    )"""
    content = [(1, "Ab", 7, 2.0, "😀"), (2, "x", None, 0.5, b"\xff\0")]
    casts = {
        '"a ""b" || \'"\' -- a comment': ['Ab"', 'x"'],
        "[a \"b] = 'aB'": [1, 0],
        "\"SELECT\" = '7'": [1, None],
        "`n``o`": [2.0, 0.5],
        "typeof(`n``o`)": ["real", "real"],
        "Ä": ["😀", b"\xff\0"],
        "1 + 1": [2, 2],
        "max(k, 2)": [2, 2],
    }
    cut = as_cut(make(tmp_path / "t", schema, content, encoding=encoding))
    table = table_of(cut)
    found = list(rows(cut, table, list(casts)))
    assert found == [(*row, *(v[i] for v in casts.values())) for i, row in enumerate(content)]
    assert [tuple(map(type, row[5:])) for row in found] == [
        tuple(type(v[i]) for v in casts.values()) for i in range(2)
    ]
    with open_cut(cut) as connection:
        assert row_by_key(connection, table, {"k": 2}, list(casts)) == found[1]
    named = {"select": "k * 10", "k": "`n``o`"}
    assert list(cast_rows(cut, table, named)) == [
        (2.0, "Ab", 10, 2.0, "😀"),
        (0.5, "x", 20, 0.5, b"\xff\0"),
    ]


@settings(max_examples=100)
@given(
    schema=st.sampled_from(
        sorted(SCHEMAS.keys() - {"rowid is a column", "every rowid is a column"})
    ),
    older=_rows,
    newer=_rows,
    kept=st.integers(0, 8),
    casts=st.dictionaries(st.sampled_from("ab"), st.sampled_from(CASTS)),
    kind=st.sampled_from([TEXT, BIGINT, DOUBLE, BYTEA]),
)
def test_a_delta_of_cast_values_gives_what_the_newer_cut_casts_to(
    folder: Path,
    *,
    schema: str,
    older: list[RawRow],
    newer: list[RawRow],
    kept: int,
    casts: dict[str, str],
    kind: TargetType,
) -> None:
    """On the target the cast's value, in quarantine the row as it stands at the source."""
    cuts = (
        as_cut(make(folder / "older.sqlite", SCHEMAS[schema], older)),
        as_cut(make(folder / "newer.sqlite", SCHEMAS[schema], [*older[:kept], *newer]), LATER),
    )
    plain = proposed(cuts[0])
    casts = {name: cast for name, cast in casts.items() if name not in plain.key}
    mapping = with_casts(plain, casts, dict.fromkeys(casts, kind))
    model = Model(mapping)
    whole = everything(cuts[0], table_of(cuts[0]), mapping)
    model.apply(write(folder, whole, mapping, cuts[0], Scope.EVERYTHING))
    steps = compared(*cuts, mapping)
    model.apply(write(folder, steps, mapping, cuts[1], Scope.CHANGES))
    expected = by_hand(cuts[1], mapping)
    assert model.state() == expected
    found = expect(cuts[1], table_of(cuts[1]), mapping)
    assert found.misfits == expected[1]
    assert found.digest.total == sum(h * n for h, n in expected[0].items())


def by_hand(cut: Cut, mapping: TableMapping) -> tuple[Counter[int], Counter[bytes]]:
    """Return what a cut gives, from rows with the casts' values in their columns."""
    as_read = sealed(
        dataclasses.replace(
            mapping,
            columns=tuple(
                dataclasses.replace(c, cast="", declared=c.stored_as) for c in mapping.columns
            ),
        )
    )
    fit, hasher = RowFitter(as_read), RowHasher(as_read)
    target: Counter[int] = Counter()
    quarantine: Counter[bytes] = Counter()
    width = len(mapping.columns)
    for row in by_sqlite(cut, list(mapping.casts)):
        more = iter(row[width:])
        cells = tuple(
            next(more) if c.cast else v for c, v in zip(mapping.columns, row, strict=False)
        )
        fitted = fit(cells).values
        if fitted is None:
            quarantine[raw_digest(*row_parts(row[:width]))] += 1
        else:
            target[hasher.row_hash(fitted)] += 1
    return target, quarantine


def test_a_casts_value_goes_through_no_affinity() -> None:
    """A text from a column of numbers stays text, on the way there and on the way back."""
    mapping = proposed_of("CREATE TABLE t (k INTEGER PRIMARY KEY, at INTEGER)")
    moment = TargetType(kind=Kind.TIMESTAMP, form=" 0")
    cast = with_casts(mapping, {"at": "datetime(at, 'unixepoch')"}, {"at": moment})
    values, misfits = RowFitter(cast)((1, 0, "1970-01-01 00:00:00"))
    assert misfits == ()
    assert values is not None
    assert as_stored(cast, values) == (1, "1970-01-01 00:00:00")
    digits = with_casts(mapping, {"at": "printf('%03d', at)"}, {"at": TEXT})
    found, misfits = RowFitter(digits)((1, 7, "007"))
    assert (found, misfits) == ((1, "007"), ())


def proposed_of(schema: str) -> TableMapping:
    """Return the mapping that is proposed for an empty table."""
    with tempfile.TemporaryDirectory(prefix="migration-assets-test-", dir=MEMORY) as folder:
        return proposed(as_cut(make(Path(folder) / "t", schema)))


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('"Price" || \'"nmae"\'', []),
        ('"nmae" || "a ""b"', ["nmae"]),
        ('upper("pri""ce")', ['pri"ce']),
        ('`nmae` || [nmae"] /* "nmae" */ || price -- "nmae"', []),
        ("price || 'it''s \"nmae\"'", []),
    ],
)
def test_a_quoted_name_that_is_no_column_is_noticed(expression: str, names: list[str]) -> None:
    """SQLite would take it for a string, and every row would have the typing error for a value."""
    assert misspelt(expression, ["price", 'A "b']) == names


@pytest.mark.parametrize("schema", ["integer", "no key"])
def test_a_cast_that_sees_the_encoding_changes_with_it(tmp_path: Path, schema: str) -> None:
    """The text is the same in the database that was written anew, its bytes are not."""
    cuts = [
        as_cut(make(tmp_path / encoding, SCHEMAS[schema], [(1, "ab", "c")], encoding=encoding))
        for encoding in ("UTF-8", "UTF-16be")
    ]
    mapping = with_casts(proposed(cuts[0]), {"a": "hex(a)"}, {"a": TEXT})
    steps = compared(cuts[0], cuts[1], mapping)
    written = [s.values for s in steps if isinstance(s, Change) and s.op is not Op.DELETE]
    assert written == [(1, "00610062", "c")]
