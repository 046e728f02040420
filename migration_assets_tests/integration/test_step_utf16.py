"""UTF-16 databases through the weeks: text as its characters, and what is none as its bytes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    Row,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    target_rows,
)
from migration_assets_tests.fixtures_sqlite import CODECS

SCHEMA = """
PRAGMA encoding = '{}';
CREATE TABLE word (word TEXT PRIMARY KEY, meaning TEXT, weight REAL, picture BLOB);
INSERT INTO word VALUES ('ä', 'a umlaut', 1.5, x'00'), ('😀', 'a face', -0.0, NULL),
    (char(65279) || 'mark', 'begins with a byte-order mark', 2, x'fffe'), ('a', '', NULL, x'');
CREATE TABLE note (day DATE, text TEXT COLLATE NOCASE);
INSERT INTO note VALUES ('2026-01-01', 'Ü'), ('2026-01-01', 'Ü'), (NULL, 'ü');
CREATE TABLE line (number INTEGER PRIMARY KEY, word TEXT REFERENCES word, amount DECIMAL(10,2));
INSERT INTO line VALUES (1, 'ä', 1.25), (2, '😀', 3), (3, NULL, NULL);
"""
_BROKEN = "UPDATE word SET meaning = CAST(meaning AS TEXT) WHERE word = 'ä'"


@pytest.fixture(params=list(CODECS))
def encoding(request: pytest.FixtureRequest) -> str:
    """Return one of the two byte orders."""
    return str(request.param)


def break_off(migration: Migration, codec: str) -> bytes:
    """Let a meaning end in half a character, as an application does that counts code units."""
    raw = "half \ud83d".encode(codec, "surrogatepass")
    change(migration, ("UPDATE word SET meaning = ? WHERE word = 'ä'", (raw,)), _BROKEN)
    return raw


def quarantined(migration: Migration) -> list[Row]:
    """Return what stands in quarantine."""
    return target_rows(
        migration,
        'SELECT key, unfit_columns, reasons, storage_classes, "values" FROM migration.quarantine',
    )


def test_a_utf16_database_lives_through_its_weeks(
    make_migration: MakeMigration, encoding: str
) -> None:
    """First load, changes under keys of text, and a row that comes and goes as undecodable."""
    migration = make_migration(SCHEMA.format(encoding))
    load_week(migration, 1)
    assert target_rows(migration, "SELECT word FROM word ORDER BY word") == [
        *(("a",), ("ä",), ("\ufeffmark",), ("😀",)),
    ]
    assert_equal(migration)
    change(
        migration,
        "UPDATE word SET meaning = 'ein Gesicht 😀' WHERE word = '😀'",
        "DELETE FROM word WHERE word = 'a'",
        "UPDATE word SET word = 'Ä' WHERE word = 'ä'",
        "DELETE FROM note WHERE rowid = 1",
        "INSERT INTO note VALUES ('2026-02-02', 'ß')",
    )
    moved = load_week(migration, 2)["word"]
    assert (moved.inserted, moved.updated, moved.deleted) == (1, 1, 2)
    assert_equal(migration)
    load_week(migration, 3)
    assert_equal(migration)
    assert_proved(migration, "word", "note", "line")
    assert carry(migration, 3, "word").outcome is Outcome.COVERED


def test_half_a_character_is_quarantined_byte_for_byte(
    make_migration: MakeMigration, encoding: str
) -> None:
    """In its database's own bytes, which its storage class names; the rest of its row in UTF-8."""
    migration = make_migration(SCHEMA.format(encoding))
    load_week(migration, 1)
    raw = break_off(migration, CODECS[encoding])
    moved = load_week(migration, 2)["word"]
    assert (moved.deleted, moved.proof.quarantined_rows) == (1, 1)
    assert quarantined(migration) == [
        (
            "word='ä'",
            ["meaning"],
            [f"text that is not {encoding} is no text"],
            ["text", f"text/{encoding}", "real", "blob"],
            ["ä".encode(), raw, b"\x3f\xf8" + bytes(6), b"\0"],
        )
    ]
    assert_equal(migration)
    assert_proved(migration, "word")
    change(migration, "UPDATE word SET meaning = 'whole' WHERE word = 'ä'")
    load_week(migration, 3)
    assert quarantined(migration) == []
    assert_equal(migration)


def test_a_database_that_was_written_anew_in_another_encoding_goes_on(
    make_migration: MakeMigration, encoding: str
) -> None:
    """The same text is no change; undecodable text stands in quarantine as its new bytes."""
    migration = make_migration(SCHEMA.format("UTF-8"))
    load_week(migration, 1)
    rewrite(migration.settings.source, encoding)
    change(migration, "UPDATE word SET weight = 7 WHERE word = '😀'", "DELETE FROM line")
    break_off(migration, CODECS[encoding])
    load_week(migration, 2)
    assert entries(migration, "word")[1][2:] == (0, 1, 1)
    assert entries(migration, "note")[1][2:] == (0, 0, 0)
    assert_equal(migration)
    assert_proved(migration, "word", "note", "line")
    change(migration, "UPDATE word SET meaning = 'whole' WHERE word = 'ä'")
    rewrite(migration.settings.source, "UTF-8")
    load_week(migration, 3)
    assert entries(migration, "word")[2][2:] == (1, 0, 0)
    assert_equal(migration)


def rewrite(source: Path, encoding: str) -> None:
    """Dump a database and read it into a new one of another encoding, in its place."""
    fresh = source.with_name("fresh.sqlite")
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(fresh)) as new:
        new.execute(f"PRAGMA encoding = '{encoding}'")
        new.executescript("\n".join(old.iterdump()))
    fresh.replace(source)
