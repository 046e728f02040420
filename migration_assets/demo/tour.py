"""The demo: a made-up business, or the user's own file, carried week by week and proved.

It lives in `.migration/demo` (or `.migration/own`) below the folder it is started in, and starts
afresh each time. After its third week somebody changes a row on the target, which is found and
repaired, and a table's week is taken back and carried again. In its fourth week a table fails for a
reason that happens in real life: somebody gave the target a rule that the source's rows break. The
table's partition is mended alone.
"""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic

import dagster as dg
import psycopg
import yaml
from rich.console import Console

from migration_assets.defs.instance import environment, open_instance, serve
from migration_assets.defs.known import calendar_of, tables_of
from migration_assets.defs.launch import RunOutcome, run_rollback, run_week
from migration_assets.defs.report import report_week
from migration_assets.defs.resources import embedded_folder, open_migration
from migration_assets.demo import business, life
from migration_assets.errors import SettingsError
from migration_assets.holds import release
from migration_assets.plain import counted
from migration_assets.repair import repair
from migration_assets.report import terminal
from migration_assets.settings import ENVIRONMENT, Settings, load
from migration_assets.standing import prove_table, standing
from migration_assets.target import embedded

# In week 4 the business first pays money back, against a rule that a DBA just made.
_FAILING_WEEK, _FAILING_TABLE = 4, "payments"
_RULE = "ALTER TABLE public.payments ADD CONSTRAINT dba_no_refunds CHECK (amount >= 0)"
_MISHAP_WEEK, _WRITTEN_TABLE, _RETURNED_TABLE = 3, "customers", "orders"
_FOREIGN_WRITE = "UPDATE public.customers SET city = 'Atlantis' WHERE id = 4"
_MENDING = "ALTER TABLE public.payments DROP CONSTRAINT dba_no_refunds"


def tour(
    folder: Path,
    *,
    source: Path | None,
    weeks: int,
    scale: int,
    port: int | None,
    mend: bool = True,
) -> bool:
    """Show the pipeline at work; return whether everything ended proved equal.

    `source` is the user's own file, carried for one week; without one, a business of `scale` lives
    through `weeks`. Dagster stays open on `port` until it is stopped; None leaves it closed.
    Without `mend` the rule that fails a table stays, and with it the red partition.
    """
    console = terminal.console()
    with _alone(folder):
        settings = _prepare(folder, source, weeks)
        if source is None:
            business.create(settings.source, scale=scale)
            console.print(f"a business on SQLite: {settings.source.relative_to(folder)}")
        story = _Story(scale=scale, own=source is not None, mend=mend)
        return _show(folder, settings, console, story, port)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Refuse a second demo in this folder: it would take the first one's files away."""
    home = folder / ".migration"
    home.mkdir(mode=0o700, exist_ok=True)
    with (home / "demo.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                what="a demo runs in this folder already",
                where=str(folder),
                hint="end it with Ctrl-C in its terminal, or use another folder",
            ) from error
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """What is shown: the user's own file, or a business of some size and its one failure."""

    scale: int
    own: bool
    mend: bool


def _show(
    folder: Path, settings: Settings, console: Console, story: _Story, port: int | None
) -> bool:
    with environment(settings, os.environ, folder):
        with open_instance(settings) as instance:
            proved = _live(instance, settings, console, story)
        if port is not None:
            console.print(f"Dagster opens on http://127.0.0.1:{port} (Ctrl-C ends it)")
            serve(settings, port)
    return proved


def _prepare(folder: Path, source: Path | None, weeks: int) -> Settings:
    """Make an empty home and settings of its own, whatever the environment says."""
    home = folder / ".migration" / ("own" if source else "demo")
    state = home / "state"
    if home.exists():
        embedded.remove(state / "postgres")
        shutil.rmtree(home)
    home.mkdir(mode=0o700, parents=True)
    fields: dict[str, object] = {
        "source": str(source.resolve() if source else home / "business.sqlite"),
        "target": "embedded",
        "state": str(state),
    }
    if source is None:
        now = datetime.now(UTC).date()
        last_sunday = now - timedelta(days=(now.weekday() + 1) % 7)
        fields["first_week"] = last_sunday - timedelta(weeks=weeks)
    file = home / "migration.yaml"
    file.write_text(yaml.safe_dump(fields), "utf-8")
    for variable in (*ENVIRONMENT, *(v for v in os.environ if v.startswith("DAGSTER_PG_"))):
        os.environ.pop(variable, None)
    os.environ["MIGRATION_CONFIG"] = str(file)
    return load(os.environ, folder)


