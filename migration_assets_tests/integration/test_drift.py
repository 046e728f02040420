"""Schema changes at the source: safe ones are carried by the table's own move, others wait."""

from dataclasses import replace
from typing import Any

import pytest

from migration_assets import standing, step
from migration_assets.errors import DriftError, MigrationError, SettingsError, TargetError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.model import Kind, Policy
from migration_assets_tests.fixtures_migration import (
    DISPLACE,
    MakeMigration,
    assert_equal,
    assert_proved,
    carry,
    change,
    load_week,
    mapping_of,
    on_target,
    run_week,
    snapshot,
    target_rows,
    week,
    write_on_target,
)
from migration_assets_tests.telling import columns, telling

ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER);
INSERT INTO item VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30), (4, 'd', NULL);
"""
KEYLESS = ITEMS.replace(" PRIMARY KEY", "")


def last_entry(migration: Migration, table: str = "item") -> dict[str, Any]:
    """Return the last entry of a table in the ledger."""
    with on_target(migration) as connection:
        cursor = connection.execute(
            "SELECT * FROM migration.ledger WHERE table_name = %s ORDER BY entry DESC LIMIT 1",
            (table,),
        )
        row = cursor.fetchone()
        assert row is not None
        return dict(zip([c.name for c in cursor.description or ()], row, strict=True))


def types_on_target(migration: Migration, table: str = "item") -> dict[str, tuple[str, bool]]:
    """Return the columns that stand on the target: type, and whether NOT NULL."""
    found = target_rows(
        migration,
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        f" WHERE attrelid = 'public.{table}'::regclass AND attnum > 0 AND NOT attisdropped",
    )
    return {name: (kind, required) for name, kind, required in found}


def stopped(migration: Migration, number: int, table: str = "item") -> DriftError:
    """Run a week that the table's drift stops, and nothing else; return why."""
    step.take_cut(migration, week(number))
    before = snapshot(migration)
    error = run_week(migration, number)[table]
    assert isinstance(error, DriftError), error
    with pytest.raises(DriftError):
        carry(migration, number, table)
    assert snapshot(migration) == before
    return error


def carried(migration: Migration, number: int, *kept: str) -> dict[str, Any]:
    """Run a week, have it judged and proved; return the table's last entry."""
    load_week(migration, number)
    assert_equal(migration, extra_columns=kept)
    assert_proved(migration, "item")
    return last_entry(migration)


both_kinds = pytest.mark.parametrize("schema", [ITEMS, KEYLESS], ids=["by key", "without a key"])


def test_a_table_that_did_not_change_keeps_its_mapping(make_migration: MakeMigration) -> None:
    """To the byte: else every week would be a move between mappings."""
    migration = make_migration(ITEMS)
    first = load_week(migration, 1)["item"].mapping
    change(migration, "UPDATE item SET amount = 11 WHERE id = 1")
    entry = carried(migration, 2)
    assert (entry["kind"], entry["mapping"], entry["ddl"]) == ("load", first.hash, [])
    assert entry["updated"] == 1


# ------------------------------------------------------------------------------------- added


@both_kinds
@pytest.mark.parametrize(
    "added", ["note TEXT", "note TEXT DEFAULT 'none'", "note TEXT NOT NULL DEFAULT ''"]
)
def test_an_added_column_arrives_with_its_values(
    make_migration: MakeMigration, schema: str, added: str
) -> None:
    """Nullable, with a default, NOT NULL: in the table's own move, with the ledger's word on it."""
    migration = make_migration(schema)
    load_week(migration, 1)
    change(
        migration,
        f"ALTER TABLE item ADD COLUMN {added}",
        "UPDATE item SET note = 'first' WHERE id = 2",
        "INSERT INTO item VALUES (5, 'e', 50, 'new')",
        "DELETE FROM item WHERE id = 3",
    )
    entry = carried(migration, 2)
    assert entry["kind"] == "schema"
    assert entry["changes"] == ["column note is new: text"]
    assert entry["ddl"][0] == 'ALTER TABLE "public"."item" ADD COLUMN "note" text'
    assert types_on_target(migration)["note"] == ("text", "NOT NULL" in added)
    assert mapping_of(migration, "item").hash == entry["mapping"]
    change(migration, "UPDATE item SET note = 'second' WHERE id = 1")
    assert carried(migration, 3)["kind"] == "load"


def test_an_added_generated_column_arrives_with_its_values(make_migration: MakeMigration) -> None:
    """Whatever computes it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item ADD COLUMN twice INTEGER AS (2 * amount)")
    carried(migration, 2)
    assert target_rows(migration, "SELECT twice FROM item ORDER BY id")[0] == (20,)


def test_an_added_column_is_typed_by_its_values(make_migration: MakeMigration) -> None:
    """The census of the new cut decides, as it does for a new table."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration, "ALTER TABLE item ADD COLUMN at DATE", "UPDATE item SET at = '2026-01-0' || id"
    )
    carried(migration, 2)
    assert types_on_target(migration)["at"] == ("date", False)


