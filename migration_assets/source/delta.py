"""Compare two cuts of a table by SQL: the reference method.

Rows are joined by key as storage class and BINARY bytes; values are compared by `IS NOT`, by
storage class, and zeros by sign, since SQLite takes 1 and 1.0, NOCASE twins, and 0.0 and -0.0 for
equal. A changed key is a delete and an insert. What a row means for the target depends on whether
it fits the mapping in either cut: a row that stops fitting is a delete that enters quarantine.
"""

import math
import sqlite3
from collections.abc import Iterator
from typing import TypeAlias

from migration_assets.errors import UnsupportedError
from migration_assets.mapping.rows import RowFitter
from migration_assets.model import (
    Change,
    Cut,
    Misfit,
    Op,
    RawRow,
    SourceTable,
    TableMapping,
    TargetRow,
    TargetValue,
)
from migration_assets.source.connection import open_cut, quote, translated
from migration_assets.source.reader import column_list, rows
from migration_assets.verify.digest import RowHasher

Step: TypeAlias = Change | Misfit

# SQLITE_MAX_COLUMN of every distribution's build; a result holds both rows and a marker
_RESULT_COLUMNS = 2000


def everything(cut: Cut, table: SourceTable, mapping: TableMapping) -> Iterator[Step]:
    """Yield every row of a cut: an insert if it fits, a misfit if not."""
    fit = RowFitter(mapping)
    for row in rows(cut, table):
        yield from _appears(fit, row)


def changes(older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping) -> Iterator[Step]:
    """Yield what changed between two cuts of a table with a key: deletes first."""
    if 2 * len(table.columns) + 1 > _RESULT_COLUMNS:
        raise UnsupportedError(
            what=f"{len(table.columns)} columns",
            where=f"table {table.name}",
            expected=f"at most {(_RESULT_COLUMNS - 1) // 2} in a table that is compared by SQL",
            hint="leave the table out with `exclude`",
        )
    fit, hasher = RowFitter(mapping), RowHasher(mapping)
    with (
        open_cut(newer, other=older) as connection,
        translated(f"cuts {older.id} and {newer.id}, table {table.name}"),
    ):
        connection.create_function("sign_of_zero", 1, _sign_of_zero, deterministic=True)
        for row in connection.execute(_vanished_sql(table, mapping)):
            yield from _vanishes(fit, hasher, row)
        yield from _changed(connection, table, mapping, fit, hasher)


def _changed(
    connection: sqlite3.Connection,
    table: SourceTable,
    mapping: TableMapping,
    fit: RowFitter,
    hasher: RowHasher,
) -> Iterator[Step]:
    width = len(table.columns)
    for row in connection.execute(_changed_sql(table, mapping)):
        new, old, was_there = row[:width], row[width:-1], bool(row[-1])
        if was_there:
            yield from _changes(fit, hasher, old, new)
        else:
            yield from _appears(fit, new)


def _appears(fit: RowFitter, row: RawRow) -> Iterator[Step]:
    values, misfits = fit(row)
    if values is None:
        yield fit.misfit(row, misfits, entering=True)
    else:
        yield Change(op=Op.INSERT, old_hash=None, values=values)


def _vanishes(fit: RowFitter, hasher: RowHasher, row: RawRow) -> Iterator[Step]:
    values, misfits = fit(row)
    if values is None:
        yield fit.misfit(row, misfits, entering=False)
    else:
        yield _delete(hasher, values)


def _changes(fit: RowFitter, hasher: RowHasher, old: RawRow, new: RawRow) -> Iterator[Step]:
    """Yield what one row with the same key in both cuts means for target and quarantine."""
    before, misfits_before = fit(old)
    after, misfits_after = fit(new)
    if before is None:
        yield fit.misfit(old, misfits_before, entering=False)
    if after is None:
        if before is not None:
            yield _delete(hasher, before)
        yield fit.misfit(new, misfits_after, entering=True)
    elif before is None:
        yield Change(op=Op.INSERT, old_hash=None, values=after)
    else:
        yield Change(op=Op.UPDATE, old_hash=hasher.row_hash(before), values=after)


def _delete(hasher: RowHasher, values: TargetRow) -> Change:
    """Return a delete; it carries the key alone."""
    keep = set(hasher.key_positions)
    key_only: tuple[TargetValue, ...] = tuple(
        v if i in keep else None for i, v in enumerate(values)
    )
    return Change(op=Op.DELETE, old_hash=hasher.row_hash(values), values=key_only)


def _sign_of_zero(value: float) -> float:
    return math.copysign(1.0, value)


def _same_key(mapping: TableMapping) -> str:
    """Return the condition that rows `n` and `o` have the same key.

    The comparison under the column's own collation lets its index serve; BINARY and storage class
    decide.
    """
    return " AND ".join(
        f"o.{c} = n.{c} AND o.{c} = n.{c} COLLATE BINARY AND typeof(o.{c}) = typeof(n.{c})"
        for c in map(quote, mapping.key)
    )


def _differs(column: str) -> str:
    c = quote(column)
    return (
        f"n.{c} COLLATE BINARY IS NOT o.{c} OR typeof(n.{c}) <> typeof(o.{c})"
        f" OR (typeof(n.{c}) = 'real' AND n.{c} = 0"
        f" AND sign_of_zero(n.{c}) <> sign_of_zero(o.{c}))"
    )


def _any(conditions: list[str]) -> str:
    """Join by OR as a balanced tree: SQLite allows expressions 1,000 levels deep, no more."""
    if len(conditions) == 1:
        return f"({conditions[0]})"
    half = len(conditions) // 2
    return f"({_any(conditions[:half])} OR {_any(conditions[half:])})"


def _changed_sql(table: SourceTable, mapping: TableMapping) -> str:
    name = quote(table.name)
    present = f"o.{quote(mapping.key[0])} IS NOT NULL"
    differs = _any([_differs(c.name) for c in table.columns])
    return (
        f"SELECT {column_list(table, 'n')}, {column_list(table, 'o')}, {present}"
        f" FROM main.{name} AS n LEFT JOIN older.{name} AS o ON {_same_key(mapping)}"
        f" WHERE NOT {present} OR {differs}"
    )


def _vanished_sql(table: SourceTable, mapping: TableMapping) -> str:
    name = quote(table.name)
    return (
        f"SELECT {column_list(table, 'o')} FROM older.{name} AS o WHERE NOT EXISTS"
        f" (SELECT 1 FROM main.{name} AS n WHERE {_same_key(mapping)})"
    )
