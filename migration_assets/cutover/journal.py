"""What one run of a cutover has found and done so far; a certificate can be made of it any time."""

import json
import platform
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from time import monotonic

from migration_assets.cutover.checks import ACKNOWLEDGEMENTS
from migration_assets.errors import GuardError
from migration_assets.holds import who_says_so
from migration_assets.migration import Migration
from migration_assets.model import Cut
from migration_assets.report.certificate import (
    Backup,
    Certificate,
    Condition,
    MadeObject,
    ProvedTable,
    SignOff,
    Stage,
    as_document,
    markdown,
)

REPORTS = "reports"
_PACKAGES = ("migration-assets", "psycopg", "polars")


@dataclass(slots=True, kw_only=True)
class Journal:
    """The run so far; `say` is told of every stage as it begins, `at` when crash tests may kill."""

    kind: str
    migration: Migration
    schema: str
    acknowledged: frozenset[str] = frozenset()
    at: Callable[[str], None] = lambda _stage: None
    say: Callable[[str], None] = lambda _text: None
    by: str = field(default_factory=who_says_so)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    server: str = ""
    conditions: tuple[Condition, ...] = ()
    cut: Cut | None = None
    second_look: str = ""
    backup: Backup | None = None
    stages: list[Stage] = field(default_factory=list[Stage])
    tables: list[ProvedTable] = field(default_factory=list[ProvedTable])
    sign_offs: list[SignOff] = field(default_factory=list[SignOff])
    made: list[MadeObject] = field(default_factory=list[MadeObject])
    left_out: list[MadeObject] = field(default_factory=list[MadeObject])

    @property
    def guards(self) -> frozenset[str]:
        """What of the acknowledgements is for guards of moves, the rest being the cutover's own."""
        return self.acknowledged.difference(ACKNOWLEDGEMENTS)

    @contextmanager
    def stage(self, name: str) -> Generator[Callable[[str], None]]:
        """Measure a stage; yields what takes its result in words."""
        self.say(name)
        began, said = monotonic(), ["not finished"]

        def tell(what: str) -> None:
            said[0] = what

        try:
            yield tell
        finally:
            self.stages.append(Stage(name=name, seconds=monotonic() - began, what=said[0]))

    def require(self, conditions: Sequence[Condition]) -> None:
        """Keep the conditions; raise `GuardError` where one of them stops the cutover."""
        self.conditions = tuple(conditions)
        bad = [c for c in conditions if c.stops(self.acknowledged)]
        if bad:
            named = "; ".join(f"{c.name}: {c.figure}" for c in bad)
            raise GuardError(
                what=f"no-go: {named}",
                where=self.kind,
                expected="every condition a go, or an exception that is acknowledged by its name",
                hint="; ".join(c.to_do for c in bad),
            )

    def certificate(self, stopped: str = "") -> Certificate:
        """Return the certificate of the run so far."""
        cut = self.cut
        versions = {name: _version(name) for name in _PACKAGES}
        versions |= {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
        if self.server:
            versions["PostgreSQL"] = self.server
        return Certificate(
            kind=self.kind,
            source=str(self.migration.settings.source),
            target=self.migration.target.name,
            schema=self.schema,
            by=self.by,
            started_at=self.started.isoformat(timespec="seconds"),
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            acknowledged=tuple(sorted(self.acknowledged)),
            conditions=self.conditions,
            stopped=stopped,
            week=cut.week.isoformat() if cut else "",
            cut=cut.id if cut else "",
            cut_sha256=cut.sha256 if cut else "",
            cut_taken_at=cut.taken_at if cut else "",
            second_look=self.second_look,
            backup=self.backup,
            stages=tuple(self.stages),
            tables=tuple(self.tables),
            sign_offs=tuple(self.sign_offs),
            made=tuple(self.made),
            left_out=tuple(self.left_out),
            versions=versions,
        )

    def name(self) -> str:
        """Return what the certificate's files are called: one for every run."""
        return f"{self.kind.replace(' ', '-')}-{self.started:%Y-%m-%dT%H%M%S}"

    def keep(self, stopped: str = "", *, folder: str = REPORTS, name: str = "") -> Certificate:
        """Write the certificate as Markdown and JSON into the state folder; return it."""
        found = self.certificate(stopped)
        key = f"{folder}/{name or self.name()}"
        state = self.migration.state
        state.write_text(f"{key}.json", json.dumps(as_document(found), indent=1))
        state.write_text(f"{key}.md", markdown(found))
        if folder == REPORTS:
            self.say(f"certificate: {state.path(key)}.md")
        return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