def test_a_column_without_values_is_typed_when_it_has_some(make_migration: MakeMigration) -> None:
    """Until then it stays open; the same move closes it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item ADD COLUMN extra BLOB")
    carried(migration, 2)
    assert mapping_of(migration, "item").column("extra").open
    change(migration, "UPDATE item SET extra = 'words' WHERE id = 1")
    entry = carried(migration, 3)
    assert entry["changes"] == ["column extra: its first values; it is text"]
    assert types_on_target(migration)["extra"] == ("text", False)
    assert not mapping_of(migration, "item").column("extra").open
    assert entry["quarantined"] == 0


def test_a_column_of_the_target_s_own_is_never_taken(make_migration: MakeMigration) -> None:
    """The load stops before anything is written, and goes on when the name is free."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE item ADD note int DEFAULT 7")
    change(migration, "ALTER TABLE item ADD COLUMN Note TEXT")
    before = snapshot(migration)
    error = run_week(migration, 2)["item"]
    assert isinstance(error, TargetError)
    assert "a column note of its own" in str(error)
    assert snapshot(migration) == before
    write_on_target(migration, "ALTER TABLE item RENAME note TO ours")
    carried(migration, 3, "ours")
    assert target_rows(migration, "SELECT DISTINCT ours FROM item") == [(7,)]


# ----------------------------------------------------------------------------------- dropped


@both_kinds
def test_a_dropped_column_stays_on_the_target_with_its_values(
    make_migration: MakeMigration, schema: str
) -> None:
    """No longer written, no longer in the way of new rows, and said."""
    migration = make_migration(schema.replace("name TEXT", "name TEXT NOT NULL"))
    load_week(migration, 1)
    change(
        migration,
        "ALTER TABLE item DROP COLUMN name",
        "INSERT INTO item VALUES (5, 50)",
    )
    entry = carried(migration, 2, "name")
    assert "column name is gone" in entry["changes"][0]
    assert types_on_target(migration)["name"] == ("text", False)
    kept = target_rows(migration, "SELECT id, name FROM item ORDER BY id")
    assert kept == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, None)]
    mapping = mapping_of(migration, "item")
    assert mapping.kept == ("name",)
    assert any("name" in note for note in mapping.notes)
    change(migration, "UPDATE item SET amount = 1 WHERE id = 1")
    assert carried(migration, 3, "name")["kind"] == "load"


def test_a_later_column_of_that_name_does_not_take_the_old_values(
    make_migration: MakeMigration,
) -> None:
    """It gets another name on the target, which is said."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item DROP COLUMN name")
    carried(migration, 2, "name")
    change(migration, "ALTER TABLE item ADD COLUMN name TEXT DEFAULT 'z'")
    load_week(migration, 3)
    assert_proved(migration, "item")
    target = mapping_of(migration, "item").column("name").target
    assert target.startswith("name_")
    assert f"on the target {target}" in last_entry(migration)["changes"][0]
    rows = target_rows(migration, f'SELECT name, "{target}" FROM item ORDER BY id')
    assert rows == [("a", "z"), ("b", "z"), ("c", "z"), ("d", "z")]


# ----------------------------------------------------------------------------------- renamed


@both_kinds
def test_a_renamed_column_is_proposed_and_carried_when_confirmed(
    make_migration: MakeMigration, schema: str
) -> None:
    """Values that agree tell it; nothing is done before somebody says so."""
    migration = make_migration(schema)
    load_week(migration, 1)
    change(
        migration,
        "ALTER TABLE item RENAME COLUMN name TO title",
        "INSERT INTO item VALUES (5, 'e', 50)",
    )
    error = stopped(migration, 2)
    assert "column title seems to be column name" in error.what
    assert "`title: {renamed_from: name}` below `tables: item: columns`" in error.hint
    confirmed = telling(migration, columns=columns(title={"renamed_from": "name"}))
    entry = carried(confirmed, 3)
    assert entry["changes"] == ["column title was called name"]
    assert entry["ddl"] == ['ALTER TABLE "public"."item" RENAME COLUMN "name" TO "title"']
    assert (entry["inserted"], entry["updated"], entry["deleted"]) == (1, 0, 0)
    assert list(types_on_target(migration)) == ["id", "title", "amount"]
    assert carried(confirmed, 4)["kind"] == "load", "the line may stay where it is"
    assert carried(migration, 5)["kind"] == "load", "and may go"


def test_the_older_name_of_a_column_may_be_given_to_another(make_migration: MakeMigration) -> None:
    """What was confirmed once may stay in the settings; who refers to it says the new name."""
    refers = "CREATE TABLE part (id INTEGER PRIMARY KEY, of TEXT REFERENCES item (name));"
    unique = "CREATE UNIQUE INDEX by_name ON item (name);"
    migration = make_migration(ITEMS + unique + refers)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item RENAME COLUMN name TO title")
    migration = telling(migration, columns=columns(title={"renamed_from": "name"}))
    load_week(migration, 2)
    assert last_entry(migration, "part")["changes"] == [
        "what waits for the cutover, or can't be made"
    ]
    change(
        migration,
        "ALTER TABLE item ADD COLUMN name TEXT",
        "UPDATE item SET name = 'another ' || id",
    )
    assert carried(migration, 3)["changes"] == ["column name is new: text"]
    assert carried(migration, 4)["kind"] == "load"


def test_a_rename_that_is_denied_is_a_dropped_and_an_added_column(
    make_migration: MakeMigration,
) -> None:
    """Both stand on the target then."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item RENAME COLUMN name TO title")
    carried(telling(migration, columns=columns(title={"renamed_from": ""})), 2, "name")
    assert target_rows(migration, "SELECT name, title FROM item WHERE id = 1") == [("a", "a")]


