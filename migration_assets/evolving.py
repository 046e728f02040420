"""How a table's sealed mapping follows its cut, with what settings and cuts say of it."""

from collections.abc import Callable

from migration_assets.errors import DriftError
from migration_assets.mapping.evidence import ask, pair
from migration_assets.mapping.evolution import Evolution, evolve
from migration_assets.mapping.overrides import check_columns, check_tables
from migration_assets.model import Cut, SourceTable, TableMapping
from migration_assets.settings import Settings
from migration_assets.source.casts import check_casts
from migration_assets.source.evidence import gather
from migration_assets.source.reader import catalog_in, names_in


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

    Raises `SettingsError` for what the settings say wrongly.

    `older` gives the cut of the table's head, and is only asked where columns may have been
    renamed. Without `policies` no value is looked at on their account.
    """
    override = settings.override(table.name)
    check_tables(settings.overrides, catalog_in(cut))
    check_columns(override, table, gone=[column.name for column in base.columns])
    check_casts(table, override)
    questions = ask(base, table, override, policies=policies)
    evidence = gather(
        questions,
        base,
        table,
        cut=cut,
        older=older() if questions.pairs else None,
        renamed=pair(base, table, override).renamed,
        override=override,
    )
    return evolve(
        base,
        table,
        names=names_in(cut, settings.targets)[table.name],
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
