"""Examine a copy of the source before it is sealed: what is damaged, and what only seems so."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote as url_quote

from migration_assets.errors import SourceError
from migration_assets.model import Catalog
from migration_assets.source.catalog import GENERATED, read_catalog
from migration_assets.source.connection import guarded, load_schema, quote, translated
from migration_assets.source.room import room_for

_EVERY_COMPLAINT = 2**31 - 1
# What a STRICT table's columns hold: https://sqlite.org/stricttables.html
_STRICT_CLASSES = {
    "INT": "integer",
    "INTEGER": "integer",
    "REAL": "real",
    "TEXT": "text",
    "BLOB": "blob",
}
# Write and read version, in the header: https://sqlite.org/fileformat2.html, section 1.3
_VERSIONS_AT, _NO_WAL = 18, b"\x01\x01"
_MAX_KEPT = 200  # characters of quick_check's answer; it names tables and pages, never values


def examine(partial: Path, source: str, where: str) -> tuple[Catalog, int]:
    """Check the copy; return its catalog and its number of orphaned foreign key rows."""
    # A backup of a WAL source is marked WAL too; a cut is one file that stands alone.
    with partial.open("r+b") as file:
        file.seek(_VERSIONS_AT)
        file.write(_NO_WAL)
    read_only = f"file:{url_quote(str(partial))}?mode=ro"
    with translated(where), room_for(partial), closing(guarded(read_only)) as copy:
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
        return catalog, orphaned_rows(copy)


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


def orphaned_rows(copy: sqlite3.Connection) -> int:
    """Count rows without their parent; a key that names no table at all can't be checked."""
    try:
        return sum(1 for _ in copy.execute("PRAGMA foreign_key_check"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        return 0
