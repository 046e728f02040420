"""What really stands on the target of a life, read without any code of the product."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from migration_assets_tests.lives.shapes import Column, Kind, Row, Rows, Value

Session = psycopg.Connection[tuple[Any, ...]]

_NUMERIC: Final = (Kind.INTEGER, Kind.WIDE)
_FETCHED: Final[dict[Kind, LiteralString]] = {
    Kind.DATE: "text",
    Kind.REAL: "double precision",
    Kind.BLOB: "bytea",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the ledger says of one head move."""

    entry: int
    table: str
    kind: str
    week: str


class Judge:
    """Reads the target through a session of its own."""

    def __init__(self, url: str) -> None:
        self.session: Session = psycopg.connect(url, autocommit=True)
        self.session.execute("SET extra_float_digits TO 1; SET DateStyle TO 'ISO, YMD'")
        self.rows_read = 0

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def places(self, table: str, columns: Sequence[Column]) -> list[tuple[str, Row]]:
        """Return the target's rows, as the source would hold them, each with its place."""
        names = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Identifier(c.name), sql.SQL(_FETCHED.get(c.kind, "text")))
            for c in columns
        )
        query = sql.SQL("SELECT ctid::text, {} FROM public.{}").format(names, sql.Identifier(table))
        return [
            (place, tuple(_stored(c, v) for c, v in zip(columns, row, strict=True)))
            for place, *row in self.session.execute(query)
        ]

    def target(self, table: str, columns: Sequence[Column]) -> Rows:
        """Return the target's rows."""
        return self._counted(self.places(table, columns))

    def quarantine_places(self, table: str, columns: Sequence[Column]) -> list[tuple[str, Row]]:
        """Return the rows in quarantine, each with its place; each has to have these columns."""
        found: list[tuple[str, Row]] = []
        for place, names, classes, values in self.session.execute(
            'SELECT ctid::text, column_names, storage_classes, "values" FROM migration.quarantine'
            " WHERE source = 'main' AND table_name = %s",
            (table,),
        ):
            assert names == [c.name for c in columns], f"{table}: quarantined with {names}"
            pairs = zip(classes, values, strict=True)
            found.append((place, tuple(_decoded(kind, value) for kind, value in pairs)))
        return found

    def quarantine(self, table: str, columns: Sequence[Column]) -> Rows:
        """Return the rows in quarantine."""
        return self._counted(self.quarantine_places(table, columns))

    def _counted(self, found: list[tuple[str, Row]]) -> Rows:
        self.rows_read += len(found)
        return Rows(row for _, row in found)

    def ledger(self) -> list[Entry]:
        """Return all head moves in their order; none where there is no ledger yet."""
        if not self._has("migration.ledger"):
            return []
        rows = self.session.execute(
            "SELECT entry, table_name, kind, week::text FROM migration.ledger ORDER BY entry"
        )
        return [Entry(entry=e, table=t, kind=k, week=w) for e, t, k, w in rows]

    def displaced(self) -> int:
        """Return how many foreign rows are kept."""
        if not self._has("migration.displaced"):
            return 0
        return int(
            self.session.execute("SELECT count(*) FROM migration.displaced").fetchall()[0][0]
        )

    def held(self) -> set[str]:
        """Return the tables on hold."""
        if not self._has("migration.hold"):
            return set()
        return {name for (name,) in self.session.execute("SELECT table_name FROM migration.hold")}

    def leftovers(self, tables: Sequence[str]) -> list[str]:
        """Return what no move may leave behind: staging, other tables, locks, transactions."""
        found = self.session.execute(
            """
            SELECT 'relation ' || relname FROM pg_class
            WHERE relpersistence = 't' AND relkind IN ('r', 'v')
            UNION ALL SELECT 'table ' || tablename FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> ALL (%s)
            UNION ALL SELECT 'advisory lock' FROM pg_locks
            WHERE locktype = 'advisory'
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            UNION ALL SELECT 'open transaction' FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND state LIKE 'idle in transaction%%'
            """,
            (list(tables),),
        )
        return [name for (name,) in found]

    def kill_others(self) -> int:
        """End the sessions of the pipeline; return how many there were."""
        found = self.session.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name LIKE 'migration-assets%'"
        )
        return len(found.fetchall())

    def _has(self, name: str) -> bool:
        return self.session.execute("SELECT to_regclass(%s)", (name,)).fetchall()[0][0] is not None


def reset(url: str) -> None:
    """Empty the target for the next life."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("DROP SCHEMA IF EXISTS migration CASCADE")
        session.execute("DROP SCHEMA public CASCADE")
        session.execute("CREATE SCHEMA public")


def _stored(column: Column, value: Any) -> Value:  # noqa: ANN401 - what the target has
    """Return a target value in the storage class that the source's affinity gives it."""
    if isinstance(value, str) and column.kind in _NUMERIC:
        if re.fullmatch(r"-?\d+", value):
            return int(value)
        return float(value) if re.fullmatch(r"-?\d+\.\d+", value) else value
    return bytes(value) if isinstance(value, memoryview) else value


def _decoded(storage_class: str, value: bytes | None) -> Value:
    match storage_class, value:
        case "null", None:
            return None
        case "integer", bytes():
            return int.from_bytes(value, "big", signed=True)
        case "real", bytes():
            return float(struct.unpack(">d", value)[0])
        case "text", bytes():
            return value.decode()
        case "blob", bytes():
            return value
    raise AssertionError(storage_class)


def leftover_files(state: Path) -> list[str]:
    """Return what workspaces left in the state folder."""
    work = state / "work"
    return sorted(path.name for path in work.iterdir()) if work.is_dir() else []
