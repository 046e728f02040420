"""Read `migration.yaml` with the line of every setting, so that a wrong one can be named by it.

Of a setting that stands there twice YAML takes the second without a word; here it is refused. Below
`tables` everything is text as it is written: there names of the source stand, and YAML would read
a column called `no` as false, and one called `1` as a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from migration_assets.errors import SettingsError

AS_WRITTEN = "tables"
_LINES_SUCH_AS = "lines such as `source: /var/lib/app/app.sqlite`"
_DATE = "for example `first_week: 2026-10-04`"
_DEPTH = 7  # tables, a table, columns, a column, a setting of it, an item; it ends loops
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "null", "bool", "int", "float", "timestamp", "value", "map", "seq", "merge")
)

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """The settings of a file as plain values, and the line of each one and of each list item."""

    file: Path
    values: Mapping[str, Any]
    lines: Mapping[Place, int]

    def where(self, *place: str | int) -> str:
        """Name the file, and the line of a setting or list item where it stands there."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return f"{self.file}, line {self.lines[place[:end]]}"
        return str(self.file)

    def below(self, name: str) -> dict[Place, str]:
        """Name every place below a setting."""
        return {p: self.where(*p) for p in self.lines if p[0] == name and p[1:]}


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
    return parse(file, text)


def parse(file: Path, text: str) -> SettingsFile:
    """Return the settings of a file's text. Raises `SettingsError`, as `read` does."""
    try:
        return _parse(file, text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(
            what="not valid YAML",
            where=f"{file}, line {mark.line + 1}" if mark else str(file),
            expected=_LINES_SUCH_AS,
        ) from None


def compose(text: str) -> yaml.Node | None:
    """Return what YAML finds in a text, with its places; None for a text without settings."""
    loader: Any = yaml.SafeLoader(text)  # whose methods have no types
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


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
        lines: dict[Place, int] = {}
        _note_lines(file, node, (), lines)
        loader.flatten_mapping(node)
        return SettingsFile(file=file, values=_values(file, loader, node), lines=lines)
    finally:
        loader.dispose()


def _note_lines(file: Path, node: yaml.Node, above: Place, lines: dict[Place, int]) -> None:
    """Note the line of every setting and list item; refuse a setting that stands there twice."""
    if len(above) >= _DEPTH:
        raise SettingsError(
            what="settings are nested too deep",
            where=f"{file}, line {_line(node)}",
            expected="at most a table, its columns, and the settings of each",
        )
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[*above, i] = _line(item)
            _note_lines(file, item, (*above, i), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            if place in lines:
                raise SettingsError(
                    what=f"`{_spelled(place)}` stands there twice, in line {lines[place]} already",
                    where=f"{file}, line {_line(key)}",
                    expected="every setting once: of two only the second would count",
                    hint="remove one of the two",
                )
            lines[place] = _line(key)
            _note_lines(file, value, place, lines)


def _spelled(place: Place) -> str:
    return ".".join(map(str, place))


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _values(file: Path, loader: Any, node: yaml.MappingNode) -> dict[str, Any]:  # noqa: ANN401
    values: dict[str, Any] = {}
    for key, value in node.value:
        try:
            name = str(loader.construct_object(key, deep=True))
            values[name] = (
                _as_written(file, loader, value)
                if name == AS_WRITTEN
                else loader.construct_object(value, deep=True)
            )
        except ValueError:  # of a date such as 2026-02-30; YAML makes dates by itself
            raise SettingsError(
                what="it holds a date that is not in the calendar",
                where=f"{file}, line {_line(value)}",
                expected=_DATE,
            ) from None
    return values


def _as_written(file: Path, loader: Any, node: yaml.Node) -> Any:  # noqa: ANN401
    """Return names and values as the text that stands there; None where there is nothing."""
    if node.tag not in _PLAIN:
        raise SettingsError(
            what="a value with a type of YAML's own",
            where=f"{file}, line {_line(node)}",
            expected="plain text",
            hint="remove the word that starts with `!`, or quote it",
        )
    if isinstance(node, yaml.SequenceNode):
        return [_as_written(file, loader, item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        empty = node.tag == "tag:yaml.org,2002:null" and not node.value
        return None if empty else node.value
    loader.flatten_mapping(node)
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SettingsError(
                what="a name that is none",
                where=f"{file}, line {_line(key)}",
                expected="the name of a table, a column or a setting",
            )
    return {key.value: _as_written(file, loader, value) for key, value in node.value}
