"""Dagster's UI over the running demo, in a real browser: seen and pressed as on-call would."""

from collections.abc import Iterator

import pytest

from migration_assets_tests.fixtures_postgres import new_folder
from migration_assets_tests.system.browser import Dagster, opened
from migration_assets_tests.system.running_demo import (
    FAILING_TABLE,
    RULE,
    RunningDemo,
    running_demo,
)
from migration_assets_tests.system.waiting import until

pytestmark = pytest.mark.timeout(900)  # the first test also waits for the demo's four weeks

WEEKS = 4  # payments fails in the fourth
RED = f"aurora/{FAILING_TABLE}"
CHECKS = {"row_count", "content_digest", "quarantine"}  # at least
LEDGER = "SELECT entry, table_name, week::text FROM migration.ledger ORDER BY entry"
SEEN = ("aurora/orders", "aurora/audit_log", "delta/payments")  # whose partitions stay as they are


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningDemo]:
    """Run the demo with its one failure not mended, and Dagster with its daemon."""
    with running_demo(new_folder(), weeks=WEEKS) as demo:
        yield demo


@pytest.fixture
def dagster(demo: RunningDemo) -> Iterator[Dagster]:
    """Open a window of 1300 by 900 on it; nothing on any page may be an error for the browser."""
    with opened(demo.url) as dagster:
        yield dagster
        assert dagster.complaints == []


def test_the_lineage_shows_every_asset(dagster: Dagster, demo: RunningDemo) -> None:
    """Each source table's delta and target, the cut, the schema, the report; nothing else."""
    tables = [f"{group}/{table}" for group in ("delta", "aurora") for table in demo.tables]
    shared = ["source/source_cut", "schema/aurora_schema", "report/migration_report"]
    with dagster.step("reading the lineage"):
        assert dagster.lineage().keys() == {*tables, *shared}
    assert len(demo.tables) > 5


def test_one_failed_partition_is_materialized_alone(dagster: Dagster, demo: RunningDemo) -> None:
    """Red with its reason; mended, pressed in the dialog, run by the daemon, and seen green."""
    *earlier, week = demo.weeks
    red = dict.fromkeys(earlier, "green") | {week: "red"}
    with dagster.step("seeing the failed week"):
        assert dagster.partitions(RED) == red
        others = {asset: dagster.partitions(asset) for asset in SEEN}
        assert set().union(*(dots.values() for dots in others.values())) == {"green"}
    with dagster.step("reading why in the check of that week"):
        assert dagster.check_partitions(RED, "content_digest") == red
        dagster.open_check_partitions(RED, "content_digest", week)
        dagster.page.get_by_text(RULE).first.wait_for()
        dagster.page.get_by_text("drop or mend it").first.wait_for()
    before = demo.rows(LEDGER)
    demo.drop_the_rule()
    with dagster.step("materializing that partition alone"):
        run = dagster.materialize(RED, week)
        assert dagster.end_of_run(run) == "Success"
    green = dict.fromkeys(demo.weeks, "green")
    with dagster.step("seeing it green"):
        until(lambda: dagster.partitions(RED) == green, what="every week is green")
        for check in CHECKS:
            assert dagster.check_partitions(RED, check) == green
        assert {asset: dagster.partitions(asset) for asset in SEEN} == others
    added = demo.rows(LEDGER)[len(before) :]
    assert [(table, at) for _, table, at in added] == [(FAILING_TABLE, week)]


def test_checks_alone_are_executed(dagster: Dagster, demo: RunningDemo) -> None:
    """They prove what stands without moving it: somebody's change shows, undone it is gone."""
    asset, before = "aurora/warehouses", demo.rows(LEDGER)
    demo.write("UPDATE public.warehouses SET name = name || '!'")
    try:
        with dagster.step("executing the checks of a table that somebody changed"):
            run = dagster.execute_checks(asset)
            assert dagster.end_of_run(run) == "Failure"
            assert dagster.checks(asset) >= CHECKS
            assert dagster.latest_evaluation(asset, "content_digest") == "Failed"
            assert dagster.latest_evaluation(asset, "row_count") == "Passed"
    finally:
        demo.write("UPDATE public.warehouses SET name = left(name, -1)")
    with dagster.step("executing the checks of the table as it was"):
        run = dagster.execute_checks(asset)
        assert dagster.end_of_run(run) == "Success"
        for check in dagster.checks(asset):
            assert dagster.latest_evaluation(asset, check) == "Passed"
    assert demo.rows(LEDGER) == before
