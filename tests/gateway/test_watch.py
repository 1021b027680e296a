"""Paid viewings: an open stream is what is paid for, and it always ends in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from satreel.content.v1 import content_pb2
from satreel.ledger.v1 import ledger_pb2

from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway.client import Client, Socket
from tests.gateway.fakes import InsufficientFunds
from tests.gateway.world import FastClock, World, opened, token_of, until

WATCH = """subscription($meme: ID!, $budget: Sats!, $id: ID) {
  watch(memeId: $meme, budget: $budget, id: $id) {
    viewingId seconds burnedSats budgetSats stopReason filmUrl
  }
}"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Its seconds are short: they are what is paid for."""
    async with opened(tmp_path, clock=FastClock()) as world:
        yield world


@pytest.fixture
def meme(world: World) -> content_pb2.Meme:
    return world.meme("cat", world.user("ada"))


async def begin(socket: Socket, meme: content_pb2.Meme, budget: int = 3_600, **more: Any) -> Any:
    """Starts to watch; gives the first event."""
    await socket.subscribe(WATCH, {"meme": meme.id, "budget": budget, **more})
    return (await socket.data())["watch"]


def session(world: World) -> ledger_pb2.Session:
    """The only session."""
    [found] = world.ledger.sessions.values()
    return found


async def test_seconds_are_paid_until_the_budget_is_spent(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    viewer = world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        events = [await begin(socket, meme, budget=5)]
        while events[-1]["stopReason"] is None:
            events.append((await socket.data())["watch"])
        assert await socket.next() == {"id": "1", "type": "complete"}
    assert (events[0]["seconds"], events[0]["burnedSats"], events[0]["budgetSats"]) == (0, 0, 5)
    assert events[0]["filmUrl"].startswith(f"/media/{meme.id}/film?ticket=")
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    assert all(event["burnedSats"] == (n if n >= 3 else 0) for n, event in zip(seconds, events, strict=True))
    assert events[-1]["stopReason"] == "BUDGET_SPENT"
    assert world.log.of("OpenSession")[0].caller.user_id == viewer.id
    # What the ledger ended needs no closing.
    assert not world.log.of("CloseSession")
    assert [report.sequence for report in world.ledger.reports] == sorted(
        {report.sequence for report in world.ledger.reports}
    )


async def test_a_locked_round_ends_the_stream(world: World, client: Client, meme: content_pb2.Meme) -> None:
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        session(world).stop_reason = ledger_pb2.STOP_REASON_ROUND_LOCKED
        while (event := (await socket.data())["watch"])["stopReason"] is None:
            pass
        assert event["stopReason"] == "ROUND_LOCKED"
        assert (await socket.next())["type"] == "complete"


@pytest.mark.parametrize(("leave", "chooses_id"), [("complete", True), ("close", True), ("vanish", False)])
async def test_leaving_closes_the_session_for_its_viewer(
    world: World, client: Client, meme: content_pb2.Meme, leave: str, chooses_id: bool
) -> None:
    """Who breaks off a viewing whose id it did not choose is taken to have left."""
    viewer = world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme, id=uuid7() if chooses_id else None)
        await socket.data()
        if leave == "complete":
            await socket.send(type="complete", id="1")
            await until(lambda: world.log.of("CloseSession"))
        elif leave == "vanish":
            socket.vanish()
    await until(lambda: session(world).stop_reason == ledger_pb2.STOP_REASON_CLOSED)
    [closing] = world.log.of("CloseSession")
    assert closing.caller.user_id == viewer.id
    reports = len(world.ledger.reports)
    await asyncio.sleep(0.25)
    # At most the report that was under way.
    assert len(world.ledger.reports) <= reports + 1


