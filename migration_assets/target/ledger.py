"""The ledger: schema `migration` on the target, the only truth about heads and mappings.

An entry is written in the transaction that moves the data; attempts that failed are noted apart,
in a transaction of their own. Layout in docs/reference/ledger.md.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

from psycopg import Cursor

from migration_assets.errors import HoldError, TargetError
from migration_assets.findings import Proof
from migration_assets.mapping import document
from migration_assets.model import Digest, Head, HeadMove, Hold, TableMapping
from migration_assets.target.connection import Connection

# Kinds of entries: a move within a mapping, one to the next mapping, back to where the table stood
# at an earlier entry, and the rows of the head's own cut put right.
LOAD, SCHEMA, ROLLBACK, REPAIR = "load", "schema", "rollback", "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One head move, as it is written.

    Of a move between mappings, `changes` say for people what is another and `ddl` is what ran.
    `restores` is the entry that a rollback goes back to.
    """

    kind: str
    base: Head | None
    week: date
    cut: str
    inserted: int
    updated: int
    deleted: int
    displaced: int
    proof: Proof
    digest: Digest
    move: str
    run: str
    acknowledged: Sequence[str]
    started_at: datetime
    changes: Sequence[str] = ()
    ddl: Sequence[str] = ()
    restores: int | None = None


def exists(connection: Connection) -> bool:
    """Tell whether the ledger is there."""
    row = connection.execute("SELECT to_regclass('migration.version') IS NOT NULL").fetchone()
    return bool(row and row[0])


_HEAD = """
SELECT entry, week, cut, mapping, source_rows, target_rows, quarantined, algorithm,
       bucket_counts, bucket_sums, move
FROM migration.ledger WHERE source = %s AND table_name = %s ORDER BY entry DESC LIMIT 1
"""


def head(connection: Connection, source: str, table: str) -> Head | None:
    """Return where a table stands: its last entry; None before the first load."""
    row = connection.execute(_HEAD, (source, table)).fetchone()
    if row is None:
        return None
    fields = cast("tuple[Any, ...]", row)
    entry, week, cut, mapping, source_rows, rows, quarantined = fields[:7]
    algorithm, counts, sums, move = fields[7:]
    return Head(
        entry=entry,
        week=week,
        cut=cut,
        mapping_hash=mapping,
        source_rows=source_rows,
        rows=rows,
        quarantined=quarantined,
        digest=Digest(algorithm=algorithm, counts=tuple(counts), sums=tuple(int(s) for s in sums)),
        move=move,
    )


# Through JSON, since a ledger that no run has brought forward yet has no such columns.
_HISTORY = """
SELECT entry, kind, week, cut, mapping, inserted, updated, deleted, displaced, move, run,
       written_at, coalesce(to_jsonb(l) -> 'changes', '[]') AS changes,
       coalesce(to_jsonb(l) -> 'ddl', '[]') AS ddl, (to_jsonb(l) ->> 'restores')::bigint AS restores
FROM migration.ledger AS l WHERE source = %s AND table_name = %s ORDER BY entry
"""


def history(connection: Connection, source: str, table: str) -> tuple[HeadMove, ...]:
    """Return all head moves of a table, oldest first, those that were taken back too."""
    rows = _by_name(connection.execute(_HISTORY, (source, table)))
    return tuple(
        HeadMove(
            mapping_hash=row.pop("mapping"),
            changes=tuple(row.pop("changes")),
            ddl=tuple(row.pop("ddl")),
            **row,
        )
        for row in rows
    )


def table_of(connection: Connection, source: str, entry: int) -> str | None:
    """Return the table of an entry; None where there is no such entry."""
    row = connection.execute(
        "SELECT table_name FROM migration.ledger WHERE source = %s AND entry = %s", (source, entry)
    ).fetchone()
    return str(row[0]) if row else None


def head_weeks(connection: Connection, source: str) -> dict[str, date]:
    """Return the week at which every loaded table of a source stands."""
    cursor = connection.execute(
        "SELECT DISTINCT ON (table_name) table_name, week FROM migration.ledger"
        " WHERE source = %s ORDER BY table_name, entry DESC",
        (source,),
    )
    return dict(cast("Any", cursor))


def sealed_mapping(connection: Connection, mapping_hash: str) -> TableMapping:
    """Return a sealed mapping. Raises `TargetError` where the document no longer has its hash."""
    row = connection.execute(
        "SELECT document FROM migration.mapping WHERE hash = %s", (mapping_hash,)
    ).fetchone()
    try:
        mapping = document.loads(str(row[0])) if row else None
    except ValueError:
        mapping = None
    if mapping is None or mapping.hash != mapping_hash:
        raise TargetError(
            what=f"the sealed mapping {mapping_hash[:12]} is missing or was changed",
            where="migration.mapping",
            expected="the document that the first load wrote",
            hint="restore this row of the ledger from a backup of the target",
        )
    return mapping


def seal(connection: Connection, mapping: TableMapping) -> None:
    """Write a mapping's document, once."""
    connection.execute(
        "INSERT INTO migration.mapping (hash, source, table_name, document)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (hash) DO NOTHING",
        (mapping.hash, mapping.source, mapping.table, document.dumps(mapping)),
    )


_INSERT = """
INSERT INTO migration.ledger (
    source, table_name, kind, week, base_week, base_cut, cut, mapping, inserted, updated, deleted,
    source_rows, target_rows, quarantined, displaced, algorithm, bucket_counts, bucket_sums, move,
    run, acknowledged, started_at, changes, ddl, restores)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::numeric[], %s,
    %s, %s, %s, %s, %s, %s)
RETURNING entry
"""


