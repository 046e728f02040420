"""Undo: take head moves of a table back, by the same proved step in the other direction.

A rollback leads from the head's cut and mapping to those of an earlier entry, in one transaction,
proved against the older cut before it shows, and is an entry itself that can be taken back. The
table is on hold from then on, so that nothing carries it forward again before a person says so.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

from migration_assets.attempts import note
from migration_assets.errors import MigrationError, StateError
from migration_assets.findings import Moved, Preview, Proof, RowCounts
from migration_assets.history import Turned, turned
from migration_assets.holds import who_says_so
from migration_assets.migration import Migration, persistent
from migration_assets.model import AcceptedRow, Change, Cut, Delta, Head, Op, Scope
from migration_assets.preparing import head_hashes
from migration_assets.sessions import ROUNDS, alone, overtaken, reading, session
from migration_assets.source import delta as compare_cuts
from migration_assets.source import delta_files
from migration_assets.source.counting import count_between
from migration_assets.source.reader import encoding_in, table_in
from migration_assets.target import ddl, displaced, exceptions, ledger
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.connection import Connection, connect, transaction, translated
from migration_assets.target.displaced import DISPLACED_ROWS
from migration_assets.target.exceptions import KEPT_ROWS
from migration_assets.target.guarding import passes
from migration_assets.target.move import move
from migration_assets.target.remap import Remapping
from migration_assets.target.restoring import Restoring
from migration_assets.target.step import Step
from migration_assets.verify.accepted import adjust
from migration_assets.verify.differing import Differing
from migration_assets.verify.expect import expect
from migration_assets.verify.prove import prove, stored_proof, target_digest
from migration_assets.way_back import SNAPSHOT, Asked, Route, find_route, head_cut, older_cut


def rollback(
    migration: Migration,
    table: str,
    *,
    week: date | None = None,
    entry: int | None = None,
    run: str,
    acknowledged: frozenset[str] = frozenset(),
    by: str | None = None,
    at: Callable[[str], None] = lambda _stage: None,
) -> Moved | None:
    """Take a week and everything later back, or an entry and everything after it; None if nothing.

    `week`: the table goes to its last standing entry of an earlier week; `entry`: to how it stood
    before that entry, which may be a rollback's. The table is on hold afterwards. `by` names who
    says so; the system user by default. A failed attempt is noted, then raised.
    """
    asked = Asked(table=table, week=week, entry=entry)
    heads: list[Head] = []

    def do() -> Moved | None:
        with alone(migration, table), session(migration, table) as connection:
            for _ in range(ROUNDS):
                route = find_route(migration, connection, asked)
                if route is None:
                    return None
                heads.append(route.head)
                at("prepared")
                known = exceptions.accepted(connection, migration.source, table)
                with _prepared(
                    migration,
                    route,
                    known,
                    run=run,
                    acknowledged=acknowledged,
                    by=by or who_says_so(),
                    at=at,
                ) as step:
                    moved = move(connection, migration.target, step)
                if moved is not None:
                    return moved
        raise overtaken(asked.where)

    try:
        return migration.until_done(f"rollback of table {table}", do)
    except MigrationError as error:
        if heads:
            note(migration, table, heads[-1].week, run, error)
        raise


def _implied(route: Route, known: Sequence[AcceptedRow]) -> frozenset[str]:
    """Return the guard that is let pass by what is asked for.

    Taking a rollback back takes back what it put back: those rows are displaced again.
    """
    since = route.way.to.written_at
    rolled_back = any(move.restores is not None for move in route.way.taken)
    ours = all(row.origin == exceptions.RESTORED and row.at > since for row in known)
    return frozenset({KEPT_ROWS}) if known and rolled_back and ours else frozenset()


@contextmanager
def _prepared(
    migration: Migration,
    route: Route,
    known: Sequence[AcceptedRow],
    *,
    run: str,
    acknowledged: frozenset[str],
    by: str,
    at: Callable[[str], None],
) -> Generator[Step]:
    """Lend the step of a way back; its delta lies in a workspace, apart from those of weeks.

    `known` are the table's exceptions.
    """
    cut = older_cut(migration, route)
    table = table_in(cut, route.asked.table)
    implied = _implied(route, known)
    acknowledged |= implied
    replaces = bool(implied) or passes(acknowledged, FOREIGN_WRITES)
    with migration.state.workspace() as folder:
        delta = _delta(migration, route, cut, folder, whole=replaces)
        whole = delta.scope is Scope.EVERYTHING
        displaces = replaces or (whole and bool(known) and passes(acknowledged, KEPT_ROWS))
        at("compared")
        yield Step(
            cut=cut,
            table=table,
            mapping=route.mapping,
            head=route.head,
            delta=delta,
            expected=expect(cut, table, route.mapping, {row.key_hash for row in known}),
            run=run,
            remapping=route.remapping,
            acknowledged=acknowledged,
            head_hashes=head_hashes(migration, route.standing, route.head) if displaces else None,
            write_guard=migration.settings.write_guard,
            show_keys=migration.settings.show_keys,
            restoring=Restoring(
                to=route.way.to,
                away=route.way.away,
                by=by,
                leaves_rows=passes(acknowledged, DISPLACED_ROWS),
            ),
            at=at,
        )


def _delta(migration: Migration, route: Route, cut: Cut, folder: Path, *, whole: bool) -> Delta:
    """Write what leads from the head's cut to the older one into a folder that won't stay."""
    base = head_cut(migration, route.head)
    compared = base is not None and route.remapping is None and not whole
    table = table_in(cut, route.asked.table)
    with migration.state.workspace() as scratch:
        steps = (
            compare_cuts.changes(base, cut, table, route.mapping, scratch=scratch)
            if base is not None and compared
            else compare_cuts.everything(cut, table, route.mapping)
        )
        return delta_files.write_apart(
            folder,
            steps,
            route.mapping,
            week=cut.week,
            base=base,
            cut=cut,
            scope=Scope.CHANGES if compared else Scope.EVERYTHING,
        )


@persistent
def preview(
    migration: Migration, table: str, *, week: date | None = None, entry: int | None = None
) -> Preview | None:
    """Say what `rollback` would do with the same arguments; None if nothing. Changes nothing."""
    asked = Asked(table=table, week=week, entry=entry)
    with reading(migration):
        return _previewed(migration, asked)


def _previewed(migration: Migration, asked: Asked) -> Preview | None:
    with connect(migration.target) as connection, translated(asked.where):
        if not ledger.exists(connection):
            return None
        route = find_route(migration, connection, asked)
        if route is None:
            return None
        found = Preview(
            table=asked.table,
            head=route.way.head,
            to=route.way.to,
            taken=route.way.taken,
            changes=route.remapping.changes if route.remapping else (),
            displaced=displaced.count(connection, route.way.away),
        )
        newer = head_cut(migration, route.head)
        found = _with_foreign_rows(migration, connection, route, newer, found)
    try:
        older = older_cut(migration, route)
    except StateError as error:
        return replace(found, obstacle=str(error))
    return replace(found, rows=_row_counts(migration, route, older, newer))


def _with_foreign_rows(
    migration: Migration,
    connection: Connection,
    route: Route,
    newer: Cut | None,
    found: Preview,
) -> Preview:
    """Count and name the rows that aren't as the last move left them."""
    mapping = route.standing
    if ddl.read_table(connection, mapping) is None:
        return replace(found, obstacle=f"table {mapping.target_table} is gone from the target")
    if target_digest(connection, mapping) == route.head.digest:
        return replace(found, foreign_rows=0)
    if newer is None:
        return found
    known = exceptions.accepted(connection, migration.source, mapping.table)
    table = table_in(newer, mapping.table)
    expected = expect(newer, table, mapping, {row.key_hash for row in known})
    with (
        migration.state.workspace() as work,
        Differing(mapping, work / "target.sqlite") as differing,
    ):
        with transaction(connection, SNAPSHOT):
            proof, actual = prove(connection, mapping, newer, table, expected, accepted=known)
            differing.read_target(
                connection,
                wanted=adjust(expected.digest, proof.accepted),
                actual=actual,
                accepted=proof.accepted,
            )
        count = sum(1 for _ in differing.lacking(newer, table)) + differing.extra_rows
    shown = proof.differences
    if not migration.settings.show_keys:
        shown = tuple(replace(difference, key="") for difference in shown)
    return replace(found, foreign_rows=count, foreign=shown)


