"""AITubo over HTTP: orders films, asks how they are, fetches them. Public clients are all that documents it.

Job ids are secrets (whoever knows one may read the job), and so is the key: neither is logged, put into a
message, or sent where it need not be. Only status 2 (done) and 3 (failed) are believed; all else is pending.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import orjson
import stamina
from pydantic import BaseModel, ValidationError

from mesh import telemetry
from mesh.breaker import CircuitBreaker
from mesh.clock import Clock
from services.content.adapters.incoming import received
from services.content.adapters.media import PictureLinks
from services.content.app.ports import Received, RenderDone, RenderFailed, RenderPending
from services.content.app.rendering import (
    FilmUnusable,
    KeyRefused,
    NotSent,
    OrderRefused,
    RendererAway,
    RendererBusy,
)
from services.content.domain.failures import FileTooLarge
from services.content.domain.memes import Meme

DONE, FAILED = 2, 3
ANSWER_BYTES_MAX = 64 * 1024
JOB_CHARS_MAX = 128
RETRY_AFTER_S_DEFAULT, RETRY_AFTER_S_MAX = 10.0, 300.0
POLL_ATTEMPTS_MAX = 3
FAILURES_MAX, REST_S = 5, 15.0
WHY_CHARS_MAX = 200
MP4_BRAND = b"ftyp"


@dataclass(frozen=True, slots=True)
class AituboAccess:
    """Where AITubo is, and how it is asked. `template` is sent with every order as it stands."""

    url: str
    key: str = field(repr=False)
    template: dict[str, object] = field(default_factory=dict)
    call_s_max: float = 20.0
    download_s_max: float = 90.0
    film_bytes_max: int = 100_000_000


class _Result(BaseModel):
    domain: str = ""
    video: str = ""


class _Outer(BaseModel):
    data: _Result | None = None
    message: str = ""
    info: str = ""


class _Data(BaseModel):
    id: str = ""
    status: int = 0
    result: _Outer | None = None


class _Answer(BaseModel):
    code: int
    message: str = ""
    info: str = ""
    data: _Data | None = None


class Aitubo:
    """The port `Renderer`."""

    def __init__(
        self, *, http: aiohttp.ClientSession, access: AituboAccess, links: PictureLinks, clock: Clock
    ) -> None:
        self._http = http
        self._access = access
        self._links = links
        self._clock = clock
        self._breaker = CircuitBreaker(
            clock=clock,
            refusal=lambda: NotSent("AITubo failed several times in a row and is left alone for a while"),
            trips_on=(RendererAway, NotSent),
            failures_max=FAILURES_MAX,
            rest_s=REST_S,
        )

    async def order(self, meme: Meme) -> str:
        """Orders a film; the job's secret name. Never repeated here: each order may be a paid job."""
        order = {**self._access.template, "image": self._links.link(meme.version.picture)}
        answer = await self._ask("POST", "/api/job/create-video", json=order)
        job = answer.data.id if answer.data else ""
        if not 0 < len(job) <= JOB_CHARS_MAX:
            raise RendererAway("AITubo took an order without naming its job")
        return job

    async def look(self, job: str) -> RenderPending | RenderFailed | RenderDone:
        """How the job is."""
        async for attempt in stamina.retry_context(
            on=RendererAway, attempts=POLL_ATTEMPTS_MAX, timeout=None, wait_initial=0.2, wait_max=2.0
        ):
            with attempt:
                answer = await self._ask("GET", "/api/job/get-video", params={"id": job})
        data = answer.data or _Data()
        outer = data.result or _Outer()
        if data.status == FAILED:
            return RenderFailed((outer.message or outer.info or "no reason given")[:WHY_CHARS_MAX])
        if data.status != DONE:
            return RenderPending()
        if outer.data is None or not outer.data.video:
            raise RendererAway("AITubo says done, but names no film")
        return RenderDone(_joined(outer.data.domain, outer.data.video))

    async def download(self, url: str, path: Path) -> Received:
        """Fetches the film, over https or from AITubo's own address. The key is not sent."""
        if not url.startswith(("https://", f"{self._access.url.rstrip('/')}/")):
            raise FilmUnusable("the film's address is not one to fetch from")
        async with (
            self._call(self._access.download_s_max),
            telemetry.tracer.outgoing(
                "GET film", {"http.request.method": "GET", "service.peer.name": "aitubo"}
            ),
            self._http.get(url) as response,
        ):
            if response.status != 200:
                self._refuse(response, b"")
            try:
                film = await received(
                    response.content.iter_chunked(1 << 18), path, self._access.film_bytes_max
                )
            except FileTooLarge as problem:
                raise FilmUnusable(f"the film has more than {self._access.film_bytes_max} bytes") from problem
            announced = response.content_length
            if announced is not None and announced != film.size_bytes:
                raise RendererAway("the film came in part only")
        if await asyncio.to_thread(_brand, path) != MP4_BRAND:
            raise FilmUnusable("what came is no MP4 file")
        return film

    async def _ask(self, method: str, path: str, **what: object) -> _Answer:
        headers = {"Authorization": f"Bearer {self._access.key}"}
        url = _joined(self._access.url, path)
        named = {"http.request.method": method, "url.template": path, "service.peer.name": "aitubo"}
        async with (
            self._call(self._access.call_s_max),
            telemetry.tracer.outgoing(f"{method} {path}", named) as span,
            self._http.request(
                method,
                url,
                headers=headers,
                allow_redirects=False,
                **what,  # type: ignore[arg-type] # json or params
            ) as response,
        ):
            span.set_attribute("http.response.status_code", response.status)
            body = await _bounded(response)
            if response.status != 200:
                self._refuse(response, body)
            answer = _read(body)
            if answer.code != 0:
                raise OrderRefused((answer.message or answer.info or f"code {answer.code}")[:WHY_CHARS_MAX])
            return answer

    @asynccontextmanager
    async def _call(self, s_max: float) -> AsyncIterator[None]:
        """One call: through the circuit breaker, in time, and what aiohttp raises as what it means to us."""
        async with self._breaker():
            try:
                async with asyncio.timeout(s_max):
                    yield
            except aiohttp.ClientConnectorError as problem:
                raise NotSent("AITubo cannot be connected to") from problem
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
                # The text of these may hold the URL, and with it the job's id.
                raise RendererAway(f"AITubo did not answer: {type(problem).__name__}") from None

    def _refuse(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        status = response.status
        if status == 401:
            raise KeyRefused
        if status in (403, 429):
            raise RendererBusy(f"AITubo answers {status}", retry_after_s=self._retry_after_s(response))
        if 400 <= status < 500 and status != 408:
            raise OrderRefused(f"AITubo answers {status}")
        raise RendererAway(f"AITubo answers {status} with {len(body)} bytes")

    def _retry_after_s(self, response: aiohttp.ClientResponse) -> float:
        """Seconds or a date, within reason."""
        said = response.headers.get("Retry-After", "").strip()
        if not said:
            return RETRY_AFTER_S_DEFAULT
        try:
            wait_s = float(said)
        except ValueError:
            try:
                wait_s = parsedate_to_datetime(said).timestamp() - self._clock.now_ns() / 1e9
            except ValueError:
                return RETRY_AFTER_S_DEFAULT
        return min(max(wait_s, 1.0), RETRY_AFTER_S_MAX) if math.isfinite(wait_s) else RETRY_AFTER_S_DEFAULT


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 14):
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise RendererAway("AITubo's answer does not end")
    return bytes(body)


def _read(body: bytes) -> _Answer:
    try:
        return _Answer.model_validate(orjson.loads(body))
    except (orjson.JSONDecodeError, ValidationError):
        raise RendererAway("AITubo's answer is not understood") from None


def _joined(domain: str, path: str) -> str:
    """AITubo gives addresses in two parts, the slash between on either side, both, or none."""
    return f"{domain.rstrip('/')}/{path.lstrip('/')}"


def _brand(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)[4:]
