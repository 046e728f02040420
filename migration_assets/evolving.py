"""How a table's sealed mapping follows its cut, with what settings and cuts say of it."""

from collections.abc import Callable
from dataclasses import replace

from migration_assets.errors import DriftError
from migration_assets.mapping.evidence import ask, pair
from migration_assets.mapping.evolution import Evolution, evolve
from migration_assets.mapping.names import fold
from migration_assets.mapping.overrides import check_columns
from migration_assets.mapping.transform import of_inputs
from migration_assets.model import Cut, SourceTable, TableMapping, TableOverride
from migration_assets.settings import Settings
from migration_assets.source.casts import check_casts
from migration_assets.source.evidence import gather
from migration_assets.source.reader import names_in, with_transform


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
    check_columns(override, table, gone=_known_once(base, table, override))
    check_casts(table, override)
    before = _first_stage(base, table)
    questions = ask(before, table, override, policies=policies)
    evidence = gather(
        questions,
        before,
        table,
        cut=cut,
        older=older() if questions.pairs else None,
        renamed=pair(before, table, override).renamed,
        override=override,
    )
    names = names_in(cut, settings.targets)[table.name]
    evolution = evolve(before, table, names=names, override=override, evidence=evidence)
    if not (base.transform or evolution.mapping.transform):
        return evolution
    after = with_transform(cut, table, evolution.mapping) if evolution.changed else base
    return replace(evolution, base=base, mapping=after)


def _known_once(base: TableMapping, table: SourceTable, override: TableOverride) -> set[str]:
    """Return the columns that the settings may still name, though the source has them no more.

    What was said of a column that was dropped or renamed must not stop the table the week after.
    Of one that only changed its case it would be forgotten in silence, so there it does.
    """
    there = {fold(c.name) for c in table.columns}
    earlier = {c.renamed_from for c in override.columns.values() if c.renamed_from}
    dropped = {name for name in override.columns if fold(name) in base.kept}
    known = {c.name for c in base.columns if fold(c.name) not in there}
    return known | earlier | dropped


def _first_stage(base: TableMapping, table: SourceTable) -> TableMapping:
    """Return a mapping as it was before its transform: that is what follows the table.

    What the transform makes of columns that are NOT NULL may be NULL, so that is no drift.
    """
    if not base.transform:
        return base
    required = {c.name for c in table.columns if c.not_null}
    inputs = of_inputs(base)
    columns = (replace(c, not_null=c.not_null or c.name in required) for c in inputs.columns)
    return replace(inputs, columns=tuple(columns), transform=base.transform)


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
