"""The real command line as a subprocess, in an environment that holds nothing but what is given."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_SECONDS: Final = 3600


def run(
    *arguments: str, folder: Path, environment: Mapping[str, str]
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
    )
