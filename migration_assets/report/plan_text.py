"""A plan as text: for a person at a terminal, or its DDL alone for a file."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from migration_assets.model import Policy
from migration_assets.plain import counted
from migration_assets.report.plan import NEW, REFUSED, Pinned, Plan, PlannedColumn, TablePlan
from migration_assets.settings_edit import scalar


def print_plan(plan: Plan, console: Console, pinned: Pinned | None = None) -> None:
    """Print every table with its key, columns, misfits and DDL, then what is left out.

    At the end stands what was written to the settings file, if that was asked for.
    """
    console.print(f"source {plan.source}", markup=False, soft_wrap=True)
    style = "" if plan.answered else "yellow"
    console.print(plan.note, markup=False, soft_wrap=True, style=style)
    for table in plan.tables:
        console.print()
        _print_table(table, console)
    if plan.views:
        console.print("\nviews, made at the cutover", style="bold")
        for view in plan.views:
            console.print(f"  {view.text}", markup=False, soft_wrap=True)
    if plan.left_out:
        console.print("\nleft out", style="bold")
        for name, reason in plan.left_out.items():
            console.print(f"  {name}: {reason}", markup=False, soft_wrap=True)
    console.print()
    console.print(_sum(plan), markup=False, soft_wrap=True)
    if pinned is None:
        console.print("nothing was changed; no copy was kept", style="dim")
    else:
        for line in pinned_text(pinned):
            console.print(line, markup=False, soft_wrap=True)


def pinned_text(pinned: Pinned) -> Iterator[str]:
    """Yield what was written to the settings file, and what could not be."""
    if pinned.tables:
        yield f"written: {pinned.file}: {', '.join(pinned.tables)}"
        yield "to do: read what is written under `tables`, and change what you know better"
    else:
        yield f"nothing to write: {pinned.file} says it all"
    for table, why in pinned.left.items():
        yield f"not written: {table}: {' '.join(why.split())}"


def _print_table(table: TablePlan, console: Console) -> None:
    title = f"{table.table} → {table.target}" if table.target else table.table
    rows = "" if table.rows is None else f"  {table.rows} row{'' if table.rows == 1 else 's'}"
    console.print(f"{title}{rows}", style="bold", markup=False, soft_wrap=True)
    for stop in table.stops:
        console.print(f"  stopped: {stop}", style="red", markup=False, soft_wrap=True)
    if table.state == REFUSED:
        return
    if table.head:
        console.print(f"  loaded: stands at {table.head}, its mapping is sealed", markup=False)
    for what in table.pending:
        text = f"  will be applied by the next load: {what}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    key = ", ".join(table.key) if table.key else "no key: a multiset of rows"
    console.print(f"  key: {key} ({table.key_reason})", markup=False, soft_wrap=True)
    console.print(_columns(table))
    _print_unfit(table, console)
    for left in table.left_out:
        console.print(f"  left out: {left}", markup=False, soft_wrap=True)
    for later in table.deferred:
        console.print(f"  at the cutover: {later.text}", markup=False, soft_wrap=True)
    for statement in table.ddl:
        console.print(f"{statement};", style="dim", markup=False, soft_wrap=True)


def _columns(table: TablePlan) -> Table:
    grid = Table(padding=(0, 1, 0, 0))
    for heading in ("column", "declared", "on the target", "evidence"):
        grid.add_column(heading, overflow="fold")
    for c in table.columns:
        kind = f"{c.target} {c.type}{' NOT NULL' if c.not_null else ''}"
        policy = "" if c.policy == Policy.QUARANTINE else f"\npolicy: {c.policy}"
        cast = f"\ncast: {c.cast}" if c.cast else ""
        evidence = "\n".join((c.evidence, *details(c)))
        grid.add_row(*map(escape, (c.name, c.declared, f"{kind}{policy}{cast}", evidence)))
    return grid


def details(column: PlannedColumn) -> Iterator[str]:
    """Yield what else is known of a column: what its values are like, and what it could be."""
    found = column.found
    if found is not None:
        facts = [f"{found.nulls:,} NULL"] if found.nulls else []
        if found.lowest is not None:
            facts.append(f"from {found.lowest} to {found.highest}")
        if found.longest is not None:
            facts.append(f"up to {counted(found.longest, 'byte')}")
        if facts:
            yield ", ".join(facts)
        if found.examples:
            yield f"don't fit, such as: {'; '.join(found.examples)}"
    for offer in column.offers:
        yield f"or {said(offer.type, offer.encoding)}: {offer.values:,} look like it"


def said(kind: str, encoding: str) -> str:
    """Return a type as the settings say it."""
    quoted = scalar(kind)
    return (
        f"{{type: {quoted}, encoding: {scalar(encoding)}}}" if encoding else f"{{type: {quoted}}}"
    )


def _print_unfit(table: TablePlan, console: Console) -> None:
    unfit = table.unfit
    if unfit is None or not unfit.rows:
        return
    text = f"  {unfit.rows} of {table.rows} rows don't fit and go to quarantine, whole"
    console.print(text, style="yellow", markup=False, soft_wrap=True)
    for column, reasons in unfit.reasons.items():
        for reason, count in reasons.items():
            console.print(f"    {column}, {count} times: {reason}", markup=False, soft_wrap=True)
    if unfit.keys:
        more = " …" if unfit.rows > len(unfit.keys) else ""
        keys = "; ".join(unfit.keys)
        console.print(f"    such as {keys}{more}", markup=False, soft_wrap=True)


def _sum(plan: Plan) -> str:
    new = sum(table.state == NEW for table in plan.tables)
    stopped = sum(bool(table.stops) for table in plan.tables)
    text = f"tables: {len(plan.tables)}, new: {new}, left out: {len(plan.left_out)}; "
    return text + (f"{stopped} would be stopped as things stand" if stopped else "none is stopped")


def ddl_text(plan: Plan) -> Iterator[str]:
    """Yield the DDL of all first loads, line by line, with a comment before each table."""
    yield "-- What the first load of each table runs. It also makes the schema of the tables and"
    yield "-- schema migration, with the ledger, where they are missing."
    yield ""
    for table in plan.tables:
        if table.state == NEW:
            yield f"-- {_one_line(table.table)}"
            yield from (f"{statement};" for statement in table.ddl)
            yield ""


def _one_line(name: str) -> str:
    """Keep a name that holds a line break from ending its comment."""
    return " ".join(name.splitlines())
