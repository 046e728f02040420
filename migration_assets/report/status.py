"""Where every table stands, week by week, from ledger and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from migration_assets.errors import HoldError
from migration_assets.model import Hold

_NONE: Mapping[str, Hold] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One table in one week: a load with its figures, covered by a later head, failed, or not run.

    `state` is one of `loaded`, `covered`, `failed`, `open` and `on hold`.
    """

    state: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Tables by weeks, each table's head, and the reason of the last failure that still stands.

    `holds` has the tables that are on hold, of those that are shown; `changes` say what of a
    table's mapping became another in a week; `exceptions` name the rows of a table that are to
    differ, for people.
    """

    weeks: tuple[date, ...]
    cells: Mapping[str, Mapping[date, Cell]]
    heads: Mapping[str, date]
    reasons: Mapping[tuple[str, date], str]
    holds: Mapping[str, Hold] = field(default_factory=dict[str, Hold])
    changes: Mapping[tuple[str, date], tuple[str, ...]] = field(
        default_factory=dict[tuple[str, date], tuple[str, ...]]
    )
    exceptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

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
    holds: Mapping[str, Hold] = _NONE,
) -> Status:
    """Arrange ledger entries and failed attempts by table and week.

    `entries` and `attempts` are in order, as the ledger gives them. A week without an entry of its
    own is covered once the head stands at it or later. A step that a hold refused is no failure.
    Several entries of a week are shown as one: a move between mappings may follow a load.
    """
    loads: dict[tuple[str, date], dict[str, Any]] = {}
    changes: dict[tuple[str, date], tuple[str, ...]] = {}
    for entry in entries:
        place = entry["table_name"], entry["week"]
        loads[place] = _added_up(loads.get(place), entry)
        changes[place] = (*changes.get(place, ()), *entry.get("changes", ()))
    heads: dict[str, date] = {}
    for table, week in loads:
        heads[table] = max(week, heads.get(table, date.min))
    reasons = {
        (a["table_name"], a["week"]): str(a["message"])
        for a in attempts
        if a["error"] != HoldError.__name__
    }
    cells: dict[str, dict[date, Cell]] = {}
    for table in tables:
        head = heads.get(table, date.min)
        cells[table] = {
            w: _cell(
                loads.get((table, w)),
                w,
                head,
                otherwise="on hold"
                if table in holds
                else "failed"
                if (table, w) in reasons
                else "open",
            )
            for w in weeks
        }
    still = {k: v for k, v in reasons.items() if k[1] > heads.get(k[0], date.min)}
    return Status(
        weeks=tuple(weeks),
        cells=cells,
        heads=heads,
        reasons=still,
        holds={table: hold for table, hold in holds.items() if table in cells},
        changes={place: said for place, said in changes.items() if said and place[0] in cells},
    )


def _added_up(before: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the rows that earlier ones of its week changed."""
    if before is None:
        return dict(entry)
    return {**entry, **{k: before[k] + entry[k] for k in ("inserted", "updated", "deleted")}}


def _cell(entry: Mapping[str, Any] | None, week: date, head: date, *, otherwise: str) -> Cell:
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
    return Cell(state=otherwise)
