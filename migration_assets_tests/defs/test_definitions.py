"""The definitions that Dagster loads: assets, lineage, groups, partitions, checks, schedule."""

import warnings
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from migration_assets.defs.assets import EVERY_TABLE_HAS_AN_ASSET, SOURCE_GOES_FORWARD
from migration_assets.defs.checks import BLOCKING
from migration_assets.defs.partitions import weekly
from migration_assets.defs.report import MIGRATION_REPORT
from migration_assets.defs.tables import aurora_key, delta_key
from migration_assets.errors import SourceError
from migration_assets.report.checks import CHECKS
from migration_assets.weeks import Weeks
from migration_assets_tests.defs.conftest import FIRST_WEEK, MakePipeline, Pipeline, week

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE VIEW open_orders AS SELECT * FROM orders;
"""
HOSTILE = (
    "order lines",
    "order_lines",
    "order-lines",
    "ORDER.lines",
    "a/b",
    'quote"d',
    "per%cent",
    "select",
    "Größe",
    "表",
    "表格",
    "🦊",
    "__",
    " ",
    "1",
    "semi;colon --",
    "new\nline",
    "orders_0123abcd",
    "x" * 200,
)
DST_ZONES = (
    "Europe/Zurich",
    "America/New_York",
    "America/Santiago",  # clocks skip midnight on a Sunday: that week has no first hour
    "Asia/Beirut",  # the same in spring
    "Africa/Cairo",
    "Australia/Lord_Howe",  # by half an hour
)


@pytest.fixture
def offline(make_offline: MakePipeline) -> Pipeline:
    """Return a pipeline of two tables and a view whose target nobody can reach."""
    return make_offline(SCHEMA)


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline of two tables and a view."""
    return make_pipeline(SCHEMA)


def keys_of(definitions: dg.Definitions) -> set[str]:
    """Return the keys of all assets as people write them."""
    graph = definitions.resolve_asset_graph()
    return {key.to_user_string() for key in graph.get_all_asset_keys()}


def test_every_table_has_a_delta_and_a_copy_beside_the_shared_assets(offline: Pipeline) -> None:
    """A view holds no rows and has no asset; nothing else is missing or added."""
    assert keys_of(offline.definitions()) == {
        "source_cut",
        "aurora_schema",
        "delta/customers",
        "delta/orders",
        "aurora/customers",
        "aurora/orders",
        "migration_report",
    }


def test_the_lineage_runs_from_the_cut_over_the_delta_to_the_target(offline: Pipeline) -> None:
    """Each asset names exactly what it is made from."""
    graph = offline.definitions().resolve_asset_graph()
    parents = {
        key.to_user_string(): {p.to_user_string() for p in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "source_cut": set(),
        "aurora_schema": {"source_cut"},
        "delta/customers": {"source_cut", "aurora_schema"},
        "delta/orders": {"source_cut", "aurora_schema"},
        "aurora/customers": {"delta/customers", "aurora_schema"},
        "aurora/orders": {"delta/orders", "aurora_schema"},
        "migration_report": {"aurora/customers", "aurora/orders"},
    }


def test_groups_and_kinds_say_where_an_asset_lives(offline: Pipeline) -> None:
    """The UI sorts by group and shows the kinds' icons."""
    graph = offline.definitions().resolve_asset_graph()
    groups = {k.to_user_string(): graph.get(k).group_name for k in graph.get_all_asset_keys()}
    kinds = {k.to_user_string(): graph.get(k).kinds for k in graph.get_all_asset_keys()}
    assert {name: group for name, group in groups.items() if "orders" in name} == {
        "delta/orders": "delta",
        "aurora/orders": "aurora",
    }
    assert (groups["source_cut"], groups["aurora_schema"]) == ("source", "schema")
    assert kinds["source_cut"] == {"sqlite"}
    assert kinds["delta/orders"] == {"polars", "parquet"}
    assert (groups["migration_report"], kinds["migration_report"]) == ("report", {"markdown"})
    assert kinds["aurora/orders"] == kinds["aurora_schema"] == {"postgres"}


def test_every_asset_has_a_description(offline: Pipeline) -> None:
    """Whoever sees an asset for the first time reads what it is."""
    graph = offline.definitions().resolve_asset_graph()
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())


