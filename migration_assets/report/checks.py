"""A table's checks for people: what was compared on both sides, where it differs, what mends it.

`row_count`, `content_digest`, `quarantine` and `round_trip` say whether the table is equal;
`schema` and `foreign_keys` say what will be in the way later. Every result has a sentence, whole
numbers that plot over the weeks, and something to do. No row value is in any of them.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from migration_assets.errors import MigrationError
from migration_assets.findings import (
    Difference,
    ForeignKeyCheck,
    Inspection,
    Proof,
    RoundTrip,
    SchemaCheck,
)
from migration_assets.model import AcceptedRow
from migration_assets.verify.accepted import more_rows
from migration_assets.verify.attribution import sentences, what_to_do

ROW_COUNT = "row_count"
CONTENT_DIGEST = "content_digest"
QUARANTINE = "quarantine"
ROUND_TRIP = "round_trip"
SCHEMA = "schema"
FOREIGN_KEYS = "foreign_keys"
PROOFS = (ROW_COUNT, CONTENT_DIGEST, QUARANTINE)
CHECKS = (*PROOFS, ROUND_TRIP, SCHEMA, FOREIGN_KEYS)
MOVED = "read inside the step, before it was committed"
STORED = "stored in the ledger when the head was moved"
NOW = "read now, against the cut of the table's head"
_SHOWN = 20  # lines of differences
_GUARD = re.compile(r"--acknowledge (\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which table and week the checks are for, and whether rows may be named by key.

    Without a week the table is asked for as it stands, at whatever week that is.
    """

    table: str
    week: date | None
    show_keys: bool

    @property
    def where(self) -> str:
        """Name table and week for an error."""
        return f"table {self.table}" + (f", week {self.week}" if self.week else "")

    @property
    def run_command(self) -> str:
        """Return the command that carries this table to this week, or to the last one."""
        week = f"--week {self.week} " if self.week else ""
        return f"migration-assets run {week}--table {shlex.quote(self.table)}"

    @property
    def verify_command(self) -> str:
        """Return the command that proves this table again."""
        return f"migration-assets verify --table {shlex.quote(self.table)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One check's result: a sentence, numbers that plot, texts, differences, and what to do.

    A result that is not `severe` is a warning where it hasn't passed.
    """

    name: str
    passed: bool
    sentence: str
    numbers: Mapping[str, int]
    texts: Mapping[str, str]
    lines: tuple[str, ...] = ()
    to_do: str = "nothing"
    severe: bool = True


def of_proof(asked: Asked, proof: Proof, *, basis: str) -> list[Result]:
    """Return the three proofs' results; `basis` says when it was read."""
    made = [_row_count(asked, proof), _content_digest(asked, proof), _quarantine(asked, proof)]
    return [_placed(asked, result, head=proof.week, basis=basis) for result in made]


def of_round_trip(asked: Asked, found: RoundTrip, *, moved: bool) -> Result:
    """Return the round trip's result; `moved` where a step has read rows back itself."""
    basis = MOVED if moved else NOW
    return _placed(asked, _round_trip(asked, found), head=found.week, basis=basis)


def of_covered(asked: Asked, found: Inspection) -> list[Result]:
    """Return the results of the three for a week that its head covers.

    Such a step changes nothing and shows the proof of then: what was changed on the target since is
    told, but doesn't make that week red.
    """
    made = of_inspection(asked, found, moved=False)
    return [replace(result, severe=result.severe and result.name != ROUND_TRIP) for result in made]


def of_inspection(asked: Asked, found: Inspection, *, moved: bool) -> list[Result]:
    """Return the results of the three that aren't proofs; `moved` as for the round trip."""
    others = (_schema(found.schema), _foreign_keys(asked, found.foreign_keys))
    return [
        of_round_trip(asked, found.round_trip, moved=moved),
        *(_placed(asked, result, head=found.week, basis=NOW) for result in others),
    ]


def of_error(asked: Asked, error: MigrationError, names: Iterable[str] = CHECKS) -> list[Result]:
    """Return checks as failed: a step that stopped has shown nothing."""
    texts = {
        "error": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
    }
    texts = {name: text for name, text in texts.items() if text}
    return [
        Result(
            name=name,
            passed=False,
            sentence=error.what,
            numbers={},
            texts=texts,
            to_do=_to_do(asked, error),
        )
        for name in names
    ]


