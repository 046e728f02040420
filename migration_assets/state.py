"""Where cuts, deltas and the catalog live: one small interface over files.

Keys are relative paths such as `cuts/main/2026-10-04/manifest.json`. What is published is complete
and durable: it is written elsewhere, synced and renamed into place. The local folder is the one
implementation now; another store has to offer the same nine methods.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from migration_assets.errors import StateBusyError, StateError

_LOCK_PAUSE = 0.1  # seconds between two tries for a lock
_MAX_HOLDER = 4096  # bytes of a lock's file that are read
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700


class State(Protocol):
    """What the pipeline asks of its store."""

    def read_text(self, key: str) -> str | None:
        """Return a document, or None where there is none."""
        ...

    def write_text(self, key: str, text: str, *, overwrite: bool = True) -> None:
        """Write a document whole; `StateError` where it exists and must not be overwritten."""
        ...

    def publish(self, file: Path, key: str) -> None:
        """Move a finished file into the store; never overwrites."""
        ...

    def path(self, key: str) -> Path:
        """Return a local path under which the file can be read."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all files below a prefix, sorted."""
        ...

    def remove(self, key: str) -> None:
        """Remove a file; nothing happens where there is none."""
        ...

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """Lend an empty folder that is gone afterwards, after a crash too."""
        ...

    def free(self) -> int | None:
        """Return how many bytes may still be written; None where nobody can tell."""
        ...

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        purpose: str = "",
        patience: float | None = None,
        shared: bool = False,
    ) -> Generator[Callable[[], None]]:
        """Hold a lock between processes; yields what tells those who wait that work goes on.

        Raises `StateBusyError` where another holds it for longer than `patience` seconds without
        a sign of progress. `purpose` is what those who wait are told. Those who hold it `shared`
        only keep out who wants it alone.
        """
        ...


class LocalState:
    """State in a folder that only its owner can read.

    `patience` is how many seconds a lock is waited for where its caller doesn't say.
    """

    def __init__(self, root: Path, *, patience: float = 60.0) -> None:
        self.root = root
        self.patience = patience

    def _file(self, key: str) -> Path:
        return self.root / key

    def _make(self, folder: Path) -> Path:
        with _accessible(folder):
            for part in reversed((folder, *folder.parents)):
                if not part.exists():  # mkdir's own `parents` would leave them open to others
                    part.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return folder

    def read_text(self, key: str) -> str | None:
        """Return a document, or None where there is none."""
        file = self._file(key)
        with _accessible(file), suppress(FileNotFoundError):
            return file.read_text("utf-8")
        return None

    def write_text(self, key: str, text: str, *, overwrite: bool = True) -> None:
        """Write a document whole; `StateError` where it exists and must not be overwritten."""
        with self.workspace() as folder, _accessible(self._file(key)):
            file = folder / "document"
            file.write_text(text, "utf-8")
            if overwrite:
                self._finish(file, key)
                file.replace(self._file(key))
                _sync(self._file(key).parent)
            else:
                self.publish(file, key)

    def publish(self, file: Path, key: str) -> None:
        """Move a finished file into the store; never overwrites."""
        with _accessible(self._file(key)):
            self._finish(file, key)
            try:
                os.link(file, self._file(key))  # unlike a rename, a link never overwrites
            except FileExistsError as error:
                raise StateError(
                    what="exists already and is never overwritten", where=f"state {key}"
                ) from error
            file.unlink()
            _sync(self._file(key).parent)

    def _finish(self, file: Path, key: str) -> None:
        self._make(self._file(key).parent)
        file.chmod(_PRIVATE_FILE)
        _sync(file)

    def path(self, key: str) -> Path:
        """Return a local path under which the file can be read."""
        return self._file(key)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all files below a prefix, sorted.

        Raises `StateError` where a folder can't be listed: its files would seem to be gone.
        """
        folder = self._file(prefix)
        with _accessible(folder):
            if not folder.exists():
                return []
            found = [Path(at, f) for at, _, files in os.walk(folder, onerror=_raise) for f in files]
        return sorted(f.relative_to(self.root).as_posix() for f in found)

    def remove(self, key: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with _accessible(self._file(key)):
            self._file(key).unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """Lend an empty folder that is gone afterwards.

        Its lock dies with its process, so what a killed process left is removed by the next one.
        What the operating system refuses to write in it, a full disk first, is a `StateError`.
        """
        base = self._make(self.root / "work")
        folder = base / uuid.uuid4().hex
        lock_file = base / f"{folder.name}.lock"
        with _locked(lock_file):
            self._sweep(base)
            try:
                with _accessible(folder):
                    folder.mkdir(mode=_PRIVATE_FOLDER)
                    yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock_file.unlink(missing_ok=True)

    @staticmethod
    def _sweep(base: Path) -> None:
        for stale in base.glob("*.lock"):
            with suppress(BlockingIOError, FileNotFoundError), stale.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stale.with_suffix(""), ignore_errors=True)
                stale.unlink(missing_ok=True)

    def free(self) -> int | None:
        """Return how many bytes this user may still write where the folder lies, or will.

        A quota that the file system doesn't tell of isn't counted.
        """
        folder = self.root.absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with _accessible(there):
            return shutil.disk_usage(there).free

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        purpose: str = "",
        patience: float | None = None,
        shared: bool = False,
    ) -> Generator[Callable[[], None]]:
        """Hold a lock between processes; yields what tells those who wait that work goes on.

        The lock dies with its process. Its file names who holds it, and is touched as a sign of
        progress. Raises `StateBusyError` after `patience` seconds without one. Those who hold it
        `shared` only keep out who wants it alone.
        """
        file = self._make(self.root / "locks") / name
        descriptor = _open_lock(file)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            _wait(
                descriptor, kind, self.patience if patience is None else patience, f"state {file}"
            )
            _say(descriptor, purpose or name)
            yield lambda: os.utime(descriptor)
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)


# errno of a file system that takes no more: full, over its quota, over the largest file it allows
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _accessible(path: Path) -> Generator[None]:
    """Say what to do where the operating system refuses a file or folder."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


