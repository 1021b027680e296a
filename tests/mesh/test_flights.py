"""Identical reads of one user at one time are one call; nobody hears what another was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import caller, deadlines, telemetry
from mesh.caller import Caller
from mesh.errors import Unavailable
from mesh.flights import SingleFlight


class Source:
    """Answers who asked for what, and how often it was asked before; waits while it is held."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.held: list[asyncio.Event] = []
        self.holds = False
        self.fails: Exception | None = None

    async def call(self, request: EchoRequest, *, timeout: float | None = None) -> EchoResponse:
        self.calls.append((caller.user_token(), request.text))
        answer = EchoResponse(text=f"{caller.user_token()} {request.text} {len(self.calls)}")
        if self.holds:
            self.held.append(asyncio.Event())
            await self.held[-1].wait()
        else:
            await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        return answer


def asked(read: SingleFlight, text: str = "x", user: str = "") -> asyncio.Task[EchoResponse]:
    with caller.acting_as(Caller("gateway", user or None), user):
        asking: Coroutine[Any, Any, EchoResponse] = read(EchoRequest(text=text))
        return asyncio.ensure_future(asking)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_together_shares_a_call() -> None:
    source = Source()
    read = SingleFlight(source.call)
    answers = await asyncio.gather(*(asked(read, user="ada") for _ in range(5)))
    assert {answer.text for answer in answers} == {"ada x 1"}
    assert (await asked(read, user="ada")).text == "ada x 2"
    assert not read._flights


async def test_users_requests_and_nobody_are_kept_apart() -> None:
    source = Source()
    read = SingleFlight(source.call)
    wanted = [(user, text) for user in ("", "ada", "bob") for text in ("x", "y")] * 3
    answers = await asyncio.gather(*(asked(read, text, user) for user, text in wanted))
    assert [answer.text.rpartition(" ")[0] for answer in answers] == [
        f"{user} {text}" for user, text in wanted
    ]
    assert sorted(source.calls) == sorted(set(wanted))


async def test_who_comes_after_a_call_was_sent_shares_the_next_one() -> None:
    source = Source()
    source.holds = True
    read = SingleFlight(source.call, slow_s=60)
    first = asked(read)
    await settled()
    late = [asked(read) for _ in range(4)]
    await settled()
    assert len(source.calls) == 1
    source.held[0].set()
    await settled()
    latest = asked(read)
    await settled()
    source.held[1].set()
    assert [(await one).text for one in (first, *late)] == [" x 1"] + 4 * [" x 2"]
    await settled()
    source.held[2].set()
    assert (await latest).text == " x 3"
    assert not read._flights


async def test_a_slow_call_holds_nobody_up() -> None:
    source = Source()
    source.holds = True
    read = SingleFlight(source.call, slow_s=0.01)
    slow = asked(read)
    await settled()
    source.holds = False
    assert (await asyncio.wait_for(asked(read), 30)).text == " x 2"
    assert not slow.done()
    source.held[0].set()
    assert (await slow).text == " x 1"
    assert not read._flights


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    source = Source()
    source.holds = True
    read = SingleFlight(source.call, slow_s=60)
    first, second = asked(read), asked(read)
    await settled()
    first.cancel()
    source.held[0].set()
    assert (await second).text == " x 1"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_last_one_who_leaves_ends_the_call() -> None:
    source = Source()
    source.holds = True
    read = SingleFlight(source.call, slow_s=60)
    together = [asked(read), asked(read)]
    await settled()
    late = [asked(read), asked(read)]
    await settled()
    flight = next(iter(read._flights.values())).task
    assert flight is not None
    for one in together:
        assert not flight.done()
        one.cancel()
        await settled()
    assert flight.cancelled()
    # Those who came later have a call of their own, at once.
    assert len(source.calls) == 2
    late[0].cancel()
    await settled()
    source.held[1].set()
    assert (await late[1]).text == " x 2"
    assert not read._flights


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_nobody_joins_a_call_that_was_given_up(turns: int) -> None:
    """Whenever they leave: before it begins, while it waits behind another, while it runs."""
    source = Source()
    source.holds = True
    read = SingleFlight(source.call)
    first = asked(read)
    await settled()
    gone = asked(read)
    for _ in range(turns):
        await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    stays = asked(read)
    await settled()
    for held in source.held:
        held.set()
    assert (await asyncio.wait_for(stays, 30)).text.startswith(" x ")
    await settled()
    assert not read._flights
    assert not read._tasks


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_after() -> None:
    source = Source()
    source.fails = Unavailable("away")
    read = SingleFlight(source.call)
    told = list(await asyncio.gather(asked(read), asked(read), return_exceptions=True))
    assert told == [source.fails, source.fails]
    source.fails = None
    assert (await asked(read)).text == " x 2"


async def test_calls_with_less_time_than_their_contract_gives_are_not_shared() -> None:
    source = Source()
    read = SingleFlight(source.call, timeout_s=2)
    with deadlines.within(60):
        await asyncio.gather(asked(read), asked(read))
    assert len(source.calls) == 1
    source.calls.clear()
    with deadlines.within(1):
        await asyncio.gather(asked(read), asked(read))
    await asyncio.gather(read(EchoRequest(text="x"), timeout=1), read(EchoRequest(text="x"), timeout=1))
    assert len(source.calls) == 4


async def test_the_end_of_the_process_ends_those_who_wait() -> None:
    source = Source()
    source.holds = True
    read = SingleFlight(source.call, slow_s=60)
    waiting = asked(read)
    await settled()
    for task in read._tasks:
        task.cancel()
    with pytest.raises(Unavailable):
        await waiting


async def test_no_answer_is_older_than_its_question() -> None:
    """Whatever comes at whatever time: what is told is of a call that was sent after the question."""
    chance, version = random.Random(11), 0

    async def call(_request: EchoRequest, *, timeout: float | None = None) -> EchoResponse:
        sent = version
        await asyncio.sleep(chance.random() / 200)
        return EchoResponse(text=str(sent))

    read = SingleFlight(call, slow_s=0.003)

    async def ask() -> None:
        nonlocal version
        for _ in range(40):
            await asyncio.sleep(chance.random() / 300)
            version += 1
            asked_at = version
            assert int((await read(EchoRequest(text="x"))).text) >= asked_at

    await asyncio.gather(*(ask() for _ in range(8)))
    assert not read._flights


async def test_traces_of_those_who_share_point_to_the_one_that_has_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    read = SingleFlight(Source().call)

    async def ask() -> int:
        with telemetry.tracer.start_as_current_span("asks") as span:
            await read(EchoRequest(text="x"))
            return span.get_span_context().span_id

    first, second = await asyncio.gather(ask(), ask())
    links = {span.context.span_id: span.links for span in spans.get_finished_spans()}
    assert not links[first]
    assert [link.context.span_id for link in links[second]] == [first]
