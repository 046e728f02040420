"""A rollback in Dagster: the job, the red weeks, and how they turn green again."""

from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from migration_assets import undo
from migration_assets.defs.launch import RollbackOutcome, run_rollback
from migration_assets.defs.resources import open_migration
from migration_assets.defs.rollback import ROLLBACK_JOB, TAKE_BACK
from migration_assets.defs.tables import aurora_key
from migration_assets.holds import release
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week
from migration_assets_tests.defs.test_catch_up import ask, run

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO orders VALUES (1, 'first');
INSERT INTO tag VALUES (1, 'a');
"""


@pytest.fixture
def lived(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline that has lived through its three weeks."""
    pipeline = make_pipeline(SCHEMA)
    pipeline.configure(weeks=3)
    for number in (1, 2, 3):
        pipeline.change(f"INSERT INTO orders VALUES (1{number}, 'x')")
        assert pipeline.run(number).success
    return pipeline


def roll_back(
    pipeline: Pipeline, *tables: str, number: int | None = 2, entry: int | None = None
) -> RollbackOutcome:
    """Take a week back by the job, as the command line does."""
    return run_rollback(
        pipeline.instance,
        week=week(number) if number else None,
        entry=entry,
        tables=tables or ("orders", "tag"),
    )


def last_check(pipeline: Pipeline, table: str, number: int) -> tuple[bool, str]:
    """Return the last evaluation of a week's content: whether it passed, and what it says."""
    found = pipeline.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(aurora_key(table), "content_digest"),
        limit=1,
        partition_filter=PartitionKeyFilter(key=week(number).isoformat()),
    )
    event = found[0].event
    assert event is not None
    assert event.dagster_event is not None
    evaluation = event.dagster_event.asset_check_evaluation_data
    assert found[0].status in (
        AssetCheckExecutionRecordStatus.SUCCEEDED,
        AssetCheckExecutionRecordStatus.FAILED,
    )
    shown = pipeline.instance.event_log_storage.get_asset_check_partition_info(
        [dg.AssetCheckKey(aurora_key(table), "content_digest")],
        partition_keys=[week(number).isoformat()],
    )
    assert [one.is_current for one in shown] == [True], "Dagster's lists would not show it"
    said = f"{evaluation.description}; {evaluation.metadata['to_do'].value}"
    return evaluation.passed, said


def green(pipeline: Pipeline, table: str) -> list[bool]:
    """Return, for each of three weeks, whether its last check has passed."""
    return [last_check(pipeline, table, number)[0] for number in (1, 2, 3)]


def test_weeks_that_were_taken_back_are_red_and_say_what_to_do(lived: Pipeline) -> None:
    """From the restored week, which stays green, to the one at which the table stood."""
    outcome = roll_back(lived)
    assert outcome.success
    assert set(outcome.figures) == {"orders", "tag"}
    assert outcome.figures["orders"]["stands_at"] == week(1).isoformat()
    assert outcome.figures["orders"]["deleted"] == 2
    for table in ("orders", "tag"):
        assert green(lived, table) == [True, False, False]
    passed, said = last_check(lived, "orders", 3)
    assert not passed
    assert f"the table stands at {week(1)}, and is on hold" in said
    assert "`migration-assets release orders`" in said
    assert f"`migration-assets run --week {week(3)} --table orders`" in said
    assert lived.on_target("SELECT id FROM public.orders ORDER BY 1") == [(1,), (11,)]


def test_released_weeks_are_caught_up_and_turn_green(lived: Pipeline) -> None:
    """The newest one carries all of them; those before it are covered by it."""
    roll_back(lived)
    assert ask(lived, after=60).request is None, "they are on hold"
    release(open_migration(lived.settings()), "orders")
    asked = ask(lived, after=60)
    assert asked.what == (week(3).isoformat(), {"orders"})
    assert run(lived, asked.request)
    assert green(lived, "orders") == [True, True, True]
    assert green(lived, "tag") == [True, False, False]
    assert ask(lived, after=60).request is None


def test_a_refused_week_turns_green_with_the_others(lived: Pipeline) -> None:
    """It was tried while the table was on hold, and is covered later."""
    roll_back(lived)
    assert not lived.run_target(2, "orders").success
    release(open_migration(lived.settings()), "orders")
    assert lived.run_target(3, "orders").success
    assert green(lived, "orders") == [True, True, True]


def test_a_rollback_that_is_taken_back_turns_its_weeks_green(lived: Pipeline) -> None:
    """They stand again, as they were proved then."""
    entry = int(roll_back(lived, "orders").figures["orders"]["ledger_entry"])
    assert roll_back(lived, "orders", number=None, entry=entry).success
    assert green(lived, "orders") == [True, True, True]


