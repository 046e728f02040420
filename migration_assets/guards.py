"""Guards before a move: what is probably not meant stops its table, with the figures.

Nothing is changed until a person says so, for one run (`--acknowledge NAME`). Foreign writes are
found inside the move itself; all else is looked at here, once everything is prepared. Several
guards that stop one step are said in one error.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

from migration_assets.errors import GuardError, StateError
from migration_assets.model import (
    Cut,
    Delta,
    Expected,
    Head,
    Scope,
    SourceTable,
    TableMapping,
)
from migration_assets.settings import Settings
from migration_assets.source import cut as cuts
from migration_assets.source import delta_files
from migration_assets.source.going_back import FEW, Undone, could_tell, counter_back, undone
from migration_assets.source.reader import catalog_in
from migration_assets.source.turnover import Turnover, turnover
from migration_assets.state import State
from migration_assets.target.apply import FOREIGN_WRITES
from migration_assets.target.displaced import DISPLACED_ROWS
from migration_assets.target.exceptions import KEPT_ROWS
from migration_assets.target.guarding import passes

QUARANTINE_LIMIT = "quarantine_limit"
MASS_CHANGE = "mass_change"
RESTORED_SOURCE = "restored_source"
GUARDS = (
    FOREIGN_WRITES,
    KEPT_ROWS,
    DISPLACED_ROWS,
    QUARANTINE_LIMIT,
    MASS_CHANGE,
    RESTORED_SOURCE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A step that is prepared, as guards look at it.

    `base` is the mapping at which the table stands, `renamed` leads from a column's new name to its
    old one.
    """

    settings: Settings
    state: State
    cut: Cut
    table: SourceTable
    mapping: TableMapping
    base: TableMapping
    head: Head | None
    delta: Delta
    expected: Expected
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def where(self) -> str:
        """Name table and week for an error."""
        return f"table {self.table.name}, week {self.cut.week}"

    @property
    def older(self) -> Cut | None:
        """The cut at which the table stands; None where the step doesn't leave it."""
        if self.head is None or self.head.cut == self.cut.id:
            return None
        return cuts.find(self.state, self.cut.source, self.head.cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What a guard found: what, what was expected, and what can be done beside acknowledging."""

    what: str
    expected: str
    hint: str


def refuse(step: Prepared, acknowledged: frozenset[str]) -> None:
    """Raise `GuardError` with all that stops a step; guards that may pass aren't asked."""
    stops = {
        guard: found
        for guard, look in _LOOKS.items()
        if not passes(acknowledged, guard) and (found := look(step))
    }
    if not stops:
        return
    told = " ".join(f"--acknowledge {guard}" for guard in stops)
    raise GuardError(
        what="; ".join(found.what for found in stops.values()),
        where=step.where,
        expected="; ".join(found.expected for found in stops.values()),
        hint=f"{'; '.join(found.hint for found in stops.values())}; or, if it is meant, `{told}`",
    )


def _quarantine(step: Prepared) -> Stop | None:
    expected = step.expected
    limit = step.settings.quarantine_limit(expected.source_rows)
    if expected.unfit_rows <= limit:
        return None
    return Stop(
        what=f"{expected.unfit_rows} of {expected.source_rows} rows don't fit the mapping and would"
        " be quarantined",
        expected=f"at most {limit} (quarantine_rows, quarantine_share)",
        hint="mend the source, or give the column a `type` or `policy: widen` in migration.yaml"
        " (see `migration-assets plan`)",
    )


def _mass_change(step: Prepared) -> Stop | None:
    """Stop a step that deletes or changes more of the head's rows than the settings let pass."""
    head, settings = step.head, step.settings
    if head is None or head.rows < max(1, settings.guard_rows) or head.cut == step.cut.id:
        return None
    found = _turned_over(step, head)
    rows, touched = head.rows, found.deleted + found.changed
    most = int(rows * settings.deleted_share), int(rows * settings.changed_share)
    if found.deleted <= most[0] and touched <= most[1]:
        return None
    return Stop(
        what=f"of the {rows:,} rows that stand since week {head.week} this step would delete"
        f" {found.deleted:,} and change {found.changed:,}",
        expected=f"at most {most[0]:,} deleted (deleted_share), and {most[1]:,} deleted or changed"
        " (changed_share)",
        hint="ask those who run the application what happened to this table",
    )


def _turned_over(step: Prepared, head: Head) -> Turnover:
    """Count from the delta; where the whole cut is staged, from the two cuts."""
    delta = step.delta
    if delta.scope is Scope.CHANGES:
        # Without a key a changed row is one that goes and one that comes.
        paired = 0 if step.mapping.key else min(delta.deletes, delta.inserts)
        return Turnover(deleted=delta.deletes - paired, changed=delta.updates + paired)
    lost = max(0, head.source_rows - step.expected.source_rows)
    older = step.older
    before = catalog_in(older).table(step.table.name) if older else None
    if older is None or before is None:
        return Turnover(deleted=lost, changed=0)
    cuts.check(older)
    found = turnover(
        older, step.cut, before, step.table, key=_common_key(step), renamed=step.renamed
    )
    return found or Turnover(deleted=lost, changed=0)


def _common_key(step: Prepared) -> tuple[str, ...]:
    """Return the key by which rows of both cuts are known; none where it became another."""
    key = step.mapping.key
    return key if tuple(step.renamed.get(c, c) for c in key) == step.base.key else ()


def _restored(step: Prepared) -> Stop | None:
    """Stop a step to an older copy of the source: rows, a counter or the schema go back."""
    head, older = step.head, step.older
    if head is None or older is None:
        return None
    said = _counter(step, older) or _schema(step, older) or _rows(step, head)
    if not said:
        return None
    return Stop(
        what=f"the source looks like an older copy of itself: {said}",
        expected=f"what the application did since week {head.week}, and nothing of it undone",
        hint="ask those who run the application whether a backup was restored; if the right file is"
        " put back, the next week's cut carries what this one missed",
    )


def _counter(step: Prepared, older: Cut) -> str:
    found = counter_back(older, step.cut, step.table)
    if found is None:
        return ""
    return (
        f"its AUTOINCREMENT counter went back from {found.before:,} to {found.now:,}, and"
        f" {found.rows:,} rows of week {older.week} have keys above it"
    )


def _schema(step: Prepared, older: Cut) -> str:
    """Say that the schema is that of an earlier cut again, and the table's rows are as of then.

    An application's release that was taken back has its rows of today: they differ less from the
    head's cut than from that of then.
    """
    if step.mapping.hash == step.base.hash or step.cut.fingerprint == older.fingerprint:
        return ""
    alike = [
        cut
        for cut in cuts.cuts(step.state, step.cut.source)
        if cut.week < older.week and cut.fingerprint == step.cut.fingerprint
    ]
    if not alike:
        return ""
    then = alike[-1]
    near = _between(step, then, step.mapping.key, {})
    far = _between(step, older, _common_key(step), step.renamed)
    if near is None or far is None or far < near + FEW:
        return ""
    return (
        f"its schema is again that of week {then.week}, and {far:,} rows differ from week"
        f" {older.week}, but {near:,} from then"
    )


def _between(
    step: Prepared, older: Cut, key: tuple[str, ...], renamed: Mapping[str, str]
) -> int | None:
    """Count the table's rows that went or changed since a cut; None where they can't be matched."""
    before = catalog_in(older).table(step.table.name)
    if before is None:
        return None
    found = turnover(older, step.cut, before, step.table, key=key, renamed=renamed)
    return found and found.deleted + found.changed


def _rows(step: Prepared, head: Head) -> str:
    """Say how many rows of the table's last move the new cut undoes, where that tells.

    Where the last move had undone the one before it, too, that is how the table lives: a state
    that goes to and fro by the week. A person has seen it then.
    """
    last = _last_move(step, head)
    if last is None or not could_tell(last, step.delta):
        return ""
    found = _undone(step, last, step.delta, step.cut)
    if not found.tells or _usual(step, last):
        return ""
    return _told(found, head)


def _usual(step: Prepared, last: Delta) -> bool:
    before, older = _move_before(step, last), step.older
    if before is None or older is None or not could_tell(before, last):
        return False
    return _undone(step, before, last, older).tells


def _undone(step: Prepared, last: Delta, new: Delta, cut: Cut) -> Undone:
    with step.state.workspace() as scratch:
        return undone(last, new, step.mapping, step.table, cut, scratch=scratch)


def _told(found: Undone, head: Head) -> str:
    gone, back, reverted = (found.undone[op] for op in found.undone)
    return (
        f"of {sum(found.touched.values()):,} rows that week {head.week} brought, took or changed,"
        f" {found.rows:,} are undone ({gone:,} gone again, {back:,} back, {reverted:,} as before)"
    )


def _last_move(step: Prepared, head: Head) -> Delta | None:
    """Return the stored delta of the table's last move, where both can be compared row by row.

    A first load has none; one that is lost or damaged leaves the other signs.
    """
    if step.delta.scope is not Scope.CHANGES or step.delta.base_cut != head.cut:
        return None
    if step.delta.mapping_hash != step.mapping.hash:
        return None
    return _changes_to(step, head.week, head.cut)


def _move_before(step: Prepared, last: Delta) -> Delta | None:
    """Return the stored delta of the move before the last one, as `_last_move` does."""
    weeks = [c.week for c in cuts.cuts(step.state, step.cut.source) if c.id == last.base_cut]
    return _changes_to(step, weeks[0], str(last.base_cut)) if weeks else None


def _changes_to(step: Prepared, week: date, cut: str) -> Delta | None:
    """Return the stored delta that led to a cut row by row under the step's mapping, if whole."""
    found = delta_files.find(step.state, step.cut.source, step.table.name, week)
    if found is None or found.cut != cut or found.base_cut in (None, found.cut):
        return None
    if found.scope is not Scope.CHANGES or found.mapping_hash != step.mapping.hash:
        return None
    with suppress(StateError):
        delta_files.check(found)
        return found
    return None


_LOOKS: Mapping[str, Callable[[Prepared], Stop | None]] = {
    QUARANTINE_LIMIT: _quarantine,
    MASS_CHANGE: _mass_change,
    RESTORED_SOURCE: _restored,
}
