"""The cutover: go or no-go, done once, and the application's own use afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from migration_assets import mismatch, standing, undo
from migration_assets.cutover.execute import dry_run, execute
from migration_assets.errors import GuardError, HoldError, MigrationError, TargetError
from migration_assets.holds import hold, release
from migration_assets.migration import Migration
from migration_assets.repair import keep_target, repair
from migration_assets.report.certificate import Condition, Verdict, markdown
from migration_assets.step import bootstrap
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    change,
    load_week,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.independent import compare_schema
from migration_assets_tests.independent_schema import compare_objects

NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)  # in the second week: the first one is complete
SHOP = """
CREATE TABLE customer (
    id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT COLLATE NOCASE UNIQUE,
    name VARCHAR(20) NOT NULL,
    boss INTEGER REFERENCES customer ON DELETE SET NULL, favourite INTEGER REFERENCES product (id),
    CHECK (length(mail) > 2)
);
CREATE TABLE product (
    id INTEGER PRIMARY KEY, code VARCHAR(8) UNIQUE,
    price DECIMAL(10,2) DEFAULT 1.5 CHECK (price > 0),
    best_customer INTEGER REFERENCES customer (id), at DATETIME, ratio REAL, photo BLOB
);
CREATE TABLE "order ""l"" x" (
    "Order" INTEGER, line INTEGER, product INTEGER NOT NULL REFERENCES product, note TEXT,
    PRIMARY KEY ("Order", line)
) WITHOUT ROWID;
CREATE TABLE log (at TEXT, line TEXT, n INTEGER);
CREATE UNIQUE INDEX cheap ON product (price) WHERE price < 2;
CREATE INDEX by_name ON customer (name DESC, mail);
CREATE VIEW expensive AS SELECT id, code FROM product WHERE price > 100;
CREATE VIEW liked AS SELECT e.code, c.name FROM expensive e JOIN customer c ON c.favourite = e.id;
INSERT INTO product (id, code, price) VALUES (-5, 'neg', 1.75), (7, 'axe', 120.50), (8, 'bee', 3);
INSERT INTO customer VALUES (1, 'a@x', 'Ann', NULL, 7), (2, 'b@x', 'Bob', 1, 8),
    (9, NULL, 'é', 9, NULL);
DELETE FROM customer WHERE id = 9;
UPDATE product SET best_customer = 2, at = '2026-01-02 03:04:05', ratio = 0.1, photo = x'00ff'
    WHERE id = 7;
