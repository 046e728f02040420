"""The catch-up sensor: asks for what lags, for nothing else, and not for ever."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from migration_assets.defs import launch
from migration_assets.defs.known import calendar_of, tables_of
from migration_assets.defs.resources import open_migration
from migration_assets.defs.schedules import JOB, weekly_job
from migration_assets.defs.selection import PARTITION_TAG, selection
from migration_assets.defs.sensors import catch_up_sensor
from migration_assets.holds import hold, release
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week

WEEKS = 3
STARTED = datetime.now(UTC)  # Dagster, in these tests
SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO orders VALUES (1, 'first');
INSERT INTO tag VALUES (1, 'a');
"""
IN_THE_WAY = "CREATE TABLE public.tag (id bigint)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an evaluation answered: a request, or why there is none."""

    request: dg.RunRequest | None
    reason: str
    cursor: str | None

    @property
    def what(self) -> tuple[str, set[str]]:
        """Return the week and the tables that are asked for."""
        assert self.request is not None, self.reason
        keys = [key.path for key in self.request.asset_selection or ()]
        assert ["source_cut"] in keys
        assert ["aurora_schema"] in keys
        tables = {path[1] for path in keys if path[0] == "aurora"}
        assert tables == {path[1] for path in keys if path[0] == "delta"}
        return str(self.request.partition_key), tables


def ask(
    pipeline: Pipeline,
    *,
    after: float = 0,
    now: datetime | None = None,
    cursor: str | None = None,
    tables: Sequence[str] | None = None,
) -> Asked:
    """Evaluate the sensor as the daemon does, now or so many minutes later.

    `tables` are those of its definitions, where they were loaded some time ago.
    """
    settings = pipeline.settings()
    moment = now or datetime.now(UTC) + timedelta(minutes=after)
    sensor = catch_up_sensor(
        weekly_job(),
        calendar_of(settings, moment),
        settings,
        tables_of(settings) if tables is None else tables,
        clock=lambda: moment,
        up_since=lambda: STARTED,
    )
    repository = pipeline.definitions().get_repository_def()
    with dg.build_sensor_context(
        instance=pipeline.instance,
        repository_def=repository,
        sensor_name="catch_up",
        cursor=cursor,
    ) as context:
        data = sensor.evaluate_tick(context)
    requests = data.run_requests or ()
    assert len(requests) <= 1
    return Asked(
        request=requests[0] if requests else None,
        reason=data.skip_message or "",
        cursor=data.cursor,
    )


def run(pipeline: Pipeline, request: dg.RunRequest | None) -> bool:
    """Run what was asked for, with the tags that Dagster gives it."""
    assert request is not None
    with dg.execute_job(
        dg.build_reconstructable_job(launch.__name__, "weekly_job", (uuid.uuid4().hex,)),
        instance=pipeline.instance,
        tags={**request.tags, PARTITION_TAG: str(request.partition_key)},
        asset_selection=request.asset_selection,
    ) as result:
        return result.success


def run_by_hand(pipeline: Pipeline, number: int, *tables: str) -> bool:
    """Run a week of some tables as a person does."""
    label = week(number).isoformat()
    return run(pipeline, dg.RunRequest(partition_key=label, asset_selection=selection(tables)))


