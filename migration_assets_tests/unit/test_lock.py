"""What is installed is pinned: every package by version, with hashes, and the newest of nothing."""

import re
import tomllib

from packaging.requirements import Requirement

from migration_assets_tests.command import ROOT

PINNED = re.compile(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+( ; .+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries() -> list[list[str]]:
    """Return the lock's entries: what is pinned, then its hashes."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    lines = text.replace("\\\n", "\0").splitlines()
    return [
        [part.strip() for part in line.split("\0")]
        for line in lines
        if line and not line.startswith("#")
    ]


def test_every_package_is_pinned_with_hashes() -> None:
    """So that pip refuses whatever else an index may serve under that name."""
    assert len(entries()) > 100
    for pinned, *hashes in entries():
        assert PINNED.fullmatch(pinned), pinned
        assert hashes, pinned
        assert all(HASH.fullmatch(one) for one in hashes), pinned


def test_everything_that_is_asked_for_is_in_the_lock() -> None:
    """The build backend too, since nothing is fetched while building."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = (
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    )
    locked = {re.split(r"[=\[]", pinned)[0] for pinned, *_ in entries()}
    assert {Requirement(one).name.lower() for one in asked} <= locked


def test_it_is_installed_by_its_hashes() -> None:
    """An option that is easily lost."""
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text("utf-8")
