"""What commands answer machines when they fail, and how they look: colour, width, help."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from migration_assets.cli.output import answering
from migration_assets_tests import command
from migration_assets_tests.integration.test_cli import FAILED, GOOD, MISUSED, WEEK_1, Done, Site

COMMANDS = (
    "init",
    "doctor",
    "plan",
    "run",
    "status",
    "verify",
    "hold",
    "release",
    "ui",
    "demo",
)
ANSWERING = ("doctor", "plan", "run", "status", "verify")
COLOUR = re.compile(r"\x1b\[")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose target nobody can reach."""
    site = Site(folder=tmp_path, target="postgresql://nobody:s3cret@127.0.0.1:1/nowhere")
    site.prepare(connect_patience=0)
    return site


def error(done: Done) -> dict[str, Any]:
    """Return the error of a document that holds nothing else."""
    document = json.loads(done.stdout)
    assert list(document) == ["error"]
    found: dict[str, Any] = document["error"]
    assert set(found) == {"what", "where", "expected", "to_do", "transient"}
    return found


@pytest.mark.parametrize("name", ["plan", "run", "status", "verify"])
def test_a_wrong_setting_is_a_document_with_its_line(site: Site, name: str) -> None:
    """And the same message for people on standard error, with the same exit code."""
    site.configure(weeks=0)
    done = site.type_in(name, "--json")
    line = (site.folder / "migration.yaml").read_text("utf-8").splitlines().index("weeks: 0") + 1
    assert done.returncode == MISUSED
    assert error(done)["where"].endswith(f"migration.yaml, line {line}")
    assert "`weeks` is wrong" in error(done)["what"]
    assert "weeks: 26" in error(done)["expected"]
    assert "`weeks` is wrong" in done.stderr


@pytest.mark.parametrize("name", ["status", "verify"])
def test_a_target_that_is_away_is_a_transient_error(site: Site, name: str) -> None:
    """A machine may try again; the password is not in it."""
    done = site.type_in(name, "--json")
    assert done.returncode == FAILED
    assert error(done)["transient"]
    assert error(done)["to_do"]
    assert "s3cret" not in done.stdout + done.stderr


def test_a_source_that_is_missing_is_no_transient_error(site: Site) -> None:
    """Somebody has to act."""
    site.source.unlink()
    done = site.type_in("plan", "--json")
    assert done.returncode == FAILED
    assert not error(done)["transient"]


@pytest.mark.parametrize("arguments", [("run", "--weak", WEEK_1), ("rnu",), ("run", "--week")])
def test_a_command_line_that_is_not_understood_is_a_document_too(
    site: Site, arguments: tuple[str, ...]
) -> None:
    """What exactly is wrong stands on standard error."""
    done = (
        site.type_in(*arguments, "--json")
        if len(arguments) != 2
        else site.type_in(*arguments[:1], "--json", *arguments[1:])
    )
    assert done.returncode == MISUSED
    assert error(done)["where"] == "command line"
    assert done.stderr


def test_an_error_of_our_own_is_a_document_without_its_text() -> None:
    """Its text might hold a value; the traceback is for standard error."""
    stdout = io.StringIO()
    with redirect_stdout(stdout), pytest.raises(ZeroDivisionError), answering(as_json=True):
        raise ZeroDivisionError(WEEK_1)
    found = error(Done((), FAILED, stdout.getvalue(), ""))
    assert "ZeroDivisionError" in found["what"]
    assert WEEK_1 not in stdout.getvalue()


def test_nothing_else_gets_into_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library prints meanwhile goes to standard error."""
    with answering(as_json=True) as answer:
        sys.stdout.write("chatter")
        answer.document = {"good": True}
    captured = capsys.readouterr()
    assert (json.loads(captured.out), captured.err) == ({"good": True}, "chatter")


def test_doctor_tells_a_machine_what_is_wrong(site: Site) -> None:
    """A check that failed is no error of the command: the document is whole, the exit code 1."""
    done = site.type_in("doctor", "--json")
    document = json.loads(done.stdout)
    checks = {check["name"]: check for check in document["checks"]}
    assert (done.returncode, document["healthy"]) == (FAILED, False)
    assert checks["target"]["condition"] == "problem"
    assert checks["source"]["condition"] == "ok"


def test_plan_can_print_its_ddl_alone(site: Site) -> None:
    """To be piped into a file; what would be stopped is said elsewhere."""
    site.change("CREATE TABLE wide (" + ", ".join(f"c{i}" for i in range(1700)) + ")")
    done = site.type_in("plan", "--ddl")
    assert done.returncode == FAILED
    assert 'CREATE TABLE "public"."orders" (' in done.stdout
    assert all(
        line.startswith(("--", "CREATE", "    ", ")", "ALTER")) or not line
        for line in done.stdout.splitlines()
    )
    assert "wide would be stopped" in done.stderr
    assert not (site.folder / "state").exists()


def test_init_writes_settings_that_plan_and_doctor_take(site: Site) -> None:
    """The first three commands of a newcomer."""
    (site.folder / "migration.yaml").unlink()
    made = site.type_in("init", "--source", "app/app.sqlite", "--first-week", WEEK_1)
    assert made.returncode == GOOD, made.stderr
    assert "migration-assets doctor" in made.stdout
    assert site.type_in("doctor").returncode == GOOD
    assert site.type_in("plan").returncode == GOOD
    assert site.type_in("init", "--source", "app/app.sqlite").returncode == MISUSED
    assert not (site.folder / ".migration").exists()


def test_init_without_a_source_says_how_to_name_it(site: Site) -> None:
    """There is no question to answer at a terminal."""
    done = site.type_in("init")
    assert done.returncode == MISUSED
    assert "--source" in done.stderr


def at_a_terminal(site: Site, *arguments: str, **variables: str) -> str:
    """Return what a command prints to a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [Path(sys.executable).with_name("migration-assets"), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(command.ROOT),
            "TERM": "xterm-256color",
            **site.environment,
            **variables,
        },
        cwd=site.folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        said = b""
        try:
            while data := os.read(leader, 65536):
                said += data
        except OSError:
            pass  # how Linux says that the last writer has closed a terminal
        process.wait()
    os.close(leader)
    return said.decode()


def test_colour_is_for_terminals_and_can_be_turned_off(site: Site) -> None:
    """NO_COLOR turns it off there, bold letters included, and a pipe never gets any."""
    assert COLOUR.search(at_a_terminal(site, "plan"))
    assert not COLOUR.search(at_a_terminal(site, "plan", NO_COLOR="1"))
    assert not COLOUR.search(site.run("plan").stdout)
    assert "customers → public.customers" in at_a_terminal(site, "plan", NO_COLOR="1")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_command_and_each_of_its_options_does(site: Site, name: str) -> None:
    """In 80 columns."""
    done = site.type_in(name, "--help")
    assert done.returncode == GOOD
    assert ("--json" in done.stdout) == (name in ANSWERING)
    assert max(map(len, done.stdout.splitlines())) <= 80
    for line in done.stdout.splitlines():
        if line.startswith("│ --"):
            assert len(line.strip("│ ").split()) > 2, line
