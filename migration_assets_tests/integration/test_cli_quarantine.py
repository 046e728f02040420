"""Quarantine by command line: what is out is named, and what fits by now is let in."""

import json
from pathlib import Path

import pytest

from migration_assets_tests.integration.test_cli import (
    FAILED,
    GOOD,
    MISUSED,
    WEEK_1,
    WEEK_2,
    Site,
)


@pytest.fixture
def site(tmp_path: Path, target_url: str) -> Site:
    """Return a site that stands at its second week with two rows of `orders` in quarantine."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=2, dagster_storage="sqlite")
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.change("INSERT INTO orders VALUES (7, 'nobody', 4), (8, x'00', 4)")
    assert site.type_in("run", "--week", WEEK_2).returncode == GOOD
    return site


def test_what_is_in_quarantine_is_named_without_its_values(site: Site) -> None:
    """By table, column and reason; for machines too."""
    shown = site.type_in("quarantine", "list")
    assert shown.returncode == GOOD
    assert "orders: 2 rows in quarantine" in shown.stdout
    assert "customer, 1 times: text is no bigint" in shown.stdout
    assert "such as id=7; id=8" in shown.stdout
    assert "nobody" not in shown.stdout
    (found,) = json.loads(site.type_in("quarantine", "list", "--json").stdout)["tables"]
    assert (found["table"], found["rows"]) == ("orders", 2)
    assert "nothing is in quarantine" in site.type_in("quarantine", "list", "customers").stdout


def test_a_replay_says_what_it_did_and_ends_with_1_where_it_was_stopped(site: Site) -> None:
    """A table whose settings ask for nothing new stays as it is."""
    done = site.type_in("quarantine", "replay")
    assert done.returncode == GOOD
    assert "orders: unchanged, 0 rows went in, 2 stay in quarantine" in done.stdout
    assert site.type_in("hold", "orders", "--reason", "looked at").returncode == GOOD
    stopped = site.type_in("quarantine", "replay", "--json")
    assert stopped.returncode == FAILED
    tables = {t["table"]: t for t in json.loads(stopped.stdout)["tables"]}
    assert tables["orders"]["outcome"] == "failed"
    assert "is on hold" in tables["orders"]["problem"]
    assert tables["customers"]["outcome"] == "unchanged"


@pytest.mark.parametrize("command", ["list", "replay"])
def test_a_table_that_is_not_there_is_misuse(site: Site, command: str) -> None:
    """With the name that was meant."""
    wrong = site.type_in("quarantine", command, "order")
    assert wrong.returncode == MISUSED
    assert "did you mean orders?" in wrong.stderr