TAKEN_BACK = "taken_back_by_entry"  # a text of the results of weeks that a rollback took back


def of_taken_back(asked: Asked, *, stands: date, entry: int, held: bool) -> Result:
    """Return the result of a week that a rollback (`entry`) took back and that isn't back yet."""
    table = shlex.quote(asked.table)
    to_do = (
        f"mend what was wrong, then `migration-assets release {table}` and `{asked.run_command}`;"
        f" or, if the rollback was a mistake, `migration-assets rollback --entry {entry}`"
        if held
        else f"`{asked.run_command}`"
    )
    return Result(
        name=CONTENT_DIGEST,
        passed=False,
        sentence=f"rolled back by entry {entry}: the table stands at {stands}"
        + (", and is on hold" if held else ""),
        numbers={},
        texts={"head_week": stands.isoformat(), "basis": STORED, TAKEN_BACK: str(entry)},
        to_do=to_do,
    )


def _placed(asked: Asked, result: Result, *, head: date, basis: str) -> Result:
    """Add to a result at which head it was made and when."""
    before = asked.week is not None and asked.week < head
    covered = f"; week {asked.week} is covered by the head at {head}" if before else ""
    return replace(
        result,
        sentence=result.sentence + covered,
        texts={"head_week": head.isoformat(), "basis": basis, **result.texts},
        lines=_bounded(result.lines),
    )


def _to_do(asked: Asked, error: MigrationError) -> str:
    """Return the error's own advice, and the command with which to go on."""
    guards = dict.fromkeys(_GUARD.findall(error.hint))
    command = asked.run_command + "".join(f" --acknowledge {guard}" for guard in guards)
    return f"{error.hint}. Command: {command}" if error.hint else command


def _bounded(lines: tuple[str, ...]) -> tuple[str, ...]:
    more = len(lines) - _SHOWN
    return (*lines[:_SHOWN], f"and {more} more") if more > 0 else lines


def _named(asked: Asked, differences: Iterable[Difference]) -> tuple[str, ...]:
    return tuple(d.text(show_key=asked.show_keys) for d in differences)


def _mend(asked: Asked, proof: Proof) -> str:
    return what_to_do(asked.table, proof.attribution)


def _listed(asked: Asked, proof: Proof, *, equal: bool) -> tuple[str, ...]:
    """Say where differences come from, name them, and list the exceptions."""
    causes = sentences(proof.attribution) if proof.attribution else ()
    named = () if equal else (*causes, *_named(asked, proof.differences))
    return (*named, *exception_lines(proof.accepted, show_keys=asked.show_keys))


def exception_lines(rows: Sequence[AcceptedRow], *, show_keys: bool) -> tuple[str, ...]:
    """Say which rows are to differ, why, and who said so; those of one word in one line."""
    groups: dict[tuple[str, str, str, date], list[AcceptedRow]] = {}
    for row in rows:
        groups.setdefault((row.origin, row.reason, row.by, row.at.date()), []).append(row)
    lines: list[str] = []
    for (origin, reason, by, day), found in groups.items():
        keys = ", ".join(row.key for row in found[:_SHOWN] if row.key) if show_keys else ""
        more = " …" if keys and len(found) > _SHOWN else ""
        counted = f"{len(found):,} exception{'' if len(found) == 1 else 's'}"
        named = f" ({keys}{more})" if keys else ""
        lines.append(f"{counted}{named}: {origin} since {day} by {by}: {reason}")
    return tuple(lines)


def _with_exceptions(sentence: str, proof: Proof) -> str:
    number = len(proof.accepted)
    if not number:
        return sentence
    return f"{sentence}, but for {number:,} exception{'' if number == 1 else 's'}"


def _row_numbers(proof: Proof) -> dict[str, int]:
    return {
        "source_rows": proof.source_rows,
        "target_rows": proof.target_rows,
        "quarantined_rows": proof.quarantined_rows,
        "exceptions": len(proof.accepted),
    }


