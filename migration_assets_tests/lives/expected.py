"""The model of a life: where every table stands, as plain Python says it.

A table's head is a cut's content under the types it has; its target holds the rows that fit, its
quarantine the others, plus or minus what somebody else wrote since. `forecast` says what a move
must do: go on, or stop, and for which reasons.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

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
from migration_assets_tests.lives.shapes import Content, Kind, Row, Rows

HELD, DRIFT, HOPELESS, LIMIT = "held", "drift", "hopeless", "limit"
FOREIGN, QUARANTINE, NO_CUT, FIRST = "foreign", "quarantine", "no cut", "nothing before"
MASS, RESTORED, KEPT, DISPLACED = "mass change", "restored", "kept rows", "displaced rows"


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


class Kept(NamedTuple):
    """A row that may stand on the target in place of the cut's; None: no such row there."""

    source: Row | None
    target: Row | None


@dataclass(slots=True, kw_only=True)
class Move:
    """A move that was committed: its entry, where it led, and the entries that stood after it.

    `displaced` are the rows that it replaced and that were not put back.
    """

    entry: int
    kind: str
    head: Head
    path: tuple[int, ...]
    displaced: Rows


@dataclass(slots=True, kw_only=True)
class Table:
    """What is known of a table on the target.

    `stored` is what its last move left there, `kept` are the exceptions that it left.
    """

    key: tuple[str, ...] = ()
    moves: list[Move] = field(default_factory=list)
    target: Rows = field(default_factory=Rows)
    stored: Rows = field(default_factory=Rows)
    quarantine: Rows = field(default_factory=Rows)
    kept: list[Kept] = field(default_factory=list)
    held: bool = False

    @property
    def head(self) -> Head | None:
        """Where it stands."""
        return self.moves[-1].head if self.moves else None

    @property
    def displaced(self) -> int:
        """How many rows are kept beside the target."""
        return sum(move.displaced.total() for move in self.moves)

    @property
    def clean(self) -> bool:
        """Whether nobody else's rows stand there, in target or quarantine."""
        return self.rows_clean and (self.head is None or self.quarantine == self.head.unfit)

    @property
    def rows_clean(self) -> bool:
        """Whether the target holds the cut's rows, but for the exceptions that hold."""
        if self.head is None:
            return True
        return self.target == self.adjusted(self.head.fitting, self.holding(self.head))

    def identity(self, row: Row, content: Content) -> Row:
        """Return a row's key; the row itself where there is none."""
        return tuple(row[content.names.index(name)] for name in self.key) if self.key else row

    def grouped(self, rows: Rows, content: Content) -> dict[Row, Rows]:
        """Return rows by their keys."""
        found: dict[Row, Rows] = defaultdict(Rows)
        for row, copies in rows.items():
            found[self.identity(row, content)][row] += copies
        return found

    def holding(self, head: Head, target: Rows | None = None) -> list[Kept]:
        """Return the exceptions that hold at a head: both sides are as they were accepted."""
        groups: dict[Row, list[Kept]] = defaultdict(list)
        for kept in self.kept:
            groups[self.identity(kept.source or kept.target or (), head.content)].append(kept)
        source = self.grouped(head.fitting, head.content)
        there = self.grouped(self.target if target is None else target, head.content)
        found: list[Kept] = []
        for key, rows in groups.items():
            ours = Rows(row.source for row in rows if row.source is not None)
            wanted = self.adjusted(source[key], rows)
            if ours <= source[key] and wanted == there[key]:
                found.extend(rows)
        return found

    @staticmethod
    def adjusted(rows: Rows, kept: Iterable[Kept]) -> Rows:
        """Return the cut's rows with the exceptions in place of theirs."""
        found = Rows(rows)
        for source, target in kept:
            if source is not None:
                found[source] -= 1
            if target is not None:
                found[target] += 1
        return +found

    def differing(self) -> list[Kept]:
        """Return the rows that differ from the cut and are no exceptions."""
        assert self.head is not None
        content = self.head.content
        holding = self.holding(self.head)
        wanted = self.grouped(self.adjusted(self.head.fitting, holding), content)
        source = self.grouped(self.head.fitting, content)
        there = self.grouped(self.target, content)
        found: list[Kept] = []
        for key in {*wanted, *there}:
            if wanted[key] == there[key]:
                continue
            gone, come = source[key] - there[key], there[key] - source[key]
            if self.key:
                found.append(Kept(next(iter(gone), None), next(iter(come), None)))
            else:
                found += [Kept(row, None) for row in gone.elements()]
                found += [Kept(None, row) for row in come.elements()]
        return found

    def stand(self, forecast: "Forecast", entry: int) -> None:
        """Stand where a move led: an entry more, and the cut's rows but for exceptions."""
        head = forecast.go
        assert head is not None
        path = self.moves[-1].path if self.moves else ()
        path = (*path, entry) if forecast.path is None else forecast.path
        displaced = self._displaced(forecast)
        if forecast.kind == "keep":
            self.kept = [*self.holding(head), *self.differing()]
        elif forecast.whole:
            self.kept = []
        elif forecast.kind == "repair":
            self.kept = self.holding(head)
        else:
            self.kept = self._still()
        self.target, self.quarantine = self.adjusted(head.fitting, self.kept), Rows(head.unfit)
        kind = "repair" if forecast.kind == "keep" else forecast.kind
        self.moves.append(Move(entry=entry, kind=kind, head=head, path=path, displaced=displaced))
        if forecast.kind == "rollback":
            self.held = True
            self._put_back(forecast.away)
        self.stored = Rows(self.target)

    def _displaced(self, forecast: "Forecast") -> Rows:
        """Return the rows that a move replaces and keeps."""
        if self.head is None or forecast.kind == "keep":
            return Rows()
        if forecast.kind == "repair" and not forecast.whole:
            return self.target - self.adjusted(self.head.fitting, self.holding(self.head))
        return self.target - self.head.fitting if forecast.whole else Rows()

    def _still(self) -> list[Kept]:
        """Return the exceptions that hold after a move that wrote what changed."""
        return [] if self.head is None else self.holding(self.head)

    def _put_back(self, away: int | None) -> None:
        """Put back what a move displaced: exceptions from then on, the first of each key."""
        assert self.head is not None
        content = self.head.content
        taboo = {self.identity(k.source or k.target or (), content) for k in self.kept}
        for move in self.moves:
            if move.entry != away:
                continue
            there = self.grouped(self.target, content)
            for row in list(move.displaced.elements()):
                key = self.identity(row, content)
                if self.key and key in taboo:
                    continue
                taboo.add(key)
                stood = next(iter(there[key]), None) if self.key else None
                move.displaced -= Rows([row])
                if stood != row:
                    self.kept.append(Kept(stood, row))
                    self.target = self.adjusted(self.target, [Kept(stood, row)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a move must do: stop for one of `stops`, or may for one of `doubts`, else `go`.

    `path` are the entries that stand after a rollback, `away` the one that led away from there.
    `whole` says that the table is written whole, over everything that stands there.
    """

    go: Head | None = None
    kind: str = "load"
    path: tuple[int, ...] | None = None
    away: int | None = None
    nothing: bool = False
    whole: bool = False
    covered: bool = False
    stops: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()

    def allows(self, error: MigrationError) -> bool:
        """Tell whether the move may stop with this error."""
        return reason_of(error) in self.stops | self.doubts


_GUARDS = {
    "don't fit the mapping": LIMIT,
    "this step would delete": MASS,
    "older copy of itself": RESTORED,
    "kept as they are": KEPT,
    "displaced rows can't be put back": DISPLACED,
    "quarantine differs": QUARANTINE,
}


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
            return next((r for text, r in _GUARDS.items() if text in error.what), FOREIGN)
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
    replay: bool = False,
) -> Forecast:
    """Say what carrying a table to a cut must do.

    `told` says that renamed columns are named in the settings.
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
    whole = head is not None and (changed or _told(acknowledged, "foreign_writes"))
    if head is not None:
        doubts |= _doubts(head, cut, acknowledged) | ({KEPT} if table.kept and not whole else set())
        stops |= _of_target(table, head, cut, whole=whole, acknowledged=acknowledged)
        if _may_widen(cut) and not whole:
            doubts |= stops & {QUARANTINE}
            stops -= {QUARANTINE}
    return Forecast(go=cut, whole=whole, stops=frozenset(stops), doubts=frozenset(doubts))


def _told(acknowledged: frozenset[str], guard: str) -> bool:
    return bool(acknowledged & {guard, "all"})


def _doubts(head: Head, cut: Head, acknowledged: frozenset[str]) -> set[str]:
    """Say what may stop a move that changes much, or undoes what the last one did."""
    gone, come = head.fitting - cut.fitting, cut.fitting - head.fitting
    doubts: set[str] = set()
    much = gone.total() + come.total() >= _FEW or head.content.columns != cut.content.columns
    if much and head.week != cut.week and not _told(acknowledged, "restored_source"):
        doubts.add(RESTORED)
    if not _told(acknowledged, "mass_change") and 2 * gone.total() > head.fitting.total():
        doubts.add(MASS)
    return doubts


_FEW = 10  # rows undone, below which no source is taken for a restored one


def _of_target(
    table: Table, head: Head, cut: Head, *, whole: bool, acknowledged: frozenset[str]
) -> set[str]:
    """Say for what stands on the target a move must stop."""
    stops: set[str] = set()
    if not whole:
        if not table.rows_clean:
            stops.add(FOREIGN)
        if _touches_kept(table, head, cut):
            stops.add(KEPT if table.key else FOREIGN)
        return stops | _of_quarantine(table, head, cut)
    if table.target != table.stored and not _told(acknowledged, "foreign_writes"):
        stops.add(FOREIGN)
    if table.kept and not _told(acknowledged, "kept_rows"):
        stops.add(KEPT)
    return stops


def _touches_kept(table: Table, head: Head, cut: Head) -> bool:
    """Tell whether the cut changes rows that are kept otherwise on the target."""
    before = table.grouped(head.fitting, head.content)
    after = table.grouped(cut.fitting, cut.content)
    there = table.grouped(table.target, head.content)
    for kept in table.holding(head):
        key = table.identity(kept.source or kept.target or (), head.content)
        if table.key and before[key] != after[key]:
            return True
        if not table.key and not (before[key] - after[key]) <= there[key]:
            return True
    return False


def _of_cut(
    table: Table, cut: Head, *, limit: int, acknowledged: frozenset[str], told: bool
) -> tuple[set[str], set[str]]:
    """Say for what of the cut itself a move must stop, and for what it may."""
    stops: set[str] = set()
    doubts: set[str] = set()
    if not told and renamed(table.head, cut.content):
        doubts.add(DRIFT)
    if cut.content.hopeless(cut.as_text):
        doubts.add(HOPELESS)  # unless they fit no type at all: then they are quarantined
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
    return Forecast(go=to.head, kind="rollback", path=to.path, away=_away(table.moves, to.path))


def _away(moves: list[Move], then: tuple[int, ...]) -> int:
    """Return the entry that led away from there, the last time that the table stood there."""
    at = max(move.entry for move in moves if move.path == then)
    return next(move.entry for move in moves if move.entry > at)


def rollback(
    table: Table, *, week: date | None, entry: int | None, acknowledged: frozenset[str]
) -> Forecast:
    """Say what a rollback must do: it stops for somebody else's rows, as every move."""
    found = back_to(table, week=week, entry=entry)
    head = table.head
    if found.go is None or head is None:
        return found
    whole = _columns(head) != _columns(found.go) or _told(acknowledged, "foreign_writes")
    stops = _of_target(table, head, found.go, whole=whole, acknowledged=acknowledged)
    doubts: set[str] = {KEPT} if table.kept and not whole else set()
    if _may_widen(found.go) and not whole:
        doubts |= stops & {QUARANTINE}
        stops -= {QUARANTINE}
    if any(move.displaced for move in table.moves if move.entry == found.away):
        doubts.add(DISPLACED)
    return replace(found, whole=whole, stops=frozenset(stops), doubts=frozenset(doubts))


def repair(table: Table, *, kept: bool) -> Forecast:
    """Say what a repair must do: put right what differs, also on hold; maybe what is kept, too."""
    if table.head is None:
        return Forecast(nothing=True)
    ends = kept and bool(table.kept)
    return Forecast(go=table.head, kind="repair", covered=table.clean and not ends, whole=ends)


def keep(table: Table) -> Forecast:
    """Say what keeping the target's rows must do: nothing where none differ; not for quarantine."""
    if table.head is None or table.clean:
        return Forecast(nothing=True)
    if table.quarantine != table.head.unfit:
        return Forecast(stops=frozenset({QUARANTINE}))
    return Forecast(go=table.head, kind="keep")


def _of_quarantine(table: Table, head: Head, cut: Head) -> set[str]:
    """Tell whether quarantine is unequal to the cut's after what leaves and enters it."""
    left = table.quarantine - (head.unfit - cut.unfit)
    return {QUARANTINE} if left + (cut.unfit - head.unfit) != cut.unfit else set()


def _may_widen(cut: Head) -> bool:
    """Tell whether a column may be widened by this cut: then its table is written anew, whole."""
    return any(column.kind is Kind.WIDE for column in cut.content.columns)


def _columns(head: Head) -> tuple[object, ...]:
    return (head.content.columns, head.as_text)
