"""One table after the other: what stops one doesn't keep the others from theirs."""

from collections.abc import Callable
from typing import TypeVar

from migration_assets.errors import MigrationError, SettingsError, TransientError

T = TypeVar("T")


def apart(do: Callable[[], T], failed: Callable[[str], T]) -> T:
    """Do it for one table; return what `failed` makes of the error where that is the table's own.

    What no other table would do better with is raised: settings that are wrong, a target that is
    not there.
    """
    try:
        return do()
    except (SettingsError, TransientError):
        raise
    except MigrationError as error:
        return failed(str(error))
