"""Endless rounds with the demo people, each with new memes, and a short report after each.

python -m sandbox run
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from typing import Any

from sandbox.client import GraphqlError
from sandbox.launcher import House
from sandbox.miner import Miner
from sandbox.people import NotInTime, Person
from sandbox.report import Report
from sandbox.town import BOOKS, DEPOSIT_SATS, ROUND, ROUND_UPDATED, Town

FLOAT_LOW_SATS = 50_000
BALANCE_LOW_SATS = 5_000
STOCK_OF_MEMES = 3
RETRY_PAUSE_S = 2.0

OPERATOR_FLOAT = """{ books { totals { platformSats } } }"""


async def play(house: House, report: Report, *, seed: str) -> None:
    """Plays until cancelled: blocks come, memes are uploaded, rounds open, people watch."""
    town = Town.of(house, report, seed=seed)
    miner = Miner(house.chain, interval_s=house.settings.block_interval_s, report=report.step)
    try:
        await town.log_in()
        await town.fund_float()
        for viewer in town.viewers:
            await viewer.deposit(DEPOSIT_SATS, house.chain)
        report.step(f"{len(town.viewers)} viewers sent {DEPOSIT_SATS} sat each")
        await house.chain.mine()
        async with asyncio.TaskGroup() as group:
            group.create_task(miner.run(), name="miner")
            group.create_task(_again(report, "uploads", lambda: _upload_for_ever(town)), name="uploads")
            group.create_task(_again(report, "rounds", lambda: _watch_for_ever(town)), name="rounds")
            group.create_task(_fail_with(house), name="house")
    finally:
        await town.close()


async def _fail_with(house: House) -> None:
    await asyncio.shield(house.parts.failed)


async def _again(report: Report, what: str, work: Any) -> None:
    """Goes on after a hiccup, such as a service that is being started again."""
    while True:
        try:
            await work()
        except* (GraphqlError, NotInTime, OSError) as problems:
            report.step(f"{what}: {_words(problems)}; trying again")
        await asyncio.sleep(RETRY_PAUSE_S)


def _words(problems: BaseExceptionGroup[Exception]) -> str:
    return "; ".join(str(problem) for problem in problems.exceptions)


async def _upload_for_ever(town: Town) -> None:
    """Keeps a few fresh memes waiting for the next round, which takes them all."""
    await town.admin.log_in()
    fresh = random.SystemRandom().randrange(1 << 30)
    for number in itertools.count(fresh):
        await town.until("a round takes the memes that wait", lambda: _has_room(town), timeout_s=math.inf)
        creator = town.creators[number % len(town.creators)]
        meme_id = await town.admin.upload(number, f"Meme {number % 10_000}", creator=creator)

        async def done(meme_id: str = meme_id) -> str | None:
            state: str = (await town.admin.meme(meme_id))["state"]
            return state if state in {"PUBLISHED", "REJECTED"} else None

        state = await town.until(f"meme {meme_id}", done)
        town.memes.append(meme_id)
        town.report.step(f"meme by {creator.name} is {state}")


async def _has_room(town: Town) -> bool:
    return len(town.memes) < STOCK_OF_MEMES


async def _watch_for_ever(town: Town) -> None:
    """Everybody watches every round that opens; each that ends is reported."""
    # The administrator, too, whom they ask: sessions end, after a quarter of an hour or with Redis.
    for person in (town.admin, *town.viewers):
        await person.log_in()
    told: set[tuple[str, str]] = set()
    async with asyncio.TaskGroup() as group:
        # A round comes again with new sums each second; what we do about it, we do once.
        async for event in town.viewers[0].client.follow(ROUND_UPDATED):
            played = event["roundUpdated"]
            if (moment := (played["id"], played["state"])) in told:
                continue
            told.add(moment)
            if played["state"] == "ACTIVE":
                group.create_task(_watch_round(town, played))
            elif played["state"] == "COMPLETED":
                group.create_task(_report_round(town, played["id"]))


ENTRIES = "query Entries($id: ID!) { round(id: $id) { entries { meme { id } } } }"


async def _watch_round(town: Town, played: dict[str, Any]) -> None:
    town.memes.clear()
    town.report.title(
        f"Round {played['number']} opened at block {played['anchor']['height']} "
        f"with {played['entryCount']} memes"
    )
    entries = (await town.admin.client.ask(ENTRIES, id=played["id"]))["round"]["entries"]
    chance = random.SystemRandom()
    async with asyncio.TaskGroup() as group:
        for viewer in town.viewers:
            for entry in entries:
                length_s = chance.uniform(2.0, town.house.settings.round_s * 1.2)
                group.create_task(_watch_one(town, viewer, entry["meme"]["id"], length_s))
    await _top_up(town)


async def _watch_one(town: Town, viewer: Person, meme_id: str, length_s: float) -> None:
    try:
        await viewer.watch(meme_id, int(length_s) + 1, at_most_s=length_s)
    except GraphqlError as problem:
        town.report.step(f"{viewer.name} cannot watch: {problem}")


async def _top_up(town: Town) -> None:
    for viewer in town.viewers:
        if await viewer.balance_sats() < BALANCE_LOW_SATS:
            await viewer.deposit(DEPOSIT_SATS, town.house.chain)
    totals = (await town.admin.client.ask(OPERATOR_FLOAT))["books"]["totals"]
    if totals["platformSats"] < FLOAT_LOW_SATS:
        await town.fund_float()


async def _report_round(town: Town, round_id: str) -> None:
    played = (await town.admin.client.ask(ROUND, id=round_id))["round"]
    books = (await town.admin.client.ask(BOOKS))["books"]
    result = played["result"]
    town.report.title(f"Round {played['number']} is completed: {played['paidSeconds']} s watched")
    for line in result["standings"][:3]:
        town.report.step(
            f"rank {line['rank']}: {line['meme']['name']} by {line['creator']['displayName']}, "
            f"{line['takingsSats']} sat taken, {line['payoutSats']} sat from the pool"
        )
    town.report.step(
        f"takings {played['takingsSats']} = fee {result['feeSats']} + creators {result['creatorsSats']} + "
        f"owners {result['ownersSats']} + pool {result['poolSats'] - result['carriedInSats']} sat; "
        f"carried over {result['carriedOutSats']} sat"
    )
    txid = (played["record"] or {}).get("txid") or "on its way"
    town.report.step(f"result on chain: {txid}")
    town.report.step(
        f"books: accounts sum to {books['totals']['sumSats']}, coins against debts differ by "
        f"{books['custody']['differenceSats']} sat"
    )
