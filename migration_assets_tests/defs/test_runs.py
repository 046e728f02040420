"""Weeks run through a real instance: what turns red, what stays green, and what is recorded."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from migration_assets import preparing
from migration_assets.defs.tables import aurora_key
from migration_assets.report.checks import CHECKS, CONTENT_DIGEST, QUARANTINE, ROW_COUNT
from migration_assets.target.embedded import EmbeddedServer, ensure_database
from migration_assets_tests import independent
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, pipelines, week

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, credit REAL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, amount DECIMAL(10,2));
CREATE TABLE "order lines" (order_id INTEGER, line INTEGER, product TEXT,
                            PRIMARY KEY (order_id, line)) WITHOUT ROWID;
INSERT INTO customers VALUES (1, 'Ada', 10.5), (2, 'Bob', NULL), (3, 'Cyd', -0.0);
INSERT INTO orders VALUES (1, 1, 19.9), (2, 2, 5);
INSERT INTO "order lines" VALUES (1, 1, 'pen'), (1, 2, 'ink'), (2, 1, 'pad');
"""
CHANGES = """
UPDATE customers SET credit = 11 WHERE id = 1;
INSERT INTO orders VALUES (3, 3, -4);
DELETE FROM "order lines" WHERE line = 2;
"""
NO_REFUNDS = "ALTER TABLE public.orders ADD CONSTRAINT no_refunds CHECK (amount >= 0)"


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    """Return a pipeline of three tables, none of them loaded."""
    return make_pipeline(SCHEMA)


@pytest.fixture(scope="module")
def first_week(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline after its first week, changed at the source since; only to be copied."""
    name = f"test_{secrets.token_hex(6)}"
    ensure_database(postgres, name)
    with pipelines(tmp_path_factory.mktemp("first_week"), postgres.url(name)) as make:
        pipeline = make(SCHEMA)
        assert pipeline.run(1).success
    pipeline.change(CHANGES)
    return pipeline


@pytest.fixture
def loaded(first_week: Pipeline, postgres: EmbeddedServer, tmp_path: Path) -> Iterator[Pipeline]:
    """Return a pipeline of one's own that stands after its first week; its instance is new."""
    name, template = (
        f"test_{secrets.token_hex(6)}",
        str(conninfo.conninfo_to_dict(first_week.target)["dbname"]),
    )
    shutil.copytree(first_week.config.parent, tmp_path, dirs_exist_ok=True)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        copied, mine = sql.Identifier(template), sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(mine, copied))
        with pipelines(tmp_path, postgres.url(name)) as make:
            yield make("")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(mine))


def judged_equal(pipeline: Pipeline) -> bool:
    """Let the independent judge compare the source with the target."""
    return independent.compare(pipeline.source, pipeline.target).equal


def status_of(pipeline: Pipeline, key: dg.AssetKey, number: int) -> dg.AssetPartitionStatus | None:
    """Return what the UI shows of one partition: materialized (green), failed (red) or nothing."""
    label = week(number).isoformat()
    definition = pipeline.definitions().resolve_asset_graph().get(key).partitions_def
    assert definition is not None
    statuses = pipeline.instance.get_status_by_partition(key, [label], definition)
    return (statuses or {}).get(label)


def attempts(pipeline: Pipeline, run_id: str, step: str) -> int:
    """Count how often a step was tried."""
    tries = (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED)
    return sum(e.event_type in tries and e.step_key == step for e in pipeline.events(run_id))


def value(metadata: object, name: str) -> object:
    """Return one metadata value as Python has it."""
    assert isinstance(metadata, dict)
    return metadata[name].value


def test_a_whole_week_is_green_and_equal(pipeline: Pipeline) -> None:
    """Every asset materialized, every check passed, and the independent judge agrees."""
    outcome = pipeline.run(1)
    assert outcome.success
    assert outcome.failures == {}
    graph = pipeline.definitions().resolve_asset_graph()
    expected = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert pipeline.materialized(outcome.run_id).keys() == expected
    checked = pipeline.checked(outcome.run_id)
    assert len(checked) == len(graph.asset_check_keys)
    assert all(evaluation.passed for evaluation in checked.values())
    assert {evaluation.partition for evaluation in checked.values()} == {week(1).isoformat()}
    assert judged_equal(pipeline)


