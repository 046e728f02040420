"""Types, keys and names as the census of a real database supports them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import UnsupportedError
from migration_assets.mapping import document
from migration_assets.mapping.names import TableNames, allocate
from migration_assets.mapping.propose import choose, fits_well, propose, settled
from migration_assets.mapping.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    JSON,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    ladder,
    natural,
)
from migration_assets.model import (
    ColumnCensus,
    ColumnMapping,
    DeferredObject,
    IndexMapping,
    Kind,
    Policy,
    SourceColumn,
    SourceTable,
    SqliteValue,
    TableMapping,
    TableOverride,
    TargetType,
    UndecodableText,
)
from migration_assets.source.census import count, count_fits
from migration_assets.source.chosen import take_census_for
from migration_assets.source.reader import rows as rows_in
from migration_assets_tests.fixtures_sqlite import as_cut, make, proposed, stored, table_of
from migration_assets_tests.fixtures_target import TYPES

NUMERIC_10_2 = TargetType(kind=Kind.NUMERIC, precision=10, scale=2)
DAY = "2024-02-29"
MOMENT = "2024-02-29 10:00:00"
LOWER = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
NIL = "00000000-0000-0000-0000-000000000000"


def form(text: str) -> TargetType:
    """Return the timestamp of a form."""
    return TargetType(kind=Kind.TIMESTAMP, form=text)


def zoned(text: str) -> TargetType:
    """Return the timestamptz of a form."""
    return TargetType(kind=Kind.TIMESTAMPTZ, form=text)


def census_of(declared: str, values: Sequence[SqliteValue]) -> tuple[SourceColumn, ColumnCensus]:
    """Return a column's census as SQLite stores these values in it."""
    column = SourceColumn(name="v", declared=declared)
    table = SourceTable(source="main", name="t", columns=(column,))
    rows = [(v,) for v in stored(declared, values)]
    return column, count(table, lambda: rows)["v"]


def chosen(declared: str, values: Sequence[SqliteValue]) -> TargetType:
    """Return the type that a column of these values gets."""
    return choose(*census_of(declared, values))


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("INTEGER", BIGINT),
        ("BIGINT", BIGINT),
        ("TEXT", TEXT),
        ("VARCHAR(20)", TEXT),
        ("REAL", DOUBLE),
        ("BLOB", BYTEA),
        ("NUMERIC", NUMERIC),
        ("DECIMAL(10,2)", NUMERIC_10_2),
        ("decimal( 10 , 2 )", NUMERIC_10_2),
        ("NUMERIC(7)", TargetType(kind=Kind.NUMERIC, precision=7, scale=0)),
        ("DECIMAL(5,7)", NUMERIC),
        ("DECIMAL(0,0)", NUMERIC),
        ("DECIMAL(2000,2)", NUMERIC),
        ("MONEY", NUMERIC),
        ("BOOLEAN", BOOLEAN),
        ("DATE", DATE),
        ("DATETIME", form(" 0")),
        ("TIMESTAMP", form(" 0")),
        ("", TEXT),
        ("STRING", TEXT),
        ("JSON", JSON),
        ("jsonb", JSON),
        ("UUID", TargetType(kind=Kind.UUID, form="36l")),
        ("GUID", TargetType(kind=Kind.UUID, form="36l")),
        ("TIME", TargetType(kind=Kind.TIME, form="0")),
        ("time without time zone", TargetType(kind=Kind.TIME, form="0")),
        ("TIMETZ", TEXT),
        ("TIMESTAMPTZ", TargetType(kind=Kind.TIMESTAMPTZ, form=" 0+00:00")),
        ("timestamp with time zone (3)", TargetType(kind=Kind.TIMESTAMPTZ, form=" 0+00:00")),
        ("DATETIMEOFFSET", TargetType(kind=Kind.TIMESTAMPTZ, form=" 0+00:00")),
    ],
)
def test_an_empty_column_gets_the_type_of_its_declaration(declared: str, kind: TargetType) -> None:
    """Where the declaration says nothing that SQLite knows, text takes what may come."""
    assert natural(declared) == kind
    assert chosen(declared, []) == kind
    assert chosen(declared, [None, None]) == kind