def _row_count(asked: Asked, proof: Proof) -> Result:
    source, target, aside = proof.source_rows, proof.target_rows, proof.quarantined_rows
    more = more_rows(proof.accepted)
    sign = "=" if source + more == target + aside else "≠"
    sentence = (
        f"{source:,} rows in the cut {sign} {target:,} on the target + {aside:,} in quarantine"
    )
    if more and sign == "=":
        sentence = (
            f"{source:,} rows in the cut, {abs(more):,} {'more' if more > 0 else 'less'} to be by"
            f" exceptions, = {target:,} on the target + {aside:,} in quarantine"
        )
    if sign == "=" and not proof.rows_equal:
        sentence += ", but they are not the same rows"
    return Result(
        name=ROW_COUNT,
        passed=proof.rows_equal,
        sentence=sentence,
        numbers=_row_numbers(proof),
        texts={},
        lines=_listed(asked, proof, equal=proof.rows_equal),
        to_do="nothing" if proof.rows_equal else _mend(asked, proof),
    )


def _content_digest(asked: Asked, proof: Proof) -> Result:
    digested = proof.source_rows - proof.unfit_rows
    equal = proof.digest_equal
    sentence = (
        _with_exceptions(f"the digests of {digested:,} rows are equal on both sides", proof)
        if equal
        else f"the digest of {digested:,} rows of the cut is not that of"
        f" {proof.target_rows:,} rows on the target"
    )
    return Result(
        name=CONTENT_DIGEST,
        passed=equal,
        sentence=sentence,
        numbers={
            **_row_numbers(proof),
            "source_rows_digested": digested,
            "target_rows_digested": proof.target_rows,
        },
        texts={
            "algorithm": proof.algorithm,
            "source_digest": _hexadecimal(proof.source_total),
            "target_digest": _hexadecimal(proof.target_total),
        },
        lines=_listed(asked, proof, equal=equal),
        to_do="nothing" if equal else _mend(asked, proof),
    )


def _hexadecimal(total: int) -> str:
    """Render a sum of hashes for people: its lowest 64 bits; exact sums were compared."""
    return f"{total % (1 << 64):016x}"


def _quarantine(asked: Asked, proof: Proof) -> Result:
    unfit, stored = proof.unfit_rows, proof.quarantined_rows
    same = "the same rows" if proof.quarantine_equal else "and they are not the same rows"
    return Result(
        name=QUARANTINE,
        passed=proof.quarantine_equal,
        sentence=f"{unfit:,} rows of the cut don't fit, {stored:,} are in quarantine: {same}",
        numbers={**_row_numbers(proof), "unfit_rows_in_cut": unfit},
        texts={},
        lines=()
        if proof.quarantine_equal
        else (
            *(sentences(proof.attribution) if proof.attribution else ()),
            *_named(asked, proof.differences),
        ),
        to_do="nothing" if proof.quarantine_equal else _mend(asked, proof),
    )


def _round_trip(asked: Asked, found: RoundTrip) -> Result:
    rows = f"{found.changed_rows:,} changed and {found.sampled_rows:,} sampled rows read back"
    sentence = (
        f"{rows}: every value as the cut has it"
        if found.holds
        else f"{rows}: {len(found.differences)} differences from the cut are named"
    )
    return Result(
        name=ROUND_TRIP,
        passed=found.holds,
        sentence=sentence,
        numbers={
            "changed_rows_read": found.changed_rows,
            "sampled_rows_read": found.sampled_rows,
            "differing_rows": len(found.differences),
        },
        texts={},
        lines=_named(asked, found.differences),
        to_do="nothing"
        if found.holds
        else "see whether `content_digest` differs too: then somebody changed the target; if it"
        f" doesn't, keep the cut and report it. Command: {asked.verify_command}",
    )


