"""What a command answers: text for people, or one JSON document on standard output for machines.

With `--json` nothing else gets to standard output: whatever prints there meanwhile goes to standard
error, and a command that fails answers a document with `error`.
"""

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Annotated, Any, TextIO

import typer

from migration_assets.errors import MigrationError, TransientError, bug

GOOD, FAILED, MISUSED = 0, 1, 2

AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Answer one JSON document, for machines.")
]
Guards = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GUARD", help="Let this guard pass for one run (or `all`); may be given again."
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME", help="Only this table; may be given again."),
]


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a command has to say to a machine; `document` is printed when the command ends."""

    as_json: bool
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])


@contextmanager
def answering(*, as_json: bool) -> Generator[Answer]:
    """Lend the answer of a command; as JSON it is printed at the end, an error in its place."""
    answer = Answer(as_json=as_json)
    if not as_json:
        yield answer
        return
    stdout = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield answer
    except typer.Exit:
        _write(answer.document, stdout)
        raise
    except MigrationError as error:
        _write({"error": error_document(error)}, stdout)
        raise
    except Exception as error:
        _write({"error": _bug_document(error)}, stdout)
        raise
    _write(answer.document, stdout)


def error_document(error: MigrationError) -> dict[str, Any]:
    """Return an error for machines; `transient` says that it may pass by itself."""
    return {
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "to_do": error.hint,
        "transient": isinstance(error, TransientError),
    }


def _bug_document(error: Exception) -> dict[str, Any]:
    """Return an error of ours by its class and place; its text might hold a row's values."""
    return error_document(bug(error))


def _write(document: Mapping[str, Any], stdout: TextIO) -> None:
    stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def report(error: MigrationError) -> None:
    """Tell people on standard error what went wrong."""
    from migration_assets.report.terminal import console

    out = console(sys.stderr)
    # A paragraph of its own lines; wrapped, its paths and commands could not be copied.
    out.print(str(error), style="red", markup=False, soft_wrap=True)
    if isinstance(error, TransientError):
        out.print("This may pass by itself: run again.", markup=False)


def report_misuse(stdout: TextIO) -> None:
    """Answer a machine whose command line wasn't understood; standard error says which part."""
    error = MigrationError(
        what="the command line is not understood",
        where="command line",
        expected="a command with its options",
        hint="see `migration-assets COMMAND --help`",
    )
    _write({"error": error_document(error)}, stdout)
