"""The certificate of a cutover or a rehearsal: every figure, every exception, go or no-go.

Pure wording over frozen values: the same facts as Markdown for the people who sign, and as a
document for machines. No row's values stand in it.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from migration_assets.report.checkup import size


class Verdict(StrEnum):
    """Whether a condition lets the cutover go on; an exception needs somebody's word."""

    GO = "go"
    EXCEPTION = "go with exception"
    NO_GO = "no-go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of the cutover with its figure; `acknowledge` names what an exception needs."""

    name: str
    verdict: Verdict
    figure: str
    details: tuple[str, ...] = ()
    to_do: str = ""
    acknowledge: str = ""

    def stops(self, acknowledged: Collection[str]) -> bool:
        """Tell whether it keeps the cutover from going on, given what was acknowledged."""
        if self.verdict is Verdict.EXCEPTION:
            return self.acknowledge not in acknowledged
        return self.verdict is Verdict.NO_GO


def verdict_of(conditions: Iterable[Condition]) -> Verdict:
    """Return the worst verdict of all."""
    found = {condition.verdict for condition in conditions}
    return next((v for v in (Verdict.NO_GO, Verdict.EXCEPTION) if v in found), Verdict.GO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: how long it took, and what it found or did."""

    name: str
    seconds: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedTable:
    """One table's proof at the final cut, and what its last move changed.

    `source_digest` and `target_digest` are the sums of all row hashes, each side's own.
    """

    table: str
    source_rows: int
    target_rows: int
    quarantined: int
    algorithm: str
    source_digest: int
    target_digest: int
    read_back: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    excepted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOff:
    """The sha256 of a table's ordered binary stream, each side's own, and the rows in it.

    `excepted` rows with an accepted exception are left out on both sides.
    """

    table: str
    rows: int
    source_sha256: str
    target_sha256: str
    excepted: int = 0

    @property
    def equal(self) -> bool:
        """Whether both sides are the same, byte for byte."""
        return self.source_sha256 == self.target_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeObject:
    """What was made on the target, or left out with the reason; `table` is empty for a view."""

    kind: str
    table: str
    name: str
    problem: str = ""

    @property
    def text(self) -> str:
        """Name it for people."""
        place = f"{self.table}: " if self.table else ""
        return f"{place}{self.kind} {self.name}" + (f": {self.problem}" if self.problem else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The backup of the target: how, where, its size in bytes and its sha256 where it is a file."""

    kind: str
    place: str = ""
    size: int = 0
    sha256: str = ""
    at: str = ""

    @property
    def text(self) -> str:
        """Say it for people."""
        if self.kind == "none":
            return "none was taken"
        measured = f", {size(self.size)}, sha256 {self.sha256}" if self.size else ""
        return f"{self.kind} {self.place}{measured}, {self.at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """All that is known of one cutover, rehearsal or dry run, in the order in which it happened.

    `kind` is `cutover`, `rehearsal` or `dry run`; `stopped` says what stopped it, empty where
    nothing did. `schema` is the target's.
    """

    kind: str
    source: str
    target: str
    schema: str
    by: str
    started_at: str
    ended_at: str
    acknowledged: tuple[str, ...]
    conditions: tuple[Condition, ...]
    stopped: str = ""
    week: str = ""
    cut: str = ""
    cut_sha256: str = ""
    cut_taken_at: str = ""
    second_look: str = ""
    backup: Backup | None = None
    stages: tuple[Stage, ...] = ()
    tables: tuple[ProvedTable, ...] = ()
    sign_offs: tuple[SignOff, ...] = ()
    made: tuple[MadeObject, ...] = ()
    left_out: tuple[MadeObject, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def verdict(self) -> Verdict:
        """Whether it is a go, by its conditions and by what stopped it."""
        return Verdict.NO_GO if self.stopped else verdict_of(self.conditions)


def as_document(found: Certificate) -> dict[str, Any]:
    """Return the certificate for machines; digests are texts, being wider than a double."""
    document = dataclasses.asdict(found)
    for table in document["tables"]:
        for name in ("source_digest", "target_digest"):
            table[name] = str(table[name])
    for sign_off, given in zip(document["sign_offs"], found.sign_offs, strict=True):
        sign_off["equal"] = given.equal
    return {"verdict": found.verdict.value, **document}


_HEADED = {
    "cutover": "Certificate of the cutover",
    "rehearsal": "Certificate of a rehearsal of the cutover",
    "dry run": "Dry run of the cutover",
}


def markdown(found: Certificate) -> str:
    """Return the certificate for people."""
    parts = [
        f"# {_HEADED[found.kind]}",
        f"**{found.verdict.value.upper()}**" + (f": {found.stopped}" if found.stopped else ""),
        _facts(found),
        "## Conditions",
        _grid(
            ("condition", "verdict", "figure"),
            [(c.name, c.verdict.value, c.figure) for c in found.conditions],
        ),
        *_details(found.conditions),
    ]
    if found.tables:
        parts += ["## Proof of every table", _proofs(found.tables)]
    if found.sign_offs:
        parts += ["## Sign-off: sha256 of the ordered binary stream", _signed(found.sign_offs)]
    if found.made:
        parts += ["## Made on the target", _listed(o.text for o in found.made)]
    if found.left_out:
        parts += ["## Left out", _listed(o.text for o in found.left_out)]
    if found.stages:
        parts += ["## Times", _times(found.stages)]
    return "\n\n".join(parts) + "\n"


def _facts(found: Certificate) -> str:
    lines = [
        f"source: {found.source}",
        f"target: {found.target}, schema {found.schema}",
        f"by: {found.by}",
        f"from {found.started_at} to {found.ended_at}",
    ]
    if found.cut:
        lines.append(f"cut: {found.cut}, sha256 {found.cut_sha256}, taken {found.cut_taken_at}")
    if found.second_look:
        lines.append(f"second look at the source: {found.second_look}")
    if found.backup:
        lines.append(f"backup of the target: {found.backup.text}")
    lines.append(f"acknowledged: {', '.join(found.acknowledged) or 'nothing'}")
    if found.versions:
        lines.append("versions: " + ", ".join(f"{k} {v}" for k, v in found.versions.items()))
    return _listed(lines)


def _details(conditions: Iterable[Condition]) -> list[str]:
    parts: list[str] = []
    for condition in conditions:
        if condition.details or condition.to_do:
            parts.append(f"### {condition.name}: {condition.verdict.value}")
            if condition.details:
                parts.append(_listed(condition.details))
            if condition.to_do:
                parts.append(f"To do: {condition.to_do}")
    return parts


def _proofs(tables: Iterable[ProvedTable]) -> str:
    return _grid(
        (
            *("table", "rows at the source", "rows on the target", "in quarantine", "excepted"),
            *("last move", "read back", "digest at the source", "digest on the target"),
        ),
        [
            (
                t.table,
                f"{t.source_rows:,}",
                f"{t.target_rows:,}",
                str(t.quarantined),
                str(t.excepted),
                f"+{t.inserted} ~{t.updated} -{t.deleted}",
                f"{t.read_back:,}",
                f"{t.algorithm} {t.source_digest}",
                f"{t.algorithm} {t.target_digest}",
            )
            for t in tables
        ],
    )


def _signed(sign_offs: Iterable[SignOff]) -> str:
    return _grid(
        ("table", "rows", "excepted", "source", "target", "verdict"),
        [
            (
                s.table,
                f"{s.rows:,}",
                str(s.excepted),
                s.source_sha256,
                s.target_sha256,
                "equal" if s.equal else "**DIFFERENT**",
            )
            for s in sign_offs
        ],
    )


def _times(stages: Sequence[Stage]) -> str:
    rows = [(s.name, f"{s.seconds:.1f} s", s.what) for s in stages]
    rows.append(("all", f"{sum(s.seconds for s in stages):.1f} s", ""))
    return _grid(("stage", "time", "what"), rows)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_one_line(line)}" for line in lines)


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def lines(found: Certificate) -> list[tuple[str, str]]:
    """Return what a terminal shows: a style and a line each."""
    styles = {Verdict.GO: "green", Verdict.EXCEPTION: "yellow", Verdict.NO_GO: "red"}
    shown: list[tuple[str, str]] = []
    for condition in found.conditions:
        style = styles[condition.verdict]
        shown.append((style, f"{condition.verdict.value:18}{condition.name}: {condition.figure}"))
        shown += [("", f"{'':18}{_one_line(detail)}") for detail in condition.details]
        if condition.to_do:
            shown.append(("", f"{'':18}to do: {condition.to_do}"))
    shown += [("", f"{s.seconds:9.1f} s  {s.name}: {s.what}") for s in found.stages]
    shown += [("yellow", f"left out: {o.text}") for o in found.left_out]
    ending = f": {found.stopped}" if found.stopped else ""
    shown.append((styles[found.verdict], f"{found.kind}: {found.verdict.value}{ending}"))
    return shown
