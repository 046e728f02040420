"""What the six checks of a table show in Dagster: after a step, for a covered week, run alone."""

import dagster as dg
import psycopg
import pytest

from migration_assets.defs.resources import open_migration
from migration_assets.defs.tables import aurora_key
from migration_assets.migration import Migration
from migration_assets.repair import repair
from migration_assets.report.checks import (
    CHECKS,
    CONTENT_DIGEST,
    FOREIGN_KEYS,
    MOVED,
    NOW,
    PROOFS,
    QUARANTINE,
    ROUND_TRIP,
    ROW_COUNT,
    SCHEMA,
    STORED,
)
from migration_assets.step import take_cut
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week

TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers, amount REAL);
CREATE INDEX orders_customer ON orders (customer);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO orders VALUES (1, 1, 19.9), (2, 2, 5), (3, NULL, 0.5);
"""
ORDERS = aurora_key("orders")
Checked = dict[str, dg.AssetCheckEvaluation]


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline of two tables that were loaded."""
    made = make_pipeline(TABLES)
    assert made.run(1).success
    return made


def checks_of(pipeline: Pipeline, run_id: str, table: str = "orders") -> Checked:
    """Return a table's evaluations of a run, by check."""
    checked = pipeline.checked(run_id)
    return {name: found for (asset, name), found in checked.items() if asset == f"aurora/{table}"}


def alone(pipeline: Pipeline, number: int, *names: str) -> Checked:
    """Run checks of the orders alone; return their evaluations."""
    return checks_of(pipeline, pipeline.run_checks(number, ORDERS, *names).run_id)


def shown(found: dg.AssetCheckEvaluation) -> dict[str, object]:
    """Return what a check's page shows, as plain values."""
    return {name: value.value for name, value in found.metadata.items()}


def test_a_steps_checks_say_in_a_sentence_what_was_compared(pipeline: Pipeline) -> None:
    """Six sentences with counts of both sides, and the moment at which each was read."""
    pipeline.change("INSERT INTO orders VALUES (4, 1, 2.5); DELETE FROM orders WHERE id = 1;")
    found = checks_of(pipeline, pipeline.run(2).run_id)
    assert {name: evaluation.description for name, evaluation in found.items()} == {
        ROW_COUNT: "3 rows in the cut = 3 on the target + 0 in quarantine",
        CONTENT_DIGEST: "the digests of 3 rows are equal on both sides",
        QUARANTINE: "0 rows of the cut don't fit, 0 are in quarantine: the same rows",
        ROUND_TRIP: "1 changed and 3 sampled rows read back: every value as the cut has it",
        SCHEMA: (
            "3 columns and 2 keys and indexes stand as the mapping made them;"
            " the cut of 2024-10-13 has its columns"
        ),
        FOREIGN_KEYS: "1 foreign key: every row has its parent, in the cut and on the target",
    }
    basis = {name: shown(evaluation)["basis"] for name, evaluation in found.items()}
    assert basis == dict.fromkeys((*PROOFS, ROUND_TRIP), MOVED) | dict.fromkeys(
        (SCHEMA, FOREIGN_KEYS), NOW
    )
    assert all(shown(evaluation)["to_do"] == "nothing" for evaluation in found.values())
    assert all(evaluation.passed for evaluation in found.values())


def test_counts_are_whole_numbers_so_that_dagster_plots_them(pipeline: Pipeline) -> None:
    """Each check has some, and none is text."""
    found = alone(pipeline, 1, *CHECKS)
    for evaluation in found.values():
        assert any(isinstance(v, dg.IntMetadataValue) for v in evaluation.metadata.values())
    assert shown(found[CONTENT_DIGEST])["source_rows_digested"] == 3
    assert shown(found[ROUND_TRIP])["sampled_rows_read"] == 3
    assert shown(found[FOREIGN_KEYS])["foreign_keys"] == 1


def test_a_covered_weeks_checks_show_the_stored_proof_and_look_at_the_rest_anew(
    pipeline: Pipeline,
) -> None:
    """Against the head's cut, and all of them say so."""
    assert pipeline.run(3).success
    found = checks_of(pipeline, pipeline.run(2).run_id)
    assert found.keys() == set(CHECKS)
    for name, evaluation in found.items():
        assert evaluation.passed
        assert shown(evaluation)["head_week"] == str(week(3))
        assert shown(evaluation)["basis"] == (STORED if name in PROOFS else NOW)
        assert f"week {week(2)} is covered by the head at {week(3)}" in str(evaluation.description)


