"""Names and keys stay text: on a terminal, in Markdown, in an error."""

import io
import re
from datetime import UTC, date, datetime

import pytest

from migration_assets.errors import TargetError
from migration_assets.model import Hold
from migration_assets.plain import markdown, one_line, plain
from migration_assets.report import terminal, weekly
from migration_assets.report.status import Cell, Status

WEEK, AT = date(2026, 10, 4), datetime(2026, 10, 4, tzinfo=UTC)
ACTING = "\x1b[2J\x1b]0;title\x07\r\x08\x9b31m\u202eevil\u2066\u2028\0\x7f"
HOSTILE = f"{ACTING}<script>alert(1)</script>![x](http://evil/x.png) | ```\n# all equal"
ACTS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def status_of(name: str, *, failing: str = "") -> Status:
    """Return the status of one table."""
    cell = Cell(state="failed" if failing else "loaded", rows=1)
    return Status(
        weeks=(WEEK,),
        cells={name: {WEEK: cell}},
        heads={name: WEEK},
        reasons={(name, WEEK): failing} if failing else {},
        holds={name: Hold(table=name, reason=name, since=AT, by=name)},
        changes={(name, WEEK): (name,)},
    )


def test_what_acts_is_spelled_out_and_what_is_read_stays() -> None:
    """Escape sequences and turned directions go; letters of any language, tabs and lines stay."""
    assert ACTS.search(plain(HOSTILE)) is None
    assert plain("\x1b[31m\u202e") == "\\x1b[31m\\u202e"
    assert plain("größe 大小 😀\tאבג\n") == "größe 大小 😀\tאבג\n"
    assert one_line("a\n# b\tc") == "a\\n# b\\tc"


@pytest.mark.parametrize("name", ["orders", "order_lines", "order lines", "größe 1.2", "id=3: x"])
def test_usual_names_are_not_touched_by_markdown(name: str) -> None:
    """Nothing is escaped that needs no escape."""
    assert markdown(name) == name


def test_markup_is_shown_as_it_stands() -> None:
    """No picture, link, tag or heading is made of a name."""
    assert markdown("![x](http://e)<b>*_a_*`|") == "!\\[x\\](http://e)\\<b\\>\\*\\_a\\_\\*\\`\\|"
    assert "\n" not in markdown(HOSTILE)


def test_an_error_names_a_table_without_acting() -> None:
    """It goes to terminals and logs alike."""
    error = TargetError(what="gone", where=f"table {HOSTILE}", hint=ACTING)
    assert ACTS.search(str(error)) is None


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_is_told_nothing_by_a_name(
    monkeypatch: pytest.MonkeyPatch, *, colour: bool
) -> None:
    """The only escape sequences are those of the colours."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: colour)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal.print_status(status_of(HOSTILE, failing=HOSTILE), terminal.console(out))
    said = out.getvalue()
    assert ("\x1b[" in said) is colour
    assert ACTS.search(re.sub("\x1b\\[[0-9;]*m", "", said)) is None
    assert "\\x1b]0;title" in said


def test_a_report_is_markdown_of_ours_alone() -> None:
    """A name or a reason ends no block and no row, and starts no tag."""
    reason = f"{HOSTILE}\n```\n<b>free</b>\n````"
    report = weekly.render(status_of(HOSTILE, failing=reason), WEEK, {HOSTILE: HOSTILE})
    assert ACTS.search(report) is None
    fences = [line for line in report.splitlines() if line.startswith("`````")]
    assert fences
    outside, inside = [], ""
    for line in report.splitlines():
        if inside:
            inside = "" if line == inside else inside
        elif line.startswith("```"):
            inside = line.removesuffix("text")
        else:
            outside.append(line)
    assert inside == ""
    headings = [line for line in outside if line.startswith("#")]
    assert headings == [
        f"# Week {WEEK}",
        "## On hold",
        "## Schema changes",
        "## What failed",
        "## At the cutover",
    ]
    unquoted = re.sub("`[^`]*`", "", re.sub(r"\\.", "", "\n".join(outside)))
    assert not re.search("[<>]|!\\[", unquoted)
    rows = [line for line in outside if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
