"""Cut over: backup, final cut, proof, sign-off, what was deferred, and every table put on hold.

Killed anywhere, run again: the same end. Before the second look has found the source unchanged
nothing but loads, as in any week, has touched the target.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime

from migration_assets.cutover import backup, checks, objects, record
from migration_assets.cutover.changed import differences
from migration_assets.cutover.checks import EXCEPTIONS
from migration_assets.cutover.ending import AtCut, elsewhere, finish, make_deferred
from migration_assets.cutover.journal import Journal
from migration_assets.cutover.label import is_final, next_label, open_week
from migration_assets.cutover.look import Look, copied, looked
from migration_assets.cutover.objects import Planned
from migration_assets.cutover.proofs import signed_all, verified
from migration_assets.errors import GuardError, MigrationError
from migration_assets.findings import Moved
from migration_assets.migration import Migration
from migration_assets.model import AcceptedRow, Cut, SourceTable, TableMapping
from migration_assets.report.certificate import Certificate
from migration_assets.source import cut as cuts
from migration_assets.source.catalog import matches, select
from migration_assets.source.reader import catalog_in
from migration_assets.standing import heads_and_holds
from migration_assets.step import carry, make_delta, take_cut
from migration_assets.target import constraints, ledger
from migration_assets.target.connection import connect, transaction, translated
from migration_assets.weeks import weeks

RUN = "cutover"  # what the ledger names as the run of its moves
_LOCK = "cutover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How it ended: the certificate's key in the state folder, without `.md` or `.json`.

    `certificate` is None where an earlier run had cut over already.
    """

    key: str
    certificate: Certificate | None


def dry_run(migration: Migration, now: datetime | None = None) -> Certificate:
    """Return every condition with its figure; nothing is changed on either side."""
    journal = Journal(kind="dry run", migration=migration, schema=migration.target.schema)
    with journal.stage("conditions") as tell, looked(migration, now or datetime.now(UTC)) as look:
        planned = _conditions(journal, look)
        tell(f"{len(look.tables)} tables, {len(planned.wanted)} objects tried")
    return journal.certificate()


def _conditions(journal: Journal, look: Look) -> Planned:
    migration = journal.migration
    journal.server = look.server
    where = f"target {migration.target.name}"
    with connect(migration.target) as connection, translated(where):
        planned = objects.plan(
            connection, look.pairs, look.catalog.views, look.copy, migration.target.schema
        )
        journal.conditions = checks.conditions(migration, connection, look, planned)
    journal.left_out = [*planned.impossible, *planned.violated]
    return planned


def execute(
    migration: Migration,
    *,
    acknowledged: frozenset[str] = frozenset(),
    now: datetime | None = None,
    at: Callable[[str], None] = lambda _stage: None,
    say: Callable[[str], None] = lambda _text: None,
) -> Ended:
    """Cut over, or go on where an earlier run was interrupted.

    Raises our errors where anything stops it; the certificate of a run that was stopped is written
    too, as a no-go.
    """
    journal = Journal(
        kind="cutover",
        migration=migration,
        schema=migration.target.schema,
        acknowledged=acknowledged,
        at=at,
        say=say,
    )
    with migration.state.lock(_LOCK, purpose="a cutover"):
        if _done(migration):
            return Ended(key=record.publish_draft(migration.state), certificate=None)
        try:
            cut = _run(journal, now or datetime.now(UTC))
            certificate = journal.keep(folder=record.DRAFTS, name=record.DRAFT)
            journal.at("drafted")
            finish(journal, cut, _at_cut(migration, cut))
        except MigrationError as error:
            with suppress(MigrationError):  # what stopped the cutover is what has to be said
                journal.keep(f"{error.where}: {error.what}" if error.where else error.what)
            raise
        journal.at("held")
        key = record.publish_draft(migration.state)
        journal.at("certified")
    return Ended(key=key, certificate=certificate)


