"""From the mapping of a table's head back to one it had earlier: which column was which.

The ledger's statements say what became of every column since. A column that the earlier mapping has
and the later one no longer writes is filled anew; one that only the later mapping knows is dropped:
its values stand in the cut that the table leaves. Everything that stands in the earlier cut is
staged, so no value depends on what is told here, only which columns have to be made anew.
"""

import re
from collections.abc import Iterable, Mapping

from migration_assets.model import ColumnMapping, HeadMove, TableMapping
from migration_assets.target.ddl import table_name
from migration_assets.target.remap import Remapping

_IDENTIFIER = r'"((?:[^"]|"")*)"'
_RENAMED = re.compile(f"RENAME COLUMN {_IDENTIFIER} TO {_IDENTIFIER}", re.DOTALL)
_DROPPED = re.compile(f"DROP COLUMN {_IDENTIFIER}", re.DOTALL)


def backwards(older: TableMapping, head: TableMapping, since: Iterable[HeadMove]) -> Remapping:
    """Return the way from the head's mapping to an older one; `since` are the moves in between."""
    stands = _names_now(older, since)
    written = {column.target: column for column in head.columns}
    was: dict[str, str | None] = {}
    for column in older.columns:
        target = stands.get(column.target)
        found = written.get(target) if target else None
        if found is not None and _can_become(found, column):
            was[column.name] = found.name
        else:
            was[column.name] = None
    _match_by_name(older, head, was)
    left = frozenset(name for name, now in stands.items() if name == now) - written.keys()
    return Remapping(
        older=head,
        newer=older,
        renamed={name: before for name, before in was.items() if name != before},
        changes=(*_columns_said(older, head, was, left), *_rest_said(older, head, was)),
        back=True,
        left=left,
    )


def _names_now(older: TableMapping, since: Iterable[HeadMove]) -> Mapping[str, str]:
    """Return what the older mapping's columns are called on the target by now, if they stand."""
    start = f"ALTER TABLE {table_name(older).as_string(None)} "
    now: dict[str, str] = {column.target: column.target for column in older.columns}
    for statement in (text for move in since for text in move.ddl):
        if not statement.startswith(start):
            continue
        action = statement[len(start) :]
        if renamed := _RENAMED.fullmatch(action):
            before, after = (_bare(str(name)) for name in renamed.groups())
            now = {c: after if name == before else name for c, name in now.items()}
        elif dropped := _DROPPED.fullmatch(action):
            gone = _bare(str(dropped[1]))
            now = {c: name for c, name in now.items() if name != gone}
    return now


def _bare(quoted: str) -> str:
    return quoted.replace('""', '"')


def _can_become(found: ColumnMapping, column: ColumnMapping) -> bool:
    """Tell whether a column can be altered into another: none can become a generated one."""
    return not column.generated or found.generated == column.generated


def _match_by_name(older: TableMapping, head: TableMapping, was: dict[str, str | None]) -> None:
    """Let a column that was dropped since be the one that was made anew under its name."""
    taken = set(was.values())
    for column in older.columns:
        found = next((c for c in head.columns if c.name == column.name), None)
        free = found is not None and found.name not in taken and found.target == column.target
        if was[column.name] is None and found is not None and free and _can_become(found, column):
            was[column.name] = found.name
            taken.add(found.name)


def _columns_said(
    older: TableMapping,
    head: TableMapping,
    was: Mapping[str, str | None],
    left: frozenset[str],
) -> Iterable[str]:
    for column in older.columns:
        before = was[column.name]
        if before is None:
            filled = "is filled anew" if column.target in left.union(head.kept) else "is made anew"
            yield f"column {column.name} {filled}: {column.type.sql}"
            continue
        found = head.column(before)
        if before != column.name:
            yield f"column {before} is called {column.name} again"
        if found.type.sql != column.type.sql:
            yield f"column {column.name} is {column.type.sql} again, not {found.type.sql}"
    for column in head.columns:
        if column.name not in was.values():
            yield (
                f"column {column.name} is no longer written: on the target {column.target} stays"
                if column.target in older.kept
                else f"column {column.name} is dropped on the target; its values stay in the cut"
            )
    for target in head.kept:
        if target not in older.kept and target not in {c.target for c in older.columns}:
            yield f"column {target} of the target stays as it is: no mapping writes it"


def _rest_said(
    older: TableMapping, head: TableMapping, was: Mapping[str, str | None]
) -> Iterable[str]:
    if [was[name] for name in older.key] != list(head.key):
        yield f"the key is ({', '.join(older.key)}) again"
    names = {index.name for index in head.indexes}
    earlier = {index.name for index in older.indexes}
    yield from (f"index {name} is made again" for name in sorted(earlier - names))
    yield from (f"index {name} is dropped" for name in sorted(names - earlier))
    if older.transform != head.transform:
        yield f"rows go through {older.transform or 'no transform'} again"
