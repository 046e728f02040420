"""Take a cut: one consistent, immutable copy of the source for a week, sealed with a manifest.

A finished cut is sealed: asking for it again returns it. Cuts are serial, and weeks only go
forward: a week older than an existing cut without one of its own folds into the next cut, since
the source's past can't be read any more. SQLite's online backup keeps page identity.
"""

import dataclasses
import logging
import sqlite3
from collections.abc import Callable, Collection, Generator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from urllib.parse import quote as url_quote

from migration_assets import manifests
from migration_assets.errors import (
    MigrationError,
    SourceBusyError,
    SourceError,
    SourceReplacedError,
    StateError,
)
from migration_assets.model import Catalog, Cut
from migration_assets.source.catalog import GENERATED, read_catalog
from migration_assets.source.connection import guarded, load_schema, open_source, quote, translated
from migration_assets.source.room import require_room
from migration_assets.state import State, no_room, refusal, remove_file, sha256_of

# Write and read version, in the header: https://sqlite.org/fileformat2.html, section 1.3
_VERSIONS_AT, _NO_WAL = 18, b"\x01\x01"
_STEP_PAGES = 2_000  # pages between two looks at progress and deadline: about 8 MB
_BUSY_PAUSE = 0.05  # seconds between two tries for a locked source
# A writer makes an unheld backup of a rollback-journal source start over; after so many times the
# source is held, and its writers wait until the copy is done.
_RESTARTS = 3
# What SQLite answers where a write fails; a limit on file size is an I/O error to it
_NOT_WRITTEN = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
)
_MANIFEST = "manifest.json"
_WEEK = len("2026-10-04")
_NAMED_BY = 16  # characters of a cut's sha256 that its id and its file's name have
_log = logging.getLogger(__name__)
# Seconds that another run's cut may go on without a sign of progress. A copy gives one every few
# megabytes; the check of a finished copy gives none, and takes minutes for one of 100 GB.
_CUT_PATIENCE = 1800.0
_EVERY_COMPLAINT = 2**31 - 1
# What a STRICT table's columns hold: https://sqlite.org/stricttables.html
_STRICT_CLASSES = {
    "INT": "integer",
    "INTEGER": "integer",
    "REAL": "real",
    "TEXT": "text",
    "BLOB": "blob",
}
_MAX_KEPT = 200  # characters of quick_check's answer; it names tables and pages, never values

Progress = Callable[[int, int], None]  # pages done, pages in all


def cuts(state: State, source: str) -> list[Cut]:
    """Return all sealed cuts of a source, oldest week first."""
    return [_load(state, source, week) for week in _weeks(state, source)]


def covering(state: State, source: str, week: date) -> Cut | None:
    """Return the cut that stands for a week: its own, else the next later one, else none."""
    later = (found for found in _weeks(state, source) if found >= week.isoformat())
    found = next(later, None)
    return _load(state, source, found) if found else None


def find(state: State, source: str, cut_id: str) -> Cut:
    """Return the cut of that id. Raises `StateError` where the state folder has lost it."""
    week, sealed = cut_id[:_WEEK], _weeks(state, source)
    cut = _load(state, source, week) if week in sealed else _rebuilt(state, source, week)
    if cut is not None and cut.id == cut_id:
        return cut
    raise StateError(
        what=f"cut {cut_id} is not in the state folder",
        where=f"state {state.path(f'cuts/{source}')}",
        expected="the cut that the ledger names as head",
        hint="restore the state folder from its backup; cuts of heads are needed to go on",
    )


def _weeks(state: State, source: str) -> list[str]:
    """Return the weeks that have a sealed cut, oldest first, as their folders are called."""
    keys = state.keys(f"cuts/{source}")
    return [key.split("/")[-2] for key in keys if key.endswith(f"/{_MANIFEST}")]


def lock_of(source: str) -> str:
    """Name the lock under which cuts of a source are taken, and removed."""
    return f"cut-{source}"


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
            catalog, orphaned = _examine(partial, source, f"source {path}")
            return _seal(state, partial, week, catalog, orphaned)


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
        _room_for(partial),
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


@contextmanager
def _room_for(partial: Path) -> Generator[None]:
    """Tell what the copy's disk refuses from what is wrong with the source, never written to."""
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode in _NOT_WRITTEN:
            raise no_room(partial, error.sqlite_errorname) from error
        raise


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