@pytest.mark.parametrize("declared", ["INTEGER", "TEXT", "REAL", "BLOB", "", "DATE", "MONEY", "X"])
def test_every_ladder_ends_where_all_classes_have_a_place(declared: str) -> None:
    """Text and blobs are always tried, each rung once."""
    rungs = ladder(declared)
    assert {TEXT, BYTEA} <= set(rungs)
    assert len(set(rungs)) == len(rungs)


@pytest.mark.parametrize(
    ("declared", "values", "kind"),
    [
        ("INTEGER", [1, 2**63 - 1, None], BIGINT),
        ("INTEGER", [1, 2.5], NUMERIC),
        ("INTEGER", [1, float("inf")], DOUBLE),
        ("INTEGER", [1, "x"], TEXT),
        ("TEXT", ["a", ""], TEXT),
        ("REAL", [1, 2.5], DOUBLE),
        ("REAL", [2.5, "n/a"], TEXT),
        ("NUMERIC", [1, 2.5, 1e20], NUMERIC),
        ("DECIMAL(10,2)", [1, 2.55], NUMERIC_10_2),
        ("DECIMAL(10,2)", [1, 2.555], NUMERIC),
        ("DECIMAL(10,2)", ["x"], TEXT),
        ("BOOLEAN", [0, 1], BOOLEAN),
        ("BOOLEAN", [0, 1, 2], BIGINT),
        ("DATE", [DAY, "0001-01-01"], DATE),
        ("DATE", [MOMENT], form(" 0")),
        ("DATE", [20240229], BIGINT),
        ("DATE", [DAY, "29.02.2024"], TEXT),
        ("DATETIME", [MOMENT], form(" 0")),
        ("DATETIME", ["2024-02-29T10:00:00.123"], form("T3")),
        ("DATETIME", [DAY], DATE),
        ("DATETIME", [1709200800], BIGINT),
        ("DATETIME", [2460370.5], NUMERIC),
        ("DATETIME", [MOMENT + "Z"], TargetType(kind=Kind.TIMESTAMPTZ, form=" 0Z")),
        ("", [1, 2], BIGINT),
        ("", [1.5, -0.0], DOUBLE),
        ("", ["a"], TEXT),
        ("", [b"a"], BYTEA),
        ("BLOB", [b"a"], BYTEA),
        ("BLOB", ["a"], TEXT),
        ("BLOB", [1, 2], BIGINT),
        ("STRING", [1, 2], BIGINT),
        ("STRING", ["a", 1], TEXT),
        ("DATETIME", [UndecodableText(b"\xff")], form(" 0")),
        ("UUID", [UndecodableText(b"\xff")], TargetType(kind=Kind.UUID, form="36l")),
        ("DATETIME", [MOMENT + ".1", MOMENT + ".9"], form(" 1")),
        ("DATETIME", ["2024-02-29 10:00"], form(" m")),
        ("DATETIME", [MOMENT, MOMENT + "Z"], TEXT),
        ("TIMESTAMPTZ", [MOMENT + "+02:00"], zoned(" 0+02:00")),
        ("TIMESTAMPTZ", [MOMENT + "+02:00", MOMENT + "+01:00"], TEXT),
        ("TIMESTAMPTZ", [MOMENT + "Z"] * 1999 + [MOMENT + "+00:00"], TEXT),
        ("TIMESTAMPTZ", [MOMENT + "Z"] * 1999 + [MOMENT + ".5Z"], zoned(" 0Z")),
        ("TIMESTAMPTZ", [MOMENT], form(" 0")),
        ("TIMESTAMPTZ", [MOMENT + "+16:00"], TEXT),
        ("DATETIMEOFFSET", [MOMENT + " +0330"], zoned(" 0 +0330")),
        ("TIME", ["10:00:00", "23:59:59"], TargetType(kind=Kind.TIME, form="0")),
        ("TIME", ["10:00"], TargetType(kind=Kind.TIME, form="m")),
        ("TIME", ["24:00:00"], TEXT),
        ("TIME", [36000], BIGINT),
        ("BOOLEAN", ["true", "false"], TargetType(kind=Kind.BOOLEAN, form="true/false")),
        ("BOOL", ["Y", "N", "N"], TargetType(kind=Kind.BOOLEAN, form="Y/N")),
        ("BOOL", ["Y", "n"], TEXT),
        ("BOOL", ["yes", 0], TEXT),
        ("UUID", [LOWER, LOWER], TargetType(kind=Kind.UUID, form="36l")),
        ("UUID", [LOWER.upper(), NIL], TargetType(kind=Kind.UUID, form="36u")),
        ("GUID", ["{" + LOWER + "}"], TargetType(kind=Kind.UUID, form="38l")),
        ("UNIQUEIDENTIFIER", [b"\0" * 16], TargetType(kind=Kind.UUID, form="blob")),
        ("UUID", [b"\0" * 15], BYTEA),
        ("UUID", [LOWER, LOWER.upper()], TEXT),
        ("UUID", ["12345678901234567890123456789012"], NUMERIC),
        ("UUID", [1, 2], BIGINT),
        ("JSON", ['{"a": NULL}'.lower(), "[1]", "12", "1.5", '"x"'], JSON),
        ("JSON", ["{'a': 1}"], TEXT),
        ("JSONB", [b"\x7ca"], BYTEA),
        ("TEXT", ['{"a": 1}'], TEXT),
        ("TEXT", [LOWER], TEXT),
        ("VARCHAR(5)", ["true"], TEXT),
        ("TEXT", [MOMENT], TEXT),
        ("TEXT", ["12.50"], TEXT),
        ("", [MOMENT], TEXT),
        ("INTEGER", [1_700_000_000], BIGINT),
        ("REAL", [2460370.5], DOUBLE),
    ],
)
def test_a_column_gets_the_narrowest_type_that_holds_all_its_values(
    declared: str, values: list[SqliteValue], kind: TargetType
) -> None:
    """The evidence decides; a declaration that isn't kept is widened."""
    assert chosen(declared, values) == kind