def _done(migration: Migration) -> bool:
    """Tell whether every table is on hold as cut over: they were put so in one transaction.

    Raises `GuardError` where only some are: somebody has released the others since.
    """
    heads, held = heads_and_holds(migration)
    done = {name for name, hold in held.items() if hold.cut_over}
    include, exclude = migration.settings.include, migration.settings.exclude
    # A table that was loaded and is left out by now isn't cut over.
    chosen = {name for name in heads if matches(name, include) and not matches(name, exclude)}
    if done and not chosen <= done:
        released = ", ".join(sorted(chosen - done))
        raise GuardError(
            what=f"the migration was cut over, and tables were released since: {released}",
            where="cutover",
            expected="all tables on hold, as the cutover left them, or none",
            hint="`migration-assets release TABLE --cut-over` the others too where the cutover is"
            " to be done again; or hold these again, for the reason that the others have",
        )
    return bool(done)


def _run(journal: Journal, now: datetime) -> Cut:
    """Do all but the last transaction; return the final cut."""
    migration = journal.migration
    with journal.stage("conditions") as tell, looked(migration, now) as look:
        planned = _conditions(journal, look)
        journal.require(journal.conditions)
        tell(f"{len(look.tables)} tables, {len(planned.wanted)} objects tried")
        earlier = _earlier_cut(migration, look)
    journal.at("checked")
    _back_up(journal, look.pairs)
    with journal.stage("final cut") as tell:
        journal.cut = cut = earlier or _final_cut(migration, now)
        tell(f"{cut.id}, taken {cut.taken_at}")
    journal.at("cut")
    _take_back(journal, cut)
    moved = _move(journal, cut)
    tables = _at_cut(migration, cut)
    _prove(journal, cut, tables, moved)
    _look_again(journal, cut, tables)
    make_deferred(journal, cut, tables)
    return cut


def _earlier_cut(migration: Migration, look: Look) -> Cut | None:
    """Return the final cut of an earlier attempt where the source hasn't changed since."""
    known = cuts.cuts(migration.state, migration.source)
    if not known or not is_final(known[-1].week, look.opened):
        return None
    cuts.check(known[-1])
    same = not differences(known[-1], look.copy, look.pairs, look.folder)
    return known[-1] if same else None


def _final_cut(migration: Migration, now: datetime) -> Cut:
    opened = open_week(weeks(migration.settings, migration.state, now), now)
    heads, _ = heads_and_holds(migration)
    taken: list[date] = [c.week for c in cuts.cuts(migration.state, migration.source)]
    return take_cut(migration, next_label(opened, [*taken, *heads.values()]))


def _back_up(journal: Journal, pairs: Sequence[tuple[SourceTable, TableMapping]]) -> None:
    """Take the backup; where an earlier run has made objects already, its own is the one."""
    migration = journal.migration
    with journal.stage("backup") as tell:
        known = record.remembered_backup(migration.state)
        if known is None or not _made_already(migration, [mapping for _, mapping in pairs]):
            known = backup.take(migration)
            record.remember_backup(migration.state, known)
        journal.backup = known
        tell(known.text)
    journal.at("backed up")


def _made_already(migration: Migration, mappings: Sequence[TableMapping]) -> bool:
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        return constraints.any_made(connection, migration.target.schema, mappings)


def _take_back(journal: Journal, cut: Cut) -> None:
    """Drop what an earlier run made for an older cut: tables can't move one by one with it."""
    migration = journal.migration
    loaded, _ = heads_and_holds(migration)
    heads = {t.name: loaded[t.name] for t in _chosen(migration, cut) if t.name in loaded}
    if all(week == cut.week for week in heads.values()):
        return
    where = f"target {migration.target.name}"
    with (
        connect(migration.target) as connection,
        translated(where),
        transaction(connection, "READ COMMITTED"),
    ):
        mappings: list[TableMapping] = []
        for table in sorted(heads):
            head = ledger.head(connection, migration.source, table)
            if head is not None:
                mappings.append(ledger.sealed_mapping(connection, head.mapping_hash))
        dropped = constraints.take_back(connection, migration.target.schema, mappings)
        connection.execute("COMMIT")
    if dropped:
        with journal.stage("earlier attempt") as tell:
            tell(f"the source has changed since: {len(dropped)} objects were dropped again")


