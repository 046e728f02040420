"""What a move does more where it takes earlier moves back: the table is put on hold with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from migration_assets.model import Head, HeadMove, TableMapping
from migration_assets.target import ledger
from migration_assets.target.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Where a rollback leads, which moves it takes back, oldest first, and who says so.

    With `leaves_rows`, displaced rows that don't fit the table any more stay where they are.
    """

    to: HeadMove
    taken: Sequence[HeadMove]
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
