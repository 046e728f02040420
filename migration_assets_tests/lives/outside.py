"""Somebody else writes on the target of a life: rows of tables and of quarantine, and undoes it."""

from typing import Any

import psycopg
from psycopg import sql

from migration_assets_tests.lives.expected import Table
from migration_assets_tests.lives.judge import Judge
from migration_assets_tests.lives.shapes import GOOD, Column, Row, Rows, Value


class Outsider:
    """Another session on the target, and what the model is told of it."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.session = judge.session

    def insert(self, name: str, table: Table, numbers: list[int]) -> bool:
        """Insert a row; tell whether the table's constraints let it."""
        assert table.head is not None
        columns = table.head.content.columns
        row = tuple(
            GOOD[c.kind][numbers[at % len(numbers)] % len(GOOD[c.kind])]
            for at, c in enumerate(columns)
        )
        if not self._insert(name, columns, row):
            return False
        table.target[row] += 1
        return True

    def _insert(self, name: str, columns: tuple[Column, ...], row: Row) -> bool:
        query = sql.SQL("INSERT INTO public.{} ({}) VALUES ({})").format(
            sql.Identifier(name),
            sql.SQL(", ").join([sql.Identifier(c.name) for c in columns]),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        )
        return self._done(query, [_parameter(value) for value in row])

    def delete(self, name: str, table: Table, number: int) -> bool:
        """Delete a row."""
        found = self._pick(table, number)
        if found is None:
            return False
        self._delete(name, table, found)
        return True

    def _delete(self, name: str, table: Table, row: Row) -> None:
        place = self._place(name, table, row)
        query = sql.SQL("DELETE FROM public.{} WHERE ctid = %s").format(sql.Identifier(name))
        assert self._done(query, [place])
        table.target -= Rows([row])

    def update(self, name: str, table: Table, number: int, place: int, value: int) -> bool:
        """Give a row another value."""
        found = self._pick(table, number)
        if found is None or table.head is None:
            return False
        columns = table.head.content.columns
        at = place % len(columns)
        new = GOOD[columns[at].kind][value % len(GOOD[columns[at].kind])]
        query = sql.SQL("UPDATE public.{} SET {} = %s WHERE ctid = %s").format(
            sql.Identifier(name), sql.Identifier(columns[at].name)
        )
        if not self._done(query, [_parameter(new), self._place(name, table, found)]):
            return False
        table.target -= Rows([found])
        table.target[(*found[:at], new, *found[at + 1 :])] += 1
        return True

    def undo(self, name: str, table: Table) -> bool:
        """Put right what was written: rows that are too many go, those that lack come back."""
        if table.head is None or table.rows_clean:
            return False
        for row in (table.target - table.head.fitting).elements():
            self._delete(name, table, row)
        for row in (table.head.fitting - table.target).elements():
            assert self._insert(name, table.head.content.columns, row)
            table.target[row] += 1
        return True

    def quarantine(self, name: str, table: Table, number: int, *, more: bool) -> bool:
        """Write a copy of a quarantined row, or delete one."""
        rows = sorted(table.quarantine.elements(), key=repr)
        if not rows:
            return False
        row = rows[number % len(rows)]
        place = self._quarantined(name, table, row)
        if more:
            self.session.execute(
                "INSERT INTO migration.quarantine SELECT * FROM migration.quarantine"
                " WHERE ctid = %s",
                (place,),
            )
            table.quarantine[row] += 1
        else:
            self.session.execute("DELETE FROM migration.quarantine WHERE ctid = %s", (place,))
            table.quarantine -= Rows([row])
        return True

    def _quarantined(self, name: str, table: Table, row: Row) -> str:
        assert table.head is not None
        found = self.judge.quarantine_places(name, table.head.content.columns)
        return next(place for place, other in found if repr(other) == repr(row))

    def _place(self, name: str, table: Table, row: Row) -> str:
        assert table.head is not None
        found = self.judge.places(name, table.head.content.columns)
        return next(place for place, other in found if repr(other) == repr(row))

    @staticmethod
    def _pick(table: Table, number: int) -> Row | None:
        rows = sorted(table.target.elements(), key=repr)
        return rows[number % len(rows)] if rows else None

    def _done(self, query: sql.Composed, values: list[Any]) -> bool:
        try:
            self.session.execute(query, values)
        except (psycopg.IntegrityError, psycopg.DataError):
            return False
        return True


def _parameter(value: Value) -> Value:
    """Return a value as a literal without a type, which becomes the column's."""
    if isinstance(value, float):
        return repr(value)
    return str(value) if isinstance(value, int) else value
