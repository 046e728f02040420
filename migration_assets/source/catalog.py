"""Read the catalog of a source: its tables, keys, plain indexes, and what is left out and why."""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any

from migration_assets.mapping.statements import (
    fold_name,
    has_content_option,
    parse_table,
)
from migration_assets.model import (
    Catalog,
    SourceColumn,
    SourceForeignKey,
    SourceIndex,
    SourceTable,
)
from migration_assets.source.connection import quote
from migration_assets.state import State

_log = logging.getLogger(__name__)
GENERATED = (2, 3)  # `hidden` of generated columns, PRAGMA table_xinfo
_HIDDEN = 1
_COLLATIONS = frozenset({"BINARY", "NOCASE", "RTRIM"})
_CONTENT = "_content"  # where a full-text table keeps its rows, unless it is told another place


def read_catalog(
    connection: sqlite3.Connection,
    source: str,
    *,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
) -> Catalog:
    """Read all tables, in name order; `include` and `exclude` are shell patterns of table names."""
    tables: list[SourceTable] = []
    left_out: dict[str, str] = {}
    wanted, unwanted = tuple(include), tuple(exclude)
    rows = connection.execute(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' ORDER BY name"
    ).fetchall()
    for name, kind, without_rowid, strict in rows:
        if name.lower().startswith("sqlite_"):
            continue
        if kind == "shadow" and _is_the_applications(connection, name):
            kind = "table"  # noqa: PLW2901 - what it really is
        reason = _reason_to_leave_out(name, kind, wanted, unwanted)
        if reason:
            left_out[name] = reason
        else:
            table = _read_table(connection, source, name, without_rowid=bool(without_rowid))
            tables.append(_without_any(table) if strict else table)
    return Catalog(
        source=source,
        tables=tuple(tables),
        left_out=left_out,
        fingerprint=_fingerprint(tables),
        views=_read_views(connection),
    )


def _is_the_applications(connection: sqlite3.Connection, name: str) -> bool:
    """Tell a table that only looks like a shadow: by name the content of a full-text table.

    One with the option `content=` has no content of its own (https://sqlite.org/fts5.html, 4.4),
    so the table of that name was made by the application.
    """
    owner, _, _ = name.rpartition("_")
    if not name.lower().endswith(_CONTENT):
        return False
    return has_content_option(_statement(connection, "table", owner))


def _statement(connection: sqlite3.Connection, kind: str, name: str) -> str:
    """Return the statement that made an object, empty where SQLite made it by itself."""
    row = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = ? AND name = ? COLLATE NOCASE", (kind, name)
    ).fetchone()
    return str(row[0] or "") if row else ""