def test_the_next_week_carries_only_what_changed(loaded: Pipeline) -> None:
    """Its figures stand at the delta and at the target."""
    outcome = loaded.run(2)
    assert outcome.success
    found = loaded.materialized(outcome.run_id)
    delta, copy = found["delta/customers"], found["aurora/customers"]
    assert value(delta, "dagster/row_count") == 1
    assert (value(delta, "updates"), value(delta, "scope")) == (1, "changes")
    assert (value(copy, "inserted"), value(copy, "updated"), value(copy, "deleted")) == (0, 1, 0)
    assert judged_equal(loaded)


def test_one_red_table_stays_one_red_table(pipeline: Pipeline) -> None:
    """The others are carried and proved; the partition that failed is red and shows why."""
    assert pipeline.run(1).success
    pipeline.change(CHANGES)
    pipeline.on_target(NO_REFUNDS)
    outcome = pipeline.run(2)
    assert not outcome.success
    assert outcome.failures.keys() == {"aurora__orders"}
    assert "no_refunds" in outcome.failures["aurora__orders"]
    done = pipeline.materialized(outcome.run_id)
    assert "aurora/orders" not in done
    assert {"aurora/customers", "delta/orders"} <= done.keys()
    assert status_of(pipeline, aurora_key("orders"), 2) is dg.AssetPartitionStatus.FAILED
    assert status_of(pipeline, aurora_key("orders"), 1) is dg.AssetPartitionStatus.MATERIALIZED
    assert status_of(pipeline, aurora_key("customers"), 2) is dg.AssetPartitionStatus.MATERIALIZED
    assert not independent.compare(pipeline.source, pipeline.target, tables=["orders"]).equal
    rest = independent.compare(
        pipeline.source, pipeline.target, tables=["customers", "order lines"]
    )
    assert rest.equal


def test_a_failed_tables_checks_say_what_happened_and_what_to_do(loaded: Pipeline) -> None:
    """All are recorded as failed for the week: what was not proved must not look green."""
    loaded.on_target(NO_REFUNDS)
    checked = loaded.checked(loaded.run(2).run_id)
    for name in CHECKS:
        evaluation = checked["aurora/orders", name]
        assert not evaluation.passed
        assert evaluation.partition == week(2).isoformat()
        assert "no_refunds" in str(value(evaluation.metadata, "what"))
        assert "drop or mend it" in str(value(evaluation.metadata, "to_do"))
        assert "table orders, week 2024-10-13" in str(value(evaluation.metadata, "where"))
        assert checked["aurora/customers", name].passed


def test_the_failed_partition_alone_is_mended(loaded: Pipeline) -> None:
    """Materializing it again, and nothing else, makes it green and equal."""
    loaded.on_target(NO_REFUNDS)
    loaded.run(2)
    loaded.on_target("ALTER TABLE public.orders DROP CONSTRAINT no_refunds")
    mended = loaded.run_target(2, "orders")
    assert mended.success
    assert loaded.materialized(mended.run_id).keys() == {"aurora/orders"}
    assert loaded.checked(mended.run_id).keys() == {("aurora/orders", name) for name in CHECKS}
    assert status_of(loaded, aurora_key("orders"), 2) is dg.AssetPartitionStatus.MATERIALIZED
    assert judged_equal(loaded)


def test_an_earlier_week_after_a_later_one_is_covered(loaded: Pipeline) -> None:
    """It changes nothing, is green, and shows the proof stored for the week that covered it."""
    assert loaded.run(3).success
    entries = loaded.on_target("SELECT count(*) FROM migration.ledger")
    outcome = loaded.run(2)
    assert outcome.success
    copy = loaded.materialized(outcome.run_id)["aurora/orders"]
    assert value(copy, "state") == f"covered by the head at {week(3)}"
    assert value(copy, "source_rows") == 3
    assert loaded.on_target("SELECT count(*) FROM migration.ledger") == entries
    checked = loaded.checked(outcome.run_id)
    assert value(checked["aurora/orders", ROW_COUNT].metadata, "head_week") == str(week(3))
    assert judged_equal(loaded)


