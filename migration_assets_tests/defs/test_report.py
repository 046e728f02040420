"""The weekly report: made by sensors when a run ends, well or badly, and by the command line."""

import dagster as dg
import pytest

from migration_assets.defs.report import MIGRATION_REPORT, report_week
from migration_assets.source.cut import cuts
from migration_assets.state import LocalState
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL);
CREATE TABLE "a|b`c" (id INTEGER PRIMARY KEY);
INSERT INTO orders VALUES (1, 19.5), (2, 5.25);
"""
SENSORS = {
    dg.DagsterRunStatus.SUCCESS: ("report_after_success", dg.DagsterEventType.RUN_SUCCESS),
    dg.DagsterRunStatus.FAILURE: ("report_after_failure", dg.DagsterEventType.RUN_FAILURE),
}


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline of two tables, one with a name that Markdown would read as its own."""
    return make_pipeline(SCHEMA)


def tell_sensor(
    pipeline: Pipeline, run_id: str, definitions: dg.Definitions | None = None
) -> object:
    """Tell the sensor of a run's end that it has ended, as the daemon does; return its answer.

    It is that of the definitions as they load now, or of some that were loaded before.
    """
    run = pipeline.instance.get_run_by_id(run_id)
    assert run is not None
    name, ending = SENSORS[run.status]
    (event,) = [e for e in pipeline.events(run_id) if e.event_type is ending]
    context = dg.build_run_status_sensor_context(
        sensor_name=name, dagster_instance=pipeline.instance, dagster_run=run, dagster_event=event
    )
    return (definitions or pipeline.definitions()).resolve_sensor_def(name)(context)


def report_of(pipeline: Pipeline, number: int) -> str:
    """Return the week's report from Dagster, which is the one in the state folder too."""
    event = pipeline.instance.get_latest_materialization_event(MIGRATION_REPORT)
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    assert materialization.partition == week(number).isoformat()
    text = str(materialization.metadata["report"].value)
    state = pipeline.settings().state
    assert (state / "reports" / f"{week(number)}.md").read_text("utf-8") == text
    return text


def test_a_good_weeks_report_says_that_all_is_proved(pipeline: Pipeline) -> None:
    """One line of verdict, one row a table with its figures."""
    assert tell_sensor(pipeline, pipeline.run(1).run_id) is None
    report = report_of(pipeline, 1)
    assert "# Week 2024-10-06" in report
    assert "All 2 tables are proved equal to their cut." in report
    assert "| `orders` | loaded | 2 | 2 | 0 | 0 | 0 | 2024-10-06 |" in report
    assert "What failed" not in report
    assert "At the cutover" not in report


def test_the_report_tries_what_is_made_at_the_cutover(pipeline: Pipeline) -> None:
    """Views that the target refuses are named every week."""
    pipeline.change("CREATE VIEW large AS SELECT id FROM orders WHERE amount > 9")
    pipeline.change("CREATE VIEW odd AS SELECT round(amount) FROM orders")
    tell_sensor(pipeline, pipeline.run(1).run_id)
    report = report_of(pipeline, 1)
    assert "Of 2 objects that are made then, the target takes 1." in report
    assert "source: view odd: " in report


def test_a_table_without_an_asset_stands_in_the_report_as_never_loaded(pipeline: Pipeline) -> None:
    """It came with the week's cut, after the definitions were loaded."""
    loaded_before = pipeline.definitions()
    pipeline.change("CREATE TABLE refunds (id INTEGER PRIMARY KEY)")
    tell_sensor(pipeline, pipeline.run(1).run_id, loaded_before)
    report = report_of(pipeline, 1)
    assert "1 of 3 tables do not stand at this week yet." in report
    assert "| `refunds` | open |" in report


def test_a_bad_weeks_report_names_what_failed_and_why(pipeline: Pipeline) -> None:
    """It is made although a table is red, with the way out beside the reason."""
    assert pipeline.run(1).success
    pipeline.on_target("ALTER TABLE public.orders ADD CONSTRAINT no_more CHECK (id < 3)")
    pipeline.change("INSERT INTO orders VALUES (3, 91.7351)")
    outcome = pipeline.run(2)
    assert not outcome.success
    tell_sensor(pipeline, outcome.run_id)
    report = report_of(pipeline, 2)
    assert "1 of 2 tables do not stand at this week yet." in report
    assert "| `orders` | failed |  |  |  |  |  | 2024-10-06 |" in report
    assert "no_more" in report.split("## What failed")[1]
    assert "91.7351" not in report


