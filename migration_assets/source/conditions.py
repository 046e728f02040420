"""When two rows of two cuts are the same to the last byte, as SQL.

SQLite's `IS` takes 1 and 1.0, NOCASE twins, and 0.0 and -0.0 for equal. So values are compared by
BINARY bytes, by storage class, and zeros by sign. Rows of the newer cut are known as `n`, rows of
the older one as `o`.
"""

import math
import sqlite3
from collections.abc import Mapping

from migration_assets.model import SourceTable, SqliteValue
from migration_assets.source.connection import quote


def prepare(connection: sqlite3.Connection) -> None:
    """Give a connection the function that `differs` calls."""
    connection.create_function("sign_of_zero", 1, _sign_of_zero, deterministic=True)


def _sign_of_zero(value: SqliteValue) -> float:
    return math.copysign(1.0, value) if isinstance(value, float) else 0.0


def differs(table: SourceTable) -> str:
    """Return the condition that rows `n` and `o` differ in a storage class or a byte."""
    return differs_in({c.name: c.name for c in table.columns})


def differs_in(columns: Mapping[str, str]) -> str:
    """Return the condition that `n` and `o` differ in a column, by its name in `n` and in `o`."""
    return _any([_column_differs(quote(new), quote(old)) for new, old in columns.items()])


def _column_differs(new: str, old: str) -> str:
    return (
        f"n.{new} COLLATE BINARY IS NOT o.{old} OR typeof(n.{new}) <> typeof(o.{old})"
        f" OR (typeof(n.{new}) = 'real' AND n.{new} = 0"
        f" AND sign_of_zero(n.{new}) <> sign_of_zero(o.{old}))"
    )


def _any(conditions: list[str]) -> str:
    """Join by OR as a balanced tree: SQLite allows expressions 1,000 levels deep, no more."""
    if len(conditions) == 1:
        return f"({conditions[0]})"
    half = len(conditions) // 2
    return f"({_any(conditions[:half])} OR {_any(conditions[half:])})"