def test_a_column_that_went_and_another_that_came_are_not_taken_for_one(
    make_migration: MakeMigration,
) -> None:
    """Their values don't agree, so nobody has to say anything."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration,
        "ALTER TABLE item DROP COLUMN name",
        "ALTER TABLE item ADD COLUMN title TEXT",
        "UPDATE item SET title = 'x' || id",
    )
    carried(migration, 2, "name")


def test_a_name_in_another_case_is_the_same_name(make_migration: MakeMigration) -> None:
    """As it is to SQLite; nothing has to be altered."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item RENAME COLUMN name TO NAME")
    entry = carried(migration, 2)
    assert (entry["kind"], entry["ddl"]) == ("schema", [])


def test_a_name_in_another_case_keeps_the_name_that_it_was_given(
    make_migration: MakeMigration,
) -> None:
    """One that carries a hash of the whole name, since it is too long or was taken."""
    long = "n" * 70
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "ALTER TABLE item DROP COLUMN name")
    load_week(migration, 2)
    change(migration, *(f"ALTER TABLE item ADD COLUMN {name}" for name in ("name", long)))
    load_week(migration, 3)
    before = types_on_target(migration)
    for name in ("name", long):
        change(migration, f"ALTER TABLE item RENAME COLUMN {name} TO {name.upper()}")
    load_week(migration, 4)
    entry = last_entry(migration)
    assert (entry["kind"], entry["ddl"]) == ("schema", [])
    assert types_on_target(migration) == before
    assert_proved(migration, "item")


def test_a_renamed_key_is_carried_when_confirmed(make_migration: MakeMigration) -> None:
    """Both that it is the key and that it is the same column are one confirmation."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration, "ALTER TABLE item RENAME COLUMN id TO number", "DELETE FROM item WHERE number=2"
    )
    error = stopped(migration, 2)
    assert "column number seems to be column id" in error.what
    entry = carried(telling(migration, columns=columns(number={"renamed_from": "id"})), 3)
    assert (entry["deleted"], entry["updated"]) == (1, 0)


# ----------------------------------------------------------------------------------- retyped


def rebuilt(declared: str, copied: str = "*") -> tuple[str, ...]:
    """Return what declares the table's columns anew and keeps its rows."""
    return (
        "ALTER TABLE item RENAME TO earlier",
        f"CREATE TABLE item ({declared})",
        f"INSERT INTO item SELECT {copied} FROM earlier",
        "DROP TABLE earlier",
    )


