"""The connections of a channel: one to each address of the peer, opened when calls come, taken in turn."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mesh.http2.connection import Connection

CONNECT_S_MAX = 5.0
# Between attempts: doubled from the first to the last.
BACKOFF_S, BACKOFF_S_MAX = 0.1, 2.0
# A name is asked for its addresses again so often, while calls come.
RESOLVED_S = 5.0


@dataclass(slots=True)
class _Place:
    """An address, and the connection there if there is one."""

    host: str
    port: int
    connection: Connection | None = None
    is_opening: bool = False
    backoff_s: float = BACKOFF_S
    next_try_s: float = 0.0


@dataclass
class Pool:
    """Finds a connection that takes a call, or None: then the call goes another way, and nothing waits.

    `addresses` are "HOST:PORT[,HOST:PORT…]", where a host may be a name with several addresses; `tls` gives
    the context for a new connection to the server of that name; `health` is what servers are asked for.
    """

    addresses: str
    message_bytes_max: int
    health: str | None
    tls: Callable[[], ssl.SSLContext] | None = None
    server_name: str = ""
    _places: list[_Place] = field(default_factory=list)
    _turn: int = 0
    _resolve_at_s: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _renewals: int = 0
    _closed: bool = False

    def pick(self, size: int) -> Connection | None:
        """A connection for a call whose message has this size."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._resolve_at_s and not self._closed:
            self._resolve_at_s = loop.time() + RESOLVED_S
            self._begin(self._resolve())
        count = len(self._places)
        for step in range(count):
            place = self._places[(self._turn + step) % count]
            if place.connection is None:
                self._open(place, loop.time())
            elif place.connection.takes(size):
                self._turn = (self._turn + step + 1) % count
                return place.connection
        return None

    async def close(self) -> None:
        """Ends all connections; calls that run break."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for place in self._places:
            if place.connection is not None:
                place.connection.close()
        self._places = []

    def renew(self) -> None:
        """Connections end with the calls that run on them; others are opened when calls come."""
        self._renewals += 1
        for place in self._places:
            if place.connection is not None:
                place.connection.leave()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self) -> None:
        found: set[tuple[str, int]] = set()
        for address in self.addresses.split(","):
            host, _, port = address.strip().rpartition(":")
            host = "127.0.0.1" if host == "localhost" else host.strip("[]")
            try:
                answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError:
                # Those that were known before stay.
                return
            found.update((str(where[0]), int(where[1])) for *_, where in answers)
        known = {(place.host, place.port): place for place in self._places}
        for gone in known.keys() - found:
            if (connection := known[gone].connection) is not None:
                connection.leave()
        self._places = [known.get(where) or _Place(*where) for where in sorted(found)]

    def _open(self, place: _Place, now_s: float) -> None:
        if place.is_opening or now_s < place.next_try_s or self._closed:
            return
        place.is_opening = True
        place.next_try_s = now_s + place.backoff_s
        place.backoff_s = min(2 * place.backoff_s, BACKOFF_S_MAX)
        self._begin(self._connect(place))

    async def _connect(self, place: _Place) -> None:
        make = partial(
            Connection,
            f"{place.host}:{place.port}",
            secure=self.tls is not None,
            health=self.health,
            message_bytes_max=self.message_bytes_max,
            on_gone=partial(_lost, place),
        )
        renewals = self._renewals
        try:
            context = self.tls() if self.tls is not None else None
            name = self.server_name if context is not None else None
            async with asyncio.timeout(CONNECT_S_MAX):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    make, place.host, place.port, ssl=context, server_hostname=name
                )
        except (OSError, TimeoutError):
            return
        finally:
            place.is_opening = False
        # Renewed meanwhile, it has the certificates of before; at a place that is gone nobody would end it.
        is_of_before = renewals != self._renewals or not any(place is one for one in self._places)
        if is_of_before or (context is not None and _protocol_of(transport) != "h2"):
            transport.abort()
            return
        place.connection, place.backoff_s = connection, BACKOFF_S


def _lost(place: _Place) -> None:
    place.connection = None


def _protocol_of(transport: asyncio.Transport) -> str | None:
    speaks: ssl.SSLObject = transport.get_extra_info("ssl_object")
    return speaks.selected_alpn_protocol()
