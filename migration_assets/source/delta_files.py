"""Deltas as files: Parquet in target types, the raw rows that don't fit beside it, a manifest.

The manifest is written last and names the two files with their sha256, so a delta is either whole
or not there. A delta that is made again replaces the earlier one.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# pyarrow has no type stubs; this module is one of the two that touch it.

import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets import manifests
from migration_assets.errors import StateError
from migration_assets.mapping import document
from migration_assets.mapping.frames import control_columns, schema, to_frame
from migration_assets.mapping.names import asset_name
from migration_assets.mapping.raw import row_parts
from migration_assets.model import (
    Change,
    Cut,
    Delta,
    Misfit,
    Op,
    Scope,
    TableMapping,
)
from migration_assets.source.delta import Step
from migration_assets.state import State, refusal, remove_file, sha256_of

_MANIFEST = "manifest.json"
_BATCH = 10_000  # rows a row group: a few MB of Parquet, whatever the table's size
_BATCH_BYTES = 64 * 2**20  # or so many bytes of text and blobs, where rows are large
_MISFITS = pa.schema(
    [
        ("entering", pa.bool_()),
        ("key", pa.large_string()),
        ("columns", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("classes", pa.list_(pa.string())),
        ("values", pa.list_(pa.large_binary())),
    ]
)


class _Writer:
    """Write changes and misfits in batches and count them."""

    def __init__(self, mapping: TableMapping, rows: Path, misfits: Path) -> None:
        self._mapping = mapping
        empty = pl.DataFrame(schema=schema(mapping))
        self._rows = pq.ParquetWriter(rows, _arrow(empty).schema)
        self._misfits = pq.ParquetWriter(misfits, _MISFITS)
        self._changes: list[Change] = []
        self._unfit: list[Misfit] = []
        self.ops: Counter[Op] = Counter()
        self.entering: Counter[bool] = Counter()
        self._bytes = 0

    def add(self, step: Step) -> None:
        if isinstance(step, Change):
            self.ops[step.op] += 1
            self._changes.append(step)
            values = step.values
        else:
            self.entering[step.entering] += 1
            self._unfit.append(step)
            values = step.row
        self._bytes += sum(len(v) for v in values if isinstance(v, str | bytes))
        if len(self._changes) + len(self._unfit) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._changes:
            self._rows.write_table(_arrow(to_frame(self._mapping, self._changes)))
            self._changes = []
        if self._unfit:
            self._misfits.write_table(_misfit_table(self._unfit))
            self._unfit = []
        self._bytes = 0

    def close(self) -> None:
        self._flush()
        self._rows.close()
        self._misfits.close()

    def give_up(self) -> None:
        """Close what can be closed: left to the garbage collector, it would complain of it."""
        for file in (self._rows, self._misfits):
            with suppress(OSError):
                file.close()


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """Return an Arrow table without view types, which PostgreSQL's encoder does not know."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _misfit_table(misfits: list[Misfit]) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for misfit in misfits:
        classes, values = row_parts(misfit.row)
        rows.append(
            {
                "entering": misfit.entering,
                "key": misfit.key,
                "columns": list(misfit.columns),
                "reasons": list(misfit.reasons),
                "classes": classes,
                "values": values,
            }
        )
    return pa.Table.from_pylist(rows, schema=_MISFITS)


def _folder(source: str, table: str, week: date) -> str:
    return f"deltas/{source}/{asset_name(table)}/{week.isoformat()}"


def write(
    state: State,
    steps: Iterable[Step],
    mapping: TableMapping,
    *,
    week: date,
    base: Cut | None,
    cut: Cut,
    scope: Scope,
    rebuilt: str = "",
) -> Delta:
    """Stream a delta into the state folder and return its handle.

    `rebuilt` says what was wrong with the one that it takes the place of.
    """
    folder = _folder(mapping.source, mapping.table, week)
    token = uuid.uuid4().hex
    keys = f"{folder}/rows-{token}.parquet", f"{folder}/misfits-{token}.parquet"
    with state.workspace() as work:
        made = write_apart(work, steps, mapping, week=week, base=base, cut=cut, scope=scope)
        state.publish(made.rows_path, keys[0])
        state.publish(made.misfits_path, keys[1])
    delta = dataclasses.replace(
        made,
        rows_path=state.path(keys[0]),
        misfits_path=state.path(keys[1]),
        rebuilt=rebuilt,
    )
    state.write_text(f"{folder}/mapping.json", document.dumps(mapping))
    _save(state, delta, folder, keys)
    return delta


def write_apart(
    folder: Path,
    steps: Iterable[Step],
    mapping: TableMapping,
    *,
    week: date,
    base: Cut | None,
    cut: Cut,
    scope: Scope,
) -> Delta:
    """Stream a delta into an empty folder that isn't the state's: for one use, never found again.

    The week's stored delta stays what it is.
    """
    rows, misfits = folder / "rows", folder / "misfits"
    writer = _Writer(mapping, rows, misfits)
    try:
        for step in steps:
            writer.add(step)
        writer.close()
    except BaseException:
        writer.give_up()
        raise
    op_column, hash_column = control_columns(mapping)
    return Delta(
        source=mapping.source,
        table=mapping.table,
        week=week,
        base_cut=base.id if base else None,
        cut=cut.id,
        mapping_hash=mapping.hash,
        scope=scope,
        inserts=writer.ops[Op.INSERT],
        updates=writer.ops[Op.UPDATE],
        deletes=writer.ops[Op.DELETE],
        misfits_in=writer.entering[True],
        misfits_out=writer.entering[False],
        rows_path=rows,
        rows_sha256=sha256_of(rows),
        misfits_path=misfits,
        misfits_sha256=sha256_of(misfits),
        op_column=op_column,
        hash_column=hash_column,
    )


