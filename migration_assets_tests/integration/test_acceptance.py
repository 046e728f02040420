"""The acceptance itself: which databases it finds, and that it can fail."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets_tests import acceptance


def test_a_folder_without_databases_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped folder must not look like a pass."""
    (tmp_path / "notes.sqlite").write_text("only called so")
    assert acceptance.main([str(tmp_path)]) == 1
    assert "there is no SQLite database below" in capsys.readouterr().err


def test_databases_are_found_by_their_header(tmp_path: Path) -> None:
    """Whatever they are called, and below subfolders."""
    found = tmp_path / "deep" / "shop.bin"
    found.parent.mkdir()
    with closing(sqlite3.connect(found)) as connection:
        connection.execute("CREATE TABLE t (a)")
    (tmp_path / "empty.sqlite").touch()
    assert list(acceptance.find_databases(tmp_path)) == [found]


def test_a_database_that_fails_is_counted_and_told_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its later steps are left out; the count stands alone on the last line."""
    (tmp_path / "damaged").write_bytes(acceptance.MAGIC + b"\xff" * 4096)
    assert acceptance.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    (failed,) = [line for line in lines if line.startswith("FAILED")]
    assert "damaged: week 1 equals its cut" in failed
    assert not any("week 2 equals" in line for line in lines)
    assert lines[-1] == "2 passed, 1 failed"
