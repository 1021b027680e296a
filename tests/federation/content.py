"""What the operations are asked about."""

from __future__ import annotations

from typing import Any

from satreel.chain.v1 import chain_pb2
from satreel.ledger.v1 import ledger_pb2
from satreel.market.v1 import market_pb2
from satreel.rounds.v1 import rounds_pb2
from strawberry import relay

from mesh.ids import uuid7
from tests.gateway.fakes import AT, NOBODY
from tests.gateway.world import World


def filled(world: World) -> dict[str, Any]:
    """Fills a world with something of everything; gives ids by the names of variables."""
    ada, bob = world.user("ada"), world.user("bob")
    memes = [
        world.meme(name, creator)
        for name, creator in (("ape", ada), ("bee", bob), ("cow", ada), ("dog", bob))
    ]
    ape = memes[0]
    orphan = world.meme("orphan", bob)
    orphan.creator_id = NOBODY
    world.ledger.titles.pop(orphan.id)
    listing = market_pb2.Listing(
        id=uuid7(),
        meme_id=ape.id,
        seller_id=ada.id,
        price_sats=1_500,
        state=market_pb2.LISTING_STATE_OPEN,
        version=1,
    )
    world.market.listings[listing.id] = listing
    offer = market_pb2.Offer(
        id=uuid7(),
        meme_id=memes[1].id,
        seller_id=bob.id,
        buyer_id=ada.id,
        price_sats=2_000,
        state=market_pb2.OFFER_STATE_OPEN,
        expires_at=AT,
    )
    world.market.offers[offer.id] = offer
    sale = market_pb2.Sale(
        id=uuid7(),
        meme_id=ape.id,
        seller_id=bob.id,
        buyer_id=ada.id,
        listing_id=listing.id,
        price_sats=900,
        number=7,
    )
    world.market.sales[sale.id] = sale
    played = world.round(12)
    played.starts_at.CopyFrom(AT)
    world.rounds.boards[played.id].standings.extend(
        rounds_pb2.Standing(rank=rank, meme_id=meme.id, creator_id=meme.creator_id, takings_sats=100 - rank)
        for rank, meme in enumerate(memes, 1)
    )
    world.ledger.records[played.id] = ledger_pb2.RoundRecord(json="{}", sha256="00")
    steps = [
        ledger_pb2.PayoutStep(what="pool", formula="a"),
        ledger_pb2.PayoutStep(what="creator", formula="b", meme_id=ape.id, user_id=ada.id, result_sats=0),
    ]
    world.ledger.explanations[played.id, ada.id] = ledger_pb2.PayoutExplanation(
        user_id=ada.id, steps=steps, total_sats=5, matches=True
    )
    world.ledger.balances[f"user:{ada.id}"] = 77
    viewing = ledger_pb2.Session(id=uuid7(), viewer_id=ada.id, meme_id=ape.id, budget_sats=60)
    world.ledger.sessions[viewing.id] = viewing
    withdrawal = chain_pb2.Withdrawal(
        id=uuid7(), user_id=ada.id, amount_sats=30, state=chain_pb2.WITHDRAWAL_STATE_QUEUED
    )
    world.chain.withdrawals[withdrawal.id] = withdrawal
    named = {
        "user": ("User", ada.id),
        "meme": ("Meme", ape.id),
        "round": ("Round", played.id),
        "listing": ("Listing", listing.id),
        "offer": ("Offer", offer.id),
        "sale": ("Sale", sale.id),
        "withdrawal": ("Withdrawal", withdrawal.id),
        "viewing": ("Viewing", viewing.id),
    }
    ids = {name: relay.to_base64(kind, bare) for name, (kind, bare) in named.items()}
    absent = relay.to_base64("Meme", NOBODY)
    return {**ids, "ids": [*ids.values(), absent], "nobody": NOBODY, "orphan": orphan.id}
