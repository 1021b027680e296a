"""The market over real channels, and from it to a ledger and a chain that speak theirs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code, Failure, RemoteFailure
from mesh.ids import uuid7
from mesh.testing import LoopbackServer
from tests.market.fakes import BookLedger
from tests.market.world import FUNDS, PRICE, World


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """The ledger's contract over its state machine, as far as the market calls it, and refusals at will."""

    def __init__(self, ledger: BookLedger) -> None:
        self.ledger = ledger
        self.failure: Failure | None = None
        self.reason: Any = None

    async def GetTitle(self, request: Any, context: Any) -> ledger_service_pb2.GetTitleResponse:
        return await self.ledger.GetTitle(request)

    async def GetAccount(self, request: Any, context: Any) -> ledger_service_pb2.GetAccountResponse:
        return await self.ledger.GetAccount(request)

    async def CreateTransfers(self, request: Any, context: Any) -> ledger_service_pb2.CreateTransfersResponse:
        if self.failure is not None:
            raise self.failure
        if self.reason is None:
            return await self.ledger.CreateTransfers(request)
        reasons = [
            self.reason,
            *[ledger_pb2.ERROR_REASON_LINKED_TRANSFER_FAILED] * (len(request.transfers) - 1),
        ]
        return ledger_service_pb2.CreateTransfersResponse(
            results=[ledger_pb2.TransferResult(reason=reason) for reason in reasons]
        )


class ChainServicer(chain_service_pb2_grpc.ChainServiceServicer):
    """The chain's contract, as far as the market calls it."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, str, str]] = []

    async def TransferTitle(self, request: Any, context: Any) -> chain_service_pb2.TransferTitleResponse:
        self.moved.append((request.sale_id, request.meme_id, request.new_owner_id))
        return chain_service_pb2.TransferTitleResponse()


@dataclass
class Market:
    """The service under test over real channels, and the world behind it."""

    stub: market_service_pb2_grpc.MarketServiceStub
    server: LoopbackServer
    world: World
    ledger: LedgerServicer
    chain: ChainServicer

    def acting(self, user_id: str, *, admin: bool = False) -> Any:
        return self.server.user(user_id, roles={"admin"} if admin else ())

    async def list_title(
        self,
        seller: str,
        meme: str,
        price: int = PRICE,
        *,
        listing_id: str = "",
        expires_at: Timestamp | None = None,
    ) -> market_pb2.Listing:
        request = pb.CreateListingRequest(
            listing_id=listing_id or uuid7(), meme_id=meme, price_sats=price, expires_at=expires_at
        )
        with self.acting(seller):
            return (await self.stub.CreateListing(request)).listing

    async def edit(
        self, seller: str, listing: market_pb2.Listing, version: int = 0, **fields: Any
    ) -> market_pb2.Listing:
        request = pb.UpdateListingRequest(
            listing_id=listing.id, expected_version=version or listing.version, **fields
        )
        with self.acting(seller):
            return (await self.stub.UpdateListing(request)).listing

    async def offer(
        self, buyer: str, meme: str, price: int = PRICE, *, offer_id: str = "", lasts_s: float = 60
    ) -> market_pb2.Offer:
        request = pb.MakeOfferRequest(
            offer_id=offer_id or uuid7(), meme_id=meme, price_sats=price, expires_at=self.after(lasts_s)
        )
        with self.acting(buyer):
            return (await self.stub.MakeOffer(request)).offer

    async def accept(self, seller: str, offer_id: str, sale_id: str = "") -> market_pb2.Sale:
        request = pb.AcceptOfferRequest(sale_id=sale_id or uuid7(), offer_id=offer_id)
        with self.acting(seller):
            return (await self.stub.AcceptOffer(request)).sale

    async def cancel_offer(self, user: str, offer_id: str, *, admin: bool = False) -> market_pb2.Offer:
        with self.acting(user, admin=admin):
            return (await self.stub.CancelOffer(pb.CancelOfferRequest(offer_id=offer_id))).offer

    async def get_offer(self, offer_id: str) -> market_pb2.Offer:
        return (await self.stub.GetOffer(pb.GetOfferRequest(offer_id=offer_id))).offer

    def after(self, seconds: float) -> Timestamp:
        at = Timestamp()
        at.FromNanoseconds(self.world.after(seconds))
        return at

    async def buy(
        self, buyer: str, listing: market_pb2.Listing, sale_id: str = "", price: int = PRICE
    ) -> market_pb2.Sale:
        request = pb.PurchaseRequest(
            sale_id=sale_id or uuid7(), listing_id=listing.id, expected_price_sats=price
        )
        with self.acting(buyer):
            return (await self.stub.Purchase(request)).sale

    async def cancel(self, user: str, listing_id: str, *, admin: bool = False) -> market_pb2.Listing:
        with self.acting(user, admin=admin):
            answer = await self.stub.CancelListing(pb.CancelListingRequest(listing_id=listing_id))
        return answer.listing

    async def get(self, listing_id: str) -> market_pb2.Listing:
        return (await self.stub.GetListing(pb.GetListingRequest(listing_id=listing_id))).listing


@contextmanager
def refused(reason: str, code: Code | None = None, **metadata: str) -> Any:
    with pytest.raises(RemoteFailure) as caught:
        yield
    assert caught.value.reason == reason
    assert code is None or caught.value.code == code
    assert metadata.items() <= caught.value.metadata.items()


def money(market: Market) -> str:
    return market.ledger.ledger.digest()


def a_person(market: Market, sats: int = FUNDS) -> str:
    user_id = uuid7()
    market.ledger.ledger.fund(user_id, sats)
    return user_id


def a_meme(market: Market, owner: str) -> str:
    meme_id = uuid7()
    market.ledger.ledger.issue(meme_id, owner)
    return meme_id
