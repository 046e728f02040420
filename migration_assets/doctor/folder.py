"""The state folder: writable, private, on a disk with room for the cuts to come."""

import os
import shutil
import stat
from pathlib import Path

from migration_assets.report.checkup import Check, ok, problem, size, warning
from migration_assets.settings import Settings
from migration_assets.source.cut import cuts
from migration_assets.source.room import forecast
from migration_assets.state import LocalState


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
    if not settings.source.is_file():
        return ok("disk", f"{size(free)} free")
    state, source = LocalState(settings.state), settings.source_name
    week = forecast(state, source, settings.source)
    to_come = min(settings.keep_weeks, settings.weeks) + 1 - len(cuts(state, source))
    what = (
        f"{size(free)} free, {size(_used(state))} used by the state folder; a cut takes"
        f" {size(week.copy)}, a week with its deltas {size(week.needed)}"
    )
    if not week.fits:
        to_do = "free space, move `state` to a larger disk, or keep fewer weeks (`keep_weeks`)"
        return problem("disk", what, to_do)
    if free < to_come * week.needed:
        to_do = f"keep_weeks keeps {settings.keep_weeks} weeks, and {to_come} more have no room"
        return warning("disk", what, f"{to_do}: keep fewer, or plan for a larger disk")
    return ok("disk", what)


def _used(state: LocalState) -> int:
    """Return how many bytes the state folder's own files take, an embedded PostgreSQL left out."""
    kept = ("cuts", "deltas", "reports")
    return sum(state.path(key).stat().st_size for part in kept for key in state.keys(part))
