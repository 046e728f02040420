"""Whether a sealed key still tells the rows of a cut apart.

The key was unique when its mapping was sealed, by the source's own declaration. The application
may have dropped that since, and then two rows may share a key, of which the target can hold one.
"""

from migration_assets.errors import SettingsError, UnsupportedError
from migration_assets.model import (
    Cut,
    SourceTable,
    TableMapping,
    TableOverride,
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


def require_said_key(
    cut: Cut, table: SourceTable, mapping: TableMapping, override: TableOverride
) -> None:
    """Raise `SettingsError` where the key that the settings say doesn't tell all rows apart.

    To be asked when a table gets that key: a row that loses its key later is quarantined.
    """
    if not mapping.key:
        return
    missing = " OR ".join(f"{quote(name)} IS NULL" for name in mapping.key)
    with open_cut(cut) as connection, translated(f"cut {cut.id}, table {table.name}"):
        (nulls,) = connection.execute(
            f"SELECT count(*) FROM main.{quote(table.name)} WHERE {missing}"
        ).fetchone()
    problem = f"{nulls} rows have NULL in their key ({', '.join(mapping.key)})" if nulls else ""
    try:
        require_unique_key(cut, table, mapping)
    except UnsupportedError as error:
        problem = problem or error.what
    if problem:
        raise SettingsError(
            what=f"table {table.name}: {problem}",
            where=override.where("key"),
            expected="columns that together tell every row from the others",
            hint="name more columns, or `key: []` for rows without a key",
        )


def _declared(table: SourceTable, key: set[str]) -> bool:
    """Tell whether the table still declares some of the key's columns unique."""
    unique = [i.columns for i in table.indexes if i.unique and not i.reason]
    return any(names and key.issuperset(names) for names in (table.key, *unique))
