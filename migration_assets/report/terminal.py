"""Status and proofs as tables for a terminal."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

from migration_assets.findings import Proof, Quarantined
from migration_assets.model import AcceptedRow, Hold
from migration_assets.plain import counted, plain
from migration_assets.report.answers import Carried, Repaired, Replayed, TableProof
from migration_assets.report.checks import FOREIGN_KEYS, Result, exception_lines
from migration_assets.report.status import Cell, Status
from migration_assets.verify.attribution import sentences, what_to_do

_PLAIN_WIDTH = 120  # columns where output goes to a file or pipe, which has no width of its own
_AROUND_CELL = 2  # characters: its right padding and border
_AROUND_GRID = 1 + 2 * _AROUND_CELL  # its left border, and what surrounds the first and last column
_STYLES = {
    "loaded": "green",
    "covered": "cyan",
    "failed": "red",
    "open": "dim",
    "on hold": "yellow",
    "rolled back": "red",
}


class PlainConsole(Console):
    """A console whose text can't act on the terminal, whatever a table is called."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is printed; rich's own control sequences are apart from text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def console(file: TextIO | None = None) -> Console:
    """Return the console of the command line, on standard output or another file.

    There is no colour, and no other escape sequence, where NO_COLOR (https://no-color.org) is set,
    and none where the output goes to no terminal.
    """
    out = file or sys.stdout
    return PlainConsole(
        file=out,
        highlight=False,
        width=None if out.isatty() else _PLAIN_WIDTH,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def print_status(status: Status, console: Console) -> None:
    """Print rows, inserted, updated, deleted and quarantined by table and week, and the heads.

    The last weeks that fit the console's width are shown; failures of all weeks are named below.
    """
    shown = _fitting(status, console.width)
    title = "rows, then +inserted ~updated -deleted !quarantined, by week"
    if len(shown) < len(status.weeks):
        title += f" (the last {len(shown)} of {len(status.weeks)})"
    grid = Table(title=title, title_style="dim", show_lines=False, padding=(0, 1, 0, 0))
    grid.add_column("table", no_wrap=True)
    for week in shown:
        grid.add_column(f"{week:%Y}\n{week:%m-%d}", justify="right", no_wrap=True)
    grid.add_column("proved\nat", no_wrap=True)
    for name, cells in status.cells.items():
        head = status.heads.get(name)
        grid.add_row(
            escape(name),
            *(f"[{_STYLES[cells[w].state]}]{_figures(cells[w])}[/]" for w in shown),
            head.isoformat() if head else "[red]never[/]",
        )
    console.print(grid)
    _print_changes(status, shown, console)
    _print_holds(status.holds, console)
    for name, said in sorted(status.exceptions.items()):
        for line in said:
            console.print(f"{name}: {line}", style="yellow", markup=False, soft_wrap=True)
    for (name, week), reason in sorted(status.reasons.items()):
        text = f"{name}, week {week}: {reason}"
        console.print(text, style="red", markup=False, soft_wrap=True)


def _print_changes(status: Status, weeks: Sequence[date], console: Console) -> None:
    for (name, week), said in sorted(status.changes.items()):
        for change in said if week in weeks else ():
            console.print(f"{name}, week {week}: {change}", markup=False, soft_wrap=True)


def _print_holds(holds: Mapping[str, Hold], console: Console) -> None:
    for name, hold in sorted(holds.items()):
        text = f"{name} is on hold {hold.text}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)


def _fitting(status: Status, width: int) -> tuple[date, ...]:
    """Return the last weeks that fit beside the tables' names and heads; one at least."""
    left = width - max(map(len, ("table", *status.cells))) - len("2026-10-04") - _AROUND_GRID
    shown: list[date] = []
    for week in reversed(status.weeks):
        texts = [_figures(cells[week]) for cells in status.cells.values()]
        lines = [line for text in texts for line in text.splitlines()]
        left -= max(map(len, ("10-04", *lines))) + _AROUND_CELL
        if left < 0 and shown:
            break
        shown.insert(0, week)
    return tuple(shown)


def _figures(cell: Cell) -> str:
    if cell.state != "loaded":
        return cell.state
    signs = (
        ("+", cell.inserted),
        ("~", cell.updated),
        ("-", cell.deleted),
        ("!", cell.quarantined),
    )
    return "\n".join([str(cell.rows), " ".join(f"{sign}{count}" for sign, count in signs if count)])


def print_carried(carried: Carried, console: Console) -> None:
    """Print how a week's runs ended: failed steps with their reasons, figures, the verdict."""
    for step, reason in carried.failures.items():
        console.print(f"failed: {step}", style="red", markup=False)
        console.print(reason, markup=False, soft_wrap=True)
    if carried.new_tables:
        names = ", ".join(carried.new_tables)
        text = f"new in this week's cut, carried by a second run: {names}"
        console.print(text, markup=False, soft_wrap=True)
    if carried.status is not None:
        _print_changes(carried.status, (carried.week,), console)
        console.print(_counted(carried.status, carried.week), markup=False)
    _print_holds(carried.held, console)
    console.print(f"week {carried.week}: {carried.verdict}")
    for problem in carried.problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print(f"run {' '.join(carried.runs)}", style="dim", soft_wrap=True)


def _counted(status: Status, week: date) -> str:
    """Count tables by what the week did to them, in the order in which they first appear."""
    counts = Counter(cells[week].state for cells in status.cells.values())
    return f"tables: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def print_verified(found: Iterable[TableProof], console: Console, *, show_keys: bool) -> None:
    """Print what was compared for every table, the rows that differ, and what else is wrong."""
    grid = Table()
    for heading in ("table", "head", "source", "target", "quarantined", "proof"):
        grid.add_column(heading, justify="left" if heading in ("table", "proof") else "right")
    tables = list(found)
    for table in tables:
        proof = table.proof
        counts = (
            (proof.source_rows, proof.target_rows, proof.quarantined_rows) if proof else ("",) * 3
        )
        grid.add_row(
            escape(table.table),
            proof.week.isoformat() if proof else "",
            *map(str, counts),
            f"[{'green' if table.holds else 'red'}]{table.verdict}[/]",
        )
    console.print(grid)
    for table in tables:
        texts = _texts(table.table, table.proof, show_keys=show_keys)
        for text in (*texts, table.lag, table.error):
            if text:
                line = f"{table.table}: {text}"
                console.print(line, style="red", markup=False, soft_wrap=True)
        for text in exception_lines(_accepted(table.proof), show_keys=show_keys):
            line = f"{table.table}: {text}"
            console.print(line, style="yellow", markup=False, soft_wrap=True)
        for check in table.inspected(show_keys=show_keys):
            if not check.passed:
                style = "yellow" if check.name == FOREIGN_KEYS else "red"
                _print_check(table.table, check, style, console)


def _accepted(proof: Proof | None) -> tuple[AcceptedRow, ...]:
    return proof.accepted if proof else ()


def _texts(table: str, proof: Proof | None, *, show_keys: bool) -> list[str]:
    """Name differing rows, then say where the differences come from, and what can be done."""
    if proof is None:
        return []
    named = [difference.text(show_key=show_keys) for difference in proof.differences]
    causes = sentences(proof.attribution) if proof.attribution else ()
    to_do = [f"to do: {what_to_do(table, proof.attribution)}"] if causes else []
    return [*named, *causes, *to_do]


def print_preview(table: Repaired, console: Console, *, show_keys: bool) -> None:
    """Print what differs in a table, where that comes from, and what a repair would do."""
    found = table.preview
    lines = (
        [table.error]
        if table.error
        else _texts(table.table, found and found.proof, show_keys=show_keys)
    )
    for line in lines:
        text = f"{table.table}: {line}"
        console.print(text, style="red", markup=False, soft_wrap=True)
    for line in exception_lines(_accepted(found and found.proof), show_keys=show_keys):
        text = f"{table.table}: {line}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    console.print(f"{table.table}: {_repair_text(table)}", markup=False, soft_wrap=True)


def _repair_text(table: Repaired) -> str:
    found = table.preview
    if found is None or not found.differs:
        return table.outcome
    made = {"insert": found.insert, "update": found.update, "delete": found.delete}
    todo = [f"{counted(number, 'row')} to {what}" for what, number in made.items() if number]
    if found.gone:
        todo.append("the table, which is gone, to make anew")
    elif found.proof is not None and not found.proof.quarantine_equal:
        todo.append("its quarantine to make anew")
    if found.ending:
        todo.append(f"{counted(len(found.ending), 'exception')} to end")
    return f"at week {found.week}: {', '.join(todo)}"


def print_repaired(table: Repaired, console: Console, *, show_keys: bool) -> None:
    """Print how a table's repair ended."""
    text = f"{table.table}: {table.error or table.outcome}"
    if table.moved is not None and not table.error:
        text += f", {counted(table.moved.displaced, 'row')} kept in migration.displaced"
    style = "red" if table.error else None
    console.print(text, style=style, markup=False, soft_wrap=True)
    for line in exception_lines(table.kept, show_keys=show_keys):
        console.print(f"{table.table}: {line}", style="yellow", markup=False, soft_wrap=True)


def _print_check(table: str, check: Result, style: str, console: Console) -> None:
    for line in (*(check.lines or (check.sentence,)), f"to do: {check.to_do}"):
        text = f"{table}: {check.name}: {line}"
        console.print(text, style=style, markup=False, soft_wrap=True)


def print_quarantined(found: Sequence[Quarantined], console: Console) -> None:
    """Print what stands in quarantine, by table, column and reason."""
    for table in found:
        text = f"{table.table}: {table.rows} rows in quarantine"
        console.print(text, style="bold", markup=False, soft_wrap=True)
        for column, reasons in table.reasons.items():
            for reason, count in reasons.items():
                text = f"  {column}, {count} times: {reason}"
                console.print(text, markup=False, soft_wrap=True)
        if table.keys:
            more = " …" if table.rows > len(table.keys) else ""
            text = f"  such as {'; '.join(table.keys)}{more}"
            console.print(text, markup=False, soft_wrap=True)
    if not found:
        console.print("nothing is in quarantine")


def print_replayed(found: Sequence[Replayed], console: Console) -> None:
    """Print how every table's replay ended."""
    for table in found:
        if table.error:
            text = f"{table.table}: {table.error}"
            console.print(text, style="red", markup=False, soft_wrap=True)
            continue
        text = f"{table.table}: {table.outcome}"
        if table.moved is not None:
            left = table.moved.proof.quarantined_rows
            text += f", {table.moved.inserted} rows went in, {left} stay in quarantine"
        console.print(text, markup=False, soft_wrap=True)
        for change in table.moved.changes if table.moved else ():
            console.print(f"  {change}", markup=False, soft_wrap=True)
