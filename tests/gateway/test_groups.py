"""Groups under virtual time: who joins when, who reads how slowly, and what each hears."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
import pytest
from satreel.identity.v1 import identity_pb2

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.live import groups
from graphql_gateway.live.backlog import BACKLOG_MAX, FellBehind
from graphql_gateway.live.groups import Followed, Groups
from graphql_gateway.live.members import ClientGone, Member, Said
from graphql_gateway.live.telling import ITSELF, Delivery, Telling
from mesh.errors import Unauthenticated, Unavailable
from tests.gateway import virtual_time


class Source:
    """Tells numbers that a test publishes; each takes its time to execute."""

    def __init__(
        self, delivery: Delivery = Delivery.NEWS, *, now: Any = ITSELF, takes_s: float = 0.0
    ) -> None:
        self.delivery = delivery
        self.is_for_all = True
        self.events: asyncio.Queue[tuple[int, dict[str, Any]] | Exception] = asyncio.Queue()
        self.executed: list[int] = []
        self.told_s: list[float] = []
        self.is_closed = False
        self._now = now
        self._takes_s = takes_s

    def publish(self, number: int, **about: Any) -> None:
        self.events.put_nowait((number, about))

    async def said(self, viewers: Callable[[], Collection[Viewer]]) -> AsyncGenerator[Said, None]:
        try:
            while True:
                event = await self.events.get()
                if isinstance(event, Exception):
                    raise event
                number, about = event
                await asyncio.sleep(self._takes_s)
                self.told_s.append(asyncio.get_running_loop().time())
                yield self._of(number, Telling(**{"position": number, "now": self._now, **about}))
        finally:
            self.is_closed = True

    async def told_first(self, last: Said) -> Said:
        await asyncio.sleep(self._takes_s)
        return self._of(int(orjson.loads(last.payload)["data"]), Telling(position=last.about.position))

    def _of(self, number: int, about: Telling) -> Said:
        self.executed.append(number)
        now = number if about.now is ITSELF else about.now
        return Said(b'{"data":%d}' % number, about, now, is_sound=True)


class LogIns:
    """Believed for ten seconds."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.checks: list[str] = []

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def due_s(self, *, strictly: bool) -> float:
        return self.now_s() - (1.0 if strictly else 10.0)

    async def viewer_of(self, access_token: str) -> Viewer:
        self.checks.append(access_token)
        await asyncio.sleep(0.01)
        if access_token in self.ended:
            raise Unauthenticated("ended")
        return viewer(access_token)


@dataclass
class Client:
    """A channel and a connection, and what came."""

    viewer: Viewer | None = None
    told: list[Any] = field(default_factory=list)
    extensions: list[Any] = field(default_factory=list)
    ends: list[Exception | None] = field(default_factory=list)
    room: int = 1_000_000
    is_gone: bool = False
    reads: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, operation_id: str, payload: bytes) -> bool:
        assert not self.ends
        if not self.room or self.is_gone:
            return False
        self.room -= 1
        told = orjson.loads(payload)
        self.told.append(told["data"])
        self.extensions.append(told.get("extensions"))
        return True

    async def drained(self) -> None:
        while not self.room and not self.is_gone:
            self.reads.clear()
            await self.reads.wait()
        if self.is_gone:
            raise ClientGone

    def read(self, room: int = 1_000_000) -> None:
        self.room = room
        self.reads.set()

    def go(self) -> None:
        self.is_gone = True
        self.reads.set()


def viewer(name: str) -> Viewer:
    return Viewer(identity_pb2.User(id=name), f"session of {name}", name, "")


class Scene:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.log_ins = LogIns()
        self.groups = Groups()

    def join(self, client: Client, *, source: Source | None = None, key: str = "", **more: Any) -> Member:
        member = Member(client, "1", client, lambda _, problem: client.ends.append(problem), **more)
        follows = Followed(key, "", source or self.source, self.log_ins, copy_context())
        self.groups.join(member, follows)
        return member


async def passing(seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)


@asynccontextmanager
async def nothing_left() -> AsyncGenerator[None, None]:
    yield
    await passing(60)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_one_execution_for_all() -> None:
    async def main() -> None:
        scene, clients = Scene(Source()), [Client() for _ in range(1_000)]
        async with nothing_left():
            members = [scene.join(client) for client in clients]
            for number in (1, 2, 3):
                scene.source.publish(number)
                await passing()
            assert scene.source.executed == [1, 2, 3]
            assert all(client.told == [1, 2, 3] for client in clients)
            assert (len(scene.groups), scene.groups.followers) == (1, 1_000)
            for member in members:
                assert not scene.source.is_closed
                member.cancel()
        assert scene.source.is_closed
        assert not len(scene.groups)

    virtual_time.run(main())


