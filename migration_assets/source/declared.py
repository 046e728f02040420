"""What a table's declaration says beyond columns and keys, and that is not carried yet, by name."""

import re
import sqlite3

from migration_assets.model import SourceTable
from migration_assets.source.connection import quote

_VIRTUAL_OR_STORED = (2, 3)  # `hidden` of generated columns, PRAGMA table_xinfo
# Strings, quoted names and comments (https://sqlite.org/lang_keywords.html, lang_comment.html):
# words in them are no keywords.
_QUOTED = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
    | --[^\n]* | /\*.*?(?:\*/|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_CHECK = re.compile(r"\bCHECK\s*\(", re.IGNORECASE)
_AUTOINCREMENT = re.compile(r"\bAUTOINCREMENT\b", re.IGNORECASE)


def not_carried(connection: sqlite3.Connection, table: SourceTable) -> list[str]:
    """Name what of a table in an open cut is not carried yet, each with what that means."""
    statement = _declaration(connection, table.name)
    checks = len(_CHECK.findall(statement))
    defaults, generated = _columns(connection, table.name)
    found = [
        f"foreign key ({', '.join(key.columns)}) → {key.parent}: not created yet"
        for key in table.foreign_keys
    ]
    if checks:
        found.append(f"{checks} CHECK{'s' if checks > 1 else ''}: not created yet")
    if defaults:
        found.append(f"default of {', '.join(defaults)}: not created yet")
    if generated:
        found.append(f"generated {', '.join(generated)}: carried as a plain column of values")
    if _AUTOINCREMENT.search(statement):
        found.append("AUTOINCREMENT: no sequence is made yet")
    found += [f"trigger {name}: not carried" for name in _triggers(connection, table.name)]
    return found


def _declaration(connection: sqlite3.Connection, table: str) -> str:
    row = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    return _QUOTED.sub(" _ ", str(row[0])) if row else ""


def _columns(connection: sqlite3.Connection, table: str) -> tuple[list[str], list[str]]:
    """Return the columns with a default, and the generated ones."""
    rows = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    defaults = [name for _, name, _, _, default, _, hidden in rows if default and not hidden]
    generated = [name for _, name, _, _, _, _, hidden in rows if hidden in _VIRTUAL_OR_STORED]
    return defaults, generated


def _triggers(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
        " ORDER BY name",
        (table,),
    )
    return [str(name) for (name,) in rows]
