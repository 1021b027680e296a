"""From scripted events of every service to the facts they stand for; every metric is reached."""

from __future__ import annotations

from collections import defaultdict

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.identity.v1 import identity_pb2, identity_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from satreel.rounds.v1 import rounds_pb2

from services.insight.adapters.events import (
    block_facts,
    chain_facts,
    content_facts,
    identity_facts,
    market_facts,
    round_facts,
)
from services.insight.adapters.ledger_events import ledger_facts
from services.insight.domain.facts import FACTS_MAX, Batch, Fact, batches
from services.insight.domain.metrics import METRICS

AT = Timestamp(seconds=1_700_000_000)
LATER = Timestamp(seconds=1_700_000_100)


def totals(found: list[Batch]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for one in found:
        for fact in one.facts:
            sums[fact.metric] += fact.value
    return dict(sums)


def posting(
    memo: str, amount: int, *, debit: str = "user:v", credit: str = "user:c", asset: str = "sat"
) -> ledger_pb2.Posting:
    return ledger_pb2.Posting(
        transfer_id=f"t-{memo}",
        memo=memo,
        amount=amount,
        debit_account=debit,
        credit_account=credit,
        asset=asset,
    )


def moved(*postings: ledger_pb2.Posting) -> ledger_service_pb2.Movements:
    sides = [(name, one.asset) for one in postings for name in (one.debit_account, one.credit_account)]
    accounts = list(dict.fromkeys(sides))
    return ledger_service_pb2.Movements(
        accounts=[name for name, _ in accounts],
        other_assets={place: asset for place, (_, asset) in enumerate(accounts) if asset != "sat"},
        transfer_ids=[one.transfer_id for one in postings],
        debits=[accounts.index((one.debit_account, one.asset)) for one in postings],
        credits=[accounts.index((one.credit_account, one.asset)) for one in postings],
        amounts=[one.amount for one in postings],
        memos=[one.memo for one in postings],
    )


def identity_events() -> list[Batch]:
    created = identity_service_pb2.UserCreated(user=identity_pb2.User(id="u1"))
    logged_in = identity_service_pb2.LoggedIn(user_id="u1", session_id="s1")
    revoked = identity_service_pb2.SessionRevoked(user_id="u1", session_id="s1")
    event = identity_service_pb2.IdentityEvent
    return [
        *identity_facts(event(id="1", at=AT, user_created=created)),
        *identity_facts(event(id="2", at=AT, logged_in=logged_in)),
        *identity_facts(event(id="3", at=AT, session_revoked=revoked)),
    ]


def test_identity() -> None:
    assert totals(identity_events()) == {"users.new": 1, "users.log_ins": 1, "users.active": 1}


def content_events() -> list[Batch]:
    def event(state: content_pb2.MemeState.ValueType, meme_id: str, published: bool = False) -> list[Batch]:
        meme = content_pb2.Meme(
            id=meme_id, state=state, created_at=AT, published_at=LATER if published else None
        )
        return content_facts(content_service_pb2.ContentEvent(id="1", at=LATER, meme=meme))

    return [
        *event(content_pb2.MEME_STATE_UPLOADED, "m1"),
        *event(content_pb2.MEME_STATE_PUBLISHED, "m1", published=True),
        *event(content_pb2.MEME_STATE_TAKEN_DOWN, "m1", published=True),
        *event(content_pb2.MEME_STATE_REJECTED, "m2"),
    ]


def test_content() -> None:
    once = {found.id: found for found in content_events()}
    assert totals(list(once.values())) == {
        "content.uploaded": 2,
        "content.published": 1,
        "content.taken_down": 1,
        "content.rejected": 1,
    }
    assert once["content/m1.published"].at_ns == LATER.ToNanoseconds()


def round_events() -> list[Batch]:
    completed = rounds_pb2.Round(
        id="r1", state=rounds_pb2.ROUND_STATE_COMPLETED, starts_at=AT, ended_at=LATER, entries=3
    )
    voided = rounds_pb2.Round(id="r2", state=rounds_pb2.ROUND_STATE_VOIDED, ended_at=LATER, entries=2)
    return [*round_facts(completed), *round_facts(voided)]


def test_rounds() -> None:
    assert totals(round_events()) == {
        "rounds.opened": 1,
        "rounds.entries": 3,
        "rounds.completed": 1,
        "rounds.voided": 1,
    }
    active = rounds_pb2.Round(id="r1", state=rounds_pb2.ROUND_STATE_ACTIVE, starts_at=AT, entries=3)
    assert round_facts(active) == round_events()[:1], "told while active and when completed, counted once"


def market_events() -> list[Batch]:
    open_ = market_pb2.Listing(
        id="l1", meme_id="m1", seller_id="u1", state=market_pb2.LISTING_STATE_OPEN, created_at=AT
    )
    sold = market_pb2.Listing(
        id="l1", meme_id="m1", seller_id="u1", state=market_pb2.LISTING_STATE_SOLD, created_at=AT
    )
    sale = market_pb2.Sale(id="s1", meme_id="m1", buyer_id="u2", price_sats=5_000, sold_at=LATER)
    offered = market_pb2.Offer(
        id="o1", meme_id="m1", buyer_id="u3", state=market_pb2.OFFER_STATE_OPEN, created_at=AT
    )
    gone = market_pb2.Offer(
        id="o1", meme_id="m1", buyer_id="u3", state=market_pb2.OFFER_STATE_EXPIRED, created_at=AT
    )
    event = market_service_pb2.MarketEvent
    return [
        *market_facts(event(id="1", at=AT, listing=open_)),
        *market_facts(event(id="2", at=AT, listing=sold)),
        *market_facts(event(id="3", at=AT, sale=sale)),
        *market_facts(event(id="4", at=AT, offer=offered)),
        *market_facts(event(id="5", at=LATER, offer=gone)),
    ]


def test_market() -> None:
    assert totals(market_events()) == {
        "market.listings": 1,
        "market.offers": 1,
        "market.sales": 1,
        "market.volume": 5_000,
        "users.active": 3,
    }


def chain_events() -> list[Batch]:
    def deposit(state: chain_pb2.DepositState.ValueType, reversals: int = 0) -> list[Batch]:
        found = chain_pb2.ChainDeposit(
            id="d1", user_id="u1", amount_sats=900, state=state, reversals=reversals
        )
        return chain_facts(chain_service_pb2.ChainEvent(id="1", at=AT, deposit=found))

    withdrawal = chain_pb2.Withdrawal(
        id="w1", user_id="u1", amount_sats=300, state=chain_pb2.WITHDRAWAL_STATE_CONFIRMED
    )
    return [
        *deposit(chain_pb2.DEPOSIT_STATE_SEEN),
        *deposit(chain_pb2.DEPOSIT_STATE_CREDITED),
        *deposit(chain_pb2.DEPOSIT_STATE_CREDITED),
        *deposit(chain_pb2.DEPOSIT_STATE_REVERSED, 1),
        *deposit(chain_pb2.DEPOSIT_STATE_CREDITED, 1),
        *deposit(chain_pb2.DEPOSIT_STATE_REVERSED, 2),
        # Once more in the first block: two tips took turns.
        *deposit(chain_pb2.DEPOSIT_STATE_CREDITED, 2),
        *chain_facts(chain_service_pb2.ChainEvent(id="9", at=AT, withdrawal=withdrawal)),
    ]


def test_chain() -> None:
    once = {found.id: found for found in chain_events()}
    sums = totals(list(once.values()))
    assert sums == {
        "chain.deposits": 1,
        "chain.deposits_sat": 900,
        "users.active": 4,
        "chain.withdrawals": 1,
        "chain.withdrawals_sat": 300,
    }


def test_the_operator_is_no_user() -> None:
    state = chain_pb2.DEPOSIT_STATE_CREDITED
    found = chain_pb2.ChainDeposit(id="d2", user_id="platform:float", amount_sats=5, state=state)
    event = chain_service_pb2.ChainEvent(id="1", at=AT, deposit=found)
    assert totals(chain_facts(event)) == {"chain.deposits": 1, "chain.deposits_sat": 5}


def block_events() -> list[Batch]:
    block = chain_pb2.Block(height=101, hash="h1")
    event = chain_service_pb2.BlockEvent(
        id="5", at=AT, orphaned=[block], connected=[block, chain_pb2.Block(height=102)]
    )
    return block_facts(event)


def test_blocks() -> None:
    assert totals(block_events()) == {"chain.orphans": 1, "chain.blocks": 2, "chain.height": 102}


def ledger_events() -> list[Batch]:
    takings = "takings:r1:m1"
    opened = ledger_pb2.Session(id="s1", viewer_id="v", meme_id="m1", opened_at=AT)
    free = ledger_pb2.Session(id="s2", viewer_id="w", meme_id="m1", seconds=2, opened_at=AT, closed_at=LATER)
    ended = ledger_pb2.Session(
        id="s1", viewer_id="v", meme_id="m1", seconds=100, burned_sats=100, opened_at=AT, closed_at=LATER
    )
    event = ledger_service_pb2.LedgerEvent(
        id="42",
        at=LATER,
        moved=moved(
            posting("view:s1", 100, credit=takings),
            posting("share:r1:m1:fee", 2, debit=takings, credit="platform:fee"),
            posting("share:r1:m1:creator", 4, debit=takings),
            posting("share:r1:m1:owner:o", 39, debit=takings),
            posting("pool:r1:m1", 55, debit=takings, credit="pool:r1"),
            posting("payout:r1:1", 50, debit="pool:r1"),
            posting("sale:x", 4_900),
            posting("sale:x", 100, credit="platform:fee"),
            posting("sale:x", 1, asset="title:m1"),
            posting("", 7),
        ),
        sessions=[opened, free, ended],
    )
    return ledger_facts(event)


def test_ledger() -> None:
    assert totals(ledger_events()) == {
        "transactions.count": 5,
        "transactions.volume_sat": 100 + 50 + 4_900 + 100 + 7,
        "revenue.takings": 100,
        "revenue.platform_fee": 102,
        "revenue.creators": 4,
        "revenue.owners": 39,
        "revenue.pool": 55,
        "revenue.payouts": 50,
        "sessions.opened": 1,
        "sessions.ended": 2,
        "engagement.paid_seconds": 100,
        "rounds.participation": 1,
        "users.active": 3,
    }


def test_a_viewing_that_ends_in_the_batch_that_opened_it_was_opened() -> None:
    both = ledger_pb2.Session(id="s1", viewer_id="v", meme_id="m1", opened_at=AT, closed_at=AT)
    sums = totals(ledger_facts(ledger_service_pb2.LedgerEvent(id="44", at=AT, sessions=[both])))
    assert (sums["sessions.opened"], sums["sessions.ended"], sums["rounds.participation"]) == (1, 1, 1)


def test_a_voided_round_takes_its_revenue_back() -> None:
    takings = "takings:r1:m1"
    back = ledger_service_pb2.LedgerEvent(
        id="43",
        at=LATER,
        moved=moved(
            posting("void:r1:m1:fee", 2, debit="platform:fee", credit=takings),
            posting("void:r1:m1:creator", 4, credit=takings),
            posting("void:r1:m1:owner:o", 39, credit=takings),
            posting("void:r1:m1:pool", 55, debit="pool:r1", credit=takings),
            posting("refund:s1", 100, debit=takings),
        ),
    )
    sums = totals([*ledger_events(), *ledger_facts(back)])
    assert [sums[f"revenue.{name}"] for name in ("takings", "creators", "owners", "pool")] == [0, 0, 0, 0]
    assert sums["revenue.platform_fee"] == 100, "the sale's fee stays"


def test_every_metric_is_counted_from_some_event() -> None:
    everything = [
        *identity_events(),
        *content_events(),
        *round_events(),
        *market_events(),
        *chain_events(),
        *block_events(),
        *ledger_events(),
    ]
    counted = {fact.metric for one in everything for fact in one.facts}
    assert {metric.name for metric in METRICS} - counted == {"insight.gaps"}


def test_large_events_become_several_records() -> None:
    facts = [Fact("users.new", 1, str(n)) for n in range(FACTS_MAX * 2 + 1)]
    found = batches("ledger/7", 5, facts)
    assert [len(one.facts) for one in found] == [FACTS_MAX, FACTS_MAX, 1]
    assert len({one.id for one in found}) == 3
    assert batches("ledger/8", 5, []) == []
