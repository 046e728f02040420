"""Settings: `migration.yaml` and the environment, typed; a wrong one is named with an example.

Nothing is read at import. The environment wins over the file: `MIGRATION_SOURCE`,
`MIGRATION_TARGET`, `MIGRATION_STATE`, `MIGRATION_FIRST_WEEK`; `MIGRATION_CONFIG` names the file.
"""

import difflib
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from migration_assets.errors import SettingsError
from migration_assets.model import DEFAULT_SOURCE

CONFIG_FILE = "migration.yaml"
EMBEDDED = "embedded"
ENVIRONMENT: Mapping[str, str] = {
    "MIGRATION_SOURCE": "source",
    "MIGRATION_TARGET": "target",
    "MIGRATION_STATE": "state",
    "MIGRATION_FIRST_WEEK": "first_week",
}
_EXAMPLES = {
    "source": "source: /var/lib/app/app.sqlite",
    "target": "target: postgresql://loader@db.example.com:5432/app?sslmode=verify-full",
    "target_schema": "target_schema: public",
    "first_week": "first_week: 2026-10-04",
    "weeks": "weeks: 26",
    "timezone": "timezone: Europe/Zurich",
    "cron": 'cron: "0 2 * * 0"',
    "include": 'include: ["*"]',
    "exclude": 'exclude: ["tmp_*"]',
    "state": "state: .migration",
    "quarantine_rows": "quarantine_rows: 10",
    "quarantine_share": "quarantine_share: 0.01",
    "show_keys": "show_keys: true",
    "connect_patience": "connect_patience: 90",
    "lock_timeout": "lock_timeout: 60",
    "source_timeout": "source_timeout: 60",
    "owners": 'owners: ["team:data"]',
    "parallel": "parallel: 4",
    "catch_up_attempts": "catch_up_attempts: 3",
    "catch_up_backoff": "catch_up_backoff: 15",
    "dagster_storage": "dagster_storage: sqlite",
}
_CRON_FIELDS = 5
# What Dagster takes for an e-mail address (dagster._core.utils.is_valid_email), else it won't load.
_ADDRESS = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Z|a-z]{2,7}\b")


class Settings(BaseModel):
    """What one migration is: where from, where to, when, and what is left alone."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )

    source: Path
    target: str = Field(repr=False)
    source_name: Literal["main"] = DEFAULT_SOURCE
    target_schema: Annotated[str, Field(min_length=1, max_length=63)] = "public"
    first_week: date | None = None
    weeks: Annotated[int, Field(ge=1, le=520)] = 26
    timezone: str = "UTC"
    cron: str = "0 2 * * 0"
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    state: Path = Path(".migration")
    quarantine_rows: Annotated[int, Field(ge=0)] = 10
    quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    show_keys: bool = True
    connect_patience: Annotated[float, Field(ge=0)] = 90.0
    lock_timeout: Annotated[float, Field(gt=0)] = 60.0
    source_timeout: Annotated[float, Field(gt=0)] = 60.0
    owners: tuple[str, ...] = ()
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    catch_up_attempts: Annotated[int, Field(ge=0)] = 3
    catch_up_backoff: Annotated[float, Field(gt=0)] = 15.0  # minutes
    dagster_storage: Literal["postgres", "sqlite"] = "postgres"

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            message = "no such time zone in this machine's database"
            raise ValueError(message) from error
        return value

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if len(value.split()) != _CRON_FIELDS:
            message = "a cron schedule has five fields: minute hour day month weekday"
            raise ValueError(message)
        return value

    @field_validator("owners")
    @classmethod
    def _teams_or_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place, owner in enumerate(value, start=1):
            team = owner.startswith("team:") and owner != "team:"
            if not (team or _ADDRESS.fullmatch(owner)):
                message = f"entry {place} is neither a team (`team:data`) nor an e-mail address"
                raise ValueError(message)
        return value

    @property
    def embedded(self) -> bool:
        """Whether the target is the embedded PostgreSQL in the state folder."""
        return self.target == EMBEDDED

    def quarantine_limit(self, rows: int) -> int:
        """Return how many of a table's rows may stand in quarantine."""
        return max(self.quarantine_rows, int(rows * self.quarantine_share))


def load(environment: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings. `folder` is where `migration.yaml` is looked for.

    Relative paths in the file start at the file's folder. Raises `SettingsError`.
    """
    named = environment.get("MIGRATION_CONFIG")
    file = Path(named) if named else folder / CONFIG_FILE
    fields: dict[str, Any] = {}
    if named or file.exists():
        fields = _read_file(file)
        for name in ("source", "state"):
            if isinstance(fields.get(name), str):
                fields[name] = str(file.parent / fields[name])
    for variable, name in ENVIRONMENT.items():
        if environment.get(variable):
            fields[name] = environment[variable]
    fields["target"] = _resolve_target(fields.get("target"), environment)
    origin = str(file) if named or file.exists() else "environment"
    return _validated({k: v for k, v in fields.items() if v is not None}, origin, folder)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(
            what=f"can't be read ({error.strerror})",
            where=str(file),
            hint="create it, or unset MIGRATION_CONFIG",
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(
            what="not valid YAML",
            where=f"{file}, line {mark.line + 1}" if mark else str(file),
            expected="lines such as `source: /var/lib/app/app.sqlite`",
        ) from None
    except ValueError as error:  # of a date such as 2026-02-30; YAML makes dates by itself
        encoded = isinstance(error, UnicodeDecodeError)
        raise SettingsError(
            what="not UTF-8" if encoded else "it holds a date that is not in the calendar",
            where=str(file),
            expected="a text file in UTF-8"
            if encoded
            else f"for example `{_EXAMPLES['first_week']}`",
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(
            what="not a list of settings",
            where=str(file),
            expected="lines such as `source: /var/lib/app/app.sqlite`",
        )
    return {str(k): v for k, v in content.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - YAML is untyped until validated


def _resolve_target(value: object, environment: Mapping[str, str]) -> object:
    """Follow `env:NAME`, so that a file need not hold the password."""
    if not isinstance(value, str) or not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if not environment.get(name):
        raise SettingsError(
            what=f"the environment variable {name} is not set",
            where="target",
            expected=f"{name} to hold the target's URL",
            hint=f"export {name}=postgresql://…",
        )
    return environment[name]


def _validated(fields: dict[str, Any], origin: str, folder: Path) -> Settings:
    for name in ("source", "target"):
        if name not in fields:
            raise SettingsError(
                what=f"`{name}` is not set",
                where=origin,
                expected=f"`{_EXAMPLES[name]}` in {CONFIG_FILE}, or MIGRATION_{name.upper()}",
            )
    try:
        settings = Settings(**fields)
    except ValidationError as error:
        raise _explain(error, origin) from None
    return settings.model_copy(
        update={"source": folder / settings.source, "state": folder / settings.state}
    )


def _explain(error: ValidationError, origin: str) -> SettingsError:
    """Name the first wrong setting; the value itself is not repeated, it may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, n=1)
        return SettingsError(
            what=f"`{name}` is no setting",
            where=origin,
            expected=f"one of {', '.join(sorted(_EXAMPLES))}",
            hint=f"did you mean `{close[0]}`?" if close else "remove it",
        )
    return SettingsError(
        what=f"`{name}` is wrong: {first['msg']}",
        where=origin,
        expected=f"for example `{_EXAMPLES.get(name, name)}`",
    )
