"""Weeks taken back by command line: said first, done when told, and seen in the status."""

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
    line_of,
)


@pytest.fixture
def site(tmp_path: Path, target_url: str) -> Site:
    """Return a site whose two weeks were carried; Dagster's storage are its own files."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=2, dagster_storage="sqlite")
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.change("INSERT INTO customers VALUES (3, 'Cyd'); INSERT INTO orders VALUES (3, 3, 4);")
    assert site.type_in("run", "--week", WEEK_2).returncode == GOOD
    return site


def test_a_week_is_taken_back_and_comes_again(site: Site) -> None:
    """Previewed, refused without a word, done, seen in the status, released and carried again."""
    previewed = site.type_in("rollback", "--week", WEEK_2, "--dry-run")
    assert previewed.returncode == GOOD
    assert f"orders: from week {WEEK_2} (entry 4) back to week {WEEK_1}" in previewed.stdout
    assert "rows: 0 inserted, 0 updated, 1 deleted" in previewed.stdout
    unasked = site.type_in("rollback", "--week", WEEK_2)
    assert unasked.returncode == MISUSED
    assert "--yes" in unasked.stderr
    assert site.on_target("SELECT max(id) FROM public.orders") == [(3,)]

    done = site.type_in("rollback", "--week", WEEK_2, "--yes", "--table", "orders")
    assert done.returncode == GOOD, done.stdout + done.stderr
    assert f"orders: rolled back to week {WEEK_1} (entry 5)" in done.stdout
    assert "`migration-assets release orders`, and `migration-assets run`" in done.stdout
    assert site.on_target("SELECT max(id) FROM public.orders") == [(2,)]
    assert site.on_target("SELECT max(id) FROM public.customers") == [(3,)]

    status = site.type_in("status")
    assert "rolled back" in line_of("orders", status.stdout)
    assert "orders is on hold since" in status.stdout
    assert f"rolled back from week {WEEK_2} to {WEEK_1} (entry 5)" in status.stdout
    answered = json.loads(site.type_in("status", "--json").stdout)
    [orders] = [table for table in answered["tables"] if table["table"] == "orders"]
    assert orders["head"] == WEEK_1
    assert [week["state"] for week in orders["weeks"]] == ["loaded", "rolled back"]
    assert not answered["proved"]

    again = site.type_in("rollback", "--week", WEEK_2, "--yes", "--table", "orders")
    assert again.returncode == GOOD
    assert "nothing to take back" in again.stdout
    assert site.type_in("release", "orders").returncode == GOOD
    assert site.type_in("run", "--week", WEEK_2).returncode == GOOD
    assert site.on_target("SELECT max(id) FROM public.orders") == [(3,)]


def test_tables_fail_alone_and_machines_are_told(site: Site) -> None:
    """One document, with the preview, what was done, and why the rest was not."""
    site.on_target("UPDATE public.orders SET amount = 1 WHERE id = 1")
    answered = site.type_in("rollback", "--week", WEEK_2, "--yes", "--json")
    assert answered.returncode == FAILED
    document = json.loads(answered.stdout)
    tables = {table["table"]: table for table in document["tables"]}
    assert tables["customers"]["outcome"] == "rolled back"
    assert tables["customers"]["done"]["deleted"] == 1
    assert tables["orders"]["outcome"] == "failed"
    assert "changed on the target by someone else" in tables["orders"]["problem"]
    assert tables["orders"]["preview"]["foreign_rows"] == 1
    assert tables["orders"]["preview"]["from"]["week"] == WEEK_2

    undone = site.type_in("rollback", "--entry", "5", "--yes", "--json")
    assert undone.returncode == GOOD, undone.stdout + undone.stderr
    [table] = json.loads(undone.stdout)["tables"]
    assert (table["table"], table["done"]["inserted"]) == ("customers", 1)
    forced = site.type_in(
        "rollback",
        "--week",
        WEEK_2,
        "--yes",
        "--table",
        "orders",
        "--acknowledge",
        "foreign_writes",
    )
    assert forced.returncode == GOOD, forced.stdout + forced.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either a week or an entry"),
        (("--week", WEEK_2, "--entry", "1"), "either a week or an entry"),
        (("--week", "2024-10-07", "--yes"), "is no complete week"),
        (("--entry", "99", "--yes"), "the ledger has no entry 99"),
        (("--week", WEEK_2, "--table", "order", "--yes"), "did you mean orders?"),
        (("--week", WEEK_2, "--acknowledge", "hope", "--yes"), "hope is no guard"),
        (("--week", WEEK_2, "--json"), "nobody can be asked"),
    ],
)
def test_what_can_not_be_meant_is_said(
    tmp_path: Path, target_url: str, arguments: tuple[str, ...], said: str
) -> None:
    """Nothing is done on a misspelt word."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=2, dagster_storage="sqlite")
    done = site.type_in("rollback", *arguments)
    assert done.returncode == MISUSED
    assert said in done.stdout + done.stderr


def test_the_first_week_can_not_be_taken_back(site: Site) -> None:
    """Both tables say so, and what to do instead."""
    done = site.type_in("rollback", "--week", WEEK_1, "--yes")
    assert done.returncode == FAILED
    assert done.stdout.count("there was nothing before it") == 2
