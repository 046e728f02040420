"""The commands before anything is carried."""


def init() -> None:
    """Write."""


def plan() -> None:
    """Plan."""


def doctor() -> None:
    """Doctor."""
