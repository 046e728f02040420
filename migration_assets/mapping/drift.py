"""One table's drift while it is being judged: what is known, and what was found so far."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from migration_assets.findings import Finding
from migration_assets.mapping.evidence import Evidence, Pairing
from migration_assets.model import SourceTable, TableMapping, TableOverride

_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A sealed mapping, the table as it stands in a new cut, what is said and known of both.

    `changes` and `unsafe` fill up while it is judged.
    """

    base: TableMapping
    table: SourceTable
    override: TableOverride
    evidence: Evidence
    pairing: Pairing
    changes: list[str] = field(default_factory=list[str])
    unsafe: list[Finding] = field(default_factory=list[Finding])

    def say(self, what: str) -> None:
        """Note a safe change, for people."""
        self.changes.append(what)

    def stop(self, what: str, to_do: str) -> None:
        """Note what a person has to confirm or mend."""
        self.unsafe.append(Finding(what=what, to_do=to_do))

    def setting(self, line: str) -> str:
        """Return a line of the table's settings and its place in migration.yaml."""
        return f"`{line}` below `tables: {quoted(self.base.table)}`"

    def column_setting(self, column: str, name: str, value: str) -> str:
        """Return a line of a column's settings, as it can be pasted, and its place."""
        place = f"tables: {quoted(self.base.table)}: columns"
        return f"`{quoted(column)}: {{{name}: {value}}}` below `{place}`"

    @property
    def names_now(self) -> dict[str, str]:
        """Columns that were renamed, from the old name to the new one."""
        return {old: new for new, old in self.pairing.renamed.items()}


def quoted(name: str) -> str:
    """Return a name as YAML reads it."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def listed(names: Sequence[str]) -> str:
    """Return a key for people."""
    return f"({', '.join(names)})" if names else "none (a multiset of rows)"
