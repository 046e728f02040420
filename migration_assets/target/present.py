"""What stands on the target already where a first load would make its table.

It is left alone, whatever it is: rows that nobody proved must not be taken for the source's. What
it holds is said, so that whoever owns it knows it again.
"""

from dataclasses import dataclass
from typing import cast

from psycopg import sql

from migration_assets.model import TableMapping
from migration_assets.target import ddl
from migration_assets.target.connection import Connection

_COUNTED = 1000  # rows; more are "more": it is not ours to read whole
_NAMED = 10  # columns that are named
# https://www.postgresql.org/docs/current/catalog-pg-class.html
_KINDS = {
    "r": "a table",
    "p": "a partitioned table",
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "a partitioned index",
    "c": "a composite type",
}
_ROWS_OF = "r"
_RELATION = """
SELECT c.relkind, NOT c.relrowsecurity AND has_table_privilege(c.oid, 'SELECT')
FROM pg_class AS c WHERE c.oid = to_regclass(%s)
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
HINT = (
    "rename or drop it on the target; or give ours another name: `target` under `tables`, or"
    " another `target_schema`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A relation of somebody else's: its kind, its columns with their types, what of its rows."""

    kind: str
    columns: tuple[tuple[str, str], ...]
    rows: str

    def text(self, mapping: TableMapping) -> str:
        """Say what is there, and how its columns differ from those that the load would make."""
        lacking = ddl.missing_columns(
            mapping,
            ddl.TargetTable(
                columns=self.columns,
                extra_columns=(),
                generated=(),
                secondary_unique=False,
                cascading=(),
                referenced=False,
            ),
        )
        there = dict(self.columns)
        wanted = {c.target: c.type.sql for c in mapping.columns}
        differences = [
            f"{name} is {there[name]}, not {wanted[name]}" if name in there else f"no {name}"
            for name in lacking
        ]
        differences += [f"{name} besides" for name in there if name not in wanted]
        named = f"other columns: {_listed(differences)}" if differences else "the same columns"
        place = f"{mapping.target_schema}.{mapping.target_table}"
        return f"{place} exists already: {self.kind} with {self.rows} and {named}"


def read_present(connection: Connection, schema: str, name: str) -> Present | None:
    """Read what has that name on the target; None where nothing has."""
    relation = sql.Identifier(schema, name).as_string(None)
    row = connection.execute(_RELATION, (relation,)).fetchone()
    if row is None:
        return None
    kind, readable = str(row[0]), bool(row[1])
    columns = connection.execute(_COLUMNS, (relation,)).fetchall()
    return Present(
        kind=_KINDS.get(kind, "a relation"),
        columns=tuple((str(c), str(t)) for c, t in columns),
        rows=_rows(connection, schema, name) if kind == _ROWS_OF and readable else "rows unread",
    )


def _rows(connection: Connection, schema: str, name: str) -> str:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS rows_there").format(
            sql.Identifier(schema, name), sql.Literal(_COUNTED + 1)
        )
    ).fetchone()
    count = cast("int", row[0]) if row else 0
    if count > _COUNTED:
        return f"more than {_COUNTED:,} rows"
    return f"{count:,} row{'' if count == 1 else 's'}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
