"""SIGKILL to one service in the middle of a round: it comes back, the round ends, every satoshi is there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox.client import GraphqlError
from sandbox.launcher import running
from sandbox.people import Person, Viewing
from sandbox.report import Report
from sandbox.settings import elsewhere
from sandbox.town import BOOKS, DEPOSIT_SATS, ROUND, Town

ROUND_S = 9.0
VICTIMS = ("ledger", "rounds", "content", "chain")
CURRENT = "{ currentRound { id state entryCount } }"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A mesh with one creator whose memes play one a round, and viewers with money."""
    folder: Path = tmp_path_factory.mktemp("crashes")
    report, seed = Report(colours=False), secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    settings = elsewhere(folder, round_s=ROUND_S, grace_s=2.0, film_s=1.0)
    async with running(settings, admin_addresses=[admin.wallet.address], progress=report.step) as house:
        town = Town.of(house, report, seed=seed)
        await town.log_in()
        await town.fund_float()
        for viewer in town.viewers:
            await viewer.deposit(DEPOSIT_SATS, house.chain)
        await house.chain.mine()
        for viewer in town.viewers:
            await viewer.until_balance(DEPOSIT_SATS, 60)
        for number in range(len(VICTIMS)):
            await town.admin.upload(number, f"Meme {number}", creator=town.creators[0])
        yield town
        await town.close()


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_round_survives_the_death_of(victim: str, town: Town) -> None:
    round_id = await _open(town)
    entry = (
        await _ask(town.admin, "query($id: ID!) { round(id: $id) { entries { meme { id } } } }", id=round_id)
    )["round"]["entries"][0]
    paid_before = await _users_sats(town)
    seen = [Viewing() for _ in town.viewers]
    async with asyncio.TaskGroup() as group:
        for viewer, first in zip(town.viewers, seen, strict=True):
            group.create_task(_watch(viewer, entry["meme"]["id"], first))
        async with asyncio.timeout(ROUND_S):
            while not any(first.burned_sats for first in seen):
                await asyncio.sleep(0.1)
        await town.house.parts.kill(victim)
    played = await town.until(f"the round ends after {victim} died", lambda: _ended(town, round_id))
    await town.house.until_serving(victim)

    assert played["state"] == "COMPLETED"
    result = played["result"]
    shares = result["feeSats"] + result["creatorsSats"] + result["ownersSats"] + result["poolSats"]
    assert shares - result["carriedInSats"] == played["takingsSats"]
    assert played["takingsSats"] > 0, "the viewers paid for what they saw"
    payouts = sum(line["payoutSats"] for line in result["standings"])
    assert payouts + result["carriedOutSats"] == result["poolSats"]
    books = await town.until("the books are even", lambda: _even_books(town))
    assert books["totals"]["sumSats"] == 0
    # Of what viewers paid, all but the fee and what the pool carries is with users again.
    kept = result["feeSats"] + result["carriedOutSats"] - result["carriedInSats"]
    assert await _users_sats(town) == paid_before - kept


async def _open(town: Town) -> str:
    async def active() -> str | None:
        current = (await _ask(town.admin, CURRENT))["currentRound"]
        return current["id"] if current and current["state"] == "ACTIVE" else None

    async def stocked() -> bool:
        current = (await _ask(town.admin, CURRENT))["currentRound"]
        return bool(current and current["entryCount"])

    await town.until("a meme waits for the round", stocked)
    opened: str = await town.mine_until("a block opens the round", active, blocks_max=30)
    return opened


async def _watch(viewer: Person, meme_id: str, viewing: Viewing) -> None:
    """Watches to the end of the round; when a crash cuts the stream, opens another viewing."""
    deadline = asyncio.get_running_loop().time() + ROUND_S + 5
    while viewing.stop_reason != "ROUND_LOCKED" and asyncio.get_running_loop().time() < deadline:
        try:
            await viewer.watch(meme_id, 60, at_most_s=ROUND_S + 5, viewing=viewing)
        except GraphqlError:
            await asyncio.sleep(0.5)
            viewing = Viewing()


async def _ended(town: Town, round_id: str) -> dict[str, Any] | None:
    try:
        played: dict[str, Any] = (await town.admin.client.ask(ROUND, id=round_id))["round"]
    except GraphqlError:
        return None
    return played if played["state"] in {"COMPLETED", "VOIDED"} else None


async def _even_books(town: Town) -> dict[str, Any] | None:
    books: dict[str, Any] = (await _ask(town.admin, BOOKS))["books"]
    custody = books["custody"]
    if custody["differenceSats"] != 0:
        return None
    # The node is asked about every coin, whatever the service that died says of them.
    return books if await town.coins_on_chain() == (custody["coins"], custody["coinsSats"]) else None


async def _users_sats(town: Town) -> int:
    return int((await _ask(town.admin, BOOKS))["books"]["totals"]["usersSats"])


async def _ask(person: Person, query: str, **variables: Any) -> dict[str, Any]:
    """Asks again while a service is coming back."""
    for _ in range(120):
        try:
            return await person.client.ask(query, **variables)
        except GraphqlError as error:
            if error.code not in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "STOPPING", "NOT_LEADER"}:
                raise
            await asyncio.sleep(0.5)
    return await person.client.ask(query, **variables)
