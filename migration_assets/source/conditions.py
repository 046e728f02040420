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


def differs(table: SourceTable, compared: Mapping[str, str] | None = None) -> str:
    """Return the condition that rows `n` and `o` differ in a storage class or a byte.

    `compared` gives the columns to compare, each with its name in the older cut; all by default.
    """
    if compared is None:
        compared = {c.name: c.name for c in table.columns}
    return _any([_column_differs(new, old) for new, old in compared.items()])


def _column_differs(newer: str, older: str) -> str:
    n, o = f"n.{quote(newer)}", f"o.{quote(older)}"
    return (
        f"{n} COLLATE BINARY IS NOT {o} OR typeof({n}) <> typeof({o})"
        f" OR (typeof({n}) = 'real' AND {n} = 0"
        f" AND sign_of_zero({n}) <> sign_of_zero({o}))"
    )


def _any(conditions: list[str]) -> str:
    """Join by OR as a balanced tree: SQLite allows expressions 1,000 levels deep, no more."""
    if len(conditions) == 1:
        return f"({conditions[0]})"
    half = len(conditions) // 2
    return f"({_any(conditions[:half])} OR {_any(conditions[half:])})"
