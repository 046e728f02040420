"""The command line: exit 0 good, 1 something failed or differs, 2 misused."""

from migration_assets.cli.app import main

__all__ = ["main"]