def _save(state: State, delta: Delta, folder: str, keys: tuple[str, str]) -> None:
    manifest, sealed = f"{folder}/{_MANIFEST}", f"{folder}/mapping.json"
    fields = dataclasses.asdict(delta) | {
        "week": delta.week.isoformat(),
        "rows_path": keys[0],
        "misfits_path": keys[1],
    }
    state.write_text(manifest, manifests.dumps(fields))
    for key in state.keys(folder):
        if key not in (*keys, manifest, sealed):
            state.remove(key)


def find(state: State, source: str, table: str, week: date) -> Delta | None:
    """Return the stored delta of a table and week, if there is one with a readable manifest.

    A damaged one is made again from its cuts, which are checked; `damage` names it.
    """
    return _load(state, _folder(source, table, week))


def _load(state: State, folder: str) -> Delta | None:
    try:
        fields = manifests.loads(state.read_text(f"{folder}/{_MANIFEST}") or "{}")
        fields |= {
            "week": date.fromisoformat(fields["week"]),
            "scope": Scope(fields["scope"]),
            "rows_path": state.path(fields["rows_path"]),
            "misfits_path": state.path(fields["misfits_path"]),
        }
        return Delta(**fields)
    except (ValueError, KeyError, TypeError):
        return None


def damage(state: State, source: str, table: str, week: date) -> str:
    """Say what is wrong with the stored delta of a table and week; '' where nothing is, or none."""
    folder = _folder(source, table, week)
    if not _is_there(state.path(f"{folder}/{_MANIFEST}")):
        return ""
    delta = _load(state, folder)
    try:
        if delta is not None:
            check(delta)
            return ""
    except StateError as error:
        return f"{error.where}: {error.what}"
    return f"delta of table {table}, week {week}: its manifest is damaged or was changed"


def bytes_by_week(state: State, source: str) -> dict[str, int]:
    """Return how large the files of each week's deltas are, of those that hold what changed.

    A week in which all tables were loaded for the first time counts as 0.
    """
    found: Counter[str] = Counter()
    for folder, keys in _folders(state, source).items():
        delta = _load(state, folder)
        changed = delta is not None and delta.scope is Scope.CHANGES
        sizes = (state.path(key).stat().st_size for key in keys if changed)
        found[folder.split("/")[-1]] += sum(sizes)
    return dict(found)


def _folders(state: State, source: str) -> dict[str, list[str]]:
    """Return the keys of all files of deltas, by their folder."""
    found: dict[str, list[str]] = {}
    for key in state.keys(f"deltas/{source}"):
        found.setdefault(key.rpartition("/")[0], []).append(key)
    return found


def remove_unless(state: State, source: str, needed: Callable[[str, str], bool]) -> tuple[int, int]:
    """Remove stored deltas that `needed` denies by asset name and week; return count and bytes.

    The manifest goes first: what a crash leaves over is no delta, and is removed the next time.
    """
    count = freed = 0
    for folder, keys in _folders(state, source).items():
        name, week = folder.split("/")[-2:]
        if needed(name, week):
            continue
        manifest = f"{folder}/{_MANIFEST}"
        count += manifest in keys
        freed += sum(remove_file(state, key) for key in dict.fromkeys([manifest, *keys]))
    return count, freed


def mapping_of(state: State, delta: Delta) -> TableMapping | None:
    """Return the mapping that a delta was made with; None where its document isn't that one."""
    text = state.read_text(f"{_folder(delta.source, delta.table, delta.week)}/mapping.json")
    try:
        mapping = document.loads(text) if text else None
    except ValueError:
        return None
    return mapping if mapping and mapping.hash == delta.mapping_hash else None


def check(delta: Delta) -> None:
    """Make sure that both files are what the manifest says. Raises `StateError`."""
    for path, expected in (
        (delta.rows_path, delta.rows_sha256),
        (delta.misfits_path, delta.misfits_sha256),
    ):
        if not _is_there(path) or sha256_of(path) != expected:
            raise StateError(
                what=f"the file {path.name} is missing, damaged or was changed",
                where=f"delta of table {delta.table}, week {delta.week}",
                expected=f"sha256 {expected[:16]}…",
                hint=f"materialize delta/{asset_name(delta.table)} for {delta.week} again",
            )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder of another user's
        raise refusal(path, error) from error


def frame(delta: Delta) -> pl.LazyFrame:
    """Return the delta's rows as a LazyFrame over its Parquet file."""
    return pl.scan_parquet(delta.rows_path)


def row_batches(delta: Delta) -> Iterator[Any]:
    """Yield the delta's rows as Arrow batches, in the order they were written."""
    yield from _batches(delta.rows_path)


def frames(delta: Delta) -> Iterator[pl.DataFrame]:
    """Yield the delta's rows as frames of bounded size, in the order they were written."""
    for batch in row_batches(delta):
        yield pl.DataFrame(batch)


def misfits(delta: Delta) -> Iterator[dict[str, Any]]:
    """Yield the misfits: entering, key, columns, reasons, classes, values (exact bytes)."""
    for batch in _batches(delta.misfits_path):
        yield from batch.to_pylist()


def _batches(path: Path) -> Iterator[Any]:
    """Read row group by row group: a batch across them would undo the bound in bytes."""
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.iter_batches(batch_size=_BATCH, row_groups=[group])
    except OSError as error:  # it was whole when the step began
        raise refusal(path, error) from error
