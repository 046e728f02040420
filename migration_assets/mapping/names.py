"""Names on the target: folded as unquoted SQL folds them, cut to what PostgreSQL keeps, unique."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from migration_assets.model import SourceIndex, SourceTable

# NAMEDATALEN - 1, in bytes: https://www.postgresql.org/docs/current/limits.html
MAX_BYTES = 63
_HASH_DIGITS = 8
# Every table has these already: https://www.postgresql.org/docs/current/ddl-system-columns.html
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_UPPER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_ASSET_NAME = re.compile(r"[A-Za-z0-9_]+")
# A table's deltas and lock are called so too, and file systems end names at 255 bytes.
_MAX_ASSET_NAME = 100
_LOOKS_HASHED = re.compile(rf".*_[0-9a-f]{{{_HASH_DIGITS}}}")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def fold(name: str) -> str:
    """Fold ASCII letters to lower case; a name over 63 bytes carries a hash of the whole name."""
    folded = name.translate(_UPPER) or "_"  # SQLite allows the empty name, PostgreSQL does not
    return folded if len(folded.encode()) <= MAX_BYTES else with_hash(folded, name)


def with_hash(folded: str, whole: str) -> str:
    """Return the name cut to make room for a hash of `whole`."""
    room = MAX_BYTES - _HASH_DIGITS - 1
    return folded.encode()[:room].decode(errors="ignore") + "_" + _hash(whole)


def unique_name(wanted: str, taken: Collection[str]) -> str:
    """Return the folded name, or one with a hash where that name is taken."""
    name = fold(wanted)
    salt = wanted
    while name in taken:
        name = with_hash(fold(wanted), salt)
        salt += "'"
    return name


def column_names(names: Collection[str]) -> dict[str, str]:
    """Return the target name of every source column, without collisions or system columns."""
    result: dict[str, str] = {}
    for name in names:
        result[name] = column_name(name, result.values())
    return result


def column_name(name: str, taken: Collection[str]) -> str:
    """Return the target name of one more column, beside those whose names are taken."""
    return unique_name(name + "_" if fold(name) in SYSTEM_COLUMNS else name, taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationNames:
    """What a table and its columns are called on the target; `columns` by the source's name."""

    table: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNames:
    """What a table and its indexes are called on the target; `indexes` by the source's name.

    `relations` are all tables of the source by name: those that foreign keys refer to.
    """

    table: str
    key: str
    indexes: Mapping[str, str]
    relations: Mapping[str, RelationNames] = field(default_factory=dict[str, RelationNames])


# The declared key, where another index serves as the target's key. No index can be called so:
# SQLite keeps names that start with sqlite_ for itself.
DECLARED_KEY = "sqlite_primary_key"


def allocate(
    tables: Sequence[SourceTable], targets: Mapping[str, str] | None = None
) -> dict[str, TableNames]:
    """Name all tables, keys and indexes of a source: PostgreSQL keeps them in one namespace.

    Tables come first, in the order given, so that no index takes a table's name. Indexes that
    aren't plain come last, so that they take no name that a plain one had before there were any.
    `targets` are names that the settings give, by table: they are taken as they stand.
    """
    given = {t.name: targets[t.name] for t in tables if t.name in targets} if targets else {}
    taken = set(given.values())

    def take(wanted: str) -> str:
        name = unique_name(wanted, taken)
        taken.add(name)
        return name

    table_names = {t.name: given.get(t.name) or take(t.name) for t in tables}
    result: dict[str, TableNames] = {}
    for table in tables:
        name = table_names[table.name]
        key = take(f"{name}_pkey")
        indexes = {
            index.name: take(f"{name}_{'_'.join(index.columns)}_{_suffix(index)}")
            for index in table.indexes
            if not index.reason
        }
        indexes[DECLARED_KEY] = take(f"{name}_{'_'.join(table.key)}_key")
        result[table.name] = TableNames(table=name, key=key, indexes=indexes)
    relations = {
        t.name: RelationNames(
            table=table_names[t.name], columns=column_names([c.name for c in t.columns])
        )
        for t in tables
    }
    for table in tables:
        found = result[table.name]
        special = {
            index.name: take("_".join((found.table, *(index.columns or ("expr",)), _suffix(index))))
            for index in table.indexes
            if index.reason
        }
        indexes = {**found.indexes, **special}
        result[table.name] = replace(found, indexes=indexes, relations=relations)
    return result


def _suffix(index: SourceIndex) -> str:
    return "key" if index.unique else "idx"


def asset_name(table: str) -> str:
    """Return a valid Dagster name for a table: its own where that is one, else readable and hashed.

    A plain name that ends like a hashed one is hashed too, so that no two tables ever share a key.
    """
    plain = _ASSET_NAME.fullmatch(table) and not _LOOKS_HASHED.fullmatch(table)
    if plain and len(table) <= _MAX_ASSET_NAME:
        return table
    readable = re.sub(r"[^A-Za-z0-9_]+", "_", table).strip("_")
    return f"{readable[:_MAX_ASSET_NAME]}_{_hash(table)}"
