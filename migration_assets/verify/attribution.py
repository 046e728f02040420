"""Where a difference comes from, told by sums, and what can be done: worded here and nowhere else.

The head's entry has the digest of what its move left on the target. A target that digests otherwise
by now was written by somebody else. Where what the cut says, adjusted by the exceptions, is another
than that entry's, the load or the reading of the cut has to be looked into: nobody's writing on the
target explains it. Both may be true, bucket by bucket of what differs. Nothing here does I/O.
"""

import shlex
from collections.abc import Iterable

from migration_assets.findings import Attribution, ForeignWrite
from migration_assets.model import AcceptedRow, Digest, Expected, Head
from migration_assets.verify.accepted import adjust

_SHOWN_WRITES = 5


def attribute(
    head: Head,
    expected: Expected,
    actual: Digest,
    *,
    quarantine_equal: bool,
    accepted: Iterable[AcceptedRow],
    lapsed: int,
    writes: tuple[ForeignWrite, ...] = (),
    writes_known: bool = False,
) -> Attribution:
    """Tell where the differences of a table come from.

    `accepted` are all exceptions in force at the head, those that have lapsed since too; `writes`
    what the write guard noted since, where it did (`writes_known`).
    """
    at_head = adjust(expected.digest, (a for a in accepted if a.mapping_hash == head.mapping_hash))
    misread = expected.unfit_rows != head.quarantined
    return Attribution(
        foreign=actual != head.digest,
        load=at_head != head.digest or misread,
        quarantine=not quarantine_equal and not misread,
        lapsed=lapsed,
        writes=writes,
        writes_known=writes_known,
    )


def sentences(found: Attribution) -> tuple[str, ...]:
    """Say for people where differences come from; no row value or key is in it."""
    lines: list[str] = []
    if found.foreign:
        lines.append(
            "somebody else wrote on the target: it is no longer what the last move left there"
        )
    if found.foreign and found.writes:
        lines += [_written(write) for write in found.writes[:_SHOWN_WRITES]]
        if len(found.writes) > _SHOWN_WRITES:
            more = len(found.writes) - _SHOWN_WRITES
            lines.append(f"and {more} more writes: see migration.foreign_write")
    elif found.foreign and not found.writes_known:
        lines.append("who and when isn't known: `write_guard: log` notes it from then on")
    elif found.foreign:
        lines.append("the write guard noted nobody: its triggers were off, or went round")
    if found.load:
        lines.append(
            "the cut reads otherwise than when the last move was proved: a wrong load, or a"
            " transform that makes another row of the same one by now"
        )
    if found.quarantine:
        lines.append("somebody else changed migration.quarantine")
    if found.lapsed:
        lines.append(
            f"{found.lapsed} rows that exceptions kept as they were have been changed since, so"
            " they are compared again"
        )
    return tuple(lines)


def _written(write: ForeignWrite) -> str:
    rows = f"{write.rows:,} rows" if write.op != "TRUNCATE" else "all rows"
    return (
        f"{write.op} of {rows} by {write.role} ({write.application or 'no name'}) from"
        f" {write.client} at {write.at:%Y-%m-%d %H:%M:%S %Z}"
    )


def ways_out(table: str) -> str:
    """Say what can be done about rows that somebody else changed on the target."""
    name = shlex.quote(table)
    return (
        f"`migration-assets repair {name}` puts the source's rows back and keeps theirs in"
        f" migration.displaced; `migration-assets repair {name} --keep-target --reason TEXT` lets"
        f" theirs stay; `migration-assets rollback --week WEEK --table {name}` takes a week and"
        " everything later back"
    )


def what_to_do(table: str, found: Attribution | None) -> str:
    """Say what can be done about a table that differs."""
    if found is not None and found.load:
        return (
            "find out first why the cut reads otherwise: keep it and report it, unless a transform"
            f" was changed; `migration-assets repair {shlex.quote(table)}` then writes what the cut"
            " says now"
        )
    if found is not None and found.quarantine and not found.foreign:
        return f"`migration-assets repair {shlex.quote(table)}` makes its quarantine anew"
    return ways_out(table)