def test_every_asset_has_a_partition_for_each_week_from_first_to_last(offline: Pipeline) -> None:
    """The labels are the weeks' first days: 26 of them, the last not cut off."""
    graph = offline.definitions().resolve_asset_graph()
    expected = [week(number).isoformat() for number in range(1, 27)]
    for key in graph.get_all_asset_keys():
        partitions = graph.get(key).partitions_def
        assert partitions is not None
        assert list(partitions.get_partition_keys()) == expected


@pytest.mark.parametrize("zone", DST_ZONES)
def test_partitions_are_the_calendars_weeks_where_clocks_change(zone: str) -> None:
    """Whatever weekday weeks start on, no zone loses, doubles or moves one."""
    after = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(7):
        first = date(2024, 7, 7) + timedelta(days=day)
        weeks = Weeks(first=first, count=52, timezone=zone)
        labels = [label.isoformat() for label in weeks.complete(after)]
        assert list(weekly(weeks).get_partition_keys()) == labels
        assert len(labels) == 52


def test_a_week_has_a_partition_only_once_it_is_over() -> None:
    """The open week can't be run by mistake."""
    weeks = Weeks(first=FIRST_WEEK, count=26, timezone="Europe/Zurich")
    sunday = datetime(2024, 10, 12, 22, 0, tzinfo=UTC)  # midnight in Zurich
    assert not list(weekly(weeks).get_partition_keys(sunday - timedelta(seconds=1)))
    assert list(weekly(weeks).get_partition_keys(sunday)) == ["2024-10-06"]


def test_definitions_load_before_the_first_week(offline: Pipeline) -> None:
    """The UI is there before there is anything to run."""
    offline.configure(first_week=date(2100, 1, 3))
    graph = offline.definitions().resolve_asset_graph()
    partitions = graph.get(dg.AssetKey("source_cut")).partitions_def
    assert partitions is not None
    assert not list(partitions.get_partition_keys())


def test_every_table_has_its_six_checks_by_week(offline: Pipeline) -> None:
    """Partitioned like their asset, described; those that say whether it is equal block."""
    graph = offline.definitions().resolve_asset_graph()
    keys = {(k.asset_key.to_user_string(), k.name) for k in graph.asset_check_keys}
    assert keys == {
        ("source_cut", EVERY_TABLE_HAS_AN_ASSET),
        ("source_cut", SOURCE_GOES_FORWARD),
        *((f"aurora/{table}", name) for table in ("customers", "orders") for name in CHECKS),
    }
    for key in graph.asset_check_keys:
        check = graph.get(key)
        assert check.partitions_def == graph.get(key.asset_key).partitions_def
        assert check.description
        assert check.blocking == (key.asset_key.path[0] == "aurora" and key.name in BLOCKING)
    assert {"row_count", "content_digest", "quarantine"} < BLOCKING
    assert not BLOCKING & {"schema", "foreign_keys"}


def test_the_weekly_job_carries_everything(offline: Pipeline) -> None:
    """Every asset that is computed, and every check, by one partition key; sensors report."""
    definitions = offline.definitions()
    job = definitions.resolve_job_def("weekly_migration")
    graph = definitions.resolve_asset_graph()
    assert job.asset_layer.selected_asset_keys == graph.materializable_asset_keys
    assert graph.get_all_asset_keys() - graph.materializable_asset_keys == {MIGRATION_REPORT}
    assert job.asset_layer.asset_graph.asset_check_keys == graph.asset_check_keys
    assert job.partitions_def == graph.get(aurora_key("orders")).partitions_def


def test_the_definitions_validate_without_their_target(offline: Pipeline) -> None:
    """Dagster finds nothing wrong with them; the target may sleep while people look at them."""
    dg.Definitions.validate_loadable(offline.definitions())


