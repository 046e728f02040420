"""The digest: an order-independent sum of row hashes, the same definition on both sides.

Algorithm `sha256/1`. A value's canonical bytes are PostgreSQL's own binary send format of its
type; text, json and numeric are their UTF-8 text. A row's encoding is, column by column, 0x00 for
NULL or 0x01, the length in 4 bytes and the canonical bytes: injective, so NULL and '' differ, and
so do 0.0 and -0.0 or 1.5 and 1.50. Its hash is the first 8 bytes of the encoding's sha256, signed,
and covers the key, so two rows that swap values show. A digest holds count and exact sum of these
hashes per bucket of key hashes; sums are additive, which is how foreign writes are told from wrong
loads. A cell's hash is seeded with its row's key hash; it is used when a differing row is opened.
Nothing here does I/O; `digest_sql` spells the same definition for the server.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import cast
from uuid import UUID

from migration_assets.model import (
    BUCKETS,
    Digest,
    Kind,
    TableMapping,
    TargetRow,
    TargetValue,
)

ALGORITHM = "sha256/1"
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - PostgreSQL's epoch of timestamps without a zone
_EPOCH_DAY = _EPOCH.date().toordinal()
_NULL = b"\x00"


def _bigint(value: TargetValue) -> bytes:
    return struct.pack(">q", value)


def _double(value: TargetValue) -> bytes:
    return struct.pack(">d", value)


def _text(value: TargetValue) -> bytes:
    return cast("str", value).encode()


def _bytea(value: TargetValue) -> bytes:
    return cast("bytes", value)


def _numeric(value: TargetValue) -> bytes:
    return format(cast("Decimal", value), "f").encode()


def _boolean(value: TargetValue) -> bytes:
    return b"\x01" if value else b"\x00"


def _date(value: TargetValue) -> bytes:
    return struct.pack(">i", cast("date", value).toordinal() - _EPOCH_DAY)


def _timestamp(value: TargetValue) -> bytes:
    since = cast("datetime", value) - _EPOCH
    return struct.pack(">q", (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)


def _timestamptz(value: TargetValue) -> bytes:
    return _timestamp(cast("datetime", value).astimezone(UTC).replace(tzinfo=None))


def _time(value: TargetValue) -> bytes:
    moment = datetime.combine(_EPOCH, cast("time", value))
    return _timestamp(moment)


def _uuid(value: TargetValue) -> bytes:
    return cast("UUID", value).bytes


_CANONICAL: dict[Kind, Callable[[TargetValue], bytes]] = {
    Kind.BIGINT: _bigint,
    Kind.DOUBLE: _double,
    Kind.TEXT: _text,
    Kind.BYTEA: _bytea,
    Kind.NUMERIC: _numeric,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamptz,
    Kind.TIME: _time,
    Kind.JSON: _text,
    Kind.UUID: _uuid,
}


def hash64(encoding: bytes) -> int:
    """Return the first 8 bytes of the sha256, as a signed 64-bit integer."""
    return int.from_bytes(hashlib.sha256(encoding).digest()[:8], "big", signed=True)


class RowHasher:
    """Hash target rows of one mapping."""

    def __init__(self, mapping: TableMapping) -> None:
        self._canonical = [_CANONICAL[c.type.kind] for c in mapping.columns]
        self._names = [c.target.encode() for c in mapping.columns]
        self.key_positions = mapping.key_positions

    def _encode(self, position: int, value: TargetValue) -> bytes:
        if value is None:
            return _NULL
        body = self._canonical[position](value)
        return b"\x01" + len(body).to_bytes(4, "big") + body

    def row_hash(self, row: TargetRow) -> int:
        """Return the hash of the whole row."""
        return hash64(b"".join(self._encode(i, v) for i, v in enumerate(row)))

    def key_hash(self, row: TargetRow) -> int:
        """Return the hash of the row's key; of the whole row where the table has no key."""
        if not self.key_positions:
            return self.row_hash(row)
        return hash64(b"".join(self._encode(i, row[i]) for i in self.key_positions))

    def cell_hashes(self, row: TargetRow) -> list[int]:
        """Return the hash of every cell, seeded with the row's key hash and the column's name."""
        seed = struct.pack(">q", self.key_hash(row))
        return [
            hash64(seed + name + b"\x00" + self._encode(i, value))
            for i, (name, value) in enumerate(zip(self._names, row, strict=True))
        ]


class Accumulator:
    """Sum row hashes into buckets; note those under key hashes that are `watched`."""

    def __init__(self, mapping: TableMapping, watched: Iterable[int] = ()) -> None:
        self._watched = {key_hash: list[int]() for key_hash in watched}
        self._hasher = RowHasher(mapping)
        self._keyless = not mapping.key
        self._counts = [0] * BUCKETS
        self._sums = [0] * BUCKETS

    def add(self, row: TargetRow) -> None:
        """Add one row."""
        row_hash = self._hasher.row_hash(row)
        key_hash = row_hash if self._keyless else self._hasher.key_hash(row)
        bucket = key_hash % BUCKETS
        self._counts[bucket] += 1
        self._sums[bucket] += row_hash
        if self._watched and key_hash in self._watched:
            self._watched[key_hash].append(row_hash)

    @property
    def watched(self) -> dict[int, tuple[int, ...]]:
        """The row hashes found under each watched key hash."""
        return {key_hash: tuple(hashes) for key_hash, hashes in self._watched.items()}

    def digest(self) -> Digest:
        """Return what was summed so far."""
        return Digest(algorithm=ALGORITHM, counts=tuple(self._counts), sums=tuple(self._sums))


def from_buckets(rows: Iterable[tuple[int, int, int]]) -> Digest:
    """Build a digest from (bucket, count, sum) rows; buckets that are not named are empty."""
    counts, sums = [0] * BUCKETS, [0] * BUCKETS
    for bucket, count, total in rows:
        counts[bucket], sums[bucket] = count, total
    return Digest(algorithm=ALGORITHM, counts=tuple(counts), sums=tuple(sums))


def combine(first: Digest, *, minus: Sequence[Digest] = (), plus: Sequence[Digest] = ()) -> Digest:
    """Return `first - minus + plus`, bucket by bucket; sums of rows are additive."""
    counts, sums = list(first.counts), list(first.sums)
    for sign, others in ((-1, minus), (1, plus)):
        for other in others:
            for i in range(BUCKETS):
                counts[i] += sign * other.counts[i]
                sums[i] += sign * other.sums[i]
    return Digest(algorithm=first.algorithm, counts=tuple(counts), sums=tuple(sums))


def differing_buckets(left: Digest, right: Digest) -> list[int]:
    """Return the buckets in which two digests differ."""
    return [
        i
        for i in range(BUCKETS)
        if (left.counts[i], left.sums[i]) != (right.counts[i], right.sums[i])
    ]
