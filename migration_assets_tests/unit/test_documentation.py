"""The reference is complete and names nothing that isn't there; its links and pictures exist."""

import ast
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.core import TyperCommand, TyperGroup

from migration_assets import cli
from migration_assets.cutover.checks import ACKNOWLEDGEMENTS
from migration_assets.guards import GUARDS
from migration_assets.mapping import transform
from migration_assets.settings import ENVIRONMENT, Settings
from migration_assets.settings_tables import ColumnSettings, TableSettings
from migration_assets.target.guarding import EVERY_GUARD
from migration_assets_tests import markdown
from migration_assets_tests.command import ROOT
from migration_assets_tests.documentation import ELSEWHERE, RUN_PAGES, check_syntax, commands

PROGRAM = sys.modules[cli.main.__module__]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = markdown.pages(ROOT)
NONE = "\u2013"  # how a table says that there is no default
BY_LIBRARIES = {"PGPASSWORD", "PGPASSFILE", "NO_COLOR"}
PLACEHOLDER = re.compile(r"<[a-z_]+>|…|\.\.\.")

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


def read(page: Path) -> str:
    """Return a page's text."""
    return page.read_text("utf-8")


def rows(page: Path, column: str) -> list[dict[str, str]]:
    """Return the rows of all the page's tables that have a column of that name first."""
    found = [r for t in markdown.tables(read(page)) for r in t.rows if next(iter(r)) == column]
    assert found, f"no table of {column}s on {page.name}"
    return found


def names(page: Path, column: str) -> list[str]:
    """Return what the rows of these tables name in their first column."""
    return [name for row in rows(page, column) for name in markdown.code(row[column])]


def as_yaml(value: object) -> str:
    """Write a setting's value as it is written in migration.yaml."""
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------------------- settings


def test_every_setting_is_documented_and_no_other() -> None:
    """In the order of the settings themselves or any other."""
    assert sorted(names(REFERENCE / "settings.md", "setting")) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_settings_default_is_the_documented_one(name: str) -> None:
    """As it would be written in migration.yaml; a default that is worked out is told in words."""
    field = Settings.model_fields[name]
    (row,) = (r for r in rows(REFERENCE / "settings.md", "setting") if r["setting"] == f"`{name}`")
    if field.is_required():
        assert row["default"] == NONE
    elif field.default is None:
        assert row["default"].startswith("unset: ")
    else:
        assert row["default"] == f"`{as_yaml(field.default)}`"


@pytest.mark.parametrize(
    ("heading", "model"), [("of a table", TableSettings), ("of a column", ColumnSettings)]
)
def test_every_setting_of_a_table_is_documented_and_no_other(
    heading: str, model: type[BaseModel]
) -> None:
    """And every one of a column."""
    assert sorted(names(REFERENCE / "settings.md", heading)) == sorted(model.model_fields)


def test_the_transform_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found, called, and answers what its column is to become."""
    blocks = markdown.blocks(read(REFERENCE / "settings.md"))
    (block,) = (b for b in blocks if b.language == "python")
    (tmp_path / "cleaning_orders.py").write_text(block.text, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    orders = transform.load("cleaning_orders:orders", "the page")
    found = orders(pl.DataFrame({"id": [1], "price": ["1,50"]}))
    assert found.rows() == [(1, Decimal("1.50"))]


def test_a_settings_variable_is_the_documented_one() -> None:
    """And those without one show none."""
    shown = {
        variable: setting
        for row in rows(REFERENCE / "settings.md", "setting")
        for setting in markdown.code(row["setting"])
        for variable in markdown.code(row["environment"])
    }
    assert shown == dict(ENVIRONMENT)


def variables_read() -> set[str]:
    """Find the environment's variables in the package's code and in dagster.yaml."""
    found: set[str] = set()
    for file in (ROOT / "migration_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(read(file))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(
                    re.findall(r"^(?:(?:MIGRATION|DAGSTER)_[A-Z_]*[A-Z]|NO_COLOR)$", node.value)
                )
    return found | set(_env_of(yaml.safe_load(read(ROOT / "dagster.yaml"))))


def _env_of(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():  # pyright: ignore[reportUnknownVariableType] - YAML
            if key == "env":
                yield str(value)  # pyright: ignore[reportUnknownArgumentType] - YAML
            else:
                yield from _env_of(value)  # pyright: ignore[reportUnknownArgumentType] - YAML


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    """By the code, by dagster.yaml, and those that libraries read."""
    shown = names(REFERENCE / "settings.md", "variable")
    assert sorted(shown) == sorted(variables_read() | BY_LIBRARIES)


def test_no_page_names_a_variable_that_nobody_reads() -> None:
    """A misspelt one would be set without any effect."""
    known = variables_read() | BY_LIBRARIES
    for page in PAGES:
        found = set(re.findall(r"\b(?:MIGRATION|DAGSTER)_[A-Z_]*[A-Z]\b", read(page)))
        assert found <= known, page.name


# ---------------------------------------------------------------------------------- commands


def program() -> dict[str, TyperCommand]:
    """Return the commands of the command line by name; hidden ones are nobody's business."""
    group = typer.main.get_command(PROGRAM.app)
    assert isinstance(group, TyperGroup)
    return {name: command for name, command in _commands(group) if not command.hidden}


def _commands(group: TyperGroup) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from ((f"{name} {of}", found) for of, found in _commands(command))
        else:
            assert isinstance(command, TyperCommand)
            yield name, command


