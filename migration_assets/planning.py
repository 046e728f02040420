"""Look at source and target and say what the migration will do; nothing stays behind anywhere.

The source is copied as a cut is, into a folder of the system's temporary files that is gone
afterwards. The target is asked read-only, and only for a short while.
"""

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from migration_assets.deferring import first_load, with_deferred
from migration_assets.errors import (
    MigrationError,
    SettingsError,
    StateError,
    TerminalError,
)
from migration_assets.evolving import follow
from migration_assets.mapping.names import TableNames, allocate
from migration_assets.mapping.rows import key_text
from migration_assets.model import (
    Catalog,
    Cut,
    Head,
    SourceTable,
    TableMapping,
)
from migration_assets.proposal import check_named, propose_for
from migration_assets.report.plan import (
    NEW,
    REFUSED,
    SEALED,
    Plan,
    TablePlan,
    Unfit,
    columns,
    counted_columns,
    key_reason,
)
from migration_assets.settings import Settings
from migration_assets.source import cut as cuts
from migration_assets.source import taking
from migration_assets.source.catalog import cached, read_catalog, select
from migration_assets.source.connection import open_cut
from migration_assets.source.declared import not_carried
from migration_assets.source.reader import fitted_rows
from migration_assets.state import LocalState
from migration_assets.target import ledger
from migration_assets.target.connection import (
    Connection,
    Target,
    connect,
    transaction,
    translated,
)
from migration_assets.target.present import HINT, Present, read_present

PATIENCE = 5.0  # seconds to wait for a target, without which a plan is only a proposal
_SHOWN_KEYS = 3
_ROOM = 1.1  # a copy's own size, and a little for the files of SQLite's checks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the target answered: heads with their sealed mappings, and tables that are there."""

    note: str
    answered: bool = False
    heads: Mapping[str, tuple[Head, TableMapping]] = field(
        default_factory=dict[str, tuple[Head, TableMapping]]
    )
    there: Mapping[tuple[str, str], Present] = field(default_factory=dict[tuple[str, str], Present])


def make(
    settings: Settings,
    target: Target | None,
    *,
    absent: str = "",
    choose: Callable[[list[str]], Sequence[str]] = lambda names: names,
) -> Plan:
    """Return the plan of these settings.

    `target` is None where there is none to ask, and `absent` says why. `choose` picks from the
    names of all tables those to plan. Raises the errors of a source that can't be copied, and
    `SettingsError`; a target that doesn't answer is noted in the plan.
    """
    with _copied(settings) as cut:
        with open_cut(cut) as connection:
            catalog = read_catalog(connection, cut.source)
            wanted = select(catalog, settings.include, settings.exclude)
            gone = _gone_tables(settings, catalog)
            chosen = set(choose([*(t.name for t in wanted.tables), *gone]))
            shapes = [t for t in wanted.tables if t.name in chosen]
            left_out = {t.name: not_carried(connection, t) for t in shapes}
        check_named(settings, catalog)
        names = allocate(catalog.tables, settings.targets)
        known = _ask(settings, target, absent, shapes, names)
        plans = [_plan(settings, cut, table, known) for table in shapes]
        plans += [_gone(name) for name in gone if name in chosen]
    plan = Plan(
        source=str(settings.source),
        note=known.note,
        answered=known.answered,
        tables=tuple(
            replace(plan, left_out=(*plan.left_out, *left_out.get(plan.table, ())))
            for plan in plans
        ),
        left_out={
            name: _left_out(settings, name, why)
            for name, why in wanted.left_out.items()
            if name not in catalog.views
        },
    )
    return with_deferred(plan, shapes, catalog.views, target if known.answered else None)


def _gone_tables(settings: Settings, catalog: Catalog) -> list[str]:
    """Return the tables that an earlier cut had and the source has no more: a run tries them."""
    known = cached(LocalState(settings.state), settings.source_name)
    tables = select(known, settings.include, settings.exclude).tables if known else ()
    return [table.name for table in tables if catalog.table(table.name) is None]


def _gone(name: str) -> TablePlan:
    problem = "the source has no such table any more; to do: restore it, or add it to `exclude`"
    return TablePlan(table=name, state=REFUSED, problems=(problem,))


def _left_out(settings: Settings, name: str, reason: str) -> str:
    """Say of a table that is left out that what the settings say of it is kept for later."""
    waits = "; what `tables` says of it waits until it is carried"
    return reason + waits if name in settings.tables else reason


@contextmanager
def _copied(settings: Settings) -> Generator[Cut]:
    """Lend a copy of the source, taken as a cut is, outside the state folder."""
    with tempfile.TemporaryDirectory(prefix="migration-plan-") as folder:
        _require_room(settings.source, Path(folder))
        yield taking.take(
            LocalState(Path(folder)),
            settings.source_name,
            settings.source,
            datetime.now(UTC).date(),
            timeout=settings.source_timeout,
        )


def _require_room(source: Path, folder: Path) -> None:
    size = source.stat().st_size if source.is_file() else 0
    free = shutil.disk_usage(folder).free
    if free < _ROOM * size:
        raise StateError(
            what=f"{free:,} bytes are free, and a copy of the source needs {size:,}",
            where=f"temporary folder {folder.parent}",
            expected="room for one copy while the plan is made",
            hint="set TMPDIR to a folder with more room",
        )


