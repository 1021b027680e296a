"""The contract: its reasons, who may call, and what is no time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.market.v1 import market_pb2, market_service_pb2_grpc
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code, Failure
from mesh.ids import uuid7
from services.market.domain import failures
from tests.market.rpc.channels import Market, a_meme, a_person, refused
from tests.market.world import PRICE


def test_every_reason_of_the_contract_has_a_failure() -> None:
    prefix = "ERROR_REASON_"
    contract = {value.name.removeprefix(prefix) for value in market_pb2.ErrorReason.DESCRIPTOR.values}
    own = [one for one in vars(failures).values() if isinstance(one, type) and issubclass(one, Failure)]
    made = {one.reason for one in own if one.__module__ == failures.__name__}
    assert made - {"UNAVAILABLE", "INTERNAL"} == contract - {"ID_REUSED", "PAGE_TOKEN_INVALID", "UNSPECIFIED"}


async def test_calls_of_users_need_a_user_and_the_gateway(market: Market) -> None:
    listing = pb.CreateListingRequest(listing_id=uuid7(), meme_id=uuid7(), price_sats=PRICE)
    with refused("USER_TOKEN_MISSING", Code.UNAUTHENTICATED):
        await market.stub.CreateListing(listing)
    stranger = market_service_pb2_grpc.MarketServiceStub(market.server.channel("content"))
    with refused("CALLER_NOT_ALLOWED", Code.PERMISSION_DENIED), market.acting(uuid7()):
        await stranger.CreateListing(listing)


@pytest.mark.parametrize(
    "at", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(seconds=5, nanos=-1)]
)
async def test_what_is_no_time(market: Market, at: Timestamp) -> None:
    seller = a_person(market)
    meme = a_meme(market, seller)
    asked: list[Awaitable[Any]] = [
        market.list_title(seller, meme, expires_at=at),
        market.edit(seller, await market.list_title(seller, a_meme(market, seller)), expires_at=at),
        market.stub.MakeOffer(
            pb.MakeOfferRequest(offer_id=uuid7(), meme_id=meme, price_sats=PRICE, expires_at=at)
        ),
        market.stub.GetSeries(pb.GetSeriesRequest(meme_id=meme, step=market_pb2.STEP_DAY, start=at, end=at)),
    ]
    for call in asked:
        with market.acting(a_person(market)), refused("INVALID_ARGUMENT", Code.INVALID_ARGUMENT):
            await call
