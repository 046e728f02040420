"""What `run` and `verify` found, before it is printed for people or as a document for machines."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from migration_assets.findings import Inspection, Moved, Outcome, Preview, Proof, RepairPreview
from migration_assets.model import AcceptedRow, Hold
from migration_assets.report.checks import Asked, Result, of_inspection
from migration_assets.report.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One week that was run: the runs in order, and per failed step the reason.

    `new_tables` are those that the week's cut was the first to have; the last run carried them.
    `held` are the tables that were left alone, since they are on hold.
    `status` covers that week, and is None where the target could not be asked; `problems` says why,
    and what else could not be done after the runs.
    """

    week: date
    runs: tuple[str, ...]
    success: bool
    failures: Mapping[str, str]
    new_tables: tuple[str, ...]
    held: Mapping[str, Hold]
    status: Status | None
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every table was carried; one on hold that nobody thinks of must not be quiet."""
        return self.success and not self.held

    @property
    def verdict(self) -> str:
        """Say how the week ended; a table that was left alone is never called equal."""
        if not self.success:
            return "not complete"
        return "proved equal, but for what is on hold" if self.held else "proved equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One table whose quarantine was replayed: what moved, or why nothing did.

    Without a move and an error the table was never loaded.
    """

    table: str
    moved: Moved | None = None
    error: str = ""

    @property
    def outcome(self) -> str:
        """Say in one word how it ended."""
        if self.error:
            return "failed"
        if self.moved is None:
            return "never loaded"
        return "moved" if self.moved.outcome is Outcome.LOADED else "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """One table whose repair was asked for: what was found, and what was done about it.

    Without a preview and an error the table was never loaded. `kept` are rows that became
    exceptions.
    """

    table: str
    preview: RepairPreview | None = None
    moved: Moved | None = None
    kept: tuple[AcceptedRow, ...] = ()
    error: str = ""

    @property
    def outcome(self) -> str:
        """Say in a word or two how it ended."""
        if self.error:
            return "failed"
        if self.preview is None:
            return "never loaded"
        if self.moved is not None and self.moved.outcome is Outcome.LOADED:
            return "repaired"
        if self.kept:
            return "kept"
        return "differs" if self.preview.differs else "equal"

    @property
    def good(self) -> bool:
        """Whether the table is equal to its cut now, but for exceptions."""
        return self.outcome in {"repaired", "kept", "equal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProof:
    """One table; `required` is the week that its head has to cover, `error` why nothing is proved.

    Without a proof and an error the table was never loaded. `inspection` is what was found beside
    the proof.
    """

    table: str
    proof: Proof | None = None
    inspection: Inspection | None = None
    required: date | None = None
    error: str = ""

    @property
    def verdict(self) -> str:
        """Say it in a word or two.

        `equal`, `differs`, `schema differs`, `not carried`, `never loaded` or `not proved`.
        """
        if self.error:
            return "not proved"
        if self.proof is None:
            return "never loaded"
        inspection = self.inspection
        if not self.proof.holds or (inspection and not inspection.round_trip.holds):
            return "differs"
        if self.lag:
            return "not carried"
        return "schema differs" if inspection and not inspection.schema.holds else "equal"

    def inspected(self, *, show_keys: bool) -> list[Result]:
        """Return the checks beside the proof, in words; none where there was no inspection."""
        if self.inspection is None:
            return []
        week = self.required or self.inspection.week
        asked = Asked(table=self.table, week=week, show_keys=show_keys)
        return of_inspection(asked, self.inspection, moved=False)

    @property
    def lag(self) -> str:
        """Say that the table doesn't stand at the required week yet; '' where it does."""
        if self.proof is None or self.required is None or self.proof.week >= self.required:
            return ""
        return f"stands at {self.proof.week}, week {self.required} was not carried"

    @property
    def holds(self) -> bool:
        """Whether the table is proved equal and covers the week that was asked for."""
        return self.verdict == "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """One table of a rollback: what was said before, and how it ended.

    Without a preview and an error there was nothing to take back. `figures` are those of the
    rollback, None where it was not run or failed.
    """

    table: str
    preview: Preview | None = None
    figures: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def outcome(self) -> str:
        """Say in a few words how it ended, or what it would do."""
        if self.error or (self.preview and self.preview.obstacle):
            return "failed" if self.error else "not possible"
        if self.figures is not None:
            return "rolled back"
        return "to be rolled back" if self.preview else "nothing to take back"