def _move(journal: Journal, cut: Cut) -> dict[str, Moved]:
    """Move every chosen table to the final cut, by the ordinary step."""
    migration = journal.migration
    moved: dict[str, Moved] = {}
    with journal.stage("moves") as tell:
        for table in _chosen(migration, cut):
            journal.say(f"moving {table.name}")
            make_delta(migration, table.name, cut.week, run=RUN)
            moved[table.name] = carry(
                migration, table.name, cut.week, run=RUN, acknowledged=journal.guards
            )
            journal.at(f"moved {table.name}")
        changed = sum(m.inserted + m.updated + m.deleted for m in moved.values())
        tell(f"{len(moved)} tables, {changed:,} rows changed")
    journal.at("moved")
    return moved


def _chosen(migration: Migration, cut: Cut) -> tuple[SourceTable, ...]:
    settings = migration.settings
    return select(catalog_in(cut), settings.include, settings.exclude).tables


def _at_cut(migration: Migration, cut: Cut) -> list[AtCut]:
    """Return all chosen tables with their heads. Raises `ProofError` for one that isn't there."""
    found: list[AtCut] = []
    with connect(migration.target) as connection, translated(f"target {migration.target.name}"):
        for shape in _chosen(migration, cut):
            head = ledger.head(connection, migration.source, shape.name)
            if head is None or head.cut != cut.id:
                raise elsewhere(shape.name, cut)
            mapping = ledger.sealed_mapping(connection, head.mapping_hash)
            found.append(AtCut(shape=shape, mapping=mapping, head=head))
    return found


def _prove(
    journal: Journal,
    cut: Cut,
    tables: Sequence[AtCut],
    moved: dict[str, Moved],
) -> None:
    migration = journal.migration
    exceptions: dict[str, tuple[AcceptedRow, ...]] = {}
    with journal.stage("verification") as tell:
        for table in tables:
            name = table.shape.name
            journal.say(f"verifying {name}")
            proved, exceptions[name] = verified(migration, name, moved.get(name), cut)
            _refuse_unsaid(journal, name, len(exceptions[name]))
            journal.tables.append(proved)
        rows = sum(t.target_rows for t in journal.tables)
        tell(f"{len(tables)} tables, {rows:,} rows: digests of both sides are equal")
    journal.at("verified")
    with journal.stage("sign-off") as tell:
        pairs = [(t.shape, t.mapping) for t in tables]
        journal.sign_offs += signed_all(migration, cut, pairs, exceptions)
        tell(f"{len(tables)} tables: sha256 of both ordered streams are equal")
    journal.at("signed")


def _refuse_unsaid(journal: Journal, table: str, excepted: int) -> None:
    """Stop for exceptions that came after the conditions were looked at, without a word."""
    if excepted and EXCEPTIONS not in journal.acknowledged:
        raise GuardError(
            what=f"{excepted} rows are accepted to differ",
            where=f"table {table}",
            expected="none, as the conditions said",
            hint=f"`migration-assets repair --kept`, or `--acknowledge {EXCEPTIONS}`, then run"
            " again",
        )


def _look_again(journal: Journal, cut: Cut, tables: Sequence[AtCut]) -> None:
    """Copy the source once more; raises `GuardError` where the application wrote since the cut."""
    migration = journal.migration
    with journal.stage("second look") as tell, migration.state.workspace() as folder:
        copy = copied(migration, folder, cut.week)
        pairs = [(t.shape, t.mapping) for t in tables]
        found = differences(cut, copy, pairs, folder)
        journal.second_look = f"{copy.taken_at}: " + ("; ".join(found) or "no change")
        tell("; ".join(found) or "no change")
    if found:
        raise GuardError(
            what=f"the source changed since the final cut: {'; '.join(found)}",
            where=f"cutover, cut {cut.id}",
            expected="a source that nothing writes to; nothing of the cutover was made yet",
            hint="stop the application that writes to the source, then run again",
        )
    journal.at("looked")
