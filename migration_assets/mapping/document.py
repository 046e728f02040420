"""A mapping as the document that is hashed, sealed in the ledger and read back."""

import dataclasses
import hashlib
import json
from typing import Any

from migration_assets.model import (
    ColumnMapping,
    DeferredObject,
    IndexMapping,
    Kind,
    Policy,
    TableMapping,
    TargetType,
)

# Fields that came after the first documents were sealed. At their default they are left out, so
# that an older document keeps its hash.
_LATER = {
    TableMapping: ("deferred", "transform"),
    ColumnMapping: ("policy", "open", "default", "generated", "identity", "cast", "input"),
    IndexMapping: ("definition",),
}


def dumps(mapping: TableMapping) -> str:
    """Return the canonical JSON document of a mapping, without its hash."""
    fields = _plain(mapping)
    del fields["hash"]
    fields["columns"] = [_plain(c) for c in mapping.columns]
    fields["indexes"] = [_plain(i) for i in mapping.indexes]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(part: TableMapping | ColumnMapping | IndexMapping) -> dict[str, Any]:
    fields = dataclasses.asdict(part)
    defaults = {f.name: f.default for f in dataclasses.fields(part)}
    for name in _LATER[type(part)]:
        if getattr(part, name) == defaults[name]:
            del fields[name]
    return fields


def sealed(mapping: TableMapping) -> TableMapping:
    """Return the mapping with the hash of its document: the first 32 hex digits of its sha256."""
    digest = hashlib.sha256(dumps(mapping).encode()).hexdigest()[:32]
    return dataclasses.replace(mapping, hash=digest)


def loads(document: str) -> TableMapping:
    """Read a document back; the result carries its hash. Raises ValueError for any other text."""
    try:
        return _load(json.loads(document))
    except (TypeError, KeyError, AttributeError) as error:
        message = "not the document of a mapping"
        raise ValueError(message) from error


def _load(fields: dict[str, Any]) -> TableMapping:
    columns = tuple(_column(c) for c in fields.pop("columns"))
    indexes = tuple(_index(i) for i in fields.pop("indexes"))
    key, notes = tuple(fields.pop("key")), tuple(fields.pop("notes"))
    deferred = tuple(DeferredObject(**d) for d in fields.pop("deferred", ()))
    return sealed(
        TableMapping(
            **fields, columns=columns, indexes=indexes, key=key, notes=notes, deferred=deferred
        )
    )


def _column(fields: dict[str, Any]) -> ColumnMapping:
    for name in ("type", "input"):
        if name in fields:
            fields[name] = _type(fields[name])
    if "policy" in fields:
        fields["policy"] = Policy(fields["policy"])
    return ColumnMapping(**fields)


def _type(fields: dict[str, Any]) -> TargetType:
    fields["kind"] = Kind(fields["kind"])
    return TargetType(**fields)


def _index(fields: dict[str, Any]) -> IndexMapping:
    columns, nocase = tuple(fields.pop("columns")), tuple(fields.pop("nocase"))
    return IndexMapping(**fields, columns=columns, nocase=nocase)
