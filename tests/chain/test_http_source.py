"""How outside services are asked: pace, patience, bounds, and what is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from pydantic import TypeAdapter

from mesh.clock import Clock, ManualClock, SystemClock
from services.chain.adapters.http import (
    FAILURES_MAX,
    REST_S,
    Access,
    HttpSource,
    OutOfReach,
    Pace,
    Throttled,
    TooLong,
)
from services.chain.domain.failures import NodeUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "a-very-secret-key"
PATIENCE_S = 60.0


class Server:
    """Answers from a queue, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[web.Response | Handler] = []
        self.asked = 0

    def say(self, *answers: tuple[int, str, dict[str, str]] | Handler) -> None:
        self.answers = [
            one if callable(one) else web.Response(status=one[0], text=one[1], headers=one[2])
            for one in answers
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, web.Response):
            return web.Response(status=found.status, text=found.text, headers=found.headers)
        return await found(request)


@asynccontextmanager
async def source(clock: Clock, *, timeout_s: float = PATIENCE_S) -> AsyncIterator[tuple[Server, HttpSource]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        access = Access("Somebody", url, {"Authorization": SECRET}, 1000, timeout_s)
        yield server, HttpSource(session, access, clock)
    await runner.cleanup()


JSON = {"Content-Type": "application/json"}
PAGE = {"Content-Type": "text/html"}


async def test_calls_keep_their_pace_and_their_order() -> None:
    clock, order = ManualClock(), list[tuple[int, float]]()
    pace = Pace(3, clock)

    async def call(number: int) -> None:
        await pace.turn()
        order.append((number, clock.monotonic_s()))

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(call(number))
        for _ in range(40):
            await clock.advance(0.1)
    assert [number for number, _ in order] == list(range(8))
    times = [at for _, at in order]
    assert all(later - earlier > 1.0 for earlier, later in zip(times, times[3:], strict=False))
    assert times[-1] < 2.5  # and no slower than that


async def test_too_many_that_wait_are_refused() -> None:
    clock = ManualClock()
    pace = Pace(1, clock)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pace.turn()) for _ in range(1001)]
        await clock.advance(0)
        with pytest.raises(Throttled):
            await pace.turn()
        for task in tasks:
            task.cancel()


async def test_reads_are_repeated_and_sending_is_not() -> None:
    async with source(SystemClock()) as (server, asked):
        server.say((500, "no", {}), (200, "<html>", PAGE), (200, '"yes"', JSON))
        assert (await asked.get("/x")).read(TypeAdapter(str)) == "yes"
        assert server.asked == 3
        server.say((500, "258: txn-mempool-conflict", {}))
        answer = await asked.send("/x", {})
        assert (answer.status, answer.words, server.asked) == (500, "258: txn-mempool-conflict", 4)
        server.say((200, "<html>", PAGE))
        with pytest.raises(OutOfReach):
            await asked.send("/x", {})
        assert server.asked == 5


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def endless(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse()
    await reply.prepare(request)
    try:
        while True:
            await reply.write(b"0" * 65536)
    except (ConnectionError, asyncio.CancelledError):
        return reply


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ((401, "who are you", {}), OutOfReach),
        ((302, "", {"Location": "http://127.0.0.1:9/"}), OutOfReach),
        ((400, "bad", {}), NodeUnavailable),
        ((200, "<html></html>", PAGE), OutOfReach),
        (never, OutOfReach),
        (endless, TooLong),
    ],
)
async def test_what_is_no_answer(
    answer: tuple[int, str, dict[str, str]] | Handler, failure: type[Exception]
) -> None:
    async with source(SystemClock(), timeout_s=0.3 if answer is never else PATIENCE_S) as (server, asked):
        server.say(answer)
        with pytest.raises(failure) as problem:
            await asked.get("/x", bytes_max=1 << 20)
        assert SECRET not in str(problem.value)
        assert SECRET not in repr(asked)


@pytest.mark.parametrize("body", ["", "{}", "[1]", "null", "NaN", '{"a": 1', "true", '"x" "y"'])
async def test_another_shape_is_a_failure(body: str) -> None:
    async with source(SystemClock()) as (server, asked):
        server.say((200, body, JSON))
        answer = await asked.get("/x")
        with pytest.raises(OutOfReach):
            answer.read(TypeAdapter(int))


async def test_a_service_that_asks_for_fewer_calls_gets_none_until_then() -> None:
    clock = ManualClock()
    async with source(clock) as (server, asked):
        server.say((429, "", {"Retry-After": "30"}), (200, "1", JSON))
        with pytest.raises(Throttled):
            await asked.get("/x")
        for _ in range(3):
            with pytest.raises(OutOfReach):
                await asked.get("/x")
        assert server.asked == 1
        await clock.advance(30)
        assert (await asked.get("/x")).body == b"1"


@pytest.mark.parametrize("said", ["", "soon", "-1", "inf", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_senseless_retry_after_is_a_short_one(said: str) -> None:
    clock = ManualClock()
    async with source(clock) as (server, asked):
        server.say((429, "", {"Retry-After": said}))
        with pytest.raises(Throttled):
            await asked.send("/x", {})
        assert asked.breaker.rest_left_s == pytest.approx(1.0)


async def test_after_failures_in_a_row_it_is_left_alone_longer_and_longer() -> None:
    clock = ManualClock()
    async with source(clock) as (server, asked):
        server.say((503, "<html>", PAGE))
        for _ in range(FAILURES_MAX):
            with pytest.raises(OutOfReach):
                await asked.send("/x", {})
        rests = []
        for _ in range(3):
            count, rest_s = server.asked, asked.breaker.rest_left_s
            rests.append(rest_s)
            with pytest.raises(OutOfReach, match="left alone"):
                await asked.send("/x", {})
            assert server.asked == count
            await clock.advance(rest_s + 0.01)
            with pytest.raises(OutOfReach):
                await asked.send("/x", {})
            assert server.asked == count + 1
        assert REST_S <= rests[0] <= 1.2 * REST_S
        assert rests[0] < rests[1] < rests[2]
        server.say((200, "1", JSON))
        await clock.advance(asked.breaker.rest_left_s + 0.01)
        assert (await asked.send("/x", {})).status == 200
        assert not asked.breaker.is_open
