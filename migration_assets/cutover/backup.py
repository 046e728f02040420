"""The backup of the target before the cutover, as the settings want it."""

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime

from psycopg import conninfo

from migration_assets.errors import MigrationError, StateError
from migration_assets.migration import Migration
from migration_assets.report.certificate import Backup, Condition, Verdict
from migration_assets.report.checkup import size
from migration_assets.state import sha256_of
from migration_assets.target import dump, figures, ledger
from migration_assets.target.connection import Connection, connect, translated
from migration_assets.target.snapshot import Snapshots

NO_BACKUP = "no_backup"
_FOLDER = "backups"
_NAME = "backup"


def condition(migration: Migration, connection: Connection) -> Condition:
    """Tell whether the backup that is configured can be taken; nothing is taken."""
    kind = migration.settings.backup
    try:
        if kind == "pg_dump":
            found = dump.find(dump.server_major(connection))
            return _go(f"pg_dump {found.major} ({found.folder}), into the state folder")
        if kind == "snapshot":
            return _of_cluster(migration)
    except MigrationError as error:
        return Condition(
            name=_NAME, verdict=Verdict.NO_GO, figure=error.what, to_do=error.hint or error.expected
        )
    return Condition(
        name=_NAME,
        verdict=Verdict.EXCEPTION,
        figure="none is configured",
        acknowledge=NO_BACKUP,
        to_do=f"set `backup` in migration.yaml, or `--acknowledge {NO_BACKUP}` if one is taken"
        " otherwise",
    )


def _go(figure: str) -> Condition:
    return Condition(name=_NAME, verdict=Verdict.GO, figure=figure)


def _of_cluster(migration: Migration) -> Condition:
    cluster = Snapshots(migration.settings).look()
    figure = f"snapshot of Aurora cluster {cluster.name}, which is {cluster.status}"
    host = str(conninfo.conninfo_to_dict(migration.target.url).get("host") or "")
    if host in cluster.hosts:
        return _go(figure)
    return Condition(
        name=_NAME,
        verdict=Verdict.EXCEPTION,
        figure=f"{figure}; its host names are {', '.join(cluster.hosts)}, the target's is {host}",
        acknowledge=NO_BACKUP,
        to_do="make sure that `aurora_cluster` is the target's cluster; if its host is another name"
        f" of it, `--acknowledge {NO_BACKUP}`",
    )


def take(migration: Migration) -> Backup:
    """Take the backup and make sure of it. Raises our errors; the target is only read."""
    kind = migration.settings.backup
    now = datetime.now(UTC)
    if kind == "pg_dump":
        return _dumped(migration, now)
    if kind == "snapshot":
        name = Snapshots(migration.settings).take(now)
        return Backup(kind=kind, place=name, at=now.isoformat(timespec="seconds"))
    return Backup(kind="none")


def _dumped(migration: Migration, now: datetime) -> Backup:
    key = f"{_FOLDER}/{now:%Y-%m-%dT%H%M%S}.dump"
    where = f"target {migration.target.name}"
    with connect(migration.target) as connection, translated(where):
        programs = dump.find(dump.server_major(connection))
        held = tables(migration, connection)
        _refuse_without_room(migration, figures.database_size(connection))
    with migration.state.workspace() as folder:
        file = folder / "target.dump"
        dump.dump(programs, migration.target, file)
        dump.check(programs, file, held)
        found = Backup(
            kind="pg_dump",
            place=key,
            size=file.stat().st_size,
            sha256=sha256_of(file),
            at=now.isoformat(timespec="seconds"),
        )
        migration.state.publish(file, key)
    migration.state.write_text(f"{key}.json", json.dumps(asdict(found), indent=1))
    return found


def tables(migration: Migration, connection: Connection) -> list[tuple[str, str]]:
    """Return the tables that a backup must hold: those that were loaded, and the ledger's."""
    if not ledger.exists(connection):
        return []
    found = [("migration", name) for name in ("ledger", "mapping", "quarantine")]
    for table in ledger.head_weeks(connection, migration.source):
        head = ledger.head(connection, migration.source, table)
        if head is not None:
            mapping = ledger.sealed_mapping(connection, head.mapping_hash)
            found.append((mapping.target_schema, mapping.target_table))
    return found


def _refuse_without_room(migration: Migration, needed: int) -> None:
    """Refuse a dump that might not fit; compressed, it is smaller than the database mostly."""
    free = free_bytes(migration)
    if free < needed:
        raise StateError(
            what=f"{size(free)} are free, and the target's database has {size(needed)}",
            where=f"state {migration.settings.state}",
            expected="room for a dump as large as the database",
            hint="free space where the state folder lies, then run again",
        )


def free_bytes(migration: Migration) -> int:
    """Return how much may still be written where the state folder lies."""
    folder = migration.settings.state
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
