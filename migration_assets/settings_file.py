"""Read `migration.yaml` with the line of every setting, so that a wrong one can be named by it.

Of a setting that stands there twice YAML takes the second without a word; here it is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from migration_assets.errors import SettingsError

_LINES_SUCH_AS = "lines such as `source: /var/lib/app/app.sqlite`"
_DATE = "for example `first_week: 2026-10-04`"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """The settings of a file as plain values, and the line of each one and of each list item."""

    file: Path
    values: Mapping[str, Any]
    lines: Mapping[tuple[str | int, ...], int]

    def where(self, *place: str | int) -> str:
        """Name the file, and the line of a setting or list item where it stands there."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return f"{self.file}, line {self.lines[place[:end]]}"
        return str(self.file)


def read(file: Path) -> SettingsFile:
    """Read a file of settings. Raises `SettingsError`, with the line where there is one."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise SettingsError(
            what=f"can't be read ({error.strerror})",
            where=str(file),
            hint="create it with `migration-assets init`, or unset MIGRATION_CONFIG",
        ) from error
    except UnicodeDecodeError:
        raise SettingsError(
            what="not UTF-8", where=str(file), expected="a text file in UTF-8"
        ) from None
    try:
        return _parse(file, text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(
            what="not valid YAML",
            where=f"{file}, line {mark.line + 1}" if mark else str(file),
            expected=_LINES_SUCH_AS,
        ) from None


def _parse(file: Path, text: str) -> SettingsFile:
    loader: Any = yaml.SafeLoader(text)  # its constructor's methods have no types
    try:
        node: yaml.Node | None = loader.get_single_node()
        if node is None:
            return SettingsFile(file=file, values={}, lines={})
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(
                what="not a list of settings", where=str(file), expected=_LINES_SUCH_AS
            )
        lines = _lines(file, node)
        loader.flatten_mapping(node)
        return SettingsFile(file=file, values=_values(file, loader, node), lines=lines)
    finally:
        loader.dispose()


def _lines(file: Path, node: yaml.MappingNode) -> dict[tuple[str | int, ...], int]:
    """Return the line of every setting and list item; refuse a setting that stands there twice."""
    lines: dict[tuple[str | int, ...], int] = {}
    for key, value in node.value:
        name, line = str(key.value), _line(key)
        if (name,) in lines:
            raise SettingsError(
                what=f"`{name}` stands there twice, in line {lines[(name,)]} already",
                where=f"{file}, line {line}",
                expected="every setting once: of two only the second would count",
                hint="remove one of the two",
            )
        lines[(name,)] = line
        if isinstance(value, yaml.SequenceNode):
            for i, item in enumerate(value.value):
                lines[(name, i)] = _line(item)
    return lines


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _values(file: Path, loader: Any, node: yaml.MappingNode) -> dict[str, Any]:  # noqa: ANN401
    values: dict[str, Any] = {}
    for key, value in node.value:
        try:
            name = str(loader.construct_object(key, deep=True))
            values[name] = loader.construct_object(value, deep=True)
        except ValueError:  # of a date such as 2026-02-30; YAML makes dates by itself
            raise SettingsError(
                what="it holds a date that is not in the calendar",
                where=f"{file}, line {_line(value)}",
                expected=_DATE,
            ) from None
    return values
