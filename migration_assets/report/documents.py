"""What the commands answer to machines: the same facts as on the terminal, as plain documents."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from migration_assets.findings import Attribution, Preview, Quarantined
from migration_assets.model import AcceptedRow, HeadMove
from migration_assets.report.answers import Carried, Repaired, Replayed, TableProof, TakenBack
from migration_assets.report.checkup import Check, healthy
from migration_assets.report.plan import Pinned, Plan
from migration_assets.report.status import Status
from migration_assets.verify.attribution import sentences


def status(found: Status) -> dict[str, Any]:
    """Return tables by weeks, their heads, and the failures that still stand."""
    return {
        "proved": found.proved,
        "weeks": [week.isoformat() for week in found.weeks],
        "tables": [
            {
                "table": name,
                "head": _day(found.heads.get(name)),
                "weeks": [
                    {"week": week.isoformat(), **dataclasses.asdict(cell)}
                    for week, cell in cells.items()
                ],
            }
            for name, cells in found.cells.items()
        ],
        "on_hold": {name: hold.text for name, hold in found.holds.items()},
        "schema_changes": _changes(found),
        "exceptions": {name: list(said) for name, said in found.exceptions.items()},
        "failures": [
            {"table": name, "week": week.isoformat(), "reason": reason}
            for (name, week), reason in sorted(found.reasons.items())
        ],
    }


def carried(found: Carried) -> dict[str, Any]:
    """Return a week that was run; `tables` is null where the target could not be asked."""
    tables = None
    if found.status is not None:
        tables = [
            {
                "table": name,
                "head": _day(found.status.heads.get(name)),
                **dataclasses.asdict(cells[found.week]),
            }
            for name, cells in found.status.cells.items()
        ]
    return {
        "week": found.week.isoformat(),
        "success": found.success,
        "complete": found.complete,
        "runs": list(found.runs),
        "new_tables": list(found.new_tables),
        "schema_changes": [
            {"table": change["table"], "changes": change["changes"]}
            for change in (_changes(found.status) if found.status else ())
            if change["week"] == found.week.isoformat()
        ],
        "on_hold": {name: hold.text for name, hold in found.held.items()},
        "tables": tables,
        "failures": [{"step": step, "reason": why} for step, why in found.failures.items()],
        "problems": list(found.problems),
    }


def _changes(found: Status) -> list[dict[str, Any]]:
    return [
        {"table": name, "week": week.isoformat(), "changes": list(said)}
        for (name, week), said in sorted(found.changes.items())
    ]


def plan(found: Plan, pinned: Pinned | None = None) -> dict[str, Any]:
    """Return a whole plan; its tables say what `TablePlan` does. `written` is null without one."""
    tables = [
        {
            **dataclasses.asdict(dataclasses.replace(table, mapping=None)),
            "head": _day(table.head),
            "stops": list(table.stops),
        }
        for table in found.tables
    ]
    for table in tables:
        del table["mapping"]  # its columns, key and DDL are there already
    return {
        "source": found.source,
        "target": {"answered": found.answered, "note": found.note},
        "stopped": found.stopped,
        "tables": tables,
        "left_out": dict(found.left_out),
        "views": [dataclasses.asdict(view) for view in found.views],
        "written": None
        if pinned is None
        else {
            "file": str(pinned.file),
            "tables": list(pinned.tables),
            "not_written": dict(pinned.left),
        },
    }


def proofs(found: Iterable[TableProof], *, show_keys: bool) -> dict[str, Any]:
    """Return what was compared for every table; rows that differ by key only where keys show."""
    tables = [_proof(table, show_keys=show_keys) for table in found]
    return {"equal": all(t["verdict"] == "equal" for t in tables), "tables": tables}


def _proof(found: TableProof, *, show_keys: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "table": found.table,
        "verdict": found.verdict,
        "problem": found.error or found.lag,
    }
    proof = found.proof
    if proof is None:
        return document
    fields = (
        "source_rows",
        "target_rows",
        "quarantined_rows",
        "rows_equal",
        "digest_equal",
        "quarantine_equal",
        "algorithm",
    )
    return {
        **document,
        "head": proof.week.isoformat(),
        "cut": proof.cut,
        **{name: getattr(proof, name) for name in fields},
        "differences": [
            {"what": d.what, "columns": list(d.columns), **({"key": d.key} if show_keys else {})}
            for d in proof.differences
        ],
        "attribution": _attribution(proof.attribution),
        "exceptions": [_exception(row, show_keys=show_keys) for row in proof.accepted],
        "lapsed_exceptions": len(proof.lapsed),
        "checks": [
            {
                "check": check.name,
                "passed": check.passed,
                "sentence": check.sentence,
                **check.numbers,
                "details": list(check.lines),
                "to_do": check.to_do,
            }
            for check in found.inspected(show_keys=show_keys)
        ],
    }


def _attribution(found: Attribution | None) -> dict[str, Any] | None:
    """Return where differences come from; null where nothing differs."""
    if found is None:
        return None
    return {
        "foreign_write": found.foreign,
        "wrong_load": found.load,
        "quarantine_changed": found.quarantine,
        "lapsed_exceptions": found.lapsed,
        "writes": [dataclasses.asdict(write) for write in found.writes],
        "sentences": list(sentences(found)),
    }


def _exception(row: AcceptedRow, *, show_keys: bool) -> dict[str, Any]:
    return {
        "origin": row.origin,
        "reason": row.reason,
        "by": row.by,
        "since": row.at,
        "columns": list(row.columns),
        **({"key": row.key} if show_keys else {}),
    }


def repaired(found: Iterable[Repaired], *, show_keys: bool) -> dict[str, Any]:
    """Return how every table's repair ended, or what it would do."""
    return {
        "tables": [
            {
                "outcome": table.outcome,
                "insert": table.preview.insert if table.preview else None,
                "update": table.preview.update if table.preview else None,
                "delete": table.preview.delete if table.preview else None,
                "gone": table.preview.gone if table.preview else None,
                "displaced": table.moved.displaced if table.moved else None,
                "kept": [_exception(row, show_keys=show_keys) for row in table.kept],
                **_proof(
                    TableProof(
                        table=table.table,
                        proof=table.preview.proof if table.preview else None,
                        error=table.error,
                    ),
                    show_keys=show_keys,
                ),
            }
            for table in found
        ]
    }


