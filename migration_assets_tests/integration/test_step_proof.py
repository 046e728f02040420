"""A step that can't be proved never shows: wrong deltas, wrong targets, each of them caught."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from migration_assets import manifests, standing, step
from migration_assets.errors import ProofError
from migration_assets.migration import Migration
from migration_assets.model import Delta
from migration_assets.source import delta_files
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    entries,
    load_week,
    run_week,
    snapshot,
    week,
    write_on_target,
)

WARES = """
CREATE TABLE ware (id INTEGER PRIMARY KEY, name TEXT, price REAL, weight INTEGER);
INSERT INTO ware VALUES (1, 'pen', 1.5, 10), (2, 'ink', 2.5, 20), (3, 'cup', 3.5, 30),
    (4, 'jar', 4.5, 40);
"""
WEEK = (
    "UPDATE ware SET price = 9.5 WHERE id = 1",
    "DELETE FROM ware WHERE id = 4",
    "INSERT INTO ware VALUES (5, 'hat', 5.5, 50)",
    "UPDATE ware SET weight = 'heavy' WHERE id = 3",
)


def stored_delta(migration: Migration, number: int) -> Delta:
    """Take the cut and store the delta as the asset does."""
    step.take_cut(migration, week(number))
    return step.make_delta(migration, "ware", week(number))


def forge(
    migration: Migration,
    delta: Delta,
    *,
    rows: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
    misfits: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> None:
    """Rewrite a stored delta so that its manifest, sums and counts agree with the forged rows."""
    changed, unfit = rows(pl.read_parquet(delta.rows_path)), misfits(_unfit(delta))
    changed.write_parquet(delta.rows_path)
    unfit.write_parquet(delta.misfits_path)
    manifest = delta.rows_path.parent / "manifest.json"
    fields = manifests.loads(manifest.read_text())
    fields |= {
        "rows_sha256": hashlib.sha256(delta.rows_path.read_bytes()).hexdigest(),
        "misfits_sha256": hashlib.sha256(delta.misfits_path.read_bytes()).hexdigest(),
        "misfits_in": unfit["entering"].sum(),
        "misfits_out": unfit.height - unfit["entering"].sum(),
    }
    for op in ("insert", "update", "delete"):
        fields[f"{op}s"] = changed.filter(pl.col("op") == op).height
    manifest.write_text(manifests.dumps(fields))
    found = delta_files.find(migration.state, "main", "ware", delta.week)
    assert found is not None
    delta_files.check(found)


def _unfit(delta: Delta) -> pl.DataFrame:
    return pl.read_parquet(delta.misfits_path)


def without(op: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Leave the rows of an operation out."""
    return lambda frame: frame.filter(pl.col("op") != op)