def _read_views(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statements of the views, in the order in which they were made."""
    return dict(
        connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY rowid")
    )


def select(catalog: Catalog, include: tuple[str, ...], exclude: tuple[str, ...]) -> Catalog:
    """Return the catalog without the tables that the settings leave out."""
    left_out = dict(catalog.left_out)
    tables: list[SourceTable] = []
    for table in catalog.tables:
        reason = _reason_to_leave_out(table.name, "table", include, exclude)
        if reason:
            left_out[table.name] = reason
        else:
            tables.append(table)
    return replace(catalog, tables=tuple(tables), left_out=left_out)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether one of the settings' shell patterns matches a table's name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def name_pattern(name: str) -> str:
    """Return the shell pattern that matches just this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def remember(state: State, catalog: Catalog) -> Catalog:
    """Cache a catalog for definitions to load while the source is away.

    A table that vanished stays in the cache, so that its asset goes red instead of away.
    """
    known = cached(state, catalog.source)
    if known is not None:
        there = {t.name for t in catalog.tables}
        gone = tuple(t for t in known.tables if t.name not in there)
        tables = sorted((*catalog.tables, *gone), key=lambda t: t.name)
        catalog = replace(catalog, tables=tuple(tables))
    if catalog != known:
        state.write_text(_cache_key(catalog.source), dumps(catalog))
    return catalog


def cached(state: State, source: str) -> Catalog | None:
    """Return the cached catalog; None before the source was first read.

    A damaged one is none: it is made again when the source or a cut is read next.
    """
    try:
        text = state.read_text(_cache_key(source))
        return loads(text) if text else None
    except (ValueError, KeyError, TypeError, AttributeError):
        _log.warning("the cached catalog %s is damaged: it is made again", _cache_key(source))
        return None


def _cache_key(source: str) -> str:
    return f"catalog/{source}.json"


def _reason_to_leave_out(
    name: str, kind: str, include: tuple[str, ...], exclude: tuple[str, ...]
) -> str:
    if kind == "view":
        return "a view: it holds no rows"
    if kind in ("virtual", "shadow"):
        return f"a {kind} table: its rows belong to an extension of SQLite"
    if matches(name, exclude):
        return "excluded by the settings"
    if not matches(name, include):
        return "not included by the settings"
    return ""


def _read_table(
    connection: sqlite3.Connection, source: str, name: str, *, without_rowid: bool
) -> SourceTable:
    said = parse_table(_statement(connection, "table", name))
    columns = tuple(
        SourceColumn(
            name=column,
            declared=declared,
            not_null=bool(not_null) or (without_rowid and key > 0),
            key=key,
            generated=hidden in GENERATED,
            default="" if default is None or hidden in GENERATED else str(default),
            expression=said.expressions.get(fold_name(column), ""),
            collation=said.collations.get(fold_name(column), "").replace("BINARY", ""),
        )
        for _, column, declared, not_null, default, key, hidden in connection.execute(
            f"PRAGMA table_xinfo({quote(name)})"
        )
        if hidden != _HIDDEN
    )
    indexes, has_key_index = _read_indexes(connection, name)
    key = [c for c in columns if c.key]
    # A single INTEGER PRIMARY KEY without an index of its own is the rowid itself
    # (https://sqlite.org/lang_createtable.html#rowid); DESC keys have one and are not.
    alias = (
        key[0].name
        if len(key) == 1
        and key[0].declared.upper() == "INTEGER"
        and not without_rowid
        and not has_key_index
        else None
    )
    return SourceTable(
        source=source,
        name=name,
        columns=columns,
        indexes=indexes,
        without_rowid=without_rowid,
        rowid_alias=alias,
        foreign_keys=_read_foreign_keys(connection, name),
        checks=said.checks,
        autoincrement=said.autoincrement,
    )


def _without_any(table: SourceTable) -> SourceTable:
    """Return a strict table with its ANY columns as untyped ones.

    There ANY converts nothing; in any other table the word has NUMERIC affinity
    (https://sqlite.org/stricttables.html, section 2).
    """
    columns = tuple(
        replace(c, declared="") if c.declared.upper() == "ANY" else c for c in table.columns
    )
    return replace(table, columns=columns)


def _read_indexes(
    connection: sqlite3.Connection, table: str
) -> tuple[tuple[SourceIndex, ...], bool]:
    """Return the secondary indexes in name order, and whether the key has an index of its own."""
    indexes: list[SourceIndex] = []
    has_key_index = False
    listed = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    for _, name, unique, origin, partial in listed:
        if origin == "pk":
            has_key_index = True
            continue
        members = [
            (column, bool(descending), str(collation).upper())
            for _, _, column, descending, collation, is_key in connection.execute(
                f"PRAGMA index_xinfo({quote(name)})"
            )
            if is_key
        ]
        # an expression has no name, which is another thing than the empty name
        named = [member for member in members if member[0] is not None]
        indexes.append(
            SourceIndex(
                name=name,
                columns=tuple(column for column, _, _ in named),
                unique=bool(unique),
                nocase=tuple(column for column, _, under in named if under == "NOCASE"),
                constraint=origin == "u",
                reason=_special(members, partial=bool(partial)),
                descending=tuple(column for column, downwards, _ in named if downwards),
                sql=_statement(connection, "index", name),
                rtrim=tuple(column for column, _, under in named if under == "RTRIM"),
            )
        )
    return tuple(sorted(indexes, key=lambda index: index.name)), has_key_index


def _special(members: Iterable[tuple[str | None, bool, str]], *, partial: bool) -> str:
    """Say why an index isn't one over the columns of all rows, compared as SQLite itself does."""
    foreign = sorted({under for _, _, under in members} - _COLLATIONS)
    if foreign:
        return f"an index under {foreign[0]}, a collation of the application's own"
    if any(column is None for column, _, _ in members):
        return "an expression index"
    return "a partial index" if partial else ""


def _read_foreign_keys(connection: sqlite3.Connection, table: str) -> tuple[SourceForeignKey, ...]:
    """Return the foreign keys in the order of their ids, names as the tables themselves spell them.

    A key that names no columns of its parent means the parent's primary key.
    """
    members: dict[int, list[tuple[str, str, str | None]]] = {}
    actions: dict[int, tuple[str, str]] = {}
    for number, _, parent, column, parent_column, on_update, on_delete, *_ in connection.execute(
        f"PRAGMA foreign_key_list({quote(table)})"
    ):
        members.setdefault(number, []).append((parent, column, parent_column))
        actions[number] = (on_update, on_delete)
    found: list[SourceForeignKey] = []
    for number, rows in sorted(members.items()):
        parent = _spelled(connection, rows[0][0])
        named = tuple(column for _, _, column in rows if column is not None)
        columns = tuple(column for _, column, _ in rows)
        parent_columns = _parent_columns(connection, parent, named)
        known = len(parent_columns) == len(columns)
        found.append(
            SourceForeignKey(
                columns=columns,
                parent=parent,
                parent_columns=parent_columns if known else (),
                on_update=actions[number][0],
                on_delete=actions[number][1],
            )
        )
    return tuple(found)


def _spelled(connection: sqlite3.Connection, table: str) -> str:
    """Return a table's name as it was created: a reference may differ in case."""
    row = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
        (table,),
    ).fetchone()
    return str(row[0]) if row else table


