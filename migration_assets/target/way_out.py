"""What a person can do about a step whose proof fails: each cause has a way out of its own."""

import shlex

from migration_assets.findings import Proof
from migration_assets.model import TableMapping
from migration_assets.target.apply import foreign_hint
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import drop_expressions, read_table, table_name

_OWN_TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled <> 'D'
  AND tgfoid IS DISTINCT FROM to_regprocedure('migration.guard_writes()')
ORDER BY 1
"""


def of_foreign_write(connection: Connection, mapping: TableMapping, proof: Proof) -> str:
    """Say what to do about rows that somebody else changed.

    What the server generates otherwise by now can't be written over.
    """
    generated = _of_generated(connection, mapping, proof)
    return generated or foreign_hint(mapping) + _triggers(connection, mapping)


def of_unequal(connection: Connection, mapping: TableMapping, proof: Proof) -> str:
    """Say what to do about a target that isn't equal to its cut after the step."""
    if proof.digest_equal:
        name = shlex.quote(mapping.table)
        return (
            f"if somebody changed migration.quarantine, `migration-assets repair {name}` or"
            " `--acknowledge foreign_writes` makes this table's part of it anew from the cut; if"
            " nobody did, keep both cuts and report it"
        )
    again = (
        f"materialize delta/{mapping.table} for {proof.week} again, then the table; if it stays,"
        " keep both cuts and report it"
    )
    if generated := _of_generated(connection, mapping, proof):
        return generated
    again += _triggers(connection, mapping)
    return f"{foreign_hint(mapping)}; or {again}" if mapping.transform else again


def _triggers(connection: Connection, mapping: TableMapping) -> str:
    """Name the target's own triggers that are on: they may change what is written."""
    name = table_name(mapping).as_string(None)
    found = [str(row[0]) for row in connection.execute(_OWN_TRIGGERS, (name,))]
    if not found:
        return ""
    return (
        f"; or triggers of the target's own change what a load writes: {', '.join(found)} (disable"
        " or drop them until the cutover)"
    )


def _of_generated(connection: Connection, mapping: TableMapping, proof: Proof) -> str:
    """Return the statements that make plain columns of those that the server generates."""
    differing = {name for difference in proof.differences for name in difference.columns}
    table = read_table(connection, mapping)
    generated = [
        column.target
        for column in mapping.columns
        if table is not None
        and column.target in table.generated
        and differing & {column.name, column.target}
    ]
    if not generated:
        return ""
    statement = drop_expressions(mapping, generated)
    return (
        f"the target generates {', '.join(generated)} otherwise than the source:"
        f" `{statement.as_string(None)}`, then run the week with `--acknowledge foreign_writes`"
    )
