"""What is made at the cutover only: collected from mappings and views, and tried on the target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from migration_assets.errors import MigrationError
from migration_assets.mapping.objects import NOT_MADE, without
from migration_assets.mapping.views import translate_views
from migration_assets.migration import Migration, persistent
from migration_assets.model import DeferredObject, SourceTable, TableMapping
from migration_assets.report.plan import Plan, PlannedObject, TablePlan
from migration_assets.report.weekly import TAKEN
from migration_assets.source.reader import catalog_in
from migration_assets.step import cut_for
from migration_assets.target import ddl, ledger
from migration_assets.target.connection import Target, connect, transaction, translated
from migration_assets.target.trial import Tried, try_out


def with_deferred(
    plan: Plan,
    tables: Sequence[SourceTable],
    views: Mapping[str, str],
    target: Target | None,
) -> Plan:
    """Return the plan with all that is deferred, tried where there is a target to ask."""
    mappings = {p.table: p.mapping for p in plan.tables if p.mapping is not None}
    pairs = [(t, mappings[t.name]) for t in tables if t.name in mappings]
    translated_views = translate_views(views, pairs)
    try:
        tried = try_on(target, pairs, translated_views) if target else None
    except MigrationError as error:
        tried = None
        plan = replace(
            plan, note=f"{plan.note}; what is made at the cutover was not tried: {error}"
        )
    found = tried if tried is not None else list(_untried(pairs, translated_views))
    asked = tried is not None
    return replace(
        plan,
        tables=tuple(_planned(p, found, asked=asked) for p in plan.tables),
        views=tuple(_object(t, asked=asked) for t in found if not t.table),
    )


@persistent
def deferred_at(migration: Migration, week: date) -> dict[str, str]:
    """Try what is deferred of all loaded tables and of a week's views; say of each how it went."""
    cut = cut_for(migration, week)
    catalog = catalog_in(cut)
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        pairs: list[tuple[SourceTable, TableMapping]] = []
        for table in catalog.tables:
            head = ledger.head(connection, migration.source, table.name)
            if head is not None:
                pairs.append((table, ledger.sealed_mapping(connection, head.mapping_hash)))
        with transaction(connection, "READ COMMITTED"):
            found = try_out(connection, pairs, translate_views(catalog.views, pairs))
    return {_place(t): t.problem or TAKEN for t in found}


def _place(tried: Tried) -> str:
    o = tried.object
    lost = " (left out)" if o.kind in NOT_MADE else ""
    return f"{tried.table or 'source'}: {o.kind} {o.name}{lost}"


def try_on(
    target: Target,
    tables: Sequence[tuple[SourceTable, TableMapping]],
    views: Sequence[DeferredObject],
) -> list[Tried]:
    """Try everything that is deferred, in one transaction that is undone."""
    where = f"target {target.name}"
    with (
        connect(target) as connection,
        translated(where),
        transaction(connection, "READ COMMITTED"),
    ):
        return try_out(connection, tables, views)


def _untried(
    tables: Iterable[tuple[SourceTable, TableMapping]], views: Iterable[DeferredObject]
) -> Iterable[Tried]:
    for table, mapping in tables:
        for o in mapping.deferred:
            yield Tried(table=table.name, object=o, problem=o.problem)
    for view in views:
        yield Tried(table="", object=view, problem=view.problem)


def _planned(plan: TablePlan, found: Sequence[Tried], *, asked: bool) -> TablePlan:
    own = [t for t in found if t.table == plan.table]
    lost = [_lost(t) for t in own if t.object.kind in NOT_MADE]
    later = [_object(t, asked=asked) for t in own if t.object.kind not in NOT_MADE]
    refused = [t.object for t in own if t.object.kind in NOT_MADE and t.object.definition]
    if plan.ddl and plan.mapping and refused:
        plan = replace(plan, ddl=first_load(without(plan.mapping, refused)))
    return replace(plan, left_out=(*lost, *plan.left_out), deferred=tuple(later))


def first_load(mapping: TableMapping) -> tuple[str, ...]:
    """Return the statements with which the first load makes a table."""
    statements = [ddl.create_table(mapping, lines=True), *ddl.create_indexes(mapping)]
    return tuple(statement.as_string(None) for statement in statements)


def _lost(tried: Tried) -> str:
    o = tried.object
    return f"{o.kind} {o.name} ({o.original}): {tried.problem}"


def _object(tried: Tried, *, asked: bool) -> PlannedObject:
    o = tried.object
    return PlannedObject(
        kind=o.kind,
        name=o.name,
        definition=o.definition,
        original=o.original,
        problem=tried.problem,
        tried=asked,
    )
