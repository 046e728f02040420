"""The demo's source keeps its promises: what the file holds, and what each week changes in it."""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migration_assets.demo import business, life

KEYS = {
    "settings": "name",
    "warehouses": "code",
    "customers": "id",
    "products": "id",
    "product_tags": "sku, tag",
    "orders": "id",
    "order_lines": "order_id, line_no",
    "payments": "id",
    "stock_movements": "id",
    "returns": "id",
    "documents": "id",
}
REFERENCE_TABLES = {"settings", "warehouses"}
WEEKS = 12
Counts = dict[str, dict[str, int]]

# date('2024-02-31') is '2024-02-31' to SQLite, which only does the calendar when it computes.
NO_DATE = "date(ordered_on, '+0 days') IS NOT ordered_on"
NOT_UTF_8 = "5A61686C756E67204DFC6C6C6572"

# Rows holding a value that misses its column's declared type, or that UTF-8 or PostgreSQL refuses.
MISFITS = {
    "orders": NO_DATE,
    "order_lines": "typeof(quantity) <> 'integer' OR instr(remark, char(0)) > 0",
    "payments": f"typeof(amount) = 'text' OR CAST(reference AS BLOB) = x'{NOT_UTF_8}'",
    "stock_movements": "datetime(moved_at) IS NOT moved_at",
}


def lenient(raw: bytes) -> str:
    """Decode text that may not be UTF-8, without losing a byte."""
    return raw.decode(errors="surrogateescape")


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Read all rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lenient
        return connection.execute(sql).fetchall()


def dump(path: Path) -> list[str]:
    """Return the file's content as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lenient
        return list(connection.iterdump())


def table_of(path: Path, table: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return a table's whole rows by key."""
    width = KEYS[table].count(",") + 1
    return {row[:width]: row for row in query(path, f"SELECT {KEYS[table]}, * FROM {table}")}


def sizes(path: Path) -> dict[str, int]:
    """Return the number of rows of every table."""
    return {t: query(path, f"SELECT count(*) FROM {t}")[0][0] for t in business.INSERTS}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Counts]]:
    """Return the file as it was after each week, from week 0 on, and the counts of each week."""
    folder = tmp_path_factory.mktemp("story")
    files, counts = [folder / "week0.db"], [Counts()]
    business.create(files[0])
    for week in range(1, WEEKS + 1):
        files.append(folder / f"week{week}.db")
        shutil.copy(files[-2], files[-1])
        counts.append(life.live_one_week(files[-1], week=week))
    return files, counts


@pytest.fixture(scope="module")
def files(story: tuple[list[Path], list[Counts]]) -> list[Path]:
    """Return the file as it was after each week."""
    return story[0]


@pytest.fixture(scope="module")
def counts(story: tuple[list[Path], list[Counts]]) -> list[Counts]:
    """Return the counts of each week; week 0 has none."""
    return story[1]


def changed_weeks(files: list[Path], sql: str) -> list[int]:
    """Return the weeks after which the answer to `sql` is another one."""
    answers = [query(path, sql) for path in files]
    return [week for week in range(1, len(files)) if answers[week] != answers[week - 1]]


def test_create_refuses_an_existing_file(tmp_path: Path) -> None:
    """An existing file is left as it is."""
    path = tmp_path / "shop.db"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        business.create(path)
    assert path.read_text() == "precious"