def quarantined(found: Iterable[Quarantined]) -> dict[str, Any]:
    """Return what stands in quarantine, by table."""
    return {"tables": [dataclasses.asdict(table) for table in found]}


def replayed(found: Iterable[Replayed]) -> dict[str, Any]:
    """Return how every table's replay ended; figures are null where nothing was looked at."""
    return {
        "tables": [
            {
                "table": table.table,
                "outcome": table.outcome,
                "changes": list(table.moved.changes) if table.moved else [],
                "inserted": table.moved.inserted if table.moved else None,
                "quarantined": table.moved.proof.quarantined_rows if table.moved else None,
                "problem": table.error,
            }
            for table in found
        ]
    }


def taken_back(
    found: Iterable[TakenBack], *, show_keys: bool, run: str | None = None
) -> dict[str, Any]:
    """Return what a rollback would do, or did, table by table; `run` is null for a preview."""
    return {
        "run": run,
        "tables": [
            {
                "table": table.table,
                "outcome": table.outcome,
                "preview": _preview(table.preview, show_keys=show_keys) if table.preview else None,
                "done": dict(table.figures) if table.figures is not None else None,
                "problem": table.error or (table.preview.obstacle if table.preview else ""),
            }
            for table in found
        ],
    }


def _preview(found: Preview, *, show_keys: bool) -> dict[str, Any]:
    return {
        "from": _move(found.head),
        "to": _move(found.to),
        "takes_back": [
            {**_move(m), "kind": m.kind, "written_at": m.written_at.isoformat()}
            for m in found.taken
        ],
        "rows": dataclasses.asdict(found.rows) if found.rows else None,
        "schema_changes": list(found.changes),
        "displaced_rows": found.displaced,
        "foreign_rows": found.foreign_rows,
        "foreign": [
            {"what": d.what, "columns": list(d.columns), **({"key": d.key} if show_keys else {})}
            for d in found.foreign
        ],
    }


def _move(move: HeadMove) -> dict[str, Any]:
    return {"entry": move.entry, "week": move.week.isoformat(), "cut": move.cut}


def checks(found: Sequence[Check]) -> dict[str, Any]:
    """Return what `doctor` found, check by check."""
    listed = [{**dataclasses.asdict(check), "condition": check.condition.value} for check in found]
    return {"healthy": healthy(found), "checks": listed}


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None
