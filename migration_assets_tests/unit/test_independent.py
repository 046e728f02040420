"""The judge of the acceptance has to be right before it may judge: each kind of difference shows.

The target is filled by hand with SQL, so nothing here depends on how the pipeline loads.
"""

import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from migration_assets.target import embedded
from migration_assets.target.embedded import EmbeddedServer
from migration_assets_tests import changes, independent

QUARANTINE = """
    CREATE SCHEMA migration;
    CREATE TABLE migration.quarantine (
        source text, table_name text, week date, key text, column_names text[], reasons text[],
        storage_classes text[], "values" bytea[], raw_digest bytea
    );
"""

ITEMS = """
    CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT NOT NULL, Note TEXT, Price REAL, Any);
    INSERT INTO Item VALUES (1, 'one', 'a', 1.5, 1), (2, 'two', 'b', 0.0, 2),
        (3, 'three', '', 2.0, 3);
"""
ITEMS_TARGET = """
    CREATE TABLE item (
        id bigint PRIMARY KEY, name text NOT NULL, note text, price double precision, "any" bigint
    );
    INSERT INTO item VALUES (1, 'one', 'a', 1.5, 1), (2, 'two', 'b', 0, 2), (3, 'three', '', 2, 3);
"""
ITEM_COLUMNS = ["Id", "Name", "Note", "Price", "Any"]


@pytest.fixture(scope="module")
def judge_dsn(postgres: EmbeddedServer) -> str:
    """Give these tests a database of their own: each of them empties it."""
    embedded.ensure_database(postgres, "judge")
    return postgres.url("judge")


