"""Add settings to the text of `migration.yaml`; not a byte that stands there already is changed.

YAML's own libraries would write the file anew. Here lines are put between the lines of a person,
at places that YAML's parser names; what comes out is read back, and has to say what it said before
and what was added, or it is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from migration_assets.errors import SettingsError
from migration_assets.settings_file import compose, parse

_PLAIN = re.compile(r"[^\W\d]([\w ]*\w)?")
_STEP = 2  # blanks that a level is moved in


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Settings to be added below a name; `comment` stands above it.

    A value is a text or a list of texts. With `inline` the section is written in braces.
    """

    entries: Mapping[str, "Section | Value"]
    comment: str = ""
    inline: bool = False


Value: TypeAlias = str | tuple[str, ...]
Said: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Edit:
    """Text that goes to a place of the file, in place of `removed` characters."""

    place: int
    text: str
    removed: int = 0


def add(file: Path, text: str, wanted: Section) -> str:
    """Return the file's text with what is wanted and not said yet.

    Raises `SettingsError` where the file is written in a way that can't be added to.
    """
    before = parse(file, text).values
    missing = _missing(wanted, before)
    if missing is None:
        return text
    made = _Editor(text).edited(missing)
    try:
        after = parse(file, made).values
    except SettingsError:
        after = None
    if after != _together(before, missing):
        raise SettingsError(
            what="lines can't be added without changing what it says",
            where=str(file),
            expected="settings in lines of their own, without anchors and aliases in `tables`",
            hint="write them so, or what is missing by hand: `migration-assets plan` shows it",
        )
    return made


def scalar(text: str) -> str:
    """Write a text so that YAML reads it back, on one line, in braces and brackets too."""
    if _PLAIN.fullmatch(text) and text.isprintable() and yaml.safe_load(text) == text:
        return text
    return yaml.safe_dump(text, default_style='"', width=1 << 30).strip()


def _missing(wanted: Section, said: Said) -> Section | None:
    """Return the part that isn't said yet; None where all of it is."""
    entries: dict[str, Section | Value] = {}
    for name, value in wanted.entries.items():
        if name not in said:
            entries[name] = value
        elif isinstance(value, Section):
            rest = _missing(value, said[name] or {})
            if rest is not None:
                entries[name] = rest
    return replace(wanted, entries=entries) if entries else None


def _together(said: Said, added: Section) -> dict[str, Any]:
    """Return what a file says that says both."""
    result = dict(said)
    for name, value in added.entries.items():
        if isinstance(value, Section):
            result[name] = _together(result.get(name) or {}, value)
        else:
            result[name] = value if isinstance(value, str) else list(value)
    return result


