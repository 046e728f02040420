"""A random life of one migration, step by step beside its model; any difference ends it.

Hypothesis draws the steps. Each does something to the source, the target or the pipeline, and tells
the model; a move is forecast first, and has to do what the forecast says, or stop for a reason that
the forecast names. After every step the target, quarantine and ledger are read by the judge and
have to be what the model says; the pipeline's own verification has to agree.
"""

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from migration_assets import holds, standing, step, undo
from migration_assets import repair as repairs
from migration_assets.errors import MigrationError, TransientError
from migration_assets.findings import Moved, Outcome
from migration_assets.step import Migration
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
    repair,
    rollback,
)
from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.judge import Entry, Judge, leftover_files, reset
from migration_assets_tests.lives.outside import Outsider
from migration_assets_tests.lives.shapes import NAMES, SHAPES, Content, Kind, exactly
from migration_assets_tests.processes import die_in_step, exit_code, started

LIMIT: Final = 3  # rows of a table that may stand in quarantine
STAGES: Final = (
    *("prepared", "compared", "locked", "staged", "altered", "applied", "quarantined"),
    *("proved", "read_back", "written", "committed"),
)
NOTHING: Final[frozenset[str]] = frozenset()
ACKNOWLEDGED: Final = (
    NOTHING,
    NOTHING,
    NOTHING,
    frozenset({"foreign_writes"}),
    frozenset({"quarantine_limit"}),
    frozenset({"all"}),
)

names = st.sampled_from(NAMES)
number = st.integers(0, 40)
numbers = st.lists(number, min_size=5, max_size=5)
stages = st.sampled_from(STAGES)
odd = st.integers(0, 5).map(lambda n: n == 0)
acknowledgements = st.sampled_from(ACKNOWLEDGED)
faults = st.one_of(
    *[st.none()] * 3,
    st.tuples(st.sampled_from(("raise", "kill", "die")), stages),
)
changes = st.one_of(
    *[st.tuples(st.just("insert"), names, numbers, odd)] * 4,
    *[st.tuples(st.just("update"), names, st.tuples(number, number, number), odd)] * 3,
    *[st.tuples(st.just("delete"), names, number)] * 2,
    st.tuples(st.just("swap"), st.sampled_from(("customer", "stock")), st.tuples(number, number)),
)
changes_list = st.lists(changes, min_size=1, max_size=8)
weekly = st.tuples(st.integers(0, 4).map(lambda n: n == 0), faults)
Fault = tuple[str, str] | None


class InjectedError(Exception):
    """What a step is broken off with."""


