"""Displaced rows: what others had written and a move replaced, whole, so that it can be put back.

A row is kept as text of its table's row type, with the names of its columns. It stands either here
or on the target: putting it back takes it out of here in the same transaction. A row that does not
fit the table any more stays here, and the way back stops for it unless told otherwise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import cast

import psycopg
from psycopg import sql

from migration_assets.errors import GuardError
from migration_assets.findings import DifferingRow
from migration_assets.model import HeadMove, TableMapping
from migration_assets.target import ddl
from migration_assets.target.apply import key_as_text, same_key
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name
from migration_assets.target.writing import refuse_changing_others
from migration_assets.verify import digest_sql

DISPLACED_ROWS = "displaced_rows"
_FORM = sql.Identifier("pg_temp", "displaced_form")
_ROWS = sql.Identifier("pg_temp", "put_back")
# What a value, a type or a constraint of the table refuses
_REFUSED = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.DatatypeMismatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """Displaced rows that stand on the target again, and why others don't."""

    rows: tuple[DifferingRow, ...] = ()
    count: int = 0
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The rows that one move displaced from a table of the same columns; None: not known."""

    move: str
    columns: tuple[str, ...] | None
    count: int


def count(connection: Connection, move: HeadMove) -> int:
    """Return how many rows a move displaced that were not put back."""
    row = connection.execute(
        "SELECT count(*) FROM migration.displaced WHERE move = %s", (move.move,)
    ).fetchone()
    return cast("int", row[0]) if row else 0


def put_back(
    connection: Connection, mapping: TableMapping, move: HeadMove, kept: Collection[int]
) -> PutBack:
    """Put back what a move displaced.

    `kept` are key hashes of rows that are to stay as they are. Returns the rows that differ from
    the cut since, which stood on the target before.
    """
    done = PutBack()
    for batch in _batches(connection, move):
        problem, found = _put_back(connection, mapping, batch, {*kept, *_key_hashes(done.rows)})
        done = replace(
            done,
            rows=(*done.rows, *found.rows),
            count=done.count + found.count,
            left=(*done.left, *([f"{batch.count} rows: {problem}"] if problem else [])),
        )
    return done


def _key_hashes(rows: Sequence[DifferingRow]) -> set[int]:
    return {row.key_hash for row in rows}


def _batches(connection: Connection, move: HeadMove) -> list[_Batch]:
    found = connection.execute(
        "SELECT move, column_names, count(*) FROM migration.displaced WHERE move = %s"
        " GROUP BY 1, 2 ORDER BY column_names",
        (move.move,),
    ).fetchall()
    return [
        _Batch(
            move=str(name),
            columns=None if names is None else tuple(cast("list[str]", names)),
            count=cast("int", number),
        )
        for name, names, number in found
    ]


def _put_back(
    connection: Connection, mapping: TableMapping, batch: _Batch, kept: Collection[int]
) -> tuple[str, PutBack]:
    """Put a batch back in a savepoint; return why it can't be, or '', and what stands again."""
    table = ddl.read_table(connection, mapping)
    there = [name for name, _ in table.columns] if table else []
    columns = batch.columns or tuple(there)
    problem = _misfit(mapping, columns, there)
    if batch.columns is None and _lost_columns(connection, mapping):
        problem = (
            "they were kept by an older release, which didn't note their columns, and columns of"
            " the table were dropped"
        )
    if problem or table is None:
        return problem, PutBack()
    try:
        with connection.transaction():
            return "", _written(connection, mapping, batch, table, kept)
    except _REFUSED as error:
        # Its text may quote a row; the name of what refuses it doesn't.
        name = error.diag.constraint_name or error.diag.column_name
        return f"{type(error).__name__}{f' ({name})' if name else ''}", PutBack()


def _lost_columns(connection: Connection, mapping: TableMapping) -> bool:
    """Tell whether any column of the table was ever dropped: the others' places mean less then."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attisdropped)",
        (table_name(mapping).as_string(None),),
    ).fetchone()
    return bool(row and row[0])


def _misfit(mapping: TableMapping, columns: Sequence[str], there: Sequence[str]) -> str:
    """Say which columns a displaced row has and the table doesn't, or the other way round."""
    gone = [name for name in columns if name not in there]
    if gone:
        return f"the table has no column {', '.join(gone)} any more"
    new = [c.target for c in mapping.columns if c.target not in columns]
    return f"they have no value of column {', '.join(new)}" if new else ""


