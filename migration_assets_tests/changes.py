"""Lives a little in any SQLite database: real, random, seeded changes that its constraints allow.

A migration has to be tried on databases nobody wrote it for. So this knows no schema: it reads
tables, keys and foreign keys from the file and does what an application does, one transaction a
change, under `PRAGMA foreign_keys = ON`: rows copied under new keys with some values changed, rows
updated and deleted, keys changed, values of two rows swapped. What a constraint or trigger refuses
is rolled back and counted. New values are of the old ones' kind (a date stays a date, a number in
a text stays a number), or another row's.

Generated columns, virtual tables and their shadows are left alone, as are rows whose text is not
UTF-8 where such a value would have to be written anew.
"""

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

Value = None | int | float | str | bytes
_Identity = tuple[Value, ...]

KINDS: Final = ("insert", "update", "delete", "key", "swap")
_CHANGES_AT_MOST: Final = 25  # of each kind per table
_ATTEMPTS: Final = 6  # a refused change is tried again with other rows and values
_LAST_ATTEMPTS: Final = 200  # per table, for a kind that has not succeeded anywhere
_INT64: Final = 2**63


class ChangesRefusedError(RuntimeError):
    """The database let no change of some kind happen."""


class _NotUtf8Error(ValueError):
    """A text to be written anew is not UTF-8."""


def live(sqlite_file: Path, *, seed: int) -> dict[str, dict[str, int]]:
    """Change the file, and answer per table how many changes of each kind were committed.

    The kinds are `insert`, `update`, `delete`, `key` (a row's primary key changed) and `swap` (two
    rows exchanged a value); `refused` counts the attempts that a constraint stopped. The same file
    and seed give the same changes.

    Raises `ChangesRefusedError` if not at least one insert, one update and one delete succeeded;
    what succeeded until then stays.
    """
    choice = random.Random(seed)
    uri = f"{sqlite_file.resolve().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = OFF")  # of this connection only
        lives = [_Life(connection, table, choice) for table in _tables(connection)]
        for life in lives:
            life.some_of_each()
        for kind in ("insert", "update", "delete"):
            if not any(life.done[kind] for life in lives) and not any(
                life.attempt(kind, attempts=_LAST_ATTEMPTS) for life in lives
            ):
                raise ChangesRefusedError(f"no {kind} succeeded in {sqlite_file.name}")
        return {life.table.name: dict(life.done) for life in lives}


# ------------------------------------------------------------------------------------- the schema


@dataclass(frozen=True, slots=True, kw_only=True)
class _ForeignKey:
    parent: str
    columns: tuple[str, ...]
    referenced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    name: str
    columns: tuple[str, ...]  # those that can be written
    nullable: frozenset[str]
    primary_key: tuple[str, ...]
    unique: frozenset[str]  # columns of the primary key or of a unique index
    foreign_keys: tuple[_ForeignKey, ...]
    identity: tuple[str, ...]  # what names a row in SQL: the rowid or the primary key

    @property
    def free(self) -> list[str]:
        """The columns outside every key of the table."""
        return [name for name in self.columns if name not in self.unique]

    def foreign_key_of(self, column: str) -> _ForeignKey | None:
        return next((key for key in self.foreign_keys if column in key.columns), None)


def _tables(connection: sqlite3.Connection) -> list[_Table]:
    """Read the tables whose rows can be named; a table of another kind is no table here."""
    listed = connection.execute("PRAGMA main.table_list").fetchall()
    tables = [
        _table(connection, name, without_rowid=bool(without_rowid))
        for _, name, kind, _, without_rowid, _ in listed
        if kind == "table" and not name.startswith("sqlite_")
    ]
    return sorted((table for table in tables if table.identity), key=lambda table: table.name)


