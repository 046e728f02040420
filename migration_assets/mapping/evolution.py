"""How a sealed mapping follows its table: what changed, what of it is safe, the mapping after it.

Pure: from the sealed mapping, the table as it stands in a new cut, the settings and what was looked
up in the cuts (`evidence`). A table that didn't change gives back the sealed mapping itself. A safe
change loses nothing on the target, whatever comes after it; for the others a person has to say what
is meant, and `to_do` tells how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from migration_assets.findings import Finding
from migration_assets.mapping.column_drift import evolve_columns
from migration_assets.mapping.document import sealed
from migration_assets.mapping.drift import Drift, listed, quoted
from migration_assets.mapping.evidence import Evidence, pair
from migration_assets.mapping.names import TableNames, fold, unique_name
from migration_assets.mapping.objects import as_sealed, refused_generated, with_objects, without
from migration_assets.mapping.overrides import CAST_IN_KEY
from migration_assets.mapping.typed import identifier
from migration_assets.mapping.types import KEY_KINDS
from migration_assets.model import (
    ColumnMapping,
    IndexMapping,
    SourceTable,
    TableMapping,
    TableOverride,
)

_NOTHING_KNOWN = Evidence()
_NOTHING_SAID = TableOverride()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """Where a mapping goes: `mapping` is `base` itself where nothing changed.

    `changes` say it for people; `unsafe` are those that wait for a person's word, and then
    `mapping` must not be used. `renamed` leads from a column's new name to its old one.
    """

    base: TableMapping
    mapping: TableMapping
    changes: tuple[str, ...] = ()
    unsafe: tuple[Finding, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def changed(self) -> bool:
        """Whether the next load is a move between mappings."""
        return self.mapping.hash != self.base.hash


def evolve(
    base: TableMapping,
    table: SourceTable,
    *,
    names: TableNames,
    override: TableOverride = _NOTHING_SAID,
    evidence: Evidence = _NOTHING_KNOWN,
) -> Evolution:
    """Return how the sealed mapping `base` follows its table.

    `names` are those that the table's cut gives to its indexes; `evidence` answers what `ask` asks.
    """
    pairing = pair(base, table, override)
    drift = Drift(base=base, table=table, override=override, evidence=evidence, pairing=pairing)
    _check_settings(drift)
    _propose_renames(drift)
    key = _key(drift)
    columns = evolve_columns(drift, key)
    _check_key(drift, key, columns)
    gone = [base.column(name) for name in pairing.gone]
    for column in gone:
        drift.say(
            f"column {column.name} is gone: on the target {column.target} stays with its values,"
            " no longer written"
        )
    kept = (*base.kept, *(c.target for c in gone))
    transform = override.transform or ""
    if transform != base.transform:
        drift.say(f"rows go through {transform}" if transform else "rows go through no transform")
    after = replace(base, columns=columns, key=key, kept=kept, transform=transform)
    after = _with_objects(drift, after, names)
    if after == base:
        after = base
    else:
        _say_what_is_left(drift, after)
        # Notes alone are no reason to move a table.
        left = (f"column {c} of the target: its source is gone, its values stay" for c in kept)
        after = sealed(replace(after, notes=tuple(left)))
    return Evolution(
        base=base,
        mapping=after,
        changes=tuple(drift.changes),
        unsafe=tuple(drift.unsafe),
        renamed=pairing.renamed,
    )


def _say_what_is_left(drift: Drift, after: TableMapping) -> None:
    """Name what no rule has named."""
    if drift.changes or drift.unsafe:
        return
    if [c.name for c in drift.base.columns] != [c.name for c in after.columns]:
        drift.say("the order of the columns")
    elif drift.base.deferred != after.deferred:
        drift.say("what waits for the cutover, or can't be made")
    else:
        drift.say("how the columns are described")


def _check_settings(drift: Drift) -> None:
    """Stop for settings that don't apply to the table as it was loaded."""
    for doubt in drift.pairing.doubtful:
        drift.stop(doubt, "mend this line of migration.yaml")
    told, loaded = drift.override.target, drift.base.target_table
    if told is not None and loaded not in (told, fold(told)):
        drift.stop(
            f"the settings call the target's table {told}; it was loaded as {loaded}",
            f"set {drift.setting(f'target: {quoted(loaded)}')}",
        )


def _propose_renames(drift: Drift) -> None:
    """Stop for new columns that hold what a column that is gone held."""
    for new in drift.pairing.new:
        found = [
            (likeness.alike, gone, likeness)
            for (gone, other), likeness in drift.evidence.likeness.items()
            if other == new and likeness.renamed
        ]
        if not found:
            continue
        _, gone, likeness = max(found, key=lambda f: (f[0], f[1]))
        drift.stop(
            f"column {new} seems to be column {gone} under a new name: {likeness.alike} of"
            f" {likeness.rows} rows have its value",
            f"set {drift.column_setting(new, 'renamed_from', quoted(gone))}, or"
            " `renamed_from: ''` where it is another column",
        )


