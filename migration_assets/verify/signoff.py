"""The source's side of the sign-off: a cut's rows as PostgreSQL's binary COPY would send them.

Encoded by psycopg's own dumpers, none of the digest's code; numerics by the rules of the server's
`numeric_send`. Sorted outside of memory: sorted runs are written to a scratch folder and merged.
https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

import hashlib
import heapq
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from psycopg.types import bool as bools
from psycopg.types import datetime as moments
from psycopg.types import numeric as numbers
from psycopg.types import string as strings
from psycopg.types import uuid as uuids

from migration_assets.model import Cut, Kind, SourceTable, TableMapping, TargetRow
from migration_assets.source.reader import fitted_rows
from migration_assets.verify.digest import RowHasher

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_RUN_BYTES = 64 * 2**20  # of rows that are sorted in memory at once
_ROW_OVERHEAD = 200  # bytes that Python needs for a row beside its content
_MERGED = 128  # runs that are read at once: each keeps a file open

_Encode: TypeAlias = Callable[[Any], bytes]
_Keyed: TypeAlias = tuple[bytes, bytes]  # what a row is sorted by, and its tuple


def source_sha256(
    cut: Cut,
    table: SourceTable,
    mapping: TableMapping,
    *,
    scratch: Path,
    excepted: Collection[int] = (),
) -> tuple[str, int]:
    """Return the hash in hex, and the number of rows; memory doesn't grow with the table.

    Rows whose key hash is among `excepted` are left out, as on the target. `scratch` is an empty
    folder for what is sorted. A row that doesn't fit is in quarantine, so it isn't among them.
    """
    hasher, left_out = RowHasher(mapping), frozenset(excepted)
    rows = (
        fitted.values
        for _, fitted in fitted_rows(cut, table, mapping)
        if fitted.values is not None
        and not (left_out and hasher.key_hash(fitted.values) in left_out)
    )
    return rows_sha256(mapping, rows, scratch=scratch)


def rows_sha256(
    mapping: TableMapping, rows: Iterable[TargetRow], *, scratch: Path
) -> tuple[str, int]:
    """Return the hash of rows in any order, and their number."""
    digest = hashlib.sha256(_HEADER)
    counted = 0
    for _, encoded in _sorted(_keyed(mapping, rows), scratch):
        digest.update(encoded)
        counted += 1
    digest.update(_TRAILER)
    return digest.hexdigest(), counted


def _keyed(mapping: TableMapping, rows: Iterable[TargetRow]) -> Iterator[_Keyed]:
    encode = [_SEND[c.type.kind] for c in mapping.columns]
    places = mapping.key_positions or tuple(range(len(mapping.columns)))
    order = [(i, _ORDER[mapping.columns[i].type.kind]) for i in places]
    count_of = struct.pack(">h", len(mapping.columns))
    for values in rows:
        key = b"".join(
            b"\x02" if values[i] is None else b"\x01" + place(values[i]) for i, place in order
        )
        yield key, count_of + _fields(encode, values)


def _fields(encode: list[_Encode], values: TargetRow) -> bytes:
    parts: list[bytes] = []
    for send, value in zip(encode, values, strict=True):
        if value is None:
            parts.append(_NULL)
        else:
            body = send(value)
            parts += (struct.pack(">i", len(body)), body)
    return b"".join(parts)


# --------------------------------------------------------------------- a value as the server sends


def _by(dumper: Any) -> _Encode:  # noqa: ANN401 - psycopg's dumpers share no public base
    dump = dumper.dump
    return lambda value: bytes(dump(value))


def _numeric(value: Decimal) -> bytes:
    """Encode a numeric: groups of 4 decimal digits without leading or trailing groups of zeros.

    https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/numeric.c, numeric_send.
    """
    sign, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    whole = "".join(map(str, digits)) + "0" * max(0, int(exponent))
    whole = whole.rjust(scale + 1, "0")
    before, after = whole[: len(whole) - scale], whole[len(whole) - scale :]
    before = before.rjust(-(-len(before) // 4) * 4, "0")
    after = after.ljust(-(-len(after) // 4) * 4, "0")
    text = before + after
    groups = [int(text[i : i + 4]) for i in range(0, len(text), 4)]
    weight = len(before) // 4 - 1
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    while groups and groups[-1] == 0:
        groups.pop()
    if not groups:
        weight, sign = 0, 0
    head = struct.pack(">hhHh", len(groups), weight, 0x4000 if sign else 0, scale)
    return head + struct.pack(f">{len(groups)}h", *groups)


_SEND: dict[Kind, _Encode] = {
    Kind.BIGINT: _by(numbers.Int8BinaryDumper(int)),
    Kind.DOUBLE: _by(numbers.FloatBinaryDumper(float)),
    Kind.TEXT: _by(strings.StrBinaryDumper(str)),
    Kind.BYTEA: _by(strings.BytesBinaryDumper(bytes)),
    Kind.NUMERIC: _numeric,
    Kind.BOOLEAN: _by(bools.BoolBinaryDumper(bool)),
    Kind.DATE: _by(moments.DateBinaryDumper(date)),
    Kind.TIMESTAMP: _by(moments.DatetimeNoTzBinaryDumper(datetime)),
    Kind.TIMESTAMPTZ: _by(moments.DatetimeBinaryDumper(datetime)),
    Kind.TIME: _by(moments.TimeBinaryDumper(time)),
    Kind.JSON: _by(strings.StrBinaryDumper(str)),
    Kind.UUID: _by(uuids.UUIDBinaryDumper(UUID)),
}


# ------------------------------------------------------- a value as bytes that sort as it is sorted

_EPOCH = datetime(1, 1, 1)  # noqa: DTZ001 - the first moment there is; only the order matters


def _micros(value: datetime) -> bytes:
    since = value - _EPOCH
    whole = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return struct.pack(">Q", whole)


def _zoned(value: datetime) -> bytes:
    """Sort moments in UTC; the first and last day may lie outside of what Python can hold."""
    offset = value.utcoffset()
    since = value.replace(tzinfo=None) - _EPOCH
    if offset is not None:
        since -= offset
    whole = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return struct.pack(">Q", whole + 2**62)


_ORDER: dict[Kind, _Encode] = {
    Kind.BIGINT: lambda v: struct.pack(">Q", v + 2**63),
    Kind.DOUBLE: lambda v: struct.pack(">d", v),
    Kind.TEXT: lambda v: v.encode() + b"\x00",  # no text of the target holds that byte
    Kind.BYTEA: lambda v: v.replace(b"\x00", b"\x00\x01") + b"\x00\x00",
    Kind.NUMERIC: lambda v: format(v, "f").encode() + b"\x00",
    Kind.BOOLEAN: lambda v: b"\x01" if v else b"\x00",
    Kind.DATE: lambda v: struct.pack(">I", v.toordinal()),
    Kind.TIMESTAMP: _micros,
    Kind.TIMESTAMPTZ: _zoned,
    Kind.TIME: lambda v: _micros(datetime.combine(_EPOCH, v)),
    Kind.JSON: lambda v: v.encode() + b"\x00",
    Kind.UUID: lambda v: v.bytes,
}


# ---------------------------------------------------------------------------- sorting out of memory


def _sorted(rows: Iterable[_Keyed], scratch: Path) -> Iterator[_Keyed]:
    """Yield rows in the order of their keys; a few runs are read at once, whatever there is."""
    numbered = count()
    runs: list[Path] = []
    held: list[_Keyed] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row[0]) + len(row[1]) + _ROW_OVERHEAD
        if size >= _RUN_BYTES:
            runs.append(_write(sorted(held), scratch / f"run-{next(numbered)}"))
            held, size = [], 0
    held.sort()
    while len(runs) > _MERGED:
        merged = heapq.merge(*map(_read, runs[:_MERGED]))
        runs = [*runs[_MERGED:], _write(merged, scratch / f"run-{next(numbered)}")]
    yield from heapq.merge(held, *map(_read, runs))


def _write(rows: Iterable[_Keyed], path: Path) -> Path:
    with path.open("wb") as file:
        for key, encoded in rows:
            file.write(struct.pack(">II", len(key), len(encoded)))
            file.write(key)
            file.write(encoded)
    return path


def _read(path: Path) -> Iterator[_Keyed]:
    with path.open("rb") as file:
        while head := file.read(8):
            key, encoded = struct.unpack(">II", head)
            yield file.read(key), file.read(encoded)
