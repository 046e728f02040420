"""The nouns of the pipeline, as frozen values without behaviour that does I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

DEFAULT_SOURCE = "main"
_SETTINGS = "settings"  # where an override stands whose line isn't known


@dataclass(frozen=True, slots=True)
class UndecodableText:
    """A TEXT value whose bytes are none in its database's encoding, to be kept byte for byte.

    `encoding` is spelled as `PRAGMA encoding` does: UTF-8, UTF-16le or UTF-16be.
    """

    raw: bytes
    encoding: str = "UTF-8"


# A value as SQLite stores it; the Python type tells the storage class exactly:
# None null, int integer, float real, str or UndecodableText text, bytes blob.
SqliteValue: TypeAlias = int | float | str | bytes | UndecodableText | None
RawRow: TypeAlias = tuple[SqliteValue, ...]

# A value as it stands on the target, in the Python type that psycopg and Polars use for it.
TargetValue: TypeAlias = (
    int | float | str | bytes | bool | Decimal | date | datetime | time | UUID | None
)
TargetRow: TypeAlias = tuple[TargetValue, ...]


class Affinity(StrEnum):
    """Column affinity; https://sqlite.org/datatype3.html, section 3.1."""

    INTEGER = "INTEGER"
    TEXT = "TEXT"
    BLOB = "BLOB"
    REAL = "REAL"
    NUMERIC = "NUMERIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumn:
    """One column as the source declares it; `key` is its place in the primary key, 0 outside.

    `default` is the text of its DEFAULT in SQLite's SQL, empty without one; `expression` that of a
    generated column. `collation` is the one it is compared under, empty for BINARY.
    """

    name: str
    declared: str
    not_null: bool = False
    key: int = 0
    generated: bool = False
    default: str = ""
    expression: str = ""
    collation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIndex:
    """An index of the source over plain columns (`columns`), or one that isn't plain (`reason`).

    `descending` are those of its columns that are sorted downwards, `nocase` and `rtrim` those
    compared under these collations; `sql` is the statement that made it, empty for the index of a
    constraint.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    nocase: tuple[str, ...] = ()
    constraint: bool = False
    reason: str = ""
    descending: tuple[str, ...] = ()
    sql: str = ""
    rtrim: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceForeignKey:
    """A foreign key of the source; `parent_columns` is empty where the parent has no such key.

    `on_update` and `on_delete` are its actions in SQL's words.
    """

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"

    @property
    def text(self) -> str:
        """Name it for people: `(customer) → customers (id)`."""
        parent = f"{self.parent} ({', '.join(self.parent_columns)})"
        return f"({', '.join(self.columns)}) → {parent if self.parent_columns else self.parent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTable:
    """One table of the source; a foreign key's place is its `id` in SQLite's own lists.

    `checks` are the texts of its CHECKs, in SQLite's SQL; `autoincrement` tells whether keys of
    deleted rows are never given again.
    """

    source: str
    name: str
    columns: tuple[SourceColumn, ...]
    indexes: tuple[SourceIndex, ...] = ()
    without_rowid: bool = False
    rowid_alias: str | None = None
    foreign_keys: tuple[SourceForeignKey, ...] = ()
    checks: tuple[str, ...] = ()
    autoincrement: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """The declared primary key's columns in key order."""
        members = sorted((c for c in self.columns if c.key), key=lambda c: c.key)
        return tuple(c.name for c in members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The tables of a source, and what is left out with the reason.

    `views` are the statements that made them, by name.
    """

    source: str
    tables: tuple[SourceTable, ...]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    fingerprint: str = ""
    views: Mapping[str, str] = field(default_factory=dict[str, str])

    def table(self, name: str) -> SourceTable | None:
        """Return the table of that name, if it is there."""
        return next((t for t in self.tables if t.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A sealed, immutable copy of the source for one week."""

    source: str
    week: date
    path: Path
    sha256: str
    size: int
    pages: int
    page_size: int
    fingerprint: str
    taken_at: str
    orphaned_rows: int = 0

    @property
    def id(self) -> str:
        """Name the cut by week and content; two quiet weeks are two cuts."""
        return f"{self.week.isoformat()}-{self.sha256[:16]}"


class Kind(StrEnum):
    """The PostgreSQL types this version writes."""

    BIGINT = "bigint"
    DOUBLE = "double precision"
    TEXT = "text"
    BYTEA = "bytea"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIME = "time"
    JSON = "json"
    UUID = "uuid"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetType:
    """A PostgreSQL type and the one textual form under which SQLite's values print back the same.

    `precision` and `scale` belong to a bounded numeric. `form` is of timestamps, times, UUIDs,
    booleans in words and numerals in text, such as `" 0"` (separator and fraction digits) or
    `"T3Z"`; `mapping.moments` and `mapping.words` define them.
    """

    kind: Kind
    precision: int | None = None
    scale: int | None = None
    form: str = ""

    @property
    def sql(self) -> str:
        """Spell the type for DDL."""
        if self.kind is Kind.NUMERIC and self.precision is not None:
            return f"numeric({self.precision},{self.scale})"
        return self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCensus:
    """What one column of a cut holds: values by storage class, and how many fit each tried type.

    `lowest` and `highest` are of its numbers; `longest` is in bytes, of its texts and blobs.
    `encodings` counts what texts look like, `offenders` are the keys of the first values that
    don't fit a tried type: only for eyes that may see keys.
    """

    nulls: int
    classes: Mapping[str, int]
    fits: Mapping[TargetType, int]
    lowest: float | None = None
    highest: float | None = None
    longest: int | None = None
    encodings: Mapping[str, int] = field(default_factory=dict[str, int])
    offenders: Mapping[TargetType, tuple[str, ...]] = field(
        default_factory=dict[TargetType, tuple[str, ...]]
    )

    @property
    def values(self) -> int:
        """Values that are not NULL."""
        return sum(self.classes.values())


class Policy(StrEnum):
    """What happens to a value that its column's sealed type can't hold."""

    QUARANTINE = "quarantine"
    WIDEN = "widen"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnOverride:
    """What the settings say of one column; None leaves it to the census.

    `type` is PostgreSQL's spelling, `encoding` how the source writes it, `cast` an expression in
    SQLite's SQL, `renamed_from` the column's earlier name. `places` say where each of them stands,
    and under "" the whole, for errors.
    """

    type: str | None = None
    encoding: str | None = None
    policy: Policy | None = None
    cast: str | None = None
    renamed_from: str | None = None
    places: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)

    def where(self, name: str = "") -> str:
        """Name the place of one of its settings."""
        return self.places.get(name) or self.places.get("", _SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOverride:
    """What the settings say of one table; `transform` is `module:function`.

    An empty `key` asks for none: rows as a multiset. `places` are as those of a column.
    """

    target: str | None = None
    key: tuple[str, ...] | None = None
    policy: Policy | None = None
    transform: str | None = None
    columns: Mapping[str, ColumnOverride] = field(default_factory=dict[str, ColumnOverride])
    places: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)

    def column(self, name: str) -> ColumnOverride:
        """Return what is said of a column; nothing, where it isn't named."""
        return self.columns.get(name, ColumnOverride())

    def where(self, name: str = "") -> str:
        """Name the place of one of its settings."""
        return self.places.get(name) or self.places.get("", _SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """How one column of the source stands on the target, and on what evidence.

    `open` tells a column without a value yet, whose type is its declaration's until one comes.
    `default` and `generated` are expressions in PostgreSQL's SQL, empty where there is none;
    `identity` numbers new rows. `cast` is an expression in SQLite's SQL whose value stands on the
    target in place of the column's own. `input` is the type in which a transform is given it.
    """

    name: str
    declared: str
    target: str
    type: TargetType
    not_null: bool
    evidence: str = ""
    policy: Policy = Policy.QUARANTINE
    open: bool = False
    default: str = ""
    generated: str = ""
    identity: bool = False
    cast: str = ""
    input: TargetType | None = None

    @property
    def stored_as(self) -> str:
        """The declaration that values go back through; a cast's value has none, so no affinity."""
        return "" if self.cast else self.declared


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMapping:
    """A secondary index of the target; `columns` are source names, `nocase` those folded.

    `definition` is its list of members and its predicate in PostgreSQL's SQL, where plain
    ascending columns don't say it all; `original` the source's statement of such an index.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    nocase: tuple[str, ...] = ()
    definition: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredObject:
    """A constraint or view that is made at cutover, or what the target refused at the first load.

    `kind` is `check`, `length`, `foreign key` or `view`, else `default`, `generated` or `index`.
    `definition` is PostgreSQL's SQL, empty where it could not be translated, for `problem`;
    `original` is the source's own text.
    """

    kind: str
    name: str
    definition: str
    original: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """How one table stands on the target; sealed in the ledger by the first load that commits.

    `key` holds source column names in key order and is empty for a table kept as a multiset of
    rows. `notes` name what is not carried, with the reason; `transform` is the `module:function`
    that rows go through. `kept` are columns of the target whose source is gone: they keep their
    values and their names. `hash` names the document as it is stored.
    """

    source: str
    table: str
    target_schema: str
    target_table: str
    columns: tuple[ColumnMapping, ...]
    key: tuple[str, ...]
    key_name: str
    indexes: tuple[IndexMapping, ...] = ()
    notes: tuple[str, ...] = ()
    deferred: tuple[DeferredObject, ...] = ()
    transform: str = ""
    kept: tuple[str, ...] = ()
    hash: str = ""

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Positions of the key's columns among `columns`."""
        places = {c.name: i for i, c in enumerate(self.columns)}
        return tuple(places[name] for name in self.key)

    @property
    def casts(self) -> tuple[str, ...]:
        """The casts of its columns, in their order: what is read beside a row's own values."""
        return tuple(c.cast for c in self.columns if c.cast)

    def column(self, name: str) -> ColumnMapping:
        """Return the mapping of a source column that is known to be there."""
        return next(c for c in self.columns if c.name == name)


class Op(StrEnum):
    """What a delta row does on the target."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed row in target types; `old_hash` is None where the older cut has no such row."""

    op: Op
    old_hash: int | None
    values: TargetRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A source row that doesn't fit the mapping: whole, exact, with every reason.

    `entering` tells a row that is to be quarantined from one that leaves quarantine.
    """

    entering: bool
    row: RawRow
    key: str
    columns: tuple[str, ...]
    reasons: tuple[str, ...]


class Scope(StrEnum):
    """Whether a delta holds what changed since its base, or everything that stands in its cut."""

    CHANGES = "changes"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A stored delta: which cuts and mapping it belongs to, its counts, and its Parquet files.

    `rebuilt` says what was wrong with the one that it was made in place of.
    """

    source: str
    table: str
    week: date
    base_cut: str | None
    cut: str
    mapping_hash: str
    scope: Scope
    inserts: int
    updates: int
    deletes: int
    misfits_in: int
    misfits_out: int
    rows_path: Path
    rows_sha256: str
    misfits_path: Path
    misfits_sha256: str
    op_column: str
    hash_column: str
    rebuilt: str = ""

    @property
    def changes(self) -> int:
        """Rows of the delta that touch the target."""
        return self.inserts + self.updates + self.deletes


BUCKETS = 64  # buckets of key hashes in a digest: 64 numerics stay about 1.5 kB a ledger entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Rows and their order-independent sum of row hashes, per bucket of key hashes."""

    algorithm: str
    counts: tuple[int, ...]
    sums: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows in all buckets."""
        return sum(self.counts)

    @property
    def total(self) -> int:
        """Sum over all buckets."""
        return sum(self.sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a cut says must stand on the target: fitting rows' digest, and the unfit rows.

    `misfits` counts each unfit row by the hash of its exact bytes. `watched` has the row hashes
    that the cut has under each key hash that was asked for; none where it has no such row.
    """

    cut: str
    mapping_hash: str
    source_rows: int
    digest: Digest
    misfits: Mapping[bytes, int]
    watched: Mapping[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])

    @property
    def unfit_rows(self) -> int:
        """Rows that must stand in quarantine."""
        return sum(self.misfits.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a table's target stands: the last ledger entry's cut, mapping and digest."""

    entry: int
    week: date
    cut: str
    mapping_hash: str
    source_rows: int
    rows: int
    quarantined: int
    digest: Digest
    move: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMove:
    """One entry of a table's ledger: where it led, what it changed, and what it took back.

    `kind` is `load`, `schema`, `rollback` or `repair`; `restores` is the entry that a rollback
    went back to.
    """

    entry: int
    kind: str
    week: date
    cut: str
    mapping_hash: str
    inserted: int
    updated: int
    deleted: int
    displaced: int
    move: str
    run: str
    written_at: datetime
    changes: tuple[str, ...] = ()
    ddl: tuple[str, ...] = ()
    restores: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRow:
    """A row that differs between cut and target and is to stay so: an exception, by both hashes.

    A hash is None where that side has no such row; `origin` is `kept` where a person said so, or
    `restored` where a rollback put a displaced row back. It lapses when either hash is another.
    """

    number: int
    key: str
    key_hash: int
    source_hash: int | None
    target_hash: int | None
    columns: tuple[str, ...]
    mapping_hash: str
    origin: str
    reason: str
    by: str
    at: datetime


CUT_OVER = "cut over on"  # how the reason of the hold begins that ends a cutover


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A table that nothing moves until it is released: why, since when, and who said so."""

    table: str
    reason: str
    since: datetime
    by: str

    @property
    def cut_over(self) -> bool:
        """Whether it is the hold that ends a cutover: the rows are the application's since then."""
        return self.reason.startswith(CUT_OVER)

    @property
    def text(self) -> str:
        """Say it for people."""
        return f"since {self.since:%Y-%m-%d %H:%M %Z} (by {self.by}): {self.reason}"