INSERT INTO "order ""l"" x" VALUES (1, 1, 7, 'x'), (1, 2, 8, NULL), (-2, 1, 7, '');
INSERT INTO log VALUES ('t', 'same', 1), ('t', 'same', 1), (NULL, 'other', NULL);
"""
WEEK_2 = (
    "UPDATE customer SET name = 'Anna' WHERE id = 1",
    "INSERT INTO product (id, code, price) VALUES (11, 'cup', 9.9)",
    "DELETE FROM log WHERE n IS NULL",
    "INSERT INTO log VALUES ('u', 'same', 1)",
    'DELETE FROM "order ""l"" x" WHERE line = 2',
)
NO_BACKUP = frozenset({"no_backup"})


def shop(make_migration: MakeMigration, schema: str = SHOP, **settings: object) -> Migration:
    """Return a migration whose first week was carried, and whose source went on since."""
    migration = make_migration(schema, first_week=week(1), **settings)
    load_week(migration, 1)
    if schema == SHOP:
        change(migration, *WEEK_2)
    return migration


def cut_over(
    migration: Migration, *words: str, at: Callable[[str], None] = lambda _stage: None
) -> dict[str, Any]:
    """Cut over, with no backup unless one is set; return the certificate as written."""
    none = NO_BACKUP if migration.settings.backup == "none" else frozenset[str]()
    ended = execute(migration, acknowledged=none.union(words), now=NOW, at=at)
    document = json.loads(migration.state.read_text(f"{ended.key}.json") or "")
    assert isinstance(document, dict)
    return document


def condition(migration: Migration, name: str, now: datetime = NOW) -> Condition:
    """Return one condition of a dry run."""
    (found,) = (c for c in dry_run(migration, now).conditions if c.name == name)
    return found


def assert_cut_over(migration: Migration, *, missing: tuple[str, ...] = ()) -> None:
    """Let the judges look, who share no code: equal rows, all objects, and tables on hold."""
    assert_equal(migration)
    source, url = migration.settings.source, migration.target.url
    assert compare_schema(source, url) == []
    assert compare_objects(source, url) == []
    constraints = target_rows(
        migration,
        "SELECT contype::text, count(*), bool_and(convalidated) FROM pg_constraint AS c"
        " JOIN pg_namespace AS n ON n.oid = c.connamespace"
        " WHERE nspname = 'public' AND contype IN ('c', 'f') GROUP BY 1 ORDER BY 1",
    )
    assert constraints == [("c", 2, True), ("f", 4, True)]
    lengths = target_rows(
        migration,
        "SELECT attname::text, format_type(atttypid, atttypmod), attcollation::regcollation::text"
        " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid AND relkind = 'r'"
        " WHERE relnamespace = 'public'::regnamespace AND atttypid = 'varchar'::regtype ORDER BY 1",
    )
    assert lengths == [
        ("code", "character varying(8)", '"C"'),
        ("name", "character varying(20)", '"C"'),
    ]
    with on_target(migration) as connection:
        assert connection.execute("SELECT * FROM public.liked").fetchall() == [("axe", "Anna")]
    held = standing.holds(migration)
    assert {"customer", "product", 'order "l" x', "log"} == held.keys()
    assert all(h.reason.startswith("cut over on ") for h in held.values())
    assert not missing


# ------------------------------------------------------------------------------------- executed


def test_a_cutover_leaves_everything_the_source_has(make_migration: MakeMigration) -> None:
    """Rows, keys, indexes, CHECKs, lengths, foreign keys in a circle, views; each side signed."""
    migration = shop(make_migration)
    write_on_target(
        migration,
        "CREATE FUNCTION migration.watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;"
        " END'",
        "CREATE TRIGGER ours AFTER UPDATE ON log EXECUTE FUNCTION migration.watch()",
        "CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;"
        " END'",
        "CREATE TRIGGER theirs AFTER UPDATE ON log EXECUTE FUNCTION public.watch()",
    )
    document = cut_over(migration)
    assert_cut_over(migration)
    left = target_rows(migration, "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal")
    assert left == [("theirs",)], "what guarded loads is gone, and nothing else"
    assert document["verdict"] == "go with exception"
    assert document["acknowledged"] == ["no_backup"]
    signed = {s["table"]: s for s in document["sign_offs"]}
    assert {name: s["rows"] for name, s in signed.items()} == {
        "customer": 2,
        "product": 4,
        'order "l" x': 2,
        "log": 3,
    }
    assert all(s["source_sha256"] == s["target_sha256"] for s in signed.values())
    assert len({s["source_sha256"] for s in signed.values()}) == 4
    assert all(t["source_digest"] == t["target_digest"] for t in document["tables"])
    assert {
        t["table"]: (t["inserted"], t["updated"], t["deleted"]) for t in document["tables"]
    } == {
        "customer": (0, 1, 0),
        "product": (1, 0, 0),
        'order "l" x': (0, 0, 1),
        "log": (1, 0, 1),
    }
    kinds = [o["kind"] for o in document["made"]]
    assert sorted(kinds) == sorted(
        ["check"] * 2 + ["length"] * 2 + ["foreign key"] * 4 + ["view"] * 2
    )
    assert document["second_look"].endswith("no change")


def test_the_application_goes_on_where_the_source_stopped(make_migration: MakeMigration) -> None:
    """The next keys are the source's, and what it enforced is enforced."""
    migration = shop(make_migration)
    cut_over(migration)
    write_on_target(
        migration,
        "INSERT INTO customer (mail, name) VALUES ('c@x', 'Cyd')",
        "INSERT INTO product (code) VALUES ('dot')",
    )
    assert target_rows(migration, "SELECT max(id) FROM customer") == [(10,)], "9 was given once"
    assert target_rows(migration, "SELECT id, price::text FROM product WHERE code = 'dot'") == [
        (12, "1.50")
    ]
    for statement, refused in (
        ("INSERT INTO product (code, price) VALUES ('e', -1)", psycopg.errors.CheckViolation),
        ("INSERT INTO customer (mail, name) VALUES ('d', 'D')", psycopg.errors.CheckViolation),
        ("UPDATE customer SET favourite = 99", psycopg.errors.ForeignKeyViolation),
        ("DELETE FROM product WHERE id = 7", psycopg.errors.ForeignKeyViolation),
        ("UPDATE product SET code = '123456789'", psycopg.errors.StringDataRightTruncation),
        ("UPDATE customer SET mail = 'A@X'", psycopg.errors.UniqueViolation),
    ):
        with pytest.raises(refused):
            write_on_target(migration, statement)
    write_on_target(migration, "DELETE FROM customer WHERE id = 1 AND id NOT IN (0)")
    assert target_rows(migration, "SELECT boss FROM customer WHERE id = 2") == [(None,)]