def _examine(partial: Path, source: str, where: str) -> tuple[Catalog, int]:
    """Check the copy; return its catalog and its number of orphaned foreign key rows."""
    # A backup of a WAL source is marked WAL too; a cut is one file that stands alone.
    with partial.open("r+b") as file:
        file.seek(_VERSIONS_AT)
        file.write(_NO_WAL)
    read_only = f"file:{url_quote(str(partial))}?mode=ro"
    with translated(where), _room_for(partial), closing(guarded(read_only)) as copy:
        load_schema(copy)
        # A row that breaks a CHECK is the application's own; it is carried, not called damage.
        copy.execute("PRAGMA ignore_check_constraints=ON")
        damage = _damage(copy)
        if damage:
            raise SourceError(
                what=f"the database is damaged: PRAGMA quick_check says {damage[:_MAX_KEPT]!r}",
                where=where,
                hint="restore a backup of the source; nothing was loaded from this copy",
            )
        catalog = read_catalog(copy, source)
        if not catalog.tables:
            raise SourceError(
                what="the database has no tables", where=where, expected="at least one table"
            )
        return catalog, _orphaned_rows(copy)


def _damage(copy: sqlite3.Connection) -> str:
    """Return the first complaint of SQLite's check that is true; empty where there is none.

    SQLite 3.40 takes one column for another in a WITHOUT ROWID table whose columns don't start
    with its key, and finds NULLs or values of a wrong class that aren't there (or the default's
    text in their place), one a row. And it
    lets a generated column of a STRICT table hold what its expression gives, of any class.
    """
    doubtful: dict[str, list[str]] | None = None
    untrue: set[str] = set()
    for (complaint,) in copy.execute(f"PRAGMA quick_check({_EVERY_COMPLAINT})"):
        if complaint in untrue:
            continue
        if complaint == "ok":
            return ""
        doubtful = _doubtful(copy) if doubtful is None else doubtful
        if complaint not in doubtful or any(
            copy.execute(query).fetchone() for query in doubtful[complaint]
        ):
            return str(complaint)
        untrue.add(complaint)
    return ""


def _doubtful(copy: sqlite3.Connection) -> dict[str, list[str]]:
    """Return complaints that may be untrue, each with the queries that find a row if it is true.

    `IS NULL` would be taken for false, since the column is NOT NULL; the class is asked for.
    """
    found: dict[str, list[str]] = {}
    columns = copy.execute(
        "SELECT t.name, c.name, upper(c.type), t.wr, t.strict, c.hidden"
        " FROM pragma_table_list AS t, pragma_table_xinfo(t.name) AS c"
        " WHERE t.schema = 'main' AND t.type = 'table' AND (t.wr OR t.strict)"
    ).fetchall()
    for table, column, declared, without_rowid, strict, hidden in columns:
        generated = hidden in GENERATED
        rows = f"SELECT 1 FROM main.{quote(table)} WHERE typeof({quote(column)})"
        if without_rowid:
            found.setdefault(f"NULL value in {table}.{column}", []).append(f"{rows} = 'null'")
            # Text that its column would have made a number, as only a damaged one holds it
            number = f"+{quote(column)} = CAST({quote(column)} AS NUMERIC)"
            found.setdefault(f"TEXT value in {table}.{column}", []).append(
                f"{rows} = 'text' AND {number}"
            )
        if strict and declared in _STRICT_CLASSES and (without_rowid or generated):
            queries = found.setdefault(f"non-{declared} value in {table}.{column}", [])
            if not generated:
                queries.append(f"{rows} NOT IN ('null', '{_STRICT_CLASSES[declared]}')")
    return found


