"""A rollback for people at a terminal: what it would do, and how it ended, table by table."""

import shlex
from collections.abc import Iterable, Iterator

from rich.console import Console

from migration_assets.findings import Preview
from migration_assets.report.answers import TakenBack


def print_previews(found: Iterable[TakenBack], console: Console, *, show_keys: bool) -> None:
    """Print what a rollback would do to every table."""
    for table in found:
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


def _preview_lines(preview: Preview, *, show_keys: bool) -> Iterator[str]:
    for move in preview.taken:
        yield (
            f"takes back entry {move.entry}: {move.kind} of week {move.week},"
            f" written {move.written_at:%Y-%m-%d %H:%M %Z}"
        )
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
        yield f"rows of others that the first move displaced: {preview.displaced} are put back"
    if preview.foreign_rows:
        yield (
            f"{preview.foreign_rows} rows were changed on the target since: they stop the rollback;"
            " `--acknowledge foreign_writes` displaces them"
        )
    elif preview.foreign_rows is None:
        yield "rows were changed on the target since, or may have been: they can't be counted"
    yield from (f"  {d.text(show_key=show_keys)}" for d in preview.foreign)
    yield "the table is on hold afterwards"


def print_taken_back(found: Iterable[TakenBack], console: Console) -> None:
    """Print how every table's rollback ended."""
    for table in found:
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
                f" {figures['deleted']} deleted, {figures['put_back']} displaced rows put back;"
                f" on hold, `migration-assets release {shlex.quote(table.table)}` lets it go on"
            )
        console.print(text, markup=False, soft_wrap=True)
