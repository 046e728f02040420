"""Bring a table's columns, key and indexes from one mapping to another, inside a move.

The statements only have to make room: everything that stands in the cut is staged, what differs is
written, and the proof decides. So a column whose values have no plain way into its new type is
emptied and filled anew. What the target has of its own is never dropped: a statement that something
there depends on is refused by PostgreSQL, and the whole move with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.mapping.document import sealed
from migration_assets.mapping.objects import refused_index, without
from migration_assets.model import (
    ColumnMapping,
    DeferredObject,
    IndexMapping,
    Kind,
    SourceTable,
    TableMapping,
    TargetType,
)
from migration_assets.target import ddl, own
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import TargetTable, table_name
from migration_assets.target.making import attempt
from migration_assets.target.staging import STAGED
from migration_assets.target.writing import Applied, refuse_cascade

_NUMBERS = frozenset({Kind.BIGINT, Kind.NUMERIC})

_IN_C = """
SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND NOT attisdropped
AND attcollation = 'pg_catalog."C"'::regcollation
"""
_KEY_NAME = "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"
_INDEX_NAMES = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapping:
    """From the mapping of the table's head to another; `renamed` leads from new names to old.

    To None it leads where a column is another one than the head's of its name. `back` is the way
    to a mapping that the table had before: columns that one neither writes nor keeps are dropped.
    `left` are columns of the target that such ways have left there before.
    """

    older: TableMapping
    newer: TableMapping
    renamed: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    changes: tuple[str, ...] = ()
    back: bool = False
    left: frozenset[str] = frozenset()

    @property
    def unwritten(self) -> frozenset[str]:
        """Columns of the target that are ours, though the older mapping doesn't write them."""
        return self.left.union(self.older.kept)

    def before(self, column: ColumnMapping) -> ColumnMapping | None:
        """Return what a column of the newer mapping was; None where it is new."""
        name = self.renamed.get(column.name, column.name)
        return next((c for c in self.older.columns if c.name == name), None)

    @property
    def gone(self) -> list[ColumnMapping]:
        """Columns that the newer mapping no longer writes."""
        known = {self.renamed.get(c.name, c.name) for c in self.newer.columns}
        return [c for c in self.older.columns if c.name not in known]

    @property
    def dropped(self) -> list[ColumnMapping]:
        """Columns that leave the target; generated ones first, since they depend on others."""
        left = [c for c in self.gone if self.back and c.target not in self.newer.kept]
        return sorted(left, key=lambda column: not column.generated)

    @property
    def staying(self) -> list[ColumnMapping]:
        """Columns that stay on the target with their values, no longer written."""
        dropped = self.dropped
        return [column for column in self.gone if column not in dropped]

    @property
    def older_key(self) -> tuple[str, ...] | None:
        """The older key by the newer names; None where one of its columns is gone."""
        now = {self.renamed.get(c.name, c.name): c.name for c in self.newer.columns}
        if any(name not in now for name in self.older.key):
            return None
        return tuple(now[name] for name in self.older.key)

    @property
    def rekeyed(self) -> bool:
        """Whether the primary key is another one."""
        return self.older_key != self.newer.key


def refuse_taken_names(remapping: Remapping, present: TargetTable, where: str) -> None:
    """Raise `TargetError` where the target has a column of its own under a new column's name."""
    there = {name for name, _ in present.columns}
    for column in remapping.newer.columns:
        old = remapping.before(column)
        leaving = remapping.unwritten.union(c.target for c in remapping.dropped)
        ours = old.target == column.target if old else column.target in leaving
        if column.target in there and not ours:
            raise TargetError(
                what=f"the target has a column {column.target} of its own, and the source's column"
                f" {column.name} is to be called so",
                where=where,
                expected="a name that is free; nothing was changed",
                hint=f"rename or drop column {column.target} on the target, then run again",
            )


def method(connection: Connection, remapping: Remapping) -> TableMapping:
    """Return the newer mapping with the key by which staged rows find those that stand.

    That is the older key while it tells the staged rows apart, else the newer one if it tells those
    apart that stand; else whole rows are compared. Needs both, and the table's lock.
    """
    newer = remapping.newer
    if not remapping.rekeyed:
        return newer
    known = remapping.older_key
    if known and _tell_apart(connection, STAGED, [newer.column(name).target for name in known]):
        return replace(newer, key=known)
    found = [(newer.column(name), remapping.before(newer.column(name))) for name in newer.key]
    standing = [old.target for column, old in found if old and not _moved(column, old)]
    whole = bool(found) and len(standing) == len(found)
    if whole and _tell_apart(connection, table_name(remapping.older), standing):
        return newer
    return replace(newer, key=())


