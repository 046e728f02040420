"""Where tables stand, as arranged from the ledger and as printed."""

import io
from datetime import UTC, date, datetime

from rich.console import Console

from migration_assets.model import Hold
from migration_assets.report.status import Status, status
from migration_assets.report.terminal import print_status
from migration_assets.report.weekly import TAKEN, render

WEEKS = [date(2026, 10, 4), date(2026, 10, 11), date(2026, 10, 18)]
LOAD = {"inserted": 3, "updated": 2, "deleted": 1, "target_rows": 40, "quarantined": 1}


def load(table: str, week: date) -> dict[str, object]:
    """Return a ledger entry."""
    return {"table_name": table, "week": week, **LOAD}


def failure(table: str, week: date) -> dict[str, object]:
    """Return a noted attempt."""
    return {
        "table_name": table,
        "week": week,
        "error": "TargetError",
        "message": "the disk is full",
    }


def arranged(*, tables: tuple[str, ...] = ("orders",), failed: tuple[date, ...] = ()) -> Status:
    """Return tables that were loaded in the second week, with failures."""
    return status(
        tables=tables,
        weeks=WEEKS,
        entries=[load(name, WEEKS[1]) for name in tables],
        attempts=[failure(name, week) for name in tables for week in failed],
    )


def printed(found: Status, *, width: int = 120) -> str:
    """Return what the terminal shows."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_status(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_week_before_the_head_is_covered_and_one_after_it_open() -> None:
    """The head speaks for every week up to its own, and for none after."""
    states = [cell.state for cell in arranged().cells["orders"].values()]
    assert states == ["covered", "loaded", "open"]


def test_a_failure_counts_until_the_head_passes_it() -> None:
    """What a later week carried along is no longer a reason to act."""
    found = arranged(failed=(WEEKS[0], WEEKS[2]))
    assert list(found.reasons) == [("orders", WEEKS[2])]
    assert found.cells["orders"][WEEKS[2]].state == "failed"


def test_only_a_head_at_the_last_week_is_proved() -> None:
    """A table that lags is not equal to the source of today."""
    assert not arranged().proved
    assert status(
        tables=["orders"], weeks=WEEKS[:2], entries=[load("orders", WEEKS[1])], attempts=[]
    ).proved


def test_a_table_never_loaded_is_not_proved() -> None:
    """Nothing in the ledger is nothing proved."""
    assert not status(tables=["orders"], weeks=WEEKS, entries=[], attempts=[]).proved


def test_changes_of_a_schema_are_printed_for_the_weeks_that_are_shown() -> None:
    """On-call looks there first when the application was deployed."""
    entry = load("orders", WEEKS[1]) | {"changes": ["column [b] is new: text"]}
    found = status(tables=["orders"], weeks=WEEKS, entries=[entry], attempts=[])
    assert "orders, week 2026-10-11: column [b] is new: text" in printed(found)
    assert "is new" not in printed(found, width=30)


def test_the_report_names_what_the_cutover_can_not_make_and_counts_the_rest() -> None:
    """Nothing is said where nothing is deferred."""
    assert "At the cutover" not in render(arranged(), WEEKS[1])
    later = {"orders: check orders_check1": TAKEN, "source: view by_day": "no such function"}
    report = render(arranged(), WEEKS[1], later)
    assert "Of 2 objects that are made then, the target takes 1." in report
    assert "source: view by_day: no such function" in report
    assert "orders_check1" not in report


def test_the_figures_of_a_load_are_printed() -> None:
    """Rows, then inserted, updated, deleted, quarantined."""
    assert "+3 ~2 -1 !1" in printed(arranged())


def test_a_name_with_brackets_is_printed_as_it_is() -> None:
    """Brackets are the terminal library's own markup."""
    assert "[red]x" in printed(arranged(tables=("[red]x",)))


def test_a_narrow_terminal_shows_the_last_weeks() -> None:
    """What fits is the latest; how many are left out is said."""
    text = printed(arranged(), width=34)
    assert "10-18" in text
    assert "10-04" not in text
    assert "last" in text


def test_the_weekly_report_counts_tables_that_lag() -> None:
    """The lead reads one sentence first."""
    assert "1 of 1 tables do not stand at this week yet." in render(arranged(), WEEKS[2])
    assert "All 1 tables are proved equal to their cut." in render(arranged(), WEEKS[1])


