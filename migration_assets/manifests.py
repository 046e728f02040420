"""Manifests: small documents that name files by their sha256, and carry a checksum of their own.

One bit that flips in a manifest could name another file, week or base without anybody noticing.
Manifests of earlier releases have no checksum and stay readable.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

_CHECKSUM = "checksum"


def dumps(fields: Mapping[str, Any]) -> str:
    """Return the document of these fields, with its checksum."""
    return json.dumps({**fields, _CHECKSUM: _checksum(fields)}, indent=1)


def loads(text: str) -> dict[str, Any]:
    """Return the fields of a document. Raises `ValueError` where it isn't as it was written."""
    found: object = json.loads(text)
    if not isinstance(found, dict):
        message = "no document of fields"
        raise ValueError(message)  # noqa: TRY004 - whoever damaged it, no caller of ours
    fields = cast("dict[str, Any]", found)
    said = fields.pop(_CHECKSUM, None)
    if said is not None and said != _checksum(fields):
        message = "the checksum is another"
        raise ValueError(message)
    return fields


def _checksum(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
