"""Where a program is missing the tests fail and say what to install; they are never skipped."""

from pathlib import Path

import pytest

from migration_assets_tests import debian_postgres
from migration_assets_tests.debian_postgres import MissingProgramError
from migration_assets_tests.system import browser, certificates


def test_a_missing_server_is_named() -> None:
    """With the version that was asked for."""
    with pytest.raises(MissingProgramError, match="apt-get install postgresql-99"):
        debian_postgres.programs_of("99")


def test_a_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is started."""
    monkeypatch.setattr(browser, "CHROMIUM", tmp_path / "chromium")
    with (
        pytest.raises(MissingProgramError, match="apt-get install chromium"),
        browser.opened("http://127.0.0.1:1"),
    ):
        pytest.fail("a browser was opened")


def test_a_missing_openssl_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is looked for where programs are."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="apt-get install openssl"):
        certificates.authority(tmp_path, "ca")