def test_a_second_run_changes_nothing(make_migration: MakeMigration) -> None:
    """Not even where source and target went on meanwhile: the target is the application's now."""
    migration = shop(make_migration)
    cut_over(migration)
    change(migration, "DELETE FROM log")
    write_on_target(migration, "INSERT INTO log VALUES ('new', 'new', 5)")
    before = snapshot(migration)
    ended = execute(migration, acknowledged=NO_BACKUP, now=NOW)
    assert ended.certificate is None
    assert snapshot(migration) == before
    assert condition(migration, "holds").verdict is Verdict.NO_GO


def test_a_table_that_was_excluded_meanwhile_is_left_as_it_is(
    make_migration: MakeMigration,
) -> None:
    """It takes no part, a second run doesn't miss it, and one that was released is named."""
    loaded = shop(make_migration, FLAWED.replace(" REFERENCES parent", "").replace("(3)", ""))
    settings = loaded.settings.model_copy(update={"exclude": ("parent",)})
    migration = replace(loaded, settings=settings)
    document = cut_over(migration, "left_out")
    assert [t["table"] for t in document["tables"]] == ["child"]
    assert standing.holds(migration).keys() == {"child"}
    assert execute(migration, acknowledged=NO_BACKUP, now=NOW).certificate is None
    with pytest.raises(GuardError, match="released since: parent"):
        execute(loaded, acknowledged=NO_BACKUP, now=NOW)


LOG = "CREATE TABLE log (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO log VALUES (1, 1);"


@pytest.mark.parametrize("policy", ["repair", "rollback"])
def test_what_the_application_writes_after_a_cutover_is_no_mismatch(
    make_migration: MakeMigration, policy: str
) -> None:
    """No policy, no repair and no rollback touches its rows; nor can the table be let go in error.

    Whoever gives the cutover up has to say so, and may repair and take back again.
    """
    migration = shop(make_migration, LOG, on_mismatch=policy)
    cut_over(migration)
    write_on_target(migration, "INSERT INTO log VALUES (2, 2)", "UPDATE log SET n = 9 WHERE id = 1")
    before = snapshot(migration)
    found = standing.verify(migration, "log")
    assert found is not None
    assert not found.proof.holds
    assert mismatch.settle(migration, "log", found, run="test") == ""
    for touch in (
        lambda: repair(migration, "log", run="test"),
        lambda: keep_target(migration, "log", reason="new rows"),
        lambda: undo.rollback(
            migration, "log", week=week(1) + timedelta(days=1), run="test", acknowledged=DISPLACE
        ),
        lambda: hold(migration, "log", "another reason"),
        lambda: release(migration, "log"),
    ):
        with pytest.raises(HoldError, match="cut over on") as caught:
            touch()
        assert "release log --cut-over" in caught.value.hint
        assert snapshot(migration) == before
    ended = release(migration, "log", cut_over=True)
    assert ended is not None
    assert ended.cut_over
    moved = repair(migration, "log", run="test")
    assert moved is not None
    assert moved.displaced == 2


