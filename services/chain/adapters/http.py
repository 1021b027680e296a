"""An outside HTTP service: asked at our pace, within a time, read within bounds, never believed by itself.

Every failure is a NodeUnavailable with words that hold no key. Reads are repeated after failures of the line;
sending never is.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp
from pydantic import TypeAdapter, ValidationError

from mesh import telemetry
from mesh.breaker import CircuitBreaker
from mesh.clock import Clock
from services.chain.domain.failures import NodeUnavailable

Shape = TypeVar("Shape")

ANSWER_BYTES_MAX = 16 << 20
WAITING_MAX = 1_000
READ_ATTEMPTS = 3
RETRY_PAUSE_S, RETRY_PAUSE_S_MAX = 0.2, 5.0
FAILURES_MAX, REST_S, REST_S_MAX = 5, 2.0, 120.0
RETRY_AFTER_S, RETRY_AFTER_S_MAX = 1.0, 300.0
WINDOW_S = 1.05
"""A second as the other side measures it, whatever the line does to the distance between two requests."""
WORDS_MAX = 200

_duration = telemetry.durations(
    "chain.source.duration", "Time a call to an outside service took.", by=("source",)
)


class Throttled(NodeUnavailable):
    """The service asks for fewer calls."""


class OutOfReach(NodeUnavailable):
    """The service does not answer, or not with what it should."""


class Pace:
    """At most `per_s` calls in any second, first come first served. Raises Throttled when too many wait."""

    def __init__(self, per_s: int, clock: Clock) -> None:
        self._clock = clock
        self._gone: deque[float] = deque(maxlen=per_s)
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def turn(self) -> None:
        """Waits until it is one's turn."""
        if self._waiting >= WAITING_MAX:
            raise Throttled("too many calls wait for their turn")
        self._waiting += 1
        try:
            async with self._turn:
                if len(self._gone) == self._gone.maxlen:
                    await self._clock.sleep(max(0.0, self._gone[0] + WINDOW_S - self._clock.monotonic_s()))
                self._gone.append(self._clock.monotonic_s())
        finally:
            self._waiting -= 1


@dataclass(frozen=True, slots=True)
class Access:
    """Where a service is and how it may be asked. `headers` may hold a key: they are not shown."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    per_s: int = 3
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: its status, and its body as it stands."""

    status: int
    body: bytes

    def read(self, shape: TypeAdapter[Shape]) -> Shape:
        """The body as the type that it must have. Raises OutOfReach: nothing is guessed."""
        try:
            return shape.validate_json(self.body, strict=True)
        except ValidationError as problem:
            where = ".".join(str(step) for step in problem.errors()[0]["loc"]) or "the whole"
            raise OutOfReach(f"HTTP {self.status} with an answer of another shape, at {where}") from None

    @property
    def words(self) -> str:
        """The beginning of the body, to be shown."""
        return self.body[:WORDS_MAX].decode(errors="replace").strip()


