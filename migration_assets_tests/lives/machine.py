"""A random life of one migration, step by step beside its model; any difference ends it.

Hypothesis draws the steps. Each does something to the source, the target or the pipeline, and tells
the model; a move is forecast first, and has to do what the forecast says, or stop for a reason that
the forecast names. After every step the target, quarantine and ledger are read by the judge and
have to be what the model says; the pipeline's own verification has to agree.
"""

import threading
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from migration_assets import holds, retention, step, undo
from migration_assets import repair as repairs
from migration_assets.errors import MigrationError
from migration_assets.findings import Moved
from migration_assets_tests.fixtures_migration import week
from migration_assets_tests.lives.expected import (
    DISPLACED,
    NO_CUT,
    Forecast,
    Table,
    forecast,
    head_of,
    keep,
    repair,
    rollback,
)
from migration_assets_tests.lives.shapes import NAMES, Kind, Rows, exactly
from migration_assets_tests.lives.watched import (
    LIMIT,
    NEWEST,
    NOTHING,
    At,
    Fault,
    InjectedError,
    Watched,
    difference,
)
from migration_assets_tests.processes import die_in_step, exit_code, started

STAGES: Final = (
    *("prepared", "compared", "locked", "staged", "altered", "applied", "quarantined"),
    *("proved", "read_back", "written", "committed"),
)
UNKNOWN: Final = 10_000  # no entry has this number
ACKNOWLEDGED: Final = (
    NOTHING,
    NOTHING,
    NOTHING,
    frozenset({"foreign_writes"}),
    frozenset({"foreign_writes", "kept_rows"}),
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


class Life(Watched):
    """One life, drawn step by step."""

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
                case _:
                    raise AssertionError(change)
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
                self.carry(name, NEWEST, NOTHING, fault, told=True)

    @rule(first=changes_list, second=changes_list)
    def run_two_weeks(self, first: list[Any], second: list[Any]) -> None:
        """Let two weeks go by in which nothing fails."""
        for some in (first, second):
            self.run_week(1, some, [(False, None)] * len(NAMES))

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

        def move(at: At) -> Moved | None:
            return step.carry(
                migration, name, week(number), run="life", acknowledged=acknowledged, at=at
            )

        def die(stage: str) -> int | None:
            return exit_code(started(die_in_step, migration, name, week(number), stage))

        self.moved(name, expected, move, fault, die if not acknowledged else None)

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

    def make_delta(self, name: str, number: int, *, told: bool) -> None:
        """Store a delta and load nothing."""
        number = self.chosen(number)
        expected = self.forecast(name, number, NOTHING, told=told)
        try:
            step.make_delta(self.migration(self.settings_at(number), told=told), name, week(number))
        except MigrationError as error:
            self.refused(name, expected, error)
        self.figures.steps["delta alone"] += 1

    def damage_delta(self, name: str, number: int) -> None:
        """Damage the newest stored delta: it has to be made again."""
        files = sorted((self.folder / "state" / "deltas").rglob(f"main/{name}/*/*.parquet"))[-2:]
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
                replay=True,
            )
        contents = {n: t.head.content for n, t in self.tables.items() if t.head}
        migration = self.migration(contents)

        def move(at: At) -> Moved | None:
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
        entries = [move.entry for move in table.moves] or [UNKNOWN]
        weeks = sorted({move.head.week for move in table.moves}) or [week(1)]
        if number == NEWEST:
            entry, back = entries[-1], weeks[-1]
        elif number < 2:  # what can't be taken back
            entry, back = (UNKNOWN, entries[0])[number], weeks[0]
        else:
            entry = entries[-1 - number % max(1, len(entries) - 1)]
            back = weeks[-1 - number % max(1, len(weeks) - 1)]
        entry, back = (entry, None) if by_entry else (None, back)
        expected = rollback(table, week=back, entry=entry, acknowledged=acknowledged)
        if expected.go and expected.go.week not in {week(number) for number in self.cuts}:
            expected = Forecast(stops=frozenset({NO_CUT}))
        if DISPLACED in expected.doubts and self.unsure_of(table, expected, acknowledged):
            return
        migration = self.now()

        def move(at: At) -> Moved | None:
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

    def unsure_of(self, table: Table, expected: Forecast, acknowledged: frozenset[str]) -> bool:
        """Tell whether some of the displaced rows may be put back, and others not."""
        assert expected.go is not None
        assert table.head is not None
        wide = any(c.kind is Kind.WIDE for c in expected.go.content.columns)
        return wide or bool(acknowledged & {"displaced_rows", "all"})

    @rule(name=names)
    def keep_target(self, name: str) -> None:
        """Let what somebody else wrote stay, as exceptions."""
        table = self.tables[name]
        if table.head and any(c.kind is Kind.WIDE for c in table.head.content.columns):
            return  # whether the next load widens it, and so writes it whole, isn't forecast
        expected = keep(table)
        try:
            found = repairs.keep_target(self.now(), name, reason="a life's whim", by="life")
        except MigrationError as error:
            self.refused(name, expected, error)
        else:
            assert len(found) == (len(table.differing()) if expected.go else 0)
            self.settle(name, expected, committed=True)
        self.figures.steps["keep target"] += 1

    @rule(name=names, fault=faults, kept=st.integers(0, 3).map(lambda n: n == 0))
    def repair(self, name: str, fault: Fault, *, kept: bool = False) -> None:
        """Put right what somebody else wrote; sometimes what was kept, too."""
        expected = repair(self.tables[name], kept=kept)
        migration = self.now()

        def move(at: At) -> Moved | None:
            return repairs.repair(migration, name, run="life", kept=kept, at=at)

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
        what=st.sampled_from(("cut", "delta", "damage", "damage", "text", "hold", "prune")),
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
            case "damage" if self.cuts:
                self.make_delta(name, NEWEST, told=True)
                self.damage_delta(name, number)
                self.carry(name, NEWEST, NOTHING, None, told=True)
            case "text":
                self.take_as_text(name, number)
            case "hold":
                self.hold(name)
            case "prune":
                retention.prune(self.now())
                self.forget_cuts()
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

    @rule(
        name=names,
        kinds=st.lists(st.sampled_from(("insert", "update", "delete")), min_size=1, max_size=3),
        chosen=numbers,
        then=st.sampled_from(("repair", "keep", "undo", "displace", "nothing")),
        some=changes_list,
    )
    def disturb(
        self, name: str, kinds: list[str], chosen: list[int], then: str, some: list[Any]
    ) -> None:
        """Let somebody else write on the target, and somebody do something about it."""
        for turn, kind in enumerate(kinds):
            self.write_elsewhere(name, kind, [n + turn for n in chosen])
        match then:
            case "repair":
                self.repair(name, None)
            case "keep":
                self.keep_target(name)
            case "undo":
                self.write_elsewhere(name, "undo", chosen)
            case "displace":
                self.live(some)
                self.take_cut(1, broken=False)
                self.carry(name, NEWEST, frozenset({"all"}), None, told=True)
            case _:
                pass

    @rule(name=names, number=number, more=st.booleans())
    def write_in_quarantine(self, name: str, number: int, *, more: bool) -> None:
        """Let somebody else write in quarantine."""
        table = self.tables[name]
        if table.head is not None and self.outsider.quarantine(name, table, number, more=more):
            self.touched.add(name)
            self.figures.foreign_writes += 1

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
            written = exactly(Rows(content.rows))
            found = exactly(self.judge.target(name, content.columns))
            self.figures.rows_lost += (written - found).total()
            assert found == written, difference(name, found, written)
        self.target_is_as_the_model_says()
