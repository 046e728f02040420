"""The ledger's layout: what schema `migration` holds, and how an older one is brought forward.

It is made, and brought forward, in place, by whoever writes to it first.
"""

from typing import cast

from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.target.connection import Connection
from migration_assets.target.ledger import exists

VERSION = 4
_BOOTSTRAP_LOCK = 0x6D696772  # 'migr': one bootstrap at a time

_DDL = """
CREATE TABLE IF NOT EXISTS migration.version (version int NOT NULL);
CREATE TABLE IF NOT EXISTS migration.mapping (
    hash text PRIMARY KEY,
    source text NOT NULL,
    table_name text NOT NULL,
    document text NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS migration.ledger (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    table_name text NOT NULL,
    kind text NOT NULL,
    week date NOT NULL,
    base_week date,
    base_cut text,
    cut text NOT NULL,
    mapping text NOT NULL REFERENCES migration.mapping,
    inserted bigint NOT NULL,
    updated bigint NOT NULL,
    deleted bigint NOT NULL,
    source_rows bigint NOT NULL,
    target_rows bigint NOT NULL,
    quarantined bigint NOT NULL,
    displaced bigint NOT NULL,
    algorithm text NOT NULL,
    bucket_counts bigint[] NOT NULL,
    bucket_sums numeric[] NOT NULL,
    move text NOT NULL UNIQUE,
    run text NOT NULL,
    acknowledged text[] NOT NULL,
    started_at timestamptz NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS ledger_table_idx
    ON migration.ledger (source, table_name, entry DESC);
CREATE TABLE IF NOT EXISTS migration.attempt (
    attempt bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    table_name text NOT NULL,
    week date NOT NULL,
    run text NOT NULL,
    error text NOT NULL,
    message text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS attempt_table_idx
    ON migration.attempt (source, table_name, week);
CREATE TABLE IF NOT EXISTS migration.quarantine (
    source text NOT NULL,
    table_name text NOT NULL,
    week date NOT NULL,
    key text NOT NULL,
    column_names text[] NOT NULL,
    unfit_columns text[] NOT NULL,
    reasons text[] NOT NULL,
    storage_classes text[] NOT NULL,
    "values" bytea[] NOT NULL,
    raw_digest bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS quarantine_row_idx
    ON migration.quarantine (source, table_name, raw_digest);
CREATE TABLE IF NOT EXISTS migration.displaced (
    move text NOT NULL,
    source text NOT NULL,
    table_name text NOT NULL,
    week date NOT NULL,
    target_row text NOT NULL
);
"""
_DDL_2 = """
CREATE TABLE IF NOT EXISTS migration.hold (
    source text NOT NULL,
    table_name text NOT NULL,
    reason text NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_by text NOT NULL,
    PRIMARY KEY (source, table_name)
);
"""
_DDL_3 = """
ALTER TABLE migration.ledger ADD COLUMN IF NOT EXISTS changes text[] NOT NULL DEFAULT '{}';
ALTER TABLE migration.ledger ADD COLUMN IF NOT EXISTS ddl text[] NOT NULL DEFAULT '{}';
"""
_DDL_4 = """
ALTER TABLE migration.ledger ADD COLUMN IF NOT EXISTS restores bigint;
ALTER TABLE migration.displaced ADD COLUMN IF NOT EXISTS column_names text[];
CREATE TABLE IF NOT EXISTS migration.exception (
    exception bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    table_name text NOT NULL,
    key text NOT NULL,
    key_hash bigint NOT NULL,
    source_hash bigint,
    target_hash bigint,
    columns text[] NOT NULL,
    mapping text NOT NULL REFERENCES migration.mapping,
    origin text NOT NULL,
    reason text NOT NULL,
    accepted_by text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lapsed_at timestamptz
);
CREATE INDEX IF NOT EXISTS exception_table_idx
    ON migration.exception (source, table_name) WHERE lapsed_at IS NULL;
CREATE TABLE IF NOT EXISTS migration.foreign_write (
    foreign_write bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    table_name text NOT NULL,
    op text NOT NULL,
    written_rows bigint NOT NULL,
    role text NOT NULL,
    application text NOT NULL,
    client text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS foreign_write_table_idx
    ON migration.foreign_write (source, table_name, written_at);
"""
# What each version added. A ledger of an older version is brought forward in place.
_LAYOUTS = {1: _DDL, 2: _DDL_2, 3: _DDL_3, 4: _DDL_4}


def bootstrap(connection: Connection, schema: str) -> None:
    """Make schema `migration` and the target schema where they are missing.

    A ledger of an older version is brought to this one, in place. Raises `TargetError` where a
    newer one stands.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_BOOTSTRAP_LOCK,))
        if exists(connection):
            _upgrade(connection, _version(connection))
            _make_schemas(connection, schema)
            return
        _make_schemas(connection, "migration", schema)
        _lay_out(connection, after=0)
        connection.execute("INSERT INTO migration.version VALUES (%s)", (VERSION,))


def _lay_out(connection: Connection, *, after: int) -> None:
    """Make what the versions after that one added."""
    for version, layout in _LAYOUTS.items():
        for statement in layout.split(";\n") if version > after else ():
            if statement.strip():
                connection.execute(statement.encode())


def _make_schemas(connection: Connection, *names: str) -> None:
    for name in names:
        if not _schema_exists(connection, name):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))


def _schema_exists(connection: Connection, schema: str) -> bool:
    row = connection.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (schema,))
    return bool((row.fetchone() or (False,))[0])


def _version(connection: Connection) -> int:
    row = connection.execute("SELECT version FROM migration.version").fetchone()
    if row is None or row[0] not in _LAYOUTS:
        raise TargetError(
            what=f"the ledger has version {row[0] if row else 'none'}",
            where="schema migration",
            expected=f"version {VERSION} or older",
            hint="use the release of migration-assets that wrote it",
        )
    return cast("int", row[0])


def _upgrade(connection: Connection, version: int) -> None:
    if version < VERSION:
        _lay_out(connection, after=version)
        connection.execute("UPDATE migration.version SET version = %s", (VERSION,))
