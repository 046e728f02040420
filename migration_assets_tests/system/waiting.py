"""Wait for what only asking can tell, and say what was waited for when it stays away."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.2  # seconds between two questions


def until(ask: Callable[[], T], *, what: str, seconds: float = 120) -> T:
    """Ask until the answer is truthy, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s, got {answer!r}"
        time.sleep(_PAUSE)
    return answer
