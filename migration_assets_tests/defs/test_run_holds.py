"""Runs and tables on hold: left out where nobody named them, refused where somebody did."""

from migration_assets.defs.launch import run_week
from migration_assets.defs.resources import open_migration
from migration_assets.holds import hold
from migration_assets_tests.defs.conftest import MakePipeline, week

SCHEMA = "CREATE TABLE orders (id INTEGER PRIMARY KEY); CREATE TABLE tag (id INTEGER PRIMARY KEY)"


def test_a_run_leaves_tables_on_hold_out_and_says_which(make_pipeline: MakePipeline) -> None:
    """It is green: what is on hold was not asked for."""
    pipeline = make_pipeline(SCHEMA)
    hold(open_migration(pipeline.settings()), "tag", "rolled back")
    outcome = pipeline.run(1)
    assert outcome.success
    assert {name: held.reason for name, held in outcome.held.items()} == {"tag": "rolled back"}
    assert "aurora/orders" in pipeline.materialized(outcome.run_id)
    assert "aurora/tag" not in pipeline.materialized(outcome.run_id)


def test_the_cut_is_taken_though_every_table_is_on_hold(make_pipeline: MakePipeline) -> None:
    """The source's state of this week can't be read next week."""
    pipeline = make_pipeline(SCHEMA)
    for table in ("orders", "tag"):
        hold(open_migration(pipeline.settings()), table, "wait")
    outcome = pipeline.run(1)
    assert set(pipeline.materialized(outcome.run_id)) == {"source_cut", "aurora_schema"}


def test_a_table_on_hold_that_is_named_is_refused(make_pipeline: MakePipeline) -> None:
    """The partition is red, and its checks say how to release the table."""
    pipeline = make_pipeline(SCHEMA)
    hold(open_migration(pipeline.settings()), "tag", "rolled back")
    outcome = run_week(pipeline.instance, week(1), tables=["tag"])
    assert not outcome.success
    assert outcome.held == {}
    assert "`migration-assets release tag`" in outcome.failures["aurora__tag"]
    check = pipeline.checked(outcome.run_id)["aurora/tag", "row_count"]
    assert not check.passed
    assert "rolled back" in str(check.metadata["what"].value)
