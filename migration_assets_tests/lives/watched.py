"""What every life is watched with: its model, what a move may do, and what is read afterwards."""

import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant

from migration_assets import standing
from migration_assets.errors import MigrationError, TransientError
from migration_assets.findings import Moved, Outcome
from migration_assets.migration import Migration
from migration_assets_tests.fixtures_migration import migration_of, week
from migration_assets_tests.fixtures_sqlite import MEMORY
from migration_assets_tests.lives.application import Application
from migration_assets_tests.lives.expected import (
    Forecast,
    Head,
    Table,
    forecast,
    head_of,
    reason_of,
    renamed,
)
from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.judge import Entry, Judge, leftover_files, reset
from migration_assets_tests.lives.outside import Outsider
from migration_assets_tests.lives.shapes import NAMES, SHAPES, Content, exactly

LIMIT: Final = 3  # rows of a table that may stand in quarantine
KEEP_WEEKS: Final = 4  # whose cuts are kept in any case
NEWEST: Final = 40  # the number that chooses the newest week
NOTHING: Final[frozenset[str]] = frozenset()

Fault = tuple[str, str] | None  # how a step is broken off, and at which stage
At = Callable[[str], None]
Move = Callable[[At], Moved | None]


class InjectedError(Exception):
    """What a step is broken off with."""


