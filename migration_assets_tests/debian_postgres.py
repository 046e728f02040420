"""Debian's own PostgreSQL, from its programs: another major version than the embedded one.

The package's cluster (`main`, on port 5432) is never touched: a server is made in a folder of its
own, on a free port of the loopback interface, and is stopped at the end.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from migration_assets.target.embedded import CLUSTER, FAST, SETTINGS
from migration_assets.target.embedded_process import EmbeddedServer, failed, halt, launch
from migration_assets.target.embedded_programs import (
    Account,
    Programs,
    make_private,
    system_account,
)

Prepare = Callable[[Path, Account | None], Mapping[str, str]]


class MissingProgramError(Exception):
    """A program that the tests need isn't installed; the message says how to get it."""


def programs_of(version: str) -> Programs:
    """Return Debian's programs of that major version; as root they run as a system user."""
    folder = Path("/usr/lib/postgresql") / version / "bin"
    if not (folder / "initdb").exists():
        raise MissingProgramError(
            f"PostgreSQL {version} isn't installed: {folder} holds no programs."
            f" On Debian: apt-get install postgresql-{version}"
        )
    return Programs(folder=folder, account=system_account())


def plain(_data: Path, _account: Account | None) -> Mapping[str, str]:
    """Prepare nothing."""
    return {}


@contextmanager
def running(folder: Path, version: str, *, prepare: Prepare = plain) -> Iterator[EmbeddedServer]:
    """Make a server of that version in `folder`, run it, and stop it at the end.

    `prepare` is given the data folder and the user who has to read what lies in it; it returns
    settings besides the usual ones. Removing the folder is the caller's.
    """
    programs = programs_of(version)
    make_private(folder, programs.account)
    cluster = folder / CLUSTER
    data, password = cluster / "data", secrets.token_urlsafe(24)
    cluster.mkdir(mode=0o700)
    secret = cluster / "password"
    secret.write_text(password)
    give(programs.account, cluster, secret)
    made = programs.run(
        "initdb",
        *(f"--pgdata={data}", "--username=postgres", f"--pwfile={secret}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
    )
    if made.returncode != 0:
        raise failed("initdb", cluster, made, made.stderr)
    settings = {**SETTINGS, **FAST, **prepare(data, programs.account)}
    try:
        yield launch(programs, data, 0, password, settings)
    finally:
        halt(programs, data)


def give(account: Account | None, *paths: Path) -> None:
    """Let PostgreSQL's user own these files, where that is another user than we are."""
    if account is not None:
        for path in paths:
            os.chown(path, account.uid, account.gid)