def test_create_leaves_nothing_behind_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure half-way does not stand in the way of the next attempt."""
    monkeypatch.setitem(business.INSERTS, "audit_log", "INSERT INTO no_such_table VALUES (?)")
    with pytest.raises(sqlite3.OperationalError):
        business.create(tmp_path / "shop.db")
    assert not list(tmp_path.iterdir())


def test_the_file_is_in_wal_mode_and_closed_cleanly(files: list[Path]) -> None:
    """No -wal or -shm file remains after creation or a week."""
    assert query(files[0], "PRAGMA journal_mode") == [("wal",)]
    assert {path.suffix for path in files[0].parent.iterdir()} == {".db"}


def test_the_same_seed_gives_the_same_story(tmp_path: Path, files: list[Path]) -> None:
    """Creation and six weeks repeat to the last value."""
    path = tmp_path / "again.db"
    business.create(path)
    assert dump(path) == dump(files[0])
    for week in range(1, 7):
        life.live_one_week(path, week=week)
    assert dump(path) == dump(files[6])


def test_another_seed_gives_another_story(tmp_path: Path, files: list[Path]) -> None:
    """The seed matters to the creation and to a week."""
    path = tmp_path / "other.db"
    business.create(path, seed=8)
    assert dump(path) != dump(files[0])
    shutil.copy(files[0], path)
    life.live_one_week(path, week=1, seed=8)
    assert dump(path) != dump(files[1])


def test_scale_one_is_a_small_business(files: list[Path]) -> None:
    """About ten thousand rows, with misfits only where they are rare."""
    size = sizes(files[0])
    assert 8_000 <= sum(size.values()) <= 12_000
    assert all(size[table] >= 2_000 for table in MISFITS)


def test_tables_grow_linearly_with_scale(tmp_path: Path, files: list[Path]) -> None:
    """Three times the scale is three times the rows, misfits and weekly inserts."""
    path = tmp_path / "large.db"
    business.create(path, scale=3)
    small, large = sizes(files[0]), sizes(path)
    assert large == {t: n if t in REFERENCE_TABLES else 3 * n for t, n in small.items()}
    odd = f"SELECT count(*) FROM orders WHERE {NO_DATE}"
    assert query(path, odd) == [(6,)]
    week = life.live_one_week(path, week=1, scale=3)
    inserted = {"customers": 18, "orders": 90, "stock_movements": 105, "audit_log": 66}
    assert {table: week[table]["inserted"] for table in inserted} == inserted
    assert query(path, "PRAGMA foreign_key_check") == []


def test_every_week_respects_foreign_keys_and_integrity(files: list[Path]) -> None:
    """The file is sound at every stage."""
    for path in files:
        assert query(path, "PRAGMA foreign_key_check") == []
        assert query(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("table", KEYS)
def test_counts_are_the_difference_between_two_weeks(
    files: list[Path], counts: list[Counts], table: str
) -> None:
    """What a week reports is what a comparison by key finds; a rekeyed row leaves and arrives."""
    for week in range(1, len(files)):
        old, new = table_of(files[week - 1], table), table_of(files[week], table)
        told = counts[week][table]
        assert len(new.keys() - old.keys()) == told["inserted"] + told["rekeyed"], week
        assert len(old.keys() - new.keys()) == told["deleted"] + told["rekeyed"], week
        assert sum(old[key] != new[key] for key in old.keys() & new.keys()) == told["updated"], week


def test_audit_log_counts_are_the_difference_of_its_size(
    files: list[Path], counts: list[Counts]
) -> None:
    """Without a key, only the number of rows tells."""
    size = [sizes(path)["audit_log"] for path in files]
    for week in range(1, len(files)):
        told = counts[week]["audit_log"]
        assert size[week] - size[week - 1] == told["inserted"] - told["deleted"]


def test_audit_log_gains_and_loses_single_copies(files: list[Path]) -> None:
    """Every week some row has one more copy than before, and some row one fewer but not none."""
    for week in range(1, len(files)):
        old, new = (
            Counter(query(path, "SELECT * FROM audit_log")) for path in files[week - 1 : week + 1]
        )
        assert any(new[row] > copies for row, copies in old.items())
        assert any(0 < new[row] < copies for row, copies in old.items())


def test_audit_log_has_no_key_and_some_tables_have_no_rowid(files: list[Path]) -> None:
    """The shapes that need care when rows are identified are all there."""
    assert query(files[0], "PRAGMA index_list(audit_log)") == []
    assert not any(row[5] for row in query(files[0], "PRAGMA table_info(audit_log)"))
    without = query(files[0], "SELECT name FROM pragma_table_list WHERE wr ORDER BY name")
    assert without == [("product_tags",), ("settings",)]


def test_documents_fill_overflow_pages(files: list[Path]) -> None:
    """Some documents span many pages, some are empty and some are missing."""
    sql = "SELECT max(length(content)) > 20000, min(length(content)), sum(content IS NULL) > 0"
    assert query(files[0], f"{sql} FROM documents") == [(1, 0, 1)]


def test_values_include_nulls_empty_strings_and_four_byte_characters(files: list[Path]) -> None:
    """The text values that migrations trip over are all there."""
    sql = "SELECT sum(note IS NULL) > 0, sum(note = '') > 0, sum(note LIKE '%🎉%') > 0"
    assert query(files[0], f"{sql} FROM customers") == [(1, 1, 1)]


@pytest.mark.parametrize("table", MISFITS)
def test_misfits_are_below_a_thousandth_of_their_table(files: list[Path], table: str) -> None:
    """One or two rows miss their type in some week, too few to cast doubt on the declared type."""
    shares = [
        query(path, f"SELECT count(*) FILTER (WHERE {MISFITS[table]}), count(*) FROM {table}")[0]
        for path in files
    ]
    assert 1 <= max(odd for odd, _ in shares) <= 2
    assert all(odd / rows < 0.001 for odd, rows in shares)


def test_text_that_is_not_utf_8_is_present(files: list[Path]) -> None:
    """A strict reader meets one payment reference it cannot decode."""
    with (
        closing(sqlite3.connect(files[0])) as connection,
        pytest.raises(sqlite3.OperationalError, match="Could not decode"),
    ):
        connection.execute("SELECT reference FROM payments").fetchall()


def test_small_tables_hold_only_fitting_values(files: list[Path]) -> None:
    """Below a hundred rows nothing is odd, so that nothing casts doubt on a declared type."""
    small = {
        "settings": "datetime(changed_at) IS NOT changed_at",
        "warehouses": "typeof(floor_area_m2) <> 'real' OR is_open NOT IN (0, 1)"
        " OR date(opened_on) IS NOT opened_on",
        "returns": "date(received_on) IS NOT received_on OR restocked NOT IN (0, 1)",
    }
    for table, misfit in small.items():
        assert query(files[-1], f"SELECT 1 FROM {table} WHERE {misfit}") == []
        assert sizes(files[-1])[table] < 100


def test_a_misfit_is_mended_in_week_three(files: list[Path]) -> None:
    """The order placed 'soon' gets a date, and nothing else about misfit dates changes."""
    odd = f"SELECT id, ordered_on FROM orders WHERE {NO_DATE} ORDER BY id"
    assert query(files[2], odd) == [(411, "soon"), (1503, "2024-02-31")]
    assert query(files[3], odd) == [(1503, "2024-02-31")]
    assert changed_weeks(files, odd) == [3]


def test_a_value_stops_fitting_in_weeks_five_and_eleven(files: list[Path]) -> None:
    """A stock movement that fitted loses its time of day; six weeks later it is another one."""
    odd = "SELECT id FROM stock_movements WHERE datetime(moved_at) IS NOT moved_at"
    assert changed_weeks(files, odd) == [5, 11]
    assert [len(query(files[week], odd)) for week in (4, 5, 10, 11)] == [0, 1, 1, 1]
    ((odd_id,),) = query(files[5], odd)
    assert (odd_id,) in table_of(files[4], "stock_movements")


def test_shelves_are_swapped_in_even_weeks(files: list[Path]) -> None:
    """Two products trade places, and every shelf of old products stays in use."""
    shelves = [dict(query(path, "SELECT id, shelf FROM products")) for path in files]
    for week in range(1, len(files)):
        moved = [n for n in shelves[week - 1] if shelves[week][n] != shelves[week - 1][n]]
        assert len(moved) == (2 if week % 2 == 0 else 0)
        assert {shelves[week][n] for n in moved} == {shelves[week - 1][n] for n in moved}


def test_documents_are_quiet_in_odd_weeks(files: list[Path]) -> None:
    """A table without a change lets its pages be skipped."""
    assert changed_weeks(files, "SELECT * FROM documents") == [2, 4, 6, 8, 10, 12]


def test_returns_are_empty_until_week_three(files: list[Path]) -> None:
    """An empty table gets its first rows late."""
    assert [sizes(path)["returns"] > 0 for path in files[:5]] == [False] * 3 + [True] * 2


def test_no_payment_is_negative_before_week_four(files: list[Path]) -> None:
    """Refunds of 19.90 begin in week 4 and come every week from then on."""
    refunds = "SELECT amount FROM payments WHERE amount < 0"
    assert [query(path, refunds) for path in files[:4]] == [[]] * 4
    assert query(files[4], refunds) == [(-19.9,)]
    assert changed_weeks(files, refunds)[0] == 4


def test_a_settings_key_is_renamed(files: list[Path]) -> None:
    """Its value moves along to the other name, and back three weeks later."""
    name = "SELECT name, value FROM settings WHERE name LIKE '%.theme'"
    assert query(files[0], name) == [("ui.theme", "dark")]
    assert query(files[1], name) == [("display.theme", "dark")]
    assert query(files[4], name) == [("ui.theme", "dark")]


def test_a_warehouse_changes_its_code_with_its_references(files: list[Path]) -> None:
    """The pop-up shop's stock movements follow its new code."""
    code = "SELECT DISTINCT warehouse_code FROM stock_movements WHERE warehouse_code LIKE 'POP-%'"
    assert query(files[1], code) == [("POP-W00",)]
    assert query(files[2], code) == [("POP-W02",)]
    assert changed_weeks(files, code) == [2, 5, 8, 11]


