"""What is public is read for many requests at once; what is somebody's own never comes to another."""

from __future__ import annotations

import asyncio
from typing import Any

from satreel.ledger.v1 import ledger_pb2

from graphql_gateway.ids import global_id
from mesh.batching import IN_FLIGHT_MAX
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway.client import WAIT_S, Client
from tests.gateway.world import World, token_of, until

USER = "query($id: ID!) { user(id: $id) { displayName } }"
MINE = """query($viewing: ID!, $user: ID!) {
  me { user { displayName } balance { id balance } statement(first: 2) { nodes { amount memo } } }
  node(id: $viewing) { id ... on Viewing { burnedSats } }
  user(id: $user) { displayName }
}"""


async def _hold_all_lanes(world: World, client: Client) -> tuple[asyncio.Event, list[asyncio.Task[Any]]]:
    """As many reads of users as may run at once are under way and stay so until the event."""
    held = world.log.holding["BatchGetUsers"] = asyncio.Event()
    # However long that takes on a busy machine.
    world.parts.public.users._slow_s = WAIT_S
    waiting = []
    for number in range(IN_FLIGHT_MAX):
        waiting.append(asyncio.create_task(client.ask(USER, {"id": world.user(f"first {number}").id})))
        await until(lambda: len(world.log.of("BatchGetUsers")) == len(waiting))
    return held, waiting


async def _gathered(world: World, *people: Any, requests: int) -> None:
    """Those are asked for, by so many requests, and wait for a lane."""
    batches = world.parts.public.users._gathered
    await until(lambda: [{*one.answers} for one in batches] == [{one.id for one in people}])
    await until(lambda: batches[0].waiting == requests)


async def test_requests_of_different_people_share_a_call_for_nobody(world: World, client: Client) -> None:
    people = [world.user(f"user {number}") for number in range(12)]
    await asyncio.gather(
        *(client.ask("{ me { user { id } } }", token=token_of(f"user {n}")) for n in range(12))
    )
    held, first = await _hold_all_lanes(world, client)
    asked = [
        asyncio.create_task(client.ask(USER, {"id": person.id}, token=token_of(f"user {11 - number}")))
        for number, person in enumerate(people)
    ]
    await _gathered(world, *people, requests=12)
    held.set()
    told = await asyncio.gather(*asked)
    await asyncio.gather(*first)
    assert [answer["user"]["displayName"] for answer in told] == [f"user {number}" for number in range(12)]
    gathered = world.log.of("BatchGetUsers")[IN_FLIGHT_MAX:]
    assert sum(len(call.request.user_ids) for call in gathered) == 12
    assert len(gathered) == 1
    assert {call.caller.user_id for call in gathered} == {None}


async def test_own_affairs_stay_with_whom_they_belong_to(world: World, client: Client) -> None:
    """Everybody asks for their own and for others' at the same time, again and again."""
    people = [world.user(f"user {number}") for number in range(8)]
    viewings = {}
    for number, person in enumerate(people):
        world.ledger.balances[f"user:{person.id}"] = 1_000 + number
        viewing = ledger_pb2.Session(id=uuid7(), viewer_id=person.id, burned_sats=number)
        world.ledger.sessions[viewing.id], viewings[person.id] = viewing, viewing.id

    async def ask(mine: int, other: int) -> None:
        owner = people[other]
        given = {"viewing": global_id("Viewing", viewings[owner.id]), "user": owner.id}
        answer = (await client.post(MINE, given, token=token_of(f"user {mine}"))).json
        assert answer["data"]["me"]["user"]["displayName"] == f"user {mine}"
        assert answer["data"]["me"]["balance"]["balance"] == 1_000 + mine
        assert answer["data"]["user"]["displayName"] == f"user {other}"
        seen = answer["data"]["node"]
        assert (seen is None) == (mine != other), answer
        assert seen is None or seen["burnedSats"] == mine

    for turn in range(4):
        await asyncio.gather(*(ask(mine, (mine * turn) % 8) for mine in range(8) for _ in range(2)))
    for name in ("GetAccount", "ListPostings", "GetSession"):
        assert None not in {call.caller.user_id for call in world.log.of(name)}


async def test_a_failed_call_fails_each_who_waited_and_nobody_after(world: World, client: Client) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    world.log.failing["BatchGetUsers"] = Unavailable("away")
    failures = await asyncio.gather(*(client.fail(USER, {"id": one.id}) for one in (ada, bob)))
    assert [failure["code"] for failure in failures] == ["UNAVAILABLE", "UNAVAILABLE"]
    del world.log.failing["BatchGetUsers"]
    assert await client.ask(USER, {"id": ada.id}) == {"user": {"displayName": "ada"}}


async def test_who_leaves_takes_nothing_from_those_who_stay(world: World, client: Client) -> None:
    held, first = await _hold_all_lanes(world, client)
    late = world.user("late")
    leaves, stays = (asyncio.create_task(client.ask(USER, {"id": late.id})) for _ in range(2))
    await _gathered(world, late, requests=2)
    leaves.cancel()
    await asyncio.wait([leaves])
    held.set()
    assert await stays == {"user": {"displayName": "late"}}
    await asyncio.gather(*first)


async def test_an_answer_is_never_older_than_the_question(world: World, client: Client) -> None:
    """A name that was changed while others read it: who asks after the change hears the new one."""
    held, first = await _hold_all_lanes(world, client)
    someone = world.user("someone")
    del world.log.holding["BatchGetUsers"]
    before = asyncio.create_task(client.ask(USER, {"id": someone.id}))
    await _gathered(world, someone, requests=1)
    someone.display_name = f"renamed {uuid7()}"
    after = asyncio.create_task(client.ask(USER, {"id": someone.id}))
    await asyncio.sleep(0.01)
    held.set()
    assert (await after)["user"]["displayName"] == someone.display_name
    await asyncio.gather(before, *first)


async def test_the_same_question_of_one_user_is_one_call_and_of_two_users_two(
    world: World, client: Client
) -> None:
    for name in ("ada", "bob"):
        world.ledger.balances[f"user:{world.user(name).id}"] = 5
        await client.ask("{ me { user { id } } }", token=token_of(name))
    held = world.log.holding["GetAccount"] = asyncio.Event()
    reads: Any = world.parts.services.ledger.GetAccount
    reads._slow_s = WAIT_S

    def waiting() -> int:
        """For the calls that are under way, and for the next of their kind."""
        first = reads._flights.values()
        return sum(len(one.waiting) for one in (*first, *(one.following for one in first if one.following)))

    balance = "{ me { balance { id } } }"
    asked = [asyncio.create_task(client.ask(balance, token=token_of(name))) for name in ["ada", "bob"] * 6]
    await until(lambda: waiting() == len(asked) and len(world.log.of("GetAccount")) >= 2)
    assert len(world.log.of("GetAccount")) == 2
    held.set()
    told = [answer["me"]["balance"]["id"] for answer in await asyncio.gather(*asked)]
    assert len(set(told[::2])) == len(set(told[1::2])) == 1
    assert told[0] != told[1]
    assert all(call.caller.user_id == call.request.account_id[5:] for call in world.log.of("GetAccount"))
    assert len(world.log.of("GetAccount")) <= 4