def _schema(found: SchemaCheck) -> Result:
    standing = f"{found.columns:,} columns and {found.indexes:,} keys and indexes"
    follows = (
        f"changes of the source that the next load will carry: {len(found.pending)}"
        if found.pending
        else f"the cut of {found.cut_week} has its columns"
    )
    sentence = (
        f"{standing} stand as the mapping made them; {follows}"
        if found.holds
        else f"{len(found.findings)} differences from the sealed mapping:"
        f" {'; '.join(f.what for f in found.findings[:3])}"
    )
    return Result(
        name=SCHEMA,
        passed=found.holds,
        sentence=sentence,
        numbers={
            "columns": found.columns,
            "indexes": found.indexes,
            "differing_objects": len(found.findings),
            "rows_against_later_constraints": sum(v.rows or 0 for v in found.violations),
            "pending_changes": len(found.pending),
        },
        texts={
            "newest_cut": found.cut_week.isoformat(),
            "own_objects_of_the_target": ", ".join(found.extras) or "none",
        },
        lines=(
            *(f"{f.what}; to do: {f.to_do}" for f in found.findings),
            *(f"before the cutover: {v.text}" for v in found.violations),
            *(f"will be applied by the next load: {what}" for what in found.pending),
        ),
        to_do="; ".join(dict.fromkeys(f.to_do for f in found.findings[:_SHOWN])) or "nothing",
    )


def _foreign_keys(asked: Asked, found: tuple[ForeignKeyCheck, ...]) -> Result:
    wrong = [c for c in found if not c.holds]
    pending = [c for c in found if c.pending]
    in_cut = sum(c.source_orphans or 0 for c in found)
    on_target = sum(c.target_orphans or 0 for c in found)
    withheld = sum(c.withheld or 0 for c in found)
    return Result(
        name=FOREIGN_KEYS,
        passed=not wrong,
        sentence=_foreign_key_sentence(found, wrong, pending),
        numbers={
            "foreign_keys": len(found),
            "rows_without_parent_in_cut": in_cut,
            "rows_without_parent_on_target": on_target,
            "rows_whose_parent_is_not_on_target": withheld,
            "keys_that_cannot_be_created": sum(bool(c.obstacle) for c in found),
        },
        texts={},
        lines=tuple(foreign_key_line(c) for c in found if c in wrong or c.pending),
        to_do=_foreign_key_to_do(asked, wrong, pending),
        severe=False,  # no load can mend it
    )


def _foreign_key_sentence(
    found: tuple[ForeignKeyCheck, ...],
    wrong: list[ForeignKeyCheck],
    pending: list[ForeignKeyCheck],
) -> str:
    if not found:
        return "the table has no foreign keys"
    if wrong:
        named = "; ".join(foreign_key_line(c) for c in wrong[:3])
        return f"{len(wrong)} of {_keys(found)} could not be created: {named}"
    if pending:
        named = ", ".join(dict.fromkeys(c.pending for c in pending))
        return f"{_keys(found)}: every row has its parent in the cut; on the target {named}"
    return f"{_keys(found)}: every row has its parent, in the cut and on the target"


def _keys(found: tuple[ForeignKeyCheck, ...]) -> str:
    return f"{len(found)} foreign key" + ("" if len(found) == 1 else "s")


def _foreign_key_to_do(
    asked: Asked, wrong: list[ForeignKeyCheck], pending: list[ForeignKeyCheck]
) -> str:
    if any(c.obstacle for c in wrong):
        return "decide before the cutover: this key can't be created as things are"
    if any(c.source_orphans for c in wrong):
        return "mend the rows at the source: the application left them without their parent"
    if wrong:
        return "mend the parents that are in quarantine: see the parent's check `quarantine`"
    if pending:
        return f"check again when the parent stands there too. Command: {asked.verify_command}"
    return "nothing"


def foreign_key_line(check: ForeignKeyCheck) -> str:
    """Say for people what is known of one foreign key."""
    if check.obstacle:
        return f"{check.key.text}: can't be created: {check.obstacle}"
    in_cut = "not counted" if check.source_orphans is None else f"{check.source_orphans:,}"
    known = [f"rows without a parent: {in_cut} in the cut"]
    if check.target_orphans is not None:
        withheld = check.withheld or 0
        known.append(
            f"{check.target_orphans:,} on the target"
            + (f" ({withheld:,} of them since their parent was not carried)" if withheld else "")
        )
    if check.pending:
        known.append(check.pending)
    return f"{check.key.text}: {', '.join(known)}"