def _written(
    connection: Connection,
    mapping: TableMapping,
    batch: _Batch,
    table: ddl.TargetTable,
    kept: Collection[int],
) -> PutBack:
    """Put back the rows of a batch, but for those under the key hashes `kept`."""
    columns = batch.columns or tuple(name for name, _ in table.columns)
    place = _read_rows(connection, mapping, batch, columns)
    if kept and mapping.key:
        connection.execute(
            sql.SQL("DELETE FROM {} AS p WHERE {} = ANY ({})").format(
                _ROWS, digest_sql.key_hash(mapping, "p"), sql.Literal(list(kept))
            )
        )
    before = _before(connection, mapping)
    number = _write(connection, mapping, columns, table)
    after = _after(connection, mapping)
    connection.execute(
        sql.SQL("DELETE FROM migration.displaced AS d USING {} AS p WHERE d.ctid = p.{}").format(
            _ROWS, sql.Identifier(place)
        )
    )
    for name in (_ROWS, _FORM):
        connection.execute(sql.SQL("DROP TABLE {}").format(name))
    rows = (replace(row, target_hash=after.get(row.key_hash, row.target_hash)) for row in before)
    return PutBack(
        rows=tuple(row for row in rows if row.source_hash != row.target_hash), count=number
    )


def _read_rows(
    connection: Connection, mapping: TableMapping, batch: _Batch, columns: Sequence[str]
) -> str:
    """Read a batch's rows into a table of their columns, in the types that these have now.

    Returns the name of the column that says where each row is kept.
    """
    place = "place"
    while place in columns:
        place += "_"
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE displaced_form ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
        ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), table_name(mapping))
    )
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE put_back ON COMMIT DROP AS SELECT (r.form).*, r.place AS {}"
            " FROM (SELECT d.target_row::{} AS form, d.ctid AS place FROM migration.displaced AS d"
            " WHERE d.move = {} AND d.column_names IS NOT DISTINCT FROM {}::text[] OFFSET 0) AS r"
        ).format(
            sql.Identifier(place),
            _FORM,
            sql.Literal(batch.move),
            sql.Literal(None if batch.columns is None else list(batch.columns)),
        )
    )
    return place


def _before(connection: Connection, mapping: TableMapping) -> list[DifferingRow]:
    """Return what stands in the place of the rows that are to be put back, by its hashes."""
    if not mapping.key:
        query = sql.SQL("SELECT {} FROM {} AS p").format(digest_sql.row_hash(mapping, "p"), _ROWS)
        return [
            DifferingRow(
                key=f"row with hash {found:+d}",
                key_hash=found,
                source_hash=None,
                target_hash=found,
            )
            for (found,) in cast("list[tuple[int]]", connection.execute(query).fetchall())
        ]
    others = [c for c in mapping.columns if c.name not in mapping.key]
    differing = [
        sql.SQL("CASE WHEN {}::text IS DISTINCT FROM {}::text THEN {} END").format(
            sql.Identifier("t", c.target), sql.Identifier("p", c.target), sql.Literal(c.name)
        )
        for c in others
    ]
    query = sql.SQL(
        "SELECT {key}, {key_hash}, CASE WHEN t.ctid IS NOT NULL THEN {row_hash} END,"
        " CASE WHEN t.ctid IS NULL THEN '{{}}'"
        " ELSE array_remove(ARRAY[{differing}]::text[], NULL) END"
        " FROM {rows} AS p LEFT JOIN {table} AS t ON {same}"
    ).format(
        key=key_as_text(mapping, "p"),
        key_hash=digest_sql.key_hash(mapping, "p"),
        row_hash=digest_sql.row_hash(mapping, "t"),
        differing=sql.SQL(", ").join(differing),
        rows=_ROWS,
        table=table_name(mapping),
        same=same_key(mapping, "t", "p"),
    )
    found = cast(
        "list[tuple[str, int, int | None, list[str]]]", connection.execute(query).fetchall()
    )
    return [
        DifferingRow(
            key=key, key_hash=key_hash, source_hash=stood, target_hash=None, columns=tuple(columns)
        )
        for key, key_hash, stood, columns in found
    ]


