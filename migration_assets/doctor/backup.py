"""The backup that the settings ask for: offered before the first load, possible before the last."""

from dataclasses import replace

from migration_assets.doctor.target import PATIENCE
from migration_assets.report.checkup import Check, ok
from migration_assets.settings import Settings
from migration_assets.target import dump
from migration_assets.target.connection import Target, connect
from migration_assets.target.snapshot import Snapshots


def look(settings: Settings, target: Target | None) -> list[Check]:
    """Check that the backup can be taken. Raises our errors, which say what is missing."""
    if settings.backup == "none":
        return [ok("backup", "none; `backup` in migration.yaml takes one of the target")]
    if settings.backup == "snapshot":
        cluster = Snapshots(settings).look()
        return [
            ok("backup", f"snapshot of Aurora cluster {cluster.name}, {cluster.status}; {_NOW}")
        ]
    if target is None:
        return [ok("backup", f"pg_dump of the embedded target; {_NOW}")]
    with connect(replace(target, patience=min(PATIENCE, target.patience))) as connection:
        found = dump.find(dump.server_major(connection))
    return [ok("backup", f"pg_dump {found.major} ({found.folder}); {_NOW}")]


_NOW = "`migration-assets backup` takes one now"