def _orphaned_rows(copy: sqlite3.Connection) -> int:
    """Count rows without their parent; a key that names no table at all can't be checked."""
    try:
        return sum(1 for _ in copy.execute("PRAGMA foreign_key_check"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        return 0


def _seal(state: State, partial: Path, week: date, catalog: Catalog, orphaned: int) -> Cut:
    folder = _folder(catalog.source, week.isoformat())
    for orphan in state.keys(folder):
        state.remove(orphan)  # a copy whose manifest was never written: a crash came first
    sha256 = sha256_of(partial)
    key = f"{folder}/{sha256[:_NAMED_BY]}.sqlite"
    cut = _described(
        partial, catalog, week, sha256=sha256, orphaned=orphaned, taken=datetime.now(UTC)
    )
    cut = dataclasses.replace(cut, path=state.path(key))
    state.publish(partial, key)
    state.path(key).chmod(0o400)
    _write_manifest(state, cut, overwrite=False)
    return cut


def _described(
    file: Path, catalog: Catalog, week: date, *, sha256: str, orphaned: int, taken: datetime
) -> Cut:
    """Return what a manifest says of a finished copy."""
    with file.open("rb") as opened:
        header = opened.read(100)
    size = file.stat().st_size
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    return Cut(
        source=catalog.source,
        week=week,
        path=file,
        sha256=sha256,
        size=size,
        pages=size // page_size,
        page_size=page_size,
        fingerprint=catalog.fingerprint,
        taken_at=taken.isoformat(timespec="seconds"),
        orphaned_rows=orphaned,
    )


def _folder(source: str, week: str) -> str:
    return f"cuts/{source}/{week}"


def _write_manifest(state: State, cut: Cut, *, overwrite: bool) -> None:
    folder = _folder(cut.source, cut.week.isoformat())
    fields = dataclasses.asdict(cut) | {
        "path": f"{folder}/{cut.path.name}",
        "week": cut.week.isoformat(),
    }
    state.write_text(f"{folder}/{_MANIFEST}", manifests.dumps(fields), overwrite=overwrite)


def _load(state: State, source: str, week: str) -> Cut:
    cut = _read_manifest(state, source, week) or _rebuilt(state, source, week)
    if cut is not None:
        return cut
    folder = state.path(_folder(source, week))
    raise StateError(
        what="the manifest of a cut can't be read, nor can it be made again from the cut's file",
        where=f"state {folder / _MANIFEST}",
        expected="the document that was written when the cut was sealed",
        hint=f"restore this file of the state folder from its backup; if no table stands at {week}"
        f" (`migration-assets status`), remove {folder} instead: the next run takes the cut anew",
    )


def _read_manifest(state: State, source: str, week: str) -> Cut | None:
    try:
        fields = manifests.loads(state.read_text(f"{_folder(source, week)}/{_MANIFEST}") or "{}")
        fields |= {"path": state.path(fields["path"]), "week": date.fromisoformat(fields["week"])}
        cut = Cut(**fields)
    except (ValueError, KeyError, TypeError):
        return None
    return cut if (cut.source, cut.week.isoformat()) == (source, week) else None


def _rebuilt(state: State, source: str, week: str) -> Cut | None:
    """Make a lost manifest again from its cut's file, whose name is the beginning of its sha256.

    None where there is no such file, or where it is another. It is read whole for that.
    """
    for key in state.keys(_folder(source, week)):
        file = state.path(key)
        if file.suffix != ".sqlite":
            continue
        sha256 = sha256_of(file)
        if file.stem != sha256[:_NAMED_BY]:
            continue
        with (
            translated(f"cut of {week}"),
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as copy,
        ):
            copy.execute("PRAGMA trusted_schema=OFF")
            catalog, orphaned = read_catalog(copy, source), _orphaned_rows(copy)
        day, taken = date.fromisoformat(week), datetime.fromtimestamp(file.stat().st_mtime, UTC)
        cut = _described(file, catalog, day, sha256=sha256, orphaned=orphaned, taken=taken)
        _write_manifest(state, cut, overwrite=True)
        _log.warning("the manifest of cut %s was damaged: made again from its file", cut.id)
        return cut
    return None


def removable(state: State, source: str, named: Collection[str]) -> list[str]:
    """Return the keys of files in folders without a manifest: half taken, or half removed.

    Those that one of the ids `named` could be made again from are left out. Only under the lock of
    cuts, else one that is just being sealed were among them.
    """
    sealed = set(_weeks(state, source))
    return [
        key
        for key in state.keys(f"cuts/{source}")
        if (week := key.split("/")[-2]) not in sealed
        and f"{week}-{state.path(key).stem}" not in named
    ]


def remove(state: State, cut: Cut) -> int:
    """Remove a cut that nothing needs any more; return the bytes that became free.

    Its manifest goes first: where a crash comes between, it is a cut no more, and the file that is
    left over is one of the `removable`.
    """
    folder = _folder(cut.source, cut.week.isoformat())
    keys = [f"{folder}/{_MANIFEST}", *state.keys(folder)]
    return sum(remove_file(state, key) for key in dict.fromkeys(keys))


def check(cut: Cut) -> None:
    """Make sure that a cut's file is still what its manifest says.

    A damaged cut would be loaded *and* proved against itself. Raises `StateError`.
    """
    try:
        stat = cut.path.stat()
        intact = stat.st_size == cut.size and cut.sha256 == _sha256(
            cut.path, stat.st_mtime_ns, stat.st_size, stat.st_ino
        )
    except FileNotFoundError:
        intact = False
    except OSError as error:
        raise refusal(cut.path, error) from error
    if not intact:
        raise StateError(
            what="the file is missing, damaged or was changed",
            where=f"cut {cut.id}",
            expected=f"{cut.size} bytes with sha256 {cut.sha256[:16]}…",
            hint="restore this file of the state folder from its backup; if no table stands at"
            f" {cut.week} (`migration-assets status`), remove {cut.path.parent} instead: the next"
            " run takes the cut anew",
        )


@lru_cache(maxsize=256)
def _sha256(path: Path, _modified: int, _size: int, _inode: int) -> str:
    """Hash a file; remembered for as long as its time, size and inode stay the same."""
    return sha256_of(path)