@pytest.mark.parametrize(
    ("sound", "misfits", "stands"),
    [
        (98, 1, False),
        (99, 1, False),
        (999, 1, True),
        (998, 2, False),
        (1998, 2, True),
        (0, 1, False),
    ],
)
def test_the_declared_type_stands_with_999_of_1000(sound: int, misfits: int, stands: bool) -> None:  # noqa: FBT001 - a column of the table above
    """Fewer values or more misfits are no exception any more: the type widens."""
    values: list[SqliteValue] = [*range(sound), *["n/a"] * misfits]
    assert chosen("INTEGER", values) == (BIGINT if stands else TEXT)


@pytest.mark.parametrize(
    ("values", "fitting", "well"),
    [(99, 98, False), (100, 99, False), (100, 100, True), (1000, 999, True), (1000, 998, False)],
)
def test_a_fit_is_good_enough_by_share_and_number(values: int, fitting: int, well: bool) -> None:  # noqa: FBT001 - a column of the table above
    """99.9 %, of at least 100 values."""
    census = ColumnCensus(nulls=0, classes={"integer": values}, fits={BIGINT: fitting})
    assert fits_well(census, BIGINT) is well
    assert settled(census) is well


def test_of_several_timestamp_forms_the_commonest_is_the_column() -> None:
    """The others are misfits; where they are too many, the column stays text."""
    few: list[SqliteValue] = [*[MOMENT] * 1999, "2024-02-29T10:00:00"]
    assert chosen("DATETIME", few) == form(" 0")
    _, census = census_of("DATETIME", few)
    assert census.fits == {form(" 0"): 1999}
    assert chosen("DATETIME", [MOMENT, "2024-02-29T10:00:00"]) == TEXT


def test_a_column_that_nothing_holds_gets_the_type_that_most_values_fit() -> None:
    """What is left over is quarantined and named, never dropped."""
    column, census = census_of("TEXT", ["a", "b", b"c", UndecodableText(b"\xff")])
    assert choose(column, census) == TEXT
    assert census.fits[TEXT] == 2
    assert not settled(census)


def test_a_census_counts_every_value_by_class() -> None:
    """NULLs apart; text that isn't UTF-8 is text."""
    _, census = census_of("", [None, None, 1, 1.5, "a", UndecodableText(b"\xff"), b""])
    assert (census.nulls, census.values) == (2, 5)
    assert census.classes == {"integer": 1, "real": 1, "text": 2, "blob": 1}


def test_a_census_knows_range_length_and_encodings() -> None:
    """Length in bytes, of texts and blobs alike; what texts look like, by number."""
    _, census = census_of("", [1, -2.5, "1", "ü" * 5, b"x" * 9, UndecodableText(b"\xff" * 3), DAY])
    assert (census.lowest, census.highest, census.longest) == (-2.5, 1, 10)
    assert census.encodings == {"numeric text": 1, "date": 1}
    _, census = census_of("", [None, UndecodableText(b"\xff" * 3)])
    assert (census.lowest, census.highest, census.longest) == (None, None, 3)