@pytest.fixture
def pipeline(
    make_pipeline: MakePipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Return two tables over three weeks, all of them over, nothing loaded yet.

    An ephemeral instance knows no schedules: this one does, in files.
    """
    made = make_pipeline(SCHEMA)
    made.configure(weeks=WEEKS, catch_up_attempts=2, catch_up_backoff=15)
    schedules = SqliteScheduleStorage.from_local(str(tmp_path_factory.mktemp("dagster")))
    schedules.register_instance(made.instance)
    made.instance._schedule_storage = schedules
    yield made
    schedules.dispose()


def test_what_was_never_loaded_is_asked_for_at_the_newest_week(pipeline: Pipeline) -> None:
    """Without cut or ledger everything is simply due, and the newest week carries it all."""
    assert ask(pipeline).what == (week(3).isoformat(), {"orders", "tag"})


def test_older_weeks_turn_green_after_the_newest_and_then_there_is_silence(
    pipeline: Pipeline,
) -> None:
    """They are covered: each is asked for once, newest first, and changes nothing."""
    found: list[str] = []
    for _ in range(WEEKS):
        asked = ask(pipeline)
        found.append(asked.what[0])
        assert asked.what[1] == {"orders", "tag"}
        assert run(pipeline, asked.request)
    assert found == [week(n).isoformat() for n in (3, 2, 1)]
    assert ask(pipeline).reason == f"every table stands at {week(3)}"
    assert pipeline.on_target("SELECT DISTINCT week FROM migration.ledger") == [(week(3),)]


def test_a_failed_table_is_asked_for_alone_with_a_growing_pause_and_not_for_ever(
    pipeline: Pipeline,
) -> None:
    """15 minutes after the run that failed, then 30; then a person has to act."""
    pipeline.configure(weeks=1)
    pipeline.on_target(IN_THE_WAY)
    assert not run_by_hand(pipeline, 1, "orders", "tag")
    for earliest in (15, 30):
        assert "week 2024-10-06: tag not before" in ask(pipeline, after=earliest - 1).reason
        asked = ask(pipeline, after=earliest + 1)
        assert asked.what == (week(1).isoformat(), {"tag"})
        assert not run(pipeline, asked.request)
    reason = ask(pipeline, after=10_000).reason
    assert "tag failed 2 more times" in reason
    assert "`migration-assets run --week 2024-10-06 --table tag`" in reason


def test_a_table_that_waits_does_not_hold_back_the_others(pipeline: Pipeline) -> None:
    """While one table waits, older weeks of the others turn green."""
    pipeline.on_target(IN_THE_WAY)
    assert not run_by_hand(pipeline, 3, "orders", "tag")
    assert ask(pipeline).what == (week(2).isoformat(), {"orders"})


def test_a_run_by_hand_restarts_the_pause_and_is_no_attempt(pipeline: Pipeline) -> None:
    """Somebody is at it: the sensor waits for as long again, and keeps its attempts."""
    pipeline.on_target(IN_THE_WAY)
    for _ in range(4):
        assert not run_by_hand(pipeline, 3, "tag")
    assert run_by_hand(pipeline, 3, "orders")  # of another table: nothing to this one
    pipeline.configure(exclude=["orders"])
    assert "tag not before" in ask(pipeline, after=14).reason
    assert ask(pipeline, after=16).what == (week(3).isoformat(), {"tag"})


def test_a_retry_of_a_crashed_attempt_is_no_attempt_of_its_own(pipeline: Pipeline) -> None:
    """Dagster copies the tags of the run that it repeats."""
    job = pipeline.definitions().resolve_job_def(JOB)
    request = ask(pipeline).request
    assert request is not None
    first = pipeline.instance.create_run_for_job(
        job, tags=dict(request.tags), status=dg.DagsterRunStatus.FAILURE
    )
    for _ in range(3):
        pipeline.instance.create_run_for_job(
            job,
            tags=dict(request.tags),
            status=dg.DagsterRunStatus.FAILURE,
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
        )
    assert ask(pipeline, after=31).what == (week(3).isoformat(), {"orders", "tag"})


def test_a_table_on_hold_is_left_alone_until_it_is_released(pipeline: Pipeline) -> None:
    """The skip says which tables are on hold."""
    pipeline.configure(weeks=1)
    migration = open_migration(pipeline.settings())
    hold(migration, "tag", "rolled back")
    asked = ask(pipeline)
    assert asked.what[1] == {"orders"}
    assert run(pipeline, asked.request)
    assert ask(pipeline).reason == f"every table stands at {week(1)}; on hold: tag"
    release(migration, "tag")
    assert ask(pipeline).what[1] == {"tag"}


def test_a_table_that_left_the_definitions_is_not_asked_for(pipeline: Pipeline) -> None:
    """Left out by name: its asset is gone, and so is the wish for it."""
    pipeline.configure(exclude=["tag"])
    assert ask(pipeline).what[1] == {"orders"}


def test_a_new_table_is_asked_for_alone(pipeline: Pipeline) -> None:
    """It was never loaded, while the others stand."""
    pipeline.configure(weeks=1, exclude=["tag"])
    assert run(pipeline, ask(pipeline).request)
    pipeline.configure(exclude=[])
    assert ask(pipeline).what == (week(1).isoformat(), {"tag"})


def test_a_new_table_that_has_no_asset_yet_is_named(pipeline: Pipeline) -> None:
    """Definitions that were loaded before it came can't ask for it; silence would hide it."""
    pipeline.configure(weeks=1)
    asked = ask(pipeline)
    pipeline.change("CREATE TABLE refunds (id INTEGER PRIMARY KEY)")
    assert run(pipeline, asked.request)
    reason = ask(pipeline, tables=["orders", "tag"]).reason
    assert reason.endswith("without an asset until the code location is reloaded: refunds")
    assert ask(pipeline, tables=["orders", "refunds", "tag"]).what[1] == {"refunds"}


def test_a_red_week_that_a_later_one_covers_turns_green(pipeline: Pipeline) -> None:
    """A table that failed in one week and was carried in the next one leaves a red partition."""
    pipeline.on_target(IN_THE_WAY)
    pipeline.configure(weeks=2, exclude=["orders"])
    assert not run_by_hand(pipeline, 1, "tag")
    pipeline.on_target("DROP TABLE public.tag")
    assert run_by_hand(pipeline, 2, "tag")
    asked = ask(pipeline, after=16)
    assert asked.what == (week(1).isoformat(), {"tag"})
    assert run(pipeline, asked.request)
    assert ask(pipeline).reason == f"every table stands at {week(2)}"


def test_nothing_is_asked_for_before_the_first_week_is_over(pipeline: Pipeline) -> None:
    """The skip says so in words."""
    reason = ask(pipeline, now=datetime(2024, 10, 12, 23, tzinfo=UTC)).reason
    assert reason == "the first week, 2024-10-06, is not over yet"


def test_a_week_belongs_to_the_schedule_until_some_minutes_after_its_tick(
    pipeline: Pipeline,
) -> None:
    """Both asking for the same week at 02:00 would carry it twice."""
    tick = datetime(2024, 10, 13, 2, tzinfo=UTC)
    for moment in (tick - timedelta(hours=1), tick, tick + timedelta(minutes=9)):
        reason = ask(pipeline, now=moment).reason
        assert reason == "week 2024-10-06 is left to the schedule until some minutes after its tick"
    assert ask(pipeline, now=tick + timedelta(minutes=11)).what[0] == "2024-10-06"


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_nothing_is_asked_for_while_a_run_has_not_ended(
    pipeline: Pipeline, status: dg.DagsterRunStatus
) -> None:
    """Of the schedule, a backfill, the UI: whoever asked, it may carry what lags."""
    job = pipeline.definitions().resolve_job_def(JOB)
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here")
    run = pipeline.instance.create_run_for_job(
        job,
        tags={PARTITION_TAG: week(1).isoformat()},
        status=status,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(server, "all"), JOB),
    )
    assert f"run {run.run_id} of 2024-10-06 has not ended" in ask(pipeline).reason


