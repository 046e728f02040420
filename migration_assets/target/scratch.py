"""A schema of our own beside the target's, where a cutover is rehearsed; gone afterwards.

It is known by its comment. One of that name that isn't ours is never touched.
"""

import hashlib

from psycopg import sql

from migration_assets.errors import TargetError
from migration_assets.target.connection import Connection

_MARK = "rehearsal of migration-assets: may be dropped"
_MAX_BYTES = 63  # https://www.postgresql.org/docs/current/limits.html, identifier length
_ENDING = "_rehearsal"
_FOUND = (
    "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = %s"
)
_MAY_CREATE = "SELECT has_database_privilege(current_database(), 'CREATE'), current_user::text"


def name_of(schema: str) -> str:
    """Return the name of a schema's rehearsal; a long one carries a hash of the whole."""
    name = schema + _ENDING
    if len(name.encode()) <= _MAX_BYTES:
        return name
    tail = "_" + hashlib.sha256(schema.encode()).hexdigest()[:8] + _ENDING
    return schema.encode()[: _MAX_BYTES - len(tail)].decode(errors="ignore") + tail


def obstacle(connection: Connection, schema: str) -> str:
    """Say why the schema can't be made anew; '' where it can."""
    row = connection.execute(_FOUND.encode(), (schema,)).fetchone()
    if row is not None and row[0] != _MARK:
        return f"schema {schema} exists and is not a rehearsal's"
    allowed, role = connection.execute(_MAY_CREATE).fetchone() or (False, "")
    return "" if allowed else f"{role} lacks CREATE on the database"


def make(connection: Connection, schema: str) -> None:
    """Make the schema anew; one that an earlier rehearsal left is dropped with all in it."""
    why = obstacle(connection, schema)
    if why:
        raise TargetError(
            what=why,
            where=f"schema {schema}",
            expected="a schema of the rehearsal's own, made by this role",
            hint="rename or drop that schema"
            if "exists" in why
            else "as the database's owner: GRANT CREATE ON DATABASE … TO the loader's role",
        )
    with connection.transaction():
        drop(connection, schema)
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, sql.Literal(_MARK)))


def drop(connection: Connection, schema: str) -> bool:
    """Drop the schema if it is a rehearsal's; tell whether it was there."""
    row = connection.execute(_FOUND.encode(), (schema,)).fetchone()
    if row is None or row[0] != _MARK:
        return False
    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    return True
