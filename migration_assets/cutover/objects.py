"""What is to be made at the cutover, and what can't be: tried on the target, counted at the source.

Making is one transaction a group. One object that fails doesn't undo the others: each is named, and
the next run goes on with what is missing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from migration_assets.errors import TargetError
from migration_assets.mapping.objects import CHECK, FOREIGN_KEY, LENGTH, NOT_MADE, VIEW
from migration_assets.mapping.views import translate_views
from migration_assets.model import Cut, SourceTable, TableMapping
from migration_assets.report.certificate import MadeObject
from migration_assets.source.reader import orphans
from migration_assets.source.violations import violating_rows
from migration_assets.target import constraints
from migration_assets.target.connection import (
    Connection,
    Target,
    connect,
    transaction,
    translated,
)
from migration_assets.target.constraints import Standing, Wanted
from migration_assets.target.sqlstate import is_transient, translate
from migration_assets.target.trial import Tried, try_out

Pairs = Sequence[tuple[SourceTable, TableMapping]]
_VIOLATED = "23"  # class of SQLSTATE: rows are in the way
# In the order in which the trial makes them; views read what the others may change.
GROUPS = (("checks", CHECK), ("lengths", LENGTH), ("foreign keys", FOREIGN_KEY), ("views", VIEW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is to be made; what the target can't take; what rows at the source are in the way of.

    `uncounted` are constraints of `wanted` whose rows in the way can't be counted beforehand.
    """

    wanted: tuple[Wanted, ...]
    impossible: tuple[MadeObject, ...]
    violated: tuple[MadeObject, ...]
    uncounted: tuple[str, ...] = ()


def plan(
    connection: Connection, pairs: Pairs, views: Mapping[str, str], cut: Cut, schema: str
) -> Planned:
    """Try everything on the target, undone, and count at the source what would be in the way."""
    with transaction(connection, "READ COMMITTED"):
        tried = try_out(connection, pairs, translate_views(views, pairs))
    mappings = {mapping.table: mapping for _, mapping in pairs}
    counts = {table.name: _in_the_way(cut, table, mapping) for table, mapping in pairs}
    wanted: list[Wanted] = []
    impossible: list[MadeObject] = []
    violated: list[MadeObject] = []
    uncounted: list[str] = []
    for found in tried:
        o = found.object
        if found.problem or o.kind in NOT_MADE:
            impossible.append(_named(found, found.problem))
            continue
        rows = counts.get(found.table, {}).get((o.kind, o.name), 0)
        if rows:
            violated.append(_named(found, f"{rows:,} rows at the source violate it"))
            continue
        if rows is None:
            uncounted.append(_named(found, "rows in its way can't be counted").text)
        wanted.append(Wanted(object=o, schema=schema, mapping=mappings.get(found.table)))
    return Planned(
        wanted=tuple(wanted),
        impossible=tuple(impossible),
        violated=tuple(violated),
        uncounted=tuple(uncounted),
    )


def _named(found: Tried, problem: str) -> MadeObject:
    o = found.object
    text = f"{problem} ({o.original})" if o.original else problem
    return MadeObject(kind=o.kind, table=found.table, name=o.name, problem=text)


def _in_the_way(
    cut: Cut, table: SourceTable, mapping: TableMapping
) -> dict[tuple[str, str], int | None]:
    """Count the rows that violate what is deferred, by kind and name; None: can't be counted."""
    counted: dict[tuple[str, str], int | None] = {
        (o.kind, o.name): rows for o, rows in violating_rows(cut, table, mapping).items()
    }
    without_parent = orphans(cut, table) if table.foreign_keys else []
    keys = [o for o in mapping.deferred if o.kind == FOREIGN_KEY]
    by_text: dict[str, int | None] = {}
    for number, key in enumerate(table.foreign_keys):
        by_text[key.text] = without_parent[number] if without_parent is not None else None
    counted |= {(o.kind, o.name): by_text.get(o.original) for o in keys}
    return counted