def with_value(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Let the updated row carry a wrong value."""
    return lambda frame: frame.with_columns(
        pl.when(pl.col("op") == "update")
        .then(pl.lit(value, dtype=frame.schema[column]))
        .otherwise(pl.col(column))
        .alias(column)
    )


def test_an_untouched_forgery_commits(make_migration: MakeMigration) -> None:
    """Rewriting the files by itself changes nothing: what the other tests forge is what is seen."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    change(migration, *WEEK)
    forge(migration, stored_delta(migration, 2))
    moved = carry(migration, 2, "ware")
    assert (moved.inserted, moved.updated, moved.deleted) == (1, 1, 2)
    assert_equal(migration)


FORGERIES: dict[str, tuple[dict[str, Any], str]] = {
    "an insert left out": ({"rows": without("insert")}, "id=5"),
    "an update left out": ({"rows": without("update")}, "id=1"),
    "the deletes left out": ({"rows": without("delete")}, "id=4"),
    "every row left out": ({"rows": lambda frame: frame.clear()}, "id=5"),
    "a wrong number": ({"rows": with_value("price", 9.25)}, "id=1: differs (price)"),
    "a wrong text": ({"rows": with_value("name", "pen ")}, "id=1: differs (name)"),
    "a null": ({"rows": with_value("weight", None)}, "id=1: differs (weight)"),
    "a misfit left out": (
        {"misfits": lambda frame: frame.clear()},
        "1 unfit rows missing, 0 too many",
    ),
    "a misfit twice": (
        {"misfits": lambda frame: pl.concat([frame, frame])},
        "0 unfit rows missing, 1 too many",
    ),
    "a misfit of other bytes": (
        {
            "misfits": lambda frame: frame.with_columns(
                pl.lit([b"\0" * 8, b"cup", b"\0" * 8, b"light"]).alias("values")
            )
        },
        "1 unfit rows missing, 1 too many",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_delta_that_is_wrong_on_purpose_does_not_commit(
    make_migration: MakeMigration, forgery: str
) -> None:
    """The proof reads the cut, never the delta; made again, the delta is right and goes through."""
    forged, named = FORGERIES[forgery]
    migration = make_migration(WARES)
    load_week(migration, 1)
    change(migration, *WEEK)
    forge(migration, stored_delta(migration, 2), **forged)
    before = snapshot(migration)
    with pytest.raises(ProofError) as caught:
        carry(migration, 2, "ware")
    assert named in str(caught.value)
    assert snapshot(migration) == before
    load_week(migration, 2)
    assert_equal(migration)


def test_a_delta_with_a_delete_too_many_does_not_commit(make_migration: MakeMigration) -> None:
    """The row would be lost in silence; it is named as missing instead."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    change(migration, "DELETE FROM ware WHERE id IN (2, 4)")
    both = pl.read_parquet(stored_delta(migration, 2).rows_path)
    change(migration, "INSERT INTO ware VALUES (2, 'ink', 2.5, 20)")
    forge(migration, stored_delta(migration, 3), rows=lambda _: both)
    before = snapshot(migration)
    with pytest.raises(ProofError, match="id=2: missing on the target"):
        carry(migration, 3, "ware")
    assert snapshot(migration) == before


def test_a_first_load_with_a_row_left_out_does_not_commit(make_migration: MakeMigration) -> None:
    """Nothing stands after it, not even the table."""
    migration = make_migration(WARES)
    forge(migration, stored_delta(migration, 1), rows=lambda frame: frame.head(3))
    with pytest.raises(ProofError, match="id=4: missing on the target"):
        carry(migration, 1, "ware")
    assert "ware" not in snapshot(migration)
    load_week(migration, 1)
    assert_equal(migration)


def test_a_keyless_load_with_a_copy_left_out_does_not_commit(
    make_migration: MakeMigration,
) -> None:
    """Two copies of three are not three."""
    migration = make_migration(
        "CREATE TABLE ware (name TEXT);INSERT INTO ware VALUES ('a'), ('a'), ('a');"
    )
    forge(migration, stored_delta(migration, 1), rows=lambda frame: frame.head(2))
    with pytest.raises(ProofError, match="missing on the target"):
        carry(migration, 1, "ware")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(
            lambda f: pl.concat([f, f.filter(pl.col("name") == "a")]), id="delete doubled"
        ),
        pytest.param(
            lambda f: pl.concat([f, f.filter(pl.col("name") == "z")]), id="insert doubled"
        ),
        pytest.param(lambda f: f.filter(pl.col("name") != "a"), id="delete left out"),
        pytest.param(lambda f: f.filter(pl.col("name") != "z"), id="insert left out"),
    ],
)
def test_a_keyless_delta_with_wrong_copies_does_not_commit(
    make_migration: MakeMigration, wrong: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """A copy too many or too few is a wrong load, not somebody else's write."""
    migration = make_migration(
        "CREATE TABLE ware (name TEXT);INSERT INTO ware VALUES ('a'), ('a'), ('a'), ('b');"
    )
    load_week(migration, 1)
    change(migration, "DELETE FROM ware WHERE rowid = 2", "INSERT INTO ware VALUES ('z')")
    forge(migration, stored_delta(migration, 2), rows=wrong)
    before = snapshot(migration)
    with pytest.raises(ProofError):
        carry(migration, 2, "ware")
    assert snapshot(migration) == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda d: d.rows_path.write_bytes(b"PAR1"), id="rows cut off"),
        pytest.param(lambda d: d.rows_path.unlink(), id="rows gone"),
        pytest.param(lambda d: d.misfits_path.write_bytes(b""), id="misfits empty"),
        pytest.param(
            lambda d: (d.rows_path.parent / "manifest.json").write_text('{"source": "ma'),
            id="manifest cut off",
        ),
        pytest.param(
            lambda d: (d.rows_path.parent / "manifest.json").write_text("{}"), id="manifest empty"
        ),
        pytest.param(
            lambda d: (d.rows_path.parent / "mapping.json").write_text("{"), id="mapping cut off"
        ),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_delta_is_made_again(
    make_migration: MakeMigration, damage: Callable[[Delta], object], number: int
) -> None:
    """It is only a cache of what its cuts say, at a first load and in a later week."""
    migration = make_migration(WARES)
    if number == 2:
        load_week(migration, 1)
        change(migration, *WEEK)
    damage(stored_delta(migration, number))
    carry(migration, number, "ware")
    assert_equal(migration)
    assert_proved(migration, "ware")


def test_a_delta_of_another_base_is_made_again(make_migration: MakeMigration) -> None:
    """Stored before the head moved, it would skip what came between."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    change(migration, "UPDATE ware SET price = 7 WHERE id = 2")
    step.take_cut(migration, week(2))
    change(migration, *WEEK)
    early = stored_delta(migration, 3)
    assert early.base_cut is not None
    carry(migration, 2, "ware")
    moved = carry(migration, 3, "ware")
    assert (moved.inserted, moved.updated) == (1, 1)
    assert_equal(migration)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param("NEW.price := NEW.price + 0.5; RETURN NEW", "price", id="alters a value"),
        pytest.param("NEW.name := trim(NEW.name); RETURN NEW", "name", id="trims a text"),
        pytest.param("RETURN NULL", "missing on the target", id="leaves the row out"),
    ],
)
def test_a_trigger_of_the_target_that_changes_what_is_loaded_is_caught(
    make_migration: MakeMigration, body: str, named: str
) -> None:
    """PostgreSQL reports success; the proof doesn't, and names row and column."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    write_on_target(
        migration,
        f"CREATE FUNCTION improve() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body}; END$$",
        "CREATE TRIGGER improving BEFORE INSERT ON ware FOR EACH ROW EXECUTE FUNCTION improve()",
    )
    change(migration, "INSERT INTO ware VALUES (6, ' tea ', 6.5, 60)")
    before = snapshot(migration)
    result = run_week(migration, 2)["ware"]
    assert isinstance(result, ProofError)
    assert "id=6" in str(result)
    assert named in str(result)
    assert snapshot(migration) == before
    write_on_target(migration, "DROP TRIGGER improving ON ware")
    load_week(migration, 2)
    assert_equal(migration)


def test_a_delete_that_a_trigger_swallows_is_caught(make_migration: MakeMigration) -> None:
    """A row that stays on the target is as wrong as one that is missing."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    write_on_target(
        migration,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
        "CREATE TRIGGER keeping BEFORE DELETE ON ware FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    change(migration, "DELETE FROM ware WHERE id = 2")
    result = run_week(migration, 2)["ware"]
    assert isinstance(result, ProofError)
    assert "id=2: on the target but not in the cut" in str(result)
    assert len(entries(migration, "ware")) == 1


CELLS = """
CREATE TABLE cell (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, n NUMERIC,
    flag BOOLEAN, d DATE, at DATETIME);
INSERT INTO cell VALUES (1, 0, 0.5, '', x'', 1.5, 0, '2026-01-01', '2026-01-01 00:00:00'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("i", "1"),
        ("i", "NULL"),
        ("r", "0.5000000000000001"),
        ("r", "'NaN'"),
        ("t", "NULL"),
        ("t", "' '"),
        ("b", "NULL"),
        ("b", r"'\x00'"),
        ("n", "1.50"),
        ("flag", "NULL"),
        ("flag", "true"),
        ("d", "'2026-01-02'"),
        ("d", "'infinity'"),
        ("at", "'2026-01-01 00:00:00.000001'"),
    ],
)
def test_verify_sees_any_cell_that_changes_and_names_it(
    make_migration: MakeMigration, column: str, value: str
) -> None:
    """NULL and empty, the last bit of a double, a numeric's scale, a microsecond."""
    migration = make_migration(CELLS)
    load_week(migration, 1)
    assert_proved(migration, "cell")
    write_on_target(migration, f"UPDATE cell SET {column} = {value} WHERE id = 1")
    found = standing.verify(migration, "cell")
    assert found is not None
    assert found[0].source_total != found[0].target_total
    assert [(d.key, d.columns) for d in found[0].differences] == [("id=1", (column,))]