def _after(connection: Connection, mapping: TableMapping) -> dict[int, int]:
    """Return the hashes of the rows that were put back, as they stand, by key hash."""
    if not mapping.key:
        return {}
    query = sql.SQL("SELECT {}, {} FROM {} AS p JOIN {} AS t ON {}").format(
        digest_sql.key_hash(mapping, "p"),
        digest_sql.row_hash(mapping, "t"),
        _ROWS,
        table_name(mapping),
        same_key(mapping, "t", "p"),
    )
    return dict(cast("list[tuple[int, int]]", connection.execute(query).fetchall()))


def _write(
    connection: Connection, mapping: TableMapping, columns: Sequence[str], table: ddl.TargetTable
) -> int:
    """Write the rows over those that took their place; return how many."""
    filled, numbered = _filled(connection, mapping)
    written = [name for name in columns if name not in filled]
    if mapping.key:
        same = same_key(mapping, "t", "p")
        whole = set(table.extra_columns) <= set(columns)
        if table.secondary_unique and whole and not table.referenced:
            # Two rows may have swapped the values of a unique index.
            connection.execute(
                sql.SQL("DELETE FROM {} AS t USING {} AS p WHERE {}").format(
                    table_name(mapping), _ROWS, same
                )
            )
        else:
            _refuse_following(connection, mapping, columns, table)
            settings = [
                sql.SQL("{0} = p.{0}").format(sql.Identifier(name))
                for name in written
                if name not in numbered
            ]
            connection.execute(
                sql.SQL("UPDATE {} AS t SET {} FROM {} AS p WHERE {}").format(
                    table_name(mapping), sql.SQL(", ").join(settings), _ROWS, same
                )
            )
        missing = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(
            table_name(mapping), same
        )
    else:
        missing = sql.SQL("")
    names = sql.SQL(", ").join(map(sql.Identifier, written))
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS p{}").format(
            table_name(mapping), names, names, _ROWS, missing
        )
    )
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(_ROWS)).fetchone()
    return cast("int", row[0]) if row else 0


def _refuse_following(
    connection: Connection, mapping: TableMapping, columns: Sequence[str], table: ddl.TargetTable
) -> None:
    """Raise `TargetError` where putting rows back would change rows of other tables after them."""
    for name, followed in table.following:
        moving = [
            sql.SQL("t.{0}::text IS DISTINCT FROM p.{0}::text").format(sql.Identifier(column))
            for column in followed
            if column in columns
        ]
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS t JOIN {} AS p ON {} WHERE {})").format(
            table_name(mapping),
            _ROWS,
            same_key(mapping, "t", "p"),
            sql.SQL(" OR ").join(moving or [sql.SQL("false")]),
        )
        row = connection.execute(query).fetchone()
        if row and row[0]:
            refuse_changing_others(mapping, (name,), "updating")


def _filled(connection: Connection, mapping: TableMapping) -> tuple[set[str], set[str]]:
    """Return the columns that the server computes, and those that only it may number."""
    found = connection.execute(
        "SELECT attname, attgenerated <> '' FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped AND (attgenerated <> '' OR attidentity = 'a')",
        (table_name(mapping).as_string(None),),
    ).fetchall()
    computed = {str(name) for name, is_computed in found if is_computed}
    return computed, {str(name) for name, _ in found} - computed


def refuse_left(left: Sequence[str], where: str) -> None:
    """Raise `GuardError` for displaced rows that can't be put back."""
    raise GuardError(
        what=f"displaced rows can't be put back: {'; '.join(left)}",
        where=where,
        expected="rows that fit the table as it is restored; nothing was changed",
        hint=f"take back fewer weeks, or `--acknowledge {DISPLACED_ROWS}` to go on: these rows stay"
        " in migration.displaced",
    )
