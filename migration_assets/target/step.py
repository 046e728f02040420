"""One step, as it is prepared before its transaction opens."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from migration_assets.model import Cut, Delta, Expected, Head, SourceTable, TableMapping
from migration_assets.target import remap
from migration_assets.target.repairing import Repairing
from migration_assets.target.restoring import Restoring


def _no_stop(_stage: str) -> None:
    """Go on; crash tests put a kill here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Everything one step needs, prepared before its transaction opens.

    `head` is where the table stood when this was prepared. `remapping` leads from the head's
    mapping to `mapping` where that is another one. `head_hashes` gives the row hashes of the
    head's cut where rows are to be displaced: those somebody else wrote or those that exceptions
    keep, as `acknowledged` says. `repairing` makes it a repair, at the head's own cut; `restoring`
    a rollback. `write_guard` is that setting; None leaves the triggers as they are. `show_keys`
    lets errors name rows by key. `at` is told each stage's name.
    """

    cut: Cut
    table: SourceTable
    mapping: TableMapping
    head: Head | None
    delta: Delta
    expected: Expected
    run: str
    remapping: remap.Remapping | None = None
    acknowledged: frozenset[str] = frozenset()
    head_hashes: Callable[[], Iterator[int]] | None = None
    repairing: Repairing | None = None
    write_guard: str | None = None
    show_keys: bool = True
    restoring: Restoring | None = None
    move: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: Callable[[str], None] = _no_stop

    @property
    def where(self) -> str:
        """Name table and week for an error."""
        way = "back to week" if self.restoring else "week"
        return f"table {self.mapping.table}, {way} {self.cut.week}"

    @property
    def standing(self) -> TableMapping:
        """The mapping under which the table stands before the step."""
        return self.remapping.older if self.remapping else self.mapping