def test_what_a_killed_run_did_not_come_to_say_is_said_by_the_next(lived: Pipeline) -> None:
    """The rollback was committed; there is nothing to take back, and yet something to say."""
    undo.rollback(open_migration(lived.settings()), "orders", week=week(2), run="killed")
    assert green(lived, "orders") == [True, True, True]
    outcome = roll_back(lived, "orders")
    assert outcome.success
    assert outcome.figures == {}
    assert green(lived, "orders") == [True, False, False]


def test_a_table_that_can_not_be_rolled_back_does_not_stop_the_others(lived: Pipeline) -> None:
    """Its reason is told; the run is red."""
    lived.on_target("INSERT INTO public.orders VALUES (99, 'theirs')")
    outcome = roll_back(lived)
    assert not outcome.success
    assert set(outcome.figures) == {"tag"}
    assert set(outcome.failures) == {"orders"}
    assert "changed on the target by someone else" in outcome.failures["orders"]
    assert green(lived, "orders") == [True, True, True]
    assert green(lived, "tag") == [True, False, False]


def test_a_week_that_the_policy_took_back_is_red(make_pipeline: MakePipeline) -> None:
    """The run that met foreign rows says so at the week that it took back, beside its own."""
    pipeline = make_pipeline(SCHEMA)
    pipeline.configure(weeks=3, on_mismatch="rollback")
    for number in (1, 2):
        pipeline.change(f"INSERT INTO orders VALUES (1{number}, 'x')")
        assert pipeline.run(number).success
    pipeline.on_target("UPDATE public.orders SET note = 'theirs' WHERE id = 1")
    pipeline.change("UPDATE orders SET note = 'ours' WHERE id = 1")
    assert not pipeline.run(3).success
    assert green(pipeline, "orders") == [True, False, False]
    _, said = last_check(pipeline, "orders", 2)
    assert f"the table stands at {week(1)}, and is on hold" in said
    assert green(pipeline, "tag") == [True, True, True]


def test_checks_that_let_the_policy_take_a_week_back_are_red(make_pipeline: MakePipeline) -> None:
    """They say what was done, not only that the week was never carried."""
    pipeline = make_pipeline(SCHEMA)
    pipeline.configure(weeks=3, on_mismatch="rollback")
    for number in (1, 2):
        assert pipeline.run(number).success
    pipeline.on_target("UPDATE public.orders SET note = 'theirs' WHERE id = 1")
    assert not pipeline.run_checks(2, aurora_key("orders"), "content_digest").success
    passed, said = last_check(pipeline, "orders", 2)
    assert not passed
    assert "`on_mismatch: rollback`: entry" in said


def launched(pipeline: Pipeline, **config: str | int) -> dg.ExecuteInProcessResult:
    """Run the job as the launchpad does, with a config that a person typed."""
    return (
        pipeline.definitions()
        .resolve_job_def(ROLLBACK_JOB)
        .execute_in_process(
            run_config={"ops": {TAKE_BACK: {"config": config}}},
            instance=pipeline.instance,
            raise_on_error=False,
        )
    )


def test_the_job_can_be_launched_with_a_week_an_entry_or_tables(lived: Pipeline) -> None:
    """Without tables all are rolled back that stand there, or the entry's own."""
    assert launched(lived, week=week(3).isoformat()).success
    assert lived.on_target("SELECT table_name FROM migration.hold ORDER BY 1") == [
        ("orders",),
        ("tag",),
    ]
    [(entry,)] = lived.on_target(
        "SELECT max(entry) FROM migration.ledger WHERE table_name = 'orders'"
    )
    assert launched(lived, entry=int(str(entry))).success
    assert green(lived, "orders") == [True, True, True]
    assert green(lived, "tag") == [True, True, False]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"week": "soon"}, "soon is no week"),
        ({"entry": 999}, "the ledger has no entry 999"),
        ({}, "either a week or an entry is taken back"),
    ],
)
def test_a_config_that_can_not_be_meant_ends_the_run(
    lived: Pipeline, config: dict[str, Any], reason: str
) -> None:
    """With what is wrong with it."""
    result = launched(lived, **config)
    assert not result.success
    [failure] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert failure.step_failure_data.user_failure_data is not None
    assert reason in str(failure.step_failure_data.user_failure_data.description)


def test_the_reports_of_weeks_taken_back_say_where_the_tables_stand(lived: Pipeline) -> None:
    """They are made anew."""
    roll_back(lived, "orders")
    report = open_migration(lived.settings()).state.read_text(f"reports/{week(3)}.md")
    assert report is not None
    assert "1 of 2 tables do not stand at this week yet." in report
    assert "rolled back from week" in report
