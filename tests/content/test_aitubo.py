"""The AITubo client against the stand-in that really renders, and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from mesh.breaker import JITTER
from mesh.clock import ManualClock, SystemClock
from mesh.errors import Failure
from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.server import running_aitubo
from sandbox.pictures import Aspect, PictureFormat, meme_bytes
from services.content.adapters.aitubo import FAILURES_MAX, REST_S, Aitubo, AituboAccess
from services.content.adapters.files import open_files
from services.content.adapters.incoming import IncomingFolder
from services.content.adapters.media import PictureDoor, PictureLinks, link_key
from services.content.app.ports import RenderDone, RenderFailed, RenderPending
from services.content.app.rendering import (
    FilmUnusable,
    KeyRefused,
    NotSent,
    OrderRefused,
    RendererAway,
    RendererBusy,
)
from services.content.domain.memes import Meme, new_meme
from services.content.domain.pictures import Picture
from services.content.domain.values import InstantNs, MemeId, Sha256, UserId

KEY = "the-key-of-aitubo"
JOB = "5f3e9d2c1b0a998877665544"


def a_meme(picture: Picture | None = None) -> Meme:
    picture = picture or Picture("image/png", 1920, 1080, 100, Sha256("a" * 64))
    return new_meme(MemeId("m"), name="A meme", creator_id=UserId("u"), picture=picture, at_ns=InstantNs(1))


def links(base_url: str = "http://content", clock: ManualClock | SystemClock | None = None) -> PictureLinks:
    return PictureLinks(base_url=base_url, key=b"k" * 32, valid_s=60, clock=clock or SystemClock())


@dataclass
class Script:
    """A server that answers with what the test says, and remembers what it was asked."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    url: str = ""
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, dict(request.headers), body))
        return await self.answer(request)