def test_another_declaration_that_every_value_fits_changes_nothing_else(
    make_migration: MakeMigration,
) -> None:
    """The sealed type stands."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, *rebuilt("id INTEGER PRIMARY KEY, name VARCHAR(20), amount NUMERIC"))
    entry = carried(migration, 2)
    assert (entry["kind"], entry["ddl"]) == ("schema", [])
    assert entry["updated"] == 0
    assert types_on_target(migration)["amount"] == ("bigint", False)


RETYPED = rebuilt("id INTEGER PRIMARY KEY, name TEXT, amount TEXT")


def test_values_that_no_longer_fit_are_quarantined_within_the_guard(
    make_migration: MakeMigration,
) -> None:
    """The default: the sealed type stays, the guard stops it, and whole rows stand aside."""
    migration = make_migration(ITEMS, quarantine_rows=0)
    load_week(migration, 1)
    change(migration, *RETYPED)
    error = run_week(migration, 2)["item"]
    assert isinstance(error, MigrationError)
    assert "3 of 4 rows don't fit" in str(error)
    load_week(migration, 3, acknowledged=frozenset({"quarantine_limit"}))
    assert_equal(migration)
    entry = last_entry(migration)
    assert entry["quarantined"] == 3
    assert "3 values don't fit bigint, so their rows are quarantined" in entry["changes"][1]


@both_kinds
def test_a_column_that_may_widen_does(make_migration: MakeMigration, schema: str) -> None:
    """To the next type that holds every value of the cut; the proof is made under it."""
    migration = make_migration(schema)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 1.5 WHERE id = 1")
    entry = carried(telling(migration, policy=Policy.WIDEN), 2)
    assert entry["changes"] == [
        "column amount becomes numeric: 1 value doesn't fit bigint (policy widen)"
    ]
    assert entry["quarantined"] == 0
    assert types_on_target(migration)["amount"][0] == "numeric"
    change(migration, "UPDATE item SET amount = 'many' WHERE id = 2")
    entry = carried(telling(migration, columns=columns(amount={"policy": Policy.WIDEN})), 3)
    assert types_on_target(migration)["amount"][0] == "text"
    assert entry["quarantined"] == 0
    assert carried(migration, 4)["kind"] == "load", "a policy is not sealed"


def test_a_policy_to_fail_stops_the_table_with_columns_and_counts(
    make_migration: MakeMigration,
) -> None:
    """For a column alone too, against its table's policy."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 'many' WHERE id < 3")
    error = stopped(telling(migration, policy=Policy.FAIL), 2)
    assert "column amount: 2 values don't fit bigint, and its policy is to fail" in error.what
    spared = columns(amount={"policy": Policy.QUARANTINE})
    load_week(telling(migration, policy=Policy.FAIL, columns=spared), 3)
    assert last_entry(migration)["quarantined"] == 2


def test_policies_count_at_the_first_load_too(make_migration: MakeMigration) -> None:
    """What the census tolerates, a policy may not."""
    rows = ", ".join(f"({n}, {n})" for n in range(2000))
    migration = make_migration(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, amount INTEGER);"
        f"INSERT INTO item VALUES {rows}; UPDATE item SET amount = 1.5 WHERE id = 7;"
    )
    error = run_week(telling(migration, policy=Policy.FAIL), 1)["item"]
    assert isinstance(error, DriftError)
    load_week(telling(migration, policy=Policy.WIDEN), 1)
    assert_equal(migration)
    assert types_on_target(migration)["amount"][0] == "numeric"


def test_a_type_that_the_settings_pin_is_carried(make_migration: MakeMigration) -> None:
    """Narrower or wider, by the same proof."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    pinned = telling(migration, columns=columns(amount={"type": "text"}, name={"type": "bytea"}))
    change(migration, "UPDATE item SET amount = 'many' WHERE id = 1", "UPDATE item SET name = NULL")
    entry = carried(pinned, 2)
    assert types_on_target(migration)["name"][0] == "bytea"
    assert mapping_of(migration, "item").column("amount").type.kind is Kind.TEXT
    assert entry["quarantined"] == 0
    assert target_rows(migration, "SELECT amount FROM item WHERE id = 1") == [("many",)]


def test_a_column_that_converts_nothing_any_more_gets_a_type_of_its_own(
    make_migration: MakeMigration,
) -> None:
    """A numeric doesn't tell integers from reals; only the affinity that went did."""
    migration = make_migration(ITEMS.replace("amount INTEGER", "amount NUMERIC"))
    change(migration, "UPDATE item SET amount = 1.5 WHERE id = 1")
    load_week(migration, 1)
    assert types_on_target(migration)["amount"][0] == "numeric"
    change(migration, *rebuilt("id INTEGER PRIMARY KEY, name TEXT, amount"))
    entry = carried(migration, 2)
    assert "column amount: its values are taken otherwise; it is bigint" in entry["changes"]
    assert entry["quarantined"] == 1, "no type holds both of such a column's"


def test_a_key_takes_another_type(make_migration: MakeMigration) -> None:
    """Every key is converted where it stands; where one can't be, the move stops."""
    migration = make_migration(
        "CREATE TABLE item (code TEXT PRIMARY KEY, amount INTEGER) WITHOUT ROWID;"
        "INSERT INTO item VALUES ('1', 10), ('2', 20);"
    )
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE item ADD ours int", "UPDATE item SET ours = amount")
    pinned = telling(migration, columns=columns(code={"type": "bytea"}))
    change(migration, "UPDATE item SET code = x'31' WHERE code = '1'")
    entry = carried(pinned, 2, "ours")
    assert entry["quarantined"] == 1
    assert target_rows(migration, "SELECT code, ours FROM item") == [(b"1", 10)]
    change(migration, "UPDATE item SET code = 'x' || amount")
    stopping = telling(migration, columns=columns(code={"type": "date"}))
    error = run_week(stopping, 3)["item"]
    assert isinstance(error, TargetError)
    assert "can't be turned into its new type" in str(error)
    load_week(telling(migration, columns=columns(code={"type": "text"})), 4)
    assert_equal(migration, extra_columns=["ours"])