def _live(
    instance: dg.DagsterInstance, settings: Settings, console: Console, story: _Story
) -> bool:
    now = datetime.now(UTC)
    complete = calendar_of(settings, now).complete(now)
    for number, week in enumerate(complete, start=1):
        if number > 1:
            life.live_one_week(settings.source, week=number, scale=story.scale)
        if number == _FAILING_WEEK and not story.own:
            _fail(instance, settings, week, console)
            if story.mend:
                _mend(instance, settings, week, console)
        else:
            _run(instance, week, console)
        if number == _MISHAP_WEEK and not story.own:
            _write_and_repair(settings, console)
            _take_back(instance, settings, week, console)
    tables = tables_of(settings)
    for week in complete:
        report_week(instance, settings, tables, week)
    migration = open_migration(settings)
    found = standing(migration, tables, complete)
    terminal.print_status(found, console)
    proofs = [prove_table(migration, name) for name in tables]
    terminal.print_verified(proofs, console, show_keys=settings.show_keys)
    return found.proved and all(proof.holds for proof in proofs)


def _run(instance: dg.DagsterInstance, week: date, console: Console) -> RunOutcome:
    started = monotonic()
    with console.status(f"week {week}: taking the cut, comparing, loading, proving"):
        outcome = run_week(instance, week)
    verdict = "[green]proved equal[/]" if outcome.success else "[red]not complete[/]"
    console.print(f"week {week}: {verdict} in {monotonic() - started:.1f} s")
    for step, reason in outcome.failures.items():
        console.print(f"  {step}: {reason}", style="red", markup=False)
    return outcome


def _write_and_repair(settings: Settings, console: Console) -> None:
    """Show a row that somebody changed on the target: found by name, put right, theirs kept."""
    console.print(f"  somebody changes a row of {_WRITTEN_TABLE} on the target")
    _as_dba(settings, _FOREIGN_WRITE)
    migration = open_migration(settings)
    proof = prove_table(migration, _WRITTEN_TABLE).proof
    for difference in proof.differences if proof else ():
        found = difference.text(show_key=settings.show_keys)
        console.print(f"  verify: {_WRITTEN_TABLE}: {found}", markup=False)
    moved = repair(migration, _WRITTEN_TABLE, run="demo")
    if moved is not None:
        displaced = counted(moved.displaced, "row")
        console.print(
            f"  repair: {displaced} put right, what stood there kept in migration.displaced:"
            f" {_verdict(good=moved.proof.holds)}",
            soft_wrap=True,
        )


def _take_back(
    instance: dg.DagsterInstance, settings: Settings, week: date, console: Console
) -> None:
    """Show a week that is taken back: the table stands where it stood, held; then it is carried."""
    table = _RETURNED_TABLE
    outcome = run_rollback(instance, week=week, entry=None, tables=[table])
    if not outcome.success:
        console.print(f"  rollback: {outcome.failures or outcome.reason}", markup=False)
        return
    stands = outcome.figures[table]["stands_at"]
    console.print(
        f"  rollback: {table} takes {week} back: it stands at {stands} again, proved, and on hold"
    )
    release(open_migration(settings), table)
    again = run_week(instance, week, tables=[table], only_targets=True)
    console.print(f"  released, and {week} carried again: {_verdict(good=again.success)}")


def _verdict(*, good: bool) -> str:
    return "[green]proved equal[/]" if good else "[red]still red[/]"


def _fail(instance: dg.DagsterInstance, settings: Settings, week: date, console: Console) -> None:
    """Show one failed partition: the other tables move on."""
    console.print(f"week {week}: somebody gives the target a rule: no refunds in {_FAILING_TABLE}")
    _as_dba(settings, _RULE)
    _run(instance, week, console)


def _mend(instance: dg.DagsterInstance, settings: Settings, week: date, console: Console) -> None:
    """Take the reason away, and materialize the failed partition alone."""
    console.print("  the DBA drops the rule; only this table's partition is materialized again")
    _as_dba(settings, _MENDING)
    mended = run_week(instance, week, tables=[_FAILING_TABLE], only_targets=True)
    console.print(f"  aurora/{_FAILING_TABLE}, {week}: {_verdict(good=mended.success)}")


def _as_dba(settings: Settings, statement: str) -> None:
    server = embedded.start(embedded_folder(settings))
    with psycopg.connect(server.url("aurora"), autocommit=True) as connection:
        connection.execute(statement.encode())