def test_a_week_run_twice_says_so(loaded: Pipeline) -> None:
    """The first run moved the table, the second found it there."""
    first, second = loaded.run(2), loaded.run(2)
    states = [
        value(loaded.materialized(outcome.run_id)["aurora/orders"], "state")
        for outcome in (first, second)
    ]
    assert states == [f"moved to {week(2)}", f"covered by the head at {week(2)}"]


def test_checks_run_alone_and_pass(loaded: Pipeline) -> None:
    """They prove what stands without moving anything, whichever of them is asked for."""
    result = loaded.run_checks(1, aurora_key("orders"), CONTENT_DIGEST, ROW_COUNT)
    assert result.success
    checked = loaded.checked(result.run_id)
    assert checked.keys() == {("aurora/orders", CONTENT_DIGEST), ("aurora/orders", ROW_COUNT)}
    assert all(evaluation.passed for evaluation in checked.values())
    assert loaded.materialized(result.run_id) == {}


def test_a_check_alone_names_the_row_and_column_that_somebody_changed(loaded: Pipeline) -> None:
    """The digest differs, the key and the column are named; the count is still right."""
    loaded.on_target("UPDATE public.customers SET credit = 99 WHERE id = 2")
    result = loaded.run_checks(1, aurora_key("customers"), *CHECKS)
    assert not result.success
    checked = loaded.checked(result.run_id)
    assert checked["aurora/customers", ROW_COUNT].passed
    assert checked["aurora/customers", QUARANTINE].passed
    digest = checked["aurora/customers", CONTENT_DIGEST]
    assert not digest.passed
    named = str(value(digest.metadata, "differences"))
    assert "2" in named
    assert "credit" in named
    assert "name" not in named
    assert value(digest.metadata, "source_digest") != value(digest.metadata, "target_digest")


def test_a_check_alone_counts_what_somebody_removed(loaded: Pipeline) -> None:
    """Rows that are gone show in both the count and the digest."""
    loaded.on_target("DELETE FROM public.customers WHERE id = 2")
    checked = loaded.checked(loaded.run_checks(1, aurora_key("customers"), *CHECKS).run_id)
    count = checked["aurora/customers", ROW_COUNT]
    assert not count.passed
    assert (value(count.metadata, "source_rows"), value(count.metadata, "target_rows")) == (3, 2)
    assert not checked["aurora/customers", CONTENT_DIGEST].passed


def test_a_check_alone_notices_what_left_quarantine(pipeline: Pipeline) -> None:
    """Quarantined rows are part of the proof."""
    pipeline.change("UPDATE orders SET amount = 'to be agreed' WHERE id = 2;")
    pipeline.change(
        "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        "INSERT INTO orders SELECT i, 1, 1.25 FROM n;"
    )
    assert pipeline.run(1).success
    assert pipeline.on_target("SELECT count(*) FROM migration.quarantine") == [(1,)]
    pipeline.on_target("DELETE FROM migration.quarantine")
    checked = pipeline.checked(pipeline.run_checks(1, aurora_key("orders"), *CHECKS).run_id)
    quarantine = checked["aurora/orders", QUARANTINE]
    assert not quarantine.passed
    assert value(quarantine.metadata, "unfit_rows_in_cut") == 1
    assert value(quarantine.metadata, "quarantined_rows") == 0


def test_checks_of_a_table_that_was_never_loaded_say_so(pipeline: Pipeline) -> None:
    """There is nothing to prove yet, which is no pass."""
    result = pipeline.run_checks(1, aurora_key("orders"), *CHECKS)
    assert not result.success
    checked = pipeline.checked(result.run_id)
    for name in CHECKS:
        evaluation = checked["aurora/orders", name]
        assert not evaluation.passed
        assert value(evaluation.metadata, "to_do") == (
            "materialize aurora/orders first."
            f" Command: migration-assets run --week {week(1)} --table orders"
        )


def test_the_acknowledge_tag_lets_a_guard_pass_for_one_run(loaded: Pipeline) -> None:
    """A foreign write stops a week, unless the run says that it may be replaced."""
    loaded.on_target("UPDATE public.orders SET amount = 1 WHERE id = 1")
    loaded.change("UPDATE orders SET amount = 20 WHERE id = 1;")
    stopped = loaded.run(2)
    assert not stopped.success
    assert "--acknowledge foreign_writes" in stopped.failures["aurora__orders"]
    passed = loaded.run(2, acknowledged=["foreign_writes"])
    assert passed.success
    assert value(loaded.materialized(passed.run_id)["aurora/orders"], "displaced") == 1
    assert judged_equal(loaded)


