"""What a move does more where it takes earlier moves back: the table is put on hold with it."""

from dataclasses import dataclass

from migration_assets.model import Head, HeadMove, TableMapping
from migration_assets.target import ledger
from migration_assets.target.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Where a rollback leads, which move had led away from there, and who says so.

    What that move displaced stood there, and is put back. What later ones displaced was written
    afterwards, and stays in `migration.displaced`.
    With `leaves_rows`, displaced rows that don't fit the table any more stay where they are.
    """

    to: HeadMove
    away: HeadMove
    by: str
    leaves_rows: bool = False


def put_on_hold(
    connection: Connection, mapping: TableMapping, restoring: Restoring, head: Head, entry: int
) -> None:
    """Put the table on hold in the rollback's own transaction, so that nothing carries it on."""
    ledger.hold(
        connection,
        mapping.source,
        mapping.table,
        reason=f"rolled back from week {head.week} to {restoring.to.week} (entry {entry})",
        by=restoring.by,
    )