class Watched(RuleBasedStateMachine):
    """A life without its steps; a class of its own for each run names where it takes place."""

    url: str
    figures: Figures
    deadly = False  # whether processes are really killed: each costs a new process

    def __init__(self) -> None:
        super().__init__()
        reset(self.url)
        self.folder = Path(tempfile.mkdtemp(prefix="migration-assets-test-", dir=MEMORY))
        self.judge = Judge(self.url)
        self.outsider = Outsider(self.judge)
        self.application = Application(self.folder / "app.sqlite", SHAPES)
        self.tables = {shape.name: Table(key=shape.key) for shape in SHAPES}
        self.cuts: dict[int, dict[str, Content]] = {}
        self.as_text: dict[str, set[str]] = {name: set() for name in NAMES}
        self.touched: set[str] = set()
        self.ledger: list[Entry] = []
        self.finished = True  # the last rule ended as it should
        self.figures.lives += 1

    def migration(self, contents: dict[str, Content], *, told: bool = True) -> Migration:
        """Return the migration under the settings that suit these contents."""
        tables: dict[str, Any] = {}
        for name, content in contents.items():
            old = renamed(self.tables[name].head, content) if told else {}
            columns: dict[str, dict[str, str]] = {}
            for column in content.columns:
                said = {"type": column.kind.pinned} if column.kind.pinned else {"policy": "widen"}
                if column.origin in self.as_text[name]:
                    said["type"] = "text"
                if column.name in old:
                    said["renamed_from"] = old[column.name]
                columns[column.name] = said
            tables[name] = {"columns": columns}
        return migration_of(
            self.application.path,
            self.folder / "state",
            self.url,
            quarantine_rows=LIMIT,
            quarantine_share=0.0,
            connect_patience=5.0,
            retry_patience=5.0,
            keep_weeks=KEEP_WEEKS,
            tables=tables,
        )

    def covering(self, number: int) -> int | None:
        """Return the week whose cut stands for a week."""
        return min((taken for taken in self.cuts if taken >= number), default=None)

    def forget_cuts(self) -> None:
        """Forget the cuts that are gone; none may be gone that is still needed."""
        folder = self.folder / "state" / "cuts" / "main"
        there = {path.parent.name for path in folder.glob("*/manifest.json")}
        gone = [number for number in self.cuts if week(number).isoformat() not in there]
        since = max(self.cuts, default=0) - KEEP_WEEKS + 1
        for number in gone:
            assert number < since, f"the cut of week {number} is of the last {KEEP_WEEKS} weeks"
            for name, table in self.tables.items():
                assert table.head is not None, f"{name} was never carried to week {number}"
                assert week(number) < table.head.week, f"{name} stands before week {number}"
                before = table.moves[-2].head.week if len(table.moves) > 1 else None
                assert week(number) != before, f"{name} can't go back to week {number}"
            del self.cuts[number]
            self.figures.steps["cut removed"] += 1

    def cut(self, name: str, number: int) -> Head | None:
        """Return what a table is to be carried to."""
        taken = self.covering(number)
        if taken is None:
            return None
        return head_of(week(taken), self.cuts[taken][name], self.as_text[name])

    def now(self) -> Migration:
        """Return the migration under the settings for the newest cut."""
        return self.migration(self.cuts[max(self.cuts)] if self.cuts else {})

    def chosen(self, number: int) -> int:
        """Choose a week: mostly the newest that has a cut, sometimes any, or one after it."""
        newest = max(self.cuts, default=0)
        return newest if number < 15 or number == NEWEST else number % (newest + 2) + (newest == 0)

    def settings_at(self, number: int) -> dict[str, Content]:
        """Return the contents that the settings have to suit when a week is carried."""
        taken = self.covering(number)
        return {} if taken is None else self.cuts[taken]

    def forecast(
        self, name: str, number: int, acknowledged: frozenset[str], *, told: bool
    ) -> Forecast:
        """Say what carrying a table must do."""
        cut = self.cut(name, number)
        if cut is None:
            return forecast(self.tables[name], None, limit=LIMIT, acknowledged=NOTHING, told=True)
        return forecast(
            self.tables[name],
            cut,
            limit=LIMIT,
            acknowledged=acknowledged,
            told=told,
        )

    def moved(
        self,
        name: str,
        expected: Forecast,
        move: Move,
        fault: Fault = None,
        die: Callable[[str], int | None] | None = None,
    ) -> None:
        """Do a move and hold it against its forecast; a fault may break it off."""
        kind, stage = fault or ("", "")
        if kind == "die" and self.deadly and die and not expected.stops | expected.doubts:
            if die(stage) == -signal.SIGKILL:
                self.figures.faults["process killed"] += 1
                self.settle(name, expected, committed=stage == "committed")
            else:
                self.settle(name, expected, committed=True)
            return
        kind = "raise" if kind == "die" else kind
        fired: list[str] = []

        def at(reached: str) -> None:
            if reached == stage and not fired and kind:
                fired.append(reached)
                self.figures.faults[{"raise": "exception", "kill": "session ended"}[kind]] += 1
                if kind == "raise":
                    raise InjectedError
                self.judge.kill_others()

        self.attempt(name, expected, move, at, fired)

    def attempt(
        self,
        name: str,
        expected: Forecast,
        move: Move,
        at: Callable[[str], None],
        fired: list[str],
    ) -> None:
        """Do a move; every way it may end is one that the forecast allows."""
        self.finished = False
        try:
            done = move(at)
        except InjectedError:
            self.settle(name, expected, committed=fired == ["committed"])
        except MigrationError as error:
            if not (fired and isinstance(error, TransientError)):
                self.refused(name, expected, error)
            self.figures.stops[reason_of(error)] += 1
        else:
            assert not expected.stops, f"{name} should have stopped: {expected.stops}"
            self.compare(name, expected, done)
            self.settle(name, expected, committed=True)

    def refused(self, name: str, expected: Forecast, error: MigrationError) -> None:
        """Make sure that a move stopped for a reason that was forecast."""
        self.finished = False
        if not expected.allows(error):
            message = f"{name} was to do: {expected}"
            raise AssertionError(message) from error

    def compare(self, name: str, expected: Forecast, moved: Moved | None) -> None:
        """Hold what a move says of itself against its forecast."""
        if moved is None:
            assert expected.nothing
            return
        assert not expected.nothing
        assert moved.outcome is (Outcome.COVERED if expected.covered else Outcome.LOADED)
        if expected.covered or expected.go is None:
            return
        assert moved.proof.holds
        assert (
            moved.proof.target_rows == self.judge.target(name, expected.go.content.columns).total()
        )
        assert moved.proof.quarantined_rows == expected.go.unfit.total()

    def settle(self, name: str, expected: Forecast, *, committed: bool) -> None:
        """Tell the model what a move did."""
        self.touched.add(name)
        if committed and expected.go is not None and not expected.covered and not expected.stops:
            entry = [e.entry for e in self.judge.ledger() if e.table == name][-1]
            self.tables[name].stand(expected, entry)
            self.figures.moves[expected.kind] += 1

    def both(
        self, name: str, expected: Forecast, ends: list[Moved | MigrationError | None]
    ) -> None:
        """Hold the ends of moves at the same time against the forecast: one of them moves."""
        self.finished = False
        errors = [end for end in ends if isinstance(end, MigrationError)]
        done = [end for end in ends if isinstance(end, Moved)]
        assert len(errors) + len(done) == len(ends), "a thread died"
        assert all(expected.allows(error) for error in errors), (expected, errors)
        assert not (expected.stops and done), expected
        loaded = [moved for moved in done if moved.outcome is Outcome.LOADED]
        assert len(loaded) <= 1
        if done:
            assert bool(loaded) is not expected.covered
            self.settle(name, expected, committed=True)

    @invariant()
    def target_is_as_the_model_says(self) -> None:
        """Read everything, and compare it with the model; verify what the step touched."""
        self.finished = False
        loaded = [name for name, table in self.tables.items() if table.head is not None]
        for name in loaded:
            self.compare_table(name)
        self.compare_ledger()
        assert self.judge.held() == {name for name, table in self.tables.items() if table.held}
        assert self.judge.displaced() == sum(t.displaced for t in self.tables.values())
        left = self.judge.leftovers(loaded)
        assert not left, left
        assert not leftover_files(self.folder / "state")
        for name in sorted(self.touched):
            self.verify(name)
        self.touched.clear()
        self.figures.rows_compared += self.judge.rows_read
        self.judge.rows_read = 0
        self.finished = True

    def compare_table(self, name: str) -> None:
        """Compare a table and its quarantine with the model."""
        table = self.tables[name]
        assert table.head is not None
        columns = table.head.content.columns
        found = exactly(self.judge.target(name, columns))
        assert found == exactly(table.target), difference(name, found, exactly(table.target))
        found = exactly(self.judge.quarantine(name, columns))
        wanted = exactly(table.quarantine)
        assert found == wanted, difference(f"quarantine of {name}", found, wanted)

    def compare_ledger(self) -> None:
        """Make sure that the ledger only grows, by one entry a move, and ends at the heads."""
        found = self.judge.ledger()
        assert found[: len(self.ledger)] == self.ledger, "the ledger's past was changed"
        self.ledger = found
        for name, table in self.tables.items():
            mine = [entry for entry in found if entry.table == name]
            told = [(move.entry, move.head.week.isoformat()) for move in table.moves]
            assert [(entry.entry, entry.week) for entry in mine] == told
            kinds = [entry.kind.replace("schema", "load") for entry in mine]
            assert kinds == [move.kind for move in table.moves]

    def verify(self, name: str) -> None:
        """Let the pipeline prove a table: green where the model says so, and only there."""
        table = self.tables[name]
        found = standing.verify(self.now(), name)
        assert (found is None) is (table.head is None)
        if found is not None:
            assert found.proof.holds is table.clean, (name, found.proof, table)
            self.figures.proofs["green" if found.proof.holds else "red"] += 1

    def teardown(self) -> None:
        """End a life; one that is sound is carried to its end first."""
        try:
            if self.finished:
                self.end()
        finally:
            self.judge.close()
            shutil.rmtree(self.folder)

    def end(self) -> None:
        """Carry everything to a last cut."""
        raise NotImplementedError


def difference(name: str, found: Any, wanted: Any) -> str:  # noqa: ANN401 - counted rows
    """Say how counted rows differ."""
    return f"{name}: too many {found - wanted}, lacking {wanted - found}"
