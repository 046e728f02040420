"""Settings: `migration.yaml` and the environment, typed; a wrong one is named by its line.

Nothing is read at import. The environment wins over the file: `MIGRATION_SOURCE`,
`MIGRATION_TARGET`, `MIGRATION_STATE`, `MIGRATION_FIRST_WEEK`; `MIGRATION_CONFIG` names the file.
"""

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from migration_assets import cron, settings_file, settings_tables
from migration_assets.errors import SettingsError
from migration_assets.model import DEFAULT_SOURCE, TableOverride
from migration_assets.settings_tables import TableSettings

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
    "on_mismatch": "on_mismatch: keep",
    "write_guard": "write_guard: log",
    "guard_rows": "guard_rows: 100",
    "deleted_share": "deleted_share: 0.5",
    "changed_share": "changed_share: 0.9",
    "keep_weeks": "keep_weeks: 8",
    "connect_patience": "connect_patience: 90",
    "lock_timeout": "lock_timeout: 60",
    "statement_timeout": "statement_timeout: 14400",
    "retry_patience": "retry_patience: 120",
    "source_timeout": "source_timeout: 60",
    "owners": 'owners: ["team:data"]',
    "parallel": "parallel: 4",
    "catch_up_attempts": "catch_up_attempts: 3",
    "catch_up_backoff": "catch_up_backoff: 15",
    "dagster_storage": "dagster_storage: sqlite",
    "backup": "backup: pg_dump",
    "aurora_cluster": "aurora_cluster: app-cluster",
    "aws_region": "aws_region: eu-central-1",
    "tables": 'tables: {orders: {columns: {price: {type: "numeric(12,2)"}}}}',
}
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
    on_mismatch: Literal["keep", "repair", "rollback"] = "keep"
    write_guard: Literal["off", "log", "refuse"] = "off"
    guard_rows: Annotated[int, Field(ge=0)] = 100
    deleted_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    changed_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    keep_weeks: Annotated[int, Field(ge=1)] = 8
    connect_patience: Annotated[float, Field(ge=0)] = 90.0
    lock_timeout: Annotated[float, Field(gt=0)] = 60.0
    statement_timeout: Annotated[float, Field(ge=0)] = 14400.0
    retry_patience: Annotated[float, Field(ge=0)] = 120.0
    source_timeout: Annotated[float, Field(gt=0)] = 60.0
    owners: tuple[str, ...] = ()
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    catch_up_attempts: Annotated[int, Field(ge=0)] = 3
    catch_up_backoff: Annotated[float, Field(gt=0)] = 15.0  # minutes
    dagster_storage: Literal["postgres", "sqlite"] = "postgres"
    backup: Literal["none", "pg_dump", "snapshot"] = "none"
    aurora_cluster: str | None = None
    aws_region: str | None = None
    tables: Mapping[str, TableSettings] = Field(default={})
    _places: Mapping[str, settings_tables.Places] = PrivateAttr(
        default_factory=dict[str, settings_tables.Places]
    )

    @field_validator("tables", mode="before")
    @classmethod
    def _each_table(cls, value: object) -> object:
        return settings_tables.with_empty(value)

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
    def _a_schedule(cls, value: str) -> str:
        message = cron.problem(value)
        if message:
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

    @field_validator("first_week", mode="before")
    @classmethod
    def _a_day(cls, value: object) -> object:
        """Take a day and nothing else: a number would be taken for seconds since 1970."""
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        with suppress(ValueError, TypeError):
            day = date.fromisoformat(value)  # pyright: ignore[reportArgumentType] - TypeError else
            if day.isoformat() == value:  # not a week date or one without dashes
                return day
        message = "it is not a date: year, month and day, as in 2026-10-04"
        raise ValueError(message)

    @property
    def embedded(self) -> bool:
        """Whether the target is the embedded PostgreSQL in the state folder."""
        return self.target == EMBEDDED

    def quarantine_limit(self, rows: int) -> int:
        """Return how many of a table's rows may stand in quarantine."""
        return max(self.quarantine_rows, int(rows * self.quarantine_share))

    def override(self, table: str) -> TableOverride:
        """Return what `tables` says of a table, each part with its place for errors."""
        said = self.tables.get(table)
        if said is None:
            return TableOverride()
        return said.override(self._places.get(table, {}))

    @property
    def overrides(self) -> dict[str, TableOverride]:
        """All that `tables` says, by table."""
        return {name: self.override(name) for name in self.tables}

    @property
    def of_tables(self) -> dict[str, TableOverride]:
        """What `tables` says of whole tables, columns left out: cheap for hundreds of them."""
        return {
            name: TableOverride(target=said.target, places=said.own(self._places.get(name, {})))
            for name, said in self.tables.items()
        }

    @property
    def targets(self) -> dict[str, str]:
        """The names on the target that `tables` gives, by table."""
        return {name: said.target for name, said in self.tables.items() if said.target is not None}

    def at(self, places: Mapping[settings_file.Place, str]) -> Self:
        """Return the settings with the places of what `tables` says."""
        by_table: dict[str, dict[settings_file.Place, str]] = {}
        for (_, table, *below), text in places.items():
            by_table.setdefault(str(table), {})[tuple(below)] = text
        placed = self.model_copy()
        placed._places = by_table  # noqa: SLF001 - its own
        return placed