async def test_a_stopping_gateway_closes_what_it_meters(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(client.socket(token_of("vera")))
        await begin(socket, meme)
        reading = asyncio.create_task(socket.until_closed())
        await world.stop()
        assert await reading == 1001
    assert session(world).stop_reason == ledger_pb2.STOP_REASON_CLOSED


async def test_a_stopping_gateway_leaves_open_what_its_clients_can_take_up_elsewhere(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme, id=uuid7())
        reading = asyncio.create_task(socket.until_closed())
        await world.stop()
        assert await reading == 1001
    assert not session(world).stop_reason


async def test_a_viewing_outlives_a_break_of_the_stream_to_the_ledger(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        before = (await socket.data())["watch"]["seconds"]
        world.ledger.meter_broken.set()
        while (event := (await socket.data())["watch"])["seconds"] < before + 3:
            assert event["stopReason"] is None
    assert world.ledger.meter_streams >= 2


async def test_a_viewing_outlives_a_ledger_that_is_away(
    world: World, client: Client, meme: content_pb2.Meme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_gateway.accounts.viewing.RECEIPT_WAIT_S", 0.1)
    monkeypatch.setattr("graphql_gateway.accounts.viewing.LEDGER_AWAY_MAX_S", 1_000.0)
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        world.log.failing["GetSession"] = Unavailable("away")
        world.ledger.mute.clear()
        await until(lambda: world.log.of("GetSession"))
        await socket.data()
        world.ledger.mute.set()
        del world.log.failing["GetSession"]
        while (await socket.data())["watch"]["seconds"] < 5:
            pass


async def test_a_ledger_that_stays_away_ends_the_stream(
    world: World, client: Client, meme: content_pb2.Meme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_gateway.accounts.viewing.RECEIPT_WAIT_S", 0.05)
    monkeypatch.setattr("graphql_gateway.accounts.viewing.LEDGER_AWAY_MAX_S", 3.0)
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        world.log.failing["GetSession"] = Unavailable("away")
        world.ledger.mute.clear()
        while (message := await socket.next())["type"] != "error":
            pass
        assert message["payload"][0]["extensions"]["code"] == "UNAVAILABLE"
        world.ledger.mute.set()


async def test_a_receipt_with_a_reason_is_looked_into(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        found = session(world)
        found.stop_reason = ledger_pb2.STOP_REASON_SILENCE
        world.ledger.receipt_reasons[found.id] = ledger_pb2.ERROR_REASON_SESSION_NOT_FOUND
        while (event := (await socket.data())["watch"])["stopReason"] is None:
            pass
        assert event["stopReason"] == "SILENCE"
    assert world.log.of("GetSession")


async def test_a_revoked_session_ends_the_viewing_and_closes_it(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    viewer = world.user("vera")
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme)
        world.identity.sessions.clear()
        while (message := await socket.next())["type"] != "error":
            pass
        assert message["payload"][0]["extensions"]["code"] == "SESSION_INVALID"
    await until(lambda: session(world).stop_reason == ledger_pb2.STOP_REASON_CLOSED)
    assert world.log.of("CloseSession")[0].caller.user_id == viewer.id


async def test_a_refused_viewing_is_told_and_not_closed(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    world.log.failing["OpenSession"] = InsufficientFunds(available=1, needed=5)
    async with client.socket(token_of("vera")) as socket:
        await socket.subscribe(WATCH, {"meme": meme.id, "budget": 5})
        assert await socket.code() == "INSUFFICIENT_FUNDS"
        await socket.subscribe(WATCH, {"meme": meme.id, "budget": 5_000})
        assert await socket.code() == "INVALID_ARGUMENT"
    async with client.socket() as nobodys:
        await nobodys.subscribe(WATCH, {"meme": meme.id, "budget": 5})
        assert await nobodys.code() == "USER_TOKEN_MISSING"
    assert not world.log.of("CloseSession")
    assert not world.ledger.sessions


async def test_a_viewing_that_may_have_been_opened_is_closed(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    held = world.log.holding["OpenSession"] = asyncio.Event()
    async with client.socket(token_of("vera")) as socket:
        await socket.subscribe(WATCH, {"meme": meme.id, "budget": 5})
        await until(lambda: world.log.of("OpenSession"))
    await until(lambda: world.log.of("CloseSession"))
    held.set()


async def test_the_stream_that_asked_last_has_the_viewing(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    """A client whose connection is dead, which the gateway does not know yet, need not wait."""
    world.user("vera")
    viewing = uuid7()
    async with client.socket(token_of("vera")) as first, client.socket(token_of("vera")) as second:
        assert (await begin(first, meme, id=viewing))["viewingId"] == viewing
        assert (await begin(second, meme, id=viewing))["viewingId"] == viewing
        while (message := await first.next())["type"] == "next" and "errors" not in message["payload"]:
            pass
        assert "ALREADY_WATCHING" in str(message)
        while (event := (await second.data())["watch"])["seconds"] < 5:
            assert event["stopReason"] is None
        assert not world.log.of("CloseSession")
        # One line in a report, whoever had it before.
        assert max(len(report.meter_keys) for report in world.ledger.reports) == 1


async def test_a_viewing_of_another_user_is_not_taken_over(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    world.user("mallory")
    viewing = uuid7()
    async with client.socket(token_of("vera")) as first, client.socket(token_of("mallory")) as other:
        await begin(first, meme, id=viewing)
        await other.subscribe(WATCH, {"meme": meme.id, "budget": 3_600, "id": viewing})
        assert await other.code() == "ID_REUSED"
        assert (await first.data())["watch"]["stopReason"] is None
    await until(lambda: world.log.of("CloseSession"))


async def test_a_viewing_whose_connection_breaks_is_taken_up_and_pays_nothing_for_the_gap(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    viewing = uuid7()
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme, id=viewing)
        while (await socket.data())["watch"]["seconds"] < 4:
            pass
        socket.vanish()
    meter = world.live.meter
    await until(lambda: not meter.find(viewing) and not meter._left)
    # The last report has come.
    await until(lambda: world.ledger.reports[-1].sequence == meter._sequence)
    left, reports = session(world).seconds, len(world.ledger.reports)
    world.passes(1_000)
    # Ten seconds pass in one.
    await asyncio.sleep(0.35)
    assert len(world.ledger.reports) == reports
    assert session(world).seconds == left
    async with client.socket(token_of("vera")) as socket:
        assert (await begin(socket, meme, id=viewing))["seconds"] == left
        assert (await socket.data())["watch"]["seconds"] <= left + 500
        assert not world.log.of("CloseSession")
    # This time it is closed as clients should.
    await until(lambda: session(world).stop_reason == ledger_pb2.STOP_REASON_CLOSED)


async def test_a_viewing_whose_stream_fails_can_be_taken_up(
    world: World, client: Client, meme: content_pb2.Meme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_gateway.accounts.viewing.RECEIPT_WAIT_S", 0.05)
    monkeypatch.setattr("graphql_gateway.accounts.viewing.LEDGER_AWAY_MAX_S", 0.5)
    world.user("vera")
    viewing = uuid7()
    async with client.socket(token_of("vera")) as socket:
        await begin(socket, meme, id=viewing)
        world.log.failing["GetSession"] = Unavailable("away")
        world.ledger.mute.clear()
        while (message := await socket.next())["type"] == "next" and "errors" not in message["payload"]:
            pass
        world.ledger.mute.set()
        del world.log.failing["GetSession"]
    async with client.socket(token_of("vera")) as socket:
        assert (await begin(socket, meme, id=viewing))["stopReason"] is None
        assert not world.log.of("CloseSession")


async def test_a_viewing_that_breaks_while_it_is_opened_stays_open(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    world.user("vera")
    held = world.log.holding["OpenSession"] = asyncio.Event()
    async with client.socket(token_of("vera")) as socket:
        await socket.subscribe(WATCH, {"meme": meme.id, "budget": 5, "id": uuid7()})
        await until(lambda: world.log.of("OpenSession"))
        socket.vanish()
    await asyncio.sleep(0.1)
    held.set()
    assert not world.log.of("CloseSession")


async def test_a_viewing_taken_up_again_goes_on_counting(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    """As after a crash of the gateway: the client subscribes again with its id."""
    vera, viewing = world.user("vera"), uuid7()
    world.ledger.sessions[viewing] = ledger_pb2.Session(
        id=viewing, viewer_id=vera.id, meme_id=meme.id, budget_sats=3_600, seconds=40, burned_sats=40
    )
    async with client.socket(token_of("vera")) as socket:
        assert (await begin(socket, meme, id=viewing))["seconds"] == 40
        while (await socket.data())["watch"]["seconds"] < 42:
            pass


async def test_many_viewings_are_one_report(world: World, client: Client, meme: content_pb2.Meme) -> None:
    async with AsyncExitStack() as stack:
        for number in range(20):
            world.user(f"v{number}")
            socket = await stack.enter_async_context(client.socket(token_of(f"v{number}")))
            await begin(socket, meme)
        await until(lambda: len(world.ledger.reports[-1].meter_keys) == 20 if world.ledger.reports else False)
    await until(lambda: all(found.stop_reason for found in world.ledger.sessions.values()))
    assert world.ledger.meter_streams == 1
