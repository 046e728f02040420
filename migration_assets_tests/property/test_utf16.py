"""UTF-16 databases: every text arrives as the characters that it is, or stays as its bytes."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.raw import raw_digest, row_of, row_parts
from migration_assets.mapping.types import TEXT
from migration_assets.mapping.values import fitter
from migration_assets.model import ColumnMapping, RawRow, Scope, SqliteValue, UndecodableText
from migration_assets.source.connection import open_cut
from migration_assets.source.reader import encoding_in, row_by_key, rows
from migration_assets_tests.fixtures_sqlite import (
    CODECS,
    ENCODINGS,
    LATER,
    as_cut,
    make,
    proposed,
    rows_of,
    table_of,
    values,
)
from migration_assets_tests.property.test_delta import (
    KEYS,
    SCHEMAS,
    carry,
    compared,
    reference,
    write,
)

SURROGATES = st.integers(0xD800, 0xDFFF).map(chr)
PIECES = st.one_of(
    st.text(max_size=3),
    SURROGATES,
    st.sampled_from(["\0", "\ufeff", "\ufffe", "\ufffd", "\U0001f600", "\udc00\ud800", "a"]),
)
_texts = st.lists(PIECES, max_size=5).map("".join)
_cells = st.one_of(values, st.binary(max_size=8).map(UndecodableText))
_utf16_only = st.builds(UndecodableText, st.binary(max_size=8), st.sampled_from(list(CODECS)))
_rows = st.lists(st.tuples(st.sampled_from(KEYS), _cells, _cells), max_size=8)


@pytest.mark.parametrize("encoding", list(CODECS))
@settings(max_examples=100)
@given(texts=st.lists(st.tuples(_texts, st.booleans()), max_size=6))
@example(texts=[("\ufeff", True), ("\ufffea", True), ("a\0b", True), ("\ud800", True), ("", True)])
@example(texts=[("\ud83d\ude00", True), ("\ude00\ud83d", True), ("\ud800", False), ("", False)])
def test_text_is_read_as_its_characters_and_bytes_stay_bytes(
    folder: Path, encoding: str, texts: list[tuple[str, bool]]
) -> None:
    """Byte-order marks and NULs stay; lone surrogates stay as bytes; blobs are blobs."""
    raw = [(text.encode(CODECS[encoding], "surrogatepass"), is_text) for text, is_text in texts]
    path = make(folder / "texts.sqlite", "CREATE TABLE t (a, b)", encoding=encoding)
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, (body, is_text) in enumerate(raw):
            connection.execute("INSERT INTO t VALUES (?, ?)", (body, number))
            if is_text:
                connection.execute("UPDATE t SET a = CAST(a AS TEXT) WHERE b = ?", (number,))
    cut = as_cut(path)
    expected = [(_expected(body, encoding) if is_text else body) for body, is_text in raw]
    assert encoding_in(cut) == encoding
    assert [a for a, _ in rows(cut, table_of(cut))] == expected


def _expected(raw: bytes, encoding: str) -> SqliteValue:
    """Decode by the units themselves, without Python's codec."""
    order = "little" if encoding == "UTF-16le" else "big"
    units = [int.from_bytes(raw[i : i + 2], order) for i in range(0, len(raw), 2)]
    characters: list[str] = []
    while units:
        unit = units.pop(0)
        if 0xDC00 <= unit < 0xE000 or (
            0xD800 <= unit < 0xDC00 and not (units and 0xDC00 <= units[0] < 0xE000)
        ):
            return UndecodableText(raw, encoding)
        if 0xD800 <= unit < 0xDC00:
            unit = 0x10000 + ((unit - 0xD800) << 10) + (units.pop(0) - 0xDC00)
        characters.append(chr(unit))
    return "".join(characters)


@settings(max_examples=150)
@given(
    schema=st.sampled_from(sorted(SCHEMAS)),
    encodings=st.tuples(st.sampled_from(ENCODINGS), st.sampled_from(ENCODINGS)),
    older=_rows,
    newer=_rows,
    kept=st.integers(0, 8),
)
@example(  # bytes of lone surrogates that look like the other cut's UTF-8
    schema="integer",
    encodings=("UTF-16le", "UTF-16be"),
    older=[(1, "a", UndecodableText(b"\x01\x02"))],
    newer=[(1, "b", UndecodableText(b"\x01\x02"))],
    kept=0,
)
def test_a_delta_between_cuts_of_any_encodings_gives_the_newer_one(
    folder: Path,
    *,
    schema: str,
    encodings: tuple[str, str],
    older: list[RawRow],
    newer: list[RawRow],
    kept: int,
) -> None:
    """Encoded alike, and after the application wrote its database anew in another encoding."""
    rows_of_newer = [*older[:kept], *newer]
    ours, theirs = encodings
    cuts = (
        as_cut(make(folder / "older.sqlite", SCHEMAS[schema], older, encoding=ours)),
        as_cut(
            make(folder / "newer.sqlite", SCHEMAS[schema], rows_of_newer, encoding=theirs), LATER
        ),
    )
    mapping = proposed(cuts[0])
    model = carry(folder, cuts[0], cuts[1], mapping)
    assert model.state() == reference(cuts[1], mapping)


@pytest.mark.parametrize("encodings", [("UTF-8", "UTF-16le"), ("UTF-16be", "UTF-16le")])
@pytest.mark.parametrize("schema", ["text", "without rowid", "no key"])
def test_what_only_changed_its_encoding_is_no_change(
    tmp_path: Path, schema: str, encodings: tuple[str, str]
) -> None:
    """The same characters are the same text, so nothing is written."""
    content: Sequence[RawRow] = [
        ("ä", 1.5, "2024-01-01"),
        ("\U0001f600", -0.0, ""),
        ("x", 2.5, b"\0"),
    ]
    cuts = [
        as_cut(make(tmp_path / encoding, SCHEMAS[schema], content, encoding=encoding))
        for encoding in encodings
    ]
    assert compared(cuts[0], cuts[1], proposed(cuts[0])) == []