class HttpSource:
    """One service. `get` and `post` read, `send` has an effect."""

    def __init__(self, session: aiohttp.ClientSession, access: Access, clock: Clock) -> None:
        self._session = session
        self._access = access
        self._clock = clock
        self._pace = Pace(access.per_s, clock)
        self.breaker = CircuitBreaker(
            clock=clock,
            refusal=lambda: OutOfReach(f"{access.name} failed several times and is left alone for a while"),
            trips_on=(OutOfReach, Throttled),
            failures_max=FAILURES_MAX,
            rest_s=REST_S,
            rest_s_max=REST_S_MAX,
        )

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        return self._access.name

    async def get(self, path: str, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
        """Reads; 404 is an answer."""
        return await self._read("GET", path, None, bytes_max)

    async def post(self, path: str, body: object) -> Answer:
        """Reads, by a question that has a body; 404 is an answer."""
        return await self._read("POST", path, body, ANSWER_BYTES_MAX)

    async def send(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Has an effect: asked once. Whatever status the service gives is an answer."""
        async with self._answered("POST", path, body, headers or {}) as reply:
            return Answer(reply.status, await _bounded(reply, ANSWER_BYTES_MAX, self.name))

    async def _read(self, method: str, path: str, body: object, bytes_max: int) -> Answer:
        for attempt in range(1, READ_ATTEMPTS):
            try:
                return await self._read_once(method, path, body, bytes_max)
            except (Throttled, OutOfReach):
                pause_s = RETRY_PAUSE_S * 2**attempt * (1 + random.random())  # noqa: S311 - jitter
                pause_s = max(pause_s, self.breaker.rest_left_s)
                if pause_s > RETRY_PAUSE_S_MAX:
                    raise
                await self._clock.sleep(pause_s)
        return await self._read_once(method, path, body, bytes_max)

    async def _read_once(self, method: str, path: str, body: object, bytes_max: int) -> Answer:
        async with self._answered(method, path, body, {}) as reply:
            answer = Answer(reply.status, await _bounded(reply, bytes_max, self.name))
            if reply.status >= 500:
                raise OutOfReach(f"{self.name} answers {reply.status}: {answer.words}")
        if answer.status not in (200, 404):
            raise NodeUnavailable(f"{self.name} answers {answer.status}: {answer.words}")
        return answer

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One call, in its turn and time, through the breaker; what aiohttp raises as what it means to us."""
        async with self.breaker():
            await self._pace.turn()
            began_s = self._clock.monotonic_s()
            named = {"http.request.method": method, "service.peer.name": self.name}
            try:
                async with (
                    telemetry.tracer.outgoing(method, named) as span,
                    asyncio.timeout(self._access.timeout_s),
                    self._session.request(
                        method,
                        f"{self._access.url}{path}",
                        json=body,
                        headers={**self._access.headers, **headers},
                        allow_redirects=False,
                    ) as reply,
                ):
                    span.set_attribute("http.response.status_code", reply.status)
                    self._check(reply)
                    yield reply
            except TimeoutError:
                raise OutOfReach(f"{self.name} gives no answer within {self._access.timeout_s} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as problem:
                # Their words may hold the address and, with it, a key.
                raise OutOfReach(f"{self.name} is out of reach: {type(problem).__name__}") from None
            finally:
                _duration.record(self._clock.monotonic_s() - began_s, {"source": self.name})

    def _check(self, reply: aiohttp.ClientResponse) -> None:
        """That it is the service itself that answers, and that it does answer us."""
        if reply.status == 429:
            self.breaker.rest(self._retry_after_s(reply))
            raise Throttled(f"{self.name} asks for fewer calls")
        if reply.status in (401, 403):
            raise OutOfReach(f"{self.name} does not accept our key")
        if reply.content_type == "text/html" or 300 <= reply.status < 400:
            raise OutOfReach(f"{self.name} answers {reply.status} with a page")

    def _retry_after_s(self, reply: aiohttp.ClientResponse) -> float:
        """Seconds or a date, within reason."""
        said = reply.headers.get("Retry-After", "").strip()
        try:
            wait_s = float(said)
        except ValueError:
            try:
                wait_s = parsedate_to_datetime(said).timestamp() - self._clock.now_ns() / 1e9
            except ValueError:
                return RETRY_AFTER_S
        return min(max(wait_s, RETRY_AFTER_S), RETRY_AFTER_S_MAX) if math.isfinite(wait_s) else RETRY_AFTER_S


async def _bounded(reply: aiohttp.ClientResponse, bytes_max: int, name: str) -> bytes:
    body = bytearray()
    async for piece in reply.content.iter_any():
        body += piece
        if len(body) > bytes_max:
            raise TooLong(f"{name} answers with more than {bytes_max} bytes")
    return bytes(body)


class TooLong(NodeUnavailable):
    """The answer is longer than is read."""