def _parent_columns(
    connection: sqlite3.Connection, parent: str, named: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the parent's columns of these names, else its primary key; () where they are gone."""
    columns = connection.execute(
        "SELECT name, pk FROM pragma_table_xinfo(?) ORDER BY pk", (parent,)
    ).fetchall()
    if not named:
        return tuple(name for name, key in columns if key)
    spelled = {fold_name(name): name for name, _ in columns}
    folded = [fold_name(name) for name in named]
    return tuple(spelled[name] for name in folded if name in spelled)


def _fingerprint(tables: list[SourceTable]) -> str:
    """Hash names, declarations and keys: what a mapping depends on."""
    shape = [[t.name, shape_of(t)] for t in tables]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]


def shape_of(table: SourceTable) -> list[list[object]]:
    """Return what a mapping takes from a table: per column name, declaration, NOT NULL, key."""
    return [[c.name, c.declared, c.not_null, c.key] for c in table.columns]


def dumps(catalog: Catalog) -> str:
    """Return the catalog as the JSON document that is cached."""
    return json.dumps(asdict(catalog), indent=1, sort_keys=True)


def loads(document: str) -> Catalog:
    """Read a cached catalog back."""
    fields: dict[str, Any] = json.loads(document)
    tables = tuple(_load_table(t) for t in fields.pop("tables"))
    return Catalog(**fields, tables=tables)


def _load_table(fields: dict[str, Any]) -> SourceTable:
    columns = tuple(SourceColumn(**c) for c in fields.pop("columns"))
    indexes = tuple(_load_index(i) for i in fields.pop("indexes"))
    # Catalogs cached before foreign keys were read have none.
    keys = tuple(_load_foreign_key(k) for k in fields.pop("foreign_keys", ()))
    checks = tuple(fields.pop("checks", ()))
    return SourceTable(**fields, columns=columns, indexes=indexes, foreign_keys=keys, checks=checks)


def _load_foreign_key(fields: dict[str, Any]) -> SourceForeignKey:
    columns, parents = tuple(fields.pop("columns")), tuple(fields.pop("parent_columns"))
    return SourceForeignKey(**fields, columns=columns, parent_columns=parents)


def _load_index(fields: dict[str, Any]) -> SourceIndex:
    lists: dict[str, Any] = {
        name: tuple(fields.pop(name, ())) for name in ("columns", "nocase", "descending", "rtrim")
    }
    return SourceIndex(**fields, **lists)
