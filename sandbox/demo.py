"""The demo: one round from an empty mesh to a withdrawal, over the public API only, with every claim checked.

python -m sandbox demo
"""

from __future__ import annotations

from typing import Any

from sandbox.client import GraphqlError
from sandbox.demo_checks import check_books, check_result
from sandbox.demo_round import play_round
from sandbox.launcher import House
from sandbox.people import NotInTime
from sandbox.pictures import bad
from sandbox.report import Report
from sandbox.town import DEPOSIT_SATS, PATIENCE_S, Town

WITHDRAWAL_SATS = 2_500
BAD_NAME = "A bad one"

MEMES_OF = "query MemesOf($id: ID!) { user(id: $id) { memes(first: 100) { nodes { name } } } }"
WITHDRAW = """mutation Withdraw($address: String!, $amount: Sats!) {
  withdraw(address: $address, amountSats: $amount) { id feeSats }
}"""
WITHDRAWAL = """query Withdrawal($id: ID!) {
  me { withdrawal(id: $id) { state txid amountSats feeSats confirmations failure } }
}"""


async def play(house: House, report: Report, *, seed: str) -> None:
    """The whole demo. Raises NotInTime or GraphqlError when it cannot go on."""
    town = Town.of(house, report, seed=seed)
    try:
        report.title("People and coins")
        await town.log_in()
        roles = town.admin.roles
        report.check("the administrator's wallet has the role ADMIN", "ADMIN" in roles, roles)
        await town.fund_float()
        # Its block comes while nothing is published: with one film the round would open, without the others.
        await _deposit(town)
        report.title("Pictures")
        await _upload(town)
        await _until_published(town)
        report.title("The round")
        round_id = await play_round(town)
        report.title("The result")
        await check_result(town, round_id)
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
