"""Errors: complete for a person, whole across processes, and decided as terminal or transient."""

import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from migration_assets import errors
from migration_assets.errors import (
    DagsterStorageError,
    MigrationError,
    OvertakenError,
    SourceBusyError,
    SourceError,
    SourceReplacedError,
    StateBusyError,
    TargetUnavailableError,
    TargetUnreachableError,
    TargetUnsteadyError,
    TerminalError,
    TransientError,
)
from migration_assets.source.connection import source_error, translated


def _kinds(root: type[MigrationError]) -> Iterator[type[MigrationError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


KINDS = sorted(set(_kinds(MigrationError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_where_expected_and_what_to_do(kind: type[MigrationError]) -> None:
    """Each part on a line of its own; parts that are not given leave no line."""
    full = kind(what="it broke", where="table t", expected="that it holds", hint="mend it")
    assert str(full) == "table t: it broke\nexpected: that it holds\nto do: mend it"
    assert str(kind(what="it broke")) == "it broke"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_processes_whole(kind: type[MigrationError]) -> None:
    """Dagster pickles what a step raises."""
    error = kind(what="it broke", where="table t", expected="that it holds", hint="mend it")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert type(back) is kind
    assert str(back) == str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_terminal_or_transient(kind: type[MigrationError]) -> None:
    """Never both, never neither: a caller knows whether to try again."""
    assert issubclass(kind, TerminalError) != issubclass(kind, TransientError)


def test_only_what_is_busy_or_unavailable_may_go_away_by_itself() -> None:
    """All else comes again until somebody acts."""
    transient = {kind for kind in KINDS if issubclass(kind, TransientError)}
    assert transient == {
        TransientError,
        SourceBusyError,
        SourceReplacedError,
        StateBusyError,
        TargetUnavailableError,
        TargetUnreachableError,
        TargetUnsteadyError,
        OvertakenError,
        DagsterStorageError,
    }


def test_every_error_of_the_module_is_one_of_ours() -> None:
    """No class slips past a handler of MigrationError."""
    found = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert found == {MigrationError, *KINDS}


@pytest.mark.parametrize(
    ("code", "kind", "what"),
    [
        (5, SourceBusyError, "locked"),
        (6, SourceBusyError, "locked"),
        (261, SourceBusyError, "locked"),  # SQLITE_BUSY_RECOVERY
        (11, SourceError, "damaged"),
        (267, SourceError, "damaged"),  # SQLITE_CORRUPT_VTAB
        (13, SourceError, "disk is full"),
        (14, SourceError, "can't be opened"),
        (26, SourceError, "no SQLite database"),
        (776, SourceError, "rolled back"),
        (8, SourceError, "without writing"),
        (10, SourceError, "result code 10"),
    ],
)
def test_sqlites_errors_are_told_apart_by_code(
    code: int, kind: type[MigrationError], what: str
) -> None:
    """Extended codes too; the text of SQLite, which may quote a value, is not passed on."""
    error = sqlite3.OperationalError("a row's value: hunter2")
    error.sqlite_errorcode = code
    found = source_error(error, "source app.sqlite")
    assert type(found) is kind
    assert what in found.what
    assert found.where == "source app.sqlite"
    assert found.hint
    assert "hunter2" not in str(found)


def test_an_error_raised_inside_is_translated_with_its_place() -> None:
    """Ours pass as they are."""
    with (
        pytest.raises(SourceError, match=r"^cut 1: SQLite can't run"),
        translated("cut 1"),
        closing(sqlite3.connect(":memory:")) as connection,
    ):
        connection.execute("SELECT nothing")
    with pytest.raises(SourceBusyError, match=r"^busy$"), translated("cut 1"):
        raise SourceBusyError(what="busy")