def test_building_definitions_warns_about_nothing(offline: Pipeline) -> None:
    """Previews that the project relies on knowingly don't clutter everybody's terminal."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        offline.definitions()
    assert [w for w in told if "migration_assets" in w.filename] == []


def test_hostile_table_names_get_valid_keys_of_their_own(make_offline: MakePipeline) -> None:
    """No two tables share an asset, and Dagster takes every key."""
    quoted = ('"' + name.replace('"', '""') + '"' for name in HOSTILE)
    offline = make_offline("".join(f"CREATE TABLE {name} (id INTEGER);" for name in quoted))
    definitions = offline.definitions()
    dg.Definitions.validate_loadable(definitions)
    expected = {"source_cut", "aurora_schema", "migration_report"}
    expected |= {delta_key(name).to_user_string() for name in HOSTILE}
    expected |= {aurora_key(name).to_user_string() for name in HOSTILE}
    assert len(expected) == 3 + 2 * len(HOSTILE)
    assert keys_of(definitions) == expected


def test_tables_that_differ_in_case_alone_keep_their_own_assets(pipeline: Pipeline) -> None:
    """SQLite never has both in one database, but one may follow the other over the weeks."""
    pipeline.definitions()
    pipeline.change("ALTER TABLE orders RENAME TO moved; ALTER TABLE moved RENAME TO Orders;")
    assert pipeline.run(1).success is False
    assert {"aurora/orders", "aurora/Orders"} <= keys_of(pipeline.definitions())


def test_definitions_load_while_the_source_is_away(offline: Pipeline) -> None:
    """Once its catalog is cached, nobody needs the source to see the assets."""
    before = keys_of(offline.definitions())
    offline.source.unlink()
    assert keys_of(offline.definitions()) == before


def test_a_source_that_was_never_there_is_named(offline: Pipeline) -> None:
    """Without a catalog there is nothing to show: the error says which file is missing."""
    offline.source.unlink()
    with pytest.raises(SourceError, match=r"app\.sqlite: there is no such file"):
        offline.definitions()


def test_tables_left_out_have_no_asset(offline: Pipeline) -> None:
    """`exclude` and `include` decide."""
    offline.configure(exclude=["cust*"])
    assert "aurora/customers" not in keys_of(offline.definitions())
    offline.configure(exclude=[], include=["cust*"])
    assert "aurora/orders" not in keys_of(offline.definitions())


def test_a_new_table_without_an_asset_keeps_a_check_red(pipeline: Pipeline) -> None:
    """Until the code location is reloaded it is named; then it is carried."""
    loaded = pipeline.definitions()
    pipeline.change("CREATE TABLE invoices (id INTEGER PRIMARY KEY, total REAL)")
    job = loaded.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        partition_key=week(1).isoformat(),
        instance=pipeline.instance,
        asset_selection=[dg.AssetKey("source_cut")],
    )
    red = pipeline.checked(result.run_id)["source_cut", EVERY_TABLE_HAS_AN_ASSET]
    assert not red.passed
    assert red.metadata["tables_without_an_asset"].value == ["invoices"]
    assert "reload" in str(red.metadata["to_do"].value)

    again = pipeline.run(1)
    assert again.success
    green = pipeline.checked(again.run_id)["source_cut", EVERY_TABLE_HAS_AN_ASSET]
    assert green.passed
    assert pipeline.on_target("SELECT count(*) FROM public.invoices") == [(0,)]


def test_a_table_that_vanished_goes_red_instead_of_away(pipeline: Pipeline) -> None:
    """Its asset stays, and says that the table is gone."""
    assert pipeline.run(1).success
    pipeline.change("DROP TABLE orders")
    outcome = pipeline.run(2)
    assert not outcome.success
    assert set(outcome.failures) == {"delta__orders"}
    assert "orders" in outcome.failures["delta__orders"]
    assert "aurora/orders" in keys_of(pipeline.definitions())


def test_an_older_copy_of_the_source_is_red_at_its_cut_and_stops_its_tables(
    pipeline: Pipeline,
) -> None:
    """The run tag with the guard's name carries the table to it all the same."""
    pipeline.change("CREATE TABLE ticket (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)")
    pipeline.change("INSERT INTO ticket (v) VALUES ('a'), ('b')")
    assert pipeline.run(1).success
    backup = pipeline.source.read_bytes()
    pipeline.change("INSERT INTO ticket (v) VALUES ('c')")
    good = pipeline.run(2)
    assert good.success
    assert pipeline.checked(good.run_id)["source_cut", SOURCE_GOES_FORWARD].passed
    pipeline.source.write_bytes(backup)
    outcome = pipeline.run(3)
    assert set(outcome.failures) == {"aurora__ticket"}
    checked = pipeline.checked(outcome.run_id)
    red = checked["source_cut", SOURCE_GOES_FORWARD]
    assert not red.passed
    assert "table ticket: its AUTOINCREMENT counter went back from 3 to 2" in str(
        red.metadata["went_back"].value
    )
    to_do = str(checked["aurora/ticket", "row_count"].metadata["to_do"].value)
    assert to_do.endswith(f"run --week {week(3)} --table ticket --acknowledge restored_source")
    assert pipeline.run(3, acknowledged=["restored_source"]).success
    assert pipeline.on_target("SELECT count(*) FROM public.ticket") == [(2,)]