def _tell_apart(connection: Connection, rows: sql.Identifier, key: list[str]) -> bool:
    columns = [sql.Identifier("s", target) for target in key]
    row = connection.execute(
        sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM {rows} AS s GROUP BY {key} HAVING count(*) > 1)"
            " AND NOT EXISTS (SELECT FROM {rows} AS s WHERE {missing})"
        ).format(
            rows=rows,
            key=sql.SQL(", ").join(columns),
            missing=sql.SQL(" OR ").join([sql.SQL("{} IS NULL").format(c) for c in columns]),
        )
    ).fetchone()
    return bool(row and row[0])


class Changes:
    """The statements of one remapping, run in two halves around the rows, and kept as text."""

    def __init__(
        self, connection: Connection, remapping: Remapping, by: TableMapping, where: str
    ) -> None:
        """`by` is what `method` returned, `where` names table and week for an error."""
        self._connection = connection
        self._remapping = remapping
        self._where = where
        self._table = table_name(remapping.newer)
        self._keeps_key = not remapping.rekeyed or (bool(by.key) and by.key != remapping.newer.key)
        self._key_first = remapping.rekeyed and bool(by.key) and not self._keeps_key
        self._pending: list[IndexMapping] = []  # indexes to be made when the rows stand
        self.deleted = 0  # rows that had to go before the table could be altered
        self.ddl: list[str] = []

    def make_room(self) -> None:
        """Change what has to be another before rows are written."""
        remapping = self._remapping
        pairs = [(column, remapping.before(column)) for column in remapping.newer.columns]
        self._make_way_for_keys()
        anew = [c for c, old in pairs if (remapping.back if old is None else _moved(c, old))]
        self._drop_indexes(anew)
        if not self._keeps_key:
            self._drop_key()
        self._drop_columns()
        for column, old in pairs:
            if old is not None and old.target != column.target:
                self._alter("RENAME COLUMN {} TO {}", old.target, column.target)
        for column in remapping.staying:
            self._let_go(column)
        self._fill_no_more(c for c, old in pairs if old and old.generated and not c.generated)
        in_c = self._names(_IN_C)
        for column, old in pairs:
            if old is not None:
                self._relax(column, old)
                self._retype(column, old, in_c)
            elif column.target in remapping.unwritten:
                self._let_go(column)
                self._set_type(column, sql.SQL("NULL"))
            else:
                self._alter("ADD COLUMN {} {}", column.target, self._typed(column))
        if self._key_first:
            self._add_key()

    def _make_way_for_keys(self) -> None:
        """Delete rows that came later, where their keys may not fit the key's earlier type.

        Rows are told by the text of their keys. One that was deleted though it stands in the cut is
        inserted again from there, so that there must be nothing on it that the cut doesn't have.
        """
        remapping = self._remapping
        pairs = [(c, remapping.before(c)) for c in remapping.newer.columns if self._in_kept_key(c)]
        narrowed = any(
            old is not None
            and _moved(column, old)
            and _conversion(sql.SQL(""), old.type, column.type) is None
            for column, old in pairs
        )
        table = ddl.read_table(self._connection, remapping.older)
        if not (remapping.back and narrowed) or table is None or table.extra_columns:
            return
        same = sql.SQL(" AND ").join(
            sql.SQL("{}::text = {}::text").format(
                sql.Identifier("s", column.target), sql.Identifier("t", old.target)
            )
            for column, old in pairs
            if old is not None
        )
        rows = sql.SQL(" FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
            table_name(remapping.older), STAGED, same
        )
        if table.cascading:
            row = self._connection.execute(sql.SQL("SELECT EXISTS (SELECT") + rows + sql.SQL(")"))
            if (row.fetchone() or (False,))[0]:
                refuse_cascade(remapping.older, table)
        self.deleted = self._connection.execute(sql.SQL("DELETE") + rows).rowcount
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _drop_columns(self) -> None:
        for column in self._remapping.dropped:
            own.refuse_dependants(self._connection, self._remapping.older, column, self._where)
            self._alter("DROP COLUMN {}", column.target)

    def _fill_no_more(self, columns: Iterable[ColumnMapping]) -> None:
        """Let generated columns be plain ones: what they depend on can't become another type."""
        for column in columns:
            self._alter("ALTER COLUMN {} DROP EXPRESSION IF EXISTS", column.target)

    def finish(self, table: SourceTable) -> TableMapping:
        """Change what only the rows of the cut allow: NOT NULL, key, indexes, defaults, identity.

        Returns the mapping without the indexes that the server refused, which it then lists.
        """
        remapping = self._remapping
        if self._keeps_key and remapping.rekeyed:
            self._drop_key()
        for column in remapping.newer.columns:
            self._settle(column, remapping.before(column))
        if remapping.rekeyed and not self._key_first:
            self._add_key()
        refused: list[DeferredObject] = []
        for index in self._pending:
            statement = ddl.create_index(remapping.newer, index)
            problem = attempt(self._connection, [statement])
            if problem:
                refused.append(refused_index(remapping.newer, index, table, problem))
            else:
                self.ddl.append(statement.as_string(self._connection))
        return sealed(without(remapping.newer, refused)) if refused else remapping.newer

    def _settle(self, column: ColumnMapping, old: ColumnMapping | None) -> None:
        """Let a column that holds its rows promise what its mapping does."""
        if column.not_null:
            if old is None or not old.not_null or self._emptied(column, old):
                self._alter("ALTER COLUMN {} SET NOT NULL", column.target)
        elif old is not None and old.not_null and self._in_kept_key(column):
            self._alter("ALTER COLUMN {} DROP NOT NULL", column.target)
        before = old.default if old else ""
        if column.default and (column.default != before or _moved(column, old)):
            self._alter("ALTER COLUMN {} SET DEFAULT {}", column.target, ddl.raw(column.default))
        if column.identity and not (old and old.identity):
            self._alter("ALTER COLUMN {} ADD GENERATED BY DEFAULT AS IDENTITY", column.target)

    def _drop_indexes(self, anew: list[ColumnMapping]) -> None:
        """Drop indexes that are gone, or stand on a column that is made anew, under our names."""
        remapping = self._remapping
        now = {remapping.renamed.get(c.name, c.name): c.name for c in remapping.newer.columns}
        touched = {c.name for c in anew}
        there = self._names(_INDEX_NAMES)
        standing: set[str] = set()
        for index in remapping.older.indexes:
            known = replace(
                index,
                columns=tuple(now.get(c, c) for c in index.columns),
                nocase=tuple(now.get(c, c) for c in index.nocase),
            )
            # What an expression refers to isn't among the columns.
            moved = touched if known.definition else touched.intersection(known.columns)
            stays = known in remapping.newer.indexes and not moved
            if stays or (known in remapping.newer.indexes and index.name not in there):
                standing.add(index.name)  # one that the DBA has renamed is PostgreSQL's to rebuild
            elif index.name in there:
                name = sql.Identifier(remapping.newer.target_schema, index.name)
                self._run(sql.SQL("DROP INDEX {}").format(name))
        self._pending = [i for i in remapping.newer.indexes if i.name not in standing]

    def _drop_key(self) -> None:
        """Drop our primary key; on a table without one, it is the DBA's own."""
        for name in self._names(_KEY_NAME) if self._remapping.older.key else ():
            self._alter("DROP CONSTRAINT {}", name)

    def _add_key(self) -> None:
        for statement in ddl.create_key(self._remapping.newer):
            self._run(statement)

    def _let_go(self, column: ColumnMapping) -> None:
        """Let rows come without a value in a column that is no longer written."""
        if column.generated:
            self._alter("ALTER COLUMN {} DROP EXPRESSION IF EXISTS", column.target)
        if column.identity:
            self._alter("ALTER COLUMN {} DROP IDENTITY IF EXISTS", column.target)
        if column.default:
            self._alter("ALTER COLUMN {} DROP DEFAULT", column.target)
        self._alter("ALTER COLUMN {} DROP NOT NULL", column.target)

    def _relax(self, column: ColumnMapping, old: ColumnMapping) -> None:
        """Take away what would keep the cut's rows, or another type, from a column."""
        if old.default and (old.default != column.default or _moved(column, old)):
            self._alter("ALTER COLUMN {} DROP DEFAULT", column.target)
        if old.identity and not column.identity:
            self._alter("ALTER COLUMN {} DROP IDENTITY IF EXISTS", column.target)
        relaxed = not column.not_null or self._emptied(column, old)
        if old.not_null and relaxed and not self._in_kept_key(column):
            self._alter("ALTER COLUMN {} DROP NOT NULL", column.target)

    def _retype(self, column: ColumnMapping, old: ColumnMapping, in_c: set[str]) -> None:
        name = sql.Identifier(column.target)
        if _moved(column, old):
            value = _conversion(name, old.type, column.type)
            if value is None and self._in_kept_key(column):
                # A key can't be emptied; where its values don't convert, PostgreSQL refuses.
                value = sql.SQL("{}::text::{}").format(name, ddl.raw(column.type.sql))
            self._set_type(column, value or sql.SQL("NULL"))
        elif (
            column.type.kind is Kind.TEXT
            and self._indexed(column)
            and old.name not in _indexed_names(self._remapping.older)
            and column.target not in in_c
        ):
            self._set_type(column, name)  # text of an index compares and orders by bytes

    def _set_type(self, column: ColumnMapping, value: sql.Composable) -> None:
        self._alter("ALTER COLUMN {} TYPE {} USING {}", column.target, self._typed(column), value)

    def _typed(self, column: ColumnMapping) -> sql.Composable:
        collate = column.type.kind is Kind.TEXT and self._indexed(column)
        return ddl.raw(column.type.sql + (' COLLATE pg_catalog."C"' if collate else ""))

    def _indexed(self, column: ColumnMapping) -> bool:
        return column.name in _indexed_names(self._remapping.newer)

    def _in_kept_key(self, column: ColumnMapping) -> bool:
        """Tell whether a column is in a primary key that stays while rows are written."""
        return self._keeps_key and column.name in (self._remapping.older_key or ())

    def _emptied(self, column: ColumnMapping, old: ColumnMapping) -> bool:
        if not _moved(column, old) or self._in_kept_key(column):
            return False
        return _conversion(sql.SQL(""), old.type, column.type) is None

    def _names(self, query: str) -> set[str]:
        name = self._table.as_string(None)
        return {str(n) for (n,) in self._connection.execute(query.encode(), (name,))}

    def _alter(self, action: str, column: str, *parts: str | sql.Composable) -> None:
        named = [sql.Identifier(p) if isinstance(p, str) else p for p in (column, *parts)]
        self._run(sql.SQL("ALTER TABLE {} ").format(self._table) + ddl.raw(action).format(*named))

    def _run(self, statement: sql.Composed) -> None:
        try:
            self._connection.execute(statement)
        except (
            psycopg.errors.FeatureNotSupported,
            psycopg.errors.DependentObjectsStillExist,
        ) as error:
            # Both quote names of objects, never a value.
            said = (error.diag.message_primary, error.diag.message_detail)
            raise TargetError(
                what="PostgreSQL refuses a change of the table: "
                + "; ".join(part.replace("\n", ", ") for part in said if part),
                where=self._where,
                expected="nothing on the target that depends on what changes; nothing was changed",
                hint="drop what depends on it (a view, a foreign key, a column of the target's"
                " own), run again, and make it anew afterwards",
            ) from type(error)(error.sqlstate or "")
        except psycopg.DataError as error:
            raise TargetError(
                what="values of a key that stand on the target can't be turned into its new type",
                where=self._where,
                expected="a type that holds every key as it stands; nothing was changed",
                hint="give this column of the key another `type` in migration.yaml; on the way"
                " back, drop columns of the target's own from the table first",
            ) from type(error)(error.sqlstate or "")
        self.ddl.append(statement.as_string(self._connection))