# ------------------------------------------------------------- NOT NULL, order, indexes, keys


def test_not_null_comes_and_goes(make_migration: MakeMigration) -> None:
    """On the target as at the source."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, *rebuilt("id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER"))
    entry = carried(migration, 2)
    assert entry["changes"] == ["column name is NOT NULL"]
    assert types_on_target(migration)["name"] == ("text", True)
    change(
        migration,
        *rebuilt("id INTEGER PRIMARY KEY, name TEXT, amount INTEGER"),
        "INSERT INTO item VALUES (9, NULL, 9)",
    )
    carried(migration, 3)
    assert types_on_target(migration)["name"] == ("text", False)


def test_another_order_of_columns_is_followed(make_migration: MakeMigration) -> None:
    """Nothing is altered; every value stays with its column."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration,
        *rebuilt("amount INTEGER, name TEXT, id INTEGER PRIMARY KEY", "amount, name, id"),
    )
    entry = carried(migration, 2)
    assert (entry["changes"], entry["ddl"]) == (["the order of the columns"], [])
    assert entry["updated"] == 0


def indexes(migration: Migration) -> list[str]:
    """Return the definitions of the table's indexes, without their names."""
    found = target_rows(
        migration,
        "SELECT regexp_replace(indexdef, ' INDEX \\S+', ' INDEX') FROM pg_indexes"
        " WHERE tablename = 'item'",
    )
    return sorted(definition for (definition,) in found)


def test_indexes_come_and_go(make_migration: MakeMigration) -> None:
    """Plain, unique, folded; those that stay keep their names."""
    migration = make_migration(
        ITEMS
        + "CREATE INDEX by_name ON item (name); CREATE INDEX by_amount ON item (amount);"
        + "CREATE INDEX by_length ON item (length(name))"
    )
    load_week(migration, 1)
    change(
        migration,
        "DROP INDEX by_amount",
        "DROP INDEX by_length",
        "CREATE UNIQUE INDEX by_name_too ON item (name COLLATE NOCASE)",
        "CREATE UNIQUE INDEX by_both ON item (amount, name)",
    )
    entry = carried(migration, 2)
    assert len(entry["ddl"]) == 4
    assert sorted(entry["changes"]) == [
        'index ((pg_catalog.length("name")::bigint)) is gone',
        "index (amount) is gone",
        "index UNIQUE (amount, name) is new",
        "index UNIQUE (name NOCASE) is new",
    ]
    assert indexes(migration) == [
        "CREATE INDEX ON public.item USING btree (name)",
        "CREATE UNIQUE INDEX ON public.item USING btree (amount, name)",
        "CREATE UNIQUE INDEX ON public.item USING btree (id)",
        'CREATE UNIQUE INDEX ON public.item USING btree (lower((name COLLATE "C")))',
    ]
    change(migration, "UPDATE item SET name = 'B' WHERE id = 2")
    assert carried(migration, 3)["kind"] == "load"


def test_a_unique_index_that_went_does_not_stop_its_twins(make_migration: MakeMigration) -> None:
    """Rows that it would refuse come in the same move."""
    migration = make_migration(ITEMS + "CREATE UNIQUE INDEX by_name ON item (name);")
    load_week(migration, 1)
    change(migration, "DROP INDEX by_name", "UPDATE item SET name = 'a'")
    carried(migration, 2)


