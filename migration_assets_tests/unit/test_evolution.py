"""How a sealed mapping follows its table, without any database."""

from dataclasses import replace

import pytest

from migration_assets.mapping import document
from migration_assets.mapping.evidence import Evidence, Likeness, ask, candidates
from migration_assets.mapping.evolution import Evolution, evolve
from migration_assets.mapping.names import allocate
from migration_assets.mapping.propose import propose
from migration_assets.mapping.types import BIGINT, DATE, DOUBLE, NUMERIC, TEXT
from migration_assets.model import (
    ColumnCensus,
    ColumnOverride,
    Kind,
    Policy,
    SourceColumn,
    SourceIndex,
    SourceTable,
    TableMapping,
    TableOverride,
    TargetType,
)

ORDERS = SourceTable(
    source="main",
    name="orders",
    columns=(
        SourceColumn(name="id", declared="INTEGER", key=1),
        SourceColumn(name="placed", declared="TEXT"),
        SourceColumn(name="amount", declared="INTEGER", not_null=True),
    ),
    rowid_alias="id",
    indexes=(SourceIndex(name="by_placed", columns=("placed",), unique=False),),
)
FULL = ColumnCensus(nulls=0, classes={"integer": 5}, fits={BIGINT: 5})
TEXTS = ColumnCensus(nulls=0, classes={"text": 5}, fits={TEXT: 5})
EMPTY = ColumnCensus(nulls=5, classes={}, fits={})
CENSUS = {"id": FULL, "placed": TEXTS, "amount": FULL}


def sealed(table: SourceTable = ORDERS) -> TableMapping:
    """Return the mapping that a first load sealed."""
    return propose(table, CENSUS, target_schema="public", names=allocate([table])[table.name])


def followed(
    table: SourceTable,
    override: TableOverride | None = None,
    evidence: Evidence | None = None,
    base: TableMapping | None = None,
) -> Evolution:
    """Return how the sealed mapping follows a table."""
    return evolve(
        base or sealed(),
        table,
        names=allocate([table])[table.name],
        override=override or TableOverride(),
        evidence=evidence or Evidence(),
    )


def with_columns(*columns: SourceColumn) -> SourceTable:
    """Return the table with other columns."""
    return replace(ORDERS, columns=columns)


def added(name: str, declared: str = "TEXT") -> SourceTable:
    """Return the table with one more column."""
    return with_columns(*ORDERS.columns, SourceColumn(name=name, declared=declared))


def test_a_table_that_did_not_change_gives_back_its_mapping() -> None:
    """And asks nothing, whatever else is in the source by then."""
    base = sealed()
    neighbour = replace(ORDERS, name="orders_placed_idx", indexes=(), rowid_alias=None)
    names = allocate([neighbour, ORDERS])["orders"]
    assert names.indexes["by_placed"] != base.indexes[0].name
    found = evolve(base, ORDERS, names=names)
    assert found.mapping is base
    assert (found.changed, found.changes, found.unsafe) == (False, (), ())
    assert ask(base, ORDERS, TableOverride()).none


def test_what_follows_a_change_follows_no_further() -> None:
    """The evolved mapping is a fixed point, and its document is whole."""
    table = with_columns(*ORDERS.columns[::2], SourceColumn(name="note", declared="TEXT"))
    first = followed(replace(table, indexes=()), evidence=Evidence(census={"note": TEXTS}))
    assert first.changed
    assert first.mapping.kept == ("placed",)
    assert document.loads(document.dumps(first.mapping)) == first.mapping
    again = followed(replace(table, indexes=()), base=first.mapping)
    assert again.mapping is first.mapping


def test_a_policy_is_no_part_of_the_mapping() -> None:
    """A change of it is no change of the table."""
    for policy in Policy:
        assert followed(ORDERS, TableOverride(policy=policy)).mapping == sealed()


def test_only_what_policies_want_to_know_is_asked() -> None:
    """The sealed type first; what it may widen to where it may."""
    told = {"amount": ColumnOverride(policy=Policy.WIDEN), "placed": ColumnOverride()}
    asked = ask(sealed(), ORDERS, TableOverride(policy=Policy.FAIL, columns=told))
    assert asked.fits["placed"] == (TEXT,)
    assert asked.fits["amount"][:3] == (BIGINT, NUMERIC, DOUBLE)
    assert ask(sealed(), ORDERS, TableOverride(policy=Policy.FAIL), policies=False).none


def test_a_column_widens_to_the_narrowest_type_that_holds_every_value() -> None:
    """And to none where none does: the rest is quarantined."""
    widen = TableOverride(policy=Policy.WIDEN)
    tried = {BIGINT: 3, NUMERIC: 1, DOUBLE: 0, TEXT: 0}
    found = followed(ORDERS, widen, Evidence(misfits={"amount": tried}))
    assert found.mapping.column("amount").type == DOUBLE
    none = followed(ORDERS, widen, Evidence(misfits={"amount": {BIGINT: 3, TEXT: 1}}))
    assert not none.changed


