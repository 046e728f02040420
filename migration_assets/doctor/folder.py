"""The state folder: writable, private, on a disk with room for the cuts to come."""

import os
import shutil
import stat
from pathlib import Path

from migration_assets.report.checkup import Check, ok, problem, size, warning
from migration_assets.settings import Settings
from migration_assets.source.cut import cuts
from migration_assets.state import LocalState

_ROOM = 1.5  # of the source's size: a cut, and the deltas of a lively week


def look(settings: Settings) -> list[Check]:
    """Check the state folder, or the folder that it will be made in."""
    folder = settings.state
    there = _nearest(folder)
    if not there.is_dir():
        to_do = "set `state` in migration.yaml to a folder"
        return [problem("state folder", f"{there} is no folder", to_do)]
    return [_usable(folder, there), _disk(settings, there)]


def _nearest(folder: Path) -> Path:
    """Return the folder, or the first of its parents that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _usable(folder: Path, there: Path) -> Check:
    if not os.access(there, os.W_OK | os.X_OK):
        to_do = "run as its owner, or set `state` in migration.yaml"
        return problem("state folder", f"{there} can't be written by uid {os.geteuid()}", to_do)
    if there != folder:
        return ok("state folder", f"{folder}: not made yet, the first run makes it")
    found = folder.stat()
    if found.st_uid != os.geteuid():
        what = f"{folder} belongs to uid {found.st_uid}, and this is uid {os.geteuid()}"
        return warning("state folder", what, "run every command as the same user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        return warning("state folder", f"others may enter {folder}", f"chmod 700 {folder}")
    return ok("state folder", f"{folder}: private")


def _disk(settings: Settings, there: Path) -> Check:
    free = shutil.disk_usage(there).free
    source = settings.source
    needed = source.stat().st_size if source.is_file() else 0
    if not needed:
        return ok("disk", f"{size(free)} free")
    taken = len(cuts(LocalState(settings.state), settings.source_name))
    to_come = max(1, settings.weeks - taken)
    what = f"{size(free)} free, a cut takes {size(needed)}, {to_come} are to come"
    if free < _ROOM * needed:
        return problem("disk", what, "free space, or move `state` to a larger disk")
    if free < to_come * needed:
        return warning("disk", what, "there is no room for all of them: plan for a larger disk")
    return ok("disk", what)