def test_offenders_are_the_first_keys_whose_value_does_not_fit() -> None:
    """Three of them, by type; of a type with forms, the values of another form too."""
    columns = (
        SourceColumn(name="k", declared="INTEGER", key=1),
        SourceColumn(name="n", declared="INTEGER"),
        SourceColumn(name="d", declared="DATETIME"),
    )
    table = SourceTable(source="main", name="t", columns=columns)
    days = [MOMENT, MOMENT + ".5", "x", MOMENT, None, MOMENT]
    rows = [(i, 1 if i == 1 else "x", day) for i, day in enumerate(days)]
    census = count(table, lambda: rows)
    assert census["k"].offenders == {}
    assert census["n"].offenders[BIGINT] == ("k=0", "k=2", "k=3")
    assert sorted(census["d"].offenders[form(" 0")]) == ["k=1", "k=2"]


def test_the_fits_of_a_wanted_type_are_counted_beside(tmp_path: Path) -> None:
    """One more reading tells how many values have a type that the settings want, and who hasn't."""
    rows = [(1, "1.50"), (2, "1.5"), (3, None), (4, "2.25")]
    cut = as_cut(make(tmp_path / "a", "CREATE TABLE t (k INTEGER PRIMARY KEY, p TEXT)", rows))
    table = table_of(cut)
    wanted = TargetType(kind=Kind.NUMERIC, precision=8, scale=2, form="text")
    first = take_census_for(cut, table, TableOverride())
    census = count_fits(table, lambda: rows_in(cut, table), first, {"p": wanted})
    assert census["p"].fits == {TEXT: 3, wanted: 2}
    assert census["p"].offenders[wanted] == ("k=2",)
    assert census["k"] == first["k"]
    again = {"p": wanted, "k": BIGINT}
    assert count_fits(table, lambda: rows_in(cut, table), census, again) == census


def test_a_table_without_a_key_has_no_offenders_to_show() -> None:
    """There is nothing to name a row by."""
    _, census = census_of("INTEGER", ["x"])
    assert census.offenders[BIGINT] == ()


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (k JSON PRIMARY KEY)",
        "CREATE TABLE t (k JSON UNIQUE)",
        "CREATE TABLE t (k JSON); CREATE INDEX i ON t (k)",
        "CREATE TABLE p (k JSON UNIQUE); CREATE TABLE t (k JSON REFERENCES p (k))",
    ],
)
@pytest.mark.parametrize("rows", [[], [("[1]",)]])
def test_json_that_is_compared_stays_text(
    tmp_path: Path, schema: str, rows: list[tuple[str]]
) -> None:
    """PostgreSQL's json has no equality: no key, index or foreign key can hold it."""
    assert mapping_of(tmp_path, schema, rows).column("k").type == TEXT


@pytest.mark.parametrize(
    ("declared", "values", "evidence"),
    [
        ("TEXT", [MOMENT, MOMENT], "2 text (all look like timestamp YYYY-MM-DD HH:MM:SS)"),
        ("TEXT", ["$1.00", "x"], "2 text (1 look like money)"),
        ("TEXT", ["12.50", "x", "y"], "3 text"),
        ("TEXT", [LOWER], "1 text (all look like uuid dashed lower)"),
        ("TEXT", ["{}"], "1 text (all look like json)"),
        ("INTEGER", [1_700_000_000], "1 integer (could be epoch s)"),
        ("DATETIME", [2460370.5], "1 real (could be julian)"),
        (
            "DATETIME",
            [MOMENT + "Z", MOMENT],
            "2 text (1 look like timestamptz YYYY-MM-DD HH:MM:SSZ)",
        ),
        ("DATETIME", [MOMENT], "1 text (YYYY-MM-DD HH:MM:SS)"),
    ],
)
def test_evidence_says_what_else_a_column_looks_like(
    tmp_path: Path, declared: str, values: list[SqliteValue], evidence: str
) -> None:
    """So that a plan can offer it; neither a value nor a key is in it."""
    rows = [(value,) for value in values]
    assert (
        mapping_of(tmp_path, f"CREATE TABLE t (v {declared})", rows).columns[0].evidence == evidence
    )