def refuse_lost_values(
    remapping: Remapping, by: TableMapping, present: TargetTable, applied: Applied, where: str
) -> None:
    """Raise `TargetError` where a new key would part the target's own columns from their rows."""
    if by.key or not remapping.older.key or not applied.deleted:
        return
    # A column that went with the key keeps the values of rows that stand unchanged, and no more.
    going = {column.target for column in remapping.gone}
    losing = [name for name in present.extra_columns if name not in going]
    if not losing:
        return
    raise TargetError(
        what="neither the older key nor the new one tells all rows apart, so columns that only the"
        f" target has can't be carried over: {', '.join(losing)}",
        where=where,
        expected="no such columns when the key changes like this; nothing was changed",
        hint="keep them in another table and drop them here, then run again",
    )


def _moved(column: ColumnMapping, old: ColumnMapping | None) -> bool:
    return old is not None and old.type.sql != column.type.sql


def _indexed_names(mapping: TableMapping) -> set[str]:
    return set(mapping.key).union(*(index.columns for index in mapping.indexes))


def _conversion(name: sql.Composable, old: TargetType, new: TargetType) -> sql.Composable | None:
    """Return an expression that turns every value into the new type, no two into one.

    None where there is no such expression.
    """
    if new.kind is Kind.TEXT:
        if old.kind is Kind.BYTEA:
            return sql.SQL("encode({}, 'hex')").format(name)
        return sql.SQL("{}::text").format(name)
    if new.kind is Kind.BYTEA and old.kind is not Kind.BYTEA:
        return sql.SQL("convert_to({}::text, 'UTF8')").format(name)
    if new.kind is Kind.NUMERIC and new.precision is None and old.kind in _NUMBERS:
        return sql.SQL("{}::numeric").format(name)
    return None
