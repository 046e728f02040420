"""The report of a week: where every table stands after it, and what failed, as Markdown."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from textwrap import TextWrapper
from types import MappingProxyType

from migration_assets.findings import Pruned
from migration_assets.plain import markdown, one_line, plain
from migration_assets.report.checkup import size
from migration_assets.report.status import Cell, Status

TAKEN = "the target takes it"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_WIDTH = (
    100  # characters of a line in a code block that Dagster shows whole, in a window of 1300 px
)


def render(status: Status, week: date, later: Mapping[str, str] = _NOTHING) -> str:
    """Return a week's report; `status` covers at least that week. No row value is in it.

    `later` says of what is made at the cutover, or was left out, how it went when it was tried.
    """
    lines = [
        f"# Week {week}",
        "",
        _verdict(status, week),
        "",
        "| table | state | rows | inserted | updated | deleted | quarantined | stands at |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, cells in status.cells.items():
        head = status.heads.get(name)
        lines.append(_row(name, cells[week], str(head) if head else "never loaded"))
    if status.holds:
        lines += ["", "## On hold", ""]
        lines += [
            f"- {_plain(name)} {markdown(hold.text)}" for name, hold in sorted(status.holds.items())
        ]
    if status.exceptions:
        lines += ["", "## Exceptions"]
        for name, said in sorted(status.exceptions.items()):
            lines += ["", f"**{_plain(name)}**", "", *_block(said)]
    changes = {t: said for (t, carried), said in status.changes.items() if carried == week}
    if changes:
        lines += ["", "## Schema changes"]
        for name, said in sorted(changes.items()):
            lines += ["", f"**{_plain(name)}**", "", *_block(said)]
    reasons = {t: why for (t, failed), why in status.reasons.items() if failed == week}
    if reasons:
        lines += ["", "## What failed"]
        for name, reason in sorted(reasons.items()):
            lines += ["", f"**{_plain(name)}**", "", *_block([reason])]
    return "\n".join([*lines, *_at_the_cutover(later)]) + "\n"


def _at_the_cutover(later: Mapping[str, str]) -> list[str]:
    """List what the target would not take; what it takes is only counted."""
    problems = {name: said for name, said in later.items() if said != TAKEN}
    if not later:
        return []
    lines = ["", "## At the cutover", ""]
    taken = len(later) - len(problems)
    lines += [f"Of {len(later)} objects that are made then, the target takes {taken}."]
    if problems:
        lines += ["", *_block([f"{name}: {said}" for name, said in sorted(problems.items())])]
    return lines


def _verdict(status: Status, week: date) -> str:
    behind = [t for t in status.cells if status.heads.get(t, date.min) < week]
    if not behind:
        but = ", but for the exceptions below" if status.exceptions else ""
        return f"All {len(status.cells)} tables are proved equal to their cut{but}."
    return f"{len(behind)} of {len(status.cells)} tables do not stand at this week yet."


def _block(texts: Iterable[str]) -> list[str]:
    """Return the lines of a block of code, which nothing in these texts can end."""
    lines = [line for text in texts for line in _wrapped(plain(text))]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *lines, fence]


def _wrapped(reason: str) -> list[str]:
    """Break long lines between words: a code block is cut off at the edge of Dagster's window."""
    wrap = TextWrapper(width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [part for line in reason.splitlines() for part in wrap.wrap(line) or [""]]


def _row(name: str, cell: Cell, head: str) -> str:
    figures = (cell.rows, cell.inserted, cell.updated, cell.deleted, cell.quarantined)
    shown = figures if cell.state == "loaded" else ("",) * len(figures)
    return f"| {' | '.join([_plain(name), cell.state, *map(str, shown), head])} |"


def _plain(name: str) -> str:
    """Keep a table's name from being read as Markdown."""
    return "`" + one_line(name).replace("`", "'").replace("|", "\\|") + "`"


def removed(pruned: Pruned) -> str:
    """Return the report's part on what was removed when the week had ended, and what stays."""
    lines = ["", "## Cuts and deltas", ""]
    if pruned.problem:
        lines += ["Nothing was removed:", "", *_block([pruned.problem])]
    else:
        lines.append(
            f"{len(pruned.cuts)} cuts and {pruned.deltas} deltas that nothing needs any more were"
            f" removed: {size(pruned.freed)} became free."
        )
    if pruned.kept:
        needed = (f"{cut}: {why}" for cut, why in sorted(pruned.kept.items()))
        lines += ["", "Cuts older than `keep_weeks` that are still needed:", "", *_block(needed)]
    return "\n".join(lines) + "\n"
