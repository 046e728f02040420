"""Rows on a real PostgreSQL, by the way a delta takes: frame, Parquet, binary COPY, staging."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st
from psycopg import sql

from migration_assets.mapping.document import sealed
from migration_assets.mapping.words import UUID_FORMS
from migration_assets.model import (
    Change,
    ColumnMapping,
    Cut,
    Delta,
    Kind,
    Misfit,
    Op,
    Scope,
    TableMapping,
    TargetRow,
    TargetType,
    TargetValue,
)
from migration_assets.source import delta_files
from migration_assets.state import LocalState
from migration_assets.target import ddl, staging
from migration_assets.target.connection import Connection
from migration_assets_tests.fixtures_sqlite import MEMORY

NUMERIC_18_2 = TargetType(kind=Kind.NUMERIC, precision=18, scale=2)
NUMERIC_38_10 = TargetType(kind=Kind.NUMERIC, precision=38, scale=10)
NUMERIC_60_20 = TargetType(kind=Kind.NUMERIC, precision=60, scale=20)
NUMERAL_12_2 = TargetType(kind=Kind.NUMERIC, precision=12, scale=2, form="text")
NUMERAL = TargetType(kind=Kind.NUMERIC, form="text")
FORMS: dict[Kind, tuple[str, ...]] = {
    Kind.TIMESTAMP: (
        *(separator + precision for separator in " T" for precision in "m0123456"),
        *("s", "ms", "us", "julian"),
    ),
    Kind.TIMESTAMPTZ: (
        *("T0Z", "T3Z", " 6+00:00", " 0+02:00", "T1-0330", " m+05", " 0 UTC", "T6-00:00"),
        *(" 2+15:59", " 3 -1130", "s", "ms", "us", "julian"),
    ),
    Kind.TIME: tuple("m0123456"),
    Kind.UUID: UUID_FORMS,
    Kind.BOOLEAN: ("", "true/false", "TRUE/FALSE", "Yes/No", "t/f", "N/Y", "1/0"),
}
TYPES: tuple[TargetType, ...] = (
    *(TargetType(kind=k) for k in Kind if k not in FORMS),
    *(NUMERIC_18_2, NUMERIC_38_10, NUMERIC_60_20, NUMERAL_12_2, NUMERAL),
    *(TargetType(kind=Kind.NUMERIC, precision=p, scale=s) for p, s in ((1, 0), (38, 38), (39, 0))),
    *(TargetType(kind=kind, form=form) for kind, forms in FORMS.items() for form in forms),
)
# Each kind as often as any other, however many forms it has.
any_type = st.sampled_from(Kind).flatmap(
    lambda kind: st.sampled_from([t for t in TYPES if t.kind is kind])
)
NO_CUT = Cut(
    source="main",
    week=date(2026, 10, 4),
    path=Path("none"),
    sha256="0" * 64,
    size=0,
    pages=0,
    page_size=4096,
    fingerprint="",
    taken_at="",
)


def mapping_over(
    types: Sequence[TargetType], *, declared: str = "", key: int = 0, names: Sequence[str] = ()
) -> TableMapping:
    """Return a mapping of one column a type; the first `key` columns are the key."""
    called = names or [f"c{i}" for i in range(len(types))]
    return sealed(
        TableMapping(
            source="main",
            table="t",
            target_schema="pg_temp",
            target_table="t",
            columns=tuple(
                ColumnMapping(name=n, declared=declared, target=n, type=t, not_null=False)
                for n, t in zip(called, types, strict=True)
            ),
            key=tuple(called[:key]),
            key_name="t_pkey",
        )
    )


@contextmanager
def written(mapping: TableMapping, steps: Sequence[Change | Misfit]) -> Iterator[Delta]:
    """Write a delta into a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="migration-assets-test-", dir=MEMORY) as folder:
        yield delta_files.write(
            LocalState(Path(folder)),
            steps,
            mapping,
            week=NO_CUT.week,
            base=None,
            cut=NO_CUT,
            scope=Scope.EVERYTHING,
        )