def test_rows_with_null_in_their_key_match_none_of_another_encoding(tmp_path: Path) -> None:
    """Each leaves quarantine and enters it again, as where SQLite itself compares them."""
    nulls = [(None, 1, "x"), (None, 1, "x"), (None, 2, "y"), ("a", 1, "x")]
    contents = ([("a", 1, "x")], nulls, nulls[1:])
    cuts = [
        as_cut(make(tmp_path / str(i), SCHEMAS["untyped"], content, encoding=encoding))
        for i, (content, encoding) in enumerate(zip(contents, ENCODINGS, strict=True))
    ]
    mapping = proposed(cuts[0])
    assert mapping.key == ("k",)
    model = carry(tmp_path, cuts[0], cuts[1], mapping)
    steps = compared(cuts[1], cuts[2], mapping)
    model.apply(write(tmp_path, steps, mapping, cuts[2], Scope.CHANGES))
    assert model.state() == reference(cuts[2], mapping)


@pytest.mark.parametrize("encoding", list(CODECS))
def test_a_row_is_found_by_a_key_of_text(tmp_path: Path, encoding: str) -> None:
    """Byte-order marks, NULs and characters of every plane included."""
    keys = ["a", "ü", "\ufeffa", "a\0b", "\U0001f600", ""]
    content = [(key, i, "x") for i, key in enumerate(keys)]
    cut = as_cut(make(tmp_path / "keys", SCHEMAS["text"], content, encoding=encoding))
    table = table_of(cut)
    with open_cut(cut) as connection:
        found = [row_by_key(connection, table, {"k": key}) for key in (*keys, "\ufffea")]
    assert found == [*((key, float(i), "x") for i, key in enumerate(keys)), None]


def test_a_table_of_a_thousand_columns_is_read_and_compared(tmp_path: Path) -> None:
    """More columns than one integer has bits for their marks, and than one result can hold."""
    names = [f"c{i}" for i in range(1200)]
    schema = f"CREATE TABLE t (id INTEGER PRIMARY KEY, {', '.join(names)})"
    older = [(1, *(str(i) if i % 3 else str(i).encode() for i in range(1200)))]
    newer = [(1, *older[0][1:-1], "changed")]
    cuts = [
        as_cut(make(tmp_path / name, schema, content, encoding="UTF-16le"))
        for name, content in (("older", older), ("newer", newer))
    ]
    assert list(rows(cuts[1], table_of(cuts[1]))) == newer
    mapping = proposed(cuts[0])
    assert carry(tmp_path, cuts[0], cuts[1], mapping).state() == reference(cuts[1], mapping)


@given(row=st.lists(st.one_of(values, _utf16_only), max_size=4).map(tuple))
@example(row=(UndecodableText(b"\0\xdc", "UTF-16le"), UndecodableText(b"\xdc\0", "UTF-16be")))
def test_a_raw_row_comes_back_from_its_parts(row: RawRow) -> None:
    """Storage class, bytes and encoding say all of it."""
    assert row_of(*row_parts(row)) == row


def test_undecodable_text_is_told_apart_by_its_encoding() -> None:
    """Its bytes alone could be sound UTF-8, or text of the other byte order."""
    raw = b"\x00\xdc\x80\x00"
    assert raw.decode() == "\0\u0700\0"
    found: list[SqliteValue] = [
        raw.decode(),
        UndecodableText(raw, "UTF-16le"),
        UndecodableText(raw, "UTF-16be"),
        raw,
    ]
    assert len({raw_digest(*row_parts((value,))) for value in found}) == len(found)


def test_the_reason_names_the_encoding() -> None:
    """Text that a UTF-16 database can't mean is not called broken UTF-8."""
    column = ColumnMapping(name="a", declared="TEXT", target="a", type=TEXT, not_null=False)
    found = fitter(column)(UndecodableText(b"\x00\xd8", "UTF-16le"))
    assert found.reason == "text that is not UTF-16le is no text"


def test_the_fixture_reads_what_it_wrote(tmp_path: Path) -> None:
    """What these tests compare with is itself exact."""
    content = [("\ufeffa", "a\0b", UndecodableText(b"\x01")), (b"a", 1, None)]
    cut = as_cut(make(tmp_path / "f", SCHEMAS["untyped"], content, encoding="UTF-16be"))
    assert rows_of(cut) == [
        ("\ufeffa", "a\0b", UndecodableText(b"\xd8\x01", "UTF-16be")),
        (b"a", 1, None),
    ]


@pytest.mark.parametrize("encoding", list(CODECS))
def test_text_of_an_odd_number_of_bytes_is_kept_to_the_last(tmp_path: Path, encoding: str) -> None:
    """SQLite writes none, but a file may hold it: three bytes are a character and a half."""
    path = make(tmp_path / "odd", "CREATE TABLE t (a, b)", [(b"Qzx", 7)], encoding=encoding)
    content = path.read_bytes()
    blob, text = b"\x03\x12\x01Qzx\x07", b"\x03\x13\x01Qzx\x07"  # serial types 18 and 19
    assert content.count(blob) == 1
    path.write_bytes(content.replace(blob, text))
    cut = as_cut(path)
    assert list(rows(cut, table_of(cut))) == [(UndecodableText(b"Qzx", encoding), 7)]
