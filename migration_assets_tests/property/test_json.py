"""JSON: what is taken for it here is what a real PostgreSQL takes, and comes back as it was."""

import string

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.mapping.json_text import MAX_DEPTH, is_json
from migration_assets.target.connection import Connection
from migration_assets_tests.fixtures_target import json_texts

# Pieces that a parser has to tell apart; most joins of them are no JSON, and some nearly are.
_PIECES = (
    *('"', '"a"', "\\u", "\\u00e9", "\\ud800", "\\udc00", "\\u0000", "\\x", "\\", "\\/", "\x7f"),
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\t",
        "\n",
        "\r",
        "\f",
        "\v",
        "\u00a0",
        "\ufeff",
        "\u2028",
    ),
    *("0", "00", "-", "+", "1", ".", "e", "E", "1e5", "-0", "1.", ".5", "0x1", "9" * 30, "\u0661"),
    *("null", "true", "false", "NaN", "Infinity", "-Infinity", "nul", "None", "True", "'a'", "//"),
    *(
        '{"a":1}',
        '{"a":1,"a":2}',
        '{"":null}',
        "{a:1}",
        "[1,]",
        "[]",
        "\x01",
        "\x1f",
        "\ud7ff",
        "é",
    ),
)
_joined = st.lists(st.sampled_from(_PIECES), max_size=7).map("".join)
_broken = st.tuples(json_texts, st.integers(0, 60), st.sampled_from(["", *_PIECES])).map(
    lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
)
_any = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def _taken(connection: Connection, texts: list[str]) -> list[bool]:
    """Ask the server, text by text, whether it takes them for json and prints them back."""
    found: list[bool] = []
    for text in texts:
        try:
            with connection.transaction():
                row = connection.execute("SELECT %s::text::json::text", (text,)).fetchone()
        except psycopg.errors.InvalidTextRepresentation:
            found.append(False)
        else:
            assert row == (text,)
            found.append(True)
    return found


@settings(max_examples=150)
@given(st.lists(st.one_of(_joined, _broken, json_texts, _any), min_size=1, max_size=10))
@example(list(_PIECES))
@example([f"[{piece}]" for piece in _PIECES])
@example([f'"{piece}"' for piece in _PIECES])
@example(["", " ", '"\\ud800"', '"\\u12"', '"\\u12g4"', '{"a" 1}', "1 2", "[1 2]", "-", "- 1"])
@example([f'"{c}"' for c in string.printable])
@example([f'"\\{c}"' for c in string.printable])
def test_json_is_what_the_server_takes_for_it(connection: Connection, texts: list[str]) -> None:
    """Neither is a text refused that PostgreSQL would take, nor one taken that it would refuse."""
    assert [is_json(text) for text in texts] == _taken(connection, texts)


@pytest.mark.parametrize("stack", ["100kB", "2MB"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")])
def test_the_deepest_json_is_one_for_every_server(
    connection: Connection, stack: str, opening: str, closing: str
) -> None:
    """Even one with the smallest stack that PostgreSQL can be set to; deeper is no json here."""
    levels = MAX_DEPTH // sum(opening.count(c) for c in "[{")
    deepest = opening * levels + "1" + closing * levels
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('max_stack_depth', %s, true)", (stack,))
        assert _taken(connection, [deepest]) == [True]
    assert is_json(deepest)
    assert not is_json(f"[{deepest}]")


def test_brackets_in_strings_are_no_depth() -> None:
    """Many brackets are not deep: in strings, after escapes, side by side."""
    strings = '["' + "[{" * MAX_DEPTH + '", "\\"' + "[" * MAX_DEPTH + '"]'
    assert is_json(strings)
    assert is_json("[" + ",".join(["[]"] * 2 * MAX_DEPTH) + "]")


def test_large_json_is_read(connection: Connection) -> None:
    """A number of 100,000 digits and a string of a megabyte are nothing special."""
    texts = ["1" * 100_000, '{"a": "' + "ü" * 1_000_000 + '"}', "[" + "0," * 100_000 + "0]"]
    assert [is_json(text) for text in texts] == _taken(connection, texts) == [True] * 3
