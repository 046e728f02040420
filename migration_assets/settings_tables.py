"""What `tables` in `migration.yaml` may say of a table and its columns, and how a mistake reads.

Everything below `tables` comes as text, so every setting here is text, a list of texts, or one of
a few words.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from migration_assets.errors import SettingsError
from migration_assets.mapping.names import MAX_BYTES
from migration_assets.mapping.types import parse
from migration_assets.model import ColumnOverride, Policy, TableOverride

NAME = "tables"
Places: TypeAlias = Mapping[tuple[str | int, ...], str]
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_EXAMPLES: Mapping[str, str] = {
    "target": "target: orders_v2",
    "key": "key: [id]",
    "policy": "policy: quarantine",
    "transform": "transform: cleaning:orders",
    "columns": "columns: {price: {type: bigint}}",
    "type": 'type: "numeric(12,2)"',
    "encoding": 'encoding: "YYYY-MM-DDTHH:MM:SS.fff"',
    "cast": 'cast: "round(price * 100)"',
    "renamed_from": "renamed_from: cost",
}
_A_TABLE = 'tables: {orders: {columns: {price: {type: "numeric(12,2)"}}}}'


class _Said(BaseModel):
    """Settings of one thing; nothing unknown is passed over, and none may be left empty."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _something(cls, value: object) -> object:
        if value is None:
            message = "nothing stands behind it"
            raise ValueError(message)
        return value


class ColumnSettings(_Said):
    """What is said of one column."""

    encoding: str | None = None
    type: str | None = None  # behind `encoding`, which is needed to check it
    policy: Policy | None = None
    cast: str | None = Field(default=None, min_length=1)
    renamed_from: str | None = None

    @field_validator("type")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:  # noqa: ANN401 - pydantic's
        parse(value, info.data.get("encoding"))
        return value

    @model_validator(mode="after")
    def _encoding_of_something(self) -> Self:
        if self.encoding is not None and self.type is None:
            message = "`encoding` says how a `type` is written, and there is none"
            raise ValueError(message)
        return self

    def override(self, places: Mapping[str, str]) -> ColumnOverride:
        """Return it as the mapping takes it."""
        return ColumnOverride(
            type=self.type,
            encoding=self.encoding,
            policy=self.policy,
            cast=self.cast,
            renamed_from=self.renamed_from,
            places=places,
        )


class TableSettings(_Said):
    """What is said of one table."""

    target: str | None = None
    key: tuple[str, ...] | None = None
    policy: Policy | None = None
    transform: str | None = None
    columns: Mapping[str, ColumnSettings] = Field(default_factory=dict[str, ColumnSettings])

    @field_validator("target")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not value or "\0" in value or len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            message = f"a name on the target has 1 to {MAX_BYTES} bytes"
            raise ValueError(message)
        return value

    @field_validator("key")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for i, name in enumerate(value) if name in value[:i]]
        if twice:
            message = f"{twice[0]} stands there twice"
            raise ValueError(message)
        return value

    @field_validator("transform")
    @classmethod
    def _a_function(cls, value: str) -> str:
        if not _FUNCTION.fullmatch(value):
            message = "it is not module:function"
            raise ValueError(message)
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _each(cls, value: object) -> object:
        return with_empty(value)

    def override(self, places: Places) -> TableOverride:
        """Return it as the mapping takes it; `places` start below the table's name."""
        of_columns: dict[str, dict[str, str]] = {}
        for place, text in places.items():
            if place[:1] == ("columns",) and place[1:] and not place[3:]:
                of_columns.setdefault(str(place[1]), {})["".join(map(str, place[2:]))] = text
        return TableOverride(
            target=self.target,
            key=self.key,
            policy=self.policy,
            transform=self.transform,
            columns={n: c.override(of_columns.get(n, {})) for n, c in self.columns.items()},
            places=self.own(places),
        )

    def own(self, places: Places) -> dict[str, str]:
        """Return the places of the table itself and its settings, by their names."""
        return {"".join(map(str, p)): text for p, text in places.items() if len(p) <= 1}


def with_empty(value: object) -> object:
    """Let a table or column be named with nothing said of it yet; so be all of them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return value
    return {name: {} if said is None else said for name, said in value.items()}  # pyright: ignore[reportUnknownVariableType] - of pydantic's input


def explain(
    place: tuple[str | int, ...], kind: str, message: str, where: Callable[..., str]
) -> SettingsError:
    """Name the wrong setting below `tables` in full; what it was set to is not repeated."""
    of_column = place[2:3] == ("columns",) and place[3:] != ()
    named, model = ("a column", ColumnSettings) if of_column else ("a table", TableSettings)
    name = str(place[-1])
    path = ".".join(map(str, place))
    if kind == "extra_forbidden":
        known = list(model.model_fields)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "remove it"
        return SettingsError(
            what=f"`{path}` is no setting of {named}",
            where=where(*place),
            expected=f"one of {', '.join(sorted(known))}",
            hint=hint,
        )
    setting = next((str(p) for p in reversed(place) if p in model.model_fields), "")
    return SettingsError(
        what=f"`{path}` is wrong: {_said(kind, message)}",
        where=where(*place),
        expected=f"for example `{_EXAMPLES.get(setting, _A_TABLE)}`",
    )


def _said(kind: str, message: str) -> str:
    match kind:
        case "tuple_type":
            return "it is not a list"
        case "mapping_type" | "dict_type" | "model_type" | "model_attributes_type":
            return "settings are expected below it, each with its name"
        case "string_type":
            return "it is not a text"
        case "enum":
            return f"it is not one of {', '.join(Policy)}"
        case _:
            return message.removeprefix("Value error, ")
