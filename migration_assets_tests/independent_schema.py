"""A judge of schema objects that shares nothing with the product.

It reads SQLite's pragmas and PostgreSQL's catalogue itself. An object of the source has to stand on
the target, or to be listed in the document that the ledger sealed for its table; a foreign key and
a CHECK have to be listed as deferred, and what is listed has to be the same key when it is made.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from migration_assets_tests.independent import fold

_NOT_TEXT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_MOVING = re.compile(r"CURRENT_|now|random|date|time", re.IGNORECASE)
_GENERATED = (2, 3)  # `hidden`, https://sqlite.org/pragma.html#pragma_table_xinfo
Target = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table at both ends, and what the sealed document lists of it."""

    source: sqlite3.Connection
    target: Target
    schema: str
    name: str
    listed: list[dict[str, str]]

    def pragma(self, pragma: str, name: str = "") -> list[tuple[Any, ...]]:
        """Ask a pragma about the table, or about an index of it."""
        quoted = '"' + (name or self.name).replace('"', '""') + '"'
        return self.source.execute(f"PRAGMA main.{pragma}({quoted})").fetchall()

    def catalogue(self, query: str, *more: object) -> list[tuple[Any, ...]]:
        """Ask the catalogue about the table, whose oid is the first parameter."""
        name = sql.Identifier(self.schema, fold(self.name)).as_string(None)
        return self.target.execute(query.encode(), (name, *more)).fetchall()

    def lists(self, kind: str, original: str) -> bool:
        """Tell whether an object is listed with the source's own text, and with a reason."""
        return any(
            o["kind"] == kind and o["original"] == original and o.get("problem")
            for o in self.listed
        )


def compare_objects(sqlite_file: Path, dsn: str, *, schema: str = "public") -> list[str]:
    """Say which defaults, identities, generated columns, special indexes, CHECKs and keys differ.

    The file has to be the cut at which all tables stand. Nothing is changed at either end.
    """
    lacks: list[str] = []
    uri = f"{sqlite_file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as source, psycopg.connect(dsn) as target:
        names = source.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
            r" AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"
        ).fetchall()
        for (name,) in names:
            table = _Table(
                source=source,
                target=target,
                schema=schema,
                name=name,
                listed=_listed(target, name),
            )
            found = [
                *_columns(table),
                *_identity(table),
                *_indexes(table),
                *_checks(table),
                *_foreign_keys(table),
            ]
            lacks += [f"{name}: {what}" for what in found]
        target.rollback()
    return lacks


def _listed(target: Target, table: str) -> list[dict[str, str]]:
    row = target.execute(
        "SELECT m.document FROM migration.mapping AS m JOIN migration.ledger AS l"
        " ON l.mapping = m.hash WHERE l.table_name = %s ORDER BY l.entry DESC LIMIT 1",
        (table,),
    ).fetchone()
    return json.loads(row[0]).get("deferred", []) if row else []


def _columns(table: _Table) -> Iterator[str]:
    found = {
        name: (generated, default)
        for name, generated, default in table.catalogue(
            "SELECT attname, attgenerated::text, pg_get_expr(adbin, adrelid) FROM pg_attribute"
            " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        )
    }
    for _, name, _, _, default, _, hidden in table.pragma("table_xinfo"):
        generated, expression = found.get(fold(name), ("", None))
        if hidden in _GENERATED:
            wanted = [
                o for o in table.listed if (o["kind"], o["name"]) == ("generated", fold(name))
            ]
            if generated != "s" and not wanted:
                yield f"{name} is not generated, and not listed"
        elif default is not None and default.upper() != "NULL":
            if expression is None and not table.lists("default", default):
                yield f"{name} has no default, and {default} is not listed"
            elif expression is not None and not _MOVING.search(default):
                yield from _same_default(table, name, default, expression)


def _same_default(table: _Table, name: str, default: str, expression: str) -> Iterator[str]:
    """Let both databases compute a constant default."""
    at_source = table.source.execute(f"SELECT ({default})").fetchone()[0]
    ((at_target,),) = table.target.execute(f"SELECT ({expression})".encode()).fetchall()
    plain = _plain(at_target)
    if plain != at_source and str(plain) != str(at_source) and _number(plain) != _number(at_source):
        yield f"{name} has another default than {default}"


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat(" ") if isinstance(value, datetime) else value


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _identity(table: _Table) -> Iterator[str]:
    """Compare how rows get numbers: by a rowid that has a name, which goes on as in SQLite."""
    keys = [(name, kind) for _, name, kind, _, _, key, _ in table.pragma("table_xinfo") if key]
    own_index = any(origin == "pk" for _, _, _, origin, _ in table.pragma("index_list"))
    if len(keys) != 1 or keys[0][1].upper() != "INTEGER" or own_index:
        return
    column = fold(keys[0][0])
    quoted = table.name.replace('"', '""')
    (last,) = table.source.execute(f'SELECT max(_rowid_) FROM main."{quoted}"').fetchone()
    numbered = "AUTOINCREMENT" in _statement(table).upper()
    if numbered:
        row = table.source.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)
        ).fetchone()
        last = max(last or 0, row[0] if row else 0)
    found = table.catalogue(
        "SELECT objid::regclass::text FROM pg_depend JOIN pg_attribute ON attrelid = refobjid"
        " AND attnum = refobjsubid WHERE refobjid = %s::regclass AND attname = %s"
        " AND attidentity = 'd' AND deptype = 'i' AND classid = 'pg_class'::regclass",
        column,
    )
    if not found:
        yield f"{column} is no identity"
        return
    row = table.target.execute(
        f"SELECT last_value, is_called FROM {found[0][0]}".encode()
    ).fetchone()
    following = row[0] + bool(row[1]) if row else None
    if following != max(last or 0, 0) + 1:
        yield f"the next {column} is {following}, not one after {last}"