@pytest.mark.parametrize("mode", ["log", "refuse"])
def test_the_write_guard_stays_away_after_a_cutover(
    make_migration: MakeMigration, mode: str
) -> None:
    """A run of the schedule that comes after it doesn't keep the application from writing."""
    migration = shop(make_migration, LOG, write_guard=mode)
    cut_over(migration)
    bootstrap(migration)
    write_on_target(migration, "INSERT INTO log VALUES (2, 2)")
    assert target_rows(migration, "SELECT FROM migration.foreign_write") == []


def test_keys_go_on_after_rows_of_the_targets_own(make_migration: MakeMigration) -> None:
    """Else the application's first rows would meet them."""
    migration = shop(make_migration, LOG)
    write_on_target(migration, "INSERT INTO log VALUES (2, 7), (5, 7)")
    keep_target(migration, "log", reason="agreed")
    cut_over(migration, "exceptions")
    write_on_target(migration, "INSERT INTO log (n) VALUES (8)")
    assert target_rows(migration, "SELECT id FROM log WHERE n = 8") == [(6,)]


def test_a_table_that_is_left_out_since_it_was_loaded_keeps_no_cutover_from_ending(
    make_migration: MakeMigration,
) -> None:
    """It isn't cut over, so a second run doesn't take it for one that was let go."""
    migration = shop(make_migration, f"{LOG} CREATE TABLE old (id INTEGER PRIMARY KEY)")
    settings = migration.settings.model_copy(update={"exclude": ("old",)})
    migration = replace(migration, settings=settings)

    def killed(stage: str) -> None:
        if stage == "held":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_over(migration, "left_out", at=killed)
    document = cut_over(migration, "left_out")
    assert document["verdict"] == "go with exception"
    assert standing.holds(migration).keys() == {"log"}


def test_a_cutover_that_is_given_up_leaves_the_open_week_its_own_cut(
    make_migration: MakeMigration,
) -> None:
    """The final cut is no week's: what is written after it is carried when the week has ended."""
    migration = shop(make_migration)
    cut_over(migration)
    for table in standing.holds(migration):
        release(migration, table, cut_over=True)
    write_on_target(migration, "ALTER TABLE product DROP CONSTRAINT product_best_customer_fkey")
    change(migration, "INSERT INTO log VALUES ('late', 'late', 9)")
    load_week(migration, 2, tables=["log"])
    assert_equal(migration, "log")
    assert target_rows(migration, "SELECT count(*) FROM log WHERE n = 9") == [(1,)]


# ------------------------------------------------------------------------------------- no-go


@pytest.mark.parametrize(
    ("make_it", "name", "said"),
    [
        ("CREATE TABLE new (id INTEGER PRIMARY KEY)", "tables", "new: never loaded"),
        ("INSERT INTO customer (name, mail) VALUES (x'00', 'z@z')", "quarantine", "1 rows of the"),
        ("DROP VIEW liked; DROP TABLE log", "tables", "log: loaded, and gone"),
    ],
)
def test_what_stops_a_cutover_is_said_beforehand(
    make_migration: MakeMigration, make_it: str, name: str, said: str
) -> None:
    """No word lets it pass, and nothing is changed."""
    migration = shop(make_migration)
    change(migration, *make_it.split("; "))
    found = condition(migration, name)
    assert found.verdict is Verdict.NO_GO
    assert any(said in detail for detail in found.details), found
    before = snapshot(migration)
    with pytest.raises(GuardError, match="no-go"):
        cut_over(migration, "violations", "left_out", "exceptions")
    assert snapshot(migration) == before


