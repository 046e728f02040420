"""Rows that went or changed between two cuts, as SQLite counts them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.model import Cut
from migration_assets.source import taking
from migration_assets.source.reader import table_in
from migration_assets.source.turnover import Turnover, turnover
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_sqlite import LATER, WEEK

OLDER = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL);
INSERT INTO t VALUES (1, 'x', 0.0), (2, 'y', 1.5), (3, 'z', NULL);
"""


def counted(
    folder: Path,
    newer: str,
    *,
    key: tuple[str, ...] = ("id",),
    renamed: dict[str, str] | None = None,
) -> Turnover | None:
    """Count between a cut of `OLDER` and one after the script `newer`."""
    path, state = folder / "app.sqlite", LocalState(folder / "state")
    taken: list[Cut] = []
    for script, week in ((OLDER, WEEK), (newer, LATER)):
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
        taken.append(taking.take(state, "main", path, week, timeout=5))
    older, after = taken
    before, table = table_in(older, "t"), table_in(after, "t")
    return turnover(older, after, before, table, key=key, renamed=renamed or {})


@pytest.mark.parametrize(
    ("newer", "found"),
    [
        ("SELECT 1", (0, 0)),
        ("DELETE FROM t WHERE id > 1", (2, 0)),
        ("UPDATE t SET b = 0.5 WHERE id = 1; UPDATE t SET a = 'Y' WHERE id = 2", (0, 2)),
        ("UPDATE t SET id = 9 WHERE id = 1; INSERT INTO t VALUES (10, 'new', 1)", (1, 0)),
        ("ALTER TABLE t ADD COLUMN c DEFAULT 7", (0, 0)),
    ],
)
def test_rows_are_matched_by_key_and_compared_to_the_last_byte(
    tmp_path: Path, newer: str, found: tuple[int, int]
) -> None:
    """A new column makes no row another."""
    assert counted(tmp_path, newer) == Turnover(deleted=found[0], changed=found[1])


def test_columns_are_known_by_their_earlier_names(tmp_path: Path) -> None:
    """The key, too."""
    newer = (
        "ALTER TABLE t RENAME COLUMN id TO number; ALTER TABLE t RENAME COLUMN a TO text;"
        "UPDATE t SET text = 'other' WHERE number = 1; DELETE FROM t WHERE number = 3"
    )
    renamed = {"number": "id", "text": "a"}
    found = counted(tmp_path, newer, key=("number",), renamed=renamed)
    assert found == Turnover(deleted=1, changed=1)


def test_a_column_of_another_declaration_is_not_compared(tmp_path: Path) -> None:
    """Its values may all be of another storage class, and mean the same."""
    newer = (
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO u SELECT * FROM t;"
        "DROP TABLE t; ALTER TABLE u RENAME TO t"
    )
    assert counted(tmp_path, newer) == Turnover(deleted=0, changed=0)


@pytest.mark.parametrize("key", [(), ("c",)])
def test_without_a_key_that_both_have_nothing_is_counted(
    tmp_path: Path, key: tuple[str, ...]
) -> None:
    """Rows can't be matched then."""
    assert counted(tmp_path, "ALTER TABLE t ADD COLUMN c DEFAULT 7", key=key) is None
