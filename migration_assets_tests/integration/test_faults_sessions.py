"""What a session may wait for, and what each of the server's answers means: again, or a person."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from migration_assets import step
from migration_assets.errors import TargetError, TargetUnavailableError, TargetUnsteadyError
from migration_assets.findings import Outcome
from migration_assets.migration import Migration
from migration_assets.target.connection import connect
from migration_assets.target.sqlstate import is_transient
from migration_assets_tests.fixtures_faults import Tally, patient
from migration_assets_tests.fixtures_migration import (
    MakeMigration,
    carry,
    change,
    entries,
    load_week,
    on_target,
    target_rows,
    week,
    write_on_target,
)

pytestmark = pytest.mark.usefixtures("short_pauses")
ITEMS = """
CREATE TABLE item (id INTEGER PRIMARY KEY, amount INTEGER);
INSERT INTO item VALUES (1, 1), (2, 2), (3, 3);
"""
# As the design has them; by class where all of a class is meant.
TRANSIENT = ("08000", "08003", "08006", "57P01", "57P02", "57P03", "40001", "40P01", "53300")
ALSO_TRANSIENT = ("55P03", "25006")
TERMINAL = ("42501", "23505", "53100", "53200", "53400", "57014", "57P04", "22003", "XX000")
BOUNDS = {
    "statement_timeout": "7min",
    "lock_timeout": "300ms",
    "idle_in_transaction_session_timeout": "15min",
    "idle_session_timeout": "4h",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "60000",
}


@pytest.fixture
def second(make_migration: MakeMigration, tally: Tally) -> Migration:
    """Return a patient migration whose second week is to be carried."""
    migration = patient(make_migration(ITEMS, lock_timeout=0.3), tally)
    load_week(migration, 1)
    change(migration, "UPDATE item SET amount = amount + 10")
    step.take_cut(migration, week(2))
    return migration


def refusing(migration: Migration, state: str, times: int) -> None:
    """Let the target refuse changes of the table so often; a sequence outlives rollbacks."""
    write_on_target(
        migration,
        "CREATE SEQUENCE refused",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('public.refused') <= {times} THEN"
        f" RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END IF; RETURN NULL; END $$",
        "CREATE TRIGGER refusing AFTER INSERT OR UPDATE OR DELETE ON item"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
    )


@pytest.mark.parametrize("state", TRANSIENT + ALSO_TRANSIENT)
def test_a_transient_state_is_repeated_until_it_is_gone(
    second: Migration, tally: Tally, state: str
) -> None:
    """The week goes through by itself; how often it was begun again is said, with the state."""
    refusing(second, state, times=2)
    assert carry(second, 2, "item").outcome is Outcome.LOADED
    assert tally.repetitions == 2
    assert all(state in said for said in tally.said)
    assert [e[0] for e in entries(second, "item")] == [week(1), week(2)]
    tally.fault(2)
    tally.finished(second, weeks=2)


@pytest.mark.parametrize("state", TERMINAL)
def test_a_terminal_state_stops_the_table_at_once(
    second: Migration, tally: Tally, state: str
) -> None:
    """It comes again until somebody acts; the attempt is noted."""
    refusing(second, state, times=1)
    with pytest.raises(TargetError, match=state):
        carry(second, 2, "item")
    assert tally.repetitions == 0
    assert target_rows(second, "SELECT error FROM migration.attempt") == [("TargetError",)]


def test_no_state_is_transient_that_the_design_does_not_name() -> None:
    """Every state that PostgreSQL has, one by one."""
    known = {state for state in psycopg.errors._sqlcodes if len(state) == 5}
    transient = {s for s in known if is_transient(psycopg.errors.lookup(s)())}
    named = {*TRANSIENT, *ALSO_TRANSIENT}
    assert transient == {s for s in known if s in named or s.startswith("08")}


def test_a_deadlock_is_repeated(second: Migration, tally: Tally) -> None:
    """A real one: somebody waits for our rows while we wait for theirs."""
    write_on_target(
        second,
        "CREATE TABLE other (id int)",
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM 1 FROM public.other; RETURN NULL; END $$",
        "CREATE TRIGGER looking AFTER INSERT OR UPDATE ON item"
        " FOR EACH STATEMENT EXECUTE FUNCTION look()",
    )
    patiently = replace(second, target=replace(second.target, lock_timeout=30.0))
    locked, waits = threading.Event(), threading.Event()

    def other() -> None:
        with on_target(second) as connection, connection.transaction():
            connection.execute("SET LOCAL deadlock_timeout TO '1h'")  # the other side finds out
            connection.execute("LOCK TABLE other IN ACCESS EXCLUSIVE MODE")
            locked.set()
            waits.wait()
            connection.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")

    def at(stage: str) -> None:
        if stage == "staged" and not waits.is_set():
            waits.set()

    with ThreadPoolExecutor(1) as pool:
        somebody = pool.submit(other)
        locked.wait()
        assert carry(patiently, 2, "item", at=at).outcome is Outcome.LOADED
        somebody.result()
    assert tally.repetitions == 1
    assert "40P01" in tally.said[0]
    tally.fault()
    tally.finished(second, weeks=2)


def test_a_lock_that_is_let_go_within_the_patience_stops_nothing(
    second: Migration, tally: Tally
) -> None:
    """Longer than `lock_timeout`, shorter than `retry_patience`."""
    with on_target(second) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE item IN ROW EXCLUSIVE MODE")

        def told(text: str) -> None:
            tally.told(text)
            if tally.repetitions == 2:
                other.execute("COMMIT")

        carry(replace(second, told=told), 2, "item")
    assert tally.repetitions == 2
    assert all("55P03" in said for said in tally.said)
    tally.fault()
    tally.finished(second, weeks=2)


def test_a_lock_that_is_kept_is_given_up_and_noted(second: Migration, tally: Tally) -> None:
    """The ledger can be written to: whoever looks there the next morning finds why."""
    with on_target(second) as other, other.transaction():
        other.execute("LOCK TABLE item IN ROW EXCLUSIVE MODE")
        with pytest.raises(TargetUnsteadyError) as raised:
            carry(patient(second, tally, retry_patience=1.0), 2, "item")
    assert "another session holds a lock" in raised.value.hint
    noted = target_rows(second, "SELECT error, message FROM migration.attempt")
    assert noted == [("TargetUnsteadyError", str(raised.value))]
    carry(second, 2, "item")
    tally.fault()
    tally.finished(second, weeks=2)


def test_a_statement_that_takes_too_long_is_ended_and_the_setting_named(
    second: Migration, tally: Tally
) -> None:
    """Doing it again would take as long: a person raises the limit, or mends what is slow."""
    write_on_target(
        second,
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$",
        "CREATE TRIGGER lingering AFTER INSERT OR UPDATE ON item"
        " FOR EACH STATEMENT EXECUTE FUNCTION linger()",
    )
    hasty = replace(second, target=replace(second.target, statement_timeout=0.5))
    with pytest.raises(TargetError) as raised:
        carry(hasty, 2, "item")
    assert "57014" in raised.value.what
    assert "raise `statement_timeout`" in raised.value.hint
    assert tally.repetitions == 0


def test_every_session_bounds_what_it_may_wait_for(second: Migration) -> None:
    """Whatever the database's or the role's own defaults are."""
    (name,) = target_rows(second, "SELECT current_database()")[0]
    write_on_target(second, f"ALTER DATABASE {name} SET statement_timeout TO '1ms'")
    with connect(replace(second.target, statement_timeout=420.0)) as connection:
        rows = connection.execute("SELECT name, current_setting(name) FROM pg_settings").fetchall()
    shown = {str(setting): value for setting, value in rows}
    assert {setting: shown[setting] for setting in BOUNDS} == BOUNDS


def test_a_target_that_asks_for_a_writer_by_its_url_is_waited_for_and_named(
    second: Migration,
) -> None:
    """`target_session_attrs`: a reader is refused at connect, as long as there is no writer."""
    url = f"{second.target.url}?target_session_attrs=read-only"  # here every server is a writer
    away = replace(second, target=replace(second.target, url=url, patience=1.0))
    with pytest.raises(TargetUnavailableError, match="session is not read-only"):
        carry(away, 2, "item")
