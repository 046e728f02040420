"""Which of PostgreSQL's errors may go away by themselves, decided by SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html. No message of the server is passed
on as it is: it may quote a row's values. The primary message of a constraint or permission error
names objects only, the detail holds the values and is dropped. What a function on the target was
doing when the error came (it has a context then) may be made of a row, whatever its SQLSTATE: a
trigger chooses both.
"""

import re

import psycopg

from migration_assets.errors import MigrationError, TargetError, TargetUnavailableError
from migration_assets.target.watch import SilentError

_TRANSIENT_CLASSES = ("08",)  # connection exceptions
_TRANSIENT = frozenset(
    {
        "57P01",  # terminated by an administrator: a restart or failover
        "57P02",  # crash shutdown
        "57P03",  # cannot connect now: starting up
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53300",  # too many connections
        "55P03",  # lock not available
        "25006",  # read-only transaction: a writer that was demoted
    }
)
_HINTS = {
    "42501": "grant the loader's role what it needs: CREATE on the database and on the schema",
    "42P01": "a table of the target is gone: `migration-assets repair` makes one of ours anew",
    "42P07": "a relation of that name exists and was not made by us: rename or drop it",
    "23505": "a unique index of the target refuses the rows: see which, and whether it is ours;"
    " `migration-assets verify` names rows that someone else wrote",
    "23514": "a CHECK of the target refuses the rows: drop or mend it, then run this week again",
    "23503": "a foreign key of the target refuses the rows: drop it until the cutover",
    "23502": "a NOT NULL of the target refuses the rows: drop it, then run this week again",
    "54000": "a row of PostgreSQL ends at 8 kB (long values lie elsewhere), a value in an index at"
    " 2.7 kB: drop such an index; split so wide a table at the source, or `exclude` it",
    "53100": "the target's disk is full: free space, then run this week again",
    "55P03": "another session holds a lock on the table: end it, or run again later",
    "25006": "the target is read-only: connect to the writer",
    "25P03": "the session waited in its transaction for longer than it may: see what kept this"
    " machine busy, then run this week again",
    "53400": "a limit of the server's is reached, such as temp_file_limit: raise it for the"
    " loader's role, then run this week again",
    "57014": "where it was a time limit, raise `statement_timeout` (seconds) in migration.yaml;"
    " where somebody cancelled it, run this week again",
    "57P05": "the session was idle for longer than it may: run this week again",
}
# The outermost line of a context, as PL/pgSQL writes it: pl_exec.c, plpgsql_exec_error_callback
_CALLED = re.compile(r'PL/pgSQL function ([^"\']+\([^"\']*\)) line \d+ at [A-Za-z ]+')
# Classes whose primary message names objects and limits but never quotes a value.
_SAFE_CLASSES = ("08", "0A", "23", "28", "3D", "40", "42", "53", "54", "55", "57")


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether running again may help; a lost connection has no SQLSTATE at all."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state in _TRANSIENT or state.startswith(_TRANSIENT_CLASSES)


def translate(error: psycopg.Error, where: str) -> MigrationError:
    """Turn a server's error into ours, without row values."""
    state = error.sqlstate
    if state is None and not is_transient(error):
        what = f"psycopg refused to send this ({type(error).__name__})"
        return TargetError(what=what, where=where, hint="report it: it is an error of ours")
    if state is None:
        what = "the connection to the target was lost"
        if isinstance(error, SilentError):
            what += f": {error}"
        return TargetUnavailableError(what=what, where=where, hint="run this week again")
    primary = error.diag.message_primary or ""
    code = f"{state} {_name(state)}"
    what = code
    if error.diag.context:
        what += _function_in(error.diag.context)
    elif state.startswith(_SAFE_CLASSES):
        what = f"{primary} ({code})"
    kind = TargetUnavailableError if is_transient(error) else TargetError
    return kind(what=what, where=where, hint=_HINTS.get(state, ""))


def _function_in(context: str) -> str:
    """Name the function that was called first; all else of a context may quote a row."""
    called = _CALLED.fullmatch(context.splitlines()[-1])
    return f", in function {called[1]} of the target" if called else ""


def _name(state: str) -> str:
    """Name a SQLSTATE; a function or trigger of the target may raise one of its own."""
    try:
        return psycopg.errors.lookup(state).__name__
    except KeyError:
        return "error of the target's own"
