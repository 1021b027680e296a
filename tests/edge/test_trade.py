"""A title is bought by REST, by gRPC and by gRPC-Web, and a round is the same by all three."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb
from satreel.market.v1.market_service_pb2_grpc import MarketServiceStub
from satreel.rounds.v1 import rounds_service_pb2
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from mesh.ids import uuid7
from sandbox.people import Person
from sandbox.report import Report
from sandbox.town import Town
from tests.edge.conftest import Door

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]

PRICE = 2_000


def bare(graphql_id: str) -> str:
    """As services call it: without GraphQL's type."""
    return base64.b64decode(graphql_id).decode().partition(":")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(door: Door) -> AsyncIterator[Town]:
    """A meme of Ada's, and viewers with money."""
    town = Town.of(door.house, Report(colours=False), seed=door.seed)
    await asyncio.gather(*(person.log_in() for person in (town.admin, town.creators[0], *town.viewers[:3])))
    await town.fund_float()
    for viewer in town.viewers[:3]:
        await viewer.deposit(20_000, door.house.chain)
    await door.house.chain.mine()
    for viewer in town.viewers[:3]:
        await viewer.until_balance(20_000, 60)
    meme_id = await town.admin.upload(1, "Meme", creator=town.creators[0])

    async def published() -> bool:
        return bool((await town.admin.meme(meme_id))["state"] == "PUBLISHED")

    await town.until("the meme is published", published)
    town.memes.append(bare(meme_id))
    yield town
    await town.close()


async def listed(door: Door, town: Town, seller: Person) -> str:
    """By REST, where a new listing is as good as any."""
    listing_id = uuid7()
    asked = {"listingId": listing_id, "memeId": town.memes[0], "priceSats": PRICE}
    status, _, body = await door.ask("POST", "/v1/listings", token=seller.client.access_token, json=asked)
    assert (status, body.get("listing", {}).get("state")) == (200, "LISTING_STATE_OPEN"), body
    return listing_id


def channel(door: Door) -> grpc.aio.Channel:
    folder = door.house.tls_dir
    files = [(folder / name).read_bytes() for name in ("ca.pem", "gateway.key", "gateway.pem")]
    address = f"localhost:{door.house.settings.https_port}"
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(*files))


async def web(door: Door, path: str, request: Message, answer: Any, token: str = "") -> Any:
    """A call by gRPC-Web, as the team whose certificate is the gateway's."""
    body = request.SerializeToString()
    headers = {"Content-Type": "application/grpc-web+proto", "Authorization": f"Bearer {token}"}
    if not token:
        del headers["Authorization"]
    url, framed = door.house.secure_url + path, struct.pack(">BI", 0, len(body)) + body
    async with door.client.post(url, data=framed, headers=headers, ssl=door.tls("gateway")) as response:
        told = await response.read()
    flag, length = struct.unpack(">BI", told[:5])
    assert flag == 0, told
    return answer.FromString(told[5 : 5 + length])


async def test_a_title_is_bought_by_all_three(door: Door, town: Town) -> None:
    ada, (vera, viktor, violet) = town.creators[0], town.viewers[:3]
    listing = await listed(door, town, ada)
    asked: Any = {"saleId": uuid7(), "expectedPriceSats": str(PRICE)}
    path = f"/v1/listings/{listing}:purchase"
    by_rest = await door.ask("POST", path, token=vera.client.access_token, json=asked)
    again = await door.ask("POST", path, token=vera.client.access_token, json=asked)
    assert by_rest[0] == 200, by_rest
    assert by_rest[2] == again[2], "the same sale, once"

    listing = await listed(door, town, vera)
    request = pb.PurchaseRequest(sale_id=uuid7(), listing_id=listing, expected_price_sats=PRICE)
    async with channel(door) as mine:
        metadata = (("authorization", f"Bearer {viktor.client.access_token}"),)
        by_grpc = await MarketServiceStub(mine).Purchase(request, metadata=metadata, timeout=10)

    listing = await listed(door, town, viktor)
    request = pb.PurchaseRequest(sale_id=uuid7(), listing_id=listing, expected_price_sats=PRICE)
    by_web = await web(
        door,
        "/satreel.market.v1.MarketService/Purchase",
        request,
        pb.PurchaseResponse,
        token=violet.client.access_token,
    )

    buyers = [by_rest[2]["sale"]["buyerId"], by_grpc.sale.buyer_id, by_web.sale.buyer_id]
    assert buyers == [bare(one.user_id) for one in (vera, viktor, violet)]
    assert isinstance(by_web.sale, market_pb2.Sale)
    title = (await door.ask("GET", f"/v1/titles/{town.memes[0]}"))[2]["title"]
    assert title["ownerId"] == buyers[-1]
    assert await vera.balance_sats() > 20_000 - PRICE, "and sold it again"


async def test_a_round_is_the_same_by_all_three(door: Door, town: Town) -> None:
    request = rounds_service_pb2.GetCurrentRoundRequest()
    status, _, by_rest = await door.ask("GET", "/v1/rounds/current")
    assert status == 200, by_rest
    async with channel(door) as mine:
        by_grpc = await RoundsServiceStub(mine).GetCurrentRound(request, timeout=10)
    path = "/satreel.rounds.v1.RoundsService/GetCurrentRound"
    by_web = await web(door, path, request, rounds_service_pb2.GetCurrentRoundResponse)
    assert by_web.round.id == by_grpc.round.id
    assert MessageToDict(by_grpc.round)["id"] == by_rest["round"]["id"]
