"""Status and proofs as tables for a terminal."""

import sys
from collections.abc import Mapping
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from migration_assets.model import Proof
from migration_assets.report.status import Cell, Status

_PLAIN_WIDTH = 120  # columns where output goes to a file or pipe, which has no width of its own
_AROUND_CELL = 2  # characters: its right padding and border
_AROUND_GRID = 1 + 2 * _AROUND_CELL  # its left border, and what surrounds the first and last column
_STYLES = {
    "loaded": "green",
    "covered": "cyan",
    "failed": "red",
    "open": "dim",
    "on hold": "yellow",
}


def console() -> Console:
    """Return the console of the command line."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


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
    for name, hold in sorted(status.holds.items()):
        text = f"{name} is on hold {hold.text}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    for (name, week), reason in sorted(status.reasons.items()):
        text = f"{name}, week {week}: {reason}"
        console.print(text, style="red", markup=False, soft_wrap=True)


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


def print_proofs(proofs: Mapping[str, Proof | None], console: Console, *, show_keys: bool) -> None:
    """Print what was compared for every table, and the rows that differ."""
    grid = Table()
    for heading in ("table", "head", "source", "target", "quarantined", "proof"):
        grid.add_column(heading, justify="left" if heading in ("table", "proof") else "right")
    for name, proof in proofs.items():
        if proof is None:
            grid.add_row(escape(name), "", "", "", "", "[red]never loaded[/]")
            continue
        grid.add_row(
            escape(name),
            proof.week.isoformat(),
            str(proof.source_rows),
            str(proof.target_rows),
            str(proof.quarantined_rows),
            "[green]equal[/]" if proof.holds else "[red]differs[/]",
        )
    console.print(grid)
    for name, proof in proofs.items():
        for difference in proof.differences if proof else ():
            text = difference.text(show_key=show_keys)
            console.print(f"{name}: {text}", style="red", markup=False, soft_wrap=True)
