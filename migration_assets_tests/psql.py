r"""The little of psql that the scripts in deploy/sql use, so that no psql has to be installed.

Variables (`\set`, `\if :{?name}`, `:'name'`, `:"name"`), statements that end in `;`, `\gexec`. All
else is refused. A system test runs the same scripts with psql itself.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from migration_assets_tests.command import ROOT

SCRIPTS = ROOT / "deploy" / "sql"
_COMMENT = re.compile(r"--.*$")
_VARIABLE = re.compile(r""":(?P<quote>['"])(?P<name>\w+)(?P=quote)""")


def statements(script: Path) -> list[str]:
    """Return the statements of a script, as they stand there, without psql's conditions."""
    return [text for text, _ in _parsed(script.read_text("utf-8"), {})]


def run(connection: psycopg.Connection[Any], script: Path, *leave_out: str, **given: str) -> None:
    """Run a script in autocommit, except statements left out; `given` are its variables."""
    variables = {"DBNAME": connection.info.dbname, **given}
    for text, variables_then in _parsed(script.read_text("utf-8"), variables):
        if text in leave_out:
            continue
        made = _substituted(text.removesuffix(r"\gexec"), variables_then, connection)
        cursor = connection.execute(made.encode())
        if text.endswith(r"\gexec"):
            for (made_by_it,) in cursor.fetchall():
                connection.execute(made_by_it.encode())


def _parsed(text: str, given: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    variables, lines, skipped = dict(given), [""][:0], False
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw).strip()
        word, _, rest = line.partition(" ")
        if word == r"\if":
            skipped = rest.removeprefix(":{?").removesuffix("}") not in variables
        elif word == r"\else":
            skipped = not skipped
        elif word == r"\endif":
            skipped = False
        elif word == r"\set":
            name, _, value = rest.partition(" ")
            if not skipped:
                variables[name] = value
        elif line:
            assert not line.startswith("\\"), f"not understood: {line}"
            lines.append(line)
            if line.endswith((";", r"\gexec")):
                yield " ".join(lines), dict(variables)
                lines = []
    assert not lines, f"never ended: {lines}"


def _substituted(
    text: str, variables: Mapping[str, str], connection: psycopg.Connection[Any]
) -> str:
    def value(found: re.Match[str]) -> str:
        as_what = sql.Literal if found["quote"] == "'" else sql.Identifier
        return as_what(variables[found["name"]]).as_string(connection)

    return _VARIABLE.sub(value, text)