def test_a_column_without_a_value_is_open(tmp_path: Path) -> None:
    """Its type is its declaration's, until evidence comes."""
    mapping = mapping_of(tmp_path, "CREATE TABLE t (a INT, b INT)", [(1, None)])
    assert [c.open for c in mapping.columns] == [False, True]


def test_a_table_is_read_once_where_the_declarations_hold() -> None:
    """Only columns that are not settled cost another reading."""
    columns = (SourceColumn(name="a", declared="INTEGER"), SourceColumn(name="b", declared="TEXT"))
    table = SourceTable(source="main", name="t", columns=columns)
    passes = 0

    def read(rows: list[tuple[SqliteValue, ...]]) -> list[tuple[SqliteValue, ...]]:
        nonlocal passes
        passes += 1
        return rows

    count(table, lambda: read([(1, "a"), (None, None)]))
    assert passes == 1
    count(table, lambda: read([(1, "a"), (1.5, "b")]))
    assert passes == 3


# ---- keys and indexes


def mapping_of(folder: Path, schema: str, rows: Sequence[Sequence[object]] = ()) -> TableMapping:
    """Return the mapping that is proposed for a table `t`."""
    return proposed(as_cut(make(folder / "a.sqlite", schema, rows)))


@pytest.mark.parametrize(
    ("schema", "rows", "key"),
    [
        ("CREATE TABLE t (k INTEGER PRIMARY KEY, a)", [], ("k",)),
        ("CREATE TABLE t (k INTEGER, a, PRIMARY KEY (k DESC))", [], ("k",)),
        ("CREATE TABLE t (k INTEGER PRIMARY KEY DESC, a)", [(1, 1)], ("k",)),
        ("CREATE TABLE t (a INT, b TEXT, PRIMARY KEY (b, a))", [(1, "x")], ("b", "a")),
        ("CREATE TABLE t (k TEXT PRIMARY KEY, a) WITHOUT ROWID", [("x", 1)], ("k",)),
        ("CREATE TABLE t (k BLOB PRIMARY KEY, a)", [(b"x", 1)], ("k",)),
        ("CREATE TABLE t (k DATE PRIMARY KEY, a)", [(DAY, 1)], ("k",)),
        ("CREATE TABLE t (k REAL PRIMARY KEY, a)", [(1.5, 1)], ()),
        ("CREATE TABLE t (k NUMERIC PRIMARY KEY, a)", [(1.5, 1)], ()),
        ("CREATE TABLE t (k TEXT PRIMARY KEY, a)", [(None, 1)], ()),
        ("CREATE TABLE t (a, b)", [(1, 1)], ()),
        ("CREATE TABLE t (a UNIQUE, b)", [(1, 1)], ()),
        ("CREATE TABLE t (a NOT NULL UNIQUE, b)", [(1, 1)], ("a",)),
        ("CREATE TABLE t (k REAL PRIMARY KEY, a INT NOT NULL UNIQUE)", [(1.5, 1)], ("a",)),
        ("CREATE TABLE t (k TEXT PRIMARY KEY, a INT NOT NULL UNIQUE)", [(None, 1)], ("a",)),
        ("CREATE TABLE t (a REAL NOT NULL UNIQUE, b)", [(1.5, 1)], ()),
        ("CREATE TABLE t (a INT NOT NULL, b INT, UNIQUE (a, b))", [(1, 1)], ()),
        ("CREATE TABLE t (a INT NOT NULL); CREATE INDEX i ON t (a)", [(1,)], ()),
        ("CREATE TABLE t (a INT NOT NULL); CREATE UNIQUE INDEX i ON t (a) WHERE a > 0", [], ()),
        ("CREATE TABLE t (a INT NOT NULL); CREATE UNIQUE INDEX i ON t (abs(a))", [], ()),
    ],
)
def test_the_first_usable_key_is_taken(
    tmp_path: Path, schema: str, rows: list[tuple[object, ...]], key: tuple[str, ...]
) -> None:
    """INTEGER PRIMARY KEY, declared key, UNIQUE NOT NULL, else none; never one with a NULL."""
    mapping = mapping_of(tmp_path, schema, rows)
    assert mapping.key == key
    assert all(mapping.column(name).not_null for name in key)


