"""A source row as exact bytes: what quarantine keeps and what its proof compares.

Text stands as UTF-8, whatever its database is encoded in, so that it reads the same everywhere.
Text that can't be decoded stands as its database's own bytes; of a UTF-16 database they may look
like sound UTF-8, so its storage class says what they are: `text/UTF-16le` or `text/UTF-16be`.
"""

import hashlib
import struct

from migration_assets.mapping.values import storage_class
from migration_assets.model import (
    RawRow,
    SqliteValue,
    UndecodableText,
)

# What stands for a storage class in a row's digest
_TAGS = {
    "null": b"n",
    "integer": b"i",
    "real": b"r",
    "text": b"t",
    "blob": b"b",
    "text/UTF-16le": b"<",
    "text/UTF-16be": b">",
}


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
    return [_class(v) for v in row], [value_bytes(v) for v in row]


def _class(value: SqliteValue) -> str:
    name = storage_class(value)
    if isinstance(value, UndecodableText) and value.encoding != "UTF-8":
        return f"{name}/{value.encoding}"
    return name


def raw_digest(classes: list[str], values: list[bytes | None]) -> bytes:
    """Return the sha256 over storage class, length and bytes of every value; injective."""
    state = hashlib.sha256()
    for name, value in zip(classes, values, strict=True):
        body = value or b""
        state.update(_TAGS.get(name, name.encode()) + len(body).to_bytes(8, "big") + body)
    return state.digest()


def row_of(classes: list[str], values: list[bytes | None]) -> RawRow:
    """Return the row that has these parts."""
    return tuple(_value(name, value) for name, value in zip(classes, values, strict=True))


def _value(name: str, raw: bytes | None) -> SqliteValue:
    if raw is None or name == "blob":
        return raw
    if name == "integer":
        return int.from_bytes(raw, "big", signed=True)
    if name == "real":
        return struct.unpack(">d", raw)[0]
    _, _, encoding = name.partition("/")
    if encoding:
        return UndecodableText(raw, encoding)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return UndecodableText(raw)
