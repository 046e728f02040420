"""Documentation that is run: a page's commands are typed into one shell, its outputs compared.

What a page may hold, and how a reader can tell:

- A block ``sh`` is typed in, in the page's order, in one shell: `cd` and `export` last. It fails
  the page where it ends with anything but 0; where a failure is to be shown, the page says so
  (`… || echo "exit code $?"`).
- A block ``sh elsewhere`` is only checked for syntax: it belongs to another machine or user.
- A block ``sh until Ctrl-C`` runs until it has printed what is shown, and is then ended by Ctrl-C.
- A block ``text`` that is the next block after one of these is its whole output, both streams.
  `…` stands for anything in a line; a line that is only `…` for any lines, or none.

Trailing blanks and blank lines at both ends don't count.
"""

import os
import re
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO

from migration_assets_tests.command import ROOT
from migration_assets_tests.markdown import blocks

# Pages of docs/ that a test runs. A page with commands that isn't here fails a test.
RUN_PAGES = (
    "how-to/behind-authentication.md",
    "how-to/own-database.md",
    "how-to/pin-a-mapping.md",
    "how-to/quarantined-rows.md",
    "how-to/schema-changed.md",
    "tutorial/first-migration.md",
)
COMMANDS, OUTPUT = "sh", "text"
ELSEWHERE = ("elsewhere",)
UNTIL_STOPPED = ("until", "Ctrl-C")
_ANYTHING = "…"
_SECONDS = 300.0  # that one block may take on a busy machine


class DocumentationError(AssertionError):
    """A page and what it describes are not the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A block of commands, how it is to be run, and the output that the page shows, if any."""

    text: str
    words: tuple[str, ...]
    line: int
    output: str | None


def page(name: str) -> str:
    """Return the text of a page that is to be run, which has to be one of `RUN_PAGES`."""
    if name not in RUN_PAGES:
        message = f"{name} is not in RUN_PAGES"
        raise DocumentationError(message)
    return (ROOT / "docs" / name).read_text("utf-8")


def commands(markdown: str) -> list[Command]:
    """Return a page's blocks of commands in order. Raises `ValueError` for one of unknown kind."""
    found = blocks(markdown)
    result: list[Command] = []
    for block, after in zip_longest(found, found[1:]):
        if block is None or block.language != COMMANDS:
            continue
        if block.words not in ((), ELSEWHERE, UNTIL_STOPPED):
            message = f"line {block.line}: nobody knows how to run `sh {' '.join(block.words)}`"
            raise ValueError(message)
        shown = after.text if after and after.language == OUTPUT else None
        result.append(Command(text=block.text, words=block.words, line=block.line, output=shown))
    return result


def pattern(shown: str, *, whole: bool = True) -> re.Pattern[str]:
    """Return what an output has to match; with `whole` off, more may follow."""
    parts: list[str] = []
    for line in _trimmed(shown).splitlines():
        if line.strip() == _ANYTHING:
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.split(_ANYTHING)) + r"\n")
    return re.compile("".join(parts) + ("\\Z" if whole else ""))


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def compare(command: Command, printed: str, *, whole: bool = True) -> None:
    """Raise `DocumentationError` unless the output is the one that the page shows."""
    if command.output is None:
        return
    if not pattern(command.output, whole=whole).match(_trimmed(printed) + "\n"):
        message = (
            f"line {command.line}:\n{command.text}\n\n-- the page shows:\n{command.output}"
            f"\n\n-- but this is printed:\n{printed}"
        )
        raise DocumentationError(message)


