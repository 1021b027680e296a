"""What the demo checks once its round is over: the result and its record, the titles on chain, the books."""

from __future__ import annotations

import json
from typing import Any

from sandbox.people import NotInTime
from sandbox.town import BOOKS, ROUND, Town
from sandbox.verifying import verify_round

SETTLE_S = 60.0

INSCRIPTION = """query Inscription($id: ID!) {
  meme(id: $id) { inscription { origin outpoint confirmations } }
}"""
EXPLAINED = """query Explained($id: ID!) {
  round(id: $id) { payoutExplanation { matches mismatches totalSats } }
}"""
TITLES = "query Titles { titleAudit { lookedAt titles different } }"
EXPORT = "query Export($id: ID!) { round(id: $id) { publicRecord { json } } }"


async def check_result(town: Town, round_id: str) -> None:
    """The result adds up, is on chain, and is what a stranger computes; the sold titles have moved."""

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
    await _check_titles(town)


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


async def _check_titles(town: Town) -> None:
    for meme_id in town.sold:

        async def moved(meme_id: str = meme_id) -> dict[str, Any] | None:
            found: dict[str, Any] = (await town.admin.client.ask(INSCRIPTION, id=meme_id))["meme"][
                "inscription"
            ]
            settled = found["confirmations"] >= 1 and found["outpoint"] != found["origin"]
            return found if settled else None

        inscription = await town.mine_until("a sold title moves on chain", moved)
        town.report.step(f"a sold title is now in {inscription['outpoint']}")

    async def compared() -> dict[str, Any] | None:
        audit: dict[str, Any] = (await town.admin.client.ask(TITLES))["titleAudit"]
        return audit if audit["lookedAt"] and audit["titles"] == len(town.memes) else None

    audit = await town.until("ledger and chain are compared, title by title", compared)
    town.report.check("every title's owner is compared with its holder on chain", bool(audit), audit)


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
