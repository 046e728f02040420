"""The reference of assets, checks, jobs, schedules and sensors is that of the definitions."""

import re

from migration_assets_tests import markdown
from migration_assets_tests.command import ROOT
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline

PAGE = (ROOT / "docs" / "reference" / "checks.md").read_text("utf-8")
SOURCE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);"
TABLE = "<table>"


def documented(column: str, *, of: str = "") -> set[tuple[str, ...]]:
    """Return what the tables with that first column name there, and in a second column."""
    columns = (column, of) if of else (column,)
    rows = [row for t in markdown.tables(PAGE) for row in t.rows if next(iter(row)) == column]
    return {tuple(row[name].strip("`") for name in columns) for row in rows}


def spelled(pipeline: Pipeline, key: str) -> str:
    """Write an asset's key as the page does, for any table."""
    (table,) = (t for t in ("note",) if t in pipeline.source.read_bytes().decode("latin-1"))
    return re.sub(rf"/{table}$", f"/{TABLE}", key)


def test_every_asset_is_documented_and_no_other(make_offline: MakePipeline) -> None:
    """Those of a table by a pattern."""
    pipeline = make_offline(SOURCE)
    graph = pipeline.definitions().resolve_asset_graph()
    keys = {spelled(pipeline, key.to_user_string()) for key in graph.get_all_asset_keys()}
    assert documented("asset") == {(key,) for key in keys}


def test_every_check_is_documented_with_its_asset_and_no_other(make_offline: MakePipeline) -> None:
    """A check of the same name on another asset is another check."""
    pipeline = make_offline(SOURCE)
    checks = pipeline.definitions().resolve_asset_graph().asset_check_keys
    found = {(c.name, spelled(pipeline, c.asset_key.to_user_string())) for c in checks}
    assert documented("check", of="of") == found


def test_every_job_schedule_and_sensor_is_documented_and_no_other(
    make_offline: MakePipeline,
) -> None:
    """What runs by itself is known by name."""
    repository = make_offline(SOURCE).definitions().get_repository_def()
    found = {
        *((job.name, "job") for job in repository.get_all_jobs() if job.name[0] != "_"),
        *((schedule.name, "schedule") for schedule in repository.schedule_defs),
        *((sensor.name, "sensor") for sensor in repository.sensor_defs),
    }
    assert documented("name", of="kind") == found
