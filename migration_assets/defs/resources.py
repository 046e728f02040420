"""The resource that hands assets their migration: settings, state folder and target."""

import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dagster as dg

from migration_assets.migration import Migration
from migration_assets.settings import Settings, load
from migration_assets.state import LocalState
from migration_assets.target import embedded
from migration_assets.target.connection import target_of

TARGET_DATABASE = "aurora"
DAGSTER_DATABASE = "dagster"


def embedded_folder(settings: Settings) -> Path:
    """Return where the embedded PostgreSQL of these settings lives."""
    return settings.state / "postgres"


def state_of(settings: Settings) -> LocalState:
    """Return the state folder of these settings."""
    return LocalState(settings.state, patience=settings.lock_timeout)


def open_migration(settings: Settings) -> Migration:
    """Return the migration of these settings, starting the embedded target where that is meant."""
    url = None
    if settings.embedded:
        server = embedded.start(embedded_folder(settings))
        embedded.ensure_database(server, TARGET_DATABASE)
        url = server.url(TARGET_DATABASE)
    return Migration(settings=settings, state=state_of(settings), target=target_of(settings, url))


@contextmanager
def embedded_target(settings: Settings) -> Generator[Migration]:
    """Open the migration for a command; an embedded target started for it is stopped after."""
    lent = embedded.borrowed(embedded_folder(settings)) if settings.embedded else nullcontext()
    with lent:
        yield open_migration(settings)


class MigrationResource(dg.ConfigurableResource[Migration]):
    """Open the migration at run time: no setting or secret becomes part of a run's config."""

    def create_resource(self, context: dg.InitResourceContext) -> Migration:  # noqa: ARG002
        """Read settings from the environment and `migration.yaml`."""
        return open_migration(load(os.environ, Path.cwd()))
