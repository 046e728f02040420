"""Bring a table's rows to the cut, inside a move's transaction.

There are four ways: the first load, a delta, all rows under another mapping, and a repair.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from migration_assets.errors import StateError, TargetError
from migration_assets.model import Digest, Scope, TableMapping
from migration_assets.source import delta_files
from migration_assets.target import apply as changes
from migration_assets.target import copies, ddl, exceptions, remap, staging
from migration_assets.target.connection import Connection
from migration_assets.target.displacing import displace_staged
from migration_assets.target.guarding import guard_foreign_rows
from migration_assets.target.making import as_taken, differing_columns, make_indexes, make_table
from migration_assets.target.present import HINT, read_present
from migration_assets.target.repairing import Repairing, stage_extras
from migration_assets.target.step import Step
from migration_assets.target.writing import Applied
from migration_assets.verify.prove import target_digest


def write_rows(
    connection: Connection, step: Step
) -> tuple[Applied, int, Sequence[str], Step] | None:
    """Bring the table's rows to the cut; None where a repair was overtaken.

    Returns the row counts, the rows displaced, the statements that changed the table, and the step
    with the mapping as the server took it.
    """
    repairing = step.repairing
    if repairing is not None and repairing.seen is not None:
        found = _repair(connection, step, repairing, repairing.seen)
        return (*found, (), step) if found else None
    if step.head is None or repairing is not None:
        applied, step = _first_load(connection, step)
        return applied, 0, (), step
    if step.remapping is not None:
        return _remap(connection, step, step.remapping)
    return (*_apply(connection, step), (), step)


def _first_load(connection: Connection, step: Step) -> tuple[Applied, Step]:
    """Make the table and fill it.

    Returns the row counts, and the step with the mapping as the server took it, to be sealed.
    """
    if ddl.read_table(connection, step.mapping) is not None:
        raise TargetError(
            what=_exists(connection, step.mapping),
            where=step.where,
            expected="no such table before the first load, which makes it",
            hint=HINT,
        )
    staging.stage(connection, step.mapping, step.delta, delta_files.row_batches(step.delta))
    step.at("staged")
    mapping = make_table(connection, step.mapping, step.table, step.delta)
    inserted = changes.insert_all(connection, mapping)
    mapping = make_indexes(connection, mapping, step.table)
    applied = Applied(inserted=inserted, updated=0, deleted=0)
    return applied, replace(step, mapping=mapping)


def _apply(connection: Connection, step: Step) -> tuple[Applied, int]:
    """Bring the table to the cut; return the row counts, and the foreign rows displaced."""
    mapping, delta = step.mapping, step.delta
    present = _present(connection, step)
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    staging.stage(connection, mapping, delta, delta_files.row_batches(delta))
    step.at("staged")
    _refuse_other_values(connection, step, present)
    displaced = guard_foreign_rows(connection, step)
    return changes.apply(connection, mapping, delta, present), displaced


def _remap(
    connection: Connection, step: Step, remapping: remap.Remapping
) -> tuple[Applied, int, Sequence[str], Step]:
    """Bring the table to the cut under another mapping.

    Rows are staged before the table is locked, since its readers have to wait from then on.
    Returns the row counts, the foreign rows displaced, the statements that changed the table, and
    the step with the mapping as the server took it, to be sealed.
    """
    delta = step.delta
    present = _present(connection, step)
    _check_whole(step)
    remap.refuse_taken_names(remapping, present, step.where)
    staging.stage(connection, step.mapping, delta, delta_files.row_batches(delta))
    mapping = as_taken(connection, step.mapping, step.table, delta)
    remapping = replace(remapping, newer=mapping)
    step.at("staged")
    connection.execute(
        sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    locked = _present(connection, step)  # again: somebody may have changed it before
    remap.refuse_taken_names(remapping, locked, step.where)
    displaced = guard_foreign_rows(connection, step)
    by = remap.method(connection, remapping)
    statements = remap.Changes(connection, remapping, by, step.where)
    statements.make_room()
    step.at("altered")
    made = _present(connection, step, mapping)
    applied = changes.apply(connection, by, delta, made)
    applied = replace(applied, deleted=applied.deleted + statements.deleted)
    remap.refuse_lost_values(remapping, by, made, applied, step.where)
    # A table with deferred triggers waiting can't be altered.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    mapping = statements.finish(step.table)
    return applied, displaced, statements.ddl, replace(step, mapping=mapping)


def _check_whole(step: Step) -> None:
    """Make sure that a move between mappings is given the whole cut, in the newer mapping."""
    delta = step.delta
    if delta.scope is Scope.EVERYTHING and delta.mapping_hash == step.mapping.hash:
        return
    raise StateError(
        what="the stored delta belongs to another mapping",
        where=step.where,
        expected="all rows of the cut under the mapping that the table is moved to",
        hint=f"materialize delta/{step.mapping.table} for {step.cut.week} again",
    )


def _repair(
    connection: Connection, step: Step, repairing: Repairing, seen: Digest
) -> tuple[Applied, int] | None:
    """Put the rows right that were found to differ; None where somebody has written since then."""
    mapping, delta = step.mapping, step.delta
    present = _present(connection, step)
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(ddl.table_name(mapping))
    )
    if target_digest(connection, mapping) != seen:
        return None
    exceptions.lapse(connection, repairing.ended)
    if repairing.keeping is not None:
        keeping = repairing.keeping
        exceptions.accept(
            connection,
            mapping,
            keeping.rows,
            origin=exceptions.KEPT,
            reason=keeping.reason,
            by=keeping.by,
        )
    staging.stage(connection, mapping, delta, delta_files.row_batches(delta))
    stage_extras(connection, mapping, delta, repairing.extras())
    step.at("staged")
    _refuse_other_values(connection, step, present)
    if not mapping.key and copies.lacking(connection, mapping, delta):
        return None
    displaced = 0
    if mapping.key or delta.deletes:
        displaced = displace_staged(connection, mapping, move=step.move, week=step.cut.week)
    return changes.apply(connection, mapping, delta, present), displaced


def _refuse_other_values(connection: Connection, step: Step, present: ddl.TargetTable) -> None:
    """Stop for generated columns that would give staged rows other values than the source."""
    columns = tuple(
        c if c.target in present.generated else replace(c, generated="")
        for c in step.mapping.columns
    )
    found = differing_columns(
        connection, replace(step.mapping, columns=columns), step.table, step.delta
    )
    if not found:
        return
    statement = ddl.drop_expressions(step.mapping, [o.name for o in found])
    raise TargetError(
        what="; ".join(f"generated column {o.name} {o.problem}" for o in found),
        where=step.where,
        expected="the source's value of every row; nothing was changed",
        hint=f"`{statement.as_string(None)}` makes it a plain column, which loads write again",
    )


def _present(
    connection: Connection, step: Step, mapping: TableMapping | None = None
) -> ddl.TargetTable:
    """Read the table as it has to stand: under `mapping`, or as before the step."""
    table = ddl.read_table(connection, mapping or step.standing)
    if table is None:
        raise _gone(step)
    _check_columns(step, table, mapping)
    return table


def _gone(step: Step) -> TargetError:
    return TargetError(
        what=f"{step.mapping.target_schema}.{step.mapping.target_table} is gone from the target",
        where=step.where,
        expected="the table that earlier weeks loaded",
        hint=f"`migration-assets repair {shlex.quote(step.mapping.table)}` makes it anew from its"
        " cut; or restore it from a backup of the target",
    )


def _check_columns(
    step: Step, present: ddl.TargetTable, mapping: TableMapping | None = None
) -> None:
    missing = ddl.missing_columns(mapping or step.standing, present)
    if missing:
        raise TargetError(
            what=f"columns are gone or have another type: {', '.join(missing)}",
            where=step.where,
            expected="the columns of the sealed mapping",
            hint="undo the change on the target",
        )


def _exists(connection: Connection, mapping: TableMapping) -> str:
    """Say what is in the way of a first load."""
    found = read_present(connection, mapping.target_schema, mapping.target_table)
    return found.text(mapping) if found else f"{mapping.target_table} exists already"
