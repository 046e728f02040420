"""Schema changes by command line: planned, carried and told, on an embedded target too."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.target import embedded
from migration_assets_tests.integration.test_cli import (
    FAILED,
    GOOD,
    WEEK_1,
    WEEK_2,
    Site,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site whose target is embedded."""
    site = Site(folder=tmp_path, target="")
    site.prepare(weeks=2, dagster_storage="sqlite")
    site.configure(target="embedded")
    yield site
    embedded.remove(tmp_path / "state" / "postgres")


def test_a_schema_change_is_planned_carried_and_told(site: Site) -> None:
    """The plan starts the embedded target for its question, but never makes one."""
    server = site.folder / "state" / "postgres"
    before = site.type_in("plan")
    assert "the embedded target was not made yet" in before.stdout
    assert not embedded.made(server)
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.change("ALTER TABLE orders ADD COLUMN remark TEXT")
    planned = site.type_in("plan")
    assert "will be applied by the next load: column remark is new: text" in planned.stdout
    assert not embedded.running(server)
    carried = json.loads(site.type_in("run", "--week", WEEK_2, "--json").stdout)
    assert carried["schema_changes"] == [
        {"table": "orders", "changes": ["column remark is new: text"]}
    ]
    again = site.type_in("run", "--week", WEEK_2)
    told = f"orders, week {WEEK_2}: column remark is new: text"
    assert told in again.stdout
    assert told in site.type_in("status").stdout


def test_a_table_that_went_is_a_failure_of_its_week_in_status(site: Site) -> None:
    """Its delta can't be made; status ends with 1 and the report says why."""
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.change("DROP TABLE orders")
    assert site.type_in("run", "--week", WEEK_2).returncode == FAILED
    shown = site.type_in("status")
    assert shown.returncode == FAILED
    assert "the table is not in this cut" in shown.stdout
    report = (site.folder / "state" / "reports" / f"{WEEK_2}.md").read_text("utf-8")
    assert "## What failed" in report
