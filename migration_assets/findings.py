"""What a step, a proof or a look at the target found, as frozen values without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from migration_assets.model import AcceptedRow, HeadMove, SourceForeignKey, TableMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One differing row: its key as text (or its row hash), what is wrong, in which columns."""

    key: str
    what: str
    columns: tuple[str, ...] = ()

    def text(self, *, show_key: bool) -> str:
        """Render for people, with the row's key or without."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        return (f"{self.key}: " if show_key else "") + self.what + columns


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingRow:
    """A row of cut or target that the other side doesn't have so, by its hashes.

    A hash is None where that side has no such row. Without a key every copy is a row of its own.
    """

    key: str
    key_hash: int
    source_hash: int | None
    target_hash: int | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignWrite:
    """A statement of somebody else's on one of our tables, as the write guard noted it."""

    op: str
    rows: int
    role: str
    application: str
    client: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where the differences of a table come from.

    `foreign`: somebody else wrote on the target. `load`: the cut says something else than when the
    head was proved. `quarantine`: somebody else changed the table's quarantine. `lapsed` exceptions
    no longer say what stands. `writes` are those since the head that the write guard noted, if it
    did at all (`writes_known`).
    """

    foreign: bool
    load: bool
    quarantine: bool
    lapsed: int = 0
    writes: tuple[ForeignWrite, ...] = ()
    writes_known: bool = False

    @property
    def only_others(self) -> bool:
        """Whether other people's writing explains everything that differs."""
        return (self.foreign or self.quarantine) and not self.load


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Both sides of one table, counted and digested at one moment.

    `accepted` are the exceptions by which the source's side was adjusted, `lapsed` those that no
    longer say what stands, so that their rows are compared like all others. `attribution` is known
    of a table that was found to differ after its head was proved.
    """

    week: date
    cut: str
    mapping_hash: str
    source_rows: int
    target_rows: int
    quarantined_rows: int
    unfit_rows: int
    source_total: int
    target_total: int
    algorithm: str
    rows_equal: bool
    digest_equal: bool
    quarantine_equal: bool
    differences: tuple[Difference, ...] = ()
    accepted: tuple[AcceptedRow, ...] = ()
    lapsed: tuple[AcceptedRow, ...] = ()
    attribution: Attribution | None = None

    @property
    def holds(self) -> bool:
        """Whether every part of the proof holds."""
        return self.rows_equal and self.digest_equal and self.quarantine_equal


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPreview:
    """What a repair would do to a table at its head.

    `proof` is None where the table is `gone` from the target and would be made anew. `ending` are
    exceptions that would end.
    """

    week: date
    proof: Proof | None
    insert: int = 0
    update: int = 0
    delete: int = 0
    gone: bool = False
    ending: tuple[AcceptedRow, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether there is anything to put right."""
        return self.gone or bool(self.ending) or (self.proof is not None and not self.proof.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows by what is done to them; `updated` is a bound where it can't be told before."""

    inserted: int
    updated: int
    deleted: int
    at_most: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Rows that were read back from the target and compared, value by value, with the raw cut.

    `changed_rows` are those that the step wrote, `sampled_rows` those drawn from the whole table.
    """

    week: date
    cut: str
    changed_rows: int
    sampled_rows: int
    differences: tuple[Difference, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every row that was read back is the source's."""
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that isn't as it has to be, and what mends it."""

    what: str
    to_do: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A constraint that is made at the cutover, and the rows that violate it at the source.

    `rows` is None where they can't be counted.
    """

    constraint: str
    rows: int | None

    @property
    def text(self) -> str:
        """Say it for people."""
        if self.rows is None:
            return f"{self.constraint}: the rows that violate it can't be counted"
        return f"{self.constraint}: {self.rows:,} rows at the source violate it"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck:
    """The target's catalogue and the newest cut's columns, compared with the sealed mapping.

    `cut_week` is the newest cut's; `extras` are objects of the target's own, which may stay;
    `pending` are changes at the source that the table's next load will carry by itself.
    `violations` are rows of the head's cut that would keep a constraint from being made at the
    cutover, counted by constraint.
    """

    cut_week: date
    columns: int
    indexes: int
    findings: tuple[Finding, ...] = ()
    extras: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    pending: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all that is ours stands as it was made, and can follow the source by itself."""
        return not self.findings


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyCheck:
    """One foreign key of a table, counted in the cut and on the target.

    A count is None where it can't be taken. Of `target_orphans`, the rows on the target without
    their parent there, `withheld` have one in the cut: it is in quarantine, or not carried yet.
    `obstacle` says why the key can't be created on the target at all; `pending` why the target's
    counts may still change: the parent stands at another week.
    """

    key: SourceForeignKey
    source_orphans: int | None
    target_orphans: int | None = None
    withheld: int | None = None
    obstacle: str = ""
    pending: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing is known that would keep the key from being created at the cutover."""
        expected_to_come = self.withheld or 0 if self.pending else 0
        missing = (self.target_orphans or 0) - expected_to_come
        return not self.obstacle and not missing and self.source_orphans == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found at a table beside its proof, against the cut of its head."""

    week: date
    mapping: TableMapping
    round_trip: RoundTrip
    schema: SchemaCheck
    foreign_keys: tuple[ForeignKeyCheck, ...]


class Verified(NamedTuple):
    """A table proved as it stands now, and inspected, at one moment."""

    proof: Proof
    mapping: TableMapping
    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """What of a table stands in quarantine: rows, values by column and reason, some rows' keys."""

    table: str
    rows: int
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    keys: tuple[str, ...] = ()


class Outcome(StrEnum):
    """What a step did to its table."""

    LOADED = "loaded"
    COVERED = "covered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The result of one step: what it changed, and the proof it committed or is covered by.

    `round_trip` is None where nothing was moved; `changes` are those of a move between mappings.
    `restored` counts displaced rows that a rollback put back.
    `notes` are what people should know, though nothing stopped for it.
    """

    outcome: Outcome
    entry: int
    mapping: TableMapping
    proof: Proof
    round_trip: RoundTrip | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    displaced: int = 0
    restored: int = 0
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Cuts and deltas that were removed, and cuts older than `keep_weeks` that stay, with reasons.

    `freed` are bytes. `problem` says why nothing was removed this time.
    """

    cuts: tuple[str, ...] = ()
    deltas: int = 0
    freed: int = 0
    kept: Mapping[str, str] = field(default_factory=dict[str, str])
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rollback of one table would do, as things stand; nothing was changed.

    From `head` it leads to where the table stood after `to`; `taken` are the moves taken back,
    oldest first. `rows` is None where they can't be counted before, as is `foreign_rows`, the rows
    that somebody else has changed since; `foreign` names some of them. `displaced` rows are put
    back. `obstacle` says why there is no way back, '' where there is one.
    """

    table: str
    head: HeadMove
    to: HeadMove
    taken: tuple[HeadMove, ...]
    rows: RowCounts | None = None
    changes: tuple[str, ...] = ()
    displaced: int = 0
    foreign_rows: int | None = None
    foreign: tuple[Difference, ...] = ()
    obstacle: str = ""