@pytest.mark.parametrize(
    ("state", "last", "waits"),
    [
        (InstigatorStatus.DECLARED_IN_CODE, "2024-10-20", True),  # the machine was off since
        (InstigatorStatus.RUNNING, "2024-10-20", True),
        (InstigatorStatus.DECLARED_IN_CODE, "2024-10-27", False),  # it has asked
        (InstigatorStatus.STOPPED, "2024-10-20", False),  # it won't
    ],
)
def test_a_tick_that_the_schedule_slept_through_is_left_to_it(
    pipeline: Pipeline,
    state: InstigatorStatus,
    last: str,
    waits: bool,  # noqa: FBT001
) -> None:
    """When the machine comes back, schedule and sensor wake at the same moment."""
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(server, "all"), "weekly_schedule")
    seen = datetime.fromisoformat(f"{last}T02:00:05+00:00").timestamp()
    pipeline.instance.add_instigator_state(
        InstigatorState(
            origin,
            InstigatorType.SCHEDULE,
            state,
            ScheduleInstigatorData("0 2 * * 0", seen - 10_000_000, seen),
        )
    )
    soon = STARTED + timedelta(minutes=4)
    if waits:
        reason = ask(pipeline, now=soon).reason
        assert reason == "the schedule is about to make up for its tick of 2024-10-27 02:00"
        assert ask(pipeline, now=soon + timedelta(minutes=2)).request is not None  # it had its time
    else:
        assert ask(pipeline, now=soon).what[0] == week(3).isoformat()


