"""How a table's sealed mapping follows its cut, with what settings and cuts say of it."""

from collections.abc import Callable

from migration_assets.errors import DriftError
from migration_assets.mapping.evidence import ask, pair
from migration_assets.mapping.evolution import Evolution, evolve
from migration_assets.model import Cut, SourceTable, TableMapping, TableOverride
from migration_assets.settings import Settings
from migration_assets.source.evidence import gather
from migration_assets.source.reader import names_in


def override_of(settings: Settings, table: str) -> TableOverride:
    """Return what the settings say of a table."""
    told: Callable[[str], TableOverride] | None = getattr(settings, "override", None)
    return told(table) if told is not None else TableOverride()


def follow(
    settings: Settings,
    base: TableMapping,
    table: SourceTable,
    cut: Cut,
    *,
    older: Callable[[], Cut | None],
    policies: bool = True,
) -> Evolution:
    """Return how the mapping `base` follows the table as it stands in a cut.

    `older` gives the cut of the table's head, and is only asked where columns may have been
    renamed. Without `policies` no value is looked at on their account.
    """
    override = override_of(settings, table.name)
    questions = ask(base, table, override, policies=policies)
    evidence = gather(
        questions,
        base,
        table,
        cut=cut,
        older=older() if questions.pairs else None,
        renamed=pair(base, table, override).renamed,
    )
    return evolve(
        base,
        table,
        names=names_in(cut)[table.name],
        override=override,
        evidence=evidence,
    )


def refuse_unsafe(evolution: Evolution, cut: Cut) -> None:
    """Raise `DriftError` for changes that a person has to confirm or mend first."""
    unsafe = evolution.unsafe
    if not unsafe:
        return
    raise DriftError(
        what="; ".join(finding.what for finding in unsafe),
        where=f"table {evolution.base.table}, week {cut.week}",
        expected="changes that lose nothing whatever is meant by them, or your word in"
        " migration.yaml",
        hint="; ".join(dict.fromkeys(finding.to_do for finding in unsafe)),
    )