@asynccontextmanager
async def scripted(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Script]:
    script = Script(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield script
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(
    url: str, *, clock: ManualClock | None = None, at: PictureLinks | None = None, **access: Any
) -> AsyncIterator[Aitubo]:
    async with aiohttp.ClientSession() as http:
        given = AituboAccess(url=url, key=KEY, **{"call_s_max": 60.0, **access})
        yield Aitubo(http=http, access=given, links=at or links(), clock=clock or ManualClock())


def says(status: int = 200, body: object = None, **headers: str) -> Any:
    async def answer(_: web.Request) -> web.Response:
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


def polled(status: object, **result: object) -> dict[str, object]:
    return {"code": 0, "message": "", "data": {"status": status, "result": result or None}}


async def test_a_film_comes_from_the_stand_in(tmp_path: Path) -> None:
    files = open_files("", tmp_path / "files")
    data = meme_bytes(2, Aspect.WIDE, PictureFormat.PNG)
    settings = AituboSettings(
        key=SecretStr(KEY), port=0, data_dir=tmp_path / "aitubo", film_seconds=0.2, niceness=0
    )
    incoming = IncomingFolder(tmp_path / "incoming")
    async with incoming.room() as room, running_aitubo(settings) as url:
        (room / "picture").write_bytes(data)
        sha256, size_bytes = await incoming.digest(room / "picture")
        await files.put("pictures", sha256, room / "picture")
        picture = Picture("image/png", 1920, 1080, size_bytes, sha256)
        door = links("http://to-be-known", SystemClock())
        async with PictureDoor(links=door, files=files).listening("127.0.0.1", 0) as port:
            at = links(f"http://127.0.0.1:{port}", SystemClock())
            async with client(url, at=at) as aitubo:
                job = await aitubo.order(a_meme(picture))
                async with asyncio.timeout(120):
                    while isinstance(found := await aitubo.look(job), RenderPending):
                        await asyncio.sleep(0.1)
                assert isinstance(found, RenderDone)
                film = await aitubo.download(found.url, room / "film.mp4")
                assert film.size_bytes > 10_000
                assert await incoming.digest(room / "film.mp4") == (film.sha256, film.size_bytes)


async def test_the_order_carries_key_template_and_a_signed_link() -> None:
    async with (
        scripted(says(body={"code": 0, "info": "", "data": {"id": JOB, "credit": 3}})) as server,
        client(server.url + "/", template={"prompt": "move", "seed": 7}) as aitubo,
    ):
        assert await aitubo.order(a_meme()) == JOB
        method, path, headers, body = server.asked[0]
        assert (method, path) == ("POST", "/api/job/create-video")
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert (body["prompt"], body["seed"]) == ("move", 7)
        assert body["image"].startswith("http://content/pictures/aaaa")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (says(401, {"code": 10401}), KeyRefused),
        (says(403, b"<html>403</html>"), RendererBusy),
        (says(429, {"code": 10429}), RendererBusy),
        (says(404, b"gone"), OrderRefused),
        (says(500, {"code": 1}), RendererAway),
        (says(502, b"<html>bad gateway</html>"), RendererAway),
        (says(302, b"", Location="http://elsewhere"), RendererAway),
        (says(200, b"<html>busy</html>"), RendererAway),
        (says(200, b"[1, 2"), RendererAway),
        (says(200, [1, 2]), RendererAway),
        (says(200, {"code": "no"}), RendererAway),
        (says(200, b"x" * 100_000), RendererAway),
        (says(200, {"code": 0, "data": None}), RendererAway),
        (says(200, {"code": 0, "data": {"id": ""}}), RendererAway),
        (says(200, {"code": 10400, "message": "image: bad"}), OrderRefused),
    ],
)
async def test_bad_answers_to_an_order(answer: Any, failure: type[Failure]) -> None:
    async with scripted(answer) as server, client(server.url) as aitubo:
        with pytest.raises(failure) as raised:
            await aitubo.order(a_meme())
        # An order is never sent twice: the second might be paid for as well.
        assert len(server.asked) == 1
        assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("7", 7.0),
        ("", 10.0),
        ("soon", 10.0),
        ("nan", 10.0),
        ("999999", 300.0),
        ("-5", 1.0),
        ("Thu, 01 Jan 2026 00:00:20 GMT", 20.0),
        ("Mon, 99 Jan", 10.0),
    ],
)
async def test_retry_after_is_honoured_within_reason(said: str, wait_s: float) -> None:
    headers = {"Retry-After": said} if said else {}
    async with scripted(says(429, {}, **headers)) as server, client(server.url) as aitubo:
        with pytest.raises(RendererBusy) as raised:
            await aitubo.order(a_meme())
        assert raised.value.retry_after_s == pytest.approx(wait_s, abs=0.01)


async def test_a_server_that_is_slow_or_drops_is_away() -> None:
    async def drop(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(600)
        return web.Response()

    for answer in (drop, slow):
        async with scripted(answer) as server, client(server.url, call_s_max=0.2) as aitubo:
            with pytest.raises(RendererAway):
                await aitubo.order(a_meme())


@pytest.mark.parametrize("status", [0, 1, 4, 5, 99, -1])
async def test_only_two_and_three_are_believed(status: int) -> None:
    async with scripted(says(body=polled(status, message="failed"))) as server, client(server.url) as aitubo:
        assert await aitubo.look(JOB) == RenderPending()


@pytest.mark.parametrize(("domain", "path"), [("https://d", "a.mp4"), ("https://d/", "/a.mp4")])
async def test_done_and_failed(domain: str, path: str) -> None:
    done = polled(2, data={"domain": domain, "video": path, "image": "c.jpg"})
    async with scripted(says(body=done)) as server, client(server.url) as aitubo:
        assert await aitubo.look(JOB) == RenderDone("https://d/a.mp4")
    async with scripted(says(body=polled(3, message="nsfw"))) as server, client(server.url) as aitubo:
        assert await aitubo.look(JOB) == RenderFailed("nsfw")
    async with scripted(says(body=polled(2))) as server, client(server.url) as aitubo:
        with pytest.raises(RendererAway):
            await aitubo.look(JOB)


async def test_polls_are_repeated_and_tell_no_job_id() -> None:
    async with scripted(says(500, b"")) as server, client(server.url) as aitubo:
        with pytest.raises(RendererAway) as raised:
            await aitubo.look(JOB)
        assert len(server.asked) == 3
        assert JOB not in repr(raised.value)
        assert JOB not in str(raised.value.__cause__)


async def test_the_circuit_opens_rests_and_closes() -> None:
    status = [500]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"code": 0, "data": {"id": JOB}}, status=status[0])

    clock = ManualClock()
    async with scripted(answer) as server, client(server.url, clock=clock) as aitubo:
        for _ in range(FAILURES_MAX):
            with pytest.raises(RendererAway):
                await aitubo.order(a_meme())
        with pytest.raises(NotSent):
            await aitubo.order(a_meme())
        assert len(server.asked) == FAILURES_MAX
        await clock.advance(REST_S * (1 + JITTER) + 1)
        with pytest.raises(RendererAway):
            await aitubo.order(a_meme())
        with pytest.raises(NotSent):
            await aitubo.order(a_meme())
        await clock.advance(REST_S * (1 + JITTER) + 1)
        status[0] = 200
        assert await aitubo.order(a_meme()) == JOB
        assert await aitubo.order(a_meme()) == JOB


