"""One week's changes to the made-up business: where they go, and how many there were.

`life` says what happens in a week; here is how it is done, so that every change is counted and
every choice comes from the week's own generator.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from sqlite3 import Connection
from typing import Final, Literal, Self

from migration_assets.demo.business import INSERTS, LAST_DAY
from migration_assets.demo.rows import Row

Kind = Literal["inserted", "updated", "deleted", "rekeyed"]

# The highest id ever given: payments, with AUTOINCREMENT, give none twice.
HIGHEST_ID: Final = {
    "customers": "SELECT coalesce(max(id), 0) FROM customers",
    "products": "SELECT coalesce(max(id), 0) FROM products",
    "orders": "SELECT coalesce(max(id), 0) FROM orders",
    "payments": "SELECT seq FROM sqlite_sequence WHERE name = 'payments'",
    "stock_movements": "SELECT coalesce(max(id), 0) FROM stock_movements",
    "returns": "SELECT coalesce(max(id), 0) FROM returns",
    "documents": "SELECT coalesce(max(id), 0) FROM documents",
    "audit_log": "SELECT coalesce(max(rowid), 0) FROM audit_log",
}

# The first row of a range of ids that an ordinary change may touch. Stock movements leave out
# the rows which the pop-up shop's move and the mending of misfits touch in the same week.
_FIRST_BETWEEN: Final = {
    "customers": "SELECT id FROM customers WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
    "products": "SELECT id FROM products WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
    "orders": """SELECT id FROM orders
                 WHERE id BETWEEN ? AND ? AND status = 'shipped' ORDER BY id LIMIT 1""",
    "payments": "SELECT id FROM payments WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
    "stock_movements": """SELECT id FROM stock_movements
                          WHERE id BETWEEN ? AND ? AND warehouse_code NOT LIKE 'POP-%'
                          AND moved_at <> 'about noon' ORDER BY id LIMIT 1""",
    "returns": "SELECT id FROM returns WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
    "documents": "SELECT id FROM documents WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
    "audit_log": "SELECT rowid FROM audit_log WHERE rowid BETWEEN ? AND ? ORDER BY rowid LIMIT 1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One week of one file: where its changes go, from whose chance, and their count so far."""

    number: int
    scale: int
    connection: Connection
    rng: Random
    highest: dict[str, int]
    counts: dict[str, dict[str, int]]

    @classmethod
    def of(cls, connection: Connection, *, number: int, seed: int, scale: int) -> Self:
        """Note the highest ids as they stand, before the week's first change."""
        return cls(
            number=number,
            scale=scale,
            connection=connection,
            rng=Random(f"life {seed} {number}"),
            highest={
                name: connection.execute(sql).fetchone()[0] for name, sql in HIGHEST_ID.items()
            },
            counts={
                name: {"inserted": 0, "updated": 0, "deleted": 0, "rekeyed": 0} for name in INSERTS
            },
        )

    @property
    def last_day(self) -> date:
        """The day the week ends."""
        return LAST_DAY + timedelta(days=7 * self.number)

    def any_day(self) -> date:
        """Draw one of the week's seven days."""
        return self.last_day - timedelta(days=self.rng.randrange(7))

    def change(self, table: str, kind: Kind, sql: str, parameters: Iterable[Row] = ((),)) -> None:
        """Run `sql` once for each of `parameters` and count the rows it changed in `table`."""
        self.counts[table][kind] += self.connection.executemany(sql, parameters).rowcount

    def insert(self, table: str, new: Iterable[Row]) -> None:
        """Insert whole rows into `table`."""
        self.change(table, "inserted", INSERTS[table], new)

    def new_ids(self, table: str, per_scale: int) -> range:
        """Return the ids that follow those given before this week."""
        first = self.highest[table] + 1
        return range(first, first + per_scale * self.scale)

    def sample(self, table: str, per_scale: int) -> list[int]:
        """Draw distinct rows that stood before this week; fewer when chance finds no more."""
        wanted, highest = per_scale * self.scale, self.highest[table]
        found: dict[int, None] = {}
        for _ in range(3 * wanted):
            if len(found) == wanted:
                break
            bounds = self.rng.randint(1, max(highest, 1)), highest
            if row := self.connection.execute(_FIRST_BETWEEN[table], bounds).fetchone():
                found[row[0]] = None
        return list(found)
