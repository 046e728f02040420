"""Every row in which target and cut differ, not only those that are shown.

Only the buckets that differ are opened. The target's hashes lie in a database on disk while the cut
is read past them, so memory doesn't grow with the number of rows.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.findings import DifferingRow
from migration_assets.mapping.rows import RowFitter, key_text
from migration_assets.model import (
    BUCKETS,
    AcceptedRow,
    Cut,
    Digest,
    Misfit,
    RawRow,
    SourceTable,
    TableMapping,
    TargetRow,
)
from migration_assets.source.reader import fitted_rows
from migration_assets.source.scratch import scratch_database
from migration_assets.target.apply import key_as_text
from migration_assets.target.connection import Connection, streaming
from migration_assets.target.ddl import table_name
from migration_assets.verify import digest_sql
from migration_assets.verify.digest import RowHasher, differing_buckets

_FETCHED = 10_000  # hashes a round trip: 16 bytes each
_NOTE = "INSERT INTO target VALUES (?, ?, 1)"
_NOTE_COPY = f"{_NOTE} ON CONFLICT DO UPDATE SET copies = copies + 1"
_MATCHED = "UPDATE target SET copies = copies - 1 WHERE key_hash = ? AND row_hash = ? AND copies"
_OTHER = "SELECT row_hash FROM target WHERE key_hash = ? AND copies"
_TAKEN = "UPDATE target SET copies = copies - 1 WHERE key_hash = ? AND copies"


class Lacking(NamedTuple):
    """A row of the cut that the target lacks, or has otherwise: then under `target_hash`."""

    key: str
    key_hash: int
    row_hash: int
    values: TargetRow
    target_hash: int | None


class Extra(NamedTuple):
    """Rows of the target that the cut doesn't have; several copies only without a key."""

    key_hash: int
    row_hash: int
    copies: int


class Differing:
    """The differing rows of one table, found in two halves: the target's, then the cut's.

    `read_target` belongs into the transaction whose digest (`actual`) was compared with `wanted`;
    `lacking` reads the cut, and only after it `extras` says what is left over.
    """

    def __init__(self, mapping: TableMapping, file: Path) -> None:
        self._mapping = mapping
        self._scratch = scratch_database(file)
        self._scratch.execute(
            "CREATE TABLE target (key_hash INTEGER, row_hash INTEGER, copies INTEGER NOT NULL,"
            f" PRIMARY KEY (key_hash{'' if mapping.key else ', row_hash'})) WITHOUT ROWID"
        )
        self._buckets: frozenset[int] = frozenset()
        self._left_out: frozenset[int] = frozenset()

    def __enter__(self) -> Self:
        """Lend it; the database on disk is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the database on disk."""
        self._scratch.close()

    def read_target(
        self,
        connection: Connection,
        *,
        wanted: Digest,
        actual: Digest,
        accepted: Sequence[AcceptedRow] = (),
    ) -> None:
        """Note the hashes of the target's rows in the buckets that differ, but of those accepted.

        Raises `TargetError` where two rows have the same key.
        """
        self._buckets = frozenset(differing_buckets(wanted, actual))
        self._left_out = frozenset(row.key_hash for row in accepted)
        self._scratch.execute("BEGIN")
        if self._buckets:
            with streaming(connection, "differing") as cursor:
                cursor.itersize = _FETCHED
                cursor.execute(_hashes(self._mapping, self._buckets))
                for key_hash, row_hash in cursor:
                    if key_hash not in self._left_out:
                        self._note(key_hash, row_hash)
        self._scratch.execute("COMMIT")

    def _note(self, key_hash: object, row_hash: object) -> None:
        statement = _NOTE if self._mapping.key else _NOTE_COPY
        try:
            self._scratch.execute(statement, (key_hash, row_hash))
        except sqlite3.IntegrityError:
            raise TargetError(
                what="two rows on the target have the same key",
                where=f"table {self._mapping.table}",
                expected="the primary key that the first load made",
                hint="delete the copies on the target; `migration-assets verify` has the statement"
                " that makes the key anew",
            ) from None

    def lacking(
        self, cut: Cut, table: SourceTable, *, unfit: bool = False
    ) -> Iterator[Lacking | Misfit]:
        """Yield the cut's rows that the target lacks or has otherwise; `unfit` rows where asked.

        Reads the cut whole.
        """
        hasher, fit = RowHasher(self._mapping), RowFitter(self._mapping)
        for row, (values, misfits) in fitted_rows(cut, table, self._mapping):
            if values is None:
                if unfit:
                    yield fit.misfit(row, misfits, entering=True)
            elif found := self._lacking(hasher, row, values):
                yield found

    def _lacking(self, hasher: RowHasher, row: RawRow, values: TargetRow) -> Lacking | None:
        key_hash = hasher.key_hash(values)
        if key_hash % BUCKETS not in self._buckets or key_hash in self._left_out:
            return None
        row_hash = hasher.row_hash(values)
        if self._scratch.execute(_MATCHED, (key_hash, row_hash)).rowcount:
            return None
        key = key_text(self._mapping, row) or f"row with hash {row_hash:+d}"
        other = self._scratch.execute(_OTHER, (key_hash,)).fetchone()
        if other is not None:
            self._scratch.execute(_TAKEN, (key_hash,))
        return Lacking(key, key_hash, row_hash, values, other[0] if other else None)

    def extras(self) -> Iterator[Extra]:
        """Yield the target's rows that no row of the cut stands for."""
        rows = self._scratch.execute("SELECT key_hash, row_hash, copies FROM target WHERE copies")
        with closing(rows):
            for row in rows:
                yield Extra(*row)

    @property
    def extra_rows(self) -> int:
        """Rows of the target that no row of the cut stands for."""
        row = self._scratch.execute("SELECT coalesce(sum(copies), 0) FROM target").fetchone()
        return int(row[0])