async def test_nobody_listening_means_not_asked() -> None:
    async with scripted(says()) as server:
        url = server.url
    async with client(url) as aitubo:
        with pytest.raises(NotSent):
            await aitubo.order(a_meme())


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (says(200, b"<html>no film</html>"), FilmUnusable),
        (says(200, b"\0\0\0\x18ftyp" + bytes(2_000)), FilmUnusable),
        (says(404, b""), OrderRefused),
        (says(503, b""), RendererAway),
    ],
)
async def test_bad_downloads(answer: Any, failure: type[Failure], tmp_path: Path) -> None:
    async with scripted(answer) as server, client(server.url, film_bytes_max=1_000) as aitubo:
        with pytest.raises(failure):
            await aitubo.download(f"{server.url}/film.mp4", tmp_path / "film.mp4")
        assert "Authorization" not in server.asked[0][2]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/film.mp4", "file:///etc/passwd", "film.mp4"])
async def test_films_come_over_https_or_from_aitubo_itself(url: str, tmp_path: Path) -> None:
    async with scripted(says()) as server, client(server.url) as aitubo:
        with pytest.raises(FilmUnusable):
            await aitubo.download(url, tmp_path / "film.mp4")


async def test_a_link_opens_one_picture_for_a_while(tmp_path: Path) -> None:
    files, clock = open_files("", tmp_path / "files"), ManualClock()
    (tmp_path / "picture").write_bytes(b"a picture")
    sha256, size_bytes = await IncomingFolder(tmp_path).digest(tmp_path / "picture")
    await files.put("pictures", sha256, tmp_path / "picture")
    picture = Picture("image/gif", 1, 1, size_bytes, sha256)
    door = PictureDoor(links=links(clock=clock), files=files)
    async with door.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        link = links(f"http://127.0.0.1:{port}", clock).link(picture)

        async def status(url: str) -> int:
            async with http.get(url) as response:
                return response.status

        async with http.get(link) as response:
            assert await response.read() == b"a picture"
            assert response.content_type == "image/gif"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await status(link.replace("size=9", "size=8")) == 404
        assert await status(link[:-1] + ("0" if link[-1] != "0" else "1")) == 404
        assert await status(link.replace("signature=", "signature=%C3%A9")) == 404
        assert await status(link.partition("?")[0]) == 404
        assert await status(f"http://127.0.0.1:{port}/pictures/../links.key") == 404
        await clock.advance(61)
        assert await status(link) == 404


def test_the_key_of_links_is_made_once_and_kept_to_ourselves(tmp_path: Path) -> None:
    path = tmp_path / "content" / "links.key"
    key = link_key(path)
    assert len(key) == 32
    assert link_key(path) == key
    assert path.stat().st_mode & 0o077 == 0
    assert [found.name for found in path.parent.iterdir()] == ["links.key"]
