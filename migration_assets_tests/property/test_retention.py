"""Whatever happened to the tables, no cut that somebody may still need is ever let go."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from migration_assets.history import standing
from migration_assets.model import Cut, HeadMove
from migration_assets.retention import needed

FIRST = date(2026, 10, 4)
TABLES = ("a", "b", "c")


def week(number: int) -> date:
    """Return the first day of a week, counted from 0."""
    return FIRST + timedelta(weeks=number)


def cut_of(number: int) -> Cut:
    """Return the cut of a week."""
    return Cut(
        source="main",
        week=week(number),
        path=Path("cut.sqlite"),
        sha256=f"{number:064x}",
        size=0,
        pages=0,
        page_size=4096,
        fingerprint="",
        taken_at="",
    )


@dataclass
class Life:
    """Cuts that are there, and every table's moves; each operation needs what it needs."""

    keep_weeks: int
    known: frozenset[str]
    cuts: list[Cut] = field(default_factory=list[Cut])
    moves: dict[str, tuple[HeadMove, ...]] = field(default_factory=dict[str, tuple[HeadMove, ...]])
    entry: int = 0

    @property
    def since(self) -> date:
        """The first of the weeks that are kept."""
        return self.cuts[-1].week - timedelta(weeks=self.keep_weeks - 1)

    def has(self, cut_id: str) -> bool:
        """Whether a cut is there."""
        return any(cut.id == cut_id for cut in self.cuts)

    def take(self, skipped: int) -> None:
        """Take the cut of a week after the newest one; weeks may be left out."""
        last = (self.cuts[-1].week - FIRST).days // 7 if self.cuts else -1
        self.cuts.append(cut_of(last + 1 + skipped))

    def carry(self, table: str, place: int) -> None:
        """Move a table on to one of the cuts that are newer than its head."""
        said = self.moves.get(table, ())
        newer = [c for c in self.cuts if not said or c.week > said[-1].week]
        if newer:
            chosen = newer[place % len(newer)]
            self._move(table, "load", chosen.week, chosen.id)

    def roll_back(self, table: str, depth: int) -> None:
        """Take back everything from one of the weeks that are kept."""
        path = standing(self.moves.get(table, ()))
        for weeks in range(depth + 1):
            since = self.cuts[-1].week - timedelta(weeks=weeks) if self.cuts else FIRST
            below = [m for m in path if m.week < since]
            if weeks < self.keep_weeks and below and len(below) < len(path):
                return self._return(table, below[-1])
        return None

    def take_back(self, table: str) -> None:
        """Take a table's last entry back, whatever it was."""
        before = standing(self.moves.get(table, ())[:-1])
        if before:
            self._return(table, before[-1])

    def _return(self, table: str, to: HeadMove) -> None:
        assert self.has(to.cut), f"{table} can't be rolled back to {to.cut}"
        self._move(table, "rollback", to.week, to.cut, restores=to.entry)

    def _move(
        self, table: str, kind: str, to: date, cut_id: str, restores: int | None = None
    ) -> None:
        self.entry += 1
        move = HeadMove(
            entry=self.entry,
            kind=kind,
            week=to,
            cut=cut_id,
            mapping_hash="",
            inserted=0,
            updated=0,
            deleted=0,
            displaced=0,
            move="",
            run="",
            written_at=datetime(2026, 1, 1, tzinfo=UTC),
            restores=restores,
        )
        self.moves[table] = (*self.moves.get(table, ()), move)

    def prune(self) -> None:
        """Let go of what is not needed, then look at everything that must still be possible."""
        needs = needed(self.cuts, self.moves, self.known, self.keep_weeks)
        before = list(self.cuts)
        self.cuts = [cut for cut in self.cuts if cut.id in needs]
        assert set(needs) == {cut.id for cut in self.cuts}
        assert not before or before[-1] in self.cuts, "the newest cut is gone"
        for table, said in self.moves.items():
            assert self.has(said[-1].cut), f"{table} stands at a cut that is gone"
            if table in self.known:
                assert all(self.has(c.id) for c in before if c.week > said[-1].week)
            self._can_be_taken_back(table, said)

    def _can_be_taken_back(self, table: str, said: Sequence[HeadMove]) -> None:
        """Weeks and entries of the last `keep_weeks` weeks, and the last entry in any case."""
        path = standing(said)
        for weeks in range(self.keep_weeks):
            since = self.cuts[-1].week - timedelta(weeks=weeks)
            below = [m for m in path if m.week < since]
            if below and len(below) < len(path):
                assert self.has(below[-1].cut), f"week {since} of {table} can't be rolled back"
        for count, move in enumerate(said):
            before = standing(said[:count])
            if before and (move.week >= self.since or move is said[-1]):
                assert self.has(before[-1].cut), f"entry {move.entry} of {table} can't go"


_tables = st.sampled_from(TABLES)
_small = st.integers(0, 9)
_steps = st.one_of(
    st.tuples(st.just("take"), st.sampled_from([0, 0, 0, 1, 3])),
    st.tuples(st.just("carry"), _tables, _small),
    st.tuples(st.just("carry"), _tables, _small),
    st.tuples(st.just("roll_back"), _tables, _small),
    st.tuples(st.just("take_back"), _tables),
    st.tuples(st.just("prune")),
)


@example(
    keep_weeks=1,
    known=frozenset("a"),
    steps=[("carry", "a", 0), ("take", 0), ("take", 0), ("take", 0)],
)
@given(
    keep_weeks=st.integers(1, 4),
    known=st.frozensets(_tables),
    steps=st.lists(_steps, max_size=60),
)
def test_nothing_that_is_needed_is_ever_let_go(
    keep_weeks: int, known: frozenset[str], steps: list[tuple[str, *tuple[object, ...]]]
) -> None:
    """Weeks are carried, left out, rolled back and taken back again, with cuts let go between."""
    life = Life(keep_weeks=keep_weeks, known=known)
    life.take(0)
    for name, *arguments in steps:
        getattr(life, name)(*arguments)
    life.prune()


@given(keep_weeks=st.integers(1, 5), weeks=st.integers(1, 12))
def test_of_tables_that_are_carried_every_week_one_cut_more_than_keep_weeks_stays(
    keep_weeks: int, weeks: int
) -> None:
    """The state below the oldest move that can be rolled back; the first load has none."""
    life = Life(keep_weeks=keep_weeks, known=frozenset(TABLES))
    for _ in range(weeks):
        life.take(0)
        for table in TABLES:
            life.carry(table, 0)
    life.prune()
    assert len(life.cuts) == min(weeks, keep_weeks + 1)