@pytest.fixture
def target(judge_dsn: str) -> Iterator[psycopg.Connection]:
    """Give an autocommit connection to a database that holds nothing but an empty quarantine."""
    with psycopg.connect(judge_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS public, migration, shop CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute(QUARANTINE)
        yield connection


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that runs a script in a SQLite file and answers its path."""
    file = tmp_path / "source.sqlite"

    def run(script: str) -> Path:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(script)
        return file

    return run


def dsn_of(target: psycopg.Connection) -> str:
    """Return what the judge connects by; a connection's own `dsn` leaves the password out."""
    return f"{target.info.dsn} password={target.info.password}"


def judge(file: Path, target: psycopg.Connection) -> independent.Comparison:
    """Compare, and check that the description can be made and says the verdict."""
    comparison = independent.compare(file, dsn_of(target))
    assert comparison.describe().startswith("equal" if comparison.equal else "DIFFERENT")
    assert comparison.equal == (not comparison.differences)
    return comparison


def only_difference(file: Path, target: psycopg.Connection) -> independent.Difference:
    """Answer the one difference the judge must find."""
    (difference,) = judge(file, target).differences
    return difference


def quarantine(
    target: psycopg.Connection,
    table: str,
    columns: list[str],
    *cells: tuple[str, bytes | None],
) -> None:
    """Put one row into quarantine as (storage class, bytes) cells."""
    target.execute(
        """
        INSERT INTO migration.quarantine
            (source, table_name, column_names, storage_classes, "values")
        VALUES ('main', %s, %s, %s, %s)
        """,
        [table, columns, [kind for kind, _ in cells], [value for _, value in cells]],
    )


def integer(value: int) -> tuple[str, bytes]:
    """Spell an integer as the quarantine does."""
    return "integer", value.to_bytes(8, "big", signed=True)


def real(value: float) -> tuple[str, bytes]:
    """Spell a real as the quarantine does."""
    return "real", struct.pack(">d", value)


def item(number: int) -> list[tuple[str, bytes | None]]:
    """Spell item 1 as the quarantine does, with this number as its last value."""
    return [integer(1), ("text", b"one"), ("text", b"a"), real(1.5), integer(number)]


# ------------------------------------------------------------------------------------ what is equal


def test_equal_tables_are_equal(source: Callable[..., Path], target: psycopg.Connection) -> None:
    """The starting point of every difference below is free of differences itself."""
    target.execute(ITEMS_TARGET)
    comparison = judge(source(ITEMS), target)
    assert comparison.equal
    assert [(t.source_rows, t.target_rows, t.quarantined_rows) for t in comparison.tables] == [
        (3, 3, 0)
    ]


def test_every_type_is_rendered_through_the_columns_affinity(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Values at the ends of every type's range come back as SQLite holds them."""
    file = source("""
        CREATE TABLE t (
            i INTEGER, r REAL, untyped, n NUMERIC(10,2), d DECIMAL, s TEXT, b BLOB, flag BOOLEAN,
            day DATE, at DATETIME, stamped TEXT, precise TIMESTAMP, word VARCHAR(9), amount TEXT
        );
        INSERT INTO t VALUES
            (9223372036854775807, 1e308, -0.0, 20.00, 1e20, 'é€😀 ', x'00ff', 1, '2024-02-29',
             '2024-01-01 10:00:00', '2024-01-01T10:00:00.120', '2024-01-01 10:00:00.000001',
             '12', '1.50'),
            (-9223372036854775808, 5e-324, 0.0, 19.90, 0.30000000000000004, '', x'', 0,
             '0001-01-01', '9999-12-31 23:59:59', '2024-01-01T10:00:00.000',
             '2024-01-01 10:00:00.100000', '', '1.5'),
            (NULL, 9e999, -9e999, -0.01, -7, char(10), NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             NULL);
    """)
    target.execute(r"""
        CREATE TABLE t (
            i bigint, r double precision, untyped double precision, n numeric(10,2), d numeric,
            s text, b bytea, flag boolean, day date, at timestamp, stamped timestamp,
            precise timestamp, word text, amount numeric
        );
        INSERT INTO t VALUES
            (9223372036854775807, 1e308, '-0', 20, 1e20, 'é€😀 ', '\x00ff', true, '2024-02-29',
             '2024-01-01 10:00', '2024-01-01 10:00:00.12', '2024-01-01 10:00:00.000001', '12',
             1.50),
            (-9223372036854775808, 5e-324, 0, 19.9, 0.30000000000000004, '', '', false,
             '0001-01-01', '9999-12-31 23:59:59', '2024-01-01 10:00', '2024-01-01 10:00:00.1', '',
             1.5),
            (NULL, 'infinity', '-infinity', -0.01, -7, E'\n', NULL, NULL, NULL, NULL, NULL, NULL,
             NULL, NULL);
    """)
    assert judge(file, target).equal


def test_a_number_is_compared_as_the_text_its_column_makes_of_it(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Where the column has text affinity, SQLite's text of the target's number counts."""
    file = source("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('7'), ('1.5'), ('0.0')")
    target.execute("CREATE TABLE t (a float8); INSERT INTO t VALUES (1.5), (0)")
    quarantine(target, "t", ["a"], ("text", b"7"))
    assert judge(file, target).equal
    target.execute("UPDATE t SET a = '-0' WHERE a = 0")
    assert not judge(file, target).equal


def test_a_strict_tables_any_column_keeps_its_storage_classes(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Where the table is STRICT, ANY means no affinity, so text stays text."""
    file = source("CREATE TABLE t (a ANY) STRICT; INSERT INTO t VALUES ('12');")
    target.execute("CREATE TABLE t (a text); INSERT INTO t VALUES ('12')")
    assert judge(file, target).equal


def test_quarantined_rows_stand_for_their_source_rows(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Rows that no target type takes (text not in UTF-8, a word as a price) are found there."""
    file = source(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL, data BLOB);"
        "INSERT INTO t VALUES (1, 'a', 1.5, NULL), (-2, CAST(x'c328' AS TEXT), 2, x'01'),"
        " (3, 'c', 'free', NULL);"
    )
    target.execute("CREATE TABLE t (id bigint, name text, price double precision, data bytea)")
    target.execute("INSERT INTO t VALUES (1, 'a', 1.5, NULL)")
    names = ["id", "name", "price", "data"]
    quarantine(target, "t", names, integer(-2), ("text", b"\xc3("), real(2), ("blob", b"\x01"))
    quarantine(target, "t", names, integer(3), ("text", b"c"), ("text", b"free"), ("null", None))
    comparison = judge(file, target)
    assert comparison.equal
    assert comparison.tables[0].quarantined_rows == 2


def test_duplicates_of_a_keyless_table_are_counted(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Two copies at the source are two copies at the target, one of them quarantined or not."""
    file = source("CREATE TABLE t (a); INSERT INTO t VALUES (1), (1), (2);")
    target.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (2), (1)")
    quarantine(target, "t", ["a"], integer(1))
    assert judge(file, target).equal


def test_generated_columns_are_compared(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A generated column's value is part of the row, whether stored or not."""
    file = source(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER AS (a * 2)); INSERT INTO t VALUES (1);"
    )
    target.execute("CREATE TABLE t (a bigint, b bigint); INSERT INTO t VALUES (1, 3)")
    assert only_difference(file, target).what == "source has integer 2, target has integer 3"
    target.execute("UPDATE t SET b = 2")
    assert judge(file, target).equal


def test_names_are_folded_in_ascii_only(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Names are found at the target with ASCII letters in lower case, nothing else changed."""
    file = source(
        """CREATE TABLE "Größe ÄA""B" ("Straße Nr" INTEGER, "ÉTAT" TEXT);"""
        """INSERT INTO "Größe ÄA""B" VALUES (1, 'x');"""
    )
    target.execute("""
        CREATE TABLE "größe Äa""b" ("straße nr" bigint, "État" text);
        INSERT INTO "größe Äa""b" VALUES (1, 'x');
    """)
    assert judge(file, target).equal


# -------------------------------------------------------------------------------- what is different


ONLY_IN_SOURCE = "1 in source, 0 in target, 0 in quarantine"
ONLY_IN_TARGET = "0 in source, 1 in target, 0 in quarantine"


@pytest.mark.parametrize(
    ("damage", "row", "column", "what"),
    [
        ("DELETE FROM item WHERE id = 2", 2, None, ONLY_IN_SOURCE),
        ("INSERT INTO item VALUES (4, 'x', '', 0, 4)", 4, None, ONLY_IN_TARGET),
        ("UPDATE item SET name = 'O' WHERE id = 1", 1, "Name", ("text 'one'", "text 'O'")),
        ("UPDATE item SET name = 'one ' WHERE id = 1", 1, "Name", ("text 'one'", "text 'one '")),
        ("UPDATE item SET note = NULL WHERE id = 3", 3, "Note", ("text ''", "NULL")),
        ("UPDATE item SET price = '-0' WHERE id = 2", 2, "Price", ("real 0.0", "real -0.0")),
        (
            "UPDATE item SET price = 1.5000000000000002 WHERE id = 1",
            1,
            "Price",
            ("real 1.5", "real 1.5000000000000002"),
        ),
        ("UPDATE item SET price = 'NaN' WHERE id = 1", 1, "Price", ("real 1.5", "real nan")),
    ],
    ids=[
        "missing row",
        "extra row",
        "changed value",
        "trailing blank",
        "NULL for the empty text",
        "negative zero",
        "last bit of a double",
        "not a number",
    ],
)
def test_a_damaged_row_is_named(  # noqa: PLR0917 - pytest passes them all by name
    source: Callable[..., Path],
    target: psycopg.Connection,
    damage: str,
    row: int,
    column: str | None,
    what: str | tuple[str, str],
) -> None:
    """One damage at the target is one difference, with its row, its column and both values."""
    target.execute(ITEMS_TARGET)
    target.execute(damage.encode())
    if isinstance(what, tuple):
        what = f"source has {what[0]}, target has {what[1]}"
    assert only_difference(source(ITEMS), target) == independent.Difference(
        table="Item", row=f"Id = integer {row}", column=column, what=what
    )


def test_values_swapped_between_two_rows_are_both_named(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Each column still holds the same values, but not in the same rows."""
    target.execute(ITEMS_TARGET)
    target.execute(
        "UPDATE item SET name = CASE id WHEN 1 THEN 'two' ELSE 'one' END WHERE id IN (1, 2)"
    )
    comparison = judge(source(ITEMS), target)
    assert [(found.row, found.column) for found in comparison.differences] == [
        ("Id = integer 1", "Name"),
        ("Id = integer 2", "Name"),
    ]
    assert comparison.tables[0].differing_rows == 4


def test_values_swapped_between_two_columns_are_both_named(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """The row still holds the same values, but not in the same columns."""
    target.execute(ITEMS_TARGET)
    target.execute("UPDATE item SET name = note, note = name WHERE id = 1")
    assert [found.column for found in judge(source(ITEMS), target).differences] == ["Name", "Note"]


def test_text_and_blob_of_the_same_bytes_differ(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A column without affinity keeps both, so they are two values."""
    file = source("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB); INSERT INTO t VALUES (1, 'a')")
    target.execute("CREATE TABLE t (id bigint, a bytea); INSERT INTO t VALUES (1, 'a')")
    assert only_difference(file, target).what == "source has text 'a', target has blob x'61'"


def test_another_storage_class_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """In a column without affinity 1 and 1.0 are two values."""
    target.execute(ITEMS_TARGET)
    target.execute('ALTER TABLE item ALTER COLUMN "any" TYPE double precision')
    assert {found.what for found in judge(source(ITEMS), target).differences} == {
        f"source has integer {number}, target has real {number}.0" for number in (1, 2, 3)
    }


def test_not_a_number_does_not_pass_for_null(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """SQLite would store NaN as NULL; the target holds it nevertheless."""
    file = source("CREATE TABLE t (id INTEGER PRIMARY KEY, a REAL); INSERT INTO t VALUES (1, NULL)")
    target.execute("CREATE TABLE t (id bigint, a float8); INSERT INTO t VALUES (1, 'NaN')")
    assert only_difference(file, target).what == "source has NULL, target has real nan"


def test_a_single_precision_column_shows_what_it_rounded(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A type the source did not ask for is no difference by itself, a rounded value is."""
    file = source("CREATE TABLE t (id INTEGER PRIMARY KEY, a REAL); INSERT INTO t VALUES (1, 0.1);")
    target.execute("CREATE TABLE t (id bigint, a real); INSERT INTO t VALUES (1, 0.1)")
    assert (
        only_difference(file, target).what
        == "source has real 0.1, target has real 0.10000000149011612"
    )


def test_a_lost_duplicate_of_a_keyless_table_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """The row is there, but once instead of twice."""
    file = source("CREATE TABLE t (a); INSERT INTO t VALUES (1), (1);")
    target.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)")
    assert only_difference(file, target).what == "2 in source, 1 in target, 0 in quarantine"


def test_a_missing_and_an_extra_duplicate_do_not_cancel_out(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """The counts of the table agree, those of its rows do not."""
    file = source("CREATE TABLE t (a); INSERT INTO t VALUES (1), (1), (2);")
    target.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1), (2), (2)")
    assert [found.what for found in judge(file, target).differences] == [
        "2 in source, 1 in target, 0 in quarantine",
        "1 in source, 2 in target, 0 in quarantine",
    ]


def test_timestamps_in_another_form_are_not_equal(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A column prints in one form; a row that was written in another belongs in quarantine."""
    file = source("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);
        INSERT INTO t VALUES (1, '2024-01-01T10:00:00'), (2, '2024-01-02 10:00:00');
    """)
    target.execute("CREATE TABLE t (id bigint, at timestamp)")
    target.execute("INSERT INTO t VALUES (1, '2024-01-01 10:00'), (2, '2024-01-02 10:00')")
    assert not judge(file, target).equal
    target.execute("DELETE FROM t WHERE id = 1")
    quarantine(target, "t", ["id", "at"], integer(1), ("text", b"2024-01-01T10:00:00"))
    assert judge(file, target).equal


@pytest.mark.parametrize(
    ("expected", "written", "got"),
    [
        ("2024-01-01 10:00:00.250", "2024-01-01 10:00:00", "2024-01-01 10:00:00.000"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00.25", "2024-01-01 10:00:00.25"),
        ("2024-01-01 10:00:00.250", "2024-01-01 10:00:00.250001", "2024-01-01 10:00:00.250001"),
    ],
)
def test_another_fraction_of_a_second_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection, expected: str, written: str, got: str
) -> None:
    """Neither a fraction cut off nor one made up passes for the source's text."""
    file = source(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);"
        f"INSERT INTO t VALUES (1, '{expected}'), (2, NULL);"
    )
    target.execute("CREATE TABLE t (id bigint, at timestamp)")
    target.execute("INSERT INTO t VALUES (1, %s), (2, NULL)", [written])
    what = f"source has text '{expected}', target has text '{got}'"
    assert only_difference(file, target).what == what


# ----------------------------------------------------------------------------------- the quarantine


def test_a_quarantined_row_with_a_wrong_byte_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Quarantine holds the row's exact bytes or it does not hold the row."""
    target.execute(ITEMS_TARGET)
    target.execute("DELETE FROM item WHERE id = 1")
    cells = item(1)
    cells[1] = ("text", b"onE")
    quarantine(target, "Item", ITEM_COLUMNS, *cells)
    assert only_difference(source(ITEMS), target) == independent.Difference(
        table="Item",
        row="Id = integer 1",
        column="Name",
        what="source has text 'one', quarantine has text 'onE'",
    )


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        pytest.param(("text", b"1"), "text '1'", id="another storage class"),
        pytest.param(("integer", b"\1"), "no value: storage class integer", id="a shorter integer"),
        pytest.param(("null", b""), "no value: storage class null", id="null with bytes"),
        pytest.param(("integer", None), "no value: storage class integer", id="no bytes"),
    ],
)
def test_a_quarantined_value_in_another_spelling_is_a_difference(
    source: Callable[..., Path],
    target: psycopg.Connection,
    cell: tuple[str, bytes | None],
    shown: str,
) -> None:
    """Class and bytes are both held to the quarantine's layout."""
    target.execute(ITEMS_TARGET)
    target.execute("DELETE FROM item WHERE id = 1")
    quarantine(target, "Item", ITEM_COLUMNS, *item(1)[:-1], cell)
    difference = only_difference(source(ITEMS), target)
    assert difference.column == "Any"
    assert f"quarantine has {shown}" in difference.what


def test_a_row_in_quarantine_and_target_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A row that came back has to leave the quarantine."""
    target.execute(ITEMS_TARGET)
    quarantine(target, "Item", ITEM_COLUMNS, *item(1))
    difference = only_difference(source(ITEMS), target)
    assert difference.what == "1 in source, 1 in target, 1 in quarantine"


def test_a_quarantined_row_with_too_few_values_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A row cut short is named instead of raising, and so is the row it should have been."""
    target.execute(ITEMS_TARGET)
    target.execute("DELETE FROM item WHERE id = 1")
    quarantine(target, "Item", ITEM_COLUMNS, *item(1)[:-1])
    assert [found.what for found in judge(source(ITEMS), target).differences] == [
        "1 in source, 0 in target, 0 in quarantine",
        "0 in source, 0 in target, 1 in quarantine",
    ]


def test_quarantined_columns_that_are_not_the_sources_are_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Values under other names than the source's cannot be put back."""
    target.execute(ITEMS_TARGET)
    target.execute("DELETE FROM item WHERE id = 1")
    quarantine(target, "Item", [*ITEM_COLUMNS[:-1], "other"], *item(1))
    assert "quarantined with columns" in only_difference(source(ITEMS), target).what


def test_quarantined_rows_of_an_unknown_table_are_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Nothing else may stand in quarantine, unless only some tables were asked for."""
    target.execute(ITEMS_TARGET)
    quarantine(target, "Gone", ["a"], integer(1))
    file = source(ITEMS)
    assert only_difference(file, target).table == "Gone"
    assert independent.compare(file, dsn_of(target), tables=["item"]).equal


def test_another_sources_quarantine_can_be_left_out(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """With a source named, rows of the same table of another source do not count."""
    target.execute(ITEMS_TARGET)
    quarantine(target, "Item", ITEM_COLUMNS, *item(1))
    file = source(ITEMS)
    assert not independent.compare(file, dsn_of(target), source="main").equal
    assert independent.compare(file, dsn_of(target), source="other").equal


def test_a_missing_quarantine_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Even where no row is out, the place for such rows has to exist."""
    target.execute(ITEMS_TARGET)
    target.execute("DROP TABLE migration.quarantine")
    assert only_difference(source(ITEMS), target).table == "migration.quarantine"


# ------------------------------------------------------------------------------ tables and columns


def test_a_missing_table_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """An empty table is missed too, and other tables of the target are its own affair."""
    target.execute(ITEMS_TARGET)
    target.execute("CREATE TABLE of_the_target (a bigint)")
    difference = only_difference(source(f"{ITEMS} CREATE TABLE None_yet (a);"), target)
    assert difference == independent.Difference(table="None_yet", what="is missing at the target")


def test_a_missing_column_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """The other columns are compared nevertheless."""
    target.execute(ITEMS_TARGET)
    target.execute("ALTER TABLE item DROP COLUMN note; UPDATE item SET name = 'x' WHERE id = 1")
    found = judge(source(ITEMS), target).differences
    assert [(difference.column, difference.what) for difference in found] == [
        ("Note", "is missing at the target"),
        ("Name", "source has text 'one', target has text 'x'"),
    ]


def test_an_additional_column_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A column the source does not have is named."""
    target.execute(ITEMS_TARGET)
    target.execute("ALTER TABLE item ADD COLUMN loaded_at timestamp")
    difference = only_difference(source(ITEMS), target)
    assert (difference.column, difference.what) == ("loaded_at", "stands at the target only")


def test_a_type_the_judge_cannot_render_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """What cannot be judged is never passed over."""
    target.execute(ITEMS_TARGET)
    target.execute("ALTER TABLE item ALTER COLUMN note TYPE character(1)")
    difference = only_difference(source(ITEMS), target)
    assert (difference.column, difference.what) == (
        "Note",
        "has type character, unknown to the judge",
    )


def test_a_table_without_a_common_column_is_different(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """No column can be read on both sides, which is said instead of raised."""
    target.execute("CREATE TABLE item (another bigint)")
    assert len(judge(source(ITEMS), target).differences) == 6


def test_an_unknown_table_asked_for_is_a_difference(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A misspelt name must not make the comparison empty and green."""
    comparison = independent.compare(source(ITEMS), dsn_of(target), tables=["Items"])
    assert [str(found) for found in comparison.differences] == ["Items: is no table of the source"]


def test_many_differences_are_counted_and_the_first_named(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """The count is whole, the list is bounded, and rows beyond one batch are read too."""
    file = source("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, a);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
        INSERT INTO t SELECT i, i FROM n;
    """)
    target.execute("CREATE TABLE t (id bigint, a bigint)")
    target.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 11000) AS i")
    table = judge(file, target).tables[0]
    assert (table.source_rows, table.target_rows, table.differing_rows) == (12000, 11000, 1000)
    assert len(table.differences) == independent.DIFFERENCES_PER_TABLE


def test_another_schema_can_be_compared(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """Only the schema asked for counts, not one that happens to be on the search path."""
    target.execute("CREATE SCHEMA shop; SET search_path = shop")
    target.execute(ITEMS_TARGET)
    file = source(ITEMS)
    assert independent.compare(file, dsn_of(target), target_schema="shop").equal
    assert not independent.compare(file, dsn_of(target)).equal


# --------------------------------------------------------------------------------------- the schema

SCHEMA = """
    CREATE TABLE Parent (
        Id INTEGER PRIMARY KEY, Code TEXT NOT NULL, Mail TEXT COLLATE NOCASE UNIQUE
    );
    CREATE TABLE Child (
        A TEXT, B INTEGER, C INTEGER NOT NULL, D TEXT, PRIMARY KEY (B, A), UNIQUE (C, D)
    );
    CREATE INDEX child_d ON Child (D, C);
    CREATE INDEX child_partial ON Child (C) WHERE C > 0;
    CREATE INDEX child_expression ON Child (C + 1);
    CREATE TABLE Tag (Name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
SCHEMA_TARGET = """
    CREATE TABLE parent (id bigint PRIMARY KEY, code text NOT NULL, mail text);
    CREATE UNIQUE INDEX parent_mail ON parent (lower(mail COLLATE "C"));
    CREATE TABLE child (a text, b bigint, c bigint NOT NULL, d text, UNIQUE (c, d));
    CREATE UNIQUE INDEX child_key ON child (b, a);
    CREATE INDEX child_d ON child (d, c);
    CREATE TABLE tag (name text PRIMARY KEY);
"""


def test_a_schema_that_keeps_keys_and_indexes_lacks_nothing(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A nullable key may be a unique index; partial and expression indexes are not asked for."""
    target.execute(SCHEMA_TARGET)
    assert independent.compare_schema(source(SCHEMA), dsn_of(target)) == []


@pytest.mark.parametrize(
    ("damage", "lacks"),
    [
        ("DROP TABLE tag", "Tag: is missing at the target"),
        ("ALTER TABLE tag DROP CONSTRAINT tag_pkey", "Tag: primary key (name) is no unique key"),
        ("ALTER TABLE parent ALTER code DROP NOT NULL", "Parent: column Code is not NOT NULL"),
        (
            "DROP INDEX child_key; CREATE UNIQUE INDEX ON child (a, b)",
            "Child: primary key (b, a) is no unique key",
        ),
        (
            "DROP INDEX child_key; CREATE UNIQUE INDEX ON child (b, a) WHERE b > 0",
            "Child: primary key (b, a) is no unique key",
        ),
        (
            "DROP INDEX child_key; CREATE UNIQUE INDEX ON child (b) INCLUDE (a)",
            "Child: primary key (b, a) is no unique key",
        ),
        ("ALTER TABLE child DROP CONSTRAINT child_c_d_key", "Child: (c, d) is not unique"),
        ("DROP INDEX child_d", "Child: (d, c) has no index"),
        (
            "DROP INDEX parent_mail; CREATE UNIQUE INDEX ON parent (mail)",
            "Parent: (lower(mail)) is not unique",
        ),
    ],
)
def test_what_the_schema_lacks_is_named(
    source: Callable[..., Path], target: psycopg.Connection, damage: str, lacks: str
) -> None:
    """One thing taken from the target is one line."""
    target.execute(SCHEMA_TARGET)
    target.execute(damage.encode())
    found = independent.compare_schema(source(SCHEMA), dsn_of(target))
    assert found == [lacks]


# ----------------------------------------------------------------------------------- live changes

LIVED_IN = {
    "shop": """
        CREATE TABLE Customer (
            Id INTEGER PRIMARY KEY, Mail TEXT NOT NULL COLLATE NOCASE UNIQUE, Born DATE,
            Level TEXT NOT NULL DEFAULT 'new' CHECK (Level IN ('new', 'old')),
            Recruiter INTEGER REFERENCES Customer
        );
        CREATE TABLE "Order" (
            Id INTEGER PRIMARY KEY, Customer INTEGER NOT NULL REFERENCES Customer ON DELETE CASCADE,
            At TEXT, Total NUMERIC(10,2) NOT NULL CHECK (Total >= 0),
            Vat AS (Total * 0.2), Scan BLOB
        );
        CREATE TABLE Line (
            "Order" INTEGER REFERENCES "Order" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
            Number INTEGER, Text TEXT, PRIMARY KEY ("Order", Number)
        );
        CREATE INDEX Line_Text ON Line (Text);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO Customer (Id, Mail, Born, Level, Recruiter)
        SELECT i, 'c' || i || '@example.org', date('1970-01-01', i || ' months'),
            iif(i % 3, 'new', 'old'), nullif(i / 2, 0) FROM n;
        INSERT INTO "Order" (Id, Customer, At, Total, Scan)
        SELECT Id * 10, Id, '2024-01-01 10:00:00', Id + 0.5, zeroblob(Id % 3) FROM Customer;
        INSERT INTO Line SELECT Id, 1, 'Größe ' || Id FROM "Order";
        INSERT INTO Line SELECT Id, 2, CAST(x'c328' AS TEXT) FROM "Order";
    """,
    "without rowid": """
        CREATE TABLE Tag (Name TEXT PRIMARY KEY, Weight REAL) WITHOUT ROWID;
        CREATE TABLE Pair (
            A TEXT REFERENCES Tag ON UPDATE CASCADE, B TEXT REFERENCES Tag ON UPDATE CASCADE,
            Note ANY, PRIMARY KEY (A, B), UNIQUE (B, A)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO Tag VALUES ('red', 1.5), ('green', -2), ('blue', 1e300), ('white', NULL);
        INSERT INTO Pair VALUES ('red', 'green', 1), ('blue', 'red', x'00'), ('red', 'red', 't');
    """,
    "no keys": """
        CREATE TABLE "odd ""name" ("a b" INTEGER, rowid TEXT, "order");
        INSERT INTO "odd ""name" VALUES (1, 'x', NULL), (1, 'x', NULL),
            (9223372036854775807, '', 2);
    """,
    "guarded": """
        CREATE TABLE Kept (Id INTEGER PRIMARY KEY ON CONFLICT REPLACE, Name TEXT);
        CREATE TABLE Loose (Id INTEGER PRIMARY KEY, Name TEXT);
        INSERT INTO Kept VALUES (1, 'a'), (2, 'b'), (3, 'c');
        INSERT INTO Loose VALUES (1, '12:30'), (2, '2024-02-29'), (3, '{"n": 1}'), (4, '-');
        CREATE TRIGGER No_Delete BEFORE DELETE ON Kept BEGIN SELECT RAISE(ROLLBACK, 'kept'); END;
        CREATE TRIGGER No_Update BEFORE UPDATE ON Kept BEGIN SELECT RAISE(IGNORE); END;
    """,
    "searched": """
        CREATE VIRTUAL TABLE Search USING fts5(Body);
        CREATE TABLE Page (Id INTEGER PRIMARY KEY, Body TEXT);
        CREATE VIEW Pages AS SELECT * FROM Page;
        INSERT INTO Search VALUES ('a'), ('b');
        INSERT INTO Page VALUES (1, 'a'), (2, 'b');
    """,
}


def dump(file: Path) -> dict[str, list[str]]:
    """Answer every table's rows, each as the text of all its values."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = [name for (name,) in connection.execute(query)]
        connection.text_factory = bytearray
        rows = {}
        for name in names:
            quoted = name.replace('"', '""')
            rows[name] = [repr(row) for row in connection.execute(f'SELECT * FROM "{quoted}"')]
        return rows


@pytest.fixture(params=LIVED_IN)
def lived_in(request: pytest.FixtureRequest, source: Callable[..., Path]) -> Path:
    """Give one database of each sort."""
    return source(LIVED_IN[request.param])


@pytest.mark.parametrize("seed", range(5))
def test_live_changes_leave_a_sound_database(lived_in: Path, seed: int) -> None:
    """Inserts, updates and deletes are committed, and no constraint is broken by them."""
    before = dump(lived_in)
    done = changes.live(lived_in, seed=seed)
    for kind in ("insert", "update", "delete"):
        assert sum(of_table[kind] for of_table in done.values()) > 0
    with closing(sqlite3.connect(lived_in)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        # Unlike quick_check it reads UNIQUE constraints too.
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert dump(lived_in) != before


@pytest.mark.parametrize("seed", range(3))
def test_live_changes_count_what_they_did(lived_in: Path, seed: int) -> None:
    """Rows are as many as the counts say; a cascade may take more, nothing may add any."""
    before = dump(lived_in)
    done = changes.live(lived_in, seed=seed)
    after = dump(lived_in)
    for table, of_table in done.items():
        expected = len(before[table]) + of_table["insert"] - of_table["delete"]
        if table in {"Order", "Line"}:
            assert len(after[table]) <= expected
        else:
            assert len(after[table]) == expected
        if not any(of_table[kind] for kind in changes.KINDS):
            assert after[table] == before[table]


def test_the_same_seed_makes_the_same_changes(lived_in: Path) -> None:
    """A failure can be made again from its seed, and another seed is another life."""
    copies = [lived_in.with_name(f"copy{number}.sqlite") for number in range(3)]
    for copy in copies:
        shutil.copyfile(lived_in, copy)
    assert changes.live(copies[0], seed=7) == changes.live(copies[1], seed=7)
    changes.live(copies[2], seed=8)
    assert dump(copies[0]) == dump(copies[1]) != dump(copies[2])


def test_live_changes_are_of_every_kind(source: Callable[..., Path]) -> None:
    """Keys change and values are swapped too, and refused changes are counted."""
    done = changes.live(source(LIVED_IN["shop"]), seed=1)
    assert all(sum(of_table[kind] for of_table in done.values()) for kind in changes.KINDS)
    assert sum(of_table["refused"] for of_table in done.values()) > 0
    assert done["Order"]["insert"] > 0, "a table with a generated column takes rows too"


def test_live_changes_spare_what_a_trigger_guards(source: Callable[..., Path]) -> None:
    """Refused changes leave no trace, even where the trigger ends the transaction."""
    file = source(LIVED_IN["guarded"])
    done = changes.live(file, seed=1)
    assert set(dump(file)["Kept"]) >= {
        f"({at}, bytearray(b'{name}'))" for at, name in enumerate("abc", 1)
    }
    assert (done["Kept"]["update"], done["Kept"]["delete"], done["Kept"]["swap"]) == (0, 0, 0)


def test_live_changes_leave_virtual_tables_alone(source: Callable[..., Path]) -> None:
    """A virtual table and its shadows are another's storage."""
    file = source(LIVED_IN["searched"])
    before = dump(file)
    assert set(changes.live(file, seed=1)) == {"Page"}
    after = dump(file)
    assert {name for name in before if after[name] != before[name]} == {"Page"}


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("CREATE TABLE t (a);", "insert"),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);", "update"),
        (
            """
            CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);
            CREATE TRIGGER no BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
            """,
            "delete",
        ),
    ],
)
def test_a_database_that_lets_nothing_change_is_an_error(
    source: Callable[..., Path], script: str, kind: str
) -> None:
    """A trial without changes would prove nothing, so it must not look like one."""
    with pytest.raises(changes.ChangesRefusedError, match=f"no {kind} succeeded"):
        changes.live(source(script), seed=1)


def test_the_judge_sees_live_changes(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A target that stood equal no longer does after the source has lived on."""
    target.execute(ITEMS_TARGET)
    file = source(ITEMS)
    assert judge(file, target).equal
    changes.live(file, seed=1)
    assert not judge(file, target).equal


FORMS = [
    ("timestamptz", "2024-01-01T10:00:00Z", "2024-01-01 10:00+00", "2024-01-01 10:00+01"),
    ("timestamptz", "0001-01-01 01:00:00.50+0200", "0001-12-31 23:00:00.5+00 BC", "0001-01-01"),
    ("timestamptz", "2024-01-01 10:00 -03:30", "2024-01-01 13:30+00", "2024-01-01 10:00+00"),
    ("timestamp", "2024-01-01T10:00", "2024-01-01 10:00", "2024-01-01 10:00:01"),
    ("time", "09:05", "09:05", "21:05"),
    ("time", "09:05:00.120", "09:05:00.12", "09:05:00.121"),
    ("uuid", "{}0A", "{}0a", "{}0b"),
    ("uuid", "{}0a", "{}0a", "{}1a"),
    ("boolean", "Yes", "true", "false"),
    ("boolean", "f", "false", "true"),
]


@pytest.mark.parametrize(("kind", "written", "same", "another"), FORMS)
def test_a_value_is_written_as_the_source_writes_it(
    source: Callable[..., Path],
    target: psycopg.Connection,
    *,
    kind: str,
    written: str,
    same: str,
    another: str,
) -> None:
    """Zones, times, UUIDs and words come back to the last byte, and another value shows."""
    start = "11111111-2222-3333-4444-5555555555"
    other = {"Yes": "No", "f": "t"}.get(written, written.format(start))
    rows = f"(1, '{written.format(start)}'), (2, '{other}')"
    file = source(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES {rows}")
    target.execute(f"CREATE TABLE t (id bigint, v {kind})".encode())
    second = {"Yes": "false", "f": "true"}.get(written, same.format(start))
    target.execute(f"INSERT INTO t VALUES (1, '{same.format(start)}'), (2, '{second}')".encode())
    assert judge(file, target).equal, judge(file, target).describe()
    target.execute(f"UPDATE t SET v = '{another.format(start)}' WHERE id = 1".encode())
    assert not judge(file, target).equal


def test_a_uuid_of_sixteen_bytes_is_judged(
    source: Callable[..., Path], target: psycopg.Connection
) -> None:
    """A column of blobs may stand as uuid; one that was written as text is no such row."""
    file = source(
        "CREATE TABLE t (v BLOB); INSERT INTO t VALUES (x'00112233445566778899aabbccddeeff')"
    )
    target.execute("CREATE TABLE t (v uuid)")
    target.execute("INSERT INTO t VALUES ('00112233-4455-6677-8899-aabbccddeeff')")
    assert judge(file, target).equal
    source("INSERT INTO t VALUES ('00112233445566778899aabbccddeeff')")
    target.execute("INSERT INTO t SELECT * FROM t")
    assert not judge(file, target).equal


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
@pytest.mark.parametrize(
    ("stands", "equal"), [("\ufeffä😀", True), ("ä😀", False), ("\ufffd", False)]
)
def test_text_of_a_utf16_database_is_judged_by_its_characters(
    source: Callable[..., Path],
    target: psycopg.Connection,
    *,
    encoding: str,
    stands: str,
    equal: bool,
) -> None:
    """Nothing that SQLite puts in place of what it can't convert passes for the text itself."""
    file = source(
        f"PRAGMA encoding = '{encoding}'; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB);"
        "INSERT INTO t VALUES (1, char(65279) || 'ä😀', x'00d8');"
    )
    target.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b bytea)")
    target.execute("INSERT INTO t VALUES (1, %s, %s)", [stands, b"\x00\xd8"])
    assert judge(file, target).equal is equal


@pytest.mark.parametrize(("kind", "equal"), [("text/UTF-16be", True), ("text/UTF-16le", False)])
def test_undecodable_text_of_a_utf16_database_is_judged_by_its_bytes(
    source: Callable[..., Path], target: psycopg.Connection, *, kind: str, equal: bool
) -> None:
    """They are known by the storage class that stands beside them."""
    file = source(
        "PRAGMA encoding = 'UTF-16be'; CREATE TABLE t (a TEXT);"
        "INSERT INTO t VALUES (x'd800'); UPDATE t SET a = CAST(a AS TEXT);"
    )
    target.execute("CREATE TABLE t (a text)")
    quarantine(target, "t", ["a"], (kind, b"\xd8\x00"))
    assert judge(file, target).equal is equal