@pytest.mark.parametrize("begins_with", ["the event", "how things are then", "nothing"])
@pytest.mark.parametrize("seed", range(30))
def test_who_joins_whenever_misses_nothing_and_hears_nothing_twice(begins_with: str, seed: int) -> None:
    """Events, joins and departures in any order, while executions take their time."""
    chance = random.Random(seed)

    async def main() -> None:
        now = {"the event": ITSELF, "how things are then": "now", "nothing": None}[begins_with]
        scene = Scene(Source(now=now, takes_s=chance.choice([0.0, 0.3])))
        here: list[tuple[Client, Member, int]] = []
        number = 0
        async with nothing_left():
            stays = scene.join(Client())
            for _ in range(60):
                match chance.randrange(4):
                    case 0:
                        number += 1
                        scene.source.publish(number)
                    case 1:
                        client = Client(room=chance.choice([1_000, 1]))
                        here.append((client, scene.join(client), len(scene.source.told_s)))
                    case 2 if here:
                        chance.choice(here)[0].read()
                    case _:
                        await passing(chance.choice([0.0, 0.1, 0.5, 1.5]))
            for client, _, _ in here:
                client.read()
            await passing(30)
            for client, member, told in here:
                # From what was told last when it joined.
                first = max(told, 1) if begins_with != "nothing" else told + 1
                assert client.told == list(range(first, number + 1))
                member.cancel()
            stays.cancel()

    virtual_time.run(main())


def test_what_is_told_first_is_made_once_while_it_is_fresh() -> None:
    async def main() -> None:
        scene = Scene(Source(takes_s=0.2))
        async with nothing_left():
            members = [scene.join(Client())]
            scene.source.publish(1)
            await passing(0.5)
            clients = [Client() for _ in range(100)]
            members += [scene.join(client) for client in clients[:50]]
            assert all(client.told == [1] for client in clients[:50])
            await passing(groups.FRESH_S)
            members += [scene.join(client) for client in clients[50:]]
            await passing(0.5)
            assert all(client.told == [1] for client in clients)
            assert scene.source.executed == [1, 1]
            for member in members:
                member.cancel()

    virtual_time.run(main())


def test_who_lags_is_told_the_newest_state_of_each_subject_and_how_many_were_left_out() -> None:
    async def main() -> None:
        scene, slow, quick = Scene(Source(Delivery.STATES)), Client(room=1), Client()
        async with nothing_left():
            members = [scene.join(slow), scene.join(quick)]
            for number, subject in enumerate("aababa", 1):
                scene.source.publish(number, subject=subject)
            await passing(5)
            assert quick.told == [1, 2, 3, 4, 5, 6]
            assert slow.told == [1]
            slow.read()
            await passing()
            # What came before of the same subject is never told after it.
            assert slow.told == [1, 5, 6]
            assert slow.extensions == [None, {"conflated": 3}, None]
            assert quick.extensions == [None] * 6
            scene.source.publish(7, subject="a")
            await passing()
            assert slow.told[-1] == quick.told[-1] == 7
            for member in members:
                member.cancel()

    virtual_time.run(main())


def test_states_are_executed_at_a_pace() -> None:
    async def main() -> None:
        scene = Scene(Source(Delivery.STATES))
        async with nothing_left():
            member = scene.join(Client())
            for number in range(1, 6):
                scene.source.publish(number, subject="a")
            await passing()
            member.cancel()
        gaps = [later - earlier for earlier, later in pairwise(scene.source.told_s)]
        assert gaps == pytest.approx([groups.PACE_S] * 4)

    virtual_time.run(main())


def test_news_are_kept_so_many_and_then_the_reader_fell_behind() -> None:
    async def main() -> None:
        scene, slow, quick = Scene(Source()), Client(room=0), Client()
        async with nothing_left():
            scene.join(slow)
            member = scene.join(quick)
            for number in range(1, BACKLOG_MAX + 11):
                scene.source.publish(number)
            await passing()
            slow.read()
            await passing()
            assert slow.told == list(range(1, BACKLOG_MAX + 1))
            assert [type(end) for end in slow.ends] == [FellBehind]
            assert quick.told == list(range(1, BACKLOG_MAX + 11))
            member.cancel()

    virtual_time.run(main())