def test_a_terminal_failure_is_tried_once(loaded: Pipeline) -> None:
    """What comes again until somebody acts isn't worth a retry."""
    loaded.on_target(NO_REFUNDS)
    outcome = loaded.run(2)
    assert attempts(loaded, outcome.run_id, "aurora__orders") == 1


def failing_with(sqlstate: str, times: int) -> str:
    """Return a trigger that refuses writes to `orders` so often; a sequence outlives rollbacks."""
    return f"""
        CREATE SEQUENCE public.refused;
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('public.refused') <= {times} THEN
                RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refuse AFTER INSERT OR UPDATE OR DELETE ON public.orders
            FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
    """


def test_a_transient_failure_is_tried_again_and_passes(loaded: Pipeline) -> None:
    """With no patience of the step's own Dagster does it again: the week is green by itself."""
    loaded.configure(retry_patience=0)
    loaded.on_target(failing_with("40001", times=1))
    outcome = loaded.run(2)
    assert outcome.success
    assert attempts(loaded, outcome.run_id, "aurora__orders") == 2
    assert loaded.checked(outcome.run_id)["aurora/orders", CONTENT_DIGEST].passed
    assert judged_equal(loaded)


def test_what_the_target_broke_off_is_done_again_by_the_step_and_said(loaded: Pipeline) -> None:
    """A serialization failure: one attempt of Dagster's, with the repetition and its reason."""
    loaded.on_target(failing_with("40001", times=2))
    outcome = loaded.run(2)
    assert outcome.success
    assert attempts(loaded, outcome.run_id, "aurora__orders") == 1
    copy = loaded.materialized(outcome.run_id)["aurora/orders"]
    assert value(copy, "repetitions") == 2
    assert str(value(copy, "broken_off")).count("40001 SerializationFailure") == 2
    assert "repetitions" not in loaded.materialized(outcome.run_id)["aurora/customers"]
    logged = [log.message for log in loaded.instance.all_logs(outcome.run_id)]
    said = ("broken off by the target", "40001 SerializationFailure")
    assert sum(all(part in message for part in said) for message in logged) == 2
    assert judged_equal(loaded)


def test_what_the_target_keeps_breaking_off_is_not_waited_for_once_more(loaded: Pipeline) -> None:
    """Dagster's retries would take three times the patience, for every table."""
    loaded.configure(retry_patience=0.5)
    loaded.on_target(failing_with("40001", times=1_000))
    outcome = loaded.run(2)
    assert outcome.failures.keys() == {"aurora__orders"}
    assert "within 0.5 s (retry_patience)" in outcome.failures["aurora__orders"]
    assert attempts(loaded, outcome.run_id, "aurora__orders") == 1
    noted = loaded.on_target("SELECT table_name, error FROM migration.attempt")
    assert noted == [("orders", "TargetUnsteadyError")]


def test_an_unreachable_target_is_named_once_and_no_table_tried(make_offline: MakePipeline) -> None:
    """The cut stands; 300 tables don't wait for the same server one after the other."""
    pipeline = make_offline("CREATE TABLE orders (id INTEGER PRIMARY KEY);")
    pipeline.configure(target="postgresql://nobody@127.0.0.1:1/nowhere", connect_patience=0)
    outcome = pipeline.run(1)
    assert not outcome.success
    assert outcome.failures.keys() == {"aurora_schema"}
    assert "127.0.0.1/nowhere" in outcome.failures["aurora_schema"]
    assert attempts(pipeline, outcome.run_id, "aurora_schema") == 1
    assert pipeline.materialized(outcome.run_id).keys() == {"source_cut"}


def test_a_target_partition_without_its_cut_says_what_to_do(pipeline: Pipeline) -> None:
    """Materialized alone before its week's cut, it fails by name and at once."""
    outcome = pipeline.run_target(1, "orders")
    assert not outcome.success
    assert "materialize source_cut for 2024-10-06" in outcome.failures["aurora__orders"]
    assert attempts(pipeline, outcome.run_id, "aurora__orders") == 1