def test_text_of_a_new_index_orders_by_bytes(make_migration: MakeMigration) -> None:
    """As in a table that had it from the first."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "CREATE INDEX by_name ON item (name)")
    carried(migration, 2)
    (collation,) = target_rows(
        migration,
        "SELECT collname FROM pg_attribute AS a JOIN pg_collation AS c ON c.oid = a.attcollation"
        " WHERE attrelid = 'public.item'::regclass AND attname = 'name'",
    )
    assert collation == ("C",)


REKEYED = rebuilt("id INTEGER NOT NULL, name TEXT, amount INTEGER, PRIMARY KEY (id, name)")


def test_another_key_waits_for_a_word(make_migration: MakeMigration) -> None:
    """Then the old key's rows become the new one's, and the key itself another."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE item ADD ours int", "UPDATE item SET ours = id")
    change(migration, *REKEYED, "UPDATE item SET amount = 1 WHERE id = 2")
    error = stopped(migration, 2)
    assert "the key was (id); the source's is (id, name) now" in error.what
    assert "`key: [id, name]` below `tables: item`" in error.hint
    entry = carried(telling(migration, key=("id", "name")), 3, "ours")
    assert entry["updated"] == 1
    assert types_on_target(migration)["name"] == ("text", True)
    assert "CREATE UNIQUE INDEX ON public.item USING btree (id, name)" in indexes(migration)
    assert target_rows(migration, "SELECT count(*) FROM item WHERE ours = id") == [(4,)]
    change(migration, "INSERT INTO item VALUES (1, 'z', 1)")
    assert carried(migration, 4, "ours")["kind"] == "load"


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ("amount", "1 rows have NULL in their key (amount)"),
        ("kind", "1 keys (kind) stand in more than one row"),
    ],
)
def test_a_key_that_does_not_tell_rows_apart_is_refused(
    make_migration: MakeMigration, column: str, why: str
) -> None:
    """As at a first load: no row is quarantined for a key that somebody wrote into the settings."""
    migration = make_migration(ITEMS + "ALTER TABLE item ADD COLUMN kind TEXT DEFAULT 'k';")
    load_week(migration, 1)
    error = run_week(telling(migration, key=[column]), 2)["item"]
    assert isinstance(error, SettingsError)
    assert why in error.what
    assert "`key: []`" in error.hint


def test_the_new_key_finds_rows_that_the_older_one_no_longer_tells_apart(
    make_migration: MakeMigration,
) -> None:
    """Columns of the target's own stay with their rows."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "ALTER TABLE item ADD ours int", "UPDATE item SET ours = id")
    change(
        migration,
        *REKEYED,
        "INSERT INTO item VALUES (1, 'z', 1)",
        "UPDATE item SET amount = 7 WHERE id = 3",
        "DELETE FROM item WHERE id = 2",
    )
    entry = carried(telling(migration, key=("id", "name")), 2, "ours")
    assert (entry["inserted"], entry["updated"], entry["deleted"]) == (1, 1, 1)
    rows = target_rows(migration, "SELECT id, name, ours FROM item ORDER BY id, name")
    assert rows == [(1, "a", 1), (1, "z", None), (3, "c", 3), (4, "d", 4)]


def test_another_column_takes_the_place_of_a_key_that_went(make_migration: MakeMigration) -> None:
    """The older key's values stay beside it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration,
        *rebuilt("name TEXT NOT NULL PRIMARY KEY, amount INTEGER", "name, amount"),
        "UPDATE item SET amount = 7 WHERE name = 'c'",
        "INSERT INTO item VALUES ('e', 5)",
    )
    assert "`key: [name]` below `tables: item`" in stopped(migration, 2).hint
    entry = carried(telling(migration, key=("name",)), 3, "id")
    assert (entry["inserted"], entry["updated"], entry["deleted"]) == (1, 1, 0)
    assert target_rows(migration, "SELECT id FROM item ORDER BY name") == [
        *((1,), (2,), (3,), (4,)),
        (None,),
    ]


def test_the_target_s_own_columns_never_part_from_their_rows(
    make_migration: MakeMigration,
) -> None:
    """Where no key can carry them over the move stops; without them rows are compared whole."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    keyless = telling(migration, key=())
    change(
        migration,
        *rebuilt("id INTEGER, name TEXT, amount INTEGER"),
        "INSERT INTO item VALUES (1, 'z', 1)",
        "DELETE FROM item WHERE id = 2",
    )
    write_on_target(migration, "ALTER TABLE item ADD ours int")
    before = snapshot(migration)
    error = run_week(keyless, 2)["item"]
    assert isinstance(error, TargetError)
    assert "can't be carried over: ours" in str(error)
    assert snapshot(migration) == before
    write_on_target(migration, "ALTER TABLE item DROP ours")
    entry = carried(keyless, 3)
    assert (entry["inserted"], entry["updated"], entry["deleted"]) == (1, 0, 1)


def test_settings_that_changed_since_a_first_delta_was_stored_count(
    make_migration: MakeMigration,
) -> None:
    """Its mapping was only a proposal."""
    migration = make_migration(ITEMS)
    step.take_cut(migration, week(1))
    step.make_delta(migration, "item", week(1))
    pinned = telling(migration, columns=columns(amount={"type": "numeric"}))
    assert carry(pinned, 1, "item").mapping.column("amount").type.kind is Kind.NUMERIC
    assert last_entry(migration)["kind"] == "load"


def test_the_source_s_key_may_be_left_alone(make_migration: MakeMigration) -> None:
    """The sealed key goes on where the settings name it."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, *REKEYED)
    entry = carried(telling(migration, key=("id",)), 2)
    assert mapping_of(migration, "item").key == ("id",)
    assert any("UNIQUE (id, name) is new" in what for what in entry["changes"])


