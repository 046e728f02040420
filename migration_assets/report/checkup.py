"""What `doctor` found, one line a check: its state, what is so, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
_NAME_WIDTH = 17  # of the longest name


class Condition(StrEnum):
    """How a check ended; only a problem keeps weeks from being carried."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; what isn't ok says what to do."""

    name: str
    condition: Condition
    what: str
    to_do: str = ""


def ok(name: str, what: str) -> Check:
    """Return a check that found nothing to do."""
    return Check(name=name, condition=Condition.OK, what=what)


def warning(name: str, what: str, to_do: str) -> Check:
    """Return a check that found something to look at."""
    return Check(name=name, condition=Condition.WARNING, what=what, to_do=to_do)


def problem(name: str, what: str, to_do: str) -> Check:
    """Return a check that found what keeps weeks from being carried."""
    return Check(name=name, condition=Condition.PROBLEM, what=what, to_do=to_do)


def healthy(checks: Iterable[Check]) -> bool:
    """Tell whether no check found a problem."""
    return all(check.condition is not Condition.PROBLEM for check in checks)


def print_checks(checks: Iterable[Check], console: Console) -> None:
    """Print one line a check, and below it what to do."""
    for check in checks:
        style = _STYLES[check.condition]
        console.print(f"{check.condition.value:8}", style=style, end="")
        console.print(f"{check.name:{_NAME_WIDTH}} {check.what}", markup=False, soft_wrap=True)
        if check.to_do:
            indent = " " * (len("problem  ") + _NAME_WIDTH)
            console.print(f"{indent}to do: {check.to_do}", markup=False, soft_wrap=True)


_STEPS = ("bytes", "kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Return a number of bytes for people."""
    step = 0
    while count >= 1000 and step < len(_STEPS) - 1:  # noqa: PLR2004 - kilo
        count, step = count / 1000, step + 1
    return f"{count:.0f} {_STEPS[step]}" if step == 0 else f"{count:.1f} {_STEPS[step]}"
