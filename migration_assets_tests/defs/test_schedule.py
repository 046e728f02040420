"""The weekly schedule: every week once, in time; silent before the first and after the last."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._utils.schedules import cron_string_iterator  # the ticks as the daemon reckons them

from migration_assets.defs.resources import open_migration
from migration_assets.holds import hold, release
from migration_assets_tests.defs.conftest import FIRST_WEEK, MakePipeline, Pipeline, week

ZONES = (
    "UTC",
    "Europe/Zurich",  # clocks skip 02:00, the tick's own hour, on a Sunday in March
    "America/New_York",
    "America/Santiago",  # clocks skip a Sunday's midnight
    "Pacific/Auckland",  # a Sunday that is still Saturday in UTC
)


@pytest.fixture
def offline(make_offline: MakePipeline) -> Pipeline:
    """Return a pipeline of one table; its target refuses at once: a schedule needs none."""
    pipeline = make_offline("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    pipeline.configure(target="postgresql://nobody@127.0.0.1:1/nowhere", connect_patience=0)
    return pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Clockwork:
    """A schedule as Dagster loads it, and what its ticks ask for."""

    schedule: dg.ScheduleDefinition
    repository: dg.RepositoryDefinition

    def ticks(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the ticks from one moment to another."""
        cron = self.schedule.cron_schedule
        assert isinstance(cron, str)
        for tick in cron_string_iterator(start.timestamp(), cron, self.schedule.execution_timezone):
            if tick > end:
                return
            yield tick

    def evaluate(self, tick: datetime) -> ScheduleExecutionData:
        """Return what Dagster is told at a tick."""
        context = dg.build_schedule_context(
            scheduled_execution_time=tick, repository_def=self.repository
        )
        return self.schedule.evaluate_tick(context)

    def asked(self, tick: datetime) -> str | None:
        """Return the week that a tick asks for; None where it skips with a reason."""
        data = self.evaluate(tick)
        if data.skip_message:
            assert not data.run_requests
            return None
        request = self.request(tick)
        assert request.run_key == request.partition_key  # asked twice, it runs once
        return request.partition_key

    def request(self, tick: datetime) -> dg.RunRequest:
        """Return the one run that a tick asks for."""
        requests = self.evaluate(tick).run_requests
        assert requests is not None
        (request,) = requests
        return request


def clockwork(pipeline: Pipeline) -> Clockwork:
    """Return the schedule of a pipeline's settings as they are now."""
    definitions = pipeline.definitions()
    return Clockwork(
        schedule=definitions.resolve_schedule_def("weekly_schedule"),
        repository=definitions.get_repository_def(),
    )


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("first", [FIRST_WEEK, date(2024, 10, 9)], ids=["sunday", "wednesday"])
def test_every_week_is_asked_for_once_and_in_order(
    offline: Pipeline, zone: str, first: date
) -> None:
    """A year of real ticks asks for 26 weeks: none is missing, doubled or too early."""
    offline.configure(timezone=zone, first_week=first)
    clock = clockwork(offline)
    found: list[str] = []
    for tick in clock.ticks(datetime(2024, 9, 1, tzinfo=UTC), datetime(2025, 9, 1, tzinfo=UTC)):
        label = clock.asked(tick)
        if label is not None:
            over = tick.date() - date.fromisoformat(label)
            assert timedelta(days=7) <= over < timedelta(days=14)
            found.append(label)
    assert found == [(first + timedelta(weeks=i)).isoformat() for i in range(26)]


def test_nothing_is_asked_for_before_the_first_week_is_over(offline: Pipeline) -> None:
    """The tick says why it skips."""
    data = clockwork(offline).evaluate(datetime(2024, 10, 6, 2, tzinfo=UTC))
    assert data.skip_message == "the first week, 2024-10-06, is not over yet"


def test_the_last_week_is_asked_for_only_once(offline: Pipeline) -> None:
    """A week after its own tick the schedule is silent, and stays so."""
    clock = clockwork(offline)
    last_tick = datetime(2025, 4, 6, 2, tzinfo=UTC)
    assert clock.asked(last_tick) == week(26).isoformat()
    assert clock.asked(last_tick + timedelta(weeks=1)) is None
    assert clock.asked(last_tick + timedelta(weeks=500)) is None


def test_a_tick_counts_in_the_migrations_own_zone(offline: Pipeline) -> None:
    """The same moment written in another zone asks for the same, the last week included."""
    offline.configure(timezone="Pacific/Auckland")
    clock = clockwork(offline)
    for tick in clock.ticks(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)):
        assert clock.asked(tick) == clock.asked(tick.astimezone(UTC))


def test_a_daily_schedule_asks_for_the_same_week_under_the_same_name(offline: Pipeline) -> None:
    """Dagster starts no second run for a run key that it has seen."""
    offline.configure(cron="30 4 * * *")
    clock = clockwork(offline)
    days = [datetime(2024, 10, 13, 4, 30, tzinfo=UTC) + timedelta(days=i) for i in range(8)]
    assert [clock.asked(day) for day in days] == ["2024-10-06"] * 7 + ["2024-10-13"]


def test_the_schedule_leaves_tables_on_hold_out(make_pipeline: MakePipeline) -> None:
    """The week is asked for, its cut with it; released, the table is asked for like all others."""
    pipeline = make_pipeline(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY); CREATE TABLE tag (id INTEGER PRIMARY KEY)"
    )
    migration = open_migration(pipeline.settings())
    tick = datetime(2024, 10, 13, 2, tzinfo=UTC)
    hold(migration, "tag", "rolled back")
    request = clockwork(pipeline).request(tick)
    assert {key.to_user_string() for key in request.asset_selection or ()} == {
        "source_cut",
        "aurora_schema",
        "delta/orders",
        "aurora/orders",
    }
    release(migration, "tag")
    request = clockwork(pipeline).request(tick)
    assert request.asset_selection is None


def test_the_schedule_runs_without_being_switched_on(offline: Pipeline) -> None:
    """Dagster's own default is stopped; a forgotten switch would lose weeks."""
    schedule = clockwork(offline).schedule
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "weekly_migration"
    assert schedule.cron_schedule == "0 2 * * 0"
