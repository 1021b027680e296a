"""The demo: one round from an empty mesh to a withdrawal, over the public API only, with every claim checked.

python -m sandbox demo
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from sandbox.client import GraphqlError
from sandbox.launcher import House
from sandbox.people import NotInTime, Person, Viewing
from sandbox.pictures import bad
from sandbox.report import Report
from sandbox.town import BOOKS, DEPOSIT_SATS, PATIENCE_S, ROUND, ROUND_UPDATED, Town
from sandbox.verifying import verify_round

PRICE_SATS = 5_000
WITHDRAWAL_SATS = 2_500
BUDGET_SATS = 3_600
FREE_BELOW_S = 3
WATCHER_OF_FILM = (0, 0)
BAD_NAME = "A bad one"
SETTLE_S = 20.0

MEMES_OF = "query($id: ID!) { user(id: $id) { memes(first: 100) { nodes { name } } } }"
LEADERBOARD = """subscription {
  leaderboardUpdated { final standings { rank score paidSeconds viewers takingsSats meme { id name } } }
}"""
LIST = "mutation($meme: ID!, $price: Sats!) { createListing(memeId: $meme, priceSats: $price) { id state } }"
BUY = """mutation($listing: ID!, $price: Sats!) {
  purchase(listingId: $listing, expectedPriceSats: $price) { id priceSats feeSats }
}"""
OWNER = "query($id: ID!) { meme(id: $id) { owner { id } inscription { origin outpoint confirmations } } }"
EXPLAINED = "query($id: ID!) { round(id: $id) { payoutExplanation { matches mismatches totalSats } } }"
TITLES = "{ titleAudit { lookedAt titles different } }"
EXPORT = "query($id: ID!) { round(id: $id) { publicRecord { json } } }"
WITHDRAW = """mutation($address: String!, $amount: Sats!) {
  withdraw(address: $address, amountSats: $amount) { id feeSats }
}"""
WITHDRAWAL = """query($id: ID!) {
  me { withdrawal(id: $id) { state txid amountSats feeSats confirmations failure } }
}"""


async def play(house: House, report: Report, *, seed: str) -> None:
    """The whole demo. Raises NotInTime or GraphqlError when it cannot go on."""
    town = Town.of(house, report, seed=seed)
    try:
        report.title("People and pictures")
        await town.log_in()
        roles = town.admin.roles
        report.check("the administrator's wallet has the role ADMIN", "ADMIN" in roles, roles)
        await town.fund_float()
        await _upload(town)
        report.title("Coins")
        await _deposit(town)
        await _until_published(town)
        report.title("The round")
        round_id = await _play_round(town)
        report.title("The result")
        await _check_result(town, round_id)
        await _withdraw(town)
        report.title("The books")
        await check_books(town)
    finally:
        await town.close()


async def _upload(town: Town) -> None:
    for number, creator in enumerate(town.creators):
        meme_id = await town.admin.upload(number, f"Meme {number + 1} by {creator.name}", creator=creator)
        town.memes.append(meme_id)
        town.report.step(f"uploaded {meme_id} for {creator.name}")
    small = bad.too_small()
    try:
        await town.admin.upload_bytes(small.data, "image/png", BAD_NAME, creator=town.creators[0])
        code = "none"
    except GraphqlError as error:
        code = error.code
    town.report.check(f"a picture with a {small.what} is refused: TOO_SMALL", code == "TOO_SMALL", code)
    answer = await town.admin.client.ask(MEMES_OF, id=town.creators[0].user_id)
    names = [meme["name"] for meme in answer["user"]["memes"]["nodes"]]
    town.report.check("the refused picture left nothing behind", BAD_NAME not in names, names)


async def _deposit(town: Town) -> None:
    for viewer in town.viewers:
        txid = await viewer.deposit(DEPOSIT_SATS, town.house.chain)
        town.report.step(f"{viewer.name} sends {DEPOSIT_SATS} sat in {txid}")
    balances = [await viewer.balance_sats() for viewer in town.viewers]
    town.report.check("deposits without a block cannot be spent", not any(balances), balances)
    await town.house.chain.mine()
    balances = [await viewer.until_balance(DEPOSIT_SATS, PATIENCE_S) for viewer in town.viewers]
    credited = all(balance == DEPOSIT_SATS for balance in balances)
    town.report.check("deposits are credited after one block", credited, balances)


async def _until_published(town: Town) -> None:
    async def published() -> list[dict[str, Any]]:
        memes = [await town.admin.meme(meme_id) for meme_id in town.memes]
        for meme in memes:
            if meme["state"] == "REJECTED":
                raise NotInTime(f"{meme['name']} was rejected: {meme['reason']} {meme['reasonDetail']}")
        inscribed = [meme for meme in memes if (meme["inscription"] or {}).get("outpoint")]
        return (
            memes if all(meme["state"] == "PUBLISHED" for meme in inscribed) and len(inscribed) == 3 else []
        )

    memes = await town.until("films are made, checked and inscribed", published)
    for meme in memes:
        where = meme["inscription"]["outpoint"]
        town.report.step(f"{meme['name']}: quality {meme['quality']:.3f}, title inscribed in {where}")
    town.report.check("three films passed the quality check", all(m["quality"] >= 0.8 for m in memes), memes)


@dataclass(slots=True)
class _Seen:
    """What the sockets told of the round."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    boards: list[Any] = field(default_factory=list)

    def round_in(self, state: str) -> dict[str, Any] | None:
        """The first event of a round in a state."""
        return next((found for found in self.rounds if found["state"] == state), None)

    async def follow_rounds(self, person: Person) -> None:
        """For as long as it is not cancelled."""
        async for event in person.client.follow(ROUND_UPDATED):
            self.rounds.append(event["roundUpdated"])

    async def follow_leaderboard(self, person: Person) -> None:
        """For as long as it is not cancelled."""
        async for event in person.client.follow(LEADERBOARD):
            standings = event["leaderboardUpdated"]["standings"]
            if not self.boards or self.boards[-1] != standings:
                self.boards.append(standings)