def test_order_lines_are_renumbered(files: list[Path], counts: list[Counts]) -> None:
    """Every week an order that had a first line has none, yet as many lines as before."""
    for week in range(1, len(files)):
        lines = "SELECT order_id, count(*), min(line_no) FROM order_lines GROUP BY order_id"
        old, new = ({o: rest for o, *rest in query(f, lines)} for f in files[week - 1 : week + 1])
        moved = [o for o in old.keys() & new.keys() if old[o] != new[o]]
        assert len(moved) == counts[week]["order_lines"]["rekeyed"] > 0
        assert all(old[o][0] == new[o][0] and old[o][1] < new[o][1] for o in moved)


def test_dates_advance_with_the_weeks(files: list[Path]) -> None:
    """Week n ends 7 * n days after the day the creation's story ends."""
    close = "SELECT value FROM settings WHERE name = 'orders.last_close'"
    assert query(files[6], close) == [("2026-02-15",)]
    newest = f"SELECT max(ordered_on) FROM orders WHERE NOT {NO_DATE}"
    days = [query(path, newest)[0][0] for path in files]
    assert days == sorted(set(days))


def test_life_goes_on_for_half_a_year(tmp_path: Path, files: list[Path]) -> None:
    """Weeks 13 to 26 are as sound as the first."""
    path = tmp_path / "half_a_year.db"
    shutil.copy(files[-1], path)
    for week in range(WEEKS + 1, 27):
        told = life.live_one_week(path, week=week)
        assert told["orders"] == {"inserted": 30, "updated": 25, "deleted": 3, "rekeyed": 0}
        assert told["settings"]["inserted"] == told["settings"]["deleted"] == 1
    assert query(path, "PRAGMA foreign_key_check") == []
    assert sizes(path)["settings"] < 100


def test_a_week_lived_twice_is_refused(tmp_path: Path, files: list[Path]) -> None:
    """The second attempt fails and leaves the file as it was."""
    path = tmp_path / "twice.db"
    shutil.copy(files[1], path)
    with pytest.raises(sqlite3.IntegrityError):
        life.live_one_week(path, week=1)
    assert dump(path) == dump(files[1])


@pytest.mark.parametrize(("week", "error"), [(0, ValueError), (1, FileNotFoundError)])
def test_a_week_needs_a_number_and_a_file(
    tmp_path: Path, files: list[Path], week: int, error: type[Exception]
) -> None:
    """Week 0 is the creation, and a missing file is not made up on the way."""
    path = files[0] if week == 0 else tmp_path / "missing.db"
    with pytest.raises(error):
        life.live_one_week(path, week=week)
    assert not list(tmp_path.iterdir())
