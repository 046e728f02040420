"""Where every table stands, week by week, from ledger and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One table in one week: a load with its figures, covered by a later head, failed, or not run.

    `state` is one of `loaded`, `covered`, `failed` and `open`.
    """

    state: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Tables by weeks, each table's head, and the reason of the last failure that still stands."""

    weeks: tuple[date, ...]
    cells: Mapping[str, Mapping[date, Cell]]
    heads: Mapping[str, date]
    reasons: Mapping[tuple[str, date], str]

    @property
    def proved(self) -> bool:
        """Whether every table stands, proved, at the last week or later."""
        return bool(self.weeks) and all(
            self.heads.get(table, date.min) >= self.weeks[-1] for table in self.cells
        )


def status(
    *,
    tables: Iterable[str],
    weeks: Sequence[date],
    entries: Iterable[Mapping[str, Any]],
    attempts: Iterable[Mapping[str, Any]],
) -> Status:
    """Arrange ledger entries and failed attempts by table and week.

    `entries` and `attempts` are in order, as the ledger gives them. A week without an entry of its
    own is covered once the head stands at it or later.
    """
    loads = {(e["table_name"], e["week"]): e for e in entries}
    heads: dict[str, date] = {}
    for table, week in loads:
        heads[table] = max(week, heads.get(table, date.min))
    reasons = {(a["table_name"], a["week"]): str(a["message"]) for a in attempts}
    cells: dict[str, dict[date, Cell]] = {}
    for table in tables:
        head = heads.get(table, date.min)
        cells[table] = {
            w: _cell(loads.get((table, w)), w, head, (table, w) in reasons) for w in weeks
        }
    still = {k: v for k, v in reasons.items() if k[1] > heads.get(k[0], date.min)}
    return Status(weeks=tuple(weeks), cells=cells, heads=heads, reasons=still)


def _cell(entry: Mapping[str, Any] | None, week: date, head: date, failed: bool) -> Cell:  # noqa: FBT001
    if entry is not None:
        return Cell(
            state="loaded",
            rows=entry["target_rows"],
            inserted=entry["inserted"],
            updated=entry["updated"],
            deleted=entry["deleted"],
            quarantined=entry["quarantined"],
        )
    if week <= head:
        return Cell(state="covered")
    return Cell(state="failed" if failed else "open")