def test_verify_tells_minus_zero_from_zero(make_migration: MakeMigration) -> None:
    """The two are equal to every comparison, and not the same bytes."""
    migration = make_migration(
        "CREATE TABLE z (id INTEGER PRIMARY KEY, r REAL);INSERT INTO z VALUES (1, 0.0);"
    )
    load_week(migration, 1)
    write_on_target(migration, "UPDATE z SET r = '-0.0'")
    found = standing.verify(migration, "z")
    assert found is not None
    assert not found[0].holds


def test_verify_reads_a_table_as_one_moment(make_migration: MakeMigration) -> None:
    """It writes nothing, and says against which week and cut it compared."""
    migration = make_migration(WARES)
    load_week(migration, 1)
    before = snapshot(migration)
    found = standing.verify(migration, "ware")
    assert found is not None
    proof, mapping, _ = found
    assert (proof.week, proof.source_rows, proof.target_rows) == (week(1), 4, 4)
    assert proof.mapping_hash == mapping.hash
    assert proof.holds
    assert snapshot(migration) == before


def test_verify_of_a_table_never_loaded_is_no_verdict(make_migration: MakeMigration) -> None:
    """Neither equal nor different: there is nothing to compare, with or without a ledger."""
    migration = make_migration(WARES)
    assert standing.verify(migration, "ware") is None
    step.bootstrap(migration)
    assert standing.verify(migration, "ware") is None


def test_a_proof_does_not_hold_if_any_part_of_it_does_not(make_migration: MakeMigration) -> None:
    """Rows, digest and quarantine: each alone is enough to stop."""
    migration = make_migration(WARES)
    proof = load_week(migration, 1)["ware"].proof
    assert proof.holds
    for part in ("rows_equal", "digest_equal", "quarantine_equal"):
        assert not dataclasses.replace(proof, **{part: False}).holds
