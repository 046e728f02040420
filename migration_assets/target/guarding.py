"""What stops a move, inside its transaction: rows that somebody else wrote, rows that are kept.

A run may be told to let a guard pass: what stands in the way is displaced then, never just lost.
"""

from migration_assets.errors import ForeignWriteError
from migration_assets.model import Scope
from migration_assets.target import apply as changes
from migration_assets.target import exceptions, staging
from migration_assets.target.connection import Connection
from migration_assets.target.displacing import displace_foreign
from migration_assets.target.step import Step
from migration_assets.verify.prove import target_digest

EVERY_GUARD = "all"


def passes(acknowledged: frozenset[str], guard: str) -> bool:
    """Tell whether a run was told to let a guard pass."""
    return guard in acknowledged or EVERY_GUARD in acknowledged


def guard_foreign_rows(connection: Connection, step: Step) -> int:
    """Refuse rows that someone else changed, or displace them where that is acknowledged."""
    mapping, delta = step.standing, step.delta
    kept = exceptions.accepted(connection, mapping.source, mapping.table)
    if delta.scope is Scope.CHANGES:
        found = changes.foreign_rows(connection, mapping, delta, kept)
        if found:
            changes.refuse_foreign(mapping, step.cut.week, found, show_keys=step.show_keys)
        return 0
    known = None if passes(step.acknowledged, changes.FOREIGN_WRITES) else step.head
    if known is not None and target_digest(connection, mapping) != known.digest:
        refuse_foreign_somewhere(step, ())
    if kept and (step.head_hashes is None or not passes(step.acknowledged, exceptions.KEPT_ROWS)):
        raise exceptions.would_be_overwritten(kept, step.where, show_keys=step.show_keys)
    if step.head_hashes is None:
        return 0
    staging.stage_hashes(connection, step.head_hashes())
    exceptions.lapse(connection, kept)
    return displace_foreign(connection, mapping, move=step.move, week=step.cut.week)


def refuse_foreign_somewhere(step: Step, named: tuple[str, ...], hint: str = "") -> None:
    """Stop for rows that somebody else changed; `named` says which, as far as that is known."""
    shown = f": {'; '.join(named)}" if named else ""
    raise ForeignWriteError(
        what=f"rows were changed on the target by someone else{shown}",
        where=step.where,
        expected="the rows as the last load left them",
        hint=hint or changes.foreign_hint(step.mapping),
    )
