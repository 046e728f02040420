"""Read a cut: its catalog, and a table's rows, every value with its exact class and bytes."""

import codecs
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

from migration_assets.errors import SourceError
from migration_assets.mapping.names import TableNames, allocate
from migration_assets.mapping.objects import refused_default, refused_generated, without
from migration_assets.mapping.rows import FittedRow
from migration_assets.mapping.transform import fitter_of, with_outputs
from migration_assets.mapping.values import storage_class
from migration_assets.model import (
    Catalog,
    Cut,
    RawRow,
    SourceTable,
    SqliteValue,
    TableMapping,
    UndecodableText,
)
from migration_assets.source.catalog import read_catalog
from migration_assets.source.connection import encoding_of, open_cut, quote, translated

# A step asks about one cut, or two; with 300 tables each is asked 300 times. Cuts never change, so
# what was read of one stays true; a damaged file is noticed by `cut.check`, whoever reads it.
_REMEMBERED_CUTS = 4
LAST_KEY = 2**63 - 1
# SQLITE_MAX_COLUMN of every distribution's build: what one result may hold
RESULT_COLUMNS = 2000

# Where SQLite converts UTF-16 to UTF-8, a lone surrogate becomes U+FFFD without a word. So text of
# such a database is read as its own bytes, beside marks that tell it from a blob.
_DECODERS = {"UTF-16le": codecs.utf_16_le_decode, "UTF-16be": codecs.utf_16_be_decode}
_MARKS = 60  # columns whose marks are bits of one integer; SQLite's have 64, with a sign
_REMEMBERED_MARKS = 1024
_QUOTES = frozenset('"`')  # doubled inside a quoted name, so a name with one is spelled otherwise


