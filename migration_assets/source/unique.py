"""Whether a sealed key still tells the rows of a cut apart.

The key was unique when its mapping was sealed, by the source's own declaration. The application
may have dropped that since, and then two rows may share a key, of which the target can hold one.
"""

from migration_assets.errors import UnsupportedError
from migration_assets.model import (
    Cut,
    SourceTable,
    TableMapping,
)
from migration_assets.source.connection import open_cut, quote, translated


def require_unique_key(cut: Cut, table: SourceTable, mapping: TableMapping) -> None:
    """Raise `UnsupportedError` where rows of the cut share a key.

    The rows are only looked at where the table no longer declares that they can't. Rows with NULL
    in their key share it with none: they are quarantined.
    """
    if not mapping.key or _declared(table, set(mapping.key)):
        return
    columns = [quote(name) for name in mapping.key]
    present = " AND ".join(f"{c} IS NOT NULL" for c in columns)
    groups = ", ".join(f"typeof({c}), {c} COLLATE BINARY" for c in columns)
    query = (
        f"SELECT count(*) FROM (SELECT 1 FROM main.{quote(table.name)} WHERE {present}"
        f" GROUP BY {groups} HAVING count(*) > 1)"
    )
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        (shared,) = connection.execute(query).fetchone()
    if shared:
        raise UnsupportedError(
            what=f"{shared} keys ({', '.join(mapping.key)}) stand in more than one row",
            where=f"table {table.name}, week {cut.week}",
            expected="a key that is unique, as it was declared when the table was first loaded",
            hint="mend these rows at the source, or leave the table out with `exclude`",
        )


def _declared(table: SourceTable, key: set[str]) -> bool:
    """Tell whether the table still declares some of the key's columns unique."""
    unique = [i.columns for i in table.indexes if i.unique and not i.reason]
    return any(names and key.issuperset(names) for names in (table.key, *unique))
