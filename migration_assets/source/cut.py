"""The sealed cuts of a source: one immutable copy for a week each, with a manifest.

A finished cut is sealed: asking for it again returns it (`taking` makes one where none is). A lost
manifest is made again from its cut's file, whose name is the beginning of its sha256.
"""

import dataclasses
import logging
import sqlite3
from collections.abc import Collection
from contextlib import closing
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from migration_assets import manifests
from migration_assets.errors import StateError
from migration_assets.model import Catalog, Cut
from migration_assets.source.catalog import read_catalog
from migration_assets.source.connection import translated
from migration_assets.source.examining import orphaned_rows
from migration_assets.state import State, refusal, remove_file, sha256_of

_MANIFEST = "manifest.json"
_WEEK = len("2026-10-04")
_NAMED_BY = 16  # characters of a cut's sha256 that its id and its file's name have
_log = logging.getLogger(__name__)


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


def seal(state: State, partial: Path, week: date, catalog: Catalog, orphaned: int) -> Cut:
    """Publish a finished copy as the cut of a week. Its manifest comes last, and makes it one."""
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
            catalog, orphaned = read_catalog(copy, source), orphaned_rows(copy)
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
