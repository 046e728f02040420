"""Go or no-go: every condition of the cutover with its figure. Nothing is changed anywhere."""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

from migration_assets.cutover import backup, objects
from migration_assets.cutover.changed import Written, written
from migration_assets.cutover.look import Look, TableLook
from migration_assets.cutover.objects import Planned
from migration_assets.errors import MigrationError
from migration_assets.migration import Migration
from migration_assets.report.certificate import Condition, Verdict
from migration_assets.report.checkup import size
from migration_assets.source import cut as cuts
from migration_assets.target.connection import Connection
from migration_assets.verify.schema import compare_schema

NO_BACKUP = backup.NO_BACKUP
EXCEPTIONS, VIOLATIONS, LEFT_OUT = "exceptions", "violations", "left_out"
ACKNOWLEDGEMENTS = (NO_BACKUP, EXCEPTIONS, VIOLATIONS, LEFT_OUT)
_REHEARSAL = re.compile(r"/rehearsal-[^/]*\.json$")


def conditions(
    migration: Migration, connection: Connection, look: Look, planned: Planned
) -> tuple[Condition, ...]:
    """Return all conditions, those that decide most first."""
    counted, unread = _open_week(migration, look)
    return (
        _loaded(look),
        _holds(look),
        _quarantine(look, counted),
        _drift(look),
        _schema(connection, look),
        _violated(planned),
        _left_out(look, planned),
        _taken_names(connection, planned),
        _exceptions(look),
        backup.condition(migration, connection),
        _disk(migration, look),
        _delta(look, counted, unread),
        _rehearsal(migration),
    )


def _condition(
    name: str,
    bad: Collection[str],
    *,
    good: str,
    figure: str,
    to_do: str,
    acknowledge: str = "",
) -> Condition:
    """Return a condition that is a go where nothing bad was found, which is listed otherwise."""
    if not bad:
        return Condition(name=name, verdict=Verdict.GO, figure=good)
    return Condition(
        name=name,
        verdict=Verdict.EXCEPTION if acknowledge else Verdict.NO_GO,
        figure=figure,
        details=tuple(bad),
        to_do=to_do,
        acknowledge=acknowledge,
    )


def _loaded(look: Look) -> Condition:
    missing = [t.name for t in look.tables if t.head is None]
    gone = [f"{name}: loaded, and gone from the source" for name in look.gone]
    bad = [f"{name}: never loaded" for name in missing] + gone
    return _condition(
        "tables",
        bad,
        good=f"all {len(look.tables)} tables of the source are loaded",
        figure=f"{len(bad)} tables don't stand on both sides",
        to_do="carry a week with them, or `exclude` them in migration.yaml",
    )


def _holds(look: Look) -> Condition:
    held = look.held.values()
    return _condition(
        "holds",
        [f"{h.table}: {h.text}" for h in held],
        good="no table is on hold",
        figure=f"{len(held)} tables are on hold",
        to_do="`migration-assets release TABLE` when the reason is gone",
    )


def _quarantine(look: Look, counted: Iterable[Written]) -> Condition:
    bad = [f"{q.table}: {q.rows:,} rows" for q in look.quarantined]
    bad += [f"{w.table}: {w.unfit:,} rows of the open week don't fit" for w in counted if w.unfit]
    return _condition(
        "quarantine",
        bad,
        good="empty",
        figure=f"rows of {len(bad)} tables are missing on the target",
        to_do="mend the rows that `migration-assets quarantine list` names at the source, or give"
        " their columns a type that holds them; a cutover never leaves rows behind",
    )


def _drift(look: Look) -> Condition:
    bad = [f"{t.name}: {t.problem}" for t in look.tables if t.problem]
    for table in look.tables:
        unsafe = table.evolution.unsafe if table.evolution else ()
        bad += [f"{table.name}: {f.what} (to do: {f.to_do})" for f in unsafe]
    return _condition(
        "source schema",
        bad,
        good="nothing waits for a word",
        figure=f"{len(bad)} changes wait for a word",
        to_do="see `migration-assets plan`",
    )


def _schema(connection: Connection, look: Look) -> Condition:
    bad: list[str] = []
    columns = indexes = 0
    for table in look.tables:
        if table.evolution is None:
            continue
        base = table.evolution.base
        found = compare_schema(connection, base, cut_week=look.label, drift=())
        columns += found.columns
        indexes += found.indexes
        bad += [f"{table.name}: {f.what} (to do: {f.to_do})" for f in found.findings]
    return _condition(
        "target schema",
        bad,
        good=f"{columns} columns, {indexes} keys and indexes stand as they were made",
        figure=f"{len(bad)} differences from what was made",
        to_do="undo what was changed on the target",
    )


