"""A row that somebody changed, by command line: looked at, put right, or kept with a reason."""

import json
from pathlib import Path

import pytest

from migration_assets_tests.integration.test_cli import (
    FAILED,
    GOOD,
    MISUSED,
    WEEK_1,
    Site,
)


@pytest.fixture
def site(tmp_path: Path, target_url: str) -> Site:
    """Return a site whose first week was carried, and one of whose rows somebody changed."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=2, dagster_storage="sqlite")
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.on_target("UPDATE public.customers SET name = 'Eve' WHERE id = 1")
    return site


def test_a_changed_row_is_looked_at_and_put_right(site: Site) -> None:
    """What differs, where it comes from and what would be done first; nothing without a word."""
    verified = site.type_in("verify")
    assert verified.returncode == FAILED
    assert "somebody else wrote on the target" in verified.stdout
    assert "write_guard: log" in verified.stdout
    assert "to do: `migration-assets repair customers` puts" in verified.stdout
    looked = site.type_in("repair", "--dry-run")
    assert looked.returncode == FAILED
    assert "id=1: differs (name)" in looked.stdout
    assert f"customers: at week {WEEK_1}: 1 row to update\n" in looked.stdout
    assert "repair customers --keep-target --reason TEXT" in looked.stdout
    assert "orders: equal" in looked.stdout
    unasked = site.type_in("repair")
    assert unasked.returncode == MISUSED
    assert "--yes" in unasked.stderr
    assert site.on_target("SELECT name FROM public.customers WHERE id = 1") == [("Eve",)]
    done = site.type_in("repair", "customers", "--yes", "--json")
    assert done.returncode == GOOD
    (table,) = json.loads(done.stdout)["tables"]
    assert (table["outcome"], table["update"], table["displaced"]) == ("repaired", 1, 1)
    assert table["attribution"]["foreign_write"]
    assert site.type_in("verify").returncode == GOOD


def test_a_changed_row_is_kept_with_a_reason_and_listed_everywhere(site: Site) -> None:
    """Verify, status and the report pass with it named, until it is given back."""
    assert site.type_in("repair", "--keep-target").returncode == MISUSED
    assert site.type_in("repair", "--reason", "x").returncode == MISUSED
    both = ("repair", "--keep-target", "--reason", "x", "--kept", "--yes")
    assert site.type_in(*both).returncode == MISUSED
    kept = site.type_in("repair", "customers", "--keep-target", "--reason", "Ada asked", "--yes")
    assert kept.returncode == GOOD
    verified = site.type_in("verify")
    assert verified.returncode == GOOD
    assert "1 exception (id=1): kept since" in verified.stdout
    assert "Ada asked" in verified.stdout
    (table,) = json.loads(site.type_in("verify", "--table", "customers", "--json").stdout)["tables"]
    assert [row["reason"] for row in table["exceptions"]] == ["Ada asked"]
    assert "Ada asked" in site.type_in("status").stdout
    assert (
        "Ada asked"
        in json.loads(site.type_in("status", "--json").stdout)["exceptions"]["customers"][0]
    )
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    report = next((site.folder / "state" / "reports").glob("*.md")).read_text("utf-8")
    assert "## Exceptions" in report
    assert "but for the exceptions below" in report
    assert site.type_in("repair", "--yes").returncode == GOOD
    assert site.on_target("SELECT name FROM public.customers WHERE id = 1") == [("Eve",)]
    given = site.type_in("repair", "customers", "--kept", "--yes")
    assert given.returncode == GOOD
    assert f"customers: at week {WEEK_1}: 1 row to update, 1 exception to end" in given.stdout
    assert "the cut reads otherwise" not in given.stdout
    assert site.on_target("SELECT name FROM public.customers WHERE id = 1") == [("Ada",)]
    assert "Ada asked" not in site.type_in("status").stdout
