"""Quarantine: rows that don't fit the sealed mapping, whole, as a multiset of raw rows."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any, cast

from migration_assets.findings import Quarantined
from migration_assets.mapping.raw import raw_digest
from migration_assets.model import TableMapping
from migration_assets.target.connection import Connection, streaming

_COPY = """
COPY migration.quarantine
    (source, table_name, week, key, column_names, unfit_columns, reasons, storage_classes,
     "values", raw_digest)
FROM STDIN (FORMAT BINARY)
"""
_COPY_TYPES = [
    "text",
    "text",
    "date",
    "text",
    "text[]",
    "text[]",
    "text[]",
    "text[]",
    "bytea[]",
    "bytea",
]

# One stored copy leaves for each copy that left the source; copies are alike, any will do.
_LEAVE = """
DELETE FROM migration.quarantine WHERE ctid IN (
    SELECT ctid FROM (
        SELECT ctid, raw_digest,
               row_number() OVER (PARTITION BY raw_digest) AS copy
        FROM migration.quarantine WHERE source = %(source)s AND table_name = %(table)s
    ) AS stored
    JOIN unnest(%(digests)s::bytea[], %(copies)s::bigint[]) AS leaving (digest, copies)
      ON stored.raw_digest = leaving.digest AND stored.copy <= leaving.copies)
"""


def change(
    connection: Connection,
    mapping: TableMapping,
    week: date,
    misfits: Iterable[dict[str, Any]],
    *,
    replace: bool,
) -> None:
    """Let misfits enter and leave; `replace` empties the table's quarantine first.

    `misfits` are rows of a delta's misfit file.
    """
    if replace:
        connection.execute(
            "DELETE FROM migration.quarantine WHERE source = %s AND table_name = %s",
            (mapping.source, mapping.table),
        )
    names = [c.name for c in mapping.columns]
    leaving: Counter[bytes] = Counter()
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for misfit in misfits:
            digest = raw_digest(misfit["classes"], misfit["values"])
            if not misfit["entering"]:
                leaving[digest] += 1
                continue
            copy.write_row(
                (
                    mapping.source,
                    mapping.table,
                    week,
                    misfit["key"].replace("\0", "\\x00"),
                    names,
                    misfit["columns"],
                    misfit["reasons"],
                    misfit["classes"],
                    misfit["values"],
                    digest,
                )
            )
    if leaving:
        connection.execute(
            _LEAVE,
            {
                "source": mapping.source,
                "table": mapping.table,
                "digests": list(leaving),
                "copies": list(leaving.values()),
            },
        )


def stored(connection: Connection, source: str, table: str) -> Counter[bytes]:
    """Count what stands in quarantine by the hash of its exact bytes.

    The hash is made anew from the stored bytes, so a value changed in place is seen. They come in
    binary: as text they would take twice the room, and a message ends at 1 GB.
    """
    rows: Counter[bytes] = Counter()
    with connection.transaction(), streaming(connection, "quarantine") as cursor:
        cursor.execute(
            'SELECT storage_classes, "values" FROM migration.quarantine'
            " WHERE source = %s AND table_name = %s",
            (source, table),
        )
        for row in cursor:
            classes, values = cast("tuple[list[str], list[bytes | None]]", row)
            rows[raw_digest(classes, [None if v is None else bytes(v) for v in values])] += 1
    return rows


_REASONS = """
SELECT q.table_name, u.name, u.reason, count(*)
FROM migration.quarantine AS q, unnest(q.unfit_columns, q.reasons) AS u (name, reason)
WHERE q.source = %s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_KEYS = """
SELECT table_name, key FROM (
    SELECT table_name, key, row_number() OVER (PARTITION BY table_name ORDER BY key) AS place
    FROM migration.quarantine WHERE source = %s AND key <> '') AS named
WHERE place <= %s ORDER BY table_name, place
"""


def summary(connection: Connection, source: str, *, keys: int) -> list[Quarantined]:
    """Return what stands in quarantine by table, with at most so many rows' keys of each."""
    counted = connection.execute(
        "SELECT table_name, count(*) FROM migration.quarantine WHERE source = %s"
        " GROUP BY 1 ORDER BY 1",
        (source,),
    ).fetchall()
    reasons: dict[str, dict[str, dict[str, int]]] = {}
    for table, column, reason, count in cast("Any", connection.execute(_REASONS, (source,))):
        reasons.setdefault(table, {}).setdefault(column, {})[reason] = count
    named: dict[str, list[str]] = {}
    for table, key in cast("Any", connection.execute(_KEYS, (source, keys))):
        named.setdefault(table, []).append(key)
    return [
        Quarantined(
            table=table, rows=rows, reasons=reasons.get(table, {}), keys=tuple(named.get(table, ()))
        )
        for table, rows in cast("Any", counted)
    ]
