"""The proofs of a cutover: everything verified as it stands, then signed off byte for byte."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from migration_assets.errors import GuardError, ProofError
from migration_assets.findings import Moved, Verified
from migration_assets.migration import Migration
from migration_assets.model import AcceptedRow, Cut, SourceTable, TableMapping
from migration_assets.report.certificate import ProvedTable, SignOff
from migration_assets.standing import verify
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.target.signoff import target_sha256
from migration_assets.verify.signoff import source_sha256


def verified(
    migration: Migration, table: str, moved: Moved | None, cut: Cut
) -> tuple[ProvedTable, tuple[AcceptedRow, ...]]:
    """Prove a table against the final cut as it stands now, and read rows back.

    Returns also the exceptions that the proof took into account. Raises `ProofError` where anything
    differs, `GuardError` where rows are in quarantine.
    """
    found = verify(migration, table)
    if found is None or found.proof.cut != cut.id:
        raise ProofError(
            what="the table doesn't stand at the final cut" if found else "it was never loaded",
            where=f"table {table}",
            expected=f"cut {cut.id}",
            hint="another run moved it meanwhile: let it end, then run again",
        )
    differing = _differing(found)
    if differing:
        raise ProofError(
            what="; ".join(differing),
            where=f"table {table}, cut {cut.id}",
            expected="equal counts, digests and rows; nothing of the cutover was made yet",
            hint=f"`migration-assets verify --table '{table}'` names what differs",
        )
    refuse_quarantined(table, found.proof.quarantined_rows)
    proved = ProvedTable(
        table=table,
        source_rows=found.proof.source_rows,
        target_rows=found.proof.target_rows,
        quarantined=found.proof.quarantined_rows,
        algorithm=found.proof.algorithm,
        source_digest=found.proof.source_total,
        target_digest=found.proof.target_total,
        read_back=found.inspection.round_trip.sampled_rows,
        inserted=moved.inserted if moved else 0,
        updated=moved.updated if moved else 0,
        deleted=moved.deleted if moved else 0,
        excepted=len(found.proof.accepted),
    )
    return proved, found.proof.accepted


def _differing(found: Verified) -> list[str]:
    wrong: list[str] = []
    if not found.proof.holds:
        wrong.append("source and target are not equal")
    if not found.inspection.round_trip.holds:
        wrong.append("rows read back are not the cut's")
    wrong += [finding.what for finding in found.inspection.schema.findings]
    return wrong


def refuse_quarantined(table: str, rows: int) -> None:
    """Raise `GuardError` where rows of a table are in quarantine: they would be left behind."""
    if rows:
        raise GuardError(
            what=f"{rows} rows are in quarantine",
            where=f"table {table}",
            expected="none: a cutover leaves no row behind, whatever is acknowledged",
            hint="see `migration-assets quarantine list`; mend them, then run again",
        )


def signed(
    connection: Connection,
    cut: Cut,
    table: SourceTable,
    mapping: TableMapping,
    *,
    folder: Path,
    exceptions: Iterable[AcceptedRow] = (),
) -> SignOff:
    """Hash both sides of a table, each by itself; raises `ProofError` where they differ."""
    excepted = frozenset(row.key_hash for row in exceptions)
    scratch = folder / "sorted"
    scratch.mkdir()
    here, expected = source_sha256(cut, table, mapping, scratch=scratch, excepted=excepted)
    for left in scratch.iterdir():
        left.unlink()
    scratch.rmdir()
    with transaction(connection, "REPEATABLE READ READ ONLY"):
        there, rows = target_sha256(connection, mapping, excepted)
    found = SignOff(
        table=table.name,
        rows=rows,
        source_sha256=here,
        target_sha256=there,
        excepted=len(excepted),
    )
    if not found.equal or rows != expected:
        raise ProofError(
            what=f"the sign-off differs: {expected:,} rows with sha256 {here} at the source,"
            f" {rows:,} with {there} on the target",
            where=f"table {table.name}, cut {cut.id}",
            expected="the same bytes; nothing of the cutover was made yet",
            hint=f"`migration-assets verify --table '{table.name}'` names what differs; if it finds"
            " nothing, keep the cut and report it",
        )
    return found


def signed_all(
    migration: Migration,
    cut: Cut,
    tables: Iterable[tuple[SourceTable, TableMapping]],
    exceptions: Mapping[str, Iterable[AcceptedRow]],
) -> Iterable[SignOff]:
    """Yield the sign-off of every table, one after the other; rows that are excepted left out."""
    with (
        migration.state.workspace() as folder,
        connect(migration.target) as connection,
        translated(f"target {migration.target.name}"),
    ):
        for table, mapping in tables:
            excepted = exceptions.get(table.name, ())
            yield signed(connection, cut, table, mapping, folder=folder, exceptions=excepted)
