"""The runner of documentation: what is wrong on a page fails, what is right passes."""

import os
from pathlib import Path

import pytest

from migration_assets_tests import markdown
from migration_assets_tests.documentation import (
    DocumentationError,
    commands,
    pattern,
    run_page,
)

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def page(*blocks: str) -> str:
    """Write a page of blocks, the first line of each being its info string."""
    return "# A page\n\n" + "\n\nSome prose.\n\n".join(f"```{block}\n```" for block in blocks)


def test_a_page_that_tells_the_truth_passes(tmp_path: Path) -> None:
    """Every block's output is returned, in order."""
    text = page("sh\necho one", "text\none", "sh\nprintf two")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT) == ["one\n", "two"]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("one", "two"),
        ("one", "one\ntwo"),
        ("one\ntwo", "one"),
        ("one\ntwo", "two\none"),
        ("one", "one more"),
        ("on… more", "one less"),
        ("", "one"),
    ],
)
def test_an_output_that_is_not_the_one_shown_fails(
    tmp_path: Path, shown: str, printed: str
) -> None:
    """Other lines, more of them, fewer, in another order, longer ones; both texts are named."""
    text = page(f"sh\nprintf '%s\\n' '{printed}'", f"text\n{shown}")
    with pytest.raises(DocumentationError) as error:
        run_page(text, folder=tmp_path, environment=ENVIRONMENT)
    assert "line 3" in str(error.value)
    assert shown in str(error.value)
    assert printed in str(error.value)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a … c", "a b c"),
        ("…", "a\nb\nc"),
        ("…\nc", "a\nb\nc"),
        ("a\n…", "a\nb\nc"),
        ("a\n…\nb", "a\nb"),
        ("a", "\na   \n\n"),
        ("(a|b) [c]* .", "(a|b) [c]* ."),
    ],
)
def test_what_is_left_open_may_be_anything(shown: str, printed: str) -> None:
    """Three dots stand for a part of a line or for lines; blanks at the ends don't count."""
    kept = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n") + "\n"
    assert pattern(shown).match(kept)


def test_three_dots_in_a_line_do_not_pass_its_end() -> None:
    """Or a line of the page would stand for many that nobody looked at."""
    assert not pattern("a…c").match("a\nb\nc\n")


def test_both_streams_are_compared(tmp_path: Path) -> None:
    """A reader sees them in one terminal."""
    text = page("sh\necho out; echo err >&2", "text\nout\nerr")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT)


@pytest.mark.parametrize("block", ["false", "false\necho on", "nosuchcommand", "exit 0", "if"])
def test_a_block_that_fails_fails_the_page(tmp_path: Path, block: str) -> None:
    """Any of its lines, and one that ends the reader's shell."""
    with pytest.raises(DocumentationError, match="line 3 failed"):
        run_page(page(f"sh\n{block}"), folder=tmp_path, environment=ENVIRONMENT)


def test_a_failure_may_be_shown(tmp_path: Path) -> None:
    """By the page itself, with its exit code."""
    text = page('sh\n(exit 3) || echo "exit code $?"', "text\nexit code 3")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT)


def test_folder_and_variables_last_from_block_to_block(tmp_path: Path) -> None:
    """One shell, as the reader has one."""
    text = page("sh\nmkdir in; cd in\nexport A=1", 'sh\necho "$A ${PWD##*/}"', "text\n1 in")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT)
    assert (tmp_path / "in").is_dir()


def test_the_shell_knows_only_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests' own environment holds is not there."""
    monkeypatch.setenv("MIGRATION_TARGET", "of the one who runs the tests")
    text = page('sh\necho "${MIGRATION_TARGET:-none}"', "text\nnone")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT)


def test_a_block_for_elsewhere_is_read_by_a_shell_but_not_run(tmp_path: Path) -> None:
    """A slip in its syntax fails all the same."""
    run_page(page("sh elsewhere\ntouch ran"), folder=tmp_path, environment=ENVIRONMENT)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DocumentationError, match="syntax error"):
        run_page(page("sh elsewhere\nif ("), folder=tmp_path, environment=ENVIRONMENT)


def test_a_block_until_stopped_runs_until_it_printed_what_is_shown(tmp_path: Path) -> None:
    """Ctrl-C reaches it; the page goes on after it."""
    server = "trap 'echo bye >>told; exit 130' INT\necho up\nwhile :; do sleep 0.1; done"
    text = page(f"sh until Ctrl-C\n{server}", "text\nup", "sh\ncat told", "text\nbye")
    assert run_page(text, folder=tmp_path, environment=ENVIRONMENT)


@pytest.mark.parametrize("server", ["echo down", "echo down; false", "echo down; sleep 1"])
def test_a_block_that_never_prints_what_is_shown_fails(tmp_path: Path, server: str) -> None:
    """Where it ends by itself nobody waits."""
    text = page(f"sh until Ctrl-C\n{server}", "text\nup")
    with pytest.raises(DocumentationError, match="down"):
        run_page(text, folder=tmp_path, environment=ENVIRONMENT)


def test_texts_are_exchanged_in_commands_and_outputs(tmp_path: Path) -> None:
    """Such as a port; a text that the page doesn't hold is a mistake of the test."""
    text = page("sh\necho port 3000", "text\nport 3000")
    shell = {"folder": tmp_path, "environment": ENVIRONMENT}
    assert run_page(text, **shell, replace={"3000": "4000"}) == ["port 4000\n"]  # pyright: ignore[reportArgumentType] - as keywords
    with pytest.raises(DocumentationError, match="5000"):
        run_page(text, **shell, replace={"5000": "4000"})  # pyright: ignore[reportArgumentType] - as keywords


def test_a_block_of_unknown_kind_is_refused() -> None:
    """A slip in the words after `sh` would leave it unrun."""
    with pytest.raises(ValueError, match="sh elsewere"):
        commands(page("sh elsewere\ntrue"))


def test_a_block_that_is_never_closed_is_refused() -> None:
    """Everything below it would be taken for its text."""
    with pytest.raises(ValueError, match="line 2"):
        markdown.blocks("prose\n```sh\ntrue")


def test_a_block_in_a_list_loses_its_indentation() -> None:
    """What is typed starts at the left."""
    (block,) = markdown.blocks("1. do\n\n   ```sh\n   cd a\n     ls\n   ```")
    assert block.text == "cd a\n  ls"


def test_tables_are_read_with_their_heading() -> None:
    """Cells by the header's names; an escaped bar belongs to its cell."""
    (table,) = markdown.tables("## Here\n\n| a | b |\n| --- | --- |\n| `x` | y \\| z |\n")
    assert table.heading == "Here"
    assert table.rows == ({"a": "`x`", "b": "y | z"},)


def test_anchors_are_those_of_github() -> None:
    """Lower case, without punctuation, blanks as hyphens; a second one is numbered."""
    text = "# `run`, or: A 2nd_way\n## Same\n## Same\n```sh\n# no heading\n```"
    assert markdown.anchors(text) == {"run-or-a-2nd_way", "same", "same-1"}


def test_links_in_blocks_are_no_links() -> None:
    """Pictures are links as well."""
    text = "[a](b.md#c) ![p](d.png)\n```sh\n[x](y)\n```"
    assert markdown.links(text) == ["b.md#c", "d.png"]