@dataclass(slots=True)
class _Editor:
    """Puts settings at their places in one text."""

    text: str
    edits: list[_Edit] = field(default_factory=list[_Edit])

    def edited(self, wanted: Section) -> str:
        """Return the text with the settings added to it."""
        root = compose(self.text)
        if isinstance(root, yaml.MappingNode) and (root.flow_style or self._inside(root, wanted)):
            self._add(root, wanted, in_braces=False)
        else:
            self._append(wanted)
        made: list[str] = []
        end = 0
        for edit in sorted(self.edits, key=lambda e: e.place):  # stable: the inner ones first
            made += [self.text[end : edit.place], edit.text]
            end = edit.place + edit.removed
        return "".join(made) + self.text[end:]

    def _inside(self, root: yaml.MappingNode, wanted: Section) -> bool:
        names = {key.value for key, _ in root.value}
        return all(name in names for name in wanted.entries)

    def _append(self, wanted: Section) -> None:
        """Put whole settings at the end of the file, behind its last comments too."""
        ended = not self.text or self.text.endswith("\n")
        lines = [*([] if ended else [""]), *([""] if self.text else []), *_lines(wanted, 0), ""]
        self._insert(len(self.text), lines)

    def _insert(self, place: int, lines: list[str]) -> None:
        newline = "\r\n" if "\r\n" in self.text else "\n"
        self.edits.append(_Edit(place, newline.join(lines)))

    def _add(self, node: yaml.MappingNode, wanted: Section, *, in_braces: bool) -> None:
        """Add to a mapping: deeper parts first, then what it lacks itself."""
        in_braces = in_braces or bool(node.flow_style)
        own = {key.value: (key, value) for key, value in node.value}
        lacking: dict[str, Section | Value] = {}
        for name, value in wanted.entries.items():
            if name not in own or not isinstance(value, Section):
                lacking[name] = value
            else:
                self._add_below(*own[name], value, in_braces=in_braces)
        if not lacking:
            return
        rest = replace(wanted, entries=lacking)
        if node.flow_style:
            more = ", " if node.value else ""
            place = node.start_mark.index + 1
            self.edits.append(_Edit(place, _in_braces(rest) + more))
        else:
            self._below_line(self._end(node), _lines(rest, node.start_mark.column))

    def _add_below(
        self, key: yaml.Node, value: yaml.Node, wanted: Section, *, in_braces: bool
    ) -> None:
        """Add to a setting that is named already, and may have nothing below it yet."""
        if isinstance(value, yaml.MappingNode) and (value.value or in_braces):
            self._add(value, wanted, in_braces=in_braces)
        elif in_braces:
            self.edits.append(_Edit(value.start_mark.index, f" {{{_in_braces(wanted)}}}"))
        else:
            if isinstance(value, yaml.MappingNode):  # an empty one: its braces go
                start, end = value.start_mark.index, value.end_mark.index
                self.edits.append(_Edit(start, "", end - start))
            lines = _lines(wanted, key.start_mark.column + _STEP)
            self._below_line(value.end_mark.index, lines)

    def _below_line(self, place: int, lines: list[str]) -> None:
        """Put lines below the one that a place is in; at a line's start they go before it."""
        if self.text[:place].endswith("\n"):  # behind a text of several lines
            self._insert(place, [*lines, ""])
            return
        end = self.text.find("\n", place)
        end = len(self.text) if end < 0 else end - self.text[:end].endswith("\r")
        self._insert(end, ["", *lines])

    def _end(self, node: yaml.Node) -> int:
        """Return the place behind the last thing of a node, its comments left out."""
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            key, value = node.value[-1]
            alias = value.start_mark.index < key.end_mark.index
            return key.end_mark.index if alias else self._end(value)
        if isinstance(node, yaml.SequenceNode) and not node.flow_style:
            return self._end(node.value[-1])
        return node.end_mark.index


def _lines(section: Section, indent: int) -> list[str]:
    """Write the entries of a section in lines of their own."""
    blanks = " " * indent
    lines: list[str] = []
    for name, value in section.entries.items():
        if not isinstance(value, Section):
            lines.append(f"{blanks}{scalar(name)}: {_value(value)}")
            continue
        lines += [f"{blanks}{line}" for line in _comment(value.comment)]
        if value.inline:
            lines.append(f"{blanks}{scalar(name)}: {{{_in_braces(value)}}}")
        else:
            lines += [f"{blanks}{scalar(name)}:", *_lines(value, indent + _STEP)]
    return lines


def _in_braces(section: Section) -> str:
    """Write the entries of a section as they stand in braces; comments have no place there."""
    return ", ".join(
        f"{scalar(name)}: {{{_in_braces(value)}}}"
        if isinstance(value, Section)
        else f"{scalar(name)}: {_value(value)}"
        for name, value in section.entries.items()
    )


def _value(value: Value) -> str:
    if isinstance(value, str):
        return scalar(value)
    return f"[{', '.join(map(scalar, value))}]"


def _comment(text: str) -> Iterator[str]:
    """Write a comment on one line, whatever it holds: names of the source may hold anything."""
    if text:
        yield "# " + "".join(c if c.isprintable() else " " for c in text)