def test_who_takes_nothing_is_gone_and_nobody_else_notices() -> None:
    async def main() -> None:
        scene, gone, stays = Scene(Source()), Client(room=0), Client()
        async with nothing_left():
            scene.join(gone)
            member = scene.join(stays)
            scene.source.publish(1)
            await passing()
            gone.go()
            await passing()
            assert (gone.told, gone.ends) == ([], [])
            assert (stays.told, scene.groups.followers) == ([1], 1)
            member.cancel()

    virtual_time.run(main())


def test_what_ends_the_source_is_told_to_all_after_what_waits() -> None:
    async def main() -> None:
        scene, slow, quick = Scene(Source()), Client(room=0), Client()
        async with nothing_left():
            for client in (slow, quick):
                scene.join(client)
            scene.source.publish(1)
            broken = Unavailable("away")
            scene.source.events.put_nowait(broken)
            await passing()
            assert (quick.told, quick.ends, slow.ends) == ([1], [broken], [])
            # Who comes now begins anew.
            again = Client()
            member = scene.join(again, source=Source())
            slow.read()
            await passing()
            assert (slow.told, slow.ends, again.ends) == ([1], [broken], [])
            assert scene.groups.followers == 1
            member.cancel()

    virtual_time.run(main())


def test_log_ins_are_checked_again_and_who_is_logged_out_hears_no_more() -> None:
    async def main() -> None:
        scene = Scene(Source())
        ada, bob, nobody = Client(viewer("ada")), Client(viewer("bob")), Client()
        async with nothing_left():
            members = [scene.join(client) for client in (ada, bob, nobody)]
            scene.source.publish(1)
            await passing(20)
            assert scene.log_ins.checks == []
            scene.log_ins.ended.add("bob")
            scene.source.publish(2)
            await passing()
            assert scene.log_ins.checks == ["ada", "bob"]
            assert ada.told == nobody.told == [1, 2]
            assert bob.told == [1]
            assert [type(end) for end in bob.ends] == [Unauthenticated]
            for member in members:
                member.cancel()

    virtual_time.run(main())


def test_what_is_not_for_everybody_is_heard_by_those_it_is_for() -> None:
    async def main() -> None:
        scene = Scene(Source())
        ada, bob, nobody = Client(viewer("ada")), Client(viewer("bob"), room=0), Client()
        async with nothing_left():
            members = [scene.join(client) for client in (ada, bob, nobody)]
            await passing(5)
            scene.source.publish(1, audience=lambda who: who is not None and who.id == "ada")
            scene.source.publish(2)
            await passing()
            # Their log-ins were checked by the stricter rule.
            assert sorted(scene.log_ins.checks) == ["ada", "bob"]
            bob.read()
            await passing()
            assert ada.told == [1, 2]
            assert bob.told == nobody.told == [2]
            for member in members:
                member.cancel()

    virtual_time.run(main())


def test_the_loop_has_turns_while_thousands_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "TURN_S", -1.0)

    async def main() -> None:
        scene, turns = Scene(Source()), 0
        members = [scene.join(Client()) for _ in range(2_000)]
        scene.source.publish(1)
        while not scene.source.executed:
            await asyncio.sleep(0)
        while not members[-1].outlet.told:  # type: ignore[attr-defined] # a Client
            turns += 1
            await asyncio.sleep(0)
        assert turns >= len(members) - 1
        for member in members:
            member.cancel()

    virtual_time.run(main())


@pytest.mark.parametrize("seed", range(30))
def test_who_goes_on_behind_a_cursor_follows_with_all_others_in_the_end(seed: int) -> None:
    """Two sources tell the same news, each in its own time."""
    chance = random.Random(seed)

    async def main() -> None:
        ahead = Source(takes_s=chance.choice([0.0, 0.2]))
        behind = Source(takes_s=chance.choice([0.0, 0.2]))
        scene, all_, back = Scene(ahead), Client(), Client()
        async with nothing_left():
            begun = chance.randrange(1, 6)
            for number in range(1, begun):
                behind.publish(number, is_newest=False, now=None)
            members = [scene.join(back, source=behind, key="after")]
            if chance.randrange(4):
                members.append(scene.join(all_))
            for number in range(begun, 12):
                for source in (ahead, behind):
                    source.publish(number, is_newest=chance.random() < 0.5 or number == 11, now=None)
                await passing(chance.choice([0.0, 0.1, 0.5]))
            await passing(10)
            assert back.told == list(range(1, 12))
            if len(members) == 2:
                assert all_.told == list(range(begun, 12))
            assert (len(scene.groups), scene.groups.followers) == (1, len(members))
            assert behind.is_closed is (len(members) == 2)
            for member in members:
                member.cancel()

    virtual_time.run(main())
