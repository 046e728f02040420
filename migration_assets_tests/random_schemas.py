"""Tables of any shape and rows of any kind, as strategies for the property tests.

A table here is a plain description that can be written as SQLite's DDL, so a test can change it
from week to week and still say what it should be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from json import dumps
from typing import Final

from hypothesis import strategies as st

from migration_assets.model import SqliteValue
from migration_assets_tests.fixtures_sqlite import TRICKY, values

Rows = list[tuple[SqliteValue, ...]]


def _moments(separator: str, precision: str, suffix: str) -> st.SearchStrategy[SqliteValue]:
    def written(moment: datetime) -> str:
        return moment.isoformat(separator, precision) + suffix

    return st.datetimes().map(written)


def _clock(hours: int) -> st.SearchStrategy[SqliteValue]:
    zone = timezone(timedelta(hours=hours))
    return st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - the zone comes with `timezones`
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.just(zone),
    ).map(lambda moment: moment.isoformat(" ", "seconds"))


def _times(precision: str) -> st.SearchStrategy[SqliteValue]:
    def written(moment: time) -> str:
        return moment.isoformat(precision)

    return st.times().map(written)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
).map(dumps)

# Of every kind of column: how it may be declared, and what its values look like.
THEMES: Final[dict[str, tuple[tuple[str, ...], st.SearchStrategy[SqliteValue]]]] = {
    "integer": (("INTEGER", "INT", "BIGINT", ""), st.integers(-(2**63), 2**63 - 1)),
    "small": (("INTEGER", "SMALLINT", "TEXT", "ANY"), st.integers(0, 9)),
    "real": (("REAL", "DOUBLE", "FLOAT", "NUMERIC"), st.floats(allow_nan=False)),
    "money": (
        ("DECIMAL(10,2)", "NUMERIC", "MONEY", "REAL"),
        st.integers(-(10**9), 10**9).map(lambda cents: cents / 100),
    ),
    "money text": (
        ("TEXT", "VARCHAR(20)", "DECIMAL(10,2)"),
        st.integers(0, 10**9).map(lambda cents: f"{cents // 100}.{cents % 100:02}"),
    ),
    "text": (("TEXT", "VARCHAR(5)", "CLOB", "", "TEXT COLLATE NOCASE"), st.text(max_size=8)),
    "blob": (("BLOB", "", "TEXT"), st.binary(max_size=8)),
    "flag": (("BOOLEAN", "BOOL", "INTEGER"), st.sampled_from((0, 1))),
    "words": (("BOOLEAN", "TEXT"), st.sampled_from(("true", "false"))),
    "Words": (("BOOL", "VARCHAR(5)"), st.sampled_from(("Yes", "No"))),
    "date": (("DATE", "TEXT"), st.dates().map(lambda day: day.isoformat())),
    "moment": (("DATETIME", "TIMESTAMP", "TEXT"), _moments(" ", "seconds", "")),
    "moment T": (("DATETIME", "TIMESTAMP"), _moments("T", "milliseconds", "")),
    "moment Z": (("TIMESTAMPTZ", "DATETIME", "TEXT"), _moments("T", "microseconds", "Z")),
    "zone": (("TIMESTAMP WITH TIME ZONE", "DATETIME"), _clock(2)),
    "zones": (("TIMESTAMPTZ", "DATETIME"), st.integers(-12, 14).flatmap(_clock)),
    "epoch": (("DATETIME", "INTEGER", "TIMESTAMP"), st.integers(0, 2**31)),
    "julian": (("DATETIME", "REAL"), st.integers(0, 10**10).map(lambda n: n / 4096)),
    "time": (("TIME", "TEXT"), _times("seconds")),
    "time fraction": (("TIME",), _times("milliseconds")),
    "uuid": (("UUID", "GUID", "TEXT", "CHAR(36)"), st.uuids().map(str)),
    "uuid plain": (("UUID", "TEXT"), st.uuids().map(lambda found: found.hex.upper())),
    "uuid blob": (("UUID", "BLOB"), st.uuids().map(lambda found: found.bytes)),
    "json": (("JSON", "JSONB", "TEXT"), _json),
    "anything": (("", "TEXT", "INTEGER", "NUMERIC", "BLOB", "DATE", "JSON", "UUID"), values),
    "nothing": (("TEXT", "INTEGER", "DATETIME", "", "UUID"), st.none()),
}
_STRICT: Final = ("INTEGER", "INT", "REAL", "TEXT", "BLOB", "ANY")
_GENERATED: Final = ("{0} || '!'", "length({0})", "{0} + 1", "coalesce({0}, 'x')", "typeof({0})")
_DEFAULTS: Final = ("", "", "0", "'x'", "NULL", "CURRENT_TIMESTAMP", "(1 + 1)", "x'00'", "-1.5")
_COMPUTED: Final = ("CURRENT_TIMESTAMP", "(1 + 1)")  # no default of a column that is added in place
_INDEXES: Final = (
    "INDEX {i} ON {t} ({c})",
    "INDEX {i} ON {t} ({c} DESC)",
    "UNIQUE INDEX {i} ON {t} ({c}, {d})",
    "INDEX {i} ON {t} ({c}) WHERE {d} IS NOT NULL",
    "UNIQUE INDEX {i} ON {t} ({c}) WHERE {c} > 5",
    "INDEX {i} ON {t} (lower({c}), {d})",
    "INDEX {i} ON {t} ({c} COLLATE NOCASE)",
)
_CHECKS: Final = ("{0} IS NULL OR length({0}) < 500", "typeof({0}) <> 'blob' OR {0} <> x'00'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: what it is declared as, and the theme its values are drawn from.

    `generated` is its expression and how it is kept: `(a + 1) STORED`.
    """

    name: str
    declared: str
    theme: str
    not_null: bool = False
    default: str = ""
    generated: str = ""

    @property
    def ddl(self) -> str:
        """Write it for CREATE TABLE or ADD COLUMN."""
        parts = [self.name, self.declared]
        if self.default:
            parts.append(f"DEFAULT {self.default}")
        if self.generated:
            parts.append(f"GENERATED ALWAYS AS {self.generated}")
        return " ".join([*parts, *(["NOT NULL"] if self.not_null else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: its columns, its key, its checks and its indexes."""

    name: str
    columns: tuple[Column, ...]
    primary: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    without_rowid: bool = False
    strict: bool = False

    @property
    def written(self) -> tuple[Column, ...]:
        """The columns that an INSERT gives."""
        return tuple(column for column in self.columns if not column.generated)

    def ddl(self) -> list[str]:
        """Write it as statements."""
        parts = [column.ddl for column in self.columns]
        if self.primary:
            parts.append(f"PRIMARY KEY ({', '.join(self.primary)})")
        if self.unique:
            parts.append(f"UNIQUE ({', '.join(self.unique)})")
        parts += [f"CHECK ({check})" for check in self.checks]
        options = ["WITHOUT ROWID"] if self.without_rowid else []
        options += ["STRICT"] if self.strict else []
        create = f"CREATE TABLE {self.name} ({', '.join(parts)}) {', '.join(options)}"
        return [create, *(f"CREATE {index}" for index in self.indexes)]


@st.composite
def columns(draw: st.DrawFn, name: str, *, strict: bool = False) -> Column:
    """Return a column of any theme that is written by the application."""
    theme = draw(st.sampled_from(sorted(THEMES)))
    declared = st.sampled_from(_STRICT if strict else THEMES[theme][0])
    return Column(
        name=name,
        declared=draw(declared),
        theme=theme,
        not_null=draw(st.integers(0, 4)) == 0,
        default=draw(st.sampled_from(_DEFAULTS)),
    )


@st.composite
def tables(draw: st.DrawFn, name: str) -> Table:
    """Return a table of two to six columns of any shape."""
    strict = draw(st.integers(0, 5)) == 0
    plain = [
        draw(columns(f"C{number}", strict=strict)) for number in range(draw(st.integers(2, 5)))
    ]
    names = [column.name for column in plain]
    keys = st.lists(st.sampled_from(names), unique=True, max_size=3).map(tuple)
    primary = draw(keys)
    computed: list[Column] = []
    if draw(st.booleans()):
        declared = draw(st.sampled_from(("TEXT", "INTEGER", "ANY", "BLOB")))
        expression = draw(st.sampled_from(_GENERATED)).format(draw(st.sampled_from(names)))
        kind = draw(st.sampled_from(("STORED", "VIRTUAL")))
        generated = f"({expression}) {kind}"
        computed = [Column(name="G", declared=declared, theme="nothing", generated=generated)]
    return Table(
        name=name,
        columns=(*plain, *computed),
        primary=primary,
        unique=draw(keys),
        checks=tuple(c.format(names[0]) for c in draw(st.lists(st.sampled_from(_CHECKS)))[:1]),
        indexes=draw(indexes(name, names)),
        without_rowid=bool(primary) and draw(st.booleans()),
        strict=strict,
    )


@st.composite
def indexes(draw: st.DrawFn, table: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return up to two indexes over a table's columns."""
    some = st.sampled_from(names)
    return tuple(
        draw(st.sampled_from(_INDEXES)).format(
            i=f"{table}_i{number}", t=table, c=draw(some), d=draw(some)
        )
        for number in range(draw(st.integers(0, 2)))
    )


def cells(column: Column) -> st.SearchStrategy[SqliteValue]:
    """Return a column's values: mostly of its theme, sometimes anything."""
    usual = THEMES[column.theme][1]
    return st.one_of(usual, usual, usual, usual, st.none(), st.sampled_from(TRICKY))


def rows(table: Table, *, least: int = 0, most: int = 8) -> st.SearchStrategy[Rows]:
    """Return rows of a table; its constraints may refuse some of them."""
    return st.lists(st.tuples(*map(cells, table.written)), min_size=least, max_size=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A change of a table's schema: what it becomes, and the statements that make it so.

    `renamed` is the earlier and the later name of a renamed column.
    """

    table: Table
    statements: tuple[str, ...]
    dropped: str = ""
    renamed: tuple[str, str] | None = None


def _free(table: Table) -> list[Column]:
    """Return the columns that no constraint, index or expression of the table speaks of."""
    texts = [*table.indexes, *table.checks, *(c.generated for c in table.columns)]
    spoken = {c.name for c in table.columns for text in texts if c.name in text}
    keys = {*table.primary, *table.unique}
    return [c for c in table.written if c.name not in keys | spoken]


def _rebuilt(old: Table, new: Table, sources: dict[str, str] | None = None) -> Drift:
    """Make the table anew and copy what its constraints let in, as applications do it.

    `sources` names the earlier column that a column's values come from, where it isn't its own.
    """
    there = {column.name for column in old.columns}
    values = {c.name: (sources or {}).get(c.name, c.name) for c in new.written}
    copied = {name: earlier for name, earlier in values.items() if earlier in there}
    create, *later = new.ddl()
    copy = f"INSERT OR IGNORE INTO {new.name} ({', '.join(copied)})"
    return Drift(
        table=new,
        statements=(
            f"ALTER TABLE {old.name} RENAME TO former",
            create,
            f"{copy} SELECT {', '.join(copied.values())} FROM former",
            "DROP TABLE former",
            *later,
        ),
    )


@st.composite
def added(draw: st.DrawFn, table: Table, number: int) -> Drift:
    """Add a column, in place or somewhere in the middle of a new table."""
    column = draw(columns(f"N{number}", strict=table.strict))
    if draw(st.booleans()):
        constant = "" if column.default in _COMPUTED else column.default
        column = replace(column, not_null=False, default=constant)
        new = replace(table, columns=(*table.columns, column))
        return Drift(table=new, statements=(f"ALTER TABLE {table.name} ADD COLUMN {column.ddl}",))
    place = draw(st.integers(0, len(table.columns)))
    new = replace(table, columns=(*table.columns[:place], column, *table.columns[place:]))
    return _rebuilt(table, new)


@st.composite
def dropped(draw: st.DrawFn, table: Table, _number: int) -> Drift | None:
    """Drop a column that nothing speaks of; None where there is none to spare."""
    free = _free(table)
    if not free or len(table.written) < 2:
        return None
    column = draw(st.sampled_from(free))
    new = replace(table, columns=tuple(c for c in table.columns if c != column))
    return replace(_rebuilt(table, new), dropped=column.name)


@st.composite
def renamed(draw: st.DrawFn, table: Table, number: int) -> Drift | None:
    """Rename a column, and nothing else."""
    free = _free(table)
    if not free:
        return None
    column = draw(st.sampled_from(free))
    name = f"R{number}"
    new = replace(
        table,
        columns=tuple(replace(c, name=name) if c == column else c for c in table.columns),
    )
    return replace(_rebuilt(table, new, {name: column.name}), renamed=(column.name, name))


@st.composite
def retyped(draw: st.DrawFn, table: Table, _number: int) -> Drift:
    """Declare a column as something else; what it holds is converted as SQLite does it."""
    column = draw(st.sampled_from(table.written))
    other = draw(columns(column.name, strict=table.strict))
    kept = draw(st.booleans())
    other = replace(other, theme=column.theme if kept else other.theme, not_null=column.not_null)
    new = replace(table, columns=tuple(other if c == column else c for c in table.columns))
    return _rebuilt(table, new)


@st.composite
def reordered(draw: st.DrawFn, table: Table, _number: int) -> Drift:
    """Put the columns into another order."""
    new = replace(table, columns=tuple(draw(st.permutations(table.columns))))
    return _rebuilt(table, new)


@st.composite
def reindexed(draw: st.DrawFn, table: Table, number: int) -> Drift:
    """Drop the table's indexes and make others."""
    names = [column.name for column in table.written]
    made = draw(indexes(f"{table.name}_{number}", names))
    made = tuple(index.replace(f"ON {table.name}_{number} ", f"ON {table.name} ") for index in made)
    return _rebuilt(table, replace(table, indexes=made))


DRIFTS: Final = (added, added, dropped, renamed, retyped, reordered, reindexed)
