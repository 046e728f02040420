"""A mapping that `plan --write` pinned is the one that was proposed, whatever the table."""

import sqlite3
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets import pinning, planning
from migration_assets.mapping import document
from migration_assets.model import SqliteValue, TableMapping
from migration_assets.proposal import propose_for
from migration_assets.settings import Settings, load
from migration_assets_tests.fixtures_sqlite import as_cut, insert, table_of, values

_DECLARED = (
    *("", "INTEGER", "TEXT", "TEXT COLLATE NOCASE", "ANY", "REAL", "NUMERIC", "DECIMAL(10,2)"),
    *("BLOB", "BOOLEAN", "DATE", "DATETIME", "TIMESTAMP WITH TIME ZONE", "TIME", "JSON", "UUID"),
)
_KEYS = ("", ", PRIMARY KEY (a)", ", PRIMARY KEY (b, a)", ", UNIQUE (c)", ", PRIMARY KEY (c DESC)")
_ALIKE: tuple[tuple[SqliteValue, ...], ...] = (
    (0, 1),
    (0, 1, "yes", "no"),
    ("yes", "no"),
    ("t", "f", 0, 0, 0),
    ("2024-02-29T10:00:00Z", "2024-03-01T10:00:00Z"),
    ("2024-02-29 10:00", "2024-03-01 10:00:00"),
    ("10:00:00.5", "11:00:00"),
    (1700000000, 1700000001),
    ("1.50", "2.25", 3, 4.5),
    ('{"a": 1}', "[]"),
    ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", b"x" * 16),
    ("11111111-1111-1111-1111-111111111111",),
)
_column = st.one_of(
    st.sampled_from(_ALIKE).flatmap(lambda alike: st.lists(st.sampled_from(alike), max_size=6)),
    st.lists(values, max_size=6),
)
_names = st.sampled_from(["orders", "no", "1", "a,b", 'x"y', "Ä ö", "null", "#", "- a: b", "a\nb"])


def _proposed(chosen: Settings, name: str) -> TableMapping:
    cut = as_cut(chosen.source)
    mapping, _ = propose_for(chosen, cut, table_of(cut, name), target_schema="public")
    return mapping


@settings(max_examples=50)  # each takes three copies of a source and two files
@given(
    name=_names,
    column=_names,
    declared=st.tuples(*[st.sampled_from(_DECLARED)] * 3),
    key=st.sampled_from(_KEYS),
    columns=st.tuples(_column, _column, _column),
    before=st.sampled_from(["", "tables:\n", "tables: {}\n", "tables:\n  other: {}\n"]),
)
def test_what_was_pinned_is_proposed_again(
    folder: Path,
    *,
    name: str,
    column: str,
    declared: tuple[str, str, str],
    key: str,
    columns: tuple[list[SqliteValue], ...],
    before: str,
) -> None:
    """Type, key, policy and evidence; and there is nothing to add a second time."""
    source, file = folder / "app.sqlite", folder / "migration.yaml"
    source.unlink(missing_ok=True)
    quoted = [f'"{n.replace(chr(34), chr(34) * 2)}"' for n in (name, column)]
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute(
            f"CREATE TABLE {quoted[0]} (a {declared[0]}, b {declared[1]}, c {declared[2]},"
            f" {quoted[1]} TEXT NOT NULL DEFAULT ''{key})"
        )
        connection.execute("CREATE TABLE other (x)")
        longest = max(map(len, columns))
        padded = [c + [None] * (longest - len(c)) for c in columns]
        insert(connection, name, [(*row, "x") for row in zip(*padded, strict=True)])
    file.write_text(f"source: app.sqlite\ntarget: embedded\n{before}", "utf-8")
    plain = load({}, folder)
    proposed = _proposed(plain, name)
    plan = planning.make(plain, None)
    pinning.write(file, plan)
    written = file.read_bytes()
    pinned = load({}, folder)
    assert name in pinned.tables
    assert document.dumps(_proposed(pinned, name)) == document.dumps(proposed)
    assert pinning.write(file, planning.make(pinned, None)).tables == ()
    assert file.read_bytes() == written
    (planned,) = [table for table in plan.tables if table.table == name]
    for planned_column in planned.columns:
        said = pinned.override(name).column(planned_column.name)
        assert (said.type is not None) == planned_column.evident
    assert pinned.override(name).key == proposed.key
