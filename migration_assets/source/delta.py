"""Compare two cuts of a table by SQL: the reference method.

Rows are joined by key as storage class and BINARY bytes, and their values compared to the last
byte (`conditions`). A changed key is a delete and an insert. Where there is no key, copies of rows
come and go (`multiset`), and nothing is updated. Cuts of different encodings are read apart
(`recoded`). What a row means for the target depends on whether it fits the mapping in either cut: a
row that stops fitting is a delete that enters quarantine.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from migration_assets.errors import SourceError
from migration_assets.mapping.rows import FittedRow, RowFitter
from migration_assets.mapping.transform import fitter_of
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
from migration_assets.source.conditions import differs, prepare
from migration_assets.source.connection import open_cut, quote, translated
from migration_assets.source.multiset import changed_copies
from migration_assets.source.reader import RESULT_COLUMNS, RowReader, encoding_in, fitted_rows
from migration_assets.source.recoded import changed_rows
from migration_assets.source.unique import require_unique_key
from migration_assets.verify.digest import RowHasher

Step: TypeAlias = Change | Misfit
_Pair: TypeAlias = tuple[RawRow | None, RawRow | None]  # of the older and the newer cut
_Fitted: TypeAlias = tuple[RawRow, FittedRow] | None


def everything(cut: Cut, table: SourceTable, mapping: TableMapping) -> Iterator[Step]:
    """Yield every row of a cut: an insert if it fits, a misfit if not."""
    require_unique_key(cut, table, mapping)
    fit = RowFitter(mapping)
    for found in fitted_rows(cut, table, mapping):
        yield _appears(fit, found)


def changes(
    older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping, *, scratch: Path
) -> Iterator[Step]:
    """Yield what changed between two cuts of a table: deletes first.

    `scratch` is an empty folder; what a comparison has to count lies there.
    """
    if mapping.key:
        require_unique_key(newer, table, mapping)
        compare = _compared if encoding_in(older) == encoding_in(newer) else changed_rows
    else:
        compare = changed_copies
    fit = fitter_of(mapping, f"table {table.name}, week {newer.week}")
    hasher = RowHasher(mapping)
    pairs = compare(older, newer, table, mapping, scratch=scratch)
    for old, new in _fitted(fit, pairs):
        yield from _becomes(fit, hasher, old, new)


def _fitted(fit: RowFitter, pairs: Iterable[_Pair]) -> Iterator[tuple[_Fitted, _Fitted]]:
    """Fit both rows of each pair, in one stream: a fitter may take many rows at once."""
    waiting: deque[_Pair] = deque()

    def flat() -> Iterator[RawRow]:
        for pair in pairs:
            waiting.append(pair)
            yield from (row for row in pair if row is not None)

    found = fit.all(flat())
    for first in found:
        old, new = waiting.popleft()
        yield (
            None if old is None else first,
            None if new is None else first if old is None else next(found),
        )


def _compared(
    older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping, *, scratch: Path
) -> Iterator[_Pair]:
    """Let SQLite compare the rows of each key; nothing of it is counted in `scratch`."""
    del scratch
    with (
        open_cut(newer, other=older) as connection,
        translated(f"cuts {older.id} and {newer.id}, table {table.name}"),
    ):
        prepare(connection)
        reader = RowReader(connection, table, mapping.casts)
        for row in reader.read(_vanished_sql(table, mapping, reader)):
            yield row, None
        for new, old in _changed(connection, table, mapping, reader):
            yield old, new


def _changed(
    connection: sqlite3.Connection, table: SourceTable, mapping: TableMapping, reader: RowReader
) -> Iterator[tuple[RawRow, RawRow | None]]:
    """Yield the rows that are new or changed, with the older row of the same key, if any."""
    width = reader.width
    first = mapping.key_positions[0]
    if 2 * width > RESULT_COLUMNS:
        yield from _changed_apart(table, mapping, reader)
        return
    for result in connection.execute(_changed_sql(table, mapping, reader, "n", "o")):
        new, old = reader.row(result[:width]), reader.row(result[width:])
        yield new, None if old[first] is None else old  # NULL matches no key


def _changed_apart(
    table: SourceTable, mapping: TableMapping, reader: RowReader
) -> Iterator[tuple[RawRow, RawRow | None]]:
    """Read both sides by two queries that differ only in what they select, where one can't."""
    order = " ORDER BY " + ", ".join(f"n.{quote(name)}" for name in mapping.key)
    news = reader.read(_changed_sql(table, mapping, reader, "n") + order)
    olds = reader.read(_changed_sql(table, mapping, reader, "o") + order)
    for new, old in zip(news, olds, strict=True):
        if old[mapping.key_positions[0]] is None:
            yield new, None
        elif any(old[i] != new[i] for i in mapping.key_positions):
            raise SourceError(
                what="the two halves of a wide row don't belong together",
                where=f"table {table.name}",
                expected="the same rows in the same order from two immutable cuts",
                hint="keep both cuts and report it",
            )
        else:
            yield new, old


