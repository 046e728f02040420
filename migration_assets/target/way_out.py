"""What a person can do about a step whose proof fails: each cause has a way out of its own."""

import shlex

from migration_assets.findings import Proof
from migration_assets.model import TableMapping
from migration_assets.target.apply import foreign_hint
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import drop_expressions, read_table


def of_foreign_write(connection: Connection, mapping: TableMapping, proof: Proof) -> str:
    """Say what to do about rows that somebody else changed.

    What the server generates otherwise by now can't be written over.
    """
    return _of_generated(connection, mapping, proof) or foreign_hint(mapping)


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
    return f"{foreign_hint(mapping)}; or {again}" if mapping.transform else again


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