def in_the_way(connection: Connection, planned: Planned) -> list[str]:
    """Name objects of somebody else's on the target under the names of those to be made."""
    return [
        f"{w.table + ': ' if w.table else ''}{w.object.kind} {w.object.name}"
        for w in planned.wanted
        if constraints.standing(connection, w) is Standing.FOREIGN
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Where objects are made: `guard` runs first in every group's transaction.

    `tolerant` leaves out what rows are in the way of, instead of stopping.
    """

    target: Target
    guard: Callable[[Connection], None] = lambda _connection: None
    tolerant: bool = False
    at: Callable[[str], None] = lambda _stage: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What stands now, and what was left out since rows are in its way."""

    objects: tuple[MadeObject, ...]
    left_out: tuple[MadeObject, ...]


def make(making: Making, wanted: Sequence[Wanted]) -> Made:
    """Make all objects, group by group, and let foreign keys check the rows that stand.

    Raises `TargetError` at the end of a group in which any can't be made, naming each; what the
    group could make stays.
    """
    made: list[MadeObject] = []
    left_out: list[MadeObject] = []
    for group, kind in GROUPS:
        chosen = [w for w in wanted if w.object.kind == kind]
        done, refused = _group(making, group, chosen, _make_one)
        if kind == FOREIGN_KEY:
            done, invalid = _group(making, "foreign keys validated", done, _validate_one)
            _drop(making, invalid)
            refused += invalid
        made += [_of(w) for w in done]
        left_out += [_of(w, problem) for w, problem in refused]
    return Made(objects=tuple(made), left_out=tuple(left_out))


def _of(wanted: Wanted, problem: str = "") -> MadeObject:
    o = wanted.object
    return MadeObject(kind=o.kind, table=wanted.table, name=o.name, problem=problem)


_One = Callable[[Connection, Wanted], None]
_Refused = list[tuple[Wanted, str]]


def _group(
    making: Making, group: str, chosen: Iterable[Wanted], one: _One
) -> tuple[list[Wanted], _Refused]:
    """Make one group in one transaction; return what stands, and what rows are in the way of."""
    done: list[Wanted] = []
    refused: _Refused = []
    failed: list[str] = []
    with (
        connect(making.target) as connection,
        translated(f"cutover, {group}"),
        transaction(connection, "READ COMMITTED"),
    ):
        making.guard(connection)
        for wanted in chosen:
            problem, violated = _try(connection, wanted, one)
            if not problem:
                done.append(wanted)
            elif violated and making.tolerant:
                refused.append((wanted, problem))
            else:
                failed.append(_of(wanted, problem).text)
        making.at(f"making {group}")
        connection.execute("COMMIT")
        making.at(f"made {group}")
    if failed:
        raise TargetError(
            what=f"{len(failed)} objects can't be made: {'; '.join(failed)}",
            where=f"cutover, {group}",
            expected="all of them; those that could be made stand, and no data was changed",
            hint="mend what is in the way, then run again: it goes on with what is missing",
        )
    return done, refused


def _try(connection: Connection, wanted: Wanted, one: _One) -> tuple[str, bool]:
    """Make one in a savepoint; return why it can't be, and whether rows are in its way."""
    try:
        with connection.transaction():
            one(connection, wanted)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return translate(error, "").what, (error.sqlstate or "").startswith(_VIOLATED)
    except TargetError as error:
        return error.what, False
    return "", False


def _make_one(connection: Connection, wanted: Wanted) -> None:
    match constraints.standing(connection, wanted):
        case Standing.ABSENT:
            constraints.make(connection, wanted)
        case Standing.FOREIGN:
            raise TargetError(what="exists already and was not made here: rename or drop it")
        case Standing.OUTDATED:
            raise TargetError(what="an earlier attempt made it by another definition: drop it")
        case Standing.MADE | Standing.UNCHECKED:
            pass


def _validate_one(connection: Connection, wanted: Wanted) -> None:
    if constraints.standing(connection, wanted) is not Standing.MADE:
        constraints.validate(connection, wanted)


def _drop(making: Making, refused: _Refused) -> None:
    """Drop foreign keys that rows are in the way of: unchecked ones would refuse their updates."""
    if refused:
        _group(making, "foreign keys left out", [w for w, _ in refused], constraints.drop)
