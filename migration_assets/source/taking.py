"""Take a cut: one consistent copy of the source for a week, examined and sealed.

Cuts are serial, and weeks only go forward: a week older than an existing cut without one of its own
folds into the next cut, since the source's past can't be read any more. SQLite's online backup
keeps page identity.
"""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from time import monotonic

from migration_assets.errors import MigrationError, SourceBusyError, SourceReplacedError
from migration_assets.model import Cut
from migration_assets.source.connection import guarded, open_source
from migration_assets.source.cut import covering, lock_of, seal
from migration_assets.source.examining import examine
from migration_assets.source.room import require_room, room_for
from migration_assets.state import State

_STEP_PAGES = 2_000  # pages between two looks at progress and deadline: about 8 MB
_BUSY_PAUSE = 0.05  # seconds between two tries for a locked source
# A writer makes an unheld backup of a rollback-journal source start over; after so many times the
# source is held, and its writers wait until the copy is done.
_RESTARTS = 3
# Seconds that another run's cut may go on without a sign of progress. A copy gives one every few
# megabytes; the check of a finished copy gives none, and takes minutes for one of 100 GB.
_CUT_PATIENCE = 1800.0

Progress = Callable[[int, int], None]  # pages done, pages in all


def take(
    state: State,
    source: str,
    path: Path,
    week: date,
    *,
    timeout: float,
    progress: Progress | None = None,
) -> Cut:
    """Return the week's cut, taking it where none covers the week yet.

    `timeout` bounds, in seconds, the wait for a locked source. Raises `SourceError` for a source
    that can't be read whole, `SourceBusyError` for one that stays locked, `StateBusyError` where
    another run's cut doesn't get on.
    """
    with state.lock(
        lock_of(source), purpose=f"taking the cut of {week}", patience=_CUT_PATIENCE
    ) as goes_on:
        existing = covering(state, source, week)
        if existing is not None:
            return existing
        with state.workspace() as folder:
            require_room(state, source, path)
            partial = folder / "cut.sqlite"
            _copy(path, partial, timeout, _both(progress, goes_on))
            catalog, orphaned = examine(partial, source, f"source {path}")
            return seal(state, partial, week, catalog, orphaned)


def _both(progress: Progress | None, goes_on: Callable[[], None]) -> Progress:
    """Tell those who wait for the cut that it goes on, then whoever watches."""

    def tell(done: int, pages: int) -> None:
        goes_on()
        if progress is not None:
            progress(done, pages)

    return tell


def _copy(path: Path, partial: Path, timeout: float, progress: Progress | None) -> None:
    where = f"source {path}"
    with (
        _the_same_file(path),
        open_source(path, timeout=timeout) as (connection, wal),
        room_for(partial),
        closing(guarded(partial, writes=True)) as copy,
    ):
        if wal:
            # A snapshot costs a WAL source nothing: its writers go on.
            _hold(connection)
            _backup(connection, copy, timeout, progress, where, restarts=0)
            return
        try:
            _backup(connection, copy, timeout, progress, where, restarts=_RESTARTS)
        except _RestartedTooOften:
            _hold(connection)
            _backup(connection, copy, timeout, progress, where, restarts=0)


@contextmanager
def _the_same_file(path: Path) -> Generator[None]:
    """Keep no copy that was begun in one file and ended in another.

    SQLite opens the database and its `-wal` by name, one after the other: a file that is put in
    the source's place in between would be read with the other one's `-wal`.
    """
    before = _identity(path)
    try:
        yield
    except MigrationError as error:
        if before is not None and _identity(path) != before:
            raise _replaced(path) from error
        raise
    if _identity(path) != before:
        raise _replaced(path)


def _replaced(path: Path) -> SourceReplacedError:
    happened = "replaced by another file" if _identity(path) else "removed"
    return SourceReplacedError(
        what=f"the source was {happened} while it was copied",
        where=f"source {path}",
        expected="one file from the beginning of the copy to its end; nothing of it was kept",
        hint="run this week again when the new file is in its place; stop the application while"
        " you restore a backup, and remove the old `-wal` and `-shm` with the old file",
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file stands there; a link is followed to the file itself."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


class _RestartedTooOften(Exception):  # noqa: N818 - a turn taken inside this module, not an error
    """The backup had to start over as often as it may."""


def _hold(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("PRAGMA schema_version").fetchone()  # reads the file, not its schema


def _backup(
    connection: sqlite3.Connection,
    copy: sqlite3.Connection,
    timeout: float,
    progress: Progress | None,
    where: str,
    *,
    restarts: int,
) -> None:
    deadline = monotonic() + timeout
    most_done = started_over = 0

    def watch(status: int, remaining: int, total: int) -> None:
        nonlocal deadline, most_done, started_over
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if monotonic() > deadline:
                raise SourceBusyError(
                    what=f"the source stayed locked for {timeout:g} s",
                    where=where,
                    hint="run again when its long transaction has ended",
                )
            return
        deadline = monotonic() + timeout
        done = total - remaining
        if done <= most_done:  # a step that goes on ends further than the one before
            started_over += 1
            if restarts and started_over >= restarts:
                raise _RestartedTooOften
        most_done = done
        if progress is not None:
            progress(done, total)

    connection.backup(copy, pages=_STEP_PAGES, progress=watch, sleep=_BUSY_PAUSE)
