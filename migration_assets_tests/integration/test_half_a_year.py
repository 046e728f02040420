"""Twenty-six weeks of one migration, most of them with something that goes wrong."""

from collections.abc import Callable
from typing import Final

from migration_assets import step
from migration_assets.findings import Outcome
from migration_assets_tests.fixtures_migration import assert_equal, week
from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.machine import Life
from migration_assets_tests.lives.shapes import NAMES
from migration_assets_tests.lives.watched import NEWEST, NOTHING, Fault

WEEKS: Final = 26
EVERYTHING: Final = frozenset({"all"})


class HalfAYear:
    """A life whose weeks are written down: what happens in them before and while they are run."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.number = 0

    def work(self) -> None:
        """Let the application write as in any week; another one each week."""
        n = self.number
        self.life.live(
            [
                ("insert", "customer", [n, n + 2, n, n + 1, n], False),
                ("insert", "invoice", [n, n + 1, n + 2, n, n], False),
                ("insert", "event", [n % 2, n, n, n, n], False),
                ("insert", "stock", [n, n + 3, n, n + 5, n], False),
                ("update", "label", (n, 1 + n % 2, n), False),
                ("update", "event", (n, n, n), False),
                ("update", "customer", (n, 0, n), False),
                ("swap", "customer", (n, n + 1)),
                ("swap", "stock", (n, n + 1)),
                ("delete", "invoice", n),
            ]
        )

    def cut(self) -> None:
        """Take the week's cut."""
        self.life.take_cut(self.number - max(self.life.cuts, default=0), broken=False)

    def carry(
        self, *tables: str, acknowledged: frozenset[str] = NOTHING, fault: Fault = None
    ) -> None:
        """Carry tables to the week."""
        for name in tables:
            self.life.carry(name, NEWEST, acknowledged, fault, told=True)

    def others(self, *without: str) -> None:
        """Carry the other tables."""
        self.carry(*(name for name in NAMES if name not in without))

    # -------------------------------------------------------------------------------- the weeks

    def plain(self) -> None:
        """Nothing happens."""
        self.cut()
        self.others()

    def killed_first_load(self) -> None:
        """Kill the process of a first load; it is run again."""
        self.cut()
        self.carry("stock", fault=("die", "applied"))
        self.others()

    def skipped(self) -> None:
        """Leave a table out."""
        self.cut()
        self.others("customer")

    def without_cut(self) -> None:
        """Nobody runs anything; the week folds into the next one."""

    def failed(self) -> None:
        """Break three steps off, each in another way; they stay red."""
        self.cut()
        self.carry("stock", fault=("kill", "written"))
        self.carry("event", fault=("raise", "staged"))
        self.carry("label", fault=("die", "proved"))
        self.others("stock", "event", "label")

    def unknown_end(self) -> None:
        """Kill a step when it has committed."""
        self.cut()
        self.carry("invoice", fault=("die", "committed"))
        self.others("invoice")

    def column_added(self) -> None:
        """Let a release add columns."""
        self.life.release("invoice", "add", 0)
        self.life.release("event", "add", 2)
        self.plain()

    def column_renamed(self) -> None:
        """Let a release rename columns."""
        self.life.release("customer", "rename", 0)
        self.life.release("label", "rename", 0)
        self.plain()

    def column_dropped(self) -> None:
        """Let a release drop a column."""
        self.life.release("invoice", "drop", 0)
        self.plain()

    def misfits(self) -> None:
        """Let rows come that don't fit."""
        self.life.live(
            [
                ("update", "label", (0, 1, 0), True),
                ("update", "event", (0, 2, 0), True),
                ("update", "stock", (1, 2, 1), True),
            ]
        )
        self.plain()

    def mended(self) -> None:
        """Mend them at the source."""
        self.life.application.mend()
        self.plain()

    def too_many_misfits(self) -> None:
        """More rows don't fit than may; somebody acknowledges them, for one run."""
        self.life.live([("update", "event", (row, 0, 0), True) for row in range(6)])
        self.cut()
        self.carry("event")
        self.carry("event", acknowledged=frozenset({"quarantine_limit"}))
        self.others("event")
        self.life.application.mend()

    def somebody_wrote(self) -> None:
        """Somebody else has written on the target: tables stop, and are repaired."""
        self.life.write_elsewhere("label", "delete", [0, 0, 0, 0, 0])
        self.life.write_elsewhere("customer", "update", [1, 2, 1, 0, 0])
        self.life.write_elsewhere("event", "insert", [1, 2, 1, 0, 0])
        self.plain()
        for name in ("label", "customer", "event"):
            self.life.repair(name, None)
        self.others()

    def somebodys_rows_displaced(self) -> None:
        """Somebody else's rows are displaced by the load that is told to."""
        self.life.write_elsewhere("stock", "update", [1, 2, 1, 0, 0])
        self.cut()
        self.carry("stock", acknowledged=frozenset({"foreign_writes"}))
        self.others("stock")

    def kept(self) -> None:
        """Let what somebody wrote stay as an exception, for this week."""
        self.life.write_elsewhere("label", "update", [2, 1, 3, 0, 0])
        self.life.write_elsewhere("event", "delete", [1, 0, 0, 0, 0])
        self.cut()
        for name in ("label", "event"):
            self.life.keep_target(name)
        self.others()
        for name in ("label", "event"):
            self.life.repair(name, None, kept=True)
        self.others()

    def quarantine_changed(self) -> None:
        """Somebody deletes what stands in quarantine; a repair makes it anew."""
        self.life.write_in_quarantine("event", 0, more=False)
        self.life.repair("event", None)
        self.plain()

    def rolled_back(self) -> None:
        """Take a week back; the table stays on hold until it is released, and catches up."""
        self.plain()
        self.life.roll_back("invoice", NEWEST, NOTHING, None, by_entry=False, released=False)
        self.carry("invoice")
        self.life.let_go("invoice")

    def rollback_taken_back(self) -> None:
        """Break a rollback off, do it, and take it back itself."""
        self.plain()
        self.life.roll_back(
            "invoice", NEWEST, NOTHING, ("kill", "applied"), by_entry=False, released=False
        )
        self.life.roll_back("invoice", NEWEST, NOTHING, None, by_entry=False, released=False)
        self.life.roll_back("invoice", NEWEST, NOTHING, None, by_entry=True, released=True)

    def held(self) -> None:
        """Put a table on hold."""
        self.life.hold("label")
        self.plain()

    def released(self) -> None:
        """Release it."""
        self.life.let_go("label")
        self.plain()

    def restored(self) -> None:
        """Restore an older copy of the source; somebody says that this is meant."""
        self.life.application.restore("older")
        self.cut()
        self.carry(*NAMES, acknowledged=EVERYTHING)

    def made_text(self) -> None:
        """Let the settings make a column text: quarantined rows go in without a new cut."""
        self.life.take_as_text("event", 0)
        self.life.replay("event", NOTHING, None)
        self.plain()

    def together(self) -> None:
        """Tables are carried at the same time, one of them twice."""
        self.cut()
        self.life.carry_two(("customer", "invoice"), 0)
        self.life.carry_two(("stock", "stock"), 0)
        self.others()

    def damaged(self) -> None:
        """Damage a stored delta before it is loaded."""
        self.cut()
        self.life.make_delta("customer", 0, told=True)
        self.life.damage_delta("customer", -1)
        self.others()

    def emptied(self) -> None:
        """Let the application empty a table, which somebody acknowledges."""
        self.life.application.empty("invoice")
        self.cut()
        self.carry("invoice", acknowledged=EVERYTHING)
        self.others("invoice")

    def plan(self) -> list[Callable[[], None]]:
        """Return what happens, week by week."""
        return [
            *(self.killed_first_load, self.kept, self.skipped, self.failed, self.column_added),
            *(self.without_cut, self.misfits, self.rolled_back, self.mended, self.somebody_wrote),
            *(self.unknown_end, self.column_renamed, self.held, self.too_many_misfits),
            *(self.released, self.made_text, self.somebodys_rows_displaced, self.damaged),
            *(self.restored, self.without_cut, self.together, self.rollback_taken_back),
            *(self.emptied, self.quarantine_changed, self.column_dropped, self.plain),
        ]

    def run(self) -> None:
        """Live through it; after each week everything is compared with the model."""
        for number, event in enumerate(self.plan(), start=1):
            self.number = number
            self.work()
            if number == 17:
                self.life.application.back_up("older")
            event()
            self.life.target_is_as_the_model_says()


def test_half_a_year_of_failures_ends_equal_with_every_week_covered(target_url: str) -> None:
    """What was skipped, killed, taken back, held, damaged or written over costs no row."""

    class Here(Life):
        """A life on this test's database."""

    Here.url, Here.figures, Here.deadly = target_url, Figures(), True
    life = Here()
    try:
        HalfAYear(life).run()
        assert len(life.cuts) == WEEKS - 2
        happened = Here.figures
        life.end()
        migration = life.now()
        assert_equal(migration, *NAMES, extra_columns=["n1", "n2", "total"])
        for name in NAMES:
            for number in range(1, WEEKS + 1):
                moved = step.carry(migration, name, week(number), run="again")
                assert moved.outcome is Outcome.COVERED
        life.target_is_as_the_model_says()
        assert happened.faults == {
            "process killed": 3,
            "session ended": 2,
            "exception": 1,
            "delta damaged": 1,
        }
        assert happened.rows_lost == 0
    finally:
        life.finished = False
        life.teardown()
