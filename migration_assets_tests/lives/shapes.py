"""The tables of a life: what they are declared as, what they hold, and which values fit.

Values are chosen so that the column's affinity leaves them as they are, and so that no two of one
column are equal in Python without being the same in SQLite (1 and 1.0): what Python wrote is then
what the database holds, without asking it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Value = None | int | float | str | bytes
Row = tuple[Value, ...]
Rows = Counter[Row]


class Kind(StrEnum):
    """What a column holds."""

    INTEGER = "integer"
    TEXT = "text"
    REAL = "real"
    DATE = "date"
    BLOB = "blob"
    WIDE = "wide"  # a number whose column is widened when a text comes

    @property
    def declared(self) -> str:
        """The type that the source declares."""
        return "INTEGER" if self is Kind.WIDE else self.upper()

    @property
    def pinned(self) -> str | None:
        """The target's type that the settings say; None where the values decide."""
        return _PINNED.get(self)


_PINNED: Final = {
    Kind.INTEGER: "bigint",
    Kind.TEXT: "text",
    Kind.REAL: "double precision",
    Kind.DATE: "date",
    Kind.BLOB: "bytea",
}
GOOD: Final[dict[Kind, tuple[Value, ...]]] = {
    Kind.INTEGER: (0, 1, 2, 7, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    Kind.TEXT: ("a", "A", "a ", "", "é", "e\u0301", "\U0001f600", "b"),
    Kind.REAL: (0.5, -1.5, 1e300, 0.1 + 0.2, 5e-324),
    Kind.DATE: ("2026-02-28", "0001-01-01", "9999-12-31"),
    Kind.BLOB: (b"", b"\0\xff", b"a"),
    Kind.WIDE: (1, 7, 40_000, 2**40, "many", "few"),
}
MISFITS: Final[dict[Kind, tuple[Value, ...]]] = {
    Kind.INTEGER: ("many", 1.5, b"1"),
    Kind.TEXT: (b"a", "a\0b"),
    Kind.REAL: ("much", b"1"),
    Kind.DATE: ("soon", "2026-02-30"),
    Kind.BLOB: ("text",),
    Kind.WIDE: (),
}
_AS_TEXT: Final = ("many", 1.5)  # integers' misfits that fit once their column is text


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column; `origin` stays the same when it is renamed."""

    name: str
    kind: Kind
    origin: str

    def fits(self, value: Value, *, as_text: bool = False) -> bool:
        """Tell whether a value fits the type of the column, or text where it became that."""
        if value is None:
            return True
        misfits = MISFITS[self.kind]
        return not any(same(value, m) and not (as_text and same_one(m)) for m in misfits)


def same(left: Value, right: Value) -> bool:
    """Tell whether two values are the same to SQLite: in storage class and bytes."""
    return type(left) is type(right) and left == right


def same_one(value: Value) -> bool:
    """Tell whether a misfit of an integer column fits text."""
    return any(same(value, other) for other in _AS_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A table as it is first made: its columns, its key, what else is unique, and its options."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    unique: str = ""
    parent: str = ""  # of its column `owner`
    without_rowid: bool = False

    def ddl(self) -> str:
        """Write it as SQLite's statement."""
        alone = self.key[0] if len(self.key) == 1 else ""
        parts: list[str] = []
        for column in self.columns:
            text = f"{column.name} {column.kind.declared}"
            if column.name == alone:
                text += " PRIMARY KEY" + (" NOT NULL" if column.kind is Kind.TEXT else "")
            elif column.name in self.key:
                text += " NOT NULL"
            elif column.name == self.unique:
                text += " UNIQUE"
            parts.append(text + (f" REFERENCES {self.parent}" if column.name == "owner" else ""))
        if len(self.key) > 1:
            parts.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.name} ({', '.join(parts)})" + (
            " WITHOUT ROWID" if self.without_rowid else ""
        )


def _columns(**kinds: Kind) -> tuple[Column, ...]:
    return tuple(Column(name=name, kind=kind, origin=name) for name, kind in kinds.items())


SHAPES: Final = (
    Shape(
        name="customer",
        columns=_columns(id=Kind.INTEGER, email=Kind.TEXT, joined=Kind.DATE, visits=Kind.WIDE),
        key=("id",),
        unique="email",
    ),
    Shape(
        name="invoice",
        columns=_columns(id=Kind.INTEGER, owner=Kind.INTEGER, total=Kind.REAL),
        key=("id",),
        parent="customer",
    ),
    Shape(
        name="label",
        columns=_columns(name=Kind.TEXT, weight=Kind.INTEGER, picture=Kind.BLOB),
        key=("name",),
    ),
    Shape(
        name="stock",
        columns=_columns(site=Kind.TEXT, item=Kind.INTEGER, amount=Kind.INTEGER, code=Kind.TEXT),
        key=("site", "item"),
        unique="code",
        without_rowid=True,
    ),
    Shape(name="event", columns=_columns(what=Kind.TEXT, size=Kind.INTEGER, day=Kind.DATE)),
)
NAMES: Final = tuple(shape.name for shape in SHAPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A table as it stood in a cut: its columns, and its rows as Python wrote them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def split(self, as_text: Iterable[str]) -> tuple[Rows, Rows]:
        """Return the rows that fit, and those that don't; `as_text` are origins now text."""
        texts = set(as_text)
        fitting, unfit = Rows(), Rows()
        for row in self.rows:
            pairs = zip(self.columns, row, strict=True)
            fits = all(
                column.fits(value, as_text=column.origin in texts) for column, value in pairs
            )
            (fitting if fits else unfit)[row] += 1
        return fitting, unfit

    def hopeless(self, as_text: Iterable[str]) -> bool:
        """Tell whether a column has values, and none of them fits the type it is to have."""
        texts = set(as_text)
        for at, column in enumerate(self.columns):
            values = [row[at] for row in self.rows if row[at] is not None]
            if values and not any(column.fits(v, as_text=column.origin in texts) for v in values):
                return True
        return False


def exactly(rows: Rows) -> Counter[str]:
    """Return rows in a form that is equal only where every storage class is."""
    return Counter({repr(row): copies for row, copies in rows.items() if copies})
