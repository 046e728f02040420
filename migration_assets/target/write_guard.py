"""The write guard: triggers on our tables that note, or refuse, what anybody else writes there.

They are of statements, with the rows they wrote counted from transition tables: no value is looked
at. Our own moves say who they are by a setting of their transaction alone. The trigger's function
runs as its owner, so that a role which may write a table needs no right on the ledger; its search
path is pinned. Rows written straight into a partition of a partitioned table go round it, as
PostgreSQL fires a parent's triggers for statements that name the parent; the proof sees them.
"""

from typing import NamedTuple

from psycopg import sql

from migration_assets.model import TableMapping
from migration_assets.target import ddl
from migration_assets.target.connection import Connection

OFF, LOG, REFUSE = "off", "log", "refuse"
MARKER = "migration_assets.move"
FUNCTION = "migration.guard_writes()"
_LOCK = 0x67756172  # 'guar': one makes the function at a time

_BODY = """
DECLARE
    counted bigint := 0;
BEGIN
    IF current_setting('migration_assets.move', true) <> '' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'TRUNCATE' THEN
        SELECT count(*) INTO counted FROM written;
        IF counted = 0 THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_ARGV[0] = 'refuse' THEN
        RAISE EXCEPTION 'migration_assets guards %.%: writes other than its own are refused',
            TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'This table follows its source until the cutover. `write_guard: log`'
                         ' or `off` in migration.yaml lets others write.';
    END IF;
    INSERT INTO migration.foreign_write
        (source, table_name, op, written_rows, role, application, client)
    VALUES (TG_ARGV[1], TG_ARGV[2], TG_OP, counted, session_user,
            current_setting('application_name'), coalesce(host(inet_client_addr()), 'local'));
    RETURN NULL;
END
"""
_MADE = "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure(%s)"
_TRIGGERS = """
SELECT tgname, encode(tgargs, 'hex'), tgenabled <> 'D' FROM pg_trigger
WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgfoid = to_regprocedure(%s)
"""


class _Guarded(NamedTuple):
    """A trigger of ours: its name, and when it fires with which rows."""

    name: str
    fires: str


_WANTED = (
    _Guarded("migration_assets_insert", "AFTER INSERT ON {} REFERENCING NEW TABLE AS written"),
    _Guarded("migration_assets_update", "AFTER UPDATE ON {} REFERENCING NEW TABLE AS written"),
    _Guarded("migration_assets_delete", "AFTER DELETE ON {} REFERENCING OLD TABLE AS written"),
    _Guarded("migration_assets_truncate", "AFTER TRUNCATE ON {}"),
)


def mark(connection: Connection, move: str) -> None:
    """Let the guard know this transaction's writes for ours."""
    connection.execute("SELECT set_config(%s, %s, true)", (MARKER, move))


def settled(connection: Connection, mapping: TableMapping, mode: str) -> bool:
    """Tell whether a table's triggers are as `mode` says; one that somebody disabled is not."""
    coded = b"".join(a.encode() + b"\0" for a in _arguments(mapping, mode)).hex()
    wanted = {} if mode == OFF else {guarded.name: (coded, True) for guarded in _WANTED}
    return _standing(connection, mapping) == wanted


def settle(connection: Connection, mapping: TableMapping, mode: str) -> None:
    """Make, change or remove a table's triggers as `mode` says, where they aren't so already.

    Needs the table's lock and an open transaction.
    """
    if settled(connection, mapping, mode):
        return
    name = ddl.table_name(mapping)
    for trigger in _standing(connection, mapping):
        connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), name))
    if mode == OFF:
        return
    _make_function(connection)
    for guarded in _WANTED:
        connection.execute(
            sql.SQL("CREATE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}({})").format(
                sql.Identifier(guarded.name),
                ddl.raw(guarded.fires).format(name),
                sql.Identifier("migration", "guard_writes"),
                sql.SQL(", ").join([sql.Literal(a) for a in _arguments(mapping, mode)]),
            )
        )


def _arguments(mapping: TableMapping, mode: str) -> tuple[str, ...]:
    return mode, mapping.source, mapping.table


def _standing(connection: Connection, mapping: TableMapping) -> dict[str, tuple[str, bool]]:
    """Return the guard's triggers of a table: their arguments in hex, and whether they are on."""
    name = ddl.table_name(mapping).as_string(None)
    return {
        str(trigger): (str(arguments), bool(enabled))
        for trigger, arguments, enabled in connection.execute(_TRIGGERS, (name, FUNCTION))
    }


def _make_function(connection: Connection) -> None:
    """Make the triggers' function where it is missing or of another release."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    row = connection.execute(_MADE, (FUNCTION,)).fetchone()
    if row is not None and row[0] == _BODY:
        return
    connection.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            " SET search_path = pg_catalog, pg_temp AS {}"
        ).format(ddl.raw(FUNCTION), sql.Literal(_BODY))
    )
    # Or anybody could hang it on a table of theirs, and note what nobody wrote.
    connection.execute(
        sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(ddl.raw(FUNCTION))
    )
