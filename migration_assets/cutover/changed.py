"""What the application wrote between two copies of the source, by table, by content.

Two copies of an unchanged source may differ in bytes (a checkpoint, a counter in the header), so
equal bytes decide first and rows where they differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from migration_assets.model import Change, Cut, SourceTable, TableMapping
from migration_assets.source.delta import changes
from migration_assets.source.reader import catalog_in, next_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Rows of a table that came, went or changed; `unfit` of them don't fit the mapping."""

    table: str
    rows: int
    unfit: int = 0

    @property
    def text(self) -> str:
        """Say it for people."""
        unfit = f", {self.unfit} of them don't fit" if self.unfit else ""
        return f"{self.table}: {self.rows:,} rows{unfit}"


def written(
    older: Cut, newer: Cut, table: SourceTable, mapping: TableMapping, folder: Path
) -> Written:
    """Count what changed in one table; `folder` is one that may be written to."""
    rows = unfit = 0
    scratch = folder / "compared"
    scratch.mkdir(exist_ok=True)
    for step in changes(older, newer, table, mapping, scratch=scratch):
        rows += 1
        unfit += not isinstance(step, Change) and step.entering
    for left in scratch.iterdir():
        left.unlink()
    return Written(table=table.name, rows=rows, unfit=unfit)


def differences(
    older: Cut, newer: Cut, tables: Iterable[tuple[SourceTable, TableMapping]], folder: Path
) -> list[str]:
    """Name what of the chosen tables differs between two copies; empty where nothing does."""
    if older.sha256 == newer.sha256:
        return []
    before, after = catalog_in(older), catalog_in(newer)
    found: list[str] = []
    if (before.fingerprint, before.views) != (after.fingerprint, after.views):
        found.append("the schema")
    for table, mapping in tables:
        if after.table(table.name) != before.table(table.name):
            found.append(f"{table.name}: its columns or constraints")
            continue
        counted = written(older, newer, table, mapping, folder)
        if counted.rows:
            found.append(counted.text)
        elif table.rowid_alias and _next(older, table) != _next(newer, table):
            found.append(f"{table.name}: rows came and went")
    return found


def _next(cut: Cut, table: SourceTable) -> int:
    return next_key(cut, table, str(table.rowid_alias))
