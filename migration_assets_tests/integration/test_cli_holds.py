"""A table on hold, by command line: left alone by every run, said each time, and let go again."""

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
    """Return a site whose first week was carried; Dagster's storage are its own files."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=2, dagster_storage="sqlite")
    assert site.type_in("run", "--week", WEEK_1).returncode == GOOD
    site.change("INSERT INTO customers VALUES (3, 'Cyd'); INSERT INTO orders VALUES (3, 3, 4);")
    return site


def test_a_held_table_is_left_alone_said_and_let_go(site: Site) -> None:
    """The week is neither called equal nor good without it; once released it is carried along."""
    held = site.type_in("hold", "orders", "--reason", "the DBA rebuilds it")
    assert held.returncode == GOOD
    assert "migration-assets release orders" in held.stdout

    week = site.type_in("run", "--week", WEEK_2)
    assert week.returncode == FAILED, "cron would be silent, and the hold forgotten"
    assert "orders is on hold since" in week.stdout
    assert "the DBA rebuilds it" in week.stdout
    assert f"week {WEEK_2}: proved equal, but for what is on hold" in week.stdout
    assert site.on_target("SELECT max(id) FROM public.orders") == [(2,)]
    assert site.on_target("SELECT max(id) FROM public.customers") == [(3,)]
    status = site.type_in("status")
    assert "on hold" in line_of("orders", status.stdout)
    answered = json.loads(site.type_in("status", "--json").stdout)
    assert "the DBA rebuilds it" in answered["on_hold"]["orders"]
    assert not answered["proved"]

    named = site.type_in("run", "--week", WEEK_2, "--table", "orders")
    assert named.returncode == FAILED
    assert "migration-assets release orders" in named.stdout

    released = site.type_in("release", "orders", "customers")
    assert released.returncode == GOOD
    assert "orders is released; it was on hold since" in released.stdout
    assert "customers is not held" in released.stdout
    assert site.type_in("run", "--week", WEEK_2).returncode == GOOD
    assert site.on_target("SELECT max(id) FROM public.orders") == [(3,)]


def test_a_hold_needs_a_table_that_is_there_and_a_reason(site: Site) -> None:
    """A wrong name would hold nothing, and nobody would notice."""
    unknown = site.type_in("hold", "order", "--reason", "rebuilt")
    assert unknown.returncode == MISUSED
    assert "did you mean orders?" in unknown.stderr
    assert site.type_in("hold", "orders").returncode == MISUSED
    empty = site.type_in("hold", "orders", "--reason", " ")
    assert empty.returncode == MISUSED
    assert "a hold needs a reason" in empty.stderr
    assert site.on_target("SELECT count(*) FROM migration.hold") == [(0,)]


def test_releasing_what_is_not_held_says_so(site: Site) -> None:
    """It is no error: nothing is held afterwards either way."""
    done = site.type_in("release", "customers")
    assert done.returncode == GOOD
    assert "customers is not held" in done.stdout