def test_a_covered_week_warns_where_the_target_was_changed_since(pipeline: Pipeline) -> None:
    """The stored proof is of then, and green; rows that are read back now tell."""
    pipeline.on_target("UPDATE public.orders SET amount = 1 WHERE id = 2")
    outcome = pipeline.run(1)
    assert outcome.success
    found = checks_of(pipeline, outcome.run_id)
    assert found[ROW_COUNT].passed
    assert not found[ROUND_TRIP].passed
    assert found[ROUND_TRIP].severity is dg.AssetCheckSeverity.WARN
    assert "id=2" in str(shown(found[ROUND_TRIP])["differences"])


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_runs_alone(pipeline: Pipeline, name: str) -> None:
    """As the UI's "execute" does; nothing else is evaluated and nothing moves."""
    entries = pipeline.on_target("SELECT count(*) FROM migration.ledger")
    result = pipeline.run_checks(1, ORDERS, name)
    assert result.success
    found = checks_of(pipeline, result.run_id)
    assert {key: evaluation.passed for key, evaluation in found.items()} == {name: True}
    assert found[name].partition == week(1).isoformat()
    assert shown(found[name])["basis"] == NOW
    assert pipeline.on_target("SELECT count(*) FROM migration.ledger") == entries


def without_partition(pipeline: Pipeline, *names: str) -> dg.ExecuteInProcessResult:
    """Run checks of the orders as the UI's "Execute all" does: without a partition."""
    implicit = pipeline.definitions().resolve_implicit_global_asset_job_def()
    chosen = {dg.AssetCheckKey(ORDERS, name) for name in names}
    subset = implicit.get_subset(asset_selection=set(), asset_check_selection=chosen)
    return subset.execute_in_process(instance=pipeline.instance, raise_on_error=False)


def status_at(pipeline: Pipeline, number: int, name: str) -> str:
    """Return what Dagster's list shows of a check in a week."""
    (found,) = pipeline.instance.event_log_storage.get_asset_check_partition_info(
        [dg.AssetCheckKey(ORDERS, name)]
    )[-1:]
    assert found.partition_key == week(number).isoformat()
    return found.latest_execution_status.value


def test_what_executing_all_finds_shows_at_the_week_of_the_head(pipeline: Pipeline) -> None:
    """Dagster starts that run without a partition; its lists go by partition."""
    assert without_partition(pipeline, *CHECKS).success
    assert status_at(pipeline, 1, CONTENT_DIGEST) == "SUCCEEDED"
    pipeline.on_target("UPDATE public.orders SET amount = 1 WHERE id = 1")
    result = without_partition(pipeline, *CHECKS)
    found = checks_of(pipeline, result.run_id)
    assert not found[CONTENT_DIGEST].passed
    assert found[ROW_COUNT].passed
    assert status_at(pipeline, 1, CONTENT_DIGEST) == "FAILED"
    assert status_at(pipeline, 1, ROW_COUNT) == "SUCCEEDED"


def test_executing_all_of_a_table_that_was_never_loaded_says_so(
    make_pipeline: MakePipeline,
) -> None:
    """Its checks are red, and name what to materialize."""
    pipeline = make_pipeline(TABLES)
    result = without_partition(pipeline, *CHECKS)
    assert not result.success
    found = checks_of(pipeline, result.run_id)
    assert set(found) == set(CHECKS)
    assert "never loaded" in str(found[ROW_COUNT].description)
    assert "expected" not in shown(found[ROW_COUNT])


def test_no_check_is_green_for_a_week_that_was_not_carried(pipeline: Pipeline) -> None:
    """Whatever stands at the head is no proof of a later week."""
    pipeline.change("INSERT INTO orders VALUES (4, 1, 2.5)")
    for names in (CHECKS, (SCHEMA,), (ROUND_TRIP, FOREIGN_KEYS)):
        found = alone(pipeline, 2, *names)
        assert found.keys() == set(names)
        for evaluation in found.values():
            assert not evaluation.passed
            assert evaluation.description == (
                f"this week was not carried yet: the table stands at {week(1)}"
            )
            assert str(shown(evaluation)["to_do"]).endswith(
                f"Command: migration-assets run --week {week(2)} --table orders"
            )


def test_what_somebody_changed_shows_with_the_command_that_mends_it(pipeline: Pipeline) -> None:
    """The command is run as it is given, and the checks are green again."""
    pipeline.on_target("UPDATE public.orders SET amount = 1 WHERE id = 2")
    found = alone(pipeline, 1, *CHECKS)
    for name in (CONTENT_DIGEST, ROUND_TRIP):
        assert not found[name].passed
        assert "id=2" in str(shown(found[name])["differences"])
        assert "amount" in str(shown(found[name])["differences"])
    command = str(shown(found[CONTENT_DIGEST])["to_do"])
    assert command.startswith("`migration-assets repair orders` puts the source's rows back")
    repair(open_migration(pipeline.settings()), "orders", run="test")
    assert all(evaluation.passed for evaluation in alone(pipeline, 1, *CHECKS).values())


