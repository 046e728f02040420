"""What the target broke off is done again within bounds; nothing else ever is."""

from collections.abc import Callable

import pytest

from migration_assets import repeats
from migration_assets.errors import (
    GuardError,
    MigrationError,
    OvertakenError,
    ProofError,
    SourceBusyError,
    StateBusyError,
    TargetError,
    TargetUnavailableError,
    TargetUnreachableError,
    TargetUnsteadyError,
)


class Clock:
    """A clock that only goes on when somebody pauses, or works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []
        monkeypatch.setattr(repeats.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(repeats.time, "sleep", self.pause)
        monkeypatch.setattr(repeats.random, "uniform", lambda _low, high: high)

    def pause(self, seconds: float) -> None:
        """Let time pass, and note it."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock in the place of time's own."""
    return Clock(monkeypatch)


def failing(error: MigrationError, times: int, lasts: float, clock: Clock) -> Callable[[], str]:
    """Return a step that works for so many seconds and fails so many times."""
    tries: list[int] = []

    def step() -> str:
        tries.append(1)
        clock.now += lasts
        if len(tries) <= times:
            raise error
        return f"done at try {len(tries)}"

    return step


BROKEN_OFF = TargetUnavailableError(what="deadlock detected", where="t", hint="run again")


@pytest.mark.parametrize(
    "error",
    [
        ProofError(what="not equal"),
        GuardError(what="too many rows"),
        TargetError(what="permission denied"),
        SourceBusyError(what="locked"),
        StateBusyError(what="locked"),
        TargetUnreachableError(what="no connection"),
        OvertakenError(what="other runs moved the table"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_broken_off_by_the_target_is_never_done_again(
    clock: Clock, error: MigrationError
) -> None:
    """A repetition would hide a bug, or wait once more for what was waited for."""
    told: list[str] = []
    step = failing(error, 1, 1.0, clock)
    with pytest.raises(type(error)) as raised:
        repeats.until_done(step, where="table t", patience=60, told=told.append)
    assert raised.value is error
    assert (told, clock.pauses) == ([], [])


def test_pauses_grow_to_a_limit_and_the_last_try_is_made_when_patience_ends(clock: Clock) -> None:
    """Half a second, doubled up to ten; what is raised says how often and how long."""
    told: list[str] = []
    step = failing(BROKEN_OFF, 1_000, 0.0, clock)
    with pytest.raises(TargetUnsteadyError) as raised:
        repeats.until_done(step, where="table t", patience=30, told=told.append)
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 4.5]
    assert sum(clock.pauses) == 30
    assert len(told) == 7
    assert told[1] == ("table t: broken off by the target (deadlock detected); repetition 2 begins")
    assert raised.value.what == "deadlock detected; done again 7 times within 30 s (retry_patience)"
    assert raised.value.hint == "run again"
    assert raised.value.__cause__ is BROKEN_OFF


def test_what_works_again_ends_well(clock: Clock) -> None:
    """Two deadlocks, then it goes through."""
    step = failing(BROKEN_OFF, 2, 1.0, clock)
    done = repeats.until_done(step, where="t", patience=60, told=lambda _text: None)
    assert done == "done at try 3"


def test_without_patience_the_error_itself_is_raised_at_once(clock: Clock) -> None:
    """Whoever sets it to 0 repeats by other means."""
    step = failing(BROKEN_OFF, 1, 1.0, clock)
    with pytest.raises(TargetUnavailableError) as raised:
        repeats.until_done(step, where="t", patience=0, told=lambda _text: None)
    assert raised.value is BROKEN_OFF


def test_a_long_load_that_is_broken_off_late_is_done_again_but_not_for_ever(clock: Clock) -> None:
    """An hour's work means that the target was well; patience starts anew, three times in all."""
    step = failing(BROKEN_OFF, 1_000, 3_600.0, clock)
    told: list[str] = []
    with pytest.raises(TargetUnsteadyError):
        repeats.until_done(step, where="t", patience=60, told=told.append)
    assert len(told) == 3
    again = failing(BROKEN_OFF, 3, 3_600.0, clock)
    assert repeats.until_done(again, where="t", patience=60, told=told.append) == "done at try 4"
