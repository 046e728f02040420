"""Do again, from its beginning, what the target broke off: a failover, a deadlock, a lost session.

Only what the target says goes away by itself is done again, within the patience that is set, and
each time is said. Proofs, guards and everything terminal pass through at once: a repetition must
never hide them. A target that can't be reached at all was waited for already, at connecting.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from migration_assets.errors import (
    OvertakenError,
    TargetUnavailableError,
    TargetUnreachableError,
    TargetUnsteadyError,
)

T = TypeVar("T")
Told = Callable[[str], None]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds before a step is done again
# A step that went on for longer than the patience had a target that was well meanwhile: its
# patience starts anew, this often. More would go on for ever where every load breaks at the end.
_ANEW = 2


def until_done(do: Callable[[], T], *, where: str, patience: float, told: Told) -> T:
    """Do it, again where the target breaks it off; each repetition is `told`.

    `do` must begin anew each time, with a session and a head of its own. `patience` is in seconds
    from when it was first broken off; 0 repeats nothing. Raises `TargetUnsteadyError` at its end.
    """
    deadline, pause, times, anew = 0.0, _FIRST_PAUSE, 0, 0
    while True:
        begun = time.monotonic()
        try:
            return do()
        except (TargetUnreachableError, OvertakenError):
            raise
        except TargetUnavailableError as error:
            now = time.monotonic()
            if patience <= 0:
                raise
            if times == 0 or (now - begun > patience and anew < _ANEW):
                anew += times > 0
                deadline, pause = now + patience, _FIRST_PAUSE
            if now >= deadline:
                raise _given_up(error, times, patience) from error
            times += 1
            told(f"{where}: broken off by the target ({error.what}); repetition {times} begins")
        # The last one is begun when patience ends.
        time.sleep(min(deadline - now, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_PAUSE)


def _given_up(error: TargetUnavailableError, times: int, patience: float) -> TargetUnsteadyError:
    return TargetUnsteadyError(
        what=f"{error.what}; done again {times} times within {patience:g} s (retry_patience)",
        where=error.where,
        expected=error.expected,
        hint=error.hint,
    )