def test_a_change_that_waits_for_a_word_stops_it(make_migration: MakeMigration) -> None:
    """As it would stop the table's load."""
    migration = shop(make_migration, tables={"log": {"policy": "fail"}})
    change(migration, "UPDATE log SET n = 'many'")
    found = condition(migration, "source schema")
    assert found.verdict is Verdict.NO_GO
    assert found.details[0].startswith("log: column n"), found


def test_a_row_in_quarantine_is_never_left_behind(make_migration: MakeMigration) -> None:
    """Whatever is acknowledged."""
    migration = shop(make_migration)
    change(migration, "UPDATE log SET n = 'many' WHERE line = 'other'")
    change(migration, "INSERT INTO log VALUES ('x', 'y', 'many')")
    run_week(migration, 2)
    found = condition(migration, "quarantine", NOW + timedelta(weeks=1))
    assert found.verdict is Verdict.NO_GO
    assert found.details == ("log: 1 rows",)


def test_a_table_on_hold_stops_it(make_migration: MakeMigration) -> None:
    """Whoever held it had a reason."""
    migration = shop(make_migration)
    hold(migration, "log", "looked at")
    found = condition(migration, "holds")
    assert found.verdict is Verdict.NO_GO
    assert "looked at" in found.details[0]


def test_a_dry_run_changes_nothing_and_says_every_figure(make_migration: MakeMigration) -> None:
    """Neither on the target nor in the state folder."""
    migration = shop(make_migration)
    before, kept = snapshot(migration), migration.state.keys("")
    found = dry_run(migration, NOW)
    assert snapshot(migration) == before
    assert [k for k in migration.state.keys("") if not k.startswith("locks/")] == [
        k for k in kept if not k.startswith("locks/")
    ]
    figures = {c.name: c.figure for c in found.conditions}
    assert figures["tables"] == "all 4 tables of the source are loaded"
    assert figures["constraints"] == "10 CHECKs, lengths, foreign keys and views can be made"
    assert figures["open week"].startswith("5 rows changed since the last week; about ")
    assert found.verdict is Verdict.EXCEPTION
    assert [c.name for c in found.conditions if c.verdict is not Verdict.GO] == ["backup"]