def _table(connection: sqlite3.Connection, name: str, *, without_rowid: bool) -> _Table:
    info = connection.execute(f"PRAGMA main.table_xinfo({_quote(name)})").fetchall()
    primary_key = _primary_key(connection, name)
    unique = set(primary_key)
    for _, index, is_unique, _, _ in connection.execute(
        f"PRAGMA main.index_list({_quote(name)})"
    ).fetchall():
        if is_unique:
            keys = connection.execute(f"PRAGMA main.index_info({_quote(index)})")
            unique.update(column for _, _, column in keys if column is not None)
    names = {column.lower() for _, column, *_ in info}
    rowid = [alias for alias in ("rowid", "_rowid_", "oid") if alias not in names]
    return _Table(
        name=name,
        columns=tuple(column for _, column, _, _, _, _, hidden in info if hidden == 0),
        nullable=frozenset(column for _, column, _, not_null, *_ in info if not not_null),
        primary_key=primary_key,
        unique=frozenset(unique),
        foreign_keys=tuple(_foreign_keys(connection, name)),
        identity=primary_key if without_rowid or not rowid else (rowid[0],),
    )


def _primary_key(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    info = connection.execute(f"PRAGMA main.table_info({_quote(table)})").fetchall()
    return tuple(column for _, column, _, _, _, key in sorted(info, key=lambda row: row[5]) if key)


def _foreign_keys(connection: sqlite3.Connection, table: str) -> Iterator[_ForeignKey]:
    listed = connection.execute(f"PRAGMA main.foreign_key_list({_quote(table)})").fetchall()
    for number in sorted({row[0] for row in listed}):
        rows = sorted((row for row in listed if row[0] == number), key=lambda row: row[1])
        parent = rows[0][2]
        referenced = tuple(row[4] for row in rows)
        if None in referenced:  # the parent's primary key is meant
            referenced = _primary_key(connection, parent)
        if len(referenced) == len(rows):
            columns = tuple(row[3] for row in rows)
            yield _ForeignKey(parent=parent, columns=columns, referenced=referenced)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ----------------------------------------------------------------------------------- new values


def _varied(value: Value, choice: random.Random) -> Value:
    """Answer another value of the same storage class and, as far as it shows, the same kind."""
    match value:
        case None:
            return None
        case int():
            moved = value + choice.choice((-1, 1)) * choice.randint(1, 1_000)
            return moved if -_INT64 <= moved < _INT64 else choice.randint(-1_000, 1_000)
        case float():
            return round(value + choice.randint(1, 9_999) / 100, 2)
        case str():
            return _varied_text(value, choice)
        case bytes():
            at = choice.randrange(len(value) + 1)
            return value[:at] + bytes([choice.randrange(256)]) + value[at + 1 :]


def _varied_text(text: str, choice: random.Random) -> str:
    day = re.match(r"\d{4}-\d\d-\d\d", text, re.ASCII)
    if day is not None:
        try:
            moved = date.fromisoformat(day[0]) + timedelta(days=choice.randint(1, 400))
        except (ValueError, OverflowError):
            return text
        return moved.isoformat() + text[day.end() :]
    if re.match(r"\d\d:\d\d", text, re.ASCII):
        return f"{choice.randrange(24):02}{text[2:]}"
    digits = [at for at, letter in enumerate(text) if letter in "123456789"]
    letters = [at for at, letter in enumerate(text) if letter.isascii() and letter.isalpha()]
    if digits:
        return _replaced(text, choice.choice(digits), "123456789", choice)
    if letters:
        at = choice.choice(letters)
        alphabet = "abcdefghijklmnopqrstuvwxyz"
        return _replaced(text, at, alphabet.upper() if text[at].isupper() else alphabet, choice)
    return text + choice.choice("abcé€ 😀'\"\\")


def _replaced(text: str, at: int, alphabet: str, choice: random.Random) -> str:
    other = choice.choice([letter for letter in alphabet if letter != text[at]])
    return text[:at] + other + text[at + 1 :]


# -------------------------------------------------------------------------------------- the life


class _Life:
    """The changes of one table, and their counts."""

    def __init__(
        self, connection: sqlite3.Connection, table: _Table, choice: random.Random
    ) -> None:
        self.table = table
        self.done: Counter[str] = Counter(dict.fromkeys((*KINDS, "refused"), 0))
        self._connection = connection
        self._choice = choice
        self._where = " AND ".join(f"{_quote(name)} IS ?" for name in table.identity)
        self._change: dict[str, Callable[[], bool]] = {
            "insert": self._insert,
            "update": self._update,
            "delete": self._delete,
            "key": self._change_key,
            "swap": self._swap,
        }

    def some_of_each(self) -> None:
        """Make a few changes of each kind, in random order; deletes leave most rows."""
        rows = self._count(self.table.name)
        most = min(_CHANGES_AT_MOST, 2 + rows // 20)
        wanted = {kind: self._choice.randint(1, most) for kind in KINDS}
        wanted["delete"] = min(wanted["delete"], max(1, rows // 4)) if rows > 1 else 0
        kinds = [kind for kind, number in wanted.items() for _ in range(number)]
        self._choice.shuffle(kinds)
        for kind in kinds:
            self.attempt(kind, attempts=_ATTEMPTS)

    def attempt(self, kind: str, *, attempts: int) -> bool:
        """Try until one change of this kind is committed."""
        for _ in range(attempts):
            if self._committed(self._change[kind]):
                self.done[kind] += 1
                return True
        return False

    def _committed(self, change: Callable[[], bool]) -> bool:
        """Make the change in a transaction of its own; take it back where it is refused.

        The outermost savepoint is a transaction, so releasing it checks deferred constraints too.
        An OperationalError refuses as well: a CHECK or a trigger may use a function that only the
        application has, or a foreign key may name no unique parent key.
        """
        self._connection.execute("SAVEPOINT change")
        try:
            if change():
                self._connection.execute("RELEASE change")
                return True
        except (sqlite3.IntegrityError, sqlite3.OperationalError, _NotUtf8Error):
            self.done["refused"] += 1
        if self._connection.in_transaction:  # a trigger's RAISE(ROLLBACK) has ended it
            self._connection.execute("ROLLBACK TO change")
            self._connection.execute("RELEASE change")
        return False

    # Each of these answers whether it did what it is for; what it did otherwise is taken back.

    def _insert(self) -> bool:
        row = self._some_row()
        if row is None:
            return False
        new = self._new_values(row, sorted(self.table.unique & {*self.table.columns}), fresh=True)
        new |= self._new_values(row, self._some(self.table.free), fresh=False)
        names = ", ".join(map(_quote, self.table.columns))
        values = ", ".join("?" if name in new else _quote(name) for name in self.table.columns)
        # The rest is copied by SQLite itself: whatever it holds, every byte of it.
        statement = (
            f"INSERT OR ABORT INTO {self._name} ({names})"
            f" SELECT {values} FROM {self._name} WHERE {self._where}"
        )
        written = [new[name] for name in self.table.columns if name in new]
        return self._connection.execute(statement, [*written, *row]).rowcount == 1

    def _update(self) -> bool:
        row = self._some_row()
        names = self._some(self.table.free)
        if row is None or not names:
            return False
        return self._write(row, self._new_values(row, names, fresh=False))

    def _delete(self) -> bool:
        row = self._some_row()
        if row is None:
            return False
        statement = f"DELETE FROM {self._name} WHERE {self._where}"
        return self._connection.execute(statement, row).rowcount == 1

    def _change_key(self) -> bool:
        row = self._some_row()
        if row is None or not self.table.primary_key:
            return False
        names = [self._choice.choice(self.table.primary_key)]
        return self._write(row, self._new_values(row, names, fresh=True))

    def _swap(self) -> bool:
        one, other = self._some_row(), self._some_row()
        if one is None or other is None or not self.table.free:
            return False
        name = self._choice.choice(self.table.free)
        of_one, of_other = self._value(one, name), self._value(other, name)
        if repr(of_one) == repr(of_other):
            return False
        return self._write(one, {name: of_other}) and self._write(other, {name: of_one})

    def _write(self, row: _Identity, new: dict[str, Value]) -> bool:
        before = [self._value(row, name) for name in new]
        if repr(before) == repr(list(new.values())):
            return False
        assignments = ", ".join(f"{_quote(name)} = ?" for name in new)
        statement = f"UPDATE OR ABORT {self._name} SET {assignments} WHERE {self._where}"
        return self._connection.execute(statement, [*new.values(), *row]).rowcount == 1

    def _new_values(self, row: _Identity, names: Sequence[str], *, fresh: bool) -> dict[str, Value]:
        """Choose new values for these columns; a foreign key's columns change together.

        `fresh` ones must not be another row's, so they are varied, not borrowed.
        """
        new: dict[str, Value] = {}
        for name in names:
            foreign_key = self.table.foreign_key_of(name)
            if name in new:
                continue
            if foreign_key is not None:
                new |= self._another_parent(foreign_key)
            elif fresh:
                new[name] = self._fresh(row, name)
            else:
                new[name] = self._mutated(row, name)
        return {name: value for name, value in new.items() if name in self.table.columns}

    def _another_parent(self, key: _ForeignKey) -> dict[str, Value]:
        rows = self._count(key.parent)
        if not rows:
            return {}
        names = ", ".join(map(_quote, key.referenced))
        statement = f"SELECT {names} FROM main.{_quote(key.parent)} LIMIT 1 OFFSET ?"
        parent = self._fetch(statement, [self._choice.randrange(rows)])
        return dict(zip(key.columns, parent, strict=True))

    def _fresh(self, row: _Identity, name: str) -> Value:
        """Vary a key's value far enough that it is likely to be free."""
        value = self._value(row, name)
        if isinstance(value, int):
            highest = self._fetch(f"SELECT max({_quote(name)}) FROM {self._name}", [])[0]
            if isinstance(highest, int) and highest < _INT64 - 100 and self._choice.random() < 0.8:
                return highest + self._choice.randint(1, 5)
        for _ in range(3):
            value = _varied(value, self._choice)
        return value

    def _mutated(self, row: _Identity, name: str) -> Value:
        """Answer another row's value, NULL where that is allowed, or a variation."""
        way = self._choice.random()
        if way < 0.1 and name in self.table.nullable:
            return None
        if way < 0.5:
            another = self._some_row()
            return self._value(another or row, name)
        return _varied(self._value(row, name), self._choice)

    def _some(self, names: Sequence[str]) -> list[str]:
        return self._choice.sample(names, min(len(names), self._choice.randint(1, 3)))

    def _some_row(self) -> _Identity | None:
        """Answer the identity of a random row."""
        rows = self._count(self.table.name)
        if not rows:
            return None
        names = ", ".join(map(_quote, self.table.identity))
        statement = f"SELECT {names} FROM {self._name} ORDER BY {names} LIMIT 1 OFFSET ?"
        return self._fetch(statement, [self._choice.randrange(rows)])

    def _value(self, row: _Identity, name: str) -> Value:
        statement = f"SELECT {_quote(name)} FROM {self._name} WHERE {self._where}"
        return self._fetch(statement, row)[0]

    def _count(self, table: str) -> int:
        return self._connection.execute(f"SELECT count(*) FROM main.{_quote(table)}").fetchone()[0]

    def _fetch(self, statement: str, parameters: Sequence[Value]) -> _Identity:
        self._connection.text_factory = bytearray
        try:
            found = self._connection.execute(statement, parameters).fetchone()
        finally:
            self._connection.text_factory = str
        return tuple(_decoded(value) for value in found)

    @property
    def _name(self) -> str:
        return f"main.{_quote(self.table.name)}"


def _decoded(value: Value | bytearray) -> Value:
    if not isinstance(value, bytearray):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _NotUtf8Error from error