@pytest.mark.parametrize(
    ("kind", "declared", "expected"),
    [
        (BIGINT, "INTEGER", [Kind.NUMERIC, Kind.DOUBLE, Kind.TEXT, Kind.BYTEA]),
        (DATE, "DATE", [Kind.BIGINT, Kind.NUMERIC, Kind.TEXT, Kind.BYTEA]),
        (
            TargetType(kind=Kind.NUMERIC, precision=10, scale=2),
            "DECIMAL(10,2)",
            [Kind.NUMERIC, Kind.DOUBLE, Kind.TEXT, Kind.BYTEA],
        ),
        (NUMERIC, "DECIMAL(10,2)", [Kind.DOUBLE, Kind.TEXT, Kind.BYTEA]),
        (TEXT, "INTEGER", [Kind.BYTEA]),
    ],
)
def test_a_type_widens_up_its_ladder(kind: TargetType, declared: str, expected: list[Kind]) -> None:
    """Never down, and never to a form that nobody chose."""
    assert [rung.kind for rung in candidates(kind, declared, in_key=False)] == expected
    in_key = candidates(kind, declared, in_key=True)
    assert not {Kind.NUMERIC, Kind.DOUBLE} & {rung.kind for rung in in_key}


@pytest.mark.parametrize(
    ("rows", "alike", "distinct", "proposed"),
    [(100, 95, 50, True), (100, 89, 50, False), (100, 100, 2, False), (3, 3, 3, True)],
)
def test_a_rename_needs_values_that_agree_and_differ_among_themselves(
    rows: int, alike: int, distinct: int, *, proposed: bool
) -> None:
    """Two columns of flags agree by chance."""
    table = with_columns(ORDERS.columns[0], SourceColumn(name="at", declared="TEXT"))
    likeness = {("placed", "at"): Likeness(rows=rows, alike=alike, distinct=distinct)}
    found = followed(
        replace(table, indexes=()), evidence=Evidence(census={"at": TEXTS}, likeness=likeness)
    )
    assert bool(found.unsafe) is proposed


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (TableOverride(target="other"), "it was loaded as orders"),
        (TableOverride(key=("none",)), "columns that aren't there: none"),
        (
            TableOverride(key=("amount",), columns={"amount": ColumnOverride(type="numeric")}),
            "column amount can't be in a key",
        ),
        (
            TableOverride(columns={"note": ColumnOverride(renamed_from="amount")}),
            "no such column of the table is gone",
        ),
    ],
)
def test_settings_that_do_not_apply_are_named(told: TableOverride, what: str) -> None:
    """Before anything is done, with what to mend."""
    found = followed(added("note"), told, Evidence(census={"note": EMPTY}))
    assert what in found.unsafe[0].what
    assert "mend" in found.unsafe[0].to_do or "set" in found.unsafe[0].to_do


def test_a_new_column_takes_no_name_that_another_has_had() -> None:
    """Neither one that stands nor one that was kept."""
    base = replace(sealed(), kept=("note",))
    for name in ("note", "Placed", "xmin"):
        found = followed(
            added(name), evidence=Evidence(census={name: EMPTY}), base=document.sealed(base)
        )
        targets = [c.target for c in found.mapping.columns]
        assert len({*targets, "note", "xmin"}) == len(targets) + 2


def test_a_column_without_values_stays_open_until_it_has_some() -> None:
    """A census that found none changes nothing."""
    first = followed(added("note", "BLOB"), evidence=Evidence(census={"note": EMPTY}))
    assert first.mapping.column("note").open
    table = added("note", "BLOB")
    still = followed(table, evidence=Evidence(census={"note": EMPTY}), base=first.mapping)
    assert not still.changed
    then = followed(table, evidence=Evidence(census={"note": TEXTS}), base=first.mapping)
    assert (then.mapping.column("note").type, then.mapping.column("note").open) == (TEXT, False)


def test_a_default_of_the_source_is_followed() -> None:
    """One that comes, and one that goes."""
    columns = tuple(replace(c, default="7" if c.name == "amount" else "") for c in ORDERS.columns)
    table = replace(ORDERS, columns=columns)
    found = followed(table)
    assert found.mapping.column("amount").default == "7"
    assert found.changes == ("column amount has another default",)
    assert not followed(table, base=found.mapping).changed
    assert followed(ORDERS, base=found.mapping).mapping == sealed()


def test_a_name_that_yaml_would_misread_is_quoted() -> None:
    """What is proposed can be pasted."""
    table = replace(ORDERS, rowid_alias=None, columns=ORDERS.columns[1:])
    table = replace(
        table,
        columns=(*table.columns, SourceColumn(name="no: 1", declared="TEXT", not_null=True, key=1)),
    )
    found = followed(table, evidence=Evidence(census={"no: 1": TEXTS}))
    assert '`key: ["no: 1"]` below `tables: orders`' in found.unsafe[0].to_do