def test_a_copy_shows_rows_columns_and_relation(loaded: Pipeline) -> None:
    """Dagster's own metadata names: the catalog shows them without configuration."""
    copy = loaded.materialized(loaded.run(2).run_id)["aurora/orders"]
    assert value(copy, "dagster/row_count") == 3
    database = conninfo.conninfo_to_dict(loaded.target)["dbname"]
    assert value(copy, "dagster/relation_identifier") == f"{database}.public.orders"
    assert value(copy, "dagster/table_name") == f"{database}.public.orders"
    schema = copy["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchemaMetadataValue)
    columns = {c.name: (c.type, c.constraints.nullable) for c in schema.schema.columns}
    assert columns == {
        "id": ("bigint", False),
        "customer": ("bigint", True),
        "amount": ("numeric(10,2)", True),
    }
    assert all(column.description for column in schema.schema.columns)


def test_a_cut_shows_what_was_copied(pipeline: Pipeline) -> None:
    """Its identity, size and moment stand at the asset."""
    cut = pipeline.materialized(pipeline.run(1).run_id)["source_cut"]
    assert str(value(cut, "cut")).startswith("2024-10-06-")
    assert value(cut, "tables") == 3
    assert value(cut, "size_bytes") == pipeline.source.stat().st_size
    assert value(cut, "orphaned_foreign_key_rows") == 0


def test_drift_of_the_sources_schema_is_reported(loaded: Pipeline) -> None:
    """The schema asset names table and column; what is safe is carried, all else stops alone."""
    loaded.change("ALTER TABLE orders ADD COLUMN remark TEXT;")
    outcome = loaded.run(2)
    assert outcome.success
    schema = loaded.materialized(outcome.run_id)["aurora_schema"]
    assert value(schema, "drift") == {"orders": ["column remark is new: text"]}
    carried = loaded.materialized(outcome.run_id)["aurora/orders"]
    assert value(carried, "schema_changes") == ["column remark is new: text"]
    loaded.change("ALTER TABLE orders RENAME COLUMN id TO number;")
    outcome = loaded.run(3)
    assert outcome.failures.keys() == {"delta__orders"}
    assert "`key: [number]` below `tables: orders`" in outcome.failures["delta__orders"]
    schema = loaded.materialized(outcome.run_id)["aurora_schema"]
    assert "to confirm: the key was (id)" in str(value(schema, "drift"))


def downstream_of(pipeline: Pipeline, number: int, table: str) -> pl.DataFrame:
    """Load a week's delta as an asset of one's own would, and collect it."""
    seen: list[pl.DataFrame] = []
    definitions = pipeline.definitions()
    graph = definitions.resolve_asset_graph()
    key = dg.AssetKey(["delta", table])

    @dg.asset(ins={"delta": dg.AssetIn(key)}, partitions_def=graph.get(key).partitions_def)
    def report(delta: pl.LazyFrame) -> None:
        assert isinstance(delta, pl.LazyFrame)
        seen.append(delta.collect())

    merged = dg.Definitions.merge(definitions, dg.Definitions(assets=[report]))
    job = merged.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        partition_key=week(number).isoformat(),
        instance=pipeline.instance,
        asset_selection=[report.key],
    )
    assert result.success
    return seen[0]


def test_an_asset_of_ones_own_reads_a_delta_as_a_lazy_frame(loaded: Pipeline) -> None:
    """Target types, the kind of change, and a hash only where there was a row before."""
    loaded.change("DELETE FROM orders WHERE id = 1; UPDATE orders SET amount = 7.5 WHERE id = 2;")
    assert loaded.run(2).success
    frame = downstream_of(loaded, 2, "orders").sort("id")
    assert frame["id"].to_list() == [1, 2, 3]
    assert frame["op"].to_list() == ["delete", "update", "insert"]
    assert frame["old_hash"].is_null().to_list() == [False, False, True]
    assert frame.schema["id"] == pl.Int64


def test_a_week_without_changes_hands_on_an_empty_frame(loaded: Pipeline) -> None:
    """Its columns are those of any other week, so nothing downstream breaks."""
    assert loaded.run(2).success
    assert loaded.run(3).success
    empty = downstream_of(loaded, 3, "orders")
    assert empty.height == 0
    assert empty.schema == downstream_of(loaded, 2, "orders").schema


