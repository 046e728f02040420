"""A source row as exact bytes: what quarantine keeps and what its proof compares."""

import hashlib
import struct

from migration_assets.mapping.values import storage_class
from migration_assets.model import (
    RawRow,
    SqliteValue,
    UndecodableText,
)


def value_bytes(value: SqliteValue) -> bytes | None:
    """Return a value's exact bytes: integers and reals as 8 bytes, big-endian; None for NULL."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    if isinstance(value, float):
        return struct.pack(">d", value)
    return value.raw if isinstance(value, UndecodableText) else value.encode()


def row_parts(row: RawRow) -> tuple[list[str], list[bytes | None]]:
    """Return the storage classes and the exact bytes of a row's values, in column order."""
    return [storage_class(v) for v in row], [value_bytes(v) for v in row]


def raw_digest(classes: list[str], values: list[bytes | None]) -> bytes:
    """Return the sha256 over storage class, length and bytes of every value; injective."""
    state = hashlib.sha256()
    for name, value in zip(classes, values, strict=True):
        body = value or b""
        state.update(name[0].encode() + len(body).to_bytes(8, "big") + body)
    return state.digest()
