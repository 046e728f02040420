"""The model of a life: where every table stands, as plain Python says it.

A table's head is a cut's content under the types it has; its target holds the rows that fit, its
quarantine the others, plus or minus what somebody else wrote since. `forecast` says what a move
must do: go on, or stop, and for which reasons.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

from migration_assets.errors import (
    DriftError,
    GuardError,
    HoldError,
    MigrationError,
    ProofError,
    RollbackError,
    SettingsError,
    StateError,
    TargetError,
    TransientError,
)
from migration_assets_tests.lives.shapes import Content, Kind, Rows

HELD, DRIFT, HOPELESS, LIMIT = "held", "drift", "hopeless", "limit"
FOREIGN, QUARANTINE, NO_CUT, FIRST = "foreign", "quarantine", "no cut", "nothing before"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move that was committed: its entry, where it led, and the entries that stood after it."""

    entry: int
    kind: str
    head: Head
    path: tuple[int, ...]
    displaced: int = 0


@dataclass(slots=True, kw_only=True)
class Table:
    """What is known of a table on the target."""

    moves: list[Move] = field(default_factory=list)
    target: Rows = field(default_factory=Rows)
    quarantine: Rows = field(default_factory=Rows)
    held: bool = False
    displaced: int = 0

    @property
    def head(self) -> Head | None:
        """Where it stands."""
        return self.moves[-1].head if self.moves else None

    @property
    def clean(self) -> bool:
        """Whether nobody else's rows stand there, in target or quarantine."""
        return self.rows_clean and (self.head is None or self.quarantine == self.head.unfit)

    @property
    def rows_clean(self) -> bool:
        """Whether the target holds what the last move left."""
        return self.head is None or self.target == self.head.fitting

    def stand(self, forecast: "Forecast", entry: int) -> None:
        """Stand where a move led: an entry more, and nothing but the cut's own rows."""
        head = forecast.go
        assert head is not None
        path = self.moves[-1].path if self.moves else ()
        path = (*path, entry) if forecast.path is None else forecast.path
        displaced = self.foreign()
        self.displaced += displaced
        move = Move(entry=entry, kind=forecast.kind, head=head, path=path, displaced=displaced)
        self.moves.append(move)
        self.target, self.quarantine = Rows(head.fitting), Rows(head.unfit)
        self.held = self.held or forecast.kind == "rollback"

    def foreign(self) -> int:
        """Count the rows on the target that the head doesn't have."""
        return (self.target - self.head.fitting).total() if self.head else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a move must do: stop for one of `stops`, or may for one of `doubts`, else `go`.

    `path` are the entries that stand after a rollback.
    """

    go: Head | None = None
    kind: str = "load"
    path: tuple[int, ...] | None = None
    nothing: bool = False
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
        case RollbackError():
            return FIRST
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
    stops, doubts = _of_cut(table, cut, limit=limit, acknowledged=acknowledged, told=told)
    displacing = bool(acknowledged & {"foreign_writes", "all"})
    if not table.rows_clean and not displacing:
        stops.add(FOREIGN)
    if head is not None and not table.clean and not (changed or displacing):
        unsure = whole or _may_widen(cut)
        (doubts if unsure else stops).update(_of_quarantine(table, head, cut))
    return Forecast(go=cut, stops=frozenset(stops), doubts=frozenset(doubts))


def _of_cut(
    table: Table, cut: Head, *, limit: int, acknowledged: frozenset[str], told: bool
) -> tuple[set[str], set[str]]:
    """Say for what of the cut itself a move must stop, and for what it may."""
    stops: set[str] = set()
    doubts: set[str] = set()
    if not told and renamed(table.head, cut.content):
        doubts.add(DRIFT)
    if cut.content.hopeless(cut.as_text):
        (stops if table.head is None else doubts).add(HOPELESS)
    if cut.unfit.total() > limit and not acknowledged & {"quarantine_limit", "all"}:
        stops.add(LIMIT)
    return stops, doubts


def back_to(table: Table, *, week: date | None, entry: int | None) -> Forecast:
    """Say where a rollback must lead: to before a week, or to before an entry."""
    moves = {move.entry: move for move in table.moves}
    if entry is not None and entry not in moves:
        return Forecast(stops=frozenset({FIRST}))
    if not table.moves or (week is not None and table.moves[-1].head.week < week):
        return Forecast(nothing=True)
    now = table.moves[-1].path
    earlier = (
        [number for number in now if moves[number].head.week < week]
        if week is not None
        else [number for number in moves if entry is not None and number < entry]
    )
    if not earlier:
        return Forecast(stops=frozenset({FIRST}))
    to = moves[earlier[-1]]
    if to.path == now:
        return Forecast(nothing=True)
    return Forecast(go=to.head, kind="rollback", path=to.path)


def rollback(
    table: Table, *, week: date | None, entry: int | None, acknowledged: frozenset[str]
) -> Forecast:
    """Say what a rollback must do: it stops for somebody else's rows, as every move."""
    found = back_to(table, week=week, entry=entry)
    head = table.head
    if found.go is None or head is None or acknowledged & {"foreign_writes", "all"}:
        return found
    stops = set() if table.rows_clean else {FOREIGN}
    doubts: set[str] = set()
    if not table.clean and _columns(head) == _columns(found.go):
        of_quarantine = _of_quarantine(table, head, found.go)
        (doubts if _may_widen(found.go) else stops).update(of_quarantine)
    return replace(found, stops=frozenset(stops), doubts=frozenset(doubts))


def repair(table: Table) -> Forecast:
    """Say what a repair must do: put right what differs, also on hold."""
    if table.head is None:
        return Forecast(nothing=True)
    return Forecast(go=table.head, kind="repair", covered=table.clean)


def _of_quarantine(table: Table, head: Head, cut: Head) -> set[str]:
    """Tell whether quarantine is unequal to the cut's after what leaves and enters it."""
    left = table.quarantine - (head.unfit - cut.unfit)
    return {QUARANTINE} if left + (cut.unfit - head.unfit) != cut.unfit else set()


def _may_widen(cut: Head) -> bool:
    """Tell whether a column may be widened by this cut: then its table is written anew, whole."""
    return any(column.kind is Kind.WIDE for column in cut.content.columns)


def _columns(head: Head) -> tuple[object, ...]:
    return (head.content.columns, head.as_text)
