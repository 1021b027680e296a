"""Replicas killed, stopped and rolled under load: no request of a user's fails, and the books balance."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.authority import Authority
from sandbox.instances import Instance
from sandbox.launcher import House
from sandbox.miner import Miner
from sandbox.settings import REPLICATED
from sandbox.town import BOOKS, Town
from tests.replicas import spread, users
from tests.replicas.clients import Caller
from tests.replicas.conftest import MONEY_SATS
from tests.replicas.tally import COLUMNS, Phase, Tally
from tests.replicas.test_refusals import context_of, entrances, is_refused
from tests.replicas.users import Users

pytestmark = [pytest.mark.timeout(1500), pytest.mark.asyncio(loop_scope="session")]

# The parts that trouble befalls; all unless it is set.
CHOICE = "SATREEL_TEST_MESH_PARTS"
# At most, on a machine as busy as can be; behind the table stands how long it took.
LEADER_BACK_S, HANDED_OVER_S = 30.0, 5.0
SPREAD = 0.10
CALM_S, SETTLE_S = 10.0, 2.0
# So many draws differ by a tenth by chance once in a thousand times.
CALLS_MIN = 1_000


async def test_no_request_fails_and_the_books_balance(town: Town, tmp_path: Path) -> None:
    tally = Tally()
    caller = Caller(tally)
    crowd = Users(town, caller)
    await _published(town, crowd)
    async with _playing(town, crowd):
        print(f"\n{COLUMNS}")
        spreads = await _calm(town.house, crowd, tally)
        for part in os.environ.get(CHOICE, "").split() or REPLICATED:
            await _trouble(town.house, caller, part)
        await _renewed(town.house, tally)
        await _anew_authority(town.house, tally, tmp_path / "before")
    print(f"\n{tally.table()}\n")
    _tell_next_leaders(tally)
    for part, places in spreads.items():
        print(f"spread over {part:9} {_shares(places)}")
    print(
        f"{crowd.viewings} viewings ended, {crowd.resumed} times one was taken up; {crowd.sales} sales; "
        f"{crowd.withdrawals} withdrawals, {len(crowd.uploaded)} uploads"
    )
    await _books(town, crowd)
    assert [problem for phase in tally.phases for problem in phase.failed] == []
    assert _noticed(tally) == []
    late = {
        phase.name: phase.leader_back_s
        for phase in tally.phases
        if (phase.leader_back_s or 0) > (HANDED_OVER_S if phase.killed_s is None else LEADER_BACK_S)
    }
    assert late == {}
    alike = {
        part: places
        for part, places in spreads.items()
        if len(places) > 1 and not _leads_alone(town.house, part)
    }
    assert {part: places for part, places in alike.items() if _uneven(places)} == {}
    assert all(sum(places.values()) >= CALLS_MIN for places in alike.values())


@asynccontextmanager
async def _playing(town: Town, crowd: Users) -> AsyncIterator[None]:
    """Blocks come, and users do what they do."""
    miner = Miner(town.house.chain, interval_s=4.0, report=lambda _: None)
    mining = asyncio.create_task(miner.run())
    doing = asyncio.gather(*(loop() for loop in crowd.loops()))
    try:
        yield
        crowd.going = False
        await doing
    finally:
        for task in (mining, doing):
            task.cancel()
        await asyncio.gather(mining, doing, return_exceptions=True)
        await crowd.close()


async def _published(town: Town, crowd: Users) -> None:
    """The title that is traded, which nobody watches."""
    crowd.traded = await town.admin.upload(1, "Traded", creator=crowd.first_trader)

    async def published() -> bool:
        return bool((await town.admin.meme(crowd.traded))["state"] == "PUBLISHED")

    await town.until("the meme is published", published)


async def _calm(house: House, crowd: Users, tally: Tally) -> spread.Counts:
    before = await spread.counted(house)
    with tally.phase("nothing") as phase:
        await asyncio.sleep(CALM_S)
        await crowd.burst(CALLS_MIN)
    print(phase.row(), flush=True)
    return spread.between(before, await spread.counted(house))


async def _trouble(house: House, caller: Caller, part: str) -> None:
    """All kinds of it, one after the other; of a part that has a leader it befalls the leader."""
    kinds: dict[str, Callable[[Instance], Awaitable[Any]]] = {
        "kill -9": lambda one: house.parts.kill(one.name),
        "kill -9 with its sidecar": lambda one: _kill_both(house, one),
        "SIGTERM": lambda one: _end(house, one),
    }
    for what, befalls in kinds.items():
        one = await house.until_serving(part)
        with caller.tally.phase(f"{one.name}: {what}") as phase:
            begun_s, is_killed = time.monotonic(), what != "SIGTERM"
            caller.leaderless = one.leads_alone and is_killed
            phase.killed_s = math.inf if is_killed else None
            befalling = asyncio.create_task(_befall(befalls, one, phase))
            if one.leads_alone:
                await _until_another_leads(house, one, befalling if is_killed else None)
                phase.leader_back_s = time.monotonic() - begun_s
            await befalling
            await house.until_serving(part)
            await house.until_up(one)
            await asyncio.sleep(SETTLE_S)
            caller.leaderless = False
        print(phase.row(), flush=True)
    with caller.tally.phase(f"{part}: rolling restart") as phase:
        await house.roll(part)
        await asyncio.sleep(SETTLE_S)
    print(phase.row(), flush=True)


async def _befall(befalls: Callable[[Instance], Awaitable[Any]], one: Instance, phase: Phase) -> None:
    await befalls(one)
    if phase.killed_s is not None:
        phase.killed_s = time.monotonic()


async def _until_another_leads(house: House, one: Instance, killing: asyncio.Task[None] | None) -> None:
    """Who was killed may lead again: by then it is another process."""
    if killing is not None:
        await killing
        await house.until_serving(one.part)
        return
    while await house.until_serving(one.part) == one:
        await asyncio.sleep(0.01)


async def _end(house: House, one: Instance) -> None:
    async with house.parts.ended(one.name):
        pass


async def _kill_both(house: House, one: Instance) -> None:
    await asyncio.gather(house.parts.kill(one.name), house.parts.kill(house.sidecars[one.name].name))


async def _renewed(house: House, tally: Tally) -> None:
    """All certificates are made anew, twice, while users go on."""
    authority = Authority.open(house.tls_dir)
    with tally.phase("certificates renewed, twice") as phase:
        for _ in range(2):
            for name in (*REPLICATED, "edge", "launcher"):
                authority.issue(name, renew_below=1)
            await asyncio.sleep(5 * SETTLE_S)
    print(phase.row(), flush=True)


async def _anew_authority(house: House, tally: Tally, before: Path) -> None:
    """As a person does it, while users go on; what the authority before issued is refused everywhere then."""
    shutil.copytree(house.tls_dir, before)
    assert await _refused(house, before) == set()
    command = ["-m", "sandbox.certificates", "--anew-authority", "--folder", str(house.tls_dir)]
    with tally.phase("authority renewed") as phase:
        renewing = await asyncio.create_subprocess_exec(sys.executable, *command)
        assert await renewing.wait() == 0
        await asyncio.gather(*(house.until_up(one) for one in house.layout.instances))
        await asyncio.sleep(5 * SETTLE_S)
    print(phase.row(), flush=True)
    assert await _refused(house, before) == set(entrances(house))
    assert await _refused(house, house.tls_dir) == set()


async def _refused(house: House, folder: Path) -> set[str]:
    """Where a part with the certificates of that folder does not get in."""
    context = context_of(house, folder, "gateway")
    return {address for address in entrances(house) if await is_refused(address, context)}


async def _books(town: Town, crowd: Users) -> None:
    """Nothing was lost, doubled or made: for each who paid, for each round, and for all together."""
    for person in (crowd.first_trader, crowd.other_trader):
        assert await person.balance_sats() == MONEY_SATS + crowd.earned[person.name], person.name
    await _withdrawn(town, crowd)
    await _shown(town, crowd)

    async def over() -> list[dict[str, Any]] | None:
        played = (await town.admin.client.ask(users.ROUNDS))["rounds"]["nodes"]
        return None if any(one["state"] in {"ACTIVE", "LOCKED"} for one in played) else played

    played = await town.until("the last round is over", over, timeout_s=120)
    burned = sum([MONEY_SATS - await viewer.balance_sats() for viewer in crowd.viewers])
    assert burned == sum(one["takingsSats"] for one in played) > 0
    for one in played:
        if (result := one["result"]) is not None:
            shares = result["feeSats"] + result["creatorsSats"] + result["ownersSats"] + result["poolSats"]
            assert shares - result["carriedInSats"] == one["takingsSats"], one
    print(f"{len(played)} rounds took {burned} sat, which is what the viewers paid")

    async def balanced() -> dict[str, Any] | None:
        await town.house.chain.mine()
        books: dict[str, Any] = (await town.admin.client.ask(BOOKS))["books"]
        custody = books["custody"]
        same = await town.coins_on_chain() == (custody["coins"], custody["coinsSats"])
        return books if same and custody["differenceSats"] == 0 else None

    books = await town.until("ledger, custody and node agree", balanced, timeout_s=60)
    assert books["totals"]["sumSats"] == 0
    print(f"books: {books['totals']}, custody {books['custody']}")


async def _withdrawn(town: Town, crowd: Users) -> None:
    """Each withdrawal once: so say the ledger, the chain service and the balance."""
    who = crowd.withdrawer

    async def settled() -> list[dict[str, Any]] | None:
        await town.house.chain.mine()
        found = (await who.client.ask(users.WITHDRAWALS))["me"]["withdrawals"]["nodes"]
        return found if all(one["state"] == "CONFIRMED" for one in found) else None

    found = await town.until("withdrawals are confirmed", settled)
    assert len(found) == crowd.withdrawals
    spent = sum(one["amountSats"] + one["feeSats"] for one in found)
    assert await who.balance_sats() == MONEY_SATS - spent


async def _shown(town: Town, crowd: Users) -> None:
    """Every upload has become a film, whoever died while it was made."""

    async def made() -> list[str] | None:
        states = [(await town.admin.meme(meme_id))["state"] for meme_id in crowd.uploaded]
        return states if set(states) <= {"PUBLISHED", "REJECTED"} else None

    assert set(await town.until("films are made", made)) == {"PUBLISHED"}


def _noticed(tally: Tally) -> list[str]:
    """What users sent again where they need not: none, wherever instances are asked to end.

    Where one is killed, what was under way (nobody knows what came of it), and what had waited for a leader
    as long as its contract lets it, may be. WebSockets of a gateway that goes are taken up elsewhere.
    """
    return [
        f"{phase.name}: {why}"
        for phase in tally.phases
        for why in phase.again
        if not why.startswith("viewing: ")
    ]


def _tell_next_leaders(tally: Tally) -> None:
    for kind, killed in (("asked to end", False), ("killed", True)):
        took = [
            phase.leader_back_s
            for phase in tally.phases
            if phase.leader_back_s is not None and (phase.killed_s is not None) == killed
        ]
        if took:
            print(f"next leader after one was {kind}: {min(took):.2f} to {max(took):.2f} s")


def _leads_alone(house: House, part: str) -> bool:
    return house.layout.of(part)[0].leads_alone


def _uneven(places: dict[str, int]) -> bool:
    even = sum(places.values()) / len(places)
    return any(abs(count - even) > SPREAD * even for count in places.values())


def _shares(places: dict[str, int]) -> str:
    total = sum(places.values()) or 1
    return ", ".join(f"{count} ({count / total:.0%})" for count in places.values())