def _hashes(mapping: TableMapping, buckets: Collection[int]) -> sql.Composed:
    return sql.SQL(
        "SELECT k, h FROM (SELECT {} AS k, {} AS h FROM {} AS t) AS hashed"
        " WHERE ((k % {n}) + {n}) % {n} IN ({})"
    ).format(
        digest_sql.key_hash(mapping, "t"),
        digest_sql.row_hash(mapping, "t"),
        table_name(mapping),
        sql.SQL(", ").join([sql.Literal(b) for b in sorted(buckets)]),
        n=sql.Literal(BUCKETS),
    )


def describe(
    connection: Connection,
    mapping: TableMapping,
    lacking: Sequence[Lacking],
    extras: Sequence[Extra],
) -> tuple[DifferingRow, ...]:
    """Name differing rows for people: keys, and the columns in which both sides have other values.

    Held in memory. The target is read once more, as it stands by now.
    """
    if not mapping.key:
        return tuple(
            DifferingRow(
                key=f"row with hash {row_hash:+d}",
                key_hash=row_hash,
                source_hash=None if extra else row_hash,
                target_hash=row_hash if extra else None,
            )
            for row_hash, extra in (
                *((row.row_hash, False) for row in lacking),
                *((row.row_hash, True) for row in extras for _ in range(row.copies)),
            )
        )
    names = [c.name for c in mapping.columns]
    there = _cells(connection, mapping, [row.key_hash for row in (*lacking, *extras)])
    hasher = RowHasher(mapping)
    found: list[DifferingRow] = []
    for row in lacking:
        cells = there[row.key_hash].cells if row.target_hash is not None else ()
        pairs = zip(names, hasher.cell_hashes(row.values), cells, strict=False)
        found.append(
            DifferingRow(
                key=row.key,
                key_hash=row.key_hash,
                source_hash=row.row_hash,
                target_hash=row.target_hash,
                columns=tuple(name for name, ours, theirs in pairs if ours != theirs),
            )
        )
    found += [
        DifferingRow(
            key=there[row.key_hash].key,
            key_hash=row.key_hash,
            source_hash=None,
            target_hash=row.row_hash,
        )
        for row in extras
    ]
    return tuple(sorted(found, key=lambda row: row.key))


class _Cells(NamedTuple):
    """A row of the target: its key for people, and its cells' hashes."""

    key: str
    cells: tuple[int, ...]


_NOT_THERE = _Cells("a row that is gone by now", ())


def _cells(
    connection: Connection, mapping: TableMapping, key_hashes: Sequence[int]
) -> defaultdict[int, _Cells]:
    found: defaultdict[int, _Cells] = defaultdict(lambda: _NOT_THERE)
    query = sql.SQL("SELECT {}, {}, {} FROM {} AS t WHERE {} = ANY ({}::pg_catalog.int8[])").format(
        digest_sql.key_hash(mapping, "t"),
        key_as_text(mapping, "t"),
        sql.SQL(", ").join([digest_sql.cell_hash(mapping, c, "t") for c in mapping.columns]),
        table_name(mapping),
        digest_sql.key_hash(mapping, "t"),
        sql.Literal(f"{{{','.join(map(str, key_hashes))}}}"),
    )
    for key_hash, key, *cells in cast("Any", connection.execute(query)):
        found[key_hash] = _Cells(key, tuple(cells))
    return found
