"""Where every table stands, week by week, from ledger and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from migration_assets.errors import HoldError
from migration_assets.history import paths, turned
from migration_assets.model import Hold

_NONE: Mapping[str, Hold] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One table in one week: a load with its figures, covered by a later head, failed, or not run.

    `state` is one of `loaded`, `covered`, `rolled back`, `failed`, `open` and `on hold`.
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
    Several entries of a week are shown as one: a move between mappings may follow a load. What a
    rollback took back is not shown, and its weeks are rolled back until they are carried again.
    """
    by_table: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_table.setdefault(entry["table_name"], []).append(entry)
    loads: dict[tuple[str, date], dict[str, Any]] = {}
    changes: dict[tuple[str, date], tuple[str, ...]] = {}
    heads: dict[str, date] = {}
    away: dict[tuple[str, date], datetime] = {}
    for table, moves in by_table.items():
        heads[table] = moves[-1]["week"]
        for entry in _standing(moves):
            place = table, entry["week"]
            loads[place] = _added_up(loads.get(place), entry)
            changes[place] = (*changes.get(place, ()), *entry.get("changes", ()))
        rollbacks = [move for move in moves if move.get("restores") is not None]
        if rollbacks:
            back = rollbacks[-1]["written_at"]
            away |= {(table, w): back for w in turned(move["week"] for move in moves).away}
    reasons = {
        (a["table_name"], a["week"]): str(a["message"])
        for a in attempts
        if a["error"] != HoldError.__name__ and not _long_ago(a, away)
    }
    cells = {
        table: {
            week: _cell(
                loads.get((table, week)),
                week,
                heads.get(table, date.min),
                otherwise=_otherwise((table, week), away, reasons, held=table in holds),
            )
            for week in weeks
        }
        for table in tables
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


def _standing(moves: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the moves of a table that led to where it stands, the last with what stands now.

    A rollback puts displaced rows back, so its own figures say what stands since.
    """
    if all(move.get("restores") is None for move in moves):
        return list(moves)
    by_entry = {move["entry"]: move for move in moves}
    path = paths({entry: move["restores"] for entry, move in by_entry.items()})
    *earlier, last = [by_entry[entry] for entry in path[moves[-1]["entry"]]]
    now = {name: moves[-1][name] for name in ("target_rows", "quarantined")}
    return [*earlier, {**last, **now}]


def _long_ago(attempt: Mapping[str, Any], away: Mapping[tuple[str, date], datetime]) -> bool:
    """Tell whether an attempt failed before its week was carried and then taken back."""
    taken = away.get((attempt["table_name"], attempt["week"]))
    return taken is not None and attempt["failed_at"] < taken


def _otherwise(
    place: tuple[str, date],
    away: Mapping[tuple[str, date], datetime],
    reasons: Mapping[tuple[str, date], str],
    *,
    held: bool,
) -> str:
    """Say what a week is at which the table doesn't stand."""
    if place in away and place not in reasons:
        return "rolled back"
    return "on hold" if held else "failed" if place in reasons else "open"


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
