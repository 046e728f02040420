"""Hand on deltas as LazyFrames over their Parquet files; no row is sampled into metadata."""

from datetime import date

import dagster as dg
import polars as pl

from migration_assets.model import DEFAULT_SOURCE, Delta
from migration_assets.source import delta_files
from migration_assets.source.cut import covering
from migration_assets.state import State


class DeltaIOManager(dg.IOManager):
    """Deltas are streamed to Parquet while they are made; only their handles pass through here."""

    def __init__(self, state: State, tables: dict[str, str]) -> None:
        """Remember where deltas live, and the table of every asset name."""
        self._state = state
        self._tables = tables

    def handle_output(self, context: dg.OutputContext, obj: Delta) -> None:  # noqa: ARG002
        """Make sure that both files are whole before anything downstream runs."""
        delta_files.check(obj)

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Return the delta of the partition as a LazyFrame; memory doesn't grow with the table.

        Columns: `op` String, `old_hash` Int64 (null: no such row before), and the table's own in
        target types.
        """
        table = self._tables[context.asset_key.path[-1]]
        week = date.fromisoformat(context.partition_key)
        cut = covering(self._state, DEFAULT_SOURCE, week)  # a week may have folded into a later one
        delta = cut and delta_files.find(self._state, DEFAULT_SOURCE, table, cut.week)
        if delta is None:
            message = f"no delta of table {table} for week {week}: materialize it first"
            raise dg.Failure(message, allow_retries=False)
        delta_files.check(delta)
        return delta_files.frame(delta)
