"""Take the pictures of README and docs in headless Chromium: `make pictures`.

It lives through a demo whose one failure is left, takes the pictures of that, mends it as on-call
would, and takes the others: PNG files beside this script. Look at each before you commit it.
"""

import sys
from pathlib import Path

from migration_assets_tests.fixtures_postgres import new_folder
from migration_assets_tests.system.browser import WIDTH, Dagster, opened
from migration_assets_tests.system.running_demo import FAILING_TABLE, RunningDemo, running_demo

_HERE = Path(__file__).parent
_WEEKS = 4  # the failure is in the fourth
_FAILED = f"aurora/{FAILING_TABLE}"
_PROVED = _FAILED  # once it is mended


def main() -> None:
    """Take every picture."""
    with running_demo(new_folder(), weeks=_WEEKS) as demo:
        with opened(demo.url) as dagster:
            _failed(dagster, demo)
            _mend(dagster, demo)
            _mended(dagster, demo)
        with opened(demo.url, height=1_500, scale=1.5) as dagster:
            _lineage(dagster)


def _failed(dagster: Dagster, demo: RunningDemo) -> None:
    week = demo.weeks[-1]
    dagster.open_partitions(_FAILED, week)
    dagster.page.get_by_text("did not materialize").wait_for()
    _take(dagster, "failed-partition.png", 700)
    dagster.open_checks(_FAILED, "content_digest")
    dagster.page.get_by_text("drop or mend it").first.wait_for()
    _take(dagster, "failed-check.png", 700)
    dagster.open_report()
    _take(dagster, "report.png", 900)
    dagster.open_catalog()
    _take(dagster, "catalog.png", 720)
    dagster.open_materialize(_FAILED, week)
    _take(dagster, "materialize.png", 700)


def _mend(dagster: Dagster, demo: RunningDemo) -> None:
    demo.drop_the_rule()
    ended = dagster.end_of_run(dagster.materialize(_FAILED, demo.weeks[-1]))
    if ended != "Success":
        sys.exit(f"the failed partition was not mended: {ended}")


def _mended(dagster: Dagster, demo: RunningDemo) -> None:
    dagster.open_partitions(_FAILED, demo.weeks[-1])
    dagster.page.get_by_text("ledger_entry").wait_for()
    _take(dagster, "partitions.png", 900)
    dagster.open_checks(_PROVED, "content_digest")
    dagster.page.get_by_text("source_digest").first.wait_for()
    _take(dagster, "checks.png", 900)
    dagster.open_overview(_PROVED)
    _take(dagster, "overview.png", 900)


def _lineage(dagster: Dagster) -> None:
    """Take the graph alone: with Dagster's own columns beside it nobody could read its names."""
    dagster.lineage()
    dagster.page.screenshot(path=_HERE / "lineage.png", clip=dagster.graph_area(margin=16))


def _take(dagster: Dagster, name: str, height: int) -> None:
    page = dagster.page
    page.mouse.move(0, 0)  # no button looks touched
    page.wait_for_load_state("networkidle")
    page.screenshot(path=_HERE / name, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


if __name__ == "__main__":
    main()
