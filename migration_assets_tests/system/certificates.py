"""Certificates made on the spot by openssl: a CA, and what it signs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from migration_assets_tests.debian_postgres import MissingProgramError

_DAYS = "2"  # no test runs longer
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key, both PEM files."""

    certificate: Path
    key: Path


def authority(folder: Path, name: str) -> Pair:
    """Make a CA of that name."""
    return _made(folder, name, "-addext", "basicConstraints=critical,CA:TRUE")


def signed(folder: Path, name: str, by: Pair, *, host: str = "") -> Pair:
    """Make a certificate for `name`, signed by a CA; a server's is good for `host` alone."""
    names = ("-addext", f"subjectAltName=DNS:{host}") if host else ()
    return _made(folder, name, "-CA", str(by.certificate), "-CAkey", str(by.key), *names)


def expired(folder: Path, name: str, by: Pair, *, key: Path, host: str) -> Path:
    """Make a certificate for a key that ended yesterday; return its file."""
    names, request = folder / f"{name}.ext", folder / f"{name}.csr"
    names.write_text(f"subjectAltName=DNS:{host}\n", "utf-8")
    certificate = folder / f"{name}.crt"
    _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-out", str(request))
    _openssl(
        *("x509", "-req", "-in", str(request), "-days", "-1", "-extfile", str(names)),
        *("-CA", str(by.certificate), "-CAkey", str(by.key), "-CAcreateserial"),
        *("-out", str(certificate)),
    )
    return certificate


def _made(folder: Path, name: str, *options: str) -> Pair:
    pair = Pair(certificate=folder / f"{name}.crt", key=folder / f"{name}.key")
    _openssl(
        *("req", "-x509", *_KEY, "-days", _DAYS, "-subj", f"/CN={name}", *options),
        *("-out", str(pair.certificate), "-keyout", str(pair.key)),
    )
    pair.key.chmod(0o600)  # libpq and PostgreSQL refuse a key that others can read
    return pair


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise MissingProgramError("openssl isn't installed. On Debian: apt-get install openssl")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
