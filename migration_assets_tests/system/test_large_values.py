"""Values of 100 MB, as text and as bytes, through every part of a step: it takes minutes."""

import resource
import sys
from typing import Final

import pytest

from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_proved,
    change,
    load_week,
    target_rows,
)

MB: Final = 10**6
TEXT: Final = "ä\n\\N\t'😀" * (100 * MB // 12)
BLOB: Final = bytes(range(256)) * (100 * MB // 256)
# One row at a time: as it is read, as a frame, as Arrow, as Parquet, on its way to the server, and
# each of them twice where rows are compared. Ten copies were measured.
COPIES: Final = 12
ROOM: Final = COPIES * (sys.getsizeof(TEXT) + len(BLOB)) // MB


@pytest.mark.timeout(900)
def test_values_of_100_mb_arrive_and_are_proved(make_migration: MakeMigration) -> None:
    """A first load and a change, the rows of which are read one at a time; and into quarantine."""
    migration = make_migration(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB, n INTEGER);",
        lock_timeout=300.0,
        quarantine_rows=1,
    )
    rows = [(number, TEXT, BLOB, 1) for number in (1, 2)]
    change(migration, *(("INSERT INTO t VALUES (?, ?, ?, ?)", row) for row in rows))
    load_week(migration, 1)
    change(
        migration,
        "UPDATE t SET a = a || 'x' WHERE id = 1",
        "UPDATE t SET n = 'many' WHERE id = 2",
    )
    load_week(migration, 2)
    assert_proved(migration, "t")
    found = target_rows(migration, "SELECT id, length(a), length(b) FROM t ORDER BY id")
    assert found == [(1, len(TEXT) + 1, len(BLOB))]
    assert target_rows(migration, 'SELECT length("values"[3]) FROM migration.quarantine') == [
        (len(BLOB),)
    ]
    assert peak() < ROOM


def peak() -> int:
    """Return the most memory that this process ever held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MB
