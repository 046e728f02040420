"""One migration, as every step is given it: settings, state folder, target, who is told."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from migration_assets import repeats
from migration_assets.settings import Settings
from migration_assets.state import State
from migration_assets.target.connection import Target

T = TypeVar("T")
P = ParamSpec("P")


def say(text: str) -> None:
    """Say what the operator has to see though the step goes on: a repetition is never silent."""
    logging.getLogger(__name__).warning(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration: its settings, its state folder and its target.

    `told` hears of each repetition of what the target broke off.
    """

    settings: Settings
    state: State
    target: Target
    told: repeats.Told = say

    @property
    def source(self) -> str:
        """The source's name."""
        return self.settings.source_name

    def until_done(self, where: str, do: Callable[[], T]) -> T:
        """Do it, again from its beginning where the target breaks it off, within the patience."""
        patience = self.settings.retry_patience
        return repeats.until_done(do, where=where, patience=patience, told=self.told)


def persistent(
    function: Callable[Concatenate[Migration, P], T],
) -> Callable[Concatenate[Migration, P], T]:
    """Let what a function asks of the target be done again where the target breaks it off.

    It must be safe to do twice: what only reads is, and what says how a thing is to stand.
    """

    @wraps(function)
    def again(migration: Migration, *args: P.args, **kwargs: P.kwargs) -> T:
        asked = [function.__name__, *(a for a in args if isinstance(a, str))]
        return migration.until_done(
            " ".join(asked[:2]), lambda: function(migration, *args, **kwargs)
        )

    return again
