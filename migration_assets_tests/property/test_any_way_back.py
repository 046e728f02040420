"""Any schema that changed from week to week: every week can be taken back, and comes again."""

import shutil
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets import undo
from migration_assets.source import cut as cuts
from migration_assets.target import ledger
from migration_assets.target.connection import connect
from migration_assets_tests.fixtures_migration import assert_equal, assert_proved, week
from migration_assets_tests.property.test_any_drift import Life, lives
from migration_assets_tests.random_schemas import Drift, Rows, Table


@settings(max_examples=12)
@given(life=lives(), data=st.data())
def test_any_week_can_be_taken_back_and_comes_again(
    url: str,
    folder: Path,
    life: tuple[Table, Rows, list[tuple[Drift, Rows]]],
    data: st.DataObject,
) -> None:
    """The table equals the cut of the week it goes back to, under that week's mapping."""
    table, found, weeks = life
    source = folder / f"{table.name}.sqlite"
    source.unlink(missing_ok=True)
    alive = Life(source, folder / table.name, url, table)
    alive.write(tuple(table.ddl()), found)
    alive.load(1, None)
    last = 1
    for number, (drift, more) in enumerate(weeks, 2):
        if not alive.write(drift.statements, more):
            break  # rows that the new constraints refuse: no application gets there
        alive.load(number, drift)
        last = number
    for _ in range(2 if last > 1 else 0):
        before = head(alive)
        to = data.draw(st.integers(1, last - 1))
        moved = undo.rollback(alive.migration, table.name, week=week(to + 1), run="test")
        if moved is not None:
            assert_at(alive, to)
            undo.rollback(alive.migration, table.name, entry=moved.entry, run="test")
            assert head(alive) == before
            assert_at(alive, last)
    shutil.rmtree(folder / table.name)


def head(alive: Life) -> tuple[str, str]:
    """Return the cut and the mapping at which the table stands."""
    with connect(alive.migration.target) as connection:
        found = ledger.head(connection, "main", alive.name)
        assert found is not None
        return found.cut, found.mapping_hash


def assert_at(alive: Life, number: int) -> None:
    """Let the table be equal to the cut of a week."""
    migration = alive.migration
    cut = next(c for c in cuts.cuts(migration.state, "main") if c.week == week(number))
    gone = [name.lower() for name in alive.gone]
    assert_equal(migration, alive.name, file=cut.path, extra_columns=gone)
    assert_proved(migration, alive.name)
