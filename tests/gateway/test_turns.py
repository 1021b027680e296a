"""Whose turn it is: clients in turn, half of the time for others, no turn lost."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yarl

from graphql_gateway.execution.documents import Known
from graphql_gateway.execution.engine import Engine
from graphql_gateway.safety import turns
from graphql_gateway.safety.budget import EVENTS_MAX
from graphql_gateway.safety.turns import Door, Gate, Lane, TooManyWaiting
from mesh.ids import uuid7
from tests.gateway.client import WAIT_S, Client
from tests.gateway.test_subscriptions import sale_news
from tests.gateway.world import World, opened, token_of, until


def hold(seconds: float) -> None:
    """Holds the loop, as parsing does."""
    time.sleep(seconds)


async def passed(lane: Lane, client: str, order: list[str], held_s: float = 0.0) -> None:
    await lane.enter(client)
    order.append(client)
    hold(held_s)
    lane.leave()


async def test_clients_take_turns_however_much_one_of_them_wants() -> None:
    lane, order = Lane(), list[str]()
    await lane.enter("first")
    tasks = [asyncio.create_task(passed(lane, "many", order)) for _ in range(50)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(passed(lane, "one", order)))
    await asyncio.sleep(0)
    lane.leave()
    await asyncio.gather(*tasks)
    assert order.index("one") <= 1
    assert len(order) == 51


async def test_after_a_long_piece_the_lane_rests_as_long() -> None:
    lane, order = Lane(), list[str]()
    held_s = 0.02
    began_s = time.monotonic()
    await asyncio.gather(*(passed(lane, "many", order, held_s) for _ in range(5)))
    assert time.monotonic() - began_s >= 5 * held_s + 4 * held_s * 0.9


async def test_a_turn_is_not_lost_when_nobody_takes_it() -> None:
    lane, order = Lane(), list[str]()
    await lane.enter("first")
    gone = [asyncio.create_task(passed(lane, "gone", order)) for _ in range(3)]
    await asyncio.sleep(0)
    gone[0].cancel()
    lane.leave()  # calls the second, which goes in the same moment
    gone[1].cancel()
    await asyncio.wait(gone)
    async with asyncio.timeout(WAIT_S):
        await passed(lane, "last", order)
    assert order == ["gone", "last"]


async def test_a_client_has_so_many_under_way_and_others_theirs() -> None:
    gate = Gate(running_max=2)
    running: dict[str, int] = {"a": 0, "b": 0}
    most = dict(running)

    async def run(client: str) -> None:
        async with gate.passed(client):
            running[client] += 1
            most[client] = max(most[client], running[client])
            await asyncio.sleep(0.001)
            running[client] -= 1

    tasks = [asyncio.create_task(run(client)) for client in "a" * 20 + "b" * 5]
    await asyncio.sleep(0)
    tasks[3].cancel()
    tasks[19].cancel()
    await asyncio.wait(tasks)
    assert most == {"a": 2, "b": 2}
    assert sum(task.cancelled() for task in tasks) == 2
    # Nothing is kept of clients that have left.
    assert not gate._running
    assert not gate._lines


async def test_few_of_an_address_begin_in_one_turn_of_the_loop_and_others_come_in_between() -> None:
    door, order = Door(begun_max=4), list[tuple[int, str]]()
    turn = 0

    async def arrive(address: str) -> None:
        await door.enter(address)
        order.append((turn, address))

    tasks = [asyncio.create_task(arrive("many")) for _ in range(50)]
    tasks += [asyncio.create_task(arrive("one")) for _ in range(2)]
    tasks[20].cancel()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert len(order) == 51
    assert max(sum(at == one for at, _ in order) for one in range(turn + 1)) == 4
    # Each time somebody of the many is called, it is the other's turn next.
    assert max(place for place, (_, who) in enumerate(order) if who == "one") < 10
    # Nobody there: nobody waits.
    async with asyncio.timeout(WAIT_S):
        for _ in range(20):
            await door.enter("one")


async def test_requests_of_those_who_left_are_not_carried_out(tmp_path: Path) -> None:
    body = b'{"query": "{ tip { height } }"}'
    head = b"POST /graphql HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
    request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    async with opened(tmp_path) as world:
        await world.client.ask("{ tip { height } }")
        asked = len(world.log.of("GetTip"))
        url = yarl.URL(world.url)
        writers = [(await asyncio.open_connection(url.host, url.port))[1] for _ in range(60)]
        for writer in writers:
            writer.write(request * 20)
        await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        await world.client.ask("{ tip { height } }")
        assert len(world.log.of("GetTip")) - asked < 200


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        url = yarl.URL(world.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        for number in range(40):
            writer.write(b"GET /graphql?query={a%d:__typename} HTTP/1.1\r\nHost: g\r\n\r\n" % number)
        for number in range(40):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index] # it is there
            assert await reader.readexactly(length) == b'{"data":{"a%d":"Query"}}' % number
        writer.close()


async def test_what_cannot_be_read_does_not_keep_the_lane(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        for document in (
            "{",
            "{ no }",
            "{ a " * 900,
            "fragment F on Query { __typename }",
            "# nothing",
            "{ tip { hash } }",
        ):
            for name in (None, "No"):
                async with asyncio.timeout(WAIT_S):
                    await world.client.post(document, operationName=name)
                async with world.client.socket() as socket:
                    await socket.subscribe(document)
                    await socket.next()


async def test_who_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING_MAX", 3)
    lane = Lane()
    await lane.enter("first")
    waiting = [asyncio.create_task(lane.enter("many")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting):
        await lane.enter("many")
    other = asyncio.create_task(lane.enter("other"))
    await asyncio.sleep(0)
    assert not other.done()
    for task in (*waiting, other):
        task.cancel()
    await asyncio.wait((*waiting, other))


async def test_events_of_one_client_do_not_hold_up_those_of_others(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most, is_answered = 0, 0, asyncio.Event()
    execute = Engine.execute

    def is_of_the_many(known: Known) -> bool:
        """Only those rename the field."""
        activity: Any = known.operation.selection_set.selections[0]
        return activity.selection_set.selections[0].alias is not None

    async def watched(engine: Engine, known: Known, **named: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            if is_of_the_many(known):
                await is_answered.wait()
            return await execute(engine, known, **named)
        finally:
            under_way -= 1

    monkeypatch.setattr(Engine, "execute", watched)
    world.user("ada")
    world.user("bob")
    async with client.socket(token_of("ada")) as many, client.socket(token_of("bob")) as one:
        for number in range(40):
            # Each a group of its own.
            query = f"subscription {{ marketActivity {{ a{number}: cursor }} }}"
            await many.subscribe(query, as_id=str(number))
        await until(lambda: world.live.market.subscribers == 40)
        await one.subscribe("subscription { marketActivity { cursor } }")
        await until(lambda: world.live.market.subscribers == 41)
        world.market.feed.publish(sale_news(uuid7(), 1))
        # While no event of the many is done.
        await one.data()
        is_answered.set()
        for _ in range(40):
            await many.data()
        assert most <= EVENTS_MAX + 1