def test_a_mended_week_gets_its_report_anew(pipeline: Pipeline) -> None:
    """The failure that was mended is gone from it."""
    assert pipeline.run(1).success
    pipeline.on_target("ALTER TABLE public.orders ADD CONSTRAINT no_more CHECK (id < 3)")
    pipeline.change("INSERT INTO orders VALUES (3, 1.5)")
    tell_sensor(pipeline, pipeline.run(2).run_id)
    pipeline.on_target("ALTER TABLE public.orders DROP CONSTRAINT no_more")
    tell_sensor(pipeline, pipeline.run_target(2, "orders").run_id)
    report = report_of(pipeline, 2)
    assert "All 2 tables are proved equal" in report
    assert "no_more" not in report


def test_a_covered_weeks_report_says_where_its_tables_stand(pipeline: Pipeline) -> None:
    """A week that came late is covered by the one that came first."""
    assert pipeline.run(2).success
    tell_sensor(pipeline, pipeline.run(1).run_id)
    assert "| `orders` | covered |  |  |  |  |  | 2024-10-13 |" in report_of(pipeline, 1)


def test_a_tables_name_is_not_read_as_markdown(pipeline: Pipeline) -> None:
    """Its row keeps its eight cells."""
    tell_sensor(pipeline, pipeline.run(1).run_id)
    assert r"| `a\|b'c` | loaded | 0 |" in report_of(pipeline, 1)


def test_a_run_without_a_week_has_no_report(pipeline: Pipeline) -> None:
    """The sensor says why it skips."""

    @dg.asset
    def something_else() -> None: ...

    result = dg.materialize([something_else], instance=pipeline.instance)
    skipped = tell_sensor(pipeline, result.run_id)
    assert isinstance(skipped, dg.SkipReason)
    assert pipeline.instance.get_latest_materialization_event(MIGRATION_REPORT) is None


def test_the_sensors_run_without_being_switched_on(pipeline: Pipeline) -> None:
    """Dagster's own default is stopped; a forgotten switch would lose the reports."""
    definitions = pipeline.definitions()
    for name, _ in SENSORS.values():
        sensor = definitions.resolve_sensor_def(name)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_the_command_line_reports_without_a_sensor(pipeline: Pipeline) -> None:
    """Plain cron has no daemon."""
    assert pipeline.run(1).success
    said = report_week(pipeline.instance, pipeline.settings(), ["orders"], week(1))
    assert said == ""
    assert "All 1 tables" in report_of(pipeline, 1)


def test_what_nothing_needs_is_removed_when_a_week_has_ended(pipeline: Pipeline) -> None:
    """Report and metadata say what went and which older cuts stay; what fails is said aloud."""
    pipeline.configure(keep_weeks=1)
    for number in (1, 2, 3):
        pipeline.change(f"INSERT INTO orders (amount) VALUES ({number})")
        assert pipeline.run(number).success
    settings = pipeline.settings()
    state = LocalState(settings.state)
    tables = ["orders", "a|b`c"]
    with state.lock("reading-main", purpose="a step of table orders", shared=True):
        said = report_week(pipeline.instance, settings, tables, week(3))
    assert "no cut or delta was removed: cuts and deltas are in use" in said
    assert "Nothing was removed:" in report_of(pipeline, 3)
    assert len(cuts(state, "main")) == 3
    first = cuts(state, "main")[0].id
    assert report_week(pipeline.instance, settings, tables, week(3)) == ""
    report = report_of(pipeline, 3)
    assert "1 cuts and 4 deltas that nothing needs any more were removed: " in report
    assert "Cuts older than `keep_weeks` that are still needed:" in report
    assert ": table a|b`c can be rolled back to it" in report
    event = pipeline.instance.get_latest_materialization_event(MIGRATION_REPORT)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["removed_cuts"].value == [first]
    assert metadata["removed_deltas"].value == 4
    assert int(str(metadata["freed_bytes"].value)) > 8192
    assert "not_removed" not in metadata
    assert len(cuts(state, "main")) == 2


def test_a_report_that_cannot_be_made_is_said_not_raised(make_offline: MakePipeline) -> None:
    """The run has ended by then; its own outcome is what counts."""
    pipeline = make_offline("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    pipeline.configure(target="postgresql://nobody@127.0.0.1:1/nowhere")
    said = report_week(pipeline.instance, pipeline.settings(), ["orders"], week(1))
    assert "the week's report could not be made" in said
    assert "127.0.0.1/nowhere" in said
