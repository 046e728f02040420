"""A rollback for people at a terminal: what it would do, and how it ended, table by table."""

import shlex
from collections.abc import Iterable, Iterator

from rich.console import Console

from migration_assets.findings import Preview
from migration_assets.plain import counted
from migration_assets.report.answers import TakenBack


def print_previews(found: Iterable[TakenBack], console: Console, *, show_keys: bool) -> None:
    """Print what a rollback would do to every table."""
    tables = list(found)
    for table in tables:
        preview = table.preview
        if preview is None:
            reason = table.error or "nothing to take back"
            style = "red" if table.error else ""
            console.print(f"{table.table}: {reason}", style=style, markup=False, soft_wrap=True)
            continue
        start, end = preview.head, preview.to
        console.print(
            f"{table.table}: from week {start.week} (entry {start.entry}) back to week {end.week}"
            f" (entry {end.entry})",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
        for line in _preview_lines(preview, show_keys=show_keys):
            console.print(f"  {line}", markup=False, soft_wrap=True)
        if preview.obstacle:
            console.print(preview.obstacle, style="red", markup=False, soft_wrap=True)
    if any(table.preview and not table.preview.obstacle for table in tables):
        console.print("what is rolled back is on hold afterwards, until it is released")


def _preview_lines(preview: Preview, *, show_keys: bool) -> Iterator[str]:
    moves = ", ".join(f"{move.entry} ({move.kind} of {move.week})" for move in preview.taken)
    yield f"takes back {'entry' if len(preview.taken) == 1 else 'entries'} {moves}"
    rows = preview.rows
    if rows is None:
        yield "rows: can't be counted before"
    else:
        most = "up to " if rows.at_most else ""
        yield (
            f"rows: {rows.inserted} inserted, {most}{rows.updated} updated, {rows.deleted} deleted"
        )
    yield from (f"schema: {change}" for change in preview.changes)
    if preview.displaced:
        yield f"puts back what the first move displaced: {counted(preview.displaced, 'row')}"
    if preview.foreign_rows:
        yield (
            f"{counted(preview.foreign_rows, 'row')} changed on the target since: they stop the"
            " rollback; `--acknowledge foreign_writes` displaces them"
        )
    elif preview.foreign_rows is None:
        yield "rows were changed on the target since, or may have been: they can't be counted"
    yield from (f"  {d.text(show_key=show_keys)}" for d in preview.foreign)


def print_taken_back(found: Iterable[TakenBack], console: Console) -> None:
    """Print how every table's rollback ended, and how to go on."""
    tables = list(found)
    for table in tables:
        if table.error:
            text = f"{table.table}: {table.error}"
            console.print(text, style="red", markup=False, soft_wrap=True)
            continue
        text = f"{table.table}: {table.outcome}"
        if table.figures is not None:
            figures = table.figures
            text += (
                f" to week {figures['stands_at']} (entry {figures['ledger_entry']}):"
                f" {figures['inserted']} inserted, {figures['updated']} updated,"
                f" {figures['deleted']} deleted"
            )
            if figures["put_back"]:
                text += f", {counted(figures['put_back'], 'displaced row')} put back"
        console.print(text, markup=False, soft_wrap=True)
    held = " ".join(shlex.quote(t.table) for t in tables if t.figures is not None)
    if held:
        console.print(
            "on hold now. Mend what was wrong, then:"
            f" `migration-assets release {held}`, and `migration-assets run`",
            markup=False,
            soft_wrap=True,
        )