def write(connection: Connection, mapping: TableMapping, entry: Entry) -> int:
    """Write the entry of a head move; return its number."""
    base, proof = entry.base, entry.proof
    row = connection.execute(
        _INSERT,
        (
            mapping.source,
            mapping.table,
            entry.kind,
            entry.week,
            base.week if base else None,
            base.cut if base else None,
            entry.cut,
            mapping.hash,
            entry.inserted,
            entry.updated,
            entry.deleted,
            proof.source_rows,
            proof.target_rows,
            proof.quarantined_rows,
            entry.displaced,
            entry.digest.algorithm,
            list(entry.digest.counts),
            [str(total) for total in entry.digest.sums],
            entry.move,
            entry.run,
            list(entry.acknowledged),
            entry.started_at,
            list(entry.changes),
            list(entry.ddl),
            entry.restores,
        ),
    ).fetchone()
    return cast("int", row[0]) if row else 0


def committed(connection: Connection, move: str) -> bool:
    """Tell whether a move stands in the ledger: what settles an unknown outcome of COMMIT."""
    row = connection.execute("SELECT 1 FROM migration.ledger WHERE move = %s", (move,)).fetchone()
    return row is not None


def note_attempt(
    connection: Connection, source: str, table: str, *, week: date, run: str, error: BaseException
) -> None:
    """Note a failed attempt, in a transaction of its own."""
    connection.execute(
        "INSERT INTO migration.attempt (source, table_name, week, run, error, message)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (source, table, week, run, type(error).__name__, str(error)),
    )


def last_attempt(connection: Connection) -> int:
    """Return the number of the newest failed attempt; 0 where there is none."""
    row = connection.execute("SELECT coalesce(max(attempt), 0) FROM migration.attempt").fetchone()
    return cast("int", row[0]) if row else 0


def noted_after(
    connection: Connection, attempt: int, table: str, *, run: str, error: BaseException
) -> bool:
    """Tell whether a run's attempt was noted after that number."""
    row = connection.execute(
        "SELECT 1 FROM migration.attempt WHERE attempt > %s AND table_name = %s AND run = %s"
        " AND message = %s LIMIT 1",
        (attempt, table, run, str(error)),
    ).fetchone()
    return row is not None


def hold(connection: Connection, source: str, table: str, *, reason: str, by: str) -> None:
    """Put a table on hold; where it is already, the reason changes and its beginning stays."""
    connection.execute(
        "INSERT INTO migration.hold (source, table_name, reason, held_by) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (source, table_name)"
        " DO UPDATE SET reason = excluded.reason, held_by = excluded.held_by",
        (source, table, reason, by),
    )


def release(connection: Connection, source: str, table: str) -> None:
    """Let a table go on; nothing happens where it is not on hold."""
    connection.execute(
        "DELETE FROM migration.hold WHERE source = %s AND table_name = %s", (source, table)
    )


def holds(connection: Connection, source: str) -> dict[str, Hold]:
    """Return the tables of a source that are on hold; none in a ledger that has no holds yet."""
    there = connection.execute("SELECT to_regclass('migration.hold') IS NOT NULL").fetchone()
    if not (there and there[0]):
        return {}
    cursor = connection.execute(
        "SELECT table_name, reason, held_at, held_by FROM migration.hold WHERE source = %s"
        " ORDER BY table_name",
        (source,),
    )
    found = (Hold(table=r[0], reason=r[1], since=r[2], by=r[3]) for r in cast("Any", cursor))
    return {hold.table: hold for hold in found}


def refuse_held(connection: Connection, source: str, table: str, where: str) -> None:
    """Raise `HoldError` where the table is on hold. Final only under the table's lock."""
    held = holds(connection, source).get(table)
    if held is not None:
        raise HoldError(
            what=f"the table is on hold {held.text}",
            where=where,
            expected="a table that is not on hold",
            hint=f"`migration-assets release {shlex.quote(table)}` when the reason is gone",
        )


def refuse_cut_over(connection: Connection, source: str, table: str, where: str) -> None:
    """Raise `HoldError` where the table was cut over: what others write there is no mistake."""
    held = holds(connection, source).get(table)
    if held is not None and held.cut_over:
        raise HoldError(
            what=f"the table is on hold {held.text}",
            where=where,
            expected="a table that follows its source: since the cutover its rows are the"
            " application's, and none of them is put right or taken back",
            hint=f"only where the cutover is given up: `migration-assets release"
            f" {shlex.quote(table)} --cut-over`",
        )


# Through JSON, since a ledger that no run has brought forward yet has no such column.
_ENTRIES = """
SELECT entry, table_name, kind, week, base_week, inserted, updated, deleted, source_rows,
       target_rows, quarantined, displaced, written_at,
       coalesce(to_jsonb(l) -> 'changes', '[]') AS changes,
       (to_jsonb(l) ->> 'restores')::bigint AS restores
FROM migration.ledger AS l WHERE source = %s ORDER BY entry
"""


def entries(connection: Connection, source: str) -> list[dict[str, Any]]:
    """Return all head moves of a source, in order, as plain columns."""
    return _by_name(connection.execute(_ENTRIES, (source,)))


def attempts(connection: Connection, source: str) -> list[dict[str, Any]]:
    """Return all failed attempts of a source, in order."""
    cursor = connection.execute(
        "SELECT table_name, week, error, message, failed_at FROM migration.attempt"
        " WHERE source = %s ORDER BY attempt",
        (source,),
    )
    return _by_name(cursor)


def _by_name(cursor: Cursor[tuple[object, ...]]) -> list[dict[str, Any]]:
    names = [c.name for c in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]