def test_checks_alone_repair_what_somebody_changed_where_the_settings_say_so(
    pipeline: Pipeline,
) -> None:
    """They show what was done and the proof that follows; a week that meets it goes on."""
    pipeline.configure(on_mismatch="repair")
    pipeline.on_target("UPDATE public.orders SET amount = 1 WHERE id = 2")
    found = alone(pipeline, 1, *CHECKS)
    assert all(evaluation.passed for evaluation in found.values())
    assert "on_mismatch: repair" in str(shown(found[CONTENT_DIGEST])["done"])
    pipeline.on_target("DELETE FROM public.orders WHERE id = 3")
    pipeline.change("UPDATE orders SET amount = 2 WHERE id = 3")
    assert pipeline.run(2).success
    assert "done" not in shown(alone(pipeline, 2, *CHECKS)[CONTENT_DIGEST])


def test_an_orphan_warns_and_stops_nothing(pipeline: Pipeline) -> None:
    """No load can mend it, so the run is green, and the check shows it."""
    pipeline.change("INSERT INTO orders VALUES (4, 99, 2.5)")
    outcome = pipeline.run(2)
    assert outcome.success
    found = checks_of(pipeline, outcome.run_id)
    assert not found[FOREIGN_KEYS].passed
    assert found[FOREIGN_KEYS].severity is dg.AssetCheckSeverity.WARN
    page = shown(found[FOREIGN_KEYS])
    assert page["rows_without_parent_in_cut"] == page["rows_without_parent_on_target"] == 1
    assert "mend the rows at the source" in str(page["to_do"])
    assert all(found[name].passed for name in CHECKS if name != FOREIGN_KEYS)


def test_an_index_that_is_gone_is_named_and_stops_nothing(pipeline: Pipeline) -> None:
    """With the statement that makes it again."""
    pipeline.on_target("DROP INDEX public.orders_customer_idx")
    pipeline.change("INSERT INTO orders VALUES (4, 1, 2.5)")
    outcome = pipeline.run(2)
    assert outcome.success
    found = checks_of(pipeline, outcome.run_id)[SCHEMA]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    pipeline.on_target(str(shown(found)["to_do"]))
    assert alone(pipeline, 2, SCHEMA)[SCHEMA].passed


def test_what_fails_after_the_commit_does_not_undo_it(pipeline: Pipeline) -> None:
    """The step stands, proved; the checks that could not be made say why."""
    pipeline.change("INSERT INTO orders VALUES (4, 1, 2.5)")
    for number in (2, 3):
        take_cut(migration_of(pipeline), week(number))
    (newest,) = pipeline.config.parent.glob(f"state/cuts/main/{week(3)}/*.sqlite")
    newest.chmod(0o600)
    newest.write_bytes(b"no database" * 100)
    outcome = pipeline.run_target(2, "orders")
    found = checks_of(pipeline, outcome.run_id)
    assert "aurora/orders" in pipeline.materialized(outcome.run_id)
    assert outcome.success
    assert all(found[name].passed for name in (*PROOFS, ROUND_TRIP))
    for name in (SCHEMA, FOREIGN_KEYS):
        assert not found[name].passed
        assert "no SQLite database" in str(shown(found[name])["what"])
    assert pipeline.on_target("SELECT count(*) FROM public.orders") == [(4,)]


def test_a_covered_week_whose_table_is_locked_is_tried_again(pipeline: Pipeline) -> None:
    """Nothing was moved, so nothing is lost by it; a lock that stays turns every check red."""
    pipeline.configure(lock_timeout=0.1, retry_patience=0)
    with psycopg.connect(pipeline.target) as other:
        other.execute("LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE")
        outcome = pipeline.run_target(1, "orders")
    assert not outcome.success
    restarted = [
        e
        for e in pipeline.events(outcome.run_id)
        if e.event_type is dg.DagsterEventType.STEP_RESTARTED
    ]
    assert len(restarted) == 2
    found = checks_of(pipeline, outcome.run_id)
    assert not any(evaluation.passed for evaluation in found.values())
    assert "55P03" in str(shown(found[ROUND_TRIP])["what"])


def migration_of(pipeline: Pipeline) -> Migration:
    """Return the pipeline's migration, to do by hand what its assets do."""
    return open_migration(pipeline.settings())


def test_a_quarantined_parent_is_named_as_the_reason(pipeline: Pipeline) -> None:
    """The child's check leads to the parent's."""
    pipeline.change(
        "WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
        " INSERT INTO customers SELECT i, 'x' FROM n;"
        "UPDATE customers SET name = CAST(x'ff' AS TEXT) WHERE id = 2;"
    )
    assert pipeline.run(2).success
    found = alone(pipeline, 2, FOREIGN_KEYS)[FOREIGN_KEYS]
    assert shown(found)["rows_whose_parent_is_not_on_target"] == 1
    assert shown(found)["rows_without_parent_in_cut"] == 0
    assert "quarantine" in str(shown(found)["to_do"])
