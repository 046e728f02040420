"""What Dagster shows of our assets: typed results turned into metadata, in one place.

The names that start with `dagster/` are Dagster's own: its catalog shows them without being told.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from migration_assets.defs.resources import TARGET_DATABASE
from migration_assets.findings import Moved, Outcome, Pruned
from migration_assets.model import (
    Delta,
    SourceTable,
    TableMapping,
)
from migration_assets.plain import counted, markdown, one_line
from migration_assets.settings import Settings
from migration_assets.target.connection import address_of, database_of

_PACKAGE = Path(__file__).parents[2]


class Stopwatch:
    """Told each stage's name as it ends, add up the seconds that each one took."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __call__(self, stage: str) -> None:
        """Note the end of a stage."""
        now = time.monotonic()
        self.seconds[stage] += now - self._last
        self._last = now


class Repetitions:
    """Told of each repetition of what the target broke off; says it in the run's log, keeps it."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self.said: list[str] = []

    def __call__(self, text: str) -> None:
        """Say a repetition, and keep it."""
        self._log.warning(text)
        self.said.append(text)

    @property
    def metadata(self) -> dict[str, dg.MetadataValue]:
        """How often something was done again, and why; nothing where all went well at once."""
        if not self.said:
            return {}
        lines = "\n".join(f"- {text}" for text in self.said)
        return {
            "repetitions": dg.MetadataValue.int(len(self.said)),
            "broken_off": dg.MetadataValue.md(lines),
        }


def relation(database: str, schema: str, table: str) -> str:
    """Return a table's name as its database knows it; without the database where none is known."""
    return ".".join(part for part in (database, schema, table) if part)


def target_database(settings: Settings) -> str:
    """Return the target's database as far as the settings name it: nothing connects for it."""
    return TARGET_DATABASE if settings.embedded else database_of(settings.target)


def table_name(identifier: str) -> dict[str, dg.MetadataValue]:
    """Return the metadata by which Dagster names a table; the second is its older name."""
    return {
        "dagster/table_name": dg.MetadataValue.text(identifier),
        "dagster/relation_identifier": dg.MetadataValue.text(identifier),
    }


def source_link(function: Callable[..., object]) -> dict[str, dg.MetadataValue]:
    """Return the link to an asset's code, where it lies on the machine that loads it."""
    code = function.__code__  # pyright: ignore[reportFunctionMemberAccess] - a plain function
    file = Path(code.co_filename).resolve()
    reference = dg.LocalFileCodeReference(
        file_path=str(file),
        line_number=code.co_firstlineno,
        label=file.relative_to(_PACKAGE).as_posix(),
    )
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def attributed(
    asset: dg.AssetsDefinition,
    settings: Settings,
    link: Callable[..., object],
    metadata: Mapping[str, dg.MetadataValue],
) -> dg.AssetsDefinition:
    """Return a shared asset with its owners, a link to the code that makes it, and metadata."""
    more = {**source_link(link), **metadata}
    return asset.map_asset_specs(
        lambda spec: spec.merge_attributes(owners=settings.owners, metadata=more)
    )


def source_address(settings: Settings) -> dict[str, dg.MetadataValue]:
    """Return the metadata that says where the source is."""
    return {"dagster/uri": dg.MetadataValue.text(settings.source.resolve().as_uri())}


def target_address(settings: Settings) -> dict[str, dg.MetadataValue]:
    """Return the metadata that says where the target is; no user, no password."""
    address = "" if settings.embedded else address_of(settings.target)
    return {"dagster/uri": dg.MetadataValue.text(address)} if address else {}


def described(table: SourceTable) -> str:
    """Say what a table of the source is: its columns, key and foreign keys."""
    key = f"key ({', '.join(table.key)})" if table.key else "no declared key"
    said = f"Source table {table.name}: {counted(len(table.columns), 'column')}, {key}"
    if table.foreign_keys:
        said += f", {counted(len(table.foreign_keys), 'foreign key')}"
    return markdown(said) + "."


def tags(table: SourceTable) -> dict[str, str]:
    """Return the tags by which the tables can be searched."""
    return {
        "migration/source": table.source,
        "migration/key": "declared" if table.key else "none",
    }


def delta_metadata(delta: Delta) -> dict[str, dg.MetadataValue]:
    """Return what a stored delta holds, by operation, and how large its files are."""
    size = delta.rows_path.stat().st_size + delta.misfits_path.stat().st_size
    return {
        "dagster/row_count": dg.MetadataValue.int(delta.changes),
        "scope": dg.MetadataValue.text(delta.scope.value),
        "base_cut": dg.MetadataValue.text(delta.base_cut or "none: first load"),
        "cut": dg.MetadataValue.text(delta.cut),
        "inserts": dg.MetadataValue.int(delta.inserts),
        "updates": dg.MetadataValue.int(delta.updates),
        "deletes": dg.MetadataValue.int(delta.deletes),
        "entering_quarantine": dg.MetadataValue.int(delta.misfits_in),
        "leaving_quarantine": dg.MetadataValue.int(delta.misfits_out),
        "size_bytes": dg.MetadataValue.int(size),
        **({"made_again": dg.MetadataValue.text(delta.rebuilt)} if delta.rebuilt else {}),
    }


def copy_metadata(
    moved: Moved, *, database: str, stopwatch: Stopwatch
) -> dict[str, dg.MetadataValue]:
    """Return what a step did to a table, and what stands there now."""
    proof, mapping = moved.proof, moved.mapping
    state = (
        f"covered by the head at {proof.week}"
        if moved.outcome is Outcome.COVERED
        else f"moved to {proof.week}"
    )
    return {
        "dagster/row_count": dg.MetadataValue.int(proof.target_rows),
        "dagster/column_schema": dg.MetadataValue.table_schema(_table_schema(mapping)),
        **table_name(relation(database, mapping.target_schema, mapping.target_table)),
        "state": dg.MetadataValue.text(state),
        "ledger_entry": dg.MetadataValue.int(moved.entry),
        "source_rows": dg.MetadataValue.int(proof.source_rows),
        "inserted": dg.MetadataValue.int(moved.inserted),
        "updated": dg.MetadataValue.int(moved.updated),
        "deleted": dg.MetadataValue.int(moved.deleted),
        "quarantined": dg.MetadataValue.int(proof.quarantined_rows),
        "displaced": dg.MetadataValue.int(moved.displaced),
        **({"schema_changes": dg.MetadataValue.json(list(moved.changes))} if moved.changes else {}),
        **({"notes": dg.MetadataValue.json(list(moved.notes))} if moved.notes else {}),
        **{
            f"seconds_until_{stage}": dg.MetadataValue.float(round(seconds, 3))
            for stage, seconds in stopwatch.seconds.items()
        },
    }


def pruned_metadata(pruned: Pruned) -> dict[str, dg.MetadataValue]:
    """Return what was removed when a week had ended, and which older cuts stay, with the reason."""
    return {
        "removed_cuts": dg.MetadataValue.json(list(pruned.cuts)),
        "removed_deltas": dg.MetadataValue.int(pruned.deltas),
        "freed_bytes": dg.MetadataValue.int(pruned.freed),
        "older_cuts_still_needed": dg.MetadataValue.json(dict(pruned.kept)),
        **({"not_removed": dg.MetadataValue.text(pruned.problem)} if pruned.problem else {}),
    }


def _table_schema(mapping: TableMapping) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.target,
                type=c.type.sql,
                description=one_line(f"{c.declared or 'no type'} at the source: {c.evidence}"),
                constraints=dg.TableColumnConstraints(nullable=not c.not_null),
            )
            for c in mapping.columns
        ]
    )