def test_dagster_keeps_no_row_value_password_or_url(
    make_pipeline: MakePipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    """Good weeks, refused ones and failed proofs alike: events, notes and output carry none."""
    markers = ("M4RK", "73190451", "91.7351", "pass-W0RD")
    pipeline = make_pipeline(
        """CREATE TABLE people (name TEXT PRIMARY KEY, born INTEGER, weight REAL, photo BLOB);
        CREATE UNIQUE INDEX people_born ON people (born);
        INSERT INTO people VALUES ('M4RK-a', 73190451, 91.7351, CAST('M4RK-b' AS BLOB)),
                                  ('M4RK-c', 173190451, 191.7351, NULL);"""
    )
    role, parts = "loader", conninfo.conninfo_to_dict(pipeline.target)
    pipeline.on_target(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'pass-W0RD'")
    url = f"postgresql://{role}:pass-W0RD@{parts['host']}:{parts['port']}/{parts['dbname']}"
    pipeline.configure(target=url, show_keys=False, quarantine_rows=0)
    runs = [pipeline.run(1).run_id]
    try:
        pipeline.on_target("ALTER TABLE people ADD CONSTRAINT c CHECK (born < 200000000)")
        pipeline.change("INSERT INTO people VALUES ('M4RK-d', 273190451, 91.7351, NULL);")
        runs.append(pipeline.run(2).run_id)
        pipeline.on_target("ALTER TABLE people DROP CONSTRAINT c")
        pipeline.on_target("INSERT INTO people VALUES ('M4RK-f', 273190451, 91.7351, NULL)")
        runs.append(pipeline.run(2).run_id)
        runs.append(pipeline.run_checks(1, aurora_key("people"), *CHECKS).run_id)
        pipeline.on_target("DELETE FROM people WHERE name = 'M4RK-f'")
        pipeline.change("INSERT INTO people VALUES ('M4RK-g', 'M4RK-h', 'M4RK-i', 'M4RK-j');")
        runs.append(pipeline.run(3).run_id)
        pipeline.on_target(f"ALTER ROLE {role} PASSWORD 'another'")
        runs.append(pipeline.run(4).run_id)
        notes = pipeline.on_target("SELECT message FROM migration.attempt")
    finally:
        pipeline.on_target(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    ended = [run and run.is_success for run in map(pipeline.instance.get_run_by_id, runs)]
    assert ended == [True, False, False, False, False, False]
    records = [e.to_json() for run in runs for e in pipeline.instance.all_logs(run)]
    output = capfd.readouterr()
    recorded = "\n".join([*records, str(notes), output.out, output.err])
    assert len(notes) >= 3
    assert "people" in recorded
    assert [marker for marker in markers if marker in recorded] == []
    assert pipeline.target not in recorded


def test_dagster_keeps_the_place_of_a_bug_and_not_its_text(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Polars, pyarrow or psycopg say of a value of theirs may be that value."""

    def fails(*_: object, **__: object) -> None:
        message = "cannot convert 'M4RK'"
        raise ValueError(message)

    pipeline = make_pipeline("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    monkeypatch.setattr(preparing, "expect", fails)
    run = pipeline.run(1)
    assert not run.success
    recorded = "\n".join(e.to_json() for e in pipeline.instance.all_logs(run.run_id))
    assert "an error of migration-assets itself (ValueError)" in recorded
    assert "preparing.py:" in recorded
    assert "M4RK" not in recorded


def test_keys_of_differing_rows_are_shown_unless_turned_off(loaded: Pipeline) -> None:
    """`show_keys: false` keeps even those out of Dagster."""
    loaded.on_target("UPDATE public.customers SET name = 'Eve' WHERE id = 3")
    shown = loaded.run_checks(1, aurora_key("customers"), CONTENT_DIGEST)
    loaded.configure(show_keys=False)
    hidden = loaded.run_checks(1, aurora_key("customers"), CONTENT_DIGEST)
    texts = [
        str(value(checked["aurora/customers", CONTENT_DIGEST].metadata, "differences"))
        for checked in (loaded.checked(shown.run_id), loaded.checked(hidden.run_id))
    ]
    assert "3" in texts[0]
    assert "3" not in texts[1]
    assert all("Eve" not in text for text in texts)
