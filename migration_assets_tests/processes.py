"""Steps in processes of their own, to be killed or to run against each other.

Processes come from a fork server that has imported everything once: a fresh interpreter for each
would cost a second, and a plain fork would copy the threads of Polars and Arrow.
"""

import multiprocessing as mp
import os
import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date, datetime
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NoReturn

from migration_assets import step, undo
from migration_assets.cutover.execute import execute
from migration_assets.errors import MigrationError
from migration_assets.state import LocalState
from migration_assets.step import Migration

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
