"""What the events of the other services add to metrics: from messages of their contracts to facts.

Ids name what happened, not how it was heard: a state that a meme reached, a deposit credited, a batch of the
ledger's journal. So an event that is told again, with another cursor or another event id, adds nothing.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.identity.v1 import identity_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from satreel.rounds.v1 import rounds_pb2

from services.insight.domain.facts import Batch, Fact, batches

PLATFORM = "platform:"


def identity_facts(event: identity_service_pb2.IdentityEvent) -> list[Batch]:
    """First log-ins and log-ins."""
    match event.WhichOneof("subject"):
        case "user_created":
            user_id = event.user_created.user.id
            return _one(f"identity/user.{user_id}", event.at, Fact("users.new", 1, user_id))
        case "logged_in":
            user_id = event.logged_in.user_id
            facts = Fact("users.log_ins", 1, user_id), Fact("users.active", 1, user_id)
            return _one(f"identity/session.{event.logged_in.session_id}", event.at, *facts)
    return []


def content_facts(event: content_service_pb2.ContentEvent) -> list[Batch]:
    """Uploads, and the ends of the pipeline."""
    meme, found = event.meme, []
    if meme.HasField("created_at"):
        found += _one(f"content/{meme.id}.uploaded", meme.created_at, Fact("content.uploaded", 1, meme.id))
    if meme.HasField("published_at"):
        found += _one(
            f"content/{meme.id}.published", meme.published_at, Fact("content.published", 1, meme.id)
        )
    if meme.state == content_pb2.MEME_STATE_REJECTED:
        found += _one(f"content/{meme.id}.rejected", event.at, Fact("content.rejected", 1, meme.id))
    if meme.state == content_pb2.MEME_STATE_TAKEN_DOWN:
        found += _one(f"content/{meme.id}.taken_down", event.at, Fact("content.taken_down", 1, meme.id))
    return found


def round_facts(round_: rounds_pb2.Round) -> list[Batch]:
    """What a round as it stands tells; the same from an event, a snapshot and a list."""
    found = []
    if round_.HasField("starts_at"):
        opened = Fact("rounds.opened", 1, round_.id), Fact("rounds.entries", round_.entries, round_.id)
        found += _one(f"rounds/{round_.id}.opened", round_.starts_at, *opened)
    if round_.state == rounds_pb2.ROUND_STATE_COMPLETED:
        found += _one(
            f"rounds/{round_.id}.completed", round_.ended_at, Fact("rounds.completed", 1, round_.id)
        )
    if round_.state == rounds_pb2.ROUND_STATE_VOIDED:
        found += _one(f"rounds/{round_.id}.voided", round_.ended_at, Fact("rounds.voided", 1, round_.id))
    return found


def market_facts(event: market_service_pb2.MarketEvent) -> list[Batch]:
    """Listings, offers and sales."""
    listing, offer, sale = event.listing, event.offer, event.sale
    match event.WhichOneof("subject"):
        case "listing" if listing.state == market_pb2.LISTING_STATE_OPEN:
            made = Fact("market.listings", 1, listing.meme_id), Fact("users.active", 1, listing.seller_id)
            return _one(f"market/listing.{listing.id}", listing.created_at, *made)
        case "offer" if offer.state == market_pb2.OFFER_STATE_OPEN:
            bid = Fact("market.offers", 1, offer.meme_id), Fact("users.active", 1, offer.buyer_id)
            return _one(f"market/offer.{offer.id}", offer.created_at, *bid)
        case "sale":
            sold = (
                Fact("market.sales", 1, sale.meme_id),
                Fact("market.volume", sale.price_sats, sale.meme_id),
                Fact("users.active", 1, sale.buyer_id),
            )
            return _one(f"market/sale.{sale.id}", sale.sold_at, *sold)
    return []


def chain_facts(event: chain_service_pb2.ChainEvent) -> list[Batch]:
    """Deposits and withdrawals."""
    deposit, withdrawal = event.deposit, event.withdrawal
    match event.WhichOneof("subject"):
        case "deposit":
            return _deposit(deposit, event.at)
        case "withdrawal" if withdrawal.state == chain_pb2.WITHDRAWAL_STATE_CONFIRMED:
            paid = (
                Fact("chain.withdrawals", 1, withdrawal.id),
                Fact("chain.withdrawals_sat", withdrawal.amount_sats, withdrawal.id),
                Fact("users.active", 1, withdrawal.user_id),
            )
            return _one(f"chain/withdrawal.{withdrawal.id}", event.at, *paid)
    return []


def _deposit(deposit: chain_pb2.ChainDeposit, at: Timestamp) -> list[Batch]:
    if deposit.state == chain_pb2.DEPOSIT_STATE_CREDITED:
        credited = [
            Fact("chain.deposits", 1, deposit.id),
            Fact("chain.deposits_sat", deposit.amount_sats, deposit.id),
        ]
        # The operator's float is no user.
        if not deposit.user_id.startswith(PLATFORM):
            credited.append(Fact("users.active", 1, deposit.user_id))
        return _one(f"chain/deposit.{deposit.id}.{deposit.reversals}", at, *credited)
    if deposit.state == chain_pb2.DEPOSIT_STATE_REVERSED:
        undone = (
            Fact("chain.deposits", -1, deposit.id),
            Fact("chain.deposits_sat", -deposit.amount_sats, deposit.id),
        )
        return _one(f"chain/deposit.{deposit.id}.{deposit.reversals}.reversed", at, *undone)
    return []


def block_facts(event: chain_service_pb2.BlockEvent) -> list[Batch]:
    """Blocks that joined the winning chain or left it."""
    facts = [Fact("chain.orphans", 1, block.hash) for block in event.orphaned]
    facts += [Fact("chain.blocks", 1, block.hash) for block in event.connected]
    if event.connected:
        tip = event.connected[-1]
        facts.append(Fact("chain.height", tip.height, tip.hash))
    return batches(f"blocks/{event.id}", event.at.ToNanoseconds(), facts)


def _one(batch_id: str, at: Timestamp, *facts: Fact) -> list[Batch]:
    return [Batch(batch_id, at.ToNanoseconds(), facts)]