def _row_counts(
    migration: Migration, route: Route, older: Cut, newer: Cut | None
) -> RowCounts | None:
    """Count the rows of the way back by operation; None where that can't be told before."""
    if newer is None:
        return None
    if route.remapping is not None:
        return _counted_between(route.remapping, older, newer)
    table = table_in(older, route.asked.table)
    with migration.state.workspace() as scratch:
        steps = compare_cuts.changes(newer, older, table, route.mapping, scratch=scratch)
        ops = Counter(step.op for step in steps if isinstance(step, Change))
    return RowCounts(inserted=ops[Op.INSERT], updated=ops[Op.UPDATE], deleted=ops[Op.DELETE])


def _counted_between(remapping: Remapping, older: Cut, newer: Cut) -> RowCounts | None:
    """Count by key what differs between two cuts under two mappings; a bound for rows rewritten."""
    mapping = remapping.newer
    before = {c.name: remapping.before(c) for c in mapping.columns}
    same = {name: old.name for name, old in before.items() if old is not None}
    rekeyed = remapping.rekeyed or not mapping.key
    if rekeyed or encoding_in(older) != encoding_in(newer):
        return None
    anew = any(
        old is None or old.type.sql != mapping.column(name).type.sql for name, old in before.items()
    )
    key = {name: same[name] for name in mapping.key}
    return count_between(newer, older, mapping.table, key=key, columns=None if anew else same)


class Standing(NamedTuple):
    """Where a table stands that rollbacks have moved: its weeks, its proof, the last rollback."""

    turned: Turned
    proof: Proof
    rollback: int
    held: bool


@persistent
def standing_of(migration: Migration, table: str) -> Standing | None:
    """Return where a table stands that was ever rolled back; None for any other."""
    with connect(migration.target) as connection, translated(f"table {table}"):
        with transaction(connection, SNAPSHOT):
            moves = ledger.history(connection, migration.source, table)
            head = ledger.head(connection, migration.source, table)
            known = exceptions.accepted(connection, migration.source, table)
            held = table in ledger.holds(connection, migration.source)
        rollbacks = [move.entry for move in moves if move.restores is not None]
        if head is None or not rollbacks:
            return None
        return Standing(
            turned=turned(move.week for move in moves),
            proof=stored_proof(head, known),
            rollback=rollbacks[-1],
            held=held,
        )


@persistent
def table_of(migration: Migration, entry: int) -> str | None:
    """Return the table that an entry of the ledger moved; None where there is no such entry."""
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        if not ledger.exists(connection):
            return None
        return ledger.table_of(connection, migration.source, entry)