class RowReader:
    """Read whole rows of a table from an open cut: what to select, and how to decode it.

    The values of `casts` follow a row's own. `width` is the number of results that make a row.
    """

    def __init__(
        self, connection: sqlite3.Connection, table: SourceTable, casts: Sequence[str] = ()
    ) -> None:
        self._connection = connection
        self._table = table
        self._casts = casts
        self._encoding = encoding_of(connection)
        self._decode = _DECODERS.get(self._encoding)  # None: what SQLite gives is exact
        self._count = len(table.columns) + len(casts)
        self.width = self._count + (-(-self._count // _MARKS) if self._decode else 0)

    def columns(self, alias: str) -> str:
        """Return what to select as SQL; `alias` stands for the table."""
        cells = [f"{alias}.{quote(c.name)}" for c in self._table.columns]
        cells += [_cast(cast, self._table, alias) for cast in self._casts]
        if self._decode is None:
            return ", ".join(cells)
        texts = [f"CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END" for c in cells]
        parts = [cells[i : i + _MARKS] for i in range(0, len(cells), _MARKS)]
        return ", ".join([*texts, *map(_marks, parts)])

    def read(self, query: str, parameters: Sequence[SqliteValue] = ()) -> Iterator[RawRow]:
        """Return the rows of a query that selects `columns` once."""
        results = self._connection.execute(query, parameters)
        return results if self._decode is None else map(self.row, results)

    def row(self, result: RawRow) -> RawRow:
        """Return the row that `columns` selected."""
        decode = self._decode
        if decode is None:
            return result
        values = list(result[: self._count])
        for place in _marked(result[self._count :]):
            raw = cast("bytes", values[place])
            try:
                values[place] = decode(raw, "strict", True)[0]  # noqa: FBT003 - as codecs has it
            except UnicodeDecodeError:
                values[place] = UndecodableText(raw, self._encoding)
        return tuple(values)


def room_for_casts(table: SourceTable) -> int:
    """Return how many casts one result holds beside the table's columns, whatever its encoding."""
    return RESULT_COLUMNS * _MARKS // (_MARKS + 1) - len(table.columns)


def _cast(expression: str, table: SourceTable, alias: str) -> str:
    """Return a cast as a scalar over the row known as `alias`, whatever else the query names.

    Its bare names find the columns of the inner query first: those that it can mean. A comment may
    end it, so what closes it stands on a line of its own.
    """
    text = expression.casefold()
    named = [c.name for c in table.columns if c.name.casefold() in text or _QUOTES & set(c.name)]
    columns = ", ".join(f"{alias}.{quote(name)} AS {quote(name)}" for name in named)
    return f"(SELECT ({expression}\n){f' FROM (SELECT {columns})' if columns else ''})"


def _marks(cells: Sequence[str]) -> str:
    return " | ".join(f"((typeof({cell}) = 'text') << {bit})" for bit, cell in enumerate(cells))


@lru_cache(maxsize=_REMEMBERED_MARKS)
def _marked(marks: RawRow) -> tuple[int, ...]:
    """Return the places of the columns that are marked as text."""
    return tuple(
        part * _MARKS + bit
        for part, bits in enumerate(cast("tuple[int, ...]", marks))
        for bit in range(_MARKS)
        if bits >> bit & 1
    )


def rows(cut: Cut, table: SourceTable, casts: Sequence[str] = ()) -> Iterator[RawRow]:
    """Yield every row of the table, columns in catalog order, then the values of `casts`."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        reader = RowReader(connection, table, casts)
        yield from reader.read(f"SELECT {reader.columns('t')} FROM main.{quote(table.name)} AS t")


@lru_cache(maxsize=_REMEMBERED_CUTS)
def encoding_in(cut: Cut) -> str:
    """Return the encoding of a cut's text: UTF-8, UTF-16le or UTF-16be."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}"):
        return encoding_of(connection)


@lru_cache(maxsize=_REMEMBERED_CUTS)
def catalog_in(cut: Cut) -> Catalog:
    """Return the catalog of a cut: all its tables, whatever the settings leave out."""
    with open_cut(cut) as connection, translated(f"cut {cut.id}"):
        return read_catalog(connection, cut.source)


def names_in(cut: Cut, targets: Mapping[str, str] | None = None) -> Mapping[str, TableNames]:
    """Return what every table of a cut is called on the target: they share one namespace.

    `targets` are the names that the settings give.
    """
    return _names_in(cut, frozenset((targets or {}).items()))


@lru_cache(maxsize=_REMEMBERED_CUTS)
def _names_in(cut: Cut, targets: frozenset[tuple[str, str]]) -> Mapping[str, TableNames]:
    return allocate(catalog_in(cut).tables, dict(targets))


def cast_rows(cut: Cut, table: SourceTable, casts: Mapping[str, str]) -> Iterator[RawRow]:
    """Yield every row of the table with the value of a cast in place of its column's own."""
    places = [i for i, column in enumerate(table.columns) if column.name in casts]
    width = len(table.columns)
    for row in rows(cut, table, [casts[table.columns[i].name] for i in places]):
        values = list(row[:width])
        for place, value in zip(places, row[width:], strict=True):
            values[place] = value
        yield tuple(values)


def fitted_rows(
    cut: Cut, table: SourceTable, mapping: TableMapping
) -> Iterator[tuple[RawRow, FittedRow]]:
    """Yield every row of the table, and what it is on the target."""
    fit = fitter_of(mapping, f"table {table.name}, week {cut.week}")
    yield from fit.all(rows(cut, table, mapping.casts))


def with_transform(cut: Cut, table: SourceTable, mapping: TableMapping) -> TableMapping:
    """Return a mapping by the census with the types that its transform, if any, makes of them."""
    if not mapping.transform:
        return mapping
    where = f"table {table.name}, week {cut.week}"
    # They speak of the source's values, and what stands on the target are others.
    problem = "rows go through a transform"
    refused = [refused_default(c, table, problem) for c in mapping.columns if c.default]
    refused += [refused_generated(c, table, problem) for c in mapping.columns if c.generated]
    plain = without(mapping, refused) if refused else mapping
    return with_outputs(plain, rows(cut, table, mapping.casts), where)


def row_by_key(
    connection: sqlite3.Connection,
    table: SourceTable,
    key: Mapping[str, SqliteValue],
    casts: Sequence[str] = (),
) -> RawRow | None:
    """Return the row of the open cut with that key, as storage class and bytes; None if none has.

    The values of `casts` follow its own. The comparison under the column's own collation lets its
    index serve; BINARY decides.
    """
    conditions = [
        f"t.{c} = ?{i} AND t.{c} = ?{i} COLLATE BINARY AND typeof(t.{c}) = ?{i + 1}"
        for i, c in zip(range(1, 2 * len(key), 2), map(quote, key), strict=True)
    ]
    reader = RowReader(connection, table, casts)
    found = reader.read(
        f"SELECT {reader.columns('t')} FROM main.{quote(table.name)} AS t"
        f" WHERE {' AND '.join(conditions)}",
        [part for value in key.values() for part in (value, storage_class(value))],
    )
    return next(found, None)


def row_exists(
    connection: sqlite3.Connection, table: str, values: Mapping[str, SqliteValue]
) -> bool:
    """Tell whether the open cut has a row that SQLite takes for equal in these columns."""
    conditions = " AND ".join(f"{quote(name)} = ?" for name in values)
    row = connection.execute(
        f"SELECT 1 FROM main.{quote(table)} WHERE {conditions} LIMIT 1", tuple(values.values())
    ).fetchone()
    return row is not None


def next_key(cut: Cut, table: SourceTable, column: str) -> int:
    """Return the key that the source would give to the next row of a table with a rowid.

    With AUTOINCREMENT it is beyond every key there ever was (https://sqlite.org/autoinc.html).
    Sequences begin at 1 and end at the last key there is: beyond it SQLite looks for a free one at
    random or gives up, and the target refuses the duplicate.
    """
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        query = f"SELECT max({quote(column)}) FROM main.{quote(table.name)}"
        (last,) = connection.execute(query).fetchone()
        given = None
        if table.autoincrement:
            given = connection.execute(
                "SELECT max(seq) FROM main.sqlite_sequence WHERE name = ?", (table.name,)
            ).fetchone()[0]
    return min(max(last or 0, given or 0, 0) + 1, LAST_KEY)


def orphans(cut: Cut, table: SourceTable) -> list[int] | None:
    """Count the rows without their parent, by foreign key; None where SQLite can't check them.

    It can't where a key's columns are no unique key of the parent.
    """
    counts = [0] * len(table.foreign_keys)
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        try:
            found = connection.execute(f"PRAGMA foreign_key_check({quote(table.name)})")
            for _, _, _, number in found:
                counts[number] += 1
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
                raise
            return None
    return counts


def table_in(cut: Cut, name: str) -> SourceTable:
    """Return the table as it stands in a cut.

    Raises `SourceError` where the cut has no such table.
    """
    table = catalog_in(cut).table(name)
    if table is None:
        raise SourceError(
            what="the table is not in this cut",
            where=f"table {name}, week {cut.week}",
            expected="a table that the source had when the cut was taken",
            hint="the application dropped or renamed it: restore it, or add it to `exclude` in"
            " migration.yaml; what was loaded stays on the target",
        )
    return table