async def _play_round(town: Town) -> str:
    seen = _Seen()
    async with asyncio.TaskGroup() as group:
        followers = [
            group.create_task(seen.follow_rounds(town.admin)),
            group.create_task(seen.follow_leaderboard(town.viewers[0])),
        ]

        async def active() -> dict[str, Any] | None:
            return seen.round_in("ACTIVE")

        async def completed() -> dict[str, Any] | None:
            return seen.round_in("COMPLETED")

        played = await town.mine_until("a block opens the round", active)
        town.report.step(f"the round opened at block {played['anchor']['height']} {played['anchor']['hash']}")
        viewings, sold, film = await _watch_and_trade(town)
        await town.until("the round is over", completed)
        for task in followers:
            task.cancel()
    _check_round(town.report, seen, played["id"], viewings)
    town.report.check("the title changed hands mid-round", sold, sold)
    town.report.check("the film is served within the viewing, and only then", film == [206, 403], film)
    return str(played["id"])


def _check_round(report: Report, seen: _Seen, round_id: str, viewings: list[Viewing]) -> None:
    paid = sum(viewing.burned_sats for viewing in viewings)
    report.step(f"{len(viewings)} viewings burned {paid} sat")
    exact = all(v.burned_sats == (v.seconds if v.seconds >= FREE_BELOW_S else 0) for v in viewings)
    report.check("viewers paid one satoshi per full second", paid > 0 and exact, viewings)
    report.check("the leaderboard moved while they watched", len(seen.boards) > 2, len(seen.boards))
    states = list(dict.fromkeys(found["state"] for found in seen.rounds if found["id"] == round_id))
    way = ["ACTIVE", "CALCULATING", "COMPLETED"]
    report.check("the round went ACTIVE, CALCULATING, COMPLETED", states[-3:] == way, states)