def load(connection: Connection, mapping: TableMapping, rows: Sequence[TargetRow]) -> None:
    """Make the mapped table in the open transaction, and fill it as a first load does."""
    with written(mapping, [Change(op=Op.INSERT, old_hash=None, values=row) for row in rows]) as d:
        connection.execute(ddl.create_table(mapping))
        staging.stage(connection, mapping, d, delta_files.row_batches(d))
        connection.execute(
            sql.SQL("INSERT INTO {} SELECT {} FROM {} AS s").format(
                ddl.table_name(mapping),
                sql.SQL(", ").join([staging.staged_value(c, "s") for c in mapping.columns]),
                staging.STAGED,
            )
        )


@contextmanager
def loaded(
    connection: Connection, mapping: TableMapping, rows: Sequence[TargetRow]
) -> Iterator[None]:
    """Lend the mapped table with these rows; it is gone afterwards."""
    with connection.transaction(force_rollback=True):
        load(connection, mapping, rows)
        yield


def _numeric(kind: TargetType) -> st.SearchStrategy[Decimal]:
    if kind.precision is None or kind.scale is None:
        exact = st.one_of(st.integers(-(10**40), 10**40).map(Decimal), _short_decimals)
        return exact.map(lambda d: Decimal(format(d, "f")))
    scale = kind.scale
    limit = 10**kind.precision - 1
    # Built from digits: arithmetic on a Decimal would round at 28 of them.
    return st.integers(-limit, limit).map(
        lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale))
    )


_short_decimals = st.floats(allow_nan=False, allow_infinity=False).map(
    lambda f: Decimal(repr(f or 0.0))
)


def _objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(_json_strings, inner), max_size=3)
    return members.map(lambda pairs: "{" + ",".join(f"{k} : {v}" for k, v in pairs) + "}")


_json_strings = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.from_regex(r'"(\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]|[ -!#-Z])*"', fullmatch=True),
)
_json_numbers = st.from_regex(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
json_texts = st.recursive(
    st.one_of(_json_strings, _json_numbers, st.sampled_from(["null", "true", "false", " {}\n"])),
    lambda inner: st.one_of(
        _objects(inner), st.lists(inner, max_size=3).map(lambda v: "[" + " ,\t".join(v) + "]")
    ),
    max_leaves=6,
)
_target_values: dict[Kind, st.SearchStrategy[TargetValue]] = {
    Kind.BIGINT: st.integers(-(2**63), 2**63 - 1),
    Kind.DOUBLE: st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -0.0])),
    Kind.TEXT: st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9
    ),
    Kind.BYTEA: st.binary(max_size=9),
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: st.dates(),
    Kind.TIMESTAMP: st.datetimes(),
    Kind.TIMESTAMPTZ: st.datetimes(timezones=st.just(UTC)),
    Kind.TIME: st.times(),
    Kind.JSON: json_texts,
    Kind.UUID: st.uuids(),
}


def target_values(kind: TargetType) -> st.SearchStrategy[TargetValue]:
    """Return every value of a target type, over its whole range."""
    return _numeric(kind) if kind.kind is Kind.NUMERIC else _target_values[kind.kind]


def target_rows(mapping: TableMapping) -> st.SearchStrategy[TargetRow]:
    """Return rows of a mapping, with NULLs outside its key."""
    return st.tuples(
        *(
            target_values(c.type) if c.name in mapping.key else st.none() | target_values(c.type)
            for c in mapping.columns
        )
    )


def read(connection: Connection, mapping: TableMapping) -> list[TargetRow]:
    """Return the table's rows in the order they were written."""
    rows: list[TargetRow] = connection.execute(  # pyright: ignore[reportAssignmentType]
        sql.SQL("SELECT * FROM {} ORDER BY ctid").format(ddl.table_name(mapping))
    ).fetchall()
    return rows
