"""The soak's figures stand on the page that promises them, in place of those of the last one."""

from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.soak import BEGIN, END, PAGE, Soak, table, written


def test_figures_take_the_place_of_the_last_ones() -> None:
    """Whatever stands around them stays; doing it again changes nothing."""
    figures = Figures(lives=12, rows_compared=3456)
    figures.faults["exception"] = 7
    soak = Soak(
        figures=figures,
        first_seed=1,
        last_seed=2,
        seconds=90.0,
        fault_tests="9 passed",
        server="18.6",
        command="make soak",
    )
    page = PAGE.read_text("utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    once = written(page, table(soak))
    assert "| lives | 12 |" in once
    assert "| faults injected | 7: exception 7 |" in once
    assert "| **rows lost** | **0** |" in once
    assert once.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert once.partition(END)[2] == page.partition(END)[2]
    assert written(once, table(soak)) == once
