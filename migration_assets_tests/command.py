"""The real command line, in an environment that holds nothing but what is given."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pytest

from migration_assets import cli

ROOT: Final = Path(__file__).resolve().parents[1]
_SECONDS: Final = 3600


def run(
    *arguments: str, folder: Path, environment: Mapping[str, str], umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Run `migration-assets` in a folder; besides what is given it only finds PATH, as cron does.

    PYTHONPATH names this checkout, so that its code runs whatever copy was installed.
    """
    return subprocess.run(
        [Path(sys.executable).with_name("migration-assets"), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        umask=umask,
    )


def type_in(
    *arguments: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Do the same in this process, which saves it the imports."""
    kept, on_sigterm, umask = dict(os.environ), signal.getsignal(signal.SIGTERM), os.umask(0o022)
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["migration-assets", *arguments])
        os.environ.clear()
        os.environ.update({"PATH": kept["PATH"], **environment})
        try:
            with (
                chdir(folder),
                redirect_stdout(stdout),
                redirect_stderr(stderr),
                pytest.raises(SystemExit) as ended,
            ):
                cli.main()
        finally:
            os.environ.clear()
            os.environ.update(kept)
            signal.signal(signal.SIGTERM, on_sigterm)
            os.umask(umask)
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(
        arguments, ended.value.code, stdout.getvalue(), stderr.getvalue()
    )