def parameters(command: TyperCommand) -> dict[str, str]:
    """Return a command's options and arguments, as documented, with their defaults."""
    found: dict[str, str] = {}
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        named = "/".join((*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            named = str(parameter.name).upper()
        default = parameter.default
        found[named] = NONE if default in (None, False, ()) else f"`{default}`"
    return found


def documented_commands() -> dict[str, dict[str, str]]:
    """Return the commands of the reference, each with its options and their defaults."""
    text = read(REFERENCE / "commands.md")
    headed = [name for h in markdown.headings(text) for name in markdown.code(h)]
    found: dict[str, dict[str, str]] = {name: {} for name in headed}
    for table in markdown.tables(text):
        for row in table.rows:
            if "option" in row:
                (command,) = markdown.code(table.heading)
                (option,) = markdown.code(row["option"])
                found[command][option] = row["default"]
    return found


def test_every_command_is_documented_and_no_other() -> None:
    """Each under a heading of its own."""
    assert sorted(documented_commands()) == sorted(program())


@pytest.mark.parametrize("name", program())
def test_a_commands_options_and_defaults_are_the_documented_ones(name: str) -> None:
    """All of them, and no other."""
    assert documented_commands()[name] == parameters(program()[name])


def test_every_exit_code_is_documented_and_no_other() -> None:
    """Scripts depend on them."""
    shown = [int(row["code"]) for row in rows(REFERENCE / "commands.md", "code")]
    assert shown == [0, PROGRAM.FAILED, PROGRAM.MISUSED]


def invocations(text: str) -> list[list[str]]:
    """Find what is typed after `migration-assets`, in code: blocks and backquotes."""
    pieces = [line for block in markdown.blocks(text) for line in block.text.splitlines()]
    pieces += markdown.code(markdown.prose(text).replace("\n", " "))
    found: list[list[str]] = []
    for piece in pieces:
        for typed in re.findall(r"migration-assets((?: +[^|;&#>`]*)?)", piece):
            words = shlex.split(PLACEHOLDER.sub("x", typed), posix=True)
            if words:
                found.append(words)
    return found


@page_by_page
def test_a_page_names_only_commands_and_options_that_exist(page: Path) -> None:
    """What stands on a page is typed as it stands there."""
    for command, *words in invocations(read(page)):
        if command in ("--help", "COMMAND"):
            continue
        if words and f"{command} {words[0]}" in program():
            command, *words = f"{command} {words[0]}", *words[1:]  # noqa: PLW2901 - one command
        assert command in program(), f"{page.name}: migration-assets {command}"
        known = {o for p in program()[command].params for o in (*p.opts, *p.secondary_opts)}
        options = {w.partition("=")[0] for w in words if w.startswith("-")} - {"--help"}
        assert options <= known, f"{page.name}: {command} {options - known}"


# ------------------------------------------------------------------------------------ guards


def test_every_guard_is_documented_and_no_other() -> None:
    """And `all`, which lets every one of them pass."""
    page = REFERENCE / "checks.md"
    assert sorted(names(page, "guard")) == sorted(GUARDS)
    assert f"`{EVERY_GUARD}` lets every guard pass" in read(page)


@page_by_page
def test_a_page_names_only_guards_that_exist(page: Path) -> None:
    """Where one is to be acknowledged; a cutover has exceptions of its own, and no word for all."""
    for words in invocations(read(page)):
        following = itertools.pairwise(words)
        named = [after for word, after in following if word == "--acknowledge"]
        more = ACKNOWLEDGEMENTS if words[0] == "cutover" else (EVERY_GUARD,)
        assert set(named) <= {*GUARDS, *more, "x"}, page.name


# ------------------------------------------------------------------------------------- pages


@page_by_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    """Files of this repository, and headings in them; other sites are theirs to keep."""
    for link in markdown.links(read(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        to = (page.parent / name).resolve() if name else page
        assert to.exists(), f"{page.name}: {link}"
        assert to.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in markdown.anchors(read(to)), f"{page.name}: {link}"


def test_every_page_of_the_documentation_can_be_found_from_its_index() -> None:
    """Over one link; a decision over the index of decisions."""
    found: set[Path] = set()
    for index in (DOCS / "README.md", DOCS / "decisions" / "README.md"):
        found |= {
            (index.parent / link.partition("#")[0]).resolve()
            for link in markdown.links(read(index))
        }
        found.add(index)
    missing = {p for p in PAGES if p.is_relative_to(DOCS)} - found
    assert not missing


def test_every_picture_is_shown_somewhere() -> None:
    """One that nobody sees is not taken again when the UI changes."""
    shown = {(p.parent / link).resolve() for p in PAGES for link in markdown.links(read(p))}
    assert set((DOCS / "pictures").glob("*.png")) <= shown


@page_by_page
def test_what_a_page_shows_to_type_is_shell(page: Path) -> None:
    """Whether it is run by a test or not."""
    for command in commands(read(page)):
        check_syntax(command)


def test_every_page_with_commands_is_run() -> None:
    """A command that nobody runs is wrong some day; one for another machine says so."""
    found = {
        page.relative_to(DOCS).as_posix()
        for page in PAGES
        if page.is_relative_to(DOCS)
        and any(command.words != ELSEWHERE for command in commands(read(page)))
    }
    assert found == set(RUN_PAGES)


@page_by_page
def test_a_page_says_nothing_of_this_machine(page: Path) -> None:
    """No folder of whoever wrote it."""
    assert not re.search(r"/(?:work|root|home/\w+)/", read(page))
