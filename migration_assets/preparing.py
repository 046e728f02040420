"""Gather what a step needs before its transaction opens: mapping, delta, expectation, guards."""

from collections.abc import Callable, Iterator, Sequence

from migration_assets import guards
from migration_assets.deltas import compute, stored_delta
from migration_assets.evolving import follow, refuse_unsafe
from migration_assets.mapping.evolution import Evolution
from migration_assets.migration import Migration
from migration_assets.model import AcceptedRow, Cut, Head, SourceTable, TableMapping
from migration_assets.proposal import propose_for
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.source.reader import fitted_rows, table_in
from migration_assets.target import ledger
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.connection import Connection
from migration_assets.target.exceptions import KEPT_ROWS
from migration_assets.target.guarding import passes
from migration_assets.target.remap import Remapping
from migration_assets.target.step import Step
from migration_assets.verify.digest import RowHasher
from migration_assets.verify.expect import expect


def prepare(
    migration: Migration,
    evolution: Evolution,
    shape: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    accepted: Sequence[AcceptedRow],
    run: str,
    acknowledged: frozenset[str],
    at: Callable[[str], None],
) -> Step:
    """Gather everything the move needs, before its transaction opens.

    `accepted` are the table's exceptions as they are known now; the move reads them again.
    """
    mapping = evolution.mapping
    remapping = _remapping(evolution) if head is not None else None
    replaces = head is not None and passes(acknowledged, FOREIGN_WRITES)
    whole = replaces or remapping is not None
    displaces = replaces or (whole and bool(accepted) and passes(acknowledged, KEPT_ROWS))
    stored = stored_delta(migration, mapping, cut, head, whole=whole)
    at("prepared")
    if stored is None or replaces:
        stored = compute(migration, mapping, shape, cut, head, whole=whole)
    at("compared")
    expected = expect(cut, shape, mapping, watched={row.key_hash for row in accepted})
    guards.refuse(
        guards.Prepared(
            settings=migration.settings,
            state=migration.state,
            cut=cut,
            table=shape,
            mapping=mapping,
            base=evolution.base,
            head=head,
            delta=stored,
            expected=expected,
            renamed=evolution.renamed,
        ),
        acknowledged,
    )
    return Step(
        cut=cut,
        table=shape,
        mapping=mapping,
        head=head,
        delta=stored,
        expected=expected,
        run=run,
        remapping=remapping,
        acknowledged=acknowledged,
        head_hashes=head_hashes(migration, evolution.base, head) if head and displaces else None,
        write_guard=migration.settings.write_guard,
        show_keys=migration.settings.show_keys,
        at=at,
    )


def evolution_of(
    migration: Migration,
    connection: Connection,
    table: SourceTable,
    cut: Cut,
    head: Head | None,
    *,
    anew: bool = False,
) -> Evolution:
    """Return how the table's mapping follows it to a cut.

    Before the first load that mapping is the stored delta's while settings and policies agree with
    it, else (or `anew`) a new proposal. Raises `DriftError` for what a person has to confirm.
    """

    def older() -> Cut | None:
        return cuts.find(migration.state, migration.source, head.cut) if head else None

    if head is None and not anew:
        before = _proposed_before(migration, table.name, cut)
        if before is not None:
            evolution = follow(migration.settings, before, table, cut, older=older)
            if not (evolution.changed or evolution.unsafe):
                return evolution
    base = (
        ledger.sealed_mapping(connection, head.mapping_hash)
        if head
        else _propose(migration, cut, table)
    )
    evolution = follow(migration.settings, base, table, cut, older=older)
    refuse_unsafe(evolution, cut)
    return evolution


def _remapping(evolution: Evolution) -> Remapping | None:
    if not evolution.changed:
        return None
    return Remapping(
        older=evolution.base,
        newer=evolution.mapping,
        renamed=evolution.renamed,
        changes=evolution.changes,
    )


def _proposed_before(migration: Migration, table: str, cut: Cut) -> TableMapping | None:
    """Return the mapping that the stored delta of a first load was made with."""
    delta = delta_files.find(migration.state, migration.source, table, cut.week)
    if delta is None or delta.cut != cut.id or delta.base_cut is not None:
        return None
    return delta_files.mapping_of(migration.state, delta)


def _propose(migration: Migration, cut: Cut, table: SourceTable) -> TableMapping:
    mapping, _ = propose_for(migration.settings, cut, table, target_schema=migration.target.schema)
    return mapping


def head_hashes(
    migration: Migration, mapping: TableMapping, head: Head
) -> Callable[[], Iterator[int]]:
    """Return what reads the row hashes of the head's cut, to tell our rows from others'."""

    def hashes() -> Iterator[int]:
        cut = cuts.find(migration.state, migration.source, head.cut)
        cuts.check(cut)
        hasher = RowHasher(mapping)
        for _, fitted in fitted_rows(cut, table_in(cut, mapping.table), mapping):
            if fitted.values is not None:
                yield hasher.row_hash(fitted.values)

    return hashes
