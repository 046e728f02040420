"""A disk that is soon full: a small file system of its own, or a limit on what a file may hold.

Mounting takes rights that not every machine gives. Where it isn't allowed, the kernel's limit on
file sizes stands in: another errno, but as real a refusal in the middle of a write.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets.target.embedded_programs import system_account
from migration_assets_tests.fixtures_postgres import new_folder

_UNLIMITED = resource.RLIM_INFINITY


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    """A folder with room for so many bytes; `mounted` tells whether it is a file system."""

    folder: Path
    room: int
    mounted: bool

    @property
    def limit(self) -> int:
        """What a process must be limited to, per file; nothing where the disk itself is small."""
        return _UNLIMITED if self.mounted else self.room

    def limit_server(self, pid: int) -> None:
        """Let a server, and every session it starts from now on, feel the limit."""
        if not self.mounted:
            _limit(pid, str(self.room))

    def free_space(self, pid: int | None = None) -> None:
        """Make room for everything."""
        if self.mounted:
            _mount("-o", "remount,size=512m", str(self.folder))
        elif pid is not None:
            _limit(pid, "unlimited")


@contextmanager
def small_disk(room: int) -> Iterator[SmallDisk]:
    """Lend an empty folder with so little room."""
    folder = new_folder()
    folder.mkdir(mode=0o755)
    mounted = os.geteuid() == 0 and _mount(
        *("-t", "tmpfs", "-o", f"size={room},mode=0755", "tmpfs", str(folder))
    )
    try:
        yield SmallDisk(folder=folder, room=room, mounted=mounted)
    finally:
        if mounted:
            subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder)


def _limit(pid: int, size: str) -> None:
    """Limit a server's files, as the user that it runs as: root without all its rights may not."""
    account = system_account()
    subprocess.run(
        ["/usr/bin/prlimit", f"--pid={pid}", f"--fsize={size}:unlimited"],
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        check=True,
    )


def _mount(*arguments: str) -> bool:
    done = subprocess.run(["/bin/mount", *arguments], check=False, capture_output=True)
    return done.returncode == 0
