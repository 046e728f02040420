"""The certificate's wording, and the labels of final cuts."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from migration_assets.cutover.label import is_final, next_label, open_week
from migration_assets.errors import StateError
from migration_assets.report.certificate import (
    Backup,
    Certificate,
    Condition,
    MadeObject,
    ProvedTable,
    SignOff,
    Stage,
    Verdict,
    as_document,
    lines,
    markdown,
)
from migration_assets.weeks import Weeks

GO = Condition(name="tables", verdict=Verdict.GO, figure="all 2 | loaded")
WORD = Condition(
    name="backup", verdict=Verdict.EXCEPTION, figure="none", acknowledge="no_backup", to_do="set it"
)
NO = Condition(name="quarantine", verdict=Verdict.NO_GO, figure="5 rows", details=("a\nb: 5",))
TOTAL = 2**70 + 1
WHOLE = Certificate(
    kind="cutover",
    source="app.sqlite",
    target="host/db",
    schema="public",
    by="eve on machine",
    started_at="2026-11-24T16:00:00+00:00",
    ended_at="2026-11-24T16:10:00+00:00",
    acknowledged=("no_backup",),
    conditions=(GO, WORD),
    week="2026-11-16",
    cut="2026-11-16-abc",
    cut_sha256="f" * 64,
    cut_taken_at="2026-11-24T16:01:00+00:00",
    second_look="2026-11-24T16:05:00+00:00: no change",
    backup=Backup(kind="none"),
    stages=(
        Stage(name="moves", seconds=1.25, what="2 tables"),
        Stage(name="x", seconds=2, what=""),
    ),
    tables=(
        ProvedTable(
            table="a|b",
            source_rows=1234,
            target_rows=1233,
            quarantined=0,
            algorithm="sha256/1",
            source_digest=TOTAL,
            target_digest=TOTAL,
            read_back=10,
            inserted=1,
            excepted=1,
        ),
    ),
    sign_offs=(SignOff(table="a|b", rows=1233, source_sha256="1", target_sha256="2"),),
    made=(MadeObject(kind="view", table="", name="v"),),
    left_out=(MadeObject(kind="check", table="t", name="c", problem="2 rows"),),
    versions={"Python": "3.11"},
)


def test_the_worst_condition_is_the_verdict() -> None:
    """And whatever stopped the run is a no-go."""
    assert WHOLE.verdict is Verdict.EXCEPTION
    assert replace(WHOLE, conditions=(GO,)).verdict is Verdict.GO
    assert replace(WHOLE, conditions=(WORD, NO, GO)).verdict is Verdict.NO_GO
    assert replace(WHOLE, conditions=(GO,), stopped="it").verdict is Verdict.NO_GO


def test_only_an_exception_passes_by_its_name() -> None:
    """A no-go never does."""
    assert WORD.stops(())
    assert WORD.stops({"violations"})
    assert not WORD.stops({"no_backup"})
    assert NO.stops({"no_backup", "violations", ""})
    assert not GO.stops(())


def test_every_figure_stands_in_the_markdown() -> None:
    """In tables that names with a bar, or on two lines, don't break."""
    text = markdown(WHOLE)
    for figure in (
        *("# Certificate of the cutover", "**GO WITH EXCEPTION**", "all 2 \\| loaded", "a\\|b"),
        *("1,234", "1,233", f"sha256/1 {TOTAL}", "+1 ~0 -0", "**DIFFERENT**", "none was taken"),
        *("acknowledged: no_backup", "eve on machine", "f" * 64, "no change", "3.2 s", "3.11"),
        *("t: check c: 2 rows", "- view v", "To do: set it"),
    ):
        assert figure in text, figure
    stopped = markdown(replace(WHOLE, conditions=(NO,), stopped="rows changed"))
    assert "**NO-GO**: rows changed" in stopped
    assert "- a b: 5" in stopped


def test_the_document_is_the_same_for_machines() -> None:
    """Digests are wider than a double, so they are texts."""
    document = json.loads(json.dumps(as_document(WHOLE)))
    assert document["verdict"] == "go with exception"
    assert document["tables"][0]["source_digest"] == str(TOTAL)
    assert document["sign_offs"][0]["equal"] is False
    assert document["conditions"][1]["verdict"] == "go with exception"


def test_a_terminal_shows_what_decides_first() -> None:
    """Conditions with what to do, then stages, then the verdict."""
    shown = lines(replace(WHOLE, conditions=(NO, GO), stopped="rows changed"))
    assert shown[0] == ("red", "no-go             quarantine: 5 rows")
    assert shown[-1] == ("red", "cutover: no-go: rows changed")
    assert ("yellow", "left out: t: check c: 2 rows") in shown


# ------------------------------------------------------------------------------------- labels

WEEKS = Weeks(first=date(2026, 10, 4), count=2, timezone="Europe/Zurich")
OPENED = date(2026, 10, 18)


@pytest.mark.parametrize(
    ("now", "opened"),
    [
        (datetime(2026, 10, 4, 0, tzinfo=UTC), date(2026, 10, 4)),
        (datetime(2026, 10, 10, 21, 59, tzinfo=UTC), date(2026, 10, 4)),
        (datetime(2026, 10, 10, 22, 0, tzinfo=UTC), date(2026, 10, 11)),
        (datetime(2027, 1, 5, tzinfo=UTC), date(2027, 1, 3)),
    ],
)
def test_the_open_week_is_the_one_of_the_present_day(now: datetime, opened: date) -> None:
    """In the migration's time zone, also after its last week."""
    assert open_week(WEEKS, now) == opened


def test_final_cuts_come_after_the_last_week_and_before_the_open_one() -> None:
    """So neither of their regular runs takes one for its own."""
    taken = [date(2026, 10, 4), date(2026, 10, 11)]
    found: list[date] = []
    for _ in range(6):
        found.append(next_label(OPENED, [*taken, *found]))
    assert found == [date(2026, 10, day) for day in range(12, 18)]
    assert all(is_final(label, OPENED) for label in found)
    assert not is_final(date(2026, 10, 11), OPENED)
    assert not is_final(OPENED, OPENED)
    with pytest.raises(StateError, match="no label left"):
        next_label(OPENED, [*taken, *found])


def test_a_cut_of_the_open_week_or_later_leaves_no_label() -> None:
    """The final cut would be older than what stands."""
    with pytest.raises(StateError, match="no label left"):
        next_label(OPENED, [OPENED])


def test_weeks_that_were_missed_are_folded_into_the_final_cut() -> None:
    """It comes after the last complete week whether that was carried or not."""
    assert next_label(OPENED, [date(2026, 9, 6)]) == date(2026, 10, 12)
