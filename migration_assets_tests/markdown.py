"""The little of Markdown that the tests of the documentation read: blocks, tables, headings, links.

Only what this repository's pages use: fenced blocks, pipe tables, `#` headings, inline links and
pictures. Anything else is prose.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_HEADING = re.compile(r"^#+ +(?P<text>.+?) *$")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<to>[^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")
_RULE = re.compile(r"^\|[ :|-]+\|$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, the words after it, its text, and the line it starts in."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A pipe table below a heading; each row maps the header's cells to its own."""

    heading: str
    rows: tuple[dict[str, str], ...]


def blocks(markdown: str) -> list[Block]:
    """Return all fenced blocks in order. Raises `ValueError` where one isn't closed."""
    found: list[Block] = []
    start: tuple[int, str, list[str]] | None = None
    body: list[str] = []
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence is None:
            body.append(line)
        elif start is None:
            start, body = (number, fence["indent"], fence["info"].split()), []
        else:
            opened, indent, info = start
            text = "\n".join(inner.removeprefix(indent) for inner in body)
            language, *words = info or [""]
            found.append(Block(language=language, words=tuple(words), text=text, line=opened))
            start = None
    if start is not None:
        message = f"the block that starts in line {start[0]} is never closed"
        raise ValueError(message)
    return found


def prose(markdown: str) -> str:
    """Return the page without its fenced blocks."""
    kept: list[str] = []
    inside = False
    for line in markdown.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def code(text: str) -> list[str]:
    """Return what stands in backquotes."""
    return _CODE.findall(text)


def headings(markdown: str) -> list[str]:
    """Return the texts of all headings in order."""
    found = (_HEADING.match(line) for line in prose(markdown).splitlines())
    return [heading["text"] for heading in found if heading]


def anchors(markdown: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    slugs: set[str] = set()
    for heading in headings(markdown):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        taken = sum(1 for s in slugs if s == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", s))
        slugs.add(f"{slug}-{taken}" if taken else slug)
    return slugs


def links(markdown: str) -> list[str]:
    """Return where links and pictures lead, in order."""
    return [link["to"] for link in _LINK.finditer(prose(markdown))]


def tables(markdown: str) -> list[Table]:
    """Return all tables in order, each with the heading it stands below."""
    return list(_tables(prose(markdown).splitlines()))


def _tables(lines: list[str]) -> Iterator[Table]:
    heading, header, rows = "", None, []
    for line in [*lines, ""]:
        title = _HEADING.match(line)
        heading = title["text"] if title else heading
        if not line.startswith("|"):
            if header is not None:
                yield Table(heading=heading, rows=tuple(rows))
            header, rows = None, []
        elif header is None:
            header = _cells(line)
        elif not _RULE.match(line):
            rows.append(dict(zip(header, _cells(line), strict=True)))


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def pages(root: Path) -> list[Path]:
    """Return all pages of a repository: README, CHANGELOG and everything in docs."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])
