"""The model of a life: where every table stands, as plain Python says it.

A table's head is a cut's content under the types it has; its target holds the rows that fit, its
quarantine the others, plus or minus what somebody else wrote since. `forecast` says what a move
must do: go on, or stop, and for which reasons.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from migration_assets.errors import (
    DriftError,
    GuardError,
    HoldError,
    MigrationError,
    ProofError,
    SettingsError,
    StateError,
    TargetError,
    TransientError,
)
from migration_assets_tests.lives.shapes import Content, Kind, Rows

HELD, DRIFT, HOPELESS, LIMIT, FOREIGN, QUARANTINE, NO_CUT = (
    *("held", "drift", "hopeless", "limit", "foreign", "quarantine", "no cut"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a table stands: a cut's week and content, and the columns that became text."""

    week: date
    content: Content
    as_text: frozenset[str]
    fitting: Rows
    unfit: Rows


def head_of(week: date, content: Content, as_text: Iterable[str]) -> Head:
    """Return the head of a table that was carried to a cut."""
    origins = {column.origin for column in content.columns}
    texts = frozenset(as_text) & origins
    fitting, unfit = content.split(texts)
    return Head(week=week, content=content, as_text=texts, fitting=fitting, unfit=unfit)


@dataclass(slots=True, kw_only=True)
class Table:
    """What is known of a table on the target."""

    head: Head | None = None
    entries: int = 0
    target: Rows = field(default_factory=Rows)
    quarantine: Rows = field(default_factory=Rows)
    held: bool = False
    displaced: int = 0

    @property
    def clean(self) -> bool:
        """Whether nobody else's rows stand there, in target or quarantine."""
        return self.rows_clean and (self.head is None or self.quarantine == self.head.unfit)

    @property
    def rows_clean(self) -> bool:
        """Whether the target holds what the last move left."""
        return self.head is None or self.target == self.head.fitting

    def stand(self, head: Head) -> None:
        """Stand at a head: an entry more, and nothing but the cut's own rows."""
        self.head = head
        self.entries += 1
        self.target, self.quarantine = Rows(head.fitting), Rows(head.unfit)

    def foreign(self) -> int:
        """Count the rows on the target that the head doesn't have."""
        return (self.target - self.head.fitting).total() if self.head else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a move must do: stop for one of `stops`, or may for one of `doubts`, else `go`."""

    go: Head | None = None
    covered: bool = False
    stops: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()

    def allows(self, error: MigrationError) -> bool:
        """Tell whether the move may stop with this error."""
        return reason_of(error) in self.stops | self.doubts


def reason_of(error: MigrationError) -> str:  # noqa: PLR0911 - one line a reason
    """Return the reason for which a move stopped."""
    match error:
        case HoldError():
            return HELD
        case DriftError():
            return DRIFT
        case SettingsError():
            return HOPELESS
        case GuardError():
            return LIMIT if "don't fit the mapping" in error.what else FOREIGN
        case ProofError():
            return QUARANTINE
        case TargetError():
            return FOREIGN
        case StateError():
            return NO_CUT
        case TransientError():
            return "transient"
    return str(error)


def renamed(head: Head | None, content: Content) -> dict[str, str]:
    """Return new names to old ones of columns that were renamed between a head and a cut."""
    if head is None:
        return {}
    before = {column.origin: column.name for column in head.content.columns}
    return {
        column.name: before[column.origin]
        for column in content.columns
        if before.get(column.origin, column.name) != column.name
    }


def forecast(
    table: Table,
    cut: Head | None,
    *,
    limit: int,
    acknowledged: frozenset[str],
    told: bool,
    whole: bool,
    replay: bool = False,
) -> Forecast:
    """Say what carrying a table to a cut must do.

    `told` says that renamed columns are named in the settings; `whole`, that the stored delta may
    hold the cut whole, left by a run that was told to displace.
    """
    if cut is None:
        return Forecast(stops=frozenset({NO_CUT}))
    head = table.head
    if head is not None and not replay and cut.week <= head.week:
        return Forecast(covered=True)
    if table.held:
        return Forecast(stops=frozenset({HELD}))
    changed = head is not None and _columns(head) != _columns(cut)
    if replay and not changed:
        return Forecast(covered=True)
    stops: set[str] = set()
    doubts: set[str] = set()
    if not told and renamed(head, cut.content):
        doubts.add(DRIFT)
    if cut.content.hopeless(cut.as_text):
        doubts.add(HOPELESS)
        if head is None:
            stops.add(HOPELESS)
    if cut.unfit.total() > limit and not acknowledged & {"quarantine_limit", "all"}:
        stops.add(LIMIT)
    displacing = bool(acknowledged & {"foreign_writes", "all"})
    if not table.rows_clean and not displacing:
        stops.add(FOREIGN)
    if head is not None and not table.clean and not (changed or displacing):
        stops |= _of_quarantine(table, head, cut)
        if QUARANTINE in stops and (whole or _may_widen(cut)):
            stops.remove(QUARANTINE)
            doubts.add(QUARANTINE)
    return Forecast(go=cut, stops=frozenset(stops), doubts=frozenset(doubts))


def _of_quarantine(table: Table, head: Head, cut: Head) -> set[str]:
    """Tell whether quarantine is unequal to the cut's after what leaves and enters it."""
    left = table.quarantine - (head.unfit - cut.unfit)
    return {QUARANTINE} if left + (cut.unfit - head.unfit) != cut.unfit else set()


def _may_widen(cut: Head) -> bool:
    """Tell whether a column may be widened by this cut: then its table is written anew, whole."""
    return any(column.kind is Kind.WIDE for column in cut.content.columns)


def _columns(head: Head) -> tuple[object, ...]:
    return (head.content.columns, head.as_text)
