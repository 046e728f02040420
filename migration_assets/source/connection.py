"""Open SQLite files without harm: the live source, and sealed cuts of it."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote as url_quote

from migration_assets.errors import MigrationError, SourceBusyError, SourceError, UnsupportedError
from migration_assets.model import Cut, UndecodableText

# https://sqlite.org/fileformat2.html, section 1.3: the database header
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_READ_VERSION, _WAL_VERSION = 19, 2
_SCHEMA_FORMAT, _ENCODING = slice(44, 48), slice(56, 60)
_LAST_SCHEMA_FORMAT, _LAST_ENCODING = 4, 3
# table_list and its column `strict`: https://sqlite.org/pragma.html#pragma_table_list
_OLDEST_SQLITE = (3, 37, 0)
_BUSY, _LOCKED = 5, 6
_INNOCUOUS, _DIRECT_ONLY = 0x200000, 0x80000  # https://sqlite.org/c3ref/c_deterministic.html
_SET = "set `source` in migration.yaml, or MIGRATION_SOURCE"
_DECRYPT = "let its application export a plain copy each week, and name that one as source"
_CODES = {
    1: (
        "SQLite can't run a statement on it",
        "functions and collations of the application are not carried; a `cast` needs a value a row",
    ),
    3: ("permission denied", "run as the owner of the file"),
    8: ("the file can't be read without writing beside it", "run as the owner of the file"),
    11: ("the database is damaged", "check it with `PRAGMA integrity_check` and restore a backup"),
    13: ("the disk is full", "free space where the state folder lies"),
    14: ("the file can't be opened", "check the path and its permissions"),
    776: (  # SQLITE_READONLY_ROLLBACK
        "a transaction that broke off has to be rolled back first",
        "start the application once, so that it rolls its journal back",
    ),
    26: ("the file is no SQLite database", "check the path; an encrypted file looks like this too"),
}


def quote(identifier: str) -> str:
    """Quote an identifier for SQLite; the only way a name gets into SQL here."""
    return '"' + identifier.replace('"', '""') + '"'


def exact_text(raw: bytes) -> str | UndecodableText:
    """Decode TEXT without loss: bytes that are not UTF-8 stay bytes.

    What SQLite converts from UTF-16 has lost its lone surrogates before: `reader` reads those.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return UndecodableText(raw)


