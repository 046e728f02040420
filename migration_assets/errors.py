"""Errors a person can act on: what happened, where, what was expected, what to do.

Two roots decide what a caller may do next: a `TransientError` may go away by itself and is worth a
bounded retry; a `TerminalError` will come again until somebody acts. No error ever carries a row
value or a secret: keys, names and counts only.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path

from migration_assets.plain import plain

_FRAMES = 8  # innermost places of an exception that are told


@dataclass(kw_only=True, eq=False)  # not frozen: contextlib sets __traceback__ on what passes it
class MigrationError(Exception):
    """What happened, where (table, week, column), what was expected, what to do about it."""

    what: str
    where: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Render one paragraph, each part on a line of its own; names in it stay text."""
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.hint:
            lines.append(f"to do: {self.hint}")
        return plain("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields, since Dagster carries errors between processes."""
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.hint))


def _rebuild(
    kind: type[MigrationError], what: str, where: str, expected: str, hint: str
) -> MigrationError:
    return kind(what=what, where=where, expected=expected, hint=hint)


class TerminalError(MigrationError):
    """Comes again until somebody acts."""


class TransientError(MigrationError):
    """May go away by itself; worth a bounded retry."""


class BugError(TerminalError):
    """An error of migration_assets itself, named by class and place: its text may quote a row."""


def bug(error: Exception) -> BugError:
    """Return what may be told of an exception that nobody expected; raise it `from None`."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = (f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return BugError(
        what=f"an error of migration-assets itself ({type(error).__name__})",
        where=" > ".join(places),
        hint="report it with these places; its text is left out, since it may quote a row",
    )


class SettingsError(TerminalError):
    """A setting is missing or wrong."""


class SourceError(TerminalError):
    """The SQLite source, or a cut of it, can't be used as it is."""


class SourceBusyError(TransientError):
    """The source is locked by its application for longer than we wait."""


class SourceReplacedError(TransientError):
    """Another file took the source's place while it was copied; the copy is not kept."""


class StateError(TerminalError):
    """A cut, delta or catalog in the state folder is missing or damaged."""


class StateBusyError(TransientError):
    """Another process holds a lock of the state folder for longer than we wait."""


class HoldError(TerminalError):
    """The table is on hold: nothing moves it until it is released."""


class TransformError(TerminalError):
    """A table's transform can't be imported, raises, or returns what it may not."""


class UnsupportedError(TerminalError):
    """Something this version does not carry, refused by name."""


class DriftError(TerminalError):
    """The source's schema or values changed in a way that a person has to confirm."""


class TargetError(TerminalError):
    """The target refuses, or isn't what it has to be."""


class TargetUnavailableError(TransientError):
    """The target can't be reached now, or gave up a session."""


class TargetUnreachableError(TargetUnavailableError):
    """No connection within the patience that was set: it has been tried again already."""


class TargetUnsteadyError(TargetUnavailableError):
    """The target broke a step off again and again, for as long as it may be repeated."""


class OvertakenError(TargetUnavailableError):
    """Other runs moved the table each time that this one had prepared its step."""


class DagsterStorageError(TransientError):
    """Dagster's own storage can't be reached or refuses; no table was touched because of it."""


class GuardError(TerminalError):
    """A guard stopped a step; `--acknowledge NAME` lets it pass for one run."""


class RollbackError(TerminalError):
    """There is no way back to where a table is asked to go."""


class ForeignWriteError(GuardError):
    """Somebody else changed rows on the target since the table's last move."""


class ProofError(TerminalError):
    """Source and target are not equal; nothing was committed."""
