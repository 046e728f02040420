"""The application of a life: it writes into SQLite, and Python keeps what it wrote beside it."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from migration_assets_tests.lives.shapes import (
    GOOD,
    MISFITS,
    Column,
    Content,
    Kind,
    Row,
    Shape,
    Value,
)

_ADDED: Final = (Kind.INTEGER, Kind.TEXT, Kind.REAL, Kind.WIDE)


class Table:
    """One of its tables: rows by key, or by rowid where there is none."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.columns = shape.columns
        self.rows: dict[Row, Row] = {}
        self.made = 0  # columns and rowids that were ever given

    def content(self) -> Content:
        """Return what it holds."""
        return Content(columns=self.columns, rows=tuple(self.rows.values()))

    def at(self, name: str) -> int:
        """Return the place of a column."""
        return [column.name for column in self.columns].index(name)

    def key_of(self, row: Row) -> Row:
        """Return a row's key; a new rowid where it has none."""
        if self.shape.key:
            return tuple(row[self.at(name)] for name in self.shape.key)
        self.made += 1
        return (self.made,)

    def pick(self, number: int) -> Row | None:
        """Return the key of one of the rows; None where there are none."""
        keys = list(self.rows)
        return keys[number % len(keys)] if keys else None


class Application:
    """A SQLite database that is written to, and what was written."""

    def __init__(self, path: Path, shapes: Sequence[Shape]) -> None:
        self.path = path
        self.tables = {shape.name: Table(shape) for shape in shapes}
        self.backups: dict[
            object, tuple[Path, dict[str, tuple[tuple[Column, ...], dict[Row, Row]]]]
        ]
        self.backups = {}
        with closing(sqlite3.connect(path)) as connection, connection:
            for shape in shapes:
                connection.execute(shape.ddl())

    def contents(self) -> dict[str, Content]:
        """Return what every table holds."""
        return {name: table.content() for name, table in self.tables.items()}

    def back_up(self, name: object) -> None:
        """Keep the database as it is, to be restored one day."""
        file = self.path.with_name(f"{self.path.name}.{name}")
        shutil.copy(self.path, file)
        kept = {n: (table.columns, dict(table.rows)) for n, table in self.tables.items()}
        self.backups[name] = (file, kept)

    def restore(self, name: object) -> None:
        """Put a database that was kept in place of the present one."""
        file, kept = self.backups[name]
        shutil.copy(file, self.path)
        for table, (columns, rows) in kept.items():
            self.tables[table].columns = columns
            self.tables[table].rows = dict(rows)

    def _write(self, *statements: tuple[str, Sequence[Value]]) -> bool:
        """Run statements in one transaction; tell whether the table's constraints let them."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            try:
                with connection:
                    for statement, values in statements:
                        connection.execute(statement, values)
            except sqlite3.IntegrityError:
                return False
        return True

    def _where(self, table: Table, key: Row) -> tuple[str, Row]:
        names = table.shape.key or ("rowid",)
        return " AND ".join(f"{name} IS ?" for name in names), key

    def insert(self, name: str, numbers: Sequence[int], *, odd: bool) -> bool:
        """Insert a row whose values the numbers choose; with `odd`, one of them doesn't fit."""
        table = self.tables[name]
        row = tuple(
            self._value(table, column, numbers[at % len(numbers)], odd=odd and at == numbers[0] % 3)
            for at, column in enumerate(table.columns)
        )
        key = table.key_of(row)
        names, values = [column.name for column in table.columns], row
        if not table.shape.key:
            names, values = ["rowid", *names], (*key, *row)
        slots = ", ".join("?" * len(values))
        done = self._write((f"INSERT INTO {name} ({', '.join(names)}) VALUES ({slots})", values))
        if done:
            table.rows[key] = row
        return done

    @staticmethod
    def _value(table: Table, column: Column, number: int, *, odd: bool) -> Value:
        rowid = table.shape.key == (column.name,) and column.kind is Kind.INTEGER
        if odd and MISFITS[column.kind] and not rowid:
            return MISFITS[column.kind][number % len(MISFITS[column.kind])]
        values = GOOD[column.kind]
        if column.name not in table.shape.key:
            values = (*values, None)
        return values[number % len(values)]

    def update(self, name: str, number: int, place: int, value: int, *, odd: bool) -> bool:
        """Give one column of a row another value; of its key too, which changes the key."""
        table = self.tables[name]
        key = table.pick(number)
        if key is None:
            return False
        at = place % len(table.columns)
        column = table.columns[at]
        new = self._value(table, column, value, odd=odd)
        where, values = self._where(table, key)
        done = self._write((f"UPDATE {name} SET {column.name} = ? WHERE {where}", (new, *values)))
        if done:
            row = table.rows.pop(key)
            row = (*row[:at], new, *row[at + 1 :])
            table.rows[table.key_of(row) if table.shape.key else key] = row
        return done

    def delete(self, name: str, number: int) -> bool:
        """Delete a row."""
        table = self.tables[name]
        key = table.pick(number)
        if key is None:
            return False
        where, values = self._where(table, key)
        self._write((f"DELETE FROM {name} WHERE {where}", values))
        del table.rows[key]
        return True

    def empty(self, name: str) -> bool:
        """Delete all rows of a table."""
        self._write((f"DELETE FROM {name}", ()))
        self.tables[name].rows.clear()
        return True

    def swap(self, name: str, number: int, other: int) -> bool:
        """Let two rows exchange the value of the column that is unique."""
        table = self.tables[name]
        left, right = table.pick(number), table.pick(other)
        if left is None or right is None or left == right or not table.shape.unique:
            return False
        at = table.at(table.shape.unique)
        first, second = table.rows[left], table.rows[right]
        statement = f"UPDATE {name} SET {table.shape.unique} = ? WHERE "
        (where, mine), (_, others) = self._where(table, left), self._where(table, right)
        self._write(
            (statement + where, (None, *mine)),
            (statement + where, (first[at], *others)),
            (statement + where, (second[at], *mine)),
        )
        table.rows[left] = (*first[:at], second[at], *first[at + 1 :])
        table.rows[right] = (*second[:at], first[at], *second[at + 1 :])
        return True

    def mend(self) -> None:
        """Mend every value that doesn't fit; rows with such a value in their key are deleted."""
        for name, table in self.tables.items():
            for key, row in list(table.rows.items()):
                pairs = zip(table.columns, row, strict=True)
                odd = [at for at, (column, value) in enumerate(pairs) if not column.fits(value)]
                where, values = self._where(table, key)
                if any(table.columns[at].name in table.shape.key for at in odd):
                    self._write((f"DELETE FROM {name} WHERE {where}", values))
                    del table.rows[key]
                    continue
                for at in odd:
                    column = table.columns[at].name
                    self._write((f"UPDATE {name} SET {column} = NULL WHERE {where}", values))
                    row = (*row[:at], None, *row[at + 1 :])  # noqa: PLW2901 - mended step by step
                table.rows[key] = row

    # ----------------------------------------------------------------------------- its releases

    def _free(self, table: Table) -> list[int]:
        kept = {*table.shape.key, table.shape.unique, "owner"}
        return [at for at, column in enumerate(table.columns) if column.name not in kept]

    def add_column(self, name: str, number: int) -> bool:
        """Add a column, with or without a value in the rows that are there."""
        table = self.tables[name]
        table.made += 1
        kind = _ADDED[number % len(_ADDED)]
        column = Column(name=f"n{table.made}", kind=kind, origin=f"n{table.made}")
        value: Value = 7 if kind is Kind.INTEGER and number % 2 == 0 else None
        default = "" if value is None else f" DEFAULT {value}"
        self._write((f"ALTER TABLE {name} ADD COLUMN {column.name} {kind.declared}{default}", ()))
        table.columns = (*table.columns, column)
        table.rows = {key: (*row, value) for key, row in table.rows.items()}
        return True

    def drop_column(self, name: str, number: int) -> bool:
        """Drop a column that no key speaks of; one at least is left."""
        table = self.tables[name]
        free = self._free(table)
        if len(free) < 2:
            return False
        at = free[number % len(free)]
        self._write((f"ALTER TABLE {name} DROP COLUMN {table.columns[at].name}", ()))
        table.columns = (*table.columns[:at], *table.columns[at + 1 :])
        table.rows = {key: (*row[:at], *row[at + 1 :]) for key, row in table.rows.items()}
        return True

    def rename_column(self, name: str, number: int) -> bool:
        """Rename a column that no key speaks of."""
        table = self.tables[name]
        free = self._free(table)
        if not free:
            return False
        at = free[number % len(free)]
        old = table.columns[at]
        table.made += 1
        new = replace(old, name=f"r{table.made}")
        self._write((f"ALTER TABLE {name} RENAME COLUMN {old.name} TO {new.name}", ()))
        table.columns = (*table.columns[:at], new, *table.columns[at + 1 :])
        return True