def test_the_weekly_report_says_why_a_table_failed() -> None:
    """The reason is what on-call needs."""
    assert "the disk is full" in render(arranged(failed=(WEEKS[2],)), WEEKS[2])


HOLD = Hold(
    table="orders", reason="rolled back", since=datetime(2026, 10, 20, 8, tzinfo=UTC), by="the DBA"
)


def held() -> Status:
    """Return a table that was loaded in the second week, then failed, then was put on hold."""
    return status(
        tables=["orders"],
        weeks=WEEKS,
        entries=[load("orders", WEEKS[1])],
        attempts=[failure("orders", WEEKS[2])],
        holds={"orders": HOLD, "gone": HOLD},
    )


def test_weeks_that_a_hold_keeps_back_are_on_hold() -> None:
    """Only those after the head; tables that are not shown are not named."""
    found = held()
    assert [cell.state for cell in found.cells["orders"].values()] == [
        "covered",
        "loaded",
        "on hold",
    ]
    assert list(found.holds) == ["orders"]


def test_the_terminal_and_the_weekly_report_say_why_a_table_is_on_hold() -> None:
    """Since when, by whom, and the reason."""
    text = "since 2026-10-20 08:00 UTC (by the DBA): rolled back"
    assert f"orders is on hold {text}" in printed(held())
    assert f"- `orders` {text}" in render(held(), WEEKS[2])
    assert "| `orders` | on hold |" in render(held(), WEEKS[2])
    assert "On hold" not in render(arranged(), WEEKS[2])


def test_a_long_reason_is_broken_between_words_in_the_report() -> None:
    """Dagster cuts off what stands right of its window, and no word of a reason may be lost."""
    reason = f"{'the server said something long ' * 20}\nto do: {'x' * 150}"
    attempt = failure("orders", WEEKS[2]) | {"message": reason}
    found = status(tables=["orders"], weeks=WEEKS, entries=[], attempts=[attempt])
    shown = render(found, WEEKS[2]).split("```text\n")[1].split("\n```")[0]
    assert shown.split() == reason.split()
    assert [len(line) for line in shown.splitlines() if len(line) > 100] == [150]
    assert "\nto do:" in shown


def test_a_move_between_mappings_is_added_to_the_week_it_follows() -> None:
    """Its changes are said in that week's report, and in no other."""
    schema = {**load("orders", WEEKS[1]), "target_rows": 41, "changes": ["column note is new"]}
    found = status(
        tables=["orders"], weeks=WEEKS, entries=[load("orders", WEEKS[1]), schema], attempts=[]
    )
    cell = found.cells["orders"][WEEKS[1]]
    assert (cell.rows, cell.inserted, cell.updated, cell.deleted) == (41, 6, 4, 2)
    assert "## Schema changes\n\n**`orders`**\n\n```text\ncolumn note is new\n```" in render(
        found, WEEKS[1]
    )
    assert "Schema changes" not in render(found, WEEKS[2])


def test_a_week_that_was_taken_back_is_not_green() -> None:
    """What stands is where the rollback led, with the rows that it left; the reason is the hold."""
    back = datetime(2026, 10, 30, tzinfo=UTC)
    moves = [
        load("orders", week) | {"entry": number, "restores": None, "written_at": back}
        for number, week in enumerate(WEEKS, 1)
    ]
    rollback = load("orders", WEEKS[0]) | {"entry": 4, "restores": 1, "written_at": back}
    rollback["target_rows"] = 41
    old = failure("orders", WEEKS[2]) | {"failed_at": datetime(2026, 10, 20, tzinfo=UTC)}
    found = status(tables=["orders"], weeks=WEEKS, entries=[*moves, rollback], attempts=[old])
    cells = found.cells["orders"]
    assert [cell.state for cell in cells.values()] == ["loaded", "rolled back", "rolled back"]
    assert cells[WEEKS[0]].rows == 41
    assert found.heads == {"orders": WEEKS[0]}
    assert not found.proved
    assert not found.reasons, "it failed before the week was carried, and then taken back"
    again = load("orders", WEEKS[2]) | {"entry": 5, "restores": None, "written_at": back}
    entries = [*moves, rollback, again]
    later = status(tables=["orders"], weeks=WEEKS, entries=entries, attempts=[])
    states = [cell.state for cell in later.cells["orders"].values()]
    assert states == ["loaded", "covered", "loaded"]
    assert later.proved