def test_a_table_gets_a_key_and_loses_it(make_migration: MakeMigration) -> None:
    """From a multiset of rows to keyed ones, and back."""
    migration = make_migration(KEYLESS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 5 WHERE id = 1")
    carried(telling(migration, key=("id",)), 2)
    assert mapping_of(migration, "item").key == ("id",)
    change(migration, "INSERT INTO item VALUES (1, 'a', 5)")
    carried(telling(migration, key=()), 3)
    assert mapping_of(migration, "item").key == ()
    assert types_on_target(migration)["id"] == ("bigint", False)


def test_rowids_come_and_go(make_migration: MakeMigration) -> None:
    """A table that is made anew WITHOUT ROWID keeps its key, and numbers no rows any more."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    declared = "id INTEGER PRIMARY KEY, name TEXT, amount INTEGER"
    renamed, _, *rest = rebuilt(declared)
    change(migration, renamed, f"CREATE TABLE item ({declared}) STRICT, WITHOUT ROWID", *rest)
    assert carried(migration, 2)["kind"] == "schema"


def test_all_at_once(make_migration: MakeMigration) -> None:
    """Added, dropped, renamed, retyped, reordered, indexed, and rows changed, in one move."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(
        migration,
        *rebuilt(
            "cost REAL, title TEXT NOT NULL UNIQUE, number INTEGER PRIMARY KEY", "amount, name, id"
        ),
        "ALTER TABLE item ADD COLUMN at DATE",
        "UPDATE item SET at = '2026-11-24', cost = 0.5 WHERE number = 1",
        "INSERT INTO item VALUES (NULL, 'e', 5, NULL)",
        "DELETE FROM item WHERE number = 2",
    )
    told = columns(
        title={"renamed_from": "name"},
        number={"renamed_from": "id"},
        cost={"renamed_from": "amount", "policy": Policy.WIDEN},
    )
    entry = carried(telling(migration, columns=told), 2)
    assert entry["quarantined"] == 0
    assert types_on_target(migration) == {
        "number": ("bigint", True),
        "title": ("text", True),
        "cost": ("double precision", False),
        "at": ("date", False),
    }


# ------------------------------------------------------------------------------- the one step


def test_a_foreign_write_is_seen_under_the_older_mapping(make_migration: MakeMigration) -> None:
    """It stops the move, or its row is kept and replaced."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "UPDATE item SET name = 'foreign' WHERE id = 2")
    change(migration, "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'n'")
    before = snapshot(migration)
    error = run_week(migration, 2)["item"]
    assert "by someone else" in str(error)
    assert snapshot(migration) == before
    assert "note" not in types_on_target(migration)
    load_week(migration, 3, acknowledged=DISPLACE)
    assert_equal(migration)
    assert target_rows(migration, "SELECT target_row FROM migration.displaced") == [
        ("(2,foreign,20)",)
    ]


def test_a_view_on_a_column_that_changes_its_type_is_named(make_migration: MakeMigration) -> None:
    """With the way out; nothing is changed before."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "CREATE VIEW seen AS SELECT amount FROM item")
    change(migration, "UPDATE item SET amount = 'many' WHERE id = 1")
    widening = telling(migration, policy=Policy.WIDEN)
    before = snapshot(migration)
    error = run_week(widening, 2)["item"]
    assert isinstance(error, TargetError)
    assert "view public.seen" in str(error)
    assert "make it anew" in error.hint
    assert snapshot(migration) == before
    write_on_target(migration, "DROP VIEW seen")
    carried(widening, 3)


def test_a_column_that_others_refer_to_is_renamed_under_them(make_migration: MakeMigration) -> None:
    """Views of the target follow."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    write_on_target(migration, "CREATE VIEW seen AS SELECT name FROM item")
    change(migration, "ALTER TABLE item RENAME COLUMN name TO title")
    carried(telling(migration, columns=columns(title={"renamed_from": "name"})), 2)
    assert len(target_rows(migration, "SELECT name FROM seen")) == 4


def test_a_late_week_after_a_change_is_covered(make_migration: MakeMigration) -> None:
    """The newer cut carries the change; the older week does nothing."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    step.take_cut(migration, week(2))
    change(migration, "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'n'")
    step.take_cut(migration, week(3))
    assert carry(migration, 3, "item").outcome is Outcome.LOADED
    assert carry(migration, 2, "item").outcome is Outcome.COVERED
    assert_equal(migration)