def _violated(planned: Planned) -> Condition:
    bad = [o.text for o in planned.violated] + list(planned.uncounted)
    return _condition(
        "constraints",
        bad,
        good=f"{len(planned.wanted)} CHECKs, lengths, foreign keys and views can be made",
        figure=f"rows are in the way of {len(bad)} constraints",
        to_do="mend the rows at the source, or leave the constraints out:"
        f" `--acknowledge {VIOLATIONS}`",
        acknowledge=VIOLATIONS,
    )


def _left_out(look: Look, planned: Planned) -> Condition:
    bad = [o.text for o in planned.impossible]
    tables = {n: why for n, why in look.catalog.left_out.items() if n not in look.catalog.views}
    bad += [f"{name}: {reason}" for name, reason in tables.items()]
    for _, mapping in look.pairs:
        bad += [f"{mapping.table}: {note}" for note in mapping.notes]
    return _condition(
        "not carried",
        bad,
        good="everything of the source's schema is carried",
        figure=f"{len(bad)} objects of the source will not be on the target",
        to_do=f"make them by hand after the cutover; `--acknowledge {LEFT_OUT}` says so",
        acknowledge=LEFT_OUT,
    )


def _taken_names(connection: Connection, planned: Planned) -> Condition:
    bad = objects.in_the_way(connection, planned)
    return _condition(
        "names",
        bad,
        good="free for what is to be made",
        figure=f"{len(bad)} are taken by objects of the target's own",
        to_do="rename or drop them on the target",
    )


def _exceptions(look: Look) -> Condition:
    bad = [
        f"{table}: a row {row.origin} by {row.by} at {row.at:%Y-%m-%d %H:%M %Z}: {row.reason}"
        for table, rows in look.exceptions.items()
        for row in rows
    ]
    return _condition(
        "exceptions",
        bad,
        good="no row is accepted to differ",
        figure=f"{len(bad)} rows differ because somebody said so",
        to_do="`migration-assets repair --kept` puts them right;"
        f" `--acknowledge {EXCEPTIONS}` keeps them",
        acknowledge=EXCEPTIONS,
    )


def _disk(migration: Migration, look: Look) -> Condition:
    copies = 2 * look.copy.size  # the final cut, and the second look
    dumped = look.database_bytes if migration.settings.backup == "pg_dump" else 0
    needed, free = copies + look.copy.size // 2 + dumped, backup.free_bytes(migration)
    figure = f"{size(free)} free, at most {size(needed)} needed"
    return _condition(
        "disk",
        [] if free >= needed else [figure],
        good=figure,
        figure="not enough room in the state folder",
        to_do="free space where the state folder lies",
    )


def _open_week(migration: Migration, look: Look) -> tuple[list[Written], list[str]]:
    """Count what changed since each table's head; name those of which it can't be told."""
    counted: list[Written] = []
    unread: list[str] = []
    for table in look.tables:
        try:
            found = _changed(migration, look, table)
        except MigrationError as error:
            unread.append(f"{table.name}: {error.what}")
            continue
        if found is not None:
            counted.append(found)
    return counted, unread


def _changed(migration: Migration, look: Look, table: TableLook) -> Written | None:
    if table.head is None or table.mapping is None:
        return None
    head = cuts.find(migration.state, migration.source, table.head.cut)
    cuts.check(head)
    if table.evolution is not None and table.evolution.changed:
        return Written(table=table.name, rows=0)  # all of it is staged anew
    return written(head, look.copy, table.shape, table.mapping, look.folder)


def _delta(look: Look, counted: Iterable[Written], unread: Collection[str]) -> Condition:
    rows = sum(w.rows for w in counted)
    moves = sum(look.moves.values())
    # A move reads both sides for its proof; so does the verification, the sign-off, and the last
    # look at the digests, each about as long.
    text = (
        f"{rows:,} rows changed since the last week; about {moves:.0f} s to move all tables,"
        f" {4 * moves:.0f} s with verification and sign-off, by the last moves' times"
    )
    return _condition(
        "open week",
        unread,
        good=text,
        figure=f"the last cuts of {len(unread)} tables can't be read",
        to_do="restore them in the state folder from its backup",
    )


def _rehearsal(migration: Migration) -> Condition:
    """Say how long the last rehearsal took: the best forecast there is."""
    known = [k for k in migration.state.keys("reports") if _REHEARSAL.search(k)]
    figure = "never rehearsed: `migration-assets cutover --rehearse` measures every stage"
    if known:
        document: dict[str, Any] = json.loads(migration.state.read_text(max(known)) or "{}")
        seconds = sum(float(stage["seconds"]) for stage in document["stages"])
        figure = f"{document['verdict']} at {document['ended_at']}, {seconds:.0f} s in all"
    return Condition(name="rehearsal", verdict=Verdict.GO, figure=figure)