def test_what_was_green_once_is_not_asked_again_for_every_table(pipeline: Pipeline) -> None:
    """The sensor's cursor saves a question a table; a new table, or a new week, asks again."""
    pipeline.configure(weeks=1, exclude=["tag"])
    assert run(pipeline, ask(pipeline).request)
    settled = ask(pipeline).cursor
    assert settled
    pipeline.instance.wipe_assets([dg.AssetKey(["aurora", "orders"])])
    assert ask(pipeline, cursor=settled).reason == f"every table stands at {week(1)}"
    assert ask(pipeline, after=31).what[1] == {"orders"}  # the cursor is no more than that
    pipeline.configure(weeks=2)
    assert ask(pipeline, cursor=settled).what[0] == week(2).isoformat()


def test_nothing_is_asked_for_while_a_backfill_has_not_ended(pipeline: Pipeline) -> None:
    """Its next run may not exist yet."""
    backfill = PartitionBackfill(
        backfill_id="asked",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=datetime.now(UTC).timestamp(),
        asset_selection=[dg.AssetKey("source_cut")],
    )
    pipeline.instance.add_backfill(backfill)
    assert ask(pipeline).reason == "backfill asked has not ended"


def test_a_crashed_run_is_left_to_dagsters_own_retry(pipeline: Pipeline) -> None:
    """Until it has been retried, and not for ever where that never happens."""
    job = pipeline.definitions().resolve_job_def(JOB)
    tags = {PARTITION_TAG: week(3).isoformat(), WILL_RETRY_TAG: "true"}
    run = pipeline.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert "is about to be retried" in ask(pipeline).reason
    assert ask(pipeline, after=16).request is not None
    pipeline.instance.add_run_tags(run.run_id, {AUTO_RETRY_RUN_ID_TAG: "another"})
    assert "orders, tag not before" in ask(pipeline).reason


def test_a_target_that_is_away_is_named_and_nothing_asked_for(pipeline: Pipeline) -> None:
    """The weekly run says it loudly; a run a minute would only bury that."""
    pipeline.configure(target="postgresql://nobody@127.0.0.1:1/nowhere", connect_patience=0)
    reason = ask(pipeline).reason
    assert "it can't be known which tables lag" in reason
    assert "127.0.0.1/nowhere" in reason


def test_no_attempts_switch_it_off(pipeline: Pipeline) -> None:
    """The skip names the setting."""
    pipeline.configure(catch_up_attempts=0)
    assert ask(pipeline).reason == "catching up is switched off: catch_up_attempts is 0"


def test_no_source_is_opened_and_no_cut_read(pipeline: Pipeline) -> None:
    """It asks once a minute: the source may be away, and cuts are large."""
    assert run(pipeline, ask(pipeline).request)
    pipeline.source.unlink()
    for cut in (pipeline.config.parent / "state" / "cuts").rglob("*.sqlite"):
        cut.unlink()
    assert ask(pipeline).what[0] == week(2).isoformat()


def test_the_sensor_runs_without_being_switched_on(pipeline: Pipeline) -> None:
    """Dagster's own default is stopped; a forgotten switch would leave tables behind."""
    sensor = pipeline.definitions().resolve_sensor_def("catch_up")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 60
    assert sensor.job_name == JOB