async def _watch_and_trade(town: Town) -> tuple[list[Viewing], bool, list[int]]:
    """Five viewers watch three films each; meanwhile a title is sold, and one viewer loads the film."""
    round_s, first = town.house.settings.round_s, Viewing()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                viewer.watch(
                    meme_id,
                    BUDGET_SATS,
                    at_most_s=_length_s(v, m, round_s),
                    viewing=first if (v, m) == WATCHER_OF_FILM else None,
                )
            )
            for v, viewer in enumerate(town.viewers)
            for m, meme_id in enumerate(town.memes)
        ]
        film = group.create_task(_load_film(town, first))
        sale = group.create_task(_trade(town))
    return [task.result() for task in tasks], sale.result(), film.result()


def _length_s(viewer: int, meme: int, round_s: float) -> float:
    """The first film is everybody's favourite and watched to the end; the others are left earlier."""
    return round_s * 2 if meme == 0 else max(4.5, round_s * (0.9 - 0.1 * meme - 0.1 * viewer))


async def _load_film(town: Town, viewing: Viewing) -> list[int]:
    """HTTP status of a part of the film, within the viewing and after it."""
    client = town.viewers[0].client

    async def begun() -> str:
        return viewing.film_url

    async def ended() -> str | None:
        return viewing.stop_reason

    await town.until("the viewing begins", begun)
    within, _ = await client.get(viewing.film_url, Range="bytes=0-1023")
    await town.until("the viewing ends with the round", ended)
    after, _ = await client.get(viewing.film_url, Range="bytes=0-1023")
    return [within, after]


async def _trade(town: Town) -> bool:
    """A third into the round, a title is listed and bought; the new owner earns from that second on."""
    await asyncio.sleep(town.house.settings.round_s / 3)
    meme_id, seller, buyer = town.memes[0], town.creators[0], town.viewers[0]
    listing = (await seller.client.ask(LIST, meme=meme_id, price=PRICE_SATS))["createListing"]
    sale = (await buyer.client.ask(BUY, listing=listing["id"], price=PRICE_SATS))["purchase"]
    owner = (await buyer.client.ask(OWNER, id=meme_id))["meme"]["owner"]
    town.report.step(f"{buyer.name} bought {seller.name}'s title for {sale['priceSats']} sat: {sale['id']}")
    return bool(owner["id"] == buyer.user_id)


async def _check_result(town: Town, round_id: str) -> None:
    async def recorded() -> dict[str, Any] | None:
        played: dict[str, Any] = (await town.admin.client.ask(ROUND, id=round_id))["round"]
        return played if played["record"] and played["record"]["confirmations"] >= 1 else None

    played = await town.mine_until("the result is on chain", recorded)
    result = played["result"]
    for line in result["standings"]:
        town.report.step(
            f"rank {line['rank']}: {line['meme']['name']}, {line['scoredSeconds']} s scored, took "
            f"{line['takingsSats']} sat, {line['payoutSats']} sat to {line['creator']['displayName']}"
        )
    shares = result["feeSats"] + result["creatorsSats"] + result["ownersSats"] + result["poolSats"]
    town.report.check(
        "fee, creators, owners and pool add up to the takings",
        shares - result["carriedInSats"] == played["takingsSats"] > 0,
        result,
    )
    payouts = sum(line["payoutSats"] for line in result["standings"])
    town.report.check(
        "the pool was paid out or carried over, to the satoshi",
        payouts + result["carriedOutSats"] == result["poolSats"],
        result,
    )
    told = (await town.admin.client.ask(EXPLAINED, id=round_id))["round"]["payoutExplanation"]
    earned = result["creatorsSats"] + result["ownersSats"] + payouts
    town.report.check(
        "every payout can be recomputed from the public record",
        told["matches"] and told["totalSats"] == earned,
        told,
    )
    txid = played["record"]["txid"]
    town.report.step(f"the result is recorded in {txid}")
    known = await town.house.rpc.record("getrawtransaction", txid, True)
    town.report.check("the node has the result in a block", bool(known.get("blockhash")), known)
    await _check_record(town, round_id, txid)
    await _check_title(town)


