"""Notice an answer that will never come: each end waits for the other, and nothing is lost to TCP.

Keepalives tell of a peer that is gone. They can't tell of one that acknowledges what it never
passes on, as a stalled proxy or a tunnel does: client and server would wait for each other until
the server's timeouts end its side, and ours never. So after a while of silence the server is asked
over another connection what the session is doing. A statement that takes hours is left alone.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen

R = TypeVar("R")

_AGAIN = 5.0  # seconds between two looks at a session that seems to wait for us: both must agree
_CONNECT = 10  # seconds for the other connection, at most
_APPLICATION = "migration-assets watch"
_DOES = """
SELECT state, wait_event, extract(epoch FROM state_change)::text FROM pg_catalog.pg_stat_activity
WHERE pid = %s AND extract(epoch FROM backend_start)::text = %s
"""
_END = """
SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE pid = %s AND extract(epoch FROM backend_start)::text = %s
"""


class SilentError(psycopg.OperationalError):
    """The server has no answer under way for us; the connection is closed."""


class WatchedConnection(psycopg.Connection[tuple[object, ...]]):
    """A connection whose long silences are looked into."""

    watch: "Watch | None" = None

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Wait for an answer; raise `SilentError` where there will be none."""
        if self.watch is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(self.watch.over(gen), interval, timeout)
        except SilentError:
            self.close()  # so that an unknown outcome of COMMIT is known to be unknown
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """Why a session seems to be lost, the same from one look to the next, and since when."""

    reason: str
    mark: str = ""
    since: float = field(compare=False, default_factory=monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Looks after one session: process `pid` of the server, begun at `started`.

    `silence` seconds without a byte are the reason to ask; `patience` seconds in which nobody can
    be asked are the reason to give up.
    """

    url: str = field(repr=False)
    pid: int
    started: str
    silence: float
    patience: float

    def over(self, gen: PQGen[R]) -> PQGen[R]:
        """Pass a generator of psycopg's through, and ask when nothing comes for too long."""
        asked, doubt = monotonic(), None
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    asked, doubt = monotonic(), None
                elif monotonic() - asked >= (min(_AGAIN, self.silence) if doubt else self.silence):
                    doubt = self._look(doubt)
                    asked = monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    def _look(self, before: _Doubt | None) -> _Doubt | None:
        """Ask what the session does; raise where it waits for us still, or can't be asked."""
        try:
            with psycopg.connect(
                self.url,
                autocommit=True,
                connect_timeout=max(2, min(_CONNECT, int(self.patience))),  # 2: libpq's least
                application_name=_APPLICATION,
            ) as other:
                doubt = self._doubt(other)
                if doubt is None or doubt != before:
                    return doubt
                with suppress(psycopg.Error):  # else its locks stay until its own timeouts end it
                    other.execute(_END, (self.pid, self.started))
        except psycopg.Error as error:
            if "FATAL" in str(error):  # said by the server, too many connections first of all
                return None
            doubt = _Doubt(reason="the target can't be reached by another connection either")
            if before is None or before != doubt:
                return doubt
            if monotonic() - before.since < self.patience:
                return before
        raise SilentError(doubt.reason)

    def _doubt(self, other: psycopg.Connection[tuple[object, ...]]) -> _Doubt | None:
        row = other.execute(_DOES, (self.pid, self.started)).fetchone()
        if row is None:
            return _Doubt(reason="the server no longer has this session")
        state, waits_for, mark = (str(value) for value in row)
        if state.startswith("idle") or waits_for in ("ClientRead", "ClientWrite"):
            reason = "the server waited for this session while it waited for the server"
            return _Doubt(reason=reason, mark=mark)
        return None
