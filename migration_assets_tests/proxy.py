"""A TCP proxy before PostgreSQL that cuts, stalls, swallows, or leads somewhere else.

It passes bytes on and understands one thing of the protocol (unencrypted): the message that asks
for COMMIT. `server` may be changed at any time, as a writer's DNS name is at a failover.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum

from psycopg import conninfo

from migration_assets.migration import Migration

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # Query, 11 bytes: protocol-message-formats.html
_SET_UP = b"SET search_path"  # how each of our sessions begins
_PATIENCE = 10.0  # seconds for a thread to end
Address = tuple[str, int]


class Fault(Enum):
    """What happens to the next COMMIT, once."""

    CUT_REQUEST = "cut before COMMIT reaches the server"
    CUT_ANSWER = "cut after the server committed, before its answer returns"
    LOSE_REQUEST = "COMMIT is swallowed, the connection stays open"
    LOSE_ANSWER = "the answer to COMMIT is swallowed, the connection stays open"


@dataclass(eq=False, slots=True)
class _Link:
    """One client's connection and its continuation to the server."""

    client: socket.socket
    server: socket.socket
    fault: Fault | None = None
    flowing: threading.Event = field(default_factory=threading.Event)
    sent: int = 0  # bytes from the client
    set_up: bool = False
    requests: int = 0  # since the session was set up

    def hang_up(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Stands between clients and a server; what it did is counted in `injected`."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self.injected: Counter[str] = Counter()
        self.open_for_business = True
        self.cut_after: int | None = None  # bytes that one client may send, then it is cut off
        self.cut_at: int | None = None  # the request, of a session that is set up, to be cut off at
        self.meanwhile: Callable[[], None] = _nothing  # what else happens at a fault of a COMMIT
        self._commit: Fault | None = None
        self._stalled = False
        self._answering = threading.Event()
        self._answering.set()
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def at_commit(self, fault: Fault) -> None:
        """Do this to the next COMMIT."""
        self._commit = fault

    def cut(self) -> None:
        """Cut every connection."""
        self.injected["cut"] += 1
        for link in self._links:
            link.hang_up()

    def stall(self, *, new: bool) -> None:
        """Pass nothing on, either way, of connections that are there, and of `new` ones."""
        self.injected["stalled"] += 1
        self._stalled = new
        for link in self._links:
            link.flowing.clear()

    def flow(self) -> None:
        """Pass on what waits, and all that follows."""
        self._stalled = False
        for link in self._links:
            link.flowing.set()

    def stay_asleep(self) -> None:
        """Take new connections and don't answer them, as a server that is woken up does."""
        self.injected["asleep"] += 1
        self._answering.clear()

    def wake_up(self) -> None:
        """Answer those who wait."""
        self._answering.set()

    def close(self) -> None:
        """Stop listening, hang up, and wait for the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self._answering.set()
        for link in self._links:
            link.hang_up()
        for thread in self._threads:
            thread.join(_PATIENCE)
            assert not thread.is_alive(), thread.name
        for link in self._links:
            link.client.close()
            link.server.close()

    def _run(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # pyright: ignore[reportArgumentType] - any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.open_for_business:
                    self._run(self._serve, client)
                else:
                    client.close()

    def _serve(self, client: socket.socket) -> None:
        self._answering.wait()
        try:
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            return
        link = _Link(client, server)
        self._links.append(link)
        if not self._stalled:
            link.flowing.set()
        self._run(self._to_client, link)
        self._to_server(link)

    def _to_server(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.client.recv(65536):
                link.flowing.wait()
                self._consider(link, data)
                if link.fault is Fault.CUT_REQUEST:
                    self.meanwhile()
                    break
                if link.fault is not Fault.LOSE_REQUEST:
                    link.server.sendall(data)
                if link.fault is Fault.CUT_ANSWER:
                    return  # the other direction waits for the answer, and keeps it
        link.hang_up()

    def _consider(self, link: _Link, data: bytes) -> None:
        link.sent += len(data)
        if data.startswith(b"X"):
            return  # Terminate: a session that ends asks for nothing
        link.requests += 1
        if data.startswith(_SET_UP, 5):
            link.set_up, link.requests = True, 0
        if data.endswith(_COMMIT) and self._commit is not None:
            link.fault, self._commit = self._commit, None
            self.injected[link.fault.value] += 1
        elif self.cut_after is not None and link.sent > self.cut_after:
            link.fault, self.cut_after = Fault.CUT_REQUEST, None
            self.injected["cut in the middle of what was sent"] += 1
        elif self.cut_at is not None and link.set_up and link.requests == self.cut_at:
            link.fault, self.cut_at = Fault.CUT_REQUEST, None
            self.injected["cut before a request"] += 1

    def _to_client(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.server.recv(65536):
                link.flowing.wait()
                if link.fault is Fault.CUT_ANSWER:
                    self.meanwhile()
                    break
                if link.fault is not Fault.LOSE_ANSWER:
                    link.client.sendall(data)
        link.hang_up()


def _nothing() -> None:
    """Let nothing else happen."""


def address_of(migration: Migration) -> Address:
    """Return where a migration's target listens."""
    parts = conninfo.conninfo_to_dict(migration.target.url)
    return str(parts["host"]), int(str(parts["port"]))


@contextmanager
def through_proxy(migration: Migration) -> Iterator[tuple[Migration, Proxy]]:
    """Lend the same migration with a proxy before its target."""
    proxy = Proxy(address_of(migration))
    url = conninfo.make_conninfo(migration.target.url, port=proxy.port)
    try:
        yield replace(migration, target=replace(migration.target, url=url)), proxy
    finally:
        proxy.close()