def source_error(error: sqlite3.Error, where: str) -> MigrationError:
    """Translate an SQLite error by its result code; never by its text."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code in (_BUSY, _LOCKED):
        return SourceBusyError(
            what="the source is locked by another program",
            where=where,
            hint="run again when its long transaction has ended",
        )
    what, hint = _CODES.get(extended) or _CODES.get(
        code, (f"SQLite result code {code}", "see sqlite.org/rescode.html")
    )
    return SourceError(what=what, where=where, hint=hint)


@contextmanager
def translated(where: str) -> Generator[None]:
    """Translate every SQLite error raised inside."""
    try:
        yield
    except sqlite3.Error as error:
        raise source_error(error, where) from error


def _check_file(path: Path) -> bytes:
    """Return the header of a file that looks like a database, or say what it is instead."""
    where = f"source {path}"
    try:
        if not path.exists():
            raise SourceError(
                what="there is no such file",
                where=where,
                expected="the path of a SQLite database",
                hint=_SET,
            )
        if not path.is_file():
            raise SourceError(
                what="not a file",
                where=where,
                expected="a SQLite database file",
                hint=f"name the file itself: {_SET}",
            )
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except PermissionError as error:
        raise SourceError(
            what="permission denied", where=where, hint="run as the owner of the file"
        ) from error
    except OSError as error:
        raise SourceError(
            what=f"the file can't be read ({error.strerror})",
            where=where,
            expected="a SQLite database file on a disk that answers",
            hint="check the path and the disk it lies on",
        ) from error
    if not header:
        raise SourceError(
            what="the file is empty",
            where=where,
            expected="a SQLite database with tables",
            hint=f"start the application once, restore a backup, or {_SET}",
        )
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise SourceError(
            what="the file is no SQLite database",
            where=where,
            expected="a file that starts with 'SQLite format 3'",
            hint=f"check the path; an encrypted database looks like this too: {_DECRYPT}",
        )
    # SQLCipher and its kin can leave the first bytes as they are, so that the file looks sound.
    if (
        int.from_bytes(header[_SCHEMA_FORMAT], "big") > _LAST_SCHEMA_FORMAT
        or int.from_bytes(header[_ENCODING], "big") > _LAST_ENCODING
    ):
        raise SourceError(
            what="the database is encrypted, or its header is damaged",
            where=where,
            expected="a header as SQLite writes it, in plain",
            hint=f"if it is encrypted, {_DECRYPT}; if not, restore a backup of it",
        )
    return header


def encoding_of(connection: sqlite3.Connection) -> str:
    """Return the encoding of an open database: UTF-8, UTF-16le or UTF-16be."""
    return str(connection.execute("PRAGMA main.encoding").fetchone()[0])


def is_wal(header: bytes) -> bool:
    """Tell from the header whether the database is in WAL mode."""
    return header[_READ_VERSION] == _WAL_VERSION


@contextmanager
def open_source(path: Path, *, timeout: float) -> Generator[tuple[sqlite3.Connection, bool]]:
    """Open the live source for reading; also answer whether it is in WAL mode.

    Nothing is left behind: as another user than its owner, reading a WAL database would leave
    `-wal` and `-shm` files that the application can't write, so that is refused (root is fine:
    SQLite gives those files to the database's owner). Where no `-wal` exists, the connection may
    write, with `query_only` on: only then does SQLite remove its own empty `-wal` at the end.
    """
    header = _check_file(path)
    wal = is_wal(header)
    owner = path.stat().st_uid
    if wal and os.geteuid() not in (0, owner):
        raise SourceError(
            what="a database in WAL mode that belongs to another user",
            where=f"source {path}",
            expected=f"to run as its owner (uid {owner}) or as root",
            hint="files left beside it would stop the application from writing",
        )
    file = path.resolve()  # a `-wal` lies beside the file itself, not beside a link to it
    mode = "rw" if wal and not file.with_name(file.name + "-wal").exists() else "ro"
    with translated(f"source {path}"):
        connection = _connect(f"file:{url_quote(str(file))}?mode={mode}", timeout)
        try:
            yield connection, wal
        finally:
            connection.close()


@contextmanager
def open_cut(cut: Cut, *, other: Cut | None = None) -> Generator[sqlite3.Connection]:
    """Open a sealed cut, immutable; `other` is attached as schema `older`."""
    with translated(f"cut {cut.id}"):
        connection = _connect(_immutable(cut.path), timeout=0)
        try:
            load_schema(connection, _immutable(other.path) if other else "")
            yield connection
        finally:
            connection.close()


def _immutable(path: Path) -> str:
    return f"file:{url_quote(str(path))}?mode=ro&immutable=1"


def _connect(uri: str, timeout: float) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise UnsupportedError(
            what=f"Python's SQLite is {sqlite3.sqlite_version}",
            expected="3.37 or newer",
            hint="use a Python built with a newer SQLite",
        )
    connection = guarded(uri, timeout=timeout)
    connection.text_factory = exact_text
    return connection


# What a crafted file could ask for, and nothing of ours comes near: https://sqlite.org/limits.html.
# Values and rows may be as large as SQLite lets them be, tables as wide.
_LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 16 * 2**20,  # bytes: two cuts of 2,000 long names need 2 MB
    sqlite3.SQLITE_LIMIT_VDBE_OP: 5_000_000,  # instructions of one statement
    sqlite3.SQLITE_LIMIT_ATTACHED: 1,  # `older`, in `open_cut`
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


def guarded(
    database: str | Path, *, timeout: float = 0, writes: bool = False
) -> sqlite3.Connection:
    """Open an SQLite file (or a `file:` URI) so that nothing in it runs; the only way it is done.

    Its schema calls no function that SQLite doesn't hold for harmless, those that we register
    neither; nothing is written unless `writes`; no extension is loaded (SQLite's default, and
    nothing here allows it). A file that shrinks under us is an error, not the end of the process.
    See https://sqlite.org/security.html, section 1.1.
    """
    connection = sqlite3.connect(
        database, uri=isinstance(database, str), timeout=timeout, isolation_level=None
    )
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {setting}")
    if not writes:
        connection.execute("PRAGMA query_only=ON")
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    return connection


def load_schema(connection: sqlite3.Connection, older: str = "") -> None:
    """Load the schema of a guarded connection; the file at URI `older` is attached as `older`.

    SQLite 3.40 does not mark its own JSON functions as harmless, and so refuses a whole database
    with one index or generated column that calls one. There they are let through, and every other
    function that isn't marked is replaced by one that refuses.
    """
    try:
        _load(connection, older)
    except sqlite3.DatabaseError:
        doubtful = _doubtful_functions(connection)
        if not any(_is_json(name) for name, _ in doubtful):
            raise
        for name, arguments in doubtful:
            if not _is_json(name):
                connection.create_function(name, arguments, _refuse)
        connection.execute("PRAGMA trusted_schema=ON")
        _load(connection, older)


def _load(connection: sqlite3.Connection, older: str) -> None:
    if older:
        connection.execute("ATTACH ? AS older", (older,))
    connection.execute("SELECT 1 FROM main.sqlite_master LIMIT 0")


def _is_json(name: str) -> bool:
    return name.startswith("json") or name in ("->", "->>")


def _doubtful_functions(connection: sqlite3.Connection) -> set[tuple[str, int]]:
    """Return the functions that aren't marked as harmless, ours too, and their argument counts.

    Those that SQLite never lets a schema call are not among them.
    """
    return {
        (name, arguments)
        for name, _, _, _, arguments, flags in connection.execute("PRAGMA function_list")
        if not flags & (_INNOCUOUS | _DIRECT_ONLY)
    }


def _refuse(*_: object) -> None:
    raise PermissionError