def _key(drift: Drift) -> tuple[str, ...]:
    """Return the key: the settings' word, else the sealed one where the source still has it."""
    before = tuple(drift.names_now.get(name, name) for name in drift.base.key)
    there = {c.name for c in drift.table.columns}
    left = tuple(name for name in before if name in there)
    told = drift.override.key
    if told is not None:
        unknown = [name for name in told if name not in there]
        if unknown:
            drift.stop(
                f"the settings name a key of columns that aren't there: {', '.join(unknown)}",
                f"mend {drift.setting('key')}",
            )
            return left
        if told != before:
            drift.say(f"the key is {listed(told)} instead of {listed(before)}")
        return told
    declared = _declared_keys(drift.table)
    # A key that is declared no longer goes on while it tells rows apart, which each load looks at.
    if left == before and (not declared or any(set(before) == set(names) for names in declared)):
        return before
    if not before:
        return before
    wanted = declared[0] if declared else ()
    line = f"key: [{', '.join(map(quoted, wanted))}]"
    drift.stop(
        f"the key was {listed(drift.base.key)}; the source's is {listed(wanted)} now",
        f"set {drift.setting(line)}"
        + (f", or `[{', '.join(map(quoted, before))}]` to keep it" if left == before else ""),
    )
    return left


def _declared_keys(table: SourceTable) -> list[tuple[str, ...]]:
    """Return what the source declares to tell rows apart, in the order of choice."""
    required = {c.name for c in table.columns if c.not_null}
    unique = [
        i.columns
        for i in table.indexes
        if i.unique and not i.reason and i.columns and required.issuperset(i.columns)
    ]
    alias = [(table.rowid_alias,)] if table.rowid_alias else []
    return [*alias, *([table.key] if table.key else []), *unique]


def _check_key(drift: Drift, key: tuple[str, ...], columns: Sequence[ColumnMapping]) -> None:
    """Stop for a key in which equal doesn't mean the same bytes, or not those of the source."""
    for column in columns:
        if column.name in key and column.type.kind not in KEY_KINDS:
            drift.stop(
                f"column {column.name} can't be in a key: it is {column.type.sql}, in which equal"
                " doesn't mean the same bytes",
                f"mend {drift.setting('key')}, or the column's `type`",
            )
        if column.name in key and column.cast:
            drift.stop(
                f"column {column.name} can't be in the key: {CAST_IN_KEY}",
                f"remove `cast` of column {column.name}, or mend {drift.setting('key')}",
            )


def _with_objects(drift: Drift, after: TableMapping, names: TableNames) -> TableMapping:
    """Return the mapping with the objects that its table declares now.

    What the server refused before isn't asked for again in the same words.
    """
    bare = tuple(replace(c, default="", generated="", identity=False) for c in after.columns)
    wanted = with_objects(replace(after, columns=bare, indexes=(), deferred=()), drift.table, names)
    wanted = _generated_as_they_stand(drift, as_sealed(wanted, drift.base))
    for column in wanted.columns:
        _say_default(drift, column)
    return replace(wanted, indexes=_indexes(drift, wanted.indexes))


def _generated_as_they_stand(drift: Drift, wanted: TableMapping) -> TableMapping:
    """Let only those columns be generated that are so already: others stand as plain ones.

    A column becomes no generated one later, and none stays one whose type changes, or the type of
    a column in its expression.
    """
    base, renamed = drift.base, drift.pairing.renamed
    before = {c.name: c for c in base.columns}
    standing = {c.name: before.get(renamed.get(c.name, c.name)) for c in wanted.columns}
    moved = [
        identifier(c.target)
        for c in wanted.columns
        if (old := standing[c.name]) and old.type.sql != c.type.sql
    ]

    def stays(column: ColumnMapping) -> bool:
        old = standing[column.name]
        same = old is not None and old.generated == column.generated
        involved = (identifier(column.target), column.generated)
        return same and not any(name in text for name in moved for text in involved)

    problem = "it stands as a plain column of the same values"
    plain = [
        refused_generated(c, drift.table, problem)
        for c in wanted.columns
        if c.generated and not stays(c)
    ]
    return without(wanted, plain) if plain else wanted


def _say_default(drift: Drift, column: ColumnMapping) -> None:
    name = drift.pairing.renamed.get(column.name, column.name)
    old = next((c for c in drift.base.columns if c.name == name), None)
    if old is None:
        return
    if column.default != old.default:
        drift.say(
            f"column {column.name} has another default"
            if column.default
            else f"column {column.name} has no default any more"
        )
    if column.identity != old.identity:
        numbers = "numbers new rows" if column.identity else "no longer numbers new rows"
        drift.say(f"column {column.name} {numbers}")
    if old.generated and not column.generated:
        drift.say(f"column {column.name} stands as a plain column, no longer generated")


def _indexes(drift: Drift, wanted: Sequence[IndexMapping]) -> tuple[IndexMapping, ...]:
    """Return the indexes that the table wants; those that stand already keep their names."""
    now = drift.names_now
    missing = list(wanted)
    standing: list[IndexMapping] = []
    for index in drift.base.indexes:
        known = replace(
            index,
            columns=tuple(now.get(c, c) for c in index.columns),
            nocase=tuple(now.get(c, c) for c in index.nocase),
        )
        twin = next((i for i in missing if replace(i, name=known.name) == known), None)
        if twin is None:
            drift.say(f"index {_described(index)} is gone")
        else:
            missing.remove(twin)
            standing.append(known)
    for index in missing:
        taken = [drift.base.target_table, drift.base.key_name, *(i.name for i in standing)]
        standing.append(replace(index, name=unique_name(index.name, taken)))
        drift.say(f"index {_described(index)} is new")
    return tuple(standing)


def _described(index: IndexMapping) -> str:
    named = [f"{c} NOCASE" if c in index.nocase else c for c in index.columns]
    members = index.definition or f"({', '.join(named)})"
    return f"{'UNIQUE ' if index.unique else ''}{members}"
