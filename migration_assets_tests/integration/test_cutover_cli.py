"""The cutover by command line: one way has to be said, and the last one is asked for."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migration_assets_tests.integration.test_cli import FAILED, GOOD, MISUSED, Site


@pytest.fixture
def empty(tmp_path: Path, target_url: str) -> Site:
    """Return a site whose first week is complete, and nothing carried yet."""
    site = Site(folder=tmp_path, target=target_url)
    first = (datetime.now(UTC) - timedelta(days=8)).date()
    site.prepare(weeks=4, dagster_storage="sqlite", first_week=first, backup="pg_dump")
    return site


@pytest.fixture
def site(empty: Site) -> Site:
    """Return a site whose last complete week was carried."""
    assert empty.type_in("run").returncode == GOOD
    return empty


def test_a_cutover_from_dry_run_to_certificate(site: Site) -> None:
    """Each way ends with 0, says its verdict, and names the certificate; a second one says so."""
    dry = site.type_in("cutover", "--dry-run")
    assert dry.returncode == GOOD, dry.stdout + dry.stderr
    assert "dry run: go" in dry.stdout
    rehearsed = site.type_in("cutover", "--rehearse", "--json")
    assert rehearsed.returncode == GOOD, rehearsed.stderr
    assert json.loads(rehearsed.stdout)["kind"] == "rehearsal"
    unasked = site.type_in("cutover", "--execute")
    assert unasked.returncode == MISUSED
    assert "`--yes`" in unasked.stderr
    done = site.type_in("cutover", "--execute", "--yes")
    assert done.returncode == GOOD, done.stdout + done.stderr
    assert "cutover: go" in done.stdout
    (place,) = [
        line.partition(": ")[2] for line in done.stdout.splitlines() if "certificate:" in line
    ]
    assert "# Certificate of the cutover" in Path(place).read_text("utf-8")
    again = site.type_in("cutover", "--execute", "--yes", "--json")
    assert again.returncode == GOOD
    assert json.loads(again.stdout)["certificate"] == place
    assert len(json.loads(again.stdout)["sign_offs"]) == 2, "the first one's figures"
    week = site.type_in("run")
    assert week.returncode == FAILED, "cron hears that the tables are on hold"
    assert "cut over on" in week.stdout


def test_what_was_typed_wrongly_is_said(empty: Site) -> None:
    """No way, two ways, and a word that means nothing, or everything."""
    for arguments, said in (
        ((), "has to be said"),
        (("--dry-run", "--execute"), "exclude each other"),
        (("--dry-run", "--acknowledge", "all"), "all is nothing that a cutover can acknowledge"),
        (("--dry-run", "--yes"), "--yes means nothing with --dry-run"),
        (("--execute", "--yes", "--keep"), "--keep means nothing with --execute"),
    ):
        answered = empty.type_in("cutover", *arguments)
        assert answered.returncode == MISUSED
        assert said in answered.stderr


def test_a_no_go_ends_with_1_and_says_what_to_do(site: Site) -> None:
    """The dry run lists it; the cutover stops with it, and leaves its certificate."""
    site.configure(backup="none")
    dry = site.type_in("cutover", "--dry-run", "--json")
    assert dry.returncode == FAILED
    assert json.loads(dry.stdout)["verdict"] == "go with exception"
    stopped = site.type_in("cutover", "--execute", "--yes")
    assert stopped.returncode == FAILED
    assert "`--acknowledge no_backup`" in stopped.stderr
    reports = list((site.folder / "state" / "reports").glob("cutover-*.md"))
    assert [r for r in reports if "**NO-GO**" in r.read_text("utf-8")]
    assert site.type_in("cutover", "--dry-run", "--acknowledge", "no_backup").returncode == GOOD


def test_a_backup_is_offered_and_taken_before_the_first_load(empty: Site) -> None:
    """By its own command, which is refused where none is configured."""
    assert "`migration-assets backup` backs up the target" in empty.type_in("plan").stdout
    assert "takes one now" in empty.type_in("doctor").stdout
    taken = empty.type_in("backup", "--json")
    assert taken.returncode == GOOD, taken.stderr
    document = json.loads(taken.stdout)
    assert (empty.folder / "state" / document["place"]).stat().st_size == document["size"]
    empty.configure(backup="none")
    assert empty.type_in("backup").returncode == MISUSED
    assert "`backup` in migration.yaml says how" in empty.type_in("plan").stdout
    never = empty.type_in("cutover", "--dry-run")
    assert never.returncode == FAILED
    assert "customers: never loaded" in never.stdout