def test_a_key_over_another_type_than_its_declaration_is_told_by_the_census(tmp_path: Path) -> None:
    """Text dates that aren't dates make a text key."""
    mapping = mapping_of(tmp_path, "CREATE TABLE t (k DATE PRIMARY KEY)", [("29.02.2024",)])
    assert (mapping.key, mapping.column("k").type) == (("k",), TEXT)


def test_indexes_are_carried_and_those_that_are_not_are_listed(tmp_path: Path) -> None:
    """The key itself is no second index; what can't be translated is named with its text."""
    schema = """
    CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT COLLATE NOCASE, b INT, UNIQUE (b, a));
    CREATE INDEX plain ON t (b);
    CREATE UNIQUE INDEX partial ON t (b) WHERE b > 0;
    CREATE INDEX expression ON t (lower(a), b);
    CREATE INDEX odd ON t (hex(a));
    """
    mapping = mapping_of(tmp_path, schema, [("x", "y", 1)])
    assert [(i.columns, i.unique, i.nocase, i.definition) for i in mapping.indexes] == [
        (("b",), False, (), '((pg_catalog.lower("a" COLLATE pg_catalog."C")), "b")'),
        (("b",), True, (), '("b") WHERE ("b" > 0)'),
        (("b",), False, (), ""),
        (("b", "a"), True, ("a",), ""),
    ]
    (odd,) = mapping.deferred
    assert (odd.kind, odd.original) == ("index", "CREATE INDEX odd ON t (hex(a))")
    assert odd.problem == "HEX has no rule"


def test_a_declared_key_that_cannot_serve_is_an_index_of_its_own(tmp_path: Path) -> None:
    """Uniqueness that the application relies on isn't lost."""
    schema = "CREATE TABLE t (k REAL PRIMARY KEY, a INT NOT NULL UNIQUE)"
    mapping = mapping_of(tmp_path, schema, [(1.5, 1)])
    assert [(i.name, i.columns, i.unique) for i in mapping.indexes] == [("t_k_key", ("k",), True)]


def test_misfits_are_named_in_the_evidence(tmp_path: Path) -> None:
    """A plan says beforehand what will be quarantined."""
    rows = [(i, i) for i in range(1000)] + [(1000, "n/a")]
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT)"
    mapping = mapping_of(tmp_path, schema, [(*row, None) for row in rows])
    assert mapping.column("a").evidence == "1000 integer, 1 text; 1 don't fit"
    assert mapping.column("b").evidence == "no values yet: from the declaration"


def test_a_table_too_wide_for_postgresql_is_refused() -> None:
    """By name and limit, before anything is made."""
    columns = tuple(SourceColumn(name=f"c{i}", declared="") for i in range(1599))
    table = SourceTable(source="main", name="wide", columns=columns)
    with pytest.raises(UnsupportedError, match=r"table wide: 1599 columns[\s\S]*1598"):
        propose(table, {}, target_schema="public", names=allocate([table])["wide"])


def test_names_of_the_source_are_folded_and_kept_beside(tmp_path: Path) -> None:
    """The mapping knows both."""
    mapping = mapping_of(
        tmp_path, 'CREATE TABLE t ("Id" INTEGER PRIMARY KEY, "Ctid" TEXT, "Größe" TEXT)'
    )
    assert [(c.name, c.target) for c in mapping.columns] == [
        ("Id", "id"),
        ("Ctid", "ctid_"),
        ("Größe", "größe"),
    ]


def test_the_census_of_a_cut_is_that_of_its_table(tmp_path: Path) -> None:
    """Generated columns included."""
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a AS (k * 1.5) STORED);"
    cut = as_cut(make(tmp_path / "a.sqlite", schema + "INSERT INTO t VALUES (1), (2)"))
    census = take_census_for(cut, table_of(cut), TableOverride())
    assert {name: c.values for name, c in census.items()} == {"k": 2, "a": 2}


# ---- documents

_text = st.text(max_size=10)
_texts = st.lists(_text, max_size=3, unique=True).map(tuple)
_columns = st.builds(
    ColumnMapping,
    name=_text,
    declared=_text,
    target=_text,
    type=st.sampled_from(TYPES),
    not_null=st.booleans(),
    evidence=_text,
)
_mappings = st.builds(
    TableMapping,
    source=_text,
    table=_text,
    target_schema=_text,
    target_table=_text,
    columns=st.lists(_columns, max_size=3).map(tuple),
    key=_texts,
    key_name=_text,
    indexes=st.lists(
        st.builds(IndexMapping, name=_text, columns=_texts, unique=st.booleans(), nocase=_texts),
        max_size=2,
    ).map(tuple),
    notes=_texts,
)