def refusal(path: Path, error: OSError) -> StateError:
    """Return the error of what the operating system refuses in the state folder."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _FULL:
        return no_room(path, reason)
    return StateError(
        what=f"can't be made, read or written ({reason})",
        where=f"state {path}",
        expected="a folder that this user may write to",
        hint="run as its owner, or set `state` in migration.yaml, or MIGRATION_STATE",
    )


def no_room(path: Path, reason: str) -> StateError:
    """Return the error of a file that the disk, a quota or a limit did not let grow."""
    return StateError(
        what=f"can't be written: the disk is full, or a limit is reached ({reason})",
        where=f"state {path}",
        expected="room for another copy of the source, and for the rows that changed",
        hint="free space where the state folder lies, or raise the limit, then run again;"
        " nothing is left half done",
    )


def _raise(error: OSError) -> None:
    raise error


def _open_lock(path: Path) -> int:
    with _accessible(path):
        return os.open(path, os.O_CREAT | os.O_RDWR, _PRIVATE_FILE)


def _wait(descriptor: int, kind: int, patience: float, where: str) -> None:
    """Take the lock. flock has no form with a time limit, so it is tried again and again."""
    seen, deadline = os.fstat(descriptor).st_mtime_ns, monotonic() + patience
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        touched = os.fstat(descriptor).st_mtime_ns
        if touched != seen:
            seen, deadline = touched, monotonic() + patience
        if monotonic() >= deadline:
            raise StateBusyError(
                what=f"locked for {patience:g} s {_holder(descriptor)}",
                where=where,
                expected="one process at a time",
                hint="let it end, or end it: its lock goes with it and nothing is left half done",
            )
        sleep(_LOCK_PAUSE)


def _say(descriptor: int, purpose: str) -> None:
    """Write into the lock's file who holds it, and what for."""
    who = {"pid": os.getpid(), "host": socket.gethostname(), "purpose": purpose}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        who = json.loads(os.pread(descriptor, _MAX_HOLDER, 0))
        return f"by process {who['pid']} on {who['host']} ({who['purpose']})"
    except (ValueError, KeyError, TypeError):  # it has the lock and is about to say so
        return "by another process"


@contextmanager
def _locked(path: Path) -> Generator[None]:
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the hash by which a manifest names a file, in hex; memory doesn't grow with it.

    Raises `StateError` for a file that can't be read.
    """
    with _accessible(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_file(state: State, key: str) -> int:
    """Remove a file; return the bytes that became free."""
    path = state.path(key)
    with _accessible(path):
        size = path.stat().st_size if path.exists() else 0
    state.remove(key)
    return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
