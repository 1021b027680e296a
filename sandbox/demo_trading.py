"""The demo's trade: a listing is bought and an offer accepted, both in the middle of a round."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sandbox.people import Person
from sandbox.town import Town

PRICE_SATS = 5_000
OFFERS_SATS = (2_000, 3_000)
OFFER_LASTS = timedelta(hours=1)

LIST = """mutation List($meme: ID!, $price: Sats!) {
  createListing(memeId: $meme, priceSats: $price) { id state }
}"""
BUY = """mutation Buy($listing: ID!, $price: Sats!) {
  purchase(listingId: $listing, expectedPriceSats: $price) { id priceSats feeSats }
}"""
OFFER = """mutation Offer($meme: ID!, $price: Sats!, $until: DateTime!) {
  makeOffer(memeId: $meme, priceSats: $price, expiresAt: $until) { id state }
}"""
ACCEPT = "mutation Accept($offer: ID!) { acceptOffer(offerId: $offer) { id priceSats } }"
OFFERS = "query Offers($meme: ID!) { offers(memeId: $meme, state: null) { nodes { id state } } }"
OWNER = "query Owner($id: ID!) { meme(id: $id) { owner { id } } }"


async def trade(town: Town) -> None:
    """A third into the round two titles are sold; the new owners earn from that second on."""
    await asyncio.sleep(town.house.settings.round_s / 3)
    await _buy(town, town.memes[0], town.creators[0], town.viewers[0])
    await _bid(town, town.memes[1], town.creators[1], town.viewers[1:3])


async def _buy(town: Town, meme_id: str, seller: Person, buyer: Person) -> None:
    listing = (await seller.client.ask(LIST, meme=meme_id, price=PRICE_SATS))["createListing"]
    sale = (await buyer.client.ask(BUY, listing=listing["id"], price=PRICE_SATS))["purchase"]
    town.report.step(f"{buyer.name} bought {seller.name}'s title for {sale['priceSats']} sat: {sale['id']}")
    sold = await _owner(town, meme_id) == buyer.user_id
    town.report.check("a listed title changed hands mid-round", sold, sale)
    town.sold.append(meme_id)


async def _bid(town: Town, meme_id: str, seller: Person, bidders: list[Person]) -> None:
    """Two offers: the better one is accepted, which ends the other."""
    until = (datetime.now(UTC) + OFFER_LASTS).isoformat()
    lower, better = [
        (await bidder.client.ask(OFFER, meme=meme_id, price=price, until=until))["makeOffer"]["id"]
        for bidder, price in zip(bidders, OFFERS_SATS, strict=True)
    ]
    sale = (await seller.client.ask(ACCEPT, offer=better))["acceptOffer"]
    town.report.step(f"{seller.name} took {bidders[1].name}'s offer of {sale['priceSats']} sat: {sale['id']}")
    sold = await _owner(town, meme_id) == bidders[1].user_id
    town.report.check("an accepted offer moved the title mid-round", sold, sale)

    async def closed() -> dict[str, str] | None:
        found = (await town.admin.client.ask(OFFERS, meme=meme_id))["offers"]["nodes"]
        states = {offer["id"]: offer["state"] for offer in found}
        return None if "OPEN" in states.values() else states

    states = await town.until("the other offer is closed", closed)
    right = states == {better: "ACCEPTED", lower: "SUPERSEDED"}
    town.report.check("the other offer is superseded", right, states)
    town.sold.append(meme_id)


async def _owner(town: Town, meme_id: str) -> str:
    return str((await town.admin.client.ask(OWNER, id=meme_id))["meme"]["owner"]["id"])
