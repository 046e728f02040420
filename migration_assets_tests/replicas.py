"""A primary and its streaming standby: the standby takes over, as Aurora's failover lets a reader.

Made of the embedded PostgreSQL's own programs. The standby that took over is the next primary, so
one cluster serves many failovers.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg import conninfo

from migration_assets.target import embedded
from migration_assets.target.embedded import EmbeddedServer
from migration_assets.target.embedded_process import HOST, halt, launch
from migration_assets.target.embedded_programs import Programs, find_programs, system_account
from migration_assets_tests.debian_postgres import give
from migration_assets_tests.proxy import Address
from migration_assets_tests.system.waiting import until

_STANDBY = "standby"
# Commits wait for the standby where one is asked for; nothing has to outlive the machine.
_SETTINGS = {**embedded.SETTINGS, "fsync": "off", "full_page_writes": "off"}
_numbers = count(1)


class Cluster:
    """Two servers, of which one takes writes."""

    def __init__(self, folder: Path) -> None:
        first = embedded.start(folder, options=_SETTINGS)
        self.programs: Programs = find_programs(first.data.parent.parent, system_account())
        self.primary = first
        self.standby: EmbeddedServer | None = None
        self._all = [first]

    def stop(self) -> None:
        """Stop every server that runs."""
        for server in self._all:
            halt(self.programs, server.data)

    @property
    def writer(self) -> Address:
        """Where the writer listens."""
        return HOST, self.primary.port

    def follow(self, *, synchronous: bool) -> None:
        """Give the primary a new standby, a copy of it that streams from then on."""
        place = self.primary.data.parent / f"{_STANDBY}-{next(_numbers)}"
        place.mkdir(mode=0o700)
        give(self.programs.account, place)
        source = conninfo.make_conninfo(self.primary.url("postgres"), application_name=_STANDBY)
        made = self.programs.run(
            *("pg_basebackup", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"),
            *(f"--pgdata={place / 'data'}", f"--dbname={source}"),
        )
        assert made.returncode == 0, made.stderr
        self.standby = self._launch(place / "data", 0)
        names = _STANDBY if synchronous else ""
        say(self.primary, f"ALTER SYSTEM SET synchronous_standby_names TO '{names}'")
        say(self.primary, "SELECT pg_reload_conf()")
        wanted = [("streaming", "sync" if synchronous else "async")]
        query = "SELECT state, sync_state FROM pg_stat_replication"
        until(lambda: ask(self.primary, query) == wanted, what="the standby streams")

    def fall_behind(self) -> None:
        """Let the standby hear nothing any more: it stays where it is."""
        assert self.standby is not None
        say(self.standby, "ALTER SYSTEM SET primary_conninfo TO ''")
        say(self.standby, "SELECT pg_reload_conf()")
        gone = "SELECT count(*) = 0 FROM pg_stat_wal_receiver"
        until(lambda: ask(self.standby, gone) == [(True,)], what="the standby hears nothing")

    def demote(self, *, restarted: bool) -> None:
        """Take the writer its writes: its sessions go on read-only, or are ended by a restart."""
        if not restarted:
            say(self.primary, "ALTER SYSTEM SET default_transaction_read_only TO on")
            say(self.primary, "SELECT pg_reload_conf()")
            shown = "SELECT current_setting('transaction_read_only')"
            until(lambda: ask(self.primary, shown) == [("on",)], what="the primary is read-only")
            return
        self.kill_primary()
        signal_file = self.primary.data / "standby.signal"
        signal_file.touch()
        give(self.programs.account, signal_file)
        self._launch(self.primary.data, self.primary.port)

    def kill_primary(self) -> None:
        """End the writer as a power failure would."""
        done = self.programs.run(
            "pg_ctl", "stop", "--mode=immediate", "--wait", f"--pgdata={self.primary.data}"
        )
        assert done.returncode == 0, done.stderr

    def promote(self) -> None:
        """Let the standby take writes; the old primary is nobody's any more, but runs on."""
        assert self.standby is not None
        assert ask(self.standby, "SELECT pg_promote(true, 60)") == [(True,)]
        self.primary, self.standby = self.standby, None
        say(self.primary, "ALTER SYSTEM RESET synchronous_standby_names")
        say(self.primary, "SELECT pg_reload_conf()")

    def retire(self) -> None:
        """Stop and forget every server but the writer."""
        for server in [s for s in self._all if s.data != self.primary.data]:
            halt(self.programs, server.data)
            shutil.rmtree(server.data)
            self._all.remove(server)

    def _launch(self, data: Path, port: int) -> EmbeddedServer:
        server = launch(self.programs, data, port, self.primary.password, _SETTINGS)
        assert port in (0, server.port)
        self._all = [s for s in self._all if s.data != data] + [server]
        return server


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Lend a cluster of one server, the writer."""
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.stop()
        embedded.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def ask(server: EmbeddedServer | None, query: str) -> list[tuple[object, ...]]:
    """Return what a query finds on a server."""
    assert server is not None
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def say(server: EmbeddedServer, statement: str) -> None:
    """Have a server do something."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())