def file_of(environment: Mapping[str, str], folder: Path) -> Path:
    """Return the settings file, which may not be there: the one that is named, or the folder's."""
    return Path(environment.get("MIGRATION_CONFIG") or folder / CONFIG_FILE)


def load(environment: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings. `folder` is where `migration.yaml` is looked for.

    Relative paths in the file start at the file's folder, and modules named in it are looked for
    there last. Raises `SettingsError`.
    """
    named = environment.get("MIGRATION_CONFIG")
    file = file_of(environment, folder)
    found = settings_file.read(file) if named or file.exists() else None
    if found:
        _import_from(file.resolve().parent)
    fields: dict[str, Any] = dict(found.values) if found else {}
    for name in ("source", "state"):
        if isinstance(fields.get(name), str):
            fields[name] = str(file.parent / fields[name])
    variables = {name: v for v, name in ENVIRONMENT.items() if environment.get(v)}
    fields |= {name: environment[variable] for name, variable in variables.items()}

    def where(*place: str | int) -> str:
        """Name the line or the variable that a setting comes from."""
        if place and place[0] in variables:
            return f"environment variable {variables[str(place[0])]}"
        return found.where(*place) if found else "environment"

    fields["target"] = _resolve_target(fields.get("target"), environment, where("target"))
    settings = validated({k: v for k, v in fields.items() if v is not None}, where, folder)
    return settings.at(found.below(settings_tables.NAME)) if found else settings


def _import_from(folder: Path) -> None:
    """Let modules be imported from a folder, behind all others: none of theirs is replaced."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _resolve_target(value: object, environment: Mapping[str, str], where: str) -> object:
    """Follow `env:NAME`, so that a file need not hold the password."""
    if not isinstance(value, str) or not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if not environment.get(name):
        raise SettingsError(
            what=f"the environment variable {name} is not set",
            where=where,
            expected=f"{name} to hold the target's URL",
            hint=f"export {name}=postgresql://…",
        )
    return environment[name]


def validated(fields: Mapping[str, Any], where: Callable[..., str], folder: Path) -> Settings:
    """Return the settings of plain values; `where` names the place of a setting or list item.

    Relative paths start at `folder`. Raises `SettingsError`.
    """
    for name in ("source", "target"):
        if name not in fields:
            raise SettingsError(
                what=f"`{name}` is not set",
                where=where(),
                expected=f"`{_EXAMPLES[name]}` in {CONFIG_FILE}, or MIGRATION_{name.upper()}",
                hint=f"`migration-assets init` writes a {CONFIG_FILE} to start from",
            )
    try:
        settings = Settings(**fields)
    except ValidationError as error:
        raise _explain(error, where) from None
    return settings.model_copy(
        update={"source": folder / settings.source, "state": folder / settings.state}
    )


def _explain(error: ValidationError, where: Callable[..., str]) -> SettingsError:
    """Name the first wrong setting; the value itself is not repeated, it may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    if name == settings_tables.NAME:
        return settings_tables.explain(first["loc"], first["type"], first["msg"], where)
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, n=1)
        return SettingsError(
            what=f"`{name}` is no setting",
            where=where(name),
            expected=f"one of {', '.join(sorted(_EXAMPLES))}",
            hint=f"did you mean `{close[0]}`?" if close else "remove it",
        )
    said = "it is not a list" if first["type"] == "tuple_type" else first["msg"]
    return SettingsError(
        what=f"`{name}` is wrong: {said.removeprefix('Value error, ')}",
        where=where(*first["loc"]),
        expected=f"for example `{_EXAMPLES.get(name, name)}`",
    )