def test_a_source_that_is_written_to_stops_before_anything_is_made(
    make_migration: MakeMigration,
) -> None:
    """The table is named; the next run takes another cut and ends well."""
    migration = shop(make_migration)

    def write(stage: str) -> None:
        if stage == "signed":
            change(migration, "INSERT INTO log VALUES ('late', 'late', 9)")

    with pytest.raises(GuardError, match="log: 1 rows") as stopped:
        cut_over(migration, at=write)
    assert "stop the application" in stopped.value.hint
    made = target_rows(migration, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'")
    assert made == [(2,)], "the ledger's own"
    assert standing.holds(migration) == {}
    (no_go,) = [k for k in migration.state.keys("reports") if k.endswith(".json")]
    assert json.loads(migration.state.read_text(no_go) or "")["verdict"] == "no-go"
    document = cut_over(migration)
    assert document["week"] == "2026-10-06", "the second final cut of the week"
    assert_cut_over(migration)


def test_rows_changed_on_the_target_meanwhile_stop_it(make_migration: MakeMigration) -> None:
    """After the sign-off, before the tables are on hold: what is held is what was signed."""
    migration = shop(make_migration)

    def write(stage: str) -> None:
        if stage == "cleaned":
            write_on_target(migration, "UPDATE log SET line = 'meddled' WHERE at = 'u'")

    with pytest.raises(TargetError, match="after the sign-off"):
        cut_over(migration, at=write)
    assert standing.holds(migration) == {}
    write_on_target(migration, "UPDATE log SET line = 'same' WHERE at = 'u'")
    cut_over(migration)
    assert_cut_over(migration)


def test_a_row_changed_after_its_verification_shows_in_the_sign_off(
    make_migration: MakeMigration,
) -> None:
    """It is a proof of its own: one changed value is enough, and nothing is made."""
    migration = shop(make_migration)

    def write(stage: str) -> None:
        if stage == "verified":
            write_on_target(migration, "UPDATE log SET line = 'meddled' WHERE at = 'u'")

    with pytest.raises(MigrationError, match="the sign-off differs") as stopped:
        cut_over(migration, at=write)
    assert "table log" in stopped.value.where


# ------------------------------------------------------------------------------- with exceptions

FLAWED = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code VARCHAR(3));
CREATE TABLE child (
    id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent, n INTEGER CHECK (n > 0)
);
CREATE VIEW odd AS SELECT round(id) FROM child;
INSERT INTO parent VALUES (1, 'long one');
INSERT INTO child VALUES (1, 1, 5), (2, 99, 6);
"""


def test_what_rows_are_in_the_way_of_is_left_out_by_a_word(make_migration: MakeMigration) -> None:
    """And named in the certificate; without the word nothing begins."""
    migration = shop(make_migration, FLAWED)
    assert condition(migration, "constraints").details == (
        (
            "child: foreign key child_parent_fkey: 1 rows at the source violate it"
            " ((parent) → parent (id))"
        ),
        "parent: length code: 1 rows at the source violate it (code VARCHAR(3))",
    )
    with pytest.raises(GuardError, match="constraints: rows are in the way of 2"):
        cut_over(migration)
    document = cut_over(migration, "violations", "left_out")
    left = [(o["kind"], o["name"]) for o in document["left_out"]]
    assert sorted(left) == [
        ("foreign key", "child_parent_fkey"),
        ("length", "code"),
        ("view", "odd"),
    ]
    assert [o["name"] for o in document["made"]] == ["child_check1"]
    assert document["verdict"] == "go with exception"
    assert "round" in markdown(dry_run(migration, NOW)).lower()


def test_an_object_of_the_targets_own_is_not_taken_for_ours(make_migration: MakeMigration) -> None:
    """Its name stops the cutover before it begins."""
    migration = shop(make_migration)
    write_on_target(migration, "CREATE VIEW public.expensive AS SELECT 1 AS one")
    found = condition(migration, "names")
    assert found.verdict is Verdict.NO_GO
    assert found.details == ("view expensive",)
    assert target_rows(migration, "SELECT one FROM public.expensive") == [(1,)]


def test_rows_that_were_accepted_to_differ_are_listed_and_need_a_word(
    make_migration: MakeMigration,
) -> None:
    """By table, origin, reason and name, never by key; the rest of the table is signed off."""
    migration = shop(make_migration)
    write_on_target(migration, "UPDATE product SET ratio = 9 WHERE code = 'bee'")
    keep_target(migration, "product", reason="known", by="Eve")
    found = condition(migration, "exceptions")
    assert found.verdict is Verdict.EXCEPTION
    assert found.details[0].startswith("product: a row kept by Eve at ")
    assert "id=8" not in markdown(dry_run(migration, NOW))
    with pytest.raises(GuardError, match="1 rows differ because somebody said so"):
        cut_over(migration)
    document = cut_over(migration, "exceptions")
    (signed,) = [s for s in document["sign_offs"] if s["table"] == "product"]
    assert (signed["rows"], signed["excepted"], signed["equal"]) == (3, 1, True)
    (proved,) = [t for t in document["tables"] if t["table"] == "product"]
    assert (proved["source_rows"], proved["target_rows"], proved["excepted"]) == (4, 4, 1)
    assert target_rows(migration, "SELECT ratio FROM product WHERE code = 'bee'") == [(9,)]


# ------------------------------------------------------------------------------------- backup


def test_the_backup_is_taken_first_and_kept(make_migration: MakeMigration) -> None:
    """It is the target as it stood before the final cut."""
    migration = shop(make_migration, backup="pg_dump")
    document = cut_over(migration)
    assert document["verdict"] == "go"
    made = document["backup"]
    file = migration.state.path(made["place"])
    assert file.stat().st_size == made["size"]
    assert file.stat().st_mode & 0o077 == 0
    assert_cut_over(migration)