@given(_mappings)
def test_a_mapping_comes_back_from_its_document(mapping: TableMapping) -> None:
    """With the hash that names it; the text is the same each time."""
    sealed = document.sealed(mapping)
    assert document.loads(document.dumps(mapping)) == sealed
    assert document.dumps(document.loads(document.dumps(sealed))) == document.dumps(mapping)
    assert len(sealed.hash) == 32


@given(_mappings, _mappings)
def test_two_mappings_have_one_hash_only_if_they_are_one(
    left: TableMapping, right: TableMapping
) -> None:
    """Whatever differs, the ledger can tell."""
    same = document.sealed(left).hash == document.sealed(right).hash
    assert same == (left == right)


def test_any_change_of_a_mapping_changes_its_hash(tmp_path: Path) -> None:
    """Each field counts, and the hash is of the rest."""
    schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, a DATETIME, b INT); CREATE INDEX i ON t (b)"
    mapping = mapping_of(tmp_path, schema, [(1, MOMENT, 2)])
    others: list[TableMapping] = [
        dataclasses.replace(mapping, **{field.name: value})
        for field in dataclasses.fields(mapping)
        if field.name != "hash"
        for value in [("x",) if field.name in {"key", "notes"} else "x"]
        if field.name not in {"columns", "indexes"}
    ]
    first, second, *rest = mapping.columns
    retyped = dataclasses.replace(second, type=form("T0"))
    others += [
        dataclasses.replace(mapping, columns=(first, retyped, *rest)),
        dataclasses.replace(mapping, columns=(second, first, *rest)),
        dataclasses.replace(mapping, indexes=()),
    ]
    hashes = {document.sealed(other).hash for other in others}
    assert len(hashes) == len(others)
    assert mapping.hash not in hashes


def test_table_names_come_from_the_allocation(tmp_path: Path) -> None:
    """A table that had to give way is proposed under the name it got."""
    table = table_of(as_cut(make(tmp_path / "a.sqlite", "CREATE TABLE t (k INTEGER PRIMARY KEY)")))
    names = TableNames(table="t_1", key="t_1_pkey", indexes={})
    census = {"k": ColumnCensus(nulls=0, classes={}, fits={})}
    mapping = propose(table, census, target_schema="app", names=names)
    assert (mapping.target_schema, mapping.target_table, mapping.key_name) == (
        "app",
        "t_1",
        "t_1_pkey",
    )
    assert TIMESTAMP.form == ""


_FIRST_LAYOUT = (
    '{"columns":[{"declared":"INTEGER","evidence":"3 integer","name":"id","not_null":true,"ta'
    'rget":"id","type":{"form":"","kind":"bigint","precision":null,"scale":null}},{"declared"'
    ':"DECIMAL(9,2)","evidence":"","name":"price","not_null":false,"target":"price","type":{"'
    'form":"","kind":"numeric","precision":9,"scale":2}}],"indexes":[{"columns":["price"],"na'
    'me":"t_price_idx","nocase":[],"unique":false}],"key":["id"],"key_name":"t_pkey","notes":'
    '["a note"],"source":"main","table":"t","target_schema":"public","target_table":"t"}'
)


def test_a_document_sealed_by_an_earlier_version_keeps_its_hash() -> None:
    """Fields that came later are left out at their default, so the ledger's hash still names it."""
    mapping = document.loads(_FIRST_LAYOUT)
    assert mapping.hash == "f12ed0979cc02bbbbb20af3c0fac21d1"
    assert document.dumps(mapping) == _FIRST_LAYOUT


def test_a_document_keeps_what_was_added_later() -> None:
    """Policy, cast, default and deferred objects come back as they were sealed."""
    first = document.loads(_FIRST_LAYOUT)
    column = dataclasses.replace(
        first.columns[1], policy=Policy.WIDEN, open=True, default="0", cast="round(price)"
    )
    deferred = DeferredObject(kind="check", name="c", definition="price > 0", original="price>0")
    later = document.sealed(
        dataclasses.replace(
            first, columns=(first.columns[0], column), deferred=(deferred,), transform="m:f"
        )
    )
    assert document.loads(document.dumps(later)) == later
    assert later.hash != first.hash