class Life(RuleBasedStateMachine):
    """One life; a class of its own for each run names where it takes place."""

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
        self.tables = {name: Table() for name in NAMES}
        self.cuts: dict[int, dict[str, Content]] = {}
        self.as_text: dict[str, set[str]] = {name: set() for name in NAMES}
        self.whole: set[tuple[str, date]] = set()  # deltas that may hold a whole cut
        self.touched: set[str] = set()
        self.ledger: list[Entry] = []
        self.finished = True  # the last rule ended as it should
        self.figures.lives += 1

    # ------------------------------------------------------------------------------ the migration

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
            tables=tables,
        )

    def covering(self, number: int) -> int | None:
        """Return the week whose cut stands for a week."""
        return min((taken for taken in self.cuts if taken >= number), default=None)

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
        return newest if number < 15 or number == 40 else number % (newest + 2) + (newest == 0)

    # ------------------------------------------------------------------------------ the source

    @initialize(first=st.lists(changes, min_size=12, max_size=24), begun=st.booleans())
    def found(self, first: list[Any], *, begun: bool) -> None:
        """Let the application have lived for a while, and mostly a first week be carried."""
        for name in NAMES:
            for row in range(3):
                self.application.insert(name, [row, row + 1, row, row + 2, row], odd=False)
        self.live(first)
        if begun:
            self.run_week(1, first[:4], [(False, None)] * len(NAMES))

    @rule(some=st.lists(changes, min_size=1, max_size=6))
    def live(self, some: list[Any]) -> None:
        """Let the application write."""
        for change in some:
            match change:
                case ("insert", name, chosen, unfit):
                    done = self.application.insert(name, chosen, odd=unfit)
                case ("update", name, (row, place, value), unfit):
                    done = self.application.update(name, row, place, value, odd=unfit)
                case ("delete", name, row):
                    done = self.application.delete(name, row)
                case (_, name, (row, other)):
                    done = self.application.swap(name, row, other)
            self.figures.source_changes += done

    @rule(name=names, kind=st.sampled_from(("add", "drop", "rename")), place=number)
    def release(self, name: str, kind: str, place: int) -> None:
        """Let a new release of the application change a table."""
        change = {
            "add": self.application.add_column,
            "drop": self.application.drop_column,
            "rename": self.application.rename_column,
        }[kind]
        if change(name, place):
            self.figures.steps[f"column: {kind}"] += 1

    @rule(gap=st.sampled_from((1, 1, 1, 2, 3)), broken=odd)
    def take_cut(self, gap: int, *, broken: bool) -> None:
        """Take the cut of a later week; sometimes it is broken off first."""
        number = max(self.cuts, default=0) + gap

        def progress(_done: int, _pages: int) -> None:
            raise InjectedError

        if broken:
            try:
                step.take_cut(self.now(), week(number), progress)
            except InjectedError:
                self.figures.faults["cut broken off"] += 1
            else:
                message = "the cut was not broken off"
                raise AssertionError(message)
        found = step.take_cut(self.now(), week(number))
        assert found.week == week(number)
        self.cuts[number] = self.application.contents()
        self.figures.steps["cut"] += 1

    def take_cut_again(self, number: int) -> None:
        """Ask for a cut that stands already: it is sealed, and a week without one folds."""
        number = number % max(self.cuts) + 1
        found = step.take_cut(self.now(), week(number))
        taken = self.covering(number)
        assert taken is not None
        assert found.week == week(taken)

    # ------------------------------------------------------------------------------ the moves

    @rule(
        gap=st.sampled_from((1, 1, 1, 2)),
        some=changes_list,
        each=st.lists(weekly, min_size=5, max_size=5),
    )
    def run_week(self, gap: int, some: list[Any], each: list[tuple[bool, Fault]]) -> None:
        """Let the application live, take a week's cut and carry what isn't left out."""
        self.live(some)
        self.take_cut(gap, broken=False)
        for name, (left_out, fault) in zip(NAMES, each, strict=True):
            if not left_out:
                self.carry(name, 40, NOTHING, fault, told=True)

    @precondition(lambda self: self.cuts)
    @rule(name=names, number=number, acknowledged=acknowledgements, fault=faults)
    def carry_again(
        self, name: str, number: int, acknowledged: frozenset[str], fault: Fault
    ) -> None:
        """Carry a table to a week that has a cut."""
        self.carry(name, number, acknowledged, fault, told=True)

    @rule(
        name=names, number=number, acknowledged=acknowledgements, told=st.booleans(), fault=faults
    )
    def carry(
        self, name: str, number: int, acknowledged: frozenset[str], fault: Fault, *, told: bool
    ) -> None:
        """Carry a table to a week, whichever."""
        number = self.chosen(number)
        expected = self.forecast(name, number, acknowledged, told=told)
        migration = self.migration(self.settings_at(number), told=told)

        def move(at: Callable[[str], None]) -> Moved | None:
            return step.carry(
                migration, name, week(number), run="life", acknowledged=acknowledged, at=at
            )

        def die(stage: str) -> int | None:
            return exit_code(started(die_in_step, migration, name, week(number), stage))

        self.moved(name, expected, move, fault, die if not acknowledged else None)

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
            return forecast(
                self.tables[name], None, limit=LIMIT, acknowledged=NOTHING, told=True, whole=False
            )
        expected = forecast(
            self.tables[name],
            cut,
            limit=LIMIT,
            acknowledged=acknowledged,
            told=told,
            whole=(name, cut.week) in self.whole,
        )
        if acknowledged & {"foreign_writes", "all"}:
            self.whole.add((name, cut.week))
        return expected

    def moved(
        self,
        name: str,
        expected: Forecast,
        move: Callable[[Callable[[str], None]], Moved | None],
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
        move: Callable[[Callable[[str], None]], Moved | None],
        at: Callable[[str], None],
        fired: list[str],
    ) -> None:
        """Do a move; every way it may end is one that the forecast allows."""
        try:
            done = move(at)
        except InjectedError:
            self.settle(name, expected, committed=fired == ["committed"])
        except MigrationError as error:
            lost = bool(fired) and isinstance(error, TransientError)
            assert lost or expected.allows(error), f"{name}: {expected}: {error!r}: {error}"
            self.figures.stops[reason_of(error)] += 1
        else:
            assert not expected.stops, f"{name} should have stopped: {expected.stops}"
            self.compare(name, expected, done)
            self.settle(name, expected, committed=True)

    def compare(self, name: str, expected: Forecast, moved: Moved | None) -> None:
        """Hold what a move says of itself against its forecast."""
        table = self.tables[name]
        if moved is None:
            assert expected.nothing
            return
        assert not expected.nothing
        assert moved.outcome is (Outcome.COVERED if expected.covered else Outcome.LOADED)
        if expected.covered or expected.go is None:
            return
        assert moved.displaced in (0, table.foreign())
        assert moved.proof.holds
        assert moved.proof.target_rows == expected.go.fitting.total()
        assert moved.proof.quarantined_rows == expected.go.unfit.total()

    def settle(self, name: str, expected: Forecast, *, committed: bool) -> None:
        """Tell the model what a move did."""
        self.touched.add(name)
        if committed and expected.go is not None and not expected.covered and not expected.stops:
            entry = [e.entry for e in self.judge.ledger() if e.table == name][-1]
            self.tables[name].stand(expected, entry)
            self.figures.moves[expected.kind] += 1

    @rule(pair=st.tuples(names, names), number=number)
    def carry_two(self, pair: tuple[str, str], number: int) -> None:
        """Carry two tables, or one twice, at the same time."""
        number = self.chosen(number)
        forecasts = [self.forecast(name, number, NOTHING, told=True) for name in pair]
        migration = self.migration(self.settings_at(number))
        ends: list[Moved | MigrationError | None] = [None, None]

        def carry(at: int) -> None:
            try:
                ends[at] = step.carry(migration, pair[at], week(number), run="two")
            except MigrationError as error:
                ends[at] = error

        threads = [threading.Thread(target=carry, args=(at,)) for at in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.figures.steps["two at once"] += 1
        for name in dict.fromkeys(pair):
            mine = [end for at, end in enumerate(ends) if pair[at] == name]
            self.both(name, forecasts[pair.index(name)], mine)

    def both(
        self, name: str, expected: Forecast, ends: list[Moved | MigrationError | None]
    ) -> None:
        """Hold the ends of moves at the same time against the forecast: one of them moves."""
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

    def make_delta(self, name: str, number: int, *, told: bool) -> None:
        """Store a delta and load nothing."""
        number = self.chosen(number)
        expected = self.forecast(name, number, NOTHING, told=told)
        try:
            step.make_delta(self.migration(self.settings_at(number), told=told), name, week(number))
        except MigrationError as error:
            assert expected.allows(error), f"{name}: {expected}: {error!r}: {error}"
        self.figures.steps["delta alone"] += 1

    def damage_delta(self, name: str, number: int) -> None:
        """Damage a stored delta: it has to be made again."""
        files = sorted((self.folder / "state" / "deltas").rglob(f"main/{name}/*/*.parquet"))
        if files:
            file = files[number % len(files)]
            file.chmod(0o600)
            data = file.read_bytes()
            place = number * 7 % len(data)
            file.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
            self.figures.faults["delta damaged"] += 1

    @rule(name=names, acknowledged=acknowledgements, fault=faults)
    def replay(self, name: str, acknowledged: frozenset[str], fault: Fault) -> None:
        """Let a table follow its settings at its own head."""
        table = self.tables[name]
        head = table.head
        if head is None:
            expected = Forecast(nothing=True)
        else:
            again = head_of(head.week, head.content, self.as_text[name])
            expected = forecast(
                table,
                again,
                limit=LIMIT,
                acknowledged=acknowledged,
                told=True,
                whole=True,
                replay=True,
            )
        contents = {n: t.head.content for n, t in self.tables.items() if t.head}
        migration = self.migration(contents)

        def move(at: Callable[[str], None]) -> Moved | None:
            return step.replay(migration, name, run="life", acknowledged=acknowledged, at=at)

        self.figures.steps["replay"] += 1
        self.moved(name, expected, move, fault)

    @rule(
        name=names,
        number=number,
        by_entry=st.booleans(),
        acknowledged=acknowledgements,
        fault=faults,
        released=st.booleans(),
    )
    def roll_back(
        self,
        name: str,
        number: int,
        acknowledged: frozenset[str],
        fault: Fault,
        *,
        by_entry: bool,
        released: bool,
    ) -> None:
        """Take a week back, or an entry, and everything after it; maybe let the table go on."""
        table = self.tables[name]
        entries = [move.entry for move in table.moves]
        entry = [*entries, 10_000][-1 - number % (len(entries) + 1)] if by_entry else None
        weeks = sorted({move.head.week for move in table.moves}) or [week(1)]
        back = None if by_entry else weeks[-1 - number % len(weeks)]
        expected = rollback(table, week=back, entry=entry, acknowledged=acknowledged)
        if any(move.displaced for move in table.moves):
            return
        migration = self.now()

        def move(at: Callable[[str], None]) -> Moved | None:
            return undo.rollback(
                migration,
                name,
                week=back,
                entry=entry,
                run="life",
                acknowledged=acknowledged,
                by="life",
                at=at,
            )

        self.figures.steps["rollback"] += 1
        self.moved(name, expected, move, fault)
        if released and table.held:
            self.let_go(name)

    @rule(name=names, fault=faults)
    def repair(self, name: str, fault: Fault) -> None:
        """Put right what somebody else wrote."""
        expected = repair(self.tables[name])
        migration = self.now()

        def move(at: Callable[[str], None]) -> Moved | None:
            return repairs.repair(migration, name, run="life", at=at)

        self.figures.steps["repair"] += 1
        self.moved(name, expected, move, fault)

    def take_as_text(self, name: str, number: int) -> None:
        """Let the settings say that an integer column is to become text."""
        columns = [
            c
            for c in self.application.tables[name].columns
            if c.kind is Kind.INTEGER and c.name not in (*self.application.tables[name].shape.key,)
        ]
        if columns:
            self.as_text[name].add(columns[number % len(columns)].origin)
            self.figures.steps["column becomes text"] += 1

    def hold(self, name: str) -> None:
        """Put a table on hold."""
        holds.hold(self.now(), name, "a life's whim", by="life")
        self.tables[name].held = True
        self.figures.steps["hold"] += 1

    @precondition(lambda self: any(table.held for table in self.tables.values()))
    @rule(name=st.sampled_from(NAMES))
    def let_go(self, name: str) -> None:
        """Release a table."""
        found = holds.release(self.now(), name)
        assert (found is not None) is self.tables[name].held
        self.tables[name].held = False
        self.figures.steps["release"] += 1

    @rule(
        what=st.sampled_from(("cut", "delta", "damage", "damage", "text", "hold")),
        name=names,
        number=number,
    )
    def rarity(self, what: str, name: str, number: int) -> None:
        """Do something that is done now and then."""
        match what:
            case "cut" if self.cuts:
                self.take_cut_again(number)
            case "delta":
                self.make_delta(name, number, told=number % 2 == 0)
            case "damage":
                self.damage_delta(name, number)
            case "text":
                self.take_as_text(name, number)
            case "hold":
                self.hold(name)
            case _:
                pass

    # ------------------------------------------------------------------------------ somebody else

    @rule(
        name=names,
        kind=st.sampled_from(("insert", "update", "delete", "undo", "undo")),
        chosen=numbers,
    )
    def write_elsewhere(self, name: str, kind: str, chosen: list[int]) -> None:
        """Let somebody else write on the target, or undo what was written."""
        table = self.tables[name]
        if table.head is None:
            return
        match kind:
            case "insert":
                done = self.outsider.insert(name, table, chosen)
            case "update":
                done = self.outsider.update(name, table, *chosen[:3])
            case "delete":
                done = self.outsider.delete(name, table, chosen[0])
            case _:
                done = self.outsider.undo(name, table)
        if done:
            self.touched.add(name)
            self.figures.foreign_writes += 1

    @rule(name=names, number=number, more=st.booleans())
    def write_in_quarantine(self, name: str, number: int, *, more: bool) -> None:
        """Let somebody else write in quarantine."""
        table = self.tables[name]
        if table.head is not None and self.outsider.quarantine(name, table, number, more=more):
            self.touched.add(name)
            self.figures.foreign_writes += 1

    # ------------------------------------------------------------------------------ what must hold

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
        assert found == exactly(table.target), _difference(name, found, exactly(table.target))
        found = exactly(self.judge.quarantine(name, columns))
        wanted = exactly(table.quarantine)
        assert found == wanted, _difference(f"quarantine of {name}", found, wanted)

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
        """End a life: everything mended and carried to the newest cut, all is equal."""
        try:
            if self.finished:
                self.end()
        finally:
            self.judge.close()
            shutil.rmtree(self.folder)

    def end(self) -> None:
        """Mend the source, carry every table to a last cut, and compare."""
        self.application.mend()
        number = max(self.cuts, default=0) + 1
        step.take_cut(self.now(), week(number))
        self.cuts[number] = self.application.contents()
        for name in NAMES:
            if self.tables[name].held:
                self.let_go(name)
            self.carry(name, 0, frozenset({"all"}), None, told=True)
            content = self.cuts[number][name]
            assert exactly(self.tables[name].target) == exactly(content.split(())[0])
            assert len(content.rows) == self.tables[name].target.total()
        self.target_is_as_the_model_says()


def _difference(name: str, found: Any, wanted: Any) -> str:  # noqa: ANN401 - counted rows
    return f"{name}: too many {found - wanted}, lacking {wanted - found}"