def _statement(table: _Table) -> str:
    row = table.source.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table.name,)
    ).fetchone()
    return _NOT_TEXT.sub(" ", row[0])


def _indexes(table: _Table) -> Iterator[str]:
    """Partial and descending indexes, and those over expressions; the others have another judge."""
    found = [
        (unique, partial, tuple(zip(names, down, strict=True)))
        for unique, partial, names, down in table.catalogue(
            "SELECT indisunique, indpred IS NOT NULL, ARRAY(SELECT attname::text"
            " FROM unnest(indkey::int2[]) WITH ORDINALITY AS k (number, place) LEFT JOIN"
            " pg_attribute ON attrelid = indrelid AND attnum = number AND number <> 0"
            " WHERE place <= indnkeyatts ORDER BY place), ARRAY(SELECT (o & 1) = 1"
            " FROM unnest(indoption::int2[]) AS o) FROM pg_index"
            " WHERE indrelid = %s::regclass AND indisvalid"
        )
    ]
    for _, name, unique, origin, partial in table.pragma("index_list"):
        members = [member for member in table.pragma("index_xinfo", name) if member[5]]
        special = partial or any(cid < 0 or down for _, cid, _, down, _, _ in members)
        if origin != "c" or not special:
            continue
        wanted = tuple(
            (fold(column) if column and collation == "BINARY" else None, bool(down))
            for _, _, column, down, collation, _ in members
        )
        (statement,) = table.source.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (name,)
        ).fetchone()
        if table.lists("index", statement):
            continue
        if (bool(unique), bool(partial), wanted) in found:
            found.remove((bool(unique), bool(partial), wanted))  # each stands for one
        else:
            yield f"index {name} is missing, and not listed"


def _checks(table: _Table) -> Iterator[str]:
    wanted = len(re.findall(r"\bCHECK\s*\(", _statement(table), re.IGNORECASE))
    listed = [o for o in table.listed if o["kind"] == "check"]
    if len(listed) != wanted or not all(o["definition"] or o["problem"] for o in listed):
        yield f"{wanted} CHECKs, and {len(listed)} are listed"


def _foreign_keys(table: _Table) -> Iterator[str]:
    """Make each listed key for a moment, and compare it with what SQLite says of it."""
    members: dict[int, list[tuple[Any, ...]]] = {}
    for row in table.pragma("foreign_key_list"):
        members.setdefault(row[0], []).append(row)
    listed = [o for o in table.listed if o["kind"] == "foreign key"]
    if len(listed) != len(members):
        yield f"{len(members)} foreign keys, and {len(listed)} are listed"
        return
    wanted = {
        (tuple(fold(r[3]) for r in rows), fold(rows[0][2])): rows for rows in members.values()
    }
    for o in listed:
        if not o["definition"]:
            continue  # listed with a problem
        columns, parent, parents = _made(table, o["definition"])
        rows = wanted.get((columns, parent))
        named = tuple(fold(r[4]) for r in rows if r[4] is not None) if rows else ()
        if rows is None or (named and named != parents):
            yield f"foreign key {o['name']} is not one of the source's"


def _made(table: _Table, definition: str) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return a key's columns, its parent, and the parent's columns, as PostgreSQL makes it."""
    with table.target.transaction(force_rollback=True):
        table.target.execute(
            sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(table.schema))
        )
        change = sql.SQL("ALTER TABLE {} ADD CONSTRAINT judged ").format(
            sql.Identifier(fold(table.name))
        )
        table.target.execute(f"{change.as_string(None)}{definition} NOT VALID".encode())
        names = (
            "ARRAY(SELECT attname::text FROM unnest({0}) WITH ORDINALITY AS k (number, place)"
            " JOIN pg_attribute ON attrelid = {1} AND attnum = number ORDER BY place)"
        )
        ((columns, parent, parents),) = table.catalogue(
            f"SELECT {names.format('conkey', 'conrelid')}, (SELECT relname::text FROM pg_class"
            f" WHERE oid = confrelid), {names.format('confkey', 'confrelid')} FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND conname = 'judged'"
        )
    return tuple(columns), parent, tuple(parents)