def run_page(
    markdown: str,
    *,
    folder: Path,
    environment: Mapping[str, str],
    replace: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a page's commands in a folder; return what each block printed.

    `replace` exchanges texts in commands and outputs, such as a port that is taken here. Raises
    `DocumentationError` for the first block that fails or prints something else.
    """
    for text, instead in (replace or {}).items():
        if text not in markdown:
            message = f"the page says nothing of {text}"
            raise DocumentationError(message)
        markdown = markdown.replace(text, instead)
    printed: list[str] = []
    with _shell(folder, environment) as shell:
        for command in commands(markdown):
            if command.words == ELSEWHERE:
                check_syntax(command)
                continue
            run = shell.run_until_stopped if command.words == UNTIL_STOPPED else shell.run
            printed.append(run(command))
    return printed


def check_syntax(command: Command) -> None:
    """Raise `DocumentationError` where a shell can't read a block."""
    checked = subprocess.run(
        ["/bin/bash", "-n"], input=command.text, capture_output=True, text=True, check=False
    )
    if checked.returncode:
        message = f"line {command.line}:\n{command.text}\n\n-- {checked.stderr}"
        raise DocumentationError(message)


class _Shell:
    """One bash that blocks are typed into, one after the other."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._mark = f"-- end of block {secrets.token_hex(8)} --"

    def run(self, command: Command) -> str:
        """Run a block to its end and compare its output; return it."""
        self._type(f". {self._file(command)} </dev/null")
        printed, ended = self._read_to_mark(command)
        if not ended:
            message = f"line {command.line} failed:\n{command.text}\n\n-- printed:\n{printed}"
            raise DocumentationError(message)
        compare(command, printed)
        return printed

    def run_until_stopped(self, command: Command) -> str:
        """Run a block until it has printed what the page shows; end it by Ctrl-C."""
        # With job control the block gets a process group, and Ctrl-C is not ignored in it.
        log = self._folder / f"block-{command.line}.log"
        log.touch()
        self._type(f"set -m; bash {self._file(command)} </dev/null >{log} 2>&1 & set +m; echo $!")
        group = int(self._read_to_mark(command)[0])
        try:
            self._wait(command, log, group)
            os.killpg(group, signal.SIGINT)
            self._type(f"wait {group} || true")
            self._read_to_mark(command)
        finally:
            with suppress(ProcessLookupError):  # as it should be
                os.killpg(group, signal.SIGKILL)
        return log.read_text("utf-8")

    def _wait(self, command: Command, log: Path, group: int) -> None:
        """Wait until the output is the one shown; compare what there is when time is over."""
        deadline = time.monotonic() + _SECONDS
        shown = pattern(command.output or "", whole=False)
        while time.monotonic() < deadline and _alive(group):
            if shown.match(_trimmed(log.read_text("utf-8")) + "\n"):
                return
            time.sleep(0.2)
        compare(command, log.read_text("utf-8"), whole=False)

    def _file(self, command: Command) -> Path:
        file = self._folder / f"block-{command.line}.sh"
        file.write_text(command.text + "\n", "utf-8")
        return file

    def _type(self, line: str) -> None:
        with suppress(BrokenPipeError):  # a shell that a block has ended; reading tells
            _stream(self._process.stdin).write(f"{line}\necho; echo '{self._mark}'\n".encode())
            _stream(self._process.stdin).flush()

    def _read_to_mark(self, command: Command) -> tuple[str, bool]:
        """Return what was printed, and whether the block came to its end."""
        output = _stream(self._process.stdout)
        deadline, text = time.monotonic() + _SECONDS, b""
        end = f"\n{self._mark}\n".encode()
        while not text.endswith(end):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                message = f"line {command.line} takes too long:\n{command.text}\n\n-- {text!r}"
                raise DocumentationError(message)
            part = os.read(output.fileno(), 65536)
            if not part:
                return text.decode(), False
            text += part
        return text.removesuffix(end).decode(), True


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        message = "a shell without its pipes"
        raise DocumentationError(message)
    return stream


@contextmanager
def _shell(folder: Path, environment: Mapping[str, str]) -> Generator[_Shell]:
    """Start bash in a folder, in that environment alone; it ends with the page."""
    with (
        tempfile.TemporaryDirectory() as blocks_folder,
        subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc", "-e"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _Shell(process, Path(blocks_folder))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
