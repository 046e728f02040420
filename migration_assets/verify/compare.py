"""Drill down: open the buckets that differ and name the rows and columns that do."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from psycopg import sql

from migration_assets.findings import Difference
from migration_assets.mapping.rows import key_text
from migration_assets.model import (
    BUCKETS,
    AcceptedRow,
    Cut,
    Digest,
    SourceTable,
    TableMapping,
)
from migration_assets.source.reader import fitted_rows
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.verify import digest_sql
from migration_assets.verify.digest import RowHasher, differing_buckets

SHOWN = 20  # differences that are named
_OPENED_ROWS = 200_000  # rows of one side held in memory; buckets beyond are only counted
MISSING = "missing on the target"
EXTRA = "on the target but not in the cut"
CHANGED = "differs"


class _Row(NamedTuple):
    """One row of an opened bucket: its hash, its key for people, its cells' hashes."""

    row_hash: int
    key: str
    cells: tuple[int, ...]


_Opened = dict[int, list[_Row]]  # by key hash; several rows only where there is no key


def compare(
    connection: Connection,
    mapping: TableMapping,
    *,
    cut: Cut,
    table: SourceTable,
    wanted: Digest,
    actual: Digest,
    accepted: Sequence[AcceptedRow] = (),
) -> tuple[Difference, ...]:
    """Name up to `SHOWN` rows in which the target differs from the cut, in key order.

    `wanted` is the cut's digest adjusted by the `accepted` rows, which aren't named.
    """
    buckets = _to_open(wanted, actual)
    if not buckets:
        return ()
    source = _open_source(cut, table, mapping, set(buckets))
    target = _open_target(connection, mapping, buckets)
    names = [c.name for c in mapping.columns]
    found: list[Difference] = []
    left_out = {row.key_hash for row in accepted}
    for key_hash in (source.keys() | target.keys()) - left_out:
        found.extend(_differences(source.get(key_hash, []), target.get(key_hash, []), names))
    return tuple(sorted(found, key=lambda d: (d.key, d.what))[:SHOWN])


def _to_open(wanted: Digest, actual: Digest) -> list[int]:
    buckets: list[int] = []
    rows_held = 0
    for bucket in differing_buckets(wanted, actual):
        size = max(wanted.counts[bucket], actual.counts[bucket])
        if buckets and rows_held + size > _OPENED_ROWS:
            break
        buckets.append(bucket)
        rows_held += size
    return buckets


def _open_source(cut: Cut, table: SourceTable, mapping: TableMapping, buckets: set[int]) -> _Opened:
    hasher = RowHasher(mapping)
    opened: _Opened = defaultdict(list)
    for row, (values, _) in fitted_rows(cut, table, mapping):
        if values is None:
            continue
        key_hash = hasher.key_hash(values)
        if key_hash % BUCKETS in buckets:
            opened[key_hash].append(
                _Row(
                    hasher.row_hash(values),
                    _label(mapping, key_text(mapping, row), key_hash),
                    tuple(hasher.cell_hashes(values)) if mapping.key else (),
                )
            )
    return opened


def _open_target(connection: Connection, mapping: TableMapping, buckets: list[int]) -> _Opened:
    cells = [digest_sql.cell_hash(mapping, c, "t") for c in mapping.columns] if mapping.key else []
    keys = [sql.Identifier("t", mapping.column(name).target) for name in mapping.key]
    query = sql.SQL(
        "SELECT * FROM (SELECT {key_hash} AS kh, {columns} FROM {table} AS t) AS o"
        " WHERE ((kh % {n}) + {n}) % {n} IN ({buckets})"
    ).format(
        key_hash=digest_sql.key_hash(mapping, "t"),
        columns=sql.SQL(", ").join(
            [digest_sql.row_hash(mapping, "t"), *_numbered("k", keys), *_numbered("c", cells)]
        ),
        table=table_name(mapping),
        n=sql.Literal(BUCKETS),
        buckets=sql.SQL(", ").join([sql.Literal(b) for b in buckets]),
    )
    opened: _Opened = defaultdict(list)
    for row in connection.execute(query):
        key_hash, row_hash, *rest = cast("tuple[Any, ...]", row)
        key = ", ".join(f"{name}={value!r}" for name, value in zip(mapping.key, rest, strict=False))
        label = _label(mapping, key, key_hash)
        opened[key_hash].append(_Row(row_hash, label, tuple(rest[len(keys) :])))
    return opened


def _numbered(prefix: str, expressions: Sequence[sql.Composable]) -> list[sql.Composed]:
    return [
        sql.SQL("{} AS {}").format(e, sql.Identifier(f"{prefix}{i}"))
        for i, e in enumerate(expressions)
    ]


def _label(mapping: TableMapping, key: str, key_hash: int) -> str:
    return key if mapping.key else f"row with hash {key_hash:+d}"


def _differences(source: list[_Row], target: list[_Row], names: list[str]) -> list[Difference]:
    """Compare the rows of one key hash."""
    ours, theirs = Counter(r.row_hash for r in source), Counter(r.row_hash for r in target)
    missing = [r for r in source if ours[r.row_hash] > theirs[r.row_hash]]
    extra = [r for r in target if theirs[r.row_hash] > ours[r.row_hash]]
    if len(missing) == len(extra) == 1 and missing[0].cells:
        pairs = zip(names, missing[0].cells, extra[0].cells, strict=True)
        columns = tuple(name for name, left, right in pairs if left != right)
        return [Difference(key=missing[0].key, what=CHANGED, columns=columns)]
    return [
        *(Difference(key=r.key, what=MISSING) for r in missing),
        *(Difference(key=r.key, what=EXTRA) for r in extra),
    ]