def test_an_older_delta_is_never_read_under_another_mapping(make_migration: MakeMigration) -> None:
    """One that was stored before the settings changed is made anew, whole."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 11 WHERE id = 1")
    step.take_cut(migration, week(2))
    stored = step.make_delta(migration, "item", week(2))
    assert stored.changes == 1
    pinned = telling(migration, columns=columns(amount={"type": "numeric"}))
    carried(pinned, 2)
    assert last_entry(migration)["kind"] == "schema"
    change(migration, "UPDATE item SET amount = 12 WHERE id = 1")
    step.take_cut(migration, week(3))
    assert step.make_delta(pinned, "item", week(3)).changes == 1
    carried(pinned, 3)


def test_a_delta_of_a_mapping_that_was_given_up_is_never_read(
    make_migration: MakeMigration,
) -> None:
    """Settings that said something when it was stored, and no longer do."""
    migration = make_migration(ITEMS)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = 11 WHERE id = 1")
    step.take_cut(migration, week(2))
    pinned = telling(migration, columns=columns(amount={"type": "text"}))
    assert step.make_delta(pinned, "item", week(2)).changes == 4
    assert carry(migration, 2, "item").updated == 1
    assert_equal(migration)
    assert types_on_target(migration)["amount"][0] == "bigint"


def test_a_dropped_table_stops_alone_and_keeps_its_rows(make_migration: MakeMigration) -> None:
    """The others go on."""
    migration = make_migration(ITEMS + "CREATE TABLE other (id INTEGER PRIMARY KEY);")
    load_week(migration, 1)
    change(migration, "DROP TABLE item")
    step.take_cut(migration, week(2))
    with pytest.raises(MigrationError, match="is not in this cut"):
        carry(migration, 2, "item")
    assert carry(migration, 2, "other").outcome is Outcome.LOADED
    assert target_rows(migration, "SELECT count(*) FROM item") == [(4,)]
    found = standing.inspect(migration, "item")
    assert found is not None
    assert [f.what for f in found.schema.findings] == ["at the source: table item is gone"]


def test_a_delta_that_can_not_be_made_is_noted_as_an_attempt(
    make_migration: MakeMigration,
) -> None:
    """No load will come to note it, and status must not call the week just open."""
    migration = make_migration(ITEMS + "CREATE TABLE other (id INTEGER PRIMARY KEY);")
    load_week(migration, 1)
    change(migration, "DROP TABLE item")
    step.take_cut(migration, week(2))
    with pytest.raises(MigrationError, match="is not in this cut"):
        step.make_delta(migration, "item", week(2), run="r")
    found = standing.standing(migration, ["item"], [week(2)])
    assert found.cells["item"][week(2)].state == "failed"
    assert "is not in this cut" in found.reasons["item", week(2)]


def test_a_dropped_table_that_is_excluded_may_keep_its_settings(
    make_migration: MakeMigration,
) -> None:
    """Until somebody excludes it, it may be a misspelt name, so new tables wait."""
    migration = make_migration(ITEMS, tables={"item": {"columns": {"name": {"type": "text"}}}})
    load_week(migration, 1)
    change(migration, "DROP TABLE item", "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    step.take_cut(migration, week(2))
    assert standing.schema_drift(migration, week(2)) == {
        "item": ["to confirm: the table is gone (add it to `exclude`)"]
    }
    with pytest.raises(MigrationError, match="the source has no table item") as caught:
        step.make_delta(migration, "other", week(2))
    assert "add it to `exclude`" in caught.value.hint
    settings = migration.settings.model_copy(update={"exclude": ("item",)})
    excluded = replace(migration, settings=settings)
    assert standing.schema_drift(excluded, week(2)) == {}
    assert carry(excluded, 2, "other").outcome is Outcome.LOADED


def test_settings_of_columns_that_went_do_not_stop_the_weeks_after(
    make_migration: MakeMigration,
) -> None:
    """A team that pinned its types drops one column and renames another twice."""
    pinned = {name: {"type": kind} for name, kind in (("name", "text"), ("amount", "bigint"))}
    migration = make_migration(ITEMS, tables={"item": {"columns": pinned}})
    load_week(migration, 1)
    change(migration, "ALTER TABLE item DROP COLUMN amount")
    load_week(migration, 2)
    change(migration, "ALTER TABLE item RENAME COLUMN name TO title")
    load_week(telling(migration, columns=pinned | {"title": {"renamed_from": "name"}}), 3)
    change(migration, "ALTER TABLE item RENAME COLUMN title TO heading")
    twice = {"title": {"renamed_from": "name"}, "heading": {"renamed_from": "title"}}
    for number in (4, 5):
        load_week(telling(migration, columns=pinned | twice), number)
    assert mapping_of(migration, "item").column("heading").type.sql == "text"
    assert_equal(migration, "item", extra_columns=["amount"])
