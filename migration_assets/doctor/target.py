"""The target: reachable, encrypted, the writer, with the rights that loads need."""

import time
from collections.abc import Callable
from dataclasses import replace

from psycopg import conninfo

from migration_assets.errors import MigrationError, TargetUnavailableError
from migration_assets.report.checkup import Check, ok, problem, warning
from migration_assets.target import layout, ledger
from migration_assets.target.connection import (
    Connection,
    Target,
    connect,
    require_writer,
    translated,
)

PATIENCE = 5.0  # seconds: a doctor does not wait for what may come up later
_HERE = ("localhost", "127.0.0.1", "::1", "")
_SKEW = 5.0  # seconds between two clocks that nobody would call wrong


def look(target: Target | None) -> list[Check]:
    """Check the target; None is an embedded one that doesn't run. Raises where it isn't reached."""
    if target is None:
        return [ok("target", "embedded PostgreSQL: each command starts it, and stops it after")]
    name = target.name  # raises where the URL is none
    with connect(replace(target, patience=min(PATIENCE, target.patience))) as connection:
        version = connection.info.parameter_status("server_version")
        checks = [ok("target", f"{name}: PostgreSQL {version}, UTF-8")]
        tries: tuple[tuple[str, Callable[[], Check]], ...] = (
            ("target TLS", lambda: _encryption(connection, target.url)),
            ("target writer", lambda: _writer(connection)),
            ("target pooler", lambda: _pooler(connection)),
            ("target rights", lambda: _rights(connection, target.schema)),
            ("target clock", lambda: _clock(connection)),
            ("ledger", lambda: _ledger(connection)),
        )
        checks += [_tried(tried, check) for tried, check in tries]
    return checks


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        with translated(name):
            return check()
    except MigrationError as error:
        return problem(name, error.what, error.hint or "see the server's log")


def _encryption(connection: Connection, url: str) -> Check:
    """Look at what libpq was really told, by URL, environment or service file."""
    named = conninfo.conninfo_to_dict(url)  # all hosts of a list; libpq only tells which it took
    told = {o.keyword.decode(): (o.val or b"").decode() for o in connection.pgconn.info}
    mode = told.get("sslmode") or "prefer"
    hosts = [str(part.get(name) or "") for part in (named, told) for name in ("host", "hostaddr")]
    if all(map(_is_here, hosts)):
        return ok("target TLS", "not needed: the server is on this machine")
    to_do = "add sslmode=verify-full and sslrootcert to the target's URL"
    if not connection.pgconn.ssl_in_use:
        return warning("target TLS", "the connection is not encrypted", to_do)
    if mode != "verify-full":
        trusts = "any host with a certificate of its CA" if mode == "verify-ca" else "any server"
        return warning("target TLS", f"encrypted, but sslmode={mode} trusts {trusts}", to_do)
    return ok("target TLS", f"encrypted, sslmode={mode}")


def _is_here(hosts: str) -> bool:
    return all(host in _HERE or host.startswith(("/", "@")) for host in hosts.split(","))


def _writer(connection: Connection) -> Check:
    try:
        require_writer(connection, "")
    except TargetUnavailableError as error:
        return problem("target writer", error.what, error.hint)
    return ok("target writer", "takes writes")


def _pooler(connection: Connection) -> Check:
    """Compare the process that answers with the one that the connection was promised."""
    (answering,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    if answering == connection.info.backend_pid:
        return ok("target pooler", "none seen: one session, one server process")
    to_do = "connect to the database itself: loads need sessions, locks and temporary tables"
    return problem("target pooler", "a pooler answers in the server's place", to_do)


_RIGHTS = """
SELECT current_user::text,
       has_database_privilege(current_database(), 'CREATE'),
       (SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE')
        FROM pg_namespace WHERE nspname = %s),
       (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'migration'),
       (SELECT bool_and(has_table_privilege(c.oid, 'SELECT')
                        AND has_table_privilege(c.oid, 'INSERT'))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'migration' AND c.relkind = 'r')
"""


def _rights(connection: Connection, schema: str) -> Check:
    """Check what the first load has to make, or the next one to write to."""
    row = connection.execute(_RIGHTS, (schema,)).fetchone() or ("", False, None, None, None)
    role, makes_schemas, in_schema, in_ledger, writes_ledger = row
    missing: list[str] = []
    if not makes_schemas and (in_schema is None or in_ledger is None):
        missing.append("CREATE on the database")
    if in_schema is False:
        missing.append(f"CREATE and USAGE on schema {schema}")
    if in_ledger is False:
        missing.append("USAGE on schema migration")
    elif writes_ledger is False:
        missing.append("SELECT and INSERT on the tables of schema migration")
    if missing:
        return problem(
            "target rights",
            f"{role} lacks {', '.join(missing)}",
            f"as the owner: GRANT … TO {role}",
        )
    return ok("target rights", f"{role} may do what loads do")


def _clock(connection: Connection) -> Check:
    before = time.time()
    (theirs,) = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp())::float8"
    ).fetchone() or (before,)
    skew = float(str(theirs)) - (before + time.time()) / 2
    if abs(skew) <= _SKEW:
        return ok("target clock", "agrees with this machine's")
    what = f"{skew:+.0f} s off this machine's"
    return warning("target clock", what, "let both follow a time server: weeks end by this one's")


def _ledger(connection: Connection) -> Check:
    if not ledger.exists(connection):
        return ok("ledger", "not there yet, the first run makes it")
    row = connection.execute("SELECT max(version) FROM migration.version").fetchone()
    version = int(str(row[0])) if row and row[0] is not None else 0
    if version > layout.VERSION:
        to_do = "use the release of migration-assets that wrote it"
        return problem("ledger", f"version {version}, newer than {layout.VERSION}", to_do)
    if version < layout.VERSION:
        what = f"version {version}, older than {layout.VERSION}"
        return warning(
            "ledger", what, "nothing, if the CHANGELOG says that a run brings it forward"
        )
    return ok("ledger", f"version {version}")