def _becomes(fit: RowFitter, hasher: RowHasher, old: _Fitted, new: _Fitted) -> Iterator[Step]:
    """Yield what became of one row, for target and quarantine; None where its cut has none."""
    if old is None and new is not None:
        yield _appears(fit, new)
    elif old is not None and new is None:
        yield _vanishes(fit, hasher, old)
    elif old is not None and new is not None:
        yield from _changes(fit, hasher, old, new)


def _appears(fit: RowFitter, found: tuple[RawRow, FittedRow]) -> Step:
    row, (values, misfits) = found
    if values is None:
        return fit.misfit(row, misfits, entering=True)
    return Change(op=Op.INSERT, old_hash=None, values=values)


def _vanishes(fit: RowFitter, hasher: RowHasher, found: tuple[RawRow, FittedRow]) -> Step:
    row, (values, misfits) = found
    if values is None:
        return fit.misfit(row, misfits, entering=False)
    return _delete(hasher, values)


def _changes(
    fit: RowFitter,
    hasher: RowHasher,
    old: tuple[RawRow, FittedRow],
    new: tuple[RawRow, FittedRow],
) -> Iterator[Step]:
    """Yield what one row with the same key in both cuts means."""
    before, after = old[1].values, new[1].values
    if before is not None and after is not None:
        yield Change(op=Op.UPDATE, old_hash=hasher.row_hash(before), values=after)
    else:
        yield _vanishes(fit, hasher, old)
        yield _appears(fit, new)


def _delete(hasher: RowHasher, values: TargetRow) -> Change:
    """Return a delete; it carries the key alone, or the whole row where there is no key."""
    keep = set(hasher.key_positions or range(len(values)))
    known: tuple[TargetValue, ...] = tuple(v if i in keep else None for i, v in enumerate(values))
    return Change(op=Op.DELETE, old_hash=hasher.row_hash(values), values=known)


def _same_key(mapping: TableMapping) -> str:
    """Return the condition that rows `n` and `o` have the same key.

    The comparison under the column's own collation lets its index serve; BINARY and storage class
    decide.
    """
    return " AND ".join(
        f"o.{c} = n.{c} AND o.{c} = n.{c} COLLATE BINARY AND typeof(o.{c}) = typeof(n.{c})"
        for c in map(quote, mapping.key)
    )


def _changed_sql(table: SourceTable, mapping: TableMapping, reader: RowReader, *sides: str) -> str:
    name = quote(table.name)
    selected = ", ".join(reader.columns(side) for side in sides)
    return (
        f"SELECT {selected}"
        f" FROM main.{name} AS n LEFT JOIN older.{name} AS o ON {_same_key(mapping)}"
        f" WHERE o.{quote(mapping.key[0])} IS NULL OR {differs(table)}"
    )


def _vanished_sql(table: SourceTable, mapping: TableMapping, reader: RowReader) -> str:
    name = quote(table.name)
    return (
        f"SELECT {reader.columns('o')} FROM older.{name} AS o WHERE NOT EXISTS"
        f" (SELECT 1 FROM main.{name} AS n WHERE {_same_key(mapping)})"
    )
