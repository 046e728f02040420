"""How much room a week will take, forecast before its cut is begun.

The rule: a copy of the source as large as its file and its WAL together, since what isn't
checkpointed yet is in the cut; and for deltas twice what those of the busiest week took until now,
once for the files and once for what is counted or made again beside them, but no less than a
twentieth of the copy. Before the first week, half of the copy: then every row is a change.
"""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets.errors import StateError
from migration_assets.source import delta_files
from migration_assets.state import State, no_room

_FIRST = 0.5  # of the copy: all rows, as Parquet
_LEAST = 0.05  # of the copy
# What SQLite answers where a write fails; a limit on file size is an I/O error to it
_NOT_WRITTEN = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Bytes that a week needs, and that are free; None where nobody can tell."""

    copy: int
    deltas: int
    free: int | None

    @property
    def needed(self) -> int:
        """Bytes in all."""
        return self.copy + self.deltas

    @property
    def fits(self) -> bool:
        """Whether it fits, or may: what can't be told stops nothing."""
        return self.free is None or self.needed <= self.free

    @property
    def text(self) -> str:
        """Say it for people, to the megabyte."""
        free = "an unknown number of" if self.free is None else f"{_megabytes(self.free)}"
        return (
            f"the next week needs {_megabytes(self.needed)} MB ({_megabytes(self.copy)} for its cut"
            f" and {_megabytes(self.deltas)} for its deltas), and {free} MB are free"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def forecast(state: State, source: str, path: Path) -> Forecast:
    """Forecast what the source's next week needs; `path` is its file."""
    file = path.resolve()  # a `-wal` lies beside the file itself, not beside a link to it
    copy = sum(_size(part) for part in (file, file.with_name(f"{file.name}-wal")))
    weeks = delta_files.bytes_by_week(state, source)
    deltas = max(int(_LEAST * copy), 2 * max(weeks.values())) if weeks else int(_FIRST * copy)
    return Forecast(copy=copy, deltas=deltas, free=state.free())


def _size(file: Path) -> int:
    """Return a file's size; 0 where it isn't there, or may not be seen: who opens it says so."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def require_room(state: State, source: str, path: Path) -> None:
    """Raise `StateError` where the source's next week doesn't fit; nothing was copied then."""
    found = forecast(state, source, path)
    if not found.fits:
        raise StateError(
            what=found.text,
            where=f"state {state.path('')}",
            expected="room for the whole week before its cut is begun",
            hint="free space where the state folder lies, move `state` to a larger disk, or let"
            " cuts and deltas go earlier with a smaller `keep_weeks`",
        )


@contextmanager
def room_for(partial: Path) -> Generator[None]:
    """Tell what the copy's disk refuses from what is wrong with the source, never written to."""
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode in _NOT_WRITTEN:
            raise no_room(partial, error.sqlite_errorname) from error
        raise
