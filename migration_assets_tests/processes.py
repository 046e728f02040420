"""Steps in processes of their own, to be killed or to run against each other.

Processes come from a fork server that has imported everything once: a fresh interpreter for each
would cost a second, and a plain fork would copy the threads of Polars and Arrow.
"""

import multiprocessing as mp
import os
import resource
import signal
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, datetime
from itertools import count
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import sleep
from typing import NoReturn

import dagster as dg

from migration_assets import standing, step, undo
from migration_assets.cutover.execute import execute
from migration_assets.defs.report import make_report
from migration_assets.errors import MigrationError
from migration_assets.migration import Migration
from migration_assets.source.catalog import remember
from migration_assets.source.reader import catalog_in
from migration_assets.state import LocalState

CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
PATIENCE = 60.0  # seconds that a step in another process may take before the test gives up


def kill_myself() -> NoReturn:
    """Die as from `kill -9`: nothing is cleaned up, no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class DeadlyState(LocalState):
    """A state folder whose process dies when it is about to write a certain document or file."""

    def __init__(self, root: Path, deadly: str) -> None:
        super().__init__(root)
        self.deadly = deadly

    def _finish(self, file: Path, key: str) -> None:
        if self.deadly in key:
            kill_myself()
        super()._finish(file, key)


class FullState(LocalState):
    """A state folder on a disk without a byte left for a certain file of its workspaces."""

    def __init__(self, root: Path, full: str) -> None:
        super().__init__(root)
        self.full = full

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """Lend a folder in which that file is the device that is always full."""
        with super().workspace() as folder:
            (folder / self.full).symlink_to("/dev/full")
            yield folder


def run_limited(migration: Migration, table: str, week: date, limit: int, answer: Path) -> None:
    """Run a week of a table while no file may grow beyond a limit; answer with kind and text."""
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        step.take_cut(migration, week)
        step.make_delta(migration, table, week)
        step.carry(migration, table, week, run="limited")
    except MigrationError as error:
        answer.write_text(f"{type(error).__name__}\n{error}", "utf-8")


def die_in_step(migration: Migration, table: str, week: date, stage: str) -> None:
    """Carry a table and die at a stage."""

    def at(reached: str) -> None:
        if reached == stage:
            kill_myself()

    step.carry(migration, table, week, run="killed", at=at)


def die_in_cut(migration: Migration, week: date) -> None:
    """Take a cut and die while pages are copied."""
    step.take_cut(migration, week, progress=lambda _done, _all: kill_myself())


def die_on_write(migration: Migration, table: str, week: date, key: str) -> None:
    """Take a cut, store a delta and carry it; die when a certain key is written to the state."""
    deadly = Migration(
        settings=migration.settings,
        state=DeadlyState(migration.settings.state, key),
        target=migration.target,
    )
    step.take_cut(deadly, week)
    step.make_delta(deadly, table, week)
    step.carry(deadly, table, week, run="killed")


def die_on_report(migration: Migration, week: date, key: str) -> None:
    """Take a cut, remember its catalog and report the week; die when that key is written."""
    deadly = replace(migration, state=DeadlyState(migration.settings.state, key))
    remember(deadly.state, catalog_in(step.take_cut(deadly, week)))
    with dg.DagsterInstance.ephemeral() as instance:
        make_report(instance, deadly, ["part"], week)


def die_in_proof(migration: Migration, table: str) -> None:
    """Verify a table and die when both sides are about to be compared, in an open snapshot."""
    standing.prove = lambda *_, **__: kill_myself()  # pyright: ignore[reportAttributeAccessIssue]
    standing.verify(migration, table)


def step_together(migration: Migration, table: str, week: date, start: Barrier) -> None:
    """Store the delta and carry a table, when all processes are ready."""
    start.wait(PATIENCE)
    step.make_delta(migration, table, week)
    step.carry(migration, table, week, run="together")


def replay_and_die(migration: Migration, table: str, stage: str) -> None:
    """Replay a table's quarantine and die at a stage."""

    def at(reached: str) -> None:
        if reached == stage:
            kill_myself()

    step.replay(migration, table, run="killed", at=at)


def die_in_cutover(migration: Migration, now: datetime, stage: str) -> None:
    """Cut over and die at a stage."""

    def at(reached: str) -> None:
        if reached == stage:
            kill_myself()

    execute(migration, acknowledged=frozenset({"no_backup"}), now=now, at=at)


def started(function: object, *arguments: object) -> BaseProcess:
    """Start a function of this module in a process of its own."""
    process = CONTEXT.Process(target=function, args=arguments)  # pyright: ignore[reportArgumentType] - any callable
    process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    """Wait for a process; minus the signal's number where one ended it."""
    process.join(PATIENCE)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    return code


def die_in_rollback(migration: Migration, table: str, week: date, stage: str) -> None:
    """Take a week of a table back and die at a stage."""

    def at(reached: str) -> None:
        if reached == stage:
            kill_myself()

    undo.rollback(migration, table, week=week, run="killed", at=at)


def roll_back_together(migration: Migration, table: str, week: date, start: Barrier) -> None:
    """Take a week of a table back, when all processes are ready."""
    start.wait(PATIENCE)
    undo.rollback(migration, table, week=week, run="together")


def write_forever(path: Path, ready: Path, checkpoint: int) -> None:
    """Move amounts between two tables until killed; their sum is the same after every commit.

    Each transaction moves a row from one table to the other as well, through pages far apart.
    """
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as application:
        application.execute(f"PRAGMA wal_autocheckpoint = {checkpoint}")
        application.execute("PRAGMA cache_size = 20")  # changes spill to the file before COMMIT
        for number in count():
            application.execute("BEGIN IMMEDIATE")
            for statement in TRANSFER:
                application.execute(statement, {"n": number % 3_000 + 1})
            application.execute("COMMIT")
            ready.touch()
            sleep(0.001)  # an application breathes; one that doesn't keeps all readers out


ACCOUNTS = """
PRAGMA page_size = 512;
PRAGMA journal_mode = {journal};
CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, filler TEXT);
CREATE TABLE closed (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, filler TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO account SELECT i, {amount}, hex(zeroblob(150)) FROM n;
INSERT INTO closed SELECT id + 3000, amount, filler FROM account WHERE id % 10 = 0;
"""
TRANSFER = (
    "UPDATE account SET amount = amount - 1 WHERE id = (SELECT min(id) FROM account)",
    "INSERT INTO closed SELECT id, amount, filler FROM account WHERE id = :n",
    "DELETE FROM account WHERE id = :n",
    "INSERT INTO account SELECT * FROM closed WHERE id <> :n ORDER BY id LIMIT 1",
    "DELETE FROM closed WHERE id IN (SELECT id FROM account) AND id <> :n",
    "UPDATE closed SET amount = amount + 1 WHERE id = (SELECT max(id) FROM closed)",
)
