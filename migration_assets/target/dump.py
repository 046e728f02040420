"""A backup of the target by pg_dump: found, run without a secret in its arguments, read whole.

Any pg_dump reads servers of its own major version and older ones; the newest that is found first
and fits is taken: on PATH, in Debian's folders, out of the embedded PostgreSQL's package.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from psycopg import conninfo

from migration_assets.errors import TargetError
from migration_assets.target.connection import Connection, Target
from migration_assets.target.embedded_programs import PACKAGE

_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\)\s+(\d+)")
_SECONDS = 24 * 3600  # a dump of a terabyte; what hangs longer hangs for ever
_ANSWER_SECONDS = 60
# Parameters of a connection string that are secrets, and the variables that libpq takes them from
_SECRETS: Mapping[str, str] = {
    "password": "PGPASSWORD",
    "sslpassword": "",
    "oauth_client_secret": "",
}
_KEPT = 500  # characters of what a program says that are passed on: it names tables, no values


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """pg_dump and pg_restore of one folder, and their major version."""

    folder: Path
    major: int


def server_major(connection: Connection) -> int:
    """Return the server's major version."""
    return connection.info.server_version // 10_000


def find(major: int) -> Programs:
    """Return programs that can read a server of that major version. Raises `TargetError`."""
    seen: list[str] = []
    for folder in _folders():
        found = _version(folder)
        if found is None:
            continue
        if found >= major:
            return Programs(folder=folder, major=found)
        seen.append(f"{folder}: {found}")
    raise TargetError(
        what=f"no pg_dump for PostgreSQL {major} is found ({'; '.join(seen) or 'none at all'})",
        where="backup: pg_dump",
        expected=f"pg_dump and pg_restore of version {major} or newer on PATH",
        hint=f"install them (Debian: apt-get install postgresql-client-{major})",
    )


def _folders() -> Iterator[Path]:
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if place:
            yield Path(place)
    if _DEBIAN.is_dir():
        versions = [f for f in _DEBIAN.iterdir() if f.name.isdecimal()]
        yield from (f / "bin" for f in sorted(versions, key=lambda f: -int(f.name)))
    spec = find_spec(PACKAGE)
    for package in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(package).resolve() / "pginstall" / "bin"


def _version(folder: Path) -> int | None:
    """Return the major version of a folder's programs; None where it hasn't both."""
    if not all(shutil.which(name, path=str(folder)) for name in ("pg_dump", "pg_restore")):
        return None
    try:
        answered = _run([folder / "pg_dump", "--version"], {}, _ANSWER_SECONDS)
    except TargetError:
        return None
    match = _VERSION.search(answered.stdout)
    return int(match[1]) if match and answered.returncode == 0 else None


def dump(programs: Programs, target: Target, file: Path) -> None:
    """Write a dump of the whole database, in pg_dump's custom format. Raises `TargetError`."""
    parts = {k: str(v) for k, v in conninfo.conninfo_to_dict(target.url).items() if v is not None}
    environment: dict[str, str] = {}
    for name, variable in _SECRETS.items():
        secret = parts.pop(name, None)
        if secret is None:
            continue
        if not variable:
            raise TargetError(
                what=f"pg_dump can be given {name} on its command line only, where others see it",
                where="backup: pg_dump",
                hint=f"use a key or login without {name}, or `backup: snapshot`",
            )
        environment[variable] = secret
    made = _run(
        [
            programs.folder / "pg_dump",
            *("--format=custom", "--no-password", f"--file={file}"),
            f"--dbname={conninfo.make_conninfo('', **parts)}",
        ],
        environment,
        _SECONDS,
    )
    if made.returncode != 0:
        raise _failed(
            "pg_dump",
            made,
            "let the loader's role read the whole database: GRANT pg_read_all_data TO it",
        )


def check(programs: Programs, file: Path, tables: Iterable[tuple[str, str]]) -> None:
    """Make sure that a dump can be read to its end and has the data of these tables.

    `tables` are (schema, name). Raises `TargetError`.
    """
    listed = _run([programs.folder / "pg_restore", "--list", file], {}, _SECONDS)
    if listed.returncode != 0:
        raise _failed("pg_restore --list", listed, "free space, then run again")
    there = set(listed.stdout.splitlines())
    missing = [
        f"{schema}.{name}"
        for schema, name in tables
        if not any(f" TABLE DATA {_one_line(f'{schema} {name}')} " in line for line in there)
    ]
    if missing:
        raise TargetError(
            what=f"the backup lacks the data of {', '.join(missing)}",
            where="backup: pg_dump",
            expected="the data of every table",
            hint="report it; nothing was changed on the target",
        )
    # Its list stands at its beginning: only reading all of it shows that nothing was cut off.
    read = _run([programs.folder / "pg_restore", "--file=/dev/null", file], {}, _SECONDS)
    if read.returncode != 0:
        raise _failed("pg_restore", read, "free space, then run again")


def _one_line(text: str) -> str:
    """Write a name as pg_dump's list does, where each entry is a line."""
    return text.replace("\n", " ").replace("\r", " ")


def _failed(program: str, done: subprocess.CompletedProcess[str], hint: str) -> TargetError:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return TargetError(
        what=f"{program} ended with {done.returncode}: {'; '.join(lines)[:_KEPT]}",
        where="backup: pg_dump",
        expected="a complete backup; nothing was changed on the target",
        hint=hint,
    )


def _run(
    command: list[str | Path], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the programs are PostgreSQL's, without a shell
            command,
            env={**os.environ, "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            umask=0o077,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        name = Path(command[0]).name
        raise TargetError(
            what=f"{name} couldn't be run ({type(error).__name__})",
            where="backup: pg_dump",
            expected=f"a program that ends within {seconds:g} s",
        ) from None