async def _check_record(town: Town, round_id: str, txid: str) -> None:
    """As a stranger checks it, who asks the node and believes nothing else."""
    record = (await town.admin.client.ask(EXPORT, id=round_id))["round"]["publicRecord"]["json"]
    winner = json.loads(record)["payouts"][:1]
    user_id = winner[0][2] if winner else ""
    verdict = await verify_round(town.house.node_url, txid, record, user_id=user_id)
    for line in filter(None, verdict.text.splitlines()):
        town.report.step(f"satreel-verify-round: {line.strip()}")
    town.report.check("satreel-verify-round finds that all fits", verdict.code == 0, verdict.text)
    forged = record.replace('"paid_out":', '"paid_out":1', 1)
    found = await verify_round(town.house.node_url, txid, forged)
    told = found.code == 1 and "sum paid out" in found.text
    town.report.check("and finds a forged record", told, found.text)


async def _check_title(town: Town) -> None:
    before = town.memes[0]

    async def moved() -> dict[str, Any] | None:
        meme = (await town.admin.client.ask(OWNER, id=before))["meme"]
        inscription = meme["inscription"]
        settled = inscription["confirmations"] >= 1 and inscription["outpoint"] != inscription["origin"]
        return inscription if settled else None

    inscription = await town.mine_until("the sold title moves on chain", moved)
    town.report.step(f"the sold title is now in {inscription['outpoint']}")

    async def compared() -> dict[str, Any] | None:
        audit: dict[str, Any] = (await town.admin.client.ask(TITLES))["titleAudit"]
        return audit if audit["lookedAt"] and audit["titles"] == len(town.memes) else None

    audit = await town.until("ledger and chain are compared, title by title", compared)
    town.report.check("every title's owner is compared with its holder on chain", bool(audit), audit)


async def _withdraw(town: Town) -> None:
    seller = town.creators[0]
    balance = await seller.balance_sats()
    asked = {"address": seller.wallet.address, "amount": WITHDRAWAL_SATS}
    withdrawal_id = (await seller.client.ask(WITHDRAW, **asked))["withdraw"]["id"]

    async def confirmed() -> dict[str, Any] | None:
        found: dict[str, Any] = (await seller.client.ask(WITHDRAWAL, id=withdrawal_id))["me"]["withdrawal"]
        return found if found["state"] == "CONFIRMED" else None

    done = await town.mine_until("the withdrawal is confirmed", confirmed)
    town.report.step(
        f"{seller.name} withdrew {WITHDRAWAL_SATS} sat in {done['txid']}, fee {done['feeSats']} sat"
    )
    raw = await town.house.rpc.text("getrawtransaction", done["txid"])
    arrived = sum(coin.sats for coin in seller.wallet.receive_from(raw))
    town.report.check("the wallet got exactly what was asked", arrived == WITHDRAWAL_SATS, arrived)
    spent = balance - await seller.balance_sats()
    town.report.check("the balance went down by amount and fee", spent == arrived + done["feeSats"], spent)


async def check_books(town: Town) -> None:
    """Every satoshi is accounted for: all accounts, coins against debts, and the node's word."""
    books: dict[str, Any] = {}
    on_node = (0, 0)

    async def settled() -> bool:
        nonlocal books, on_node
        books, on_node = (await town.admin.client.ask(BOOKS))["books"], await town.coins_on_chain()
        custody = books["custody"]
        return custody["differenceSats"] == 0 and on_node == (custody["coins"], custody["coinsSats"])

    try:
        await town.until("coins, node and ledger agree", settled, timeout_s=SETTLE_S)
    except NotInTime:
        town.report.step("coins, node and ledger do not agree yet")
    totals, custody = books["totals"], books["custody"]
    town.report.step(
        f"users {totals['usersSats']}, platform {totals['platformSats']}, rounds {totals['roundsSats']} sat; "
        f"{custody['coins']} coins of {custody['coinsSats']} sat; {totals['postings']} postings"
    )
    town.report.check("all accounts together are zero", totals["sumSats"] == 0, totals)
    owed = totals["usersSats"] + totals["platformSats"] + totals["roundsSats"]
    town.report.check("what is owed is what the accounts hold", owed == totals["coinsOwedSats"], totals)
    town.report.check("coins in custody are what is owed", custody["differenceSats"] == 0, custody)
    same = on_node == (custody["coins"], custody["coinsSats"])
    town.report.check("the node, asked coin by coin, has exactly these unspent", same, on_node)
