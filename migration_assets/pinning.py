"""Write what is proposed into `migration.yaml`, for the team to review and pin.

Only what the file doesn't say yet is added; every type comes with its evidence as a comment. The
file is replaced as a whole or not at all.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from migration_assets.errors import SettingsError
from migration_assets.model import Policy
from migration_assets.report.plan import REFUSED, Pinned, Plan, PlannedColumn, TablePlan
from migration_assets.report.plan_text import said
from migration_assets.settings_edit import Section, Value, add
from migration_assets.settings_file import parse
from migration_assets.settings_tables import NAME


def require_file(file: Path) -> Path:
    """Return the settings file, where there is one to write to. Raises `SettingsError`."""
    if not file.is_file():
        raise SettingsError(
            what="there is no such file to write a mapping to",
            where=str(file),
            expected="the settings of this migration in a file",
            hint="`migration-assets init` writes one",
        )
    return file


def write(file: Path, plan: Plan) -> Pinned:
    """Add to the file what the plan proposes and the file doesn't say.

    Raises `SettingsError` where it can't be added to, or is changed by somebody else meanwhile.
    """
    before = _read(file)
    text = before.decode()
    planned = [table for table in plan.tables if table.state != REFUSED]
    wanted = {table.table: _table(table) for table in planned}
    after = add(file, text, Section(entries={NAME: Section(entries=wanted)}))
    said_before, said_now = _tables(file, text), _tables(file, after)
    if after != text:
        _replace(file, before, after.encode())
    return Pinned(
        file=file,
        tables=tuple(t.table for t in planned if said_before.get(t.table) != said_now[t.table]),
        left={t.table: "; ".join(t.problems) for t in plan.tables if t.state == REFUSED},
    )


def _tables(file: Path, text: str) -> Mapping[str, object]:
    return parse(file, text).values.get(NAME) or {}


def _table(table: TablePlan) -> Section:
    policies = {column.policy for column in table.columns}
    policy = policies.pop() if len(policies) == 1 else Policy.QUARANTINE.value
    columns = {c.name: _column(c, policy) for c in table.columns if c.evident or c.policy != policy}
    entries: dict[str, Section | Value] = {"key": table.key, "policy": policy}
    if columns:
        entries["columns"] = Section(entries=columns)
    waiting = ", ".join(c.name for c in table.columns if not c.evident)
    facts = (
        "" if table.rows is None else f"{table.rows:,} rows",
        f"key: {table.key_reason}",
        f"without a value of their type, so left open: {waiting}" if waiting else "",
    )
    return Section(entries=entries, comment="; ".join(filter(None, facts)))


def _column(column: PlannedColumn, policy: str) -> Section:
    entries: dict[str, Section | Value] = {}
    if column.evident:
        entries["type"] = column.type
        if column.encoding:
            entries["encoding"] = column.encoding
    if column.policy != policy:
        entries["policy"] = column.policy
    could = [f"or {said(o.type, o.encoding)}" for o in column.offers]
    comment = "; ".join((column.evidence, *could))
    return Section(entries=entries, comment=comment, inline=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _refused(file, error) from error


def _replace(file: Path, before: bytes, after: bytes) -> None:
    """Replace a file by a finished one beside it, with the same owner and rights."""
    place = file.resolve()  # a link to it stays one
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        stat = place.stat()
        with partial.open("xb") as out:
            with suppress(PermissionError):  # another owner's file: it becomes ours, as it must
                os.fchown(out.fileno(), stat.st_uid, stat.st_gid)
            os.fchmod(out.fileno(), stat.st_mode & 0o7777)
            out.write(after)
            out.flush()
            os.fsync(out.fileno())
        if place.read_bytes() != before:
            raise SettingsError(
                what="somebody changed it while the plan was made",
                where=str(file),
                hint="run `migration-assets plan --write` again",
            )
        partial.replace(place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refused(file, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _refused(file: Path, error: OSError) -> SettingsError:
    return SettingsError(
        what=f"can't be written ({error.strerror})",
        where=str(file),
        expected="a file, and a folder, that this user may write to",
    )