def _ask(
    settings: Settings,
    target: Target | None,
    absent: str,
    tables: Sequence[SourceTable],
    names: Mapping[str, TableNames],
) -> _Known:
    """Ask the target, read-only, what stands there; where it doesn't answer, that is noted."""
    if target is None:
        return _Known(note=absent)
    patient = replace(target, patience=min(PATIENCE, target.patience))
    where = f"target {target.name}"
    try:
        with (
            connect(patient) as connection,
            translated(where),
            transaction(connection, "REPEATABLE READ READ ONLY"),
        ):
            return _read(connection, settings, target, tables, names)
    except SettingsError:
        raise
    except MigrationError as error:
        return _Known(note=f"the target could not be asked, so this is a proposal: {error}")


def _read(
    connection: Connection,
    settings: Settings,
    target: Target,
    tables: Sequence[SourceTable],
    names: Mapping[str, TableNames],
) -> _Known:
    heads: dict[str, tuple[Head, TableMapping]] = {}
    if ledger.exists(connection):
        for table in tables:
            head = ledger.head(connection, settings.source_name, table.name)
            if head is not None:
                heads[table.name] = (head, ledger.sealed_mapping(connection, head.mapping_hash))
    places = {(m.target_schema, m.target_table) for _, m in heads.values()}
    places |= {(target.schema, names[t.name].table) for t in tables if t.name not in heads}
    read = {place: read_present(connection, *place) for place in sorted(places)}
    there = {place: found for place, found in read.items() if found is not None}
    return _Known(
        note=f"target {target.name}: {len(heads)} of {len(tables)} tables were loaded already",
        answered=True,
        heads=heads,
        there=there,
    )


def _plan(settings: Settings, cut: Cut, table: SourceTable, known: _Known) -> TablePlan:
    """Plan one table; what can't be carried is refused by name, and the others go on."""
    try:
        if table.name in known.heads:
            return _sealed(settings, cut, table, known)
        return _new(settings, cut, table, known)
    except TerminalError as error:
        return TablePlan(table=table.name, state=REFUSED, problems=(str(error),))


def _new(settings: Settings, cut: Cut, table: SourceTable, known: _Known) -> TablePlan:
    mapping, census = propose_for(settings, cut, table, target_schema=settings.target_schema)
    taken = known.there.get((mapping.target_schema, mapping.target_table))
    return _counted(
        settings,
        cut,
        table,
        mapping,
        TablePlan(
            table=table.name,
            state=NEW,
            target=_name(mapping),
            key=mapping.key,
            key_reason=key_reason(table, mapping, census, settings.override(table.name)),
            columns=counted_columns(table, mapping, census, show_keys=settings.show_keys),
            ddl=first_load(mapping),
            left_out=mapping.notes,
            mapping=mapping,
            problems=(f"{taken.text(mapping)}; to do: {HINT}",) if taken else (),
        ),
    )


def _sealed(settings: Settings, cut: Cut, table: SourceTable, known: _Known) -> TablePlan:
    head, base = known.heads[table.name]
    evolution = follow(settings, base, table, cut, older=lambda: _cut_of(settings, head))
    mapping = evolution.mapping
    problems = [f"{found.what}; to do: {found.to_do}" for found in evolution.unsafe]
    if (mapping.target_schema, mapping.target_table) not in known.there:
        problems.append(f"{_name(mapping)} is gone from the target: restore it from a backup")
    plan = TablePlan(
        table=table.name,
        state=SEALED,
        target=_name(mapping),
        head=head.week,
        key=mapping.key,
        key_reason="sealed by the first load" if mapping.key == base.key else "as it will be",
        columns=columns(mapping),
        left_out=mapping.notes,
        mapping=mapping,
        pending=() if evolution.unsafe else evolution.changes,  # they wait as well
        problems=tuple(problems),
    )
    return plan if evolution.unsafe else _counted(settings, cut, table, mapping, plan)


def _cut_of(settings: Settings, head: Head) -> Cut | None:
    """Return the cut of a table's head; without it, renamed columns can't be told from others."""
    try:
        return cuts.find(LocalState(settings.state), settings.source_name, head.cut)
    except StateError:
        return None


def _counted(
    settings: Settings, cut: Cut, table: SourceTable, mapping: TableMapping, plan: TablePlan
) -> TablePlan:
    """Return the plan with its rows counted, and those that don't fit."""
    count = unfit = 0
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    keys: list[str] = []
    for row, (_, misfits) in fitted_rows(cut, table, mapping):
        count += 1
        if not misfits:
            continue
        unfit += 1
        for column, reason in misfits:
            reasons[column][reason] += 1
        if settings.show_keys and mapping.key and len(keys) < _SHOWN_KEYS:
            keys.append(key_text(mapping, row))
    return replace(
        plan,
        rows=count,
        unfit=Unfit(
            rows=unfit,
            limit=settings.quarantine_limit(count),
            reasons={column: dict(counts) for column, counts in reasons.items()},
            keys=tuple(keys),
        ),
    )


def _name(mapping: TableMapping) -> str:
    return f"{mapping.target_schema}.{mapping.target_table}"
