"""Status and proofs as tables for a terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from migration_assets.model import Proof
from migration_assets.report.status import Cell, Status

_STYLES = {"loaded": "green", "covered": "cyan", "failed": "red", "open": "dim"}


def print_status(status: Status, console: Console) -> None:
    """Print rows, inserted, updated, deleted and quarantined by table and week, and the heads."""
    grid = Table(title="rows  +inserted ~updated -deleted  !quarantined", title_style="dim")
    grid.add_column("table")
    for week in status.weeks:
        grid.add_column(week.isoformat(), justify="right")
    grid.add_column("proved at")
    for name, cells in status.cells.items():
        head = status.heads.get(name)
        grid.add_row(
            name,
            *(f"[{_STYLES[c.state]}]{_figures(c)}[/]" for c in cells.values()),
            head.isoformat() if head else "[red]never[/]",
        )
    console.print(grid)
    for (name, week), reason in sorted(status.reasons.items()):
        console.print(f"{name}, week {week}: {reason}", style="red", markup=False)


def _figures(cell: Cell) -> str:
    if cell.state != "loaded":
        return cell.state
    changed = [
        f"{sign}{count}"
        for sign, count in (("+", cell.inserted), ("~", cell.updated), ("-", cell.deleted))
        if count
    ]
    quarantined = [f"!{cell.quarantined}"] if cell.quarantined else []
    return "  ".join([str(cell.rows), *([" ".join(changed)] if changed else []), *quarantined])


def print_proofs(proofs: Mapping[str, Proof | None], console: Console, *, show_keys: bool) -> None:
    """Print what was compared for every table, and the rows that differ."""
    grid = Table()
    for heading in ("table", "head", "source", "target", "quarantined", "proof"):
        grid.add_column(heading, justify="left" if heading in ("table", "proof") else "right")
    for name, proof in proofs.items():
        if proof is None:
            grid.add_row(name, "", "", "", "", "[red]never loaded[/]")
            continue
        grid.add_row(
            name,
            proof.week.isoformat(),
            str(proof.source_rows),
            str(proof.target_rows),
            str(proof.quarantined_rows),
            "[green]equal[/]" if proof.holds else "[red]differs[/]",
        )
    console.print(grid)
    for name, proof in proofs.items():
        for difference in proof.differences if proof else ():
            text = str(difference) if show_keys else difference.what
            console.print(f"{name}: {text}", style="red", markup=False)
