"""A title is bought by REST, by gRPC and by gRPC-Web, and a round is the same by all three."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from satreel.ledger.v1 import ledger_service_pb2 as ledger_pb
from satreel.market.v1 import market_service_pb2 as pb
from satreel.rounds.v1 import rounds_service_pb2 as rounds_pb

from mesh import contracts
from mesh.ids import uuid7
from sandbox import team
from sandbox.people import Person
from sandbox.report import Report
from sandbox.town import Town
from tests.edge.conftest import Door

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRICE = 2_000
PURCHASE = "/satreel.market.v1.MarketService/Purchase"
TITLE = "/satreel.ledger.v1.LedgerService/GetTitle"
CURRENT = "/satreel.rounds.v1.RoundsService/GetCurrentRound"
ROUND = "/satreel.rounds.v1.RoundsService/GetRound"


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


@dataclass(frozen=True, slots=True)
class Spoken:
    """One way to call a service through the edge: what comes in and goes out are the contract's messages."""

    name: str
    call: Callable[[str, Message, type[Message], str], Awaitable[Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ways(door: Door, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Spoken, ...]]:
    """REST as anybody, gRPC and gRPC-Web with the certificate of a team."""
    folder = tmp_path_factory.mktemp("team")
    team.issue("analytics", door.house.tls_dir, folder)
    key, chain, authority = (
        (folder / name).read_bytes() for name in ("analytics.key", "analytics.pem", "ca.pem")
    )
    context = ssl.create_default_context(cadata=authority.decode())
    context.load_cert_chain(folder / "analytics.pem", folder / "analytics.key")
    address = f"localhost:{door.house.settings.https_port}"

    async def rest(path: str, request: Message, answer: type[Message], token: str) -> Any:
        (place, *_) = contracts.method(path).rest
        given = MessageToDict(request)
        url = re.sub(r"\{(\w+)\}", lambda found: given.pop(json_name(found[1])), place.path)
        more = {"json": given} if place.has_body else {"params": given}
        status, _, body = await door.ask(place.verb, url, token=token, **more)
        assert status == 200, body
        return ParseDict(body, answer())

    async def web(path: str, request: Message, answer: type[Message], token: str) -> Any:
        body = request.SerializeToString()
        framed = struct.pack(">BI", 0, len(body)) + body
        headers = {"Content-Type": "application/grpc-web+proto"} | bearer(token)
        url = f"https://{address}{path}"
        async with door.client.post(url, data=framed, headers=headers, ssl=context) as response:
            told = await response.read()
        flag, length = struct.unpack(">BI", told[:5])
        assert flag == 0, told
        return answer.FromString(told[5 : 5 + length])

    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority, key, chain)) as mine:

        async def by_grpc(path: str, request: Message, answer: type[Message], token: str) -> Any:
            metadata = tuple((name.lower(), value) for name, value in bearer(token).items())
            call = mine.unary_unary(path, type(request).SerializeToString, answer.FromString)
            return await call(request, metadata=metadata, timeout=10)

        yield Spoken("REST", rest), Spoken("gRPC", by_grpc), Spoken("gRPC-Web", web)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def json_name(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


async def listed(door: Door, town: Town, seller: Person) -> str:
    """By REST, where a new listing is as good as any."""
    listing_id = uuid7()
    asked = {"listingId": listing_id, "memeId": town.memes[0], "priceSats": PRICE}
    status, _, body = await door.ask("POST", "/v1/listings", token=seller.client.access_token, json=asked)
    assert (status, body.get("listing", {}).get("state")) == (200, "LISTING_STATE_OPEN"), body
    return listing_id


async def the_same_by_all(
    ways: tuple[Spoken, ...], path: str, request: Message, answer: type[Message]
) -> Any:
    """What all say at one time; it may change between two of them."""
    for _ in range(10):
        told = [await way.call(path, request, answer, "") for way in ways]
        if told[0] == told[1] == told[2]:
            return told[0]
    raise AssertionError(told)


async def test_each_buys_the_same_title_and_reads_the_same_round(
    door: Door, town: Town, ways: tuple[Spoken, ...]
) -> None:
    current = await the_same_by_all(
        ways, CURRENT, rounds_pb.GetCurrentRoundRequest(), rounds_pb.GetCurrentRoundResponse
    )
    owner, sales = town.creators[0], []
    for way, buyer in zip(ways, town.viewers, strict=False):
        token, before_sats = buyer.client.access_token, await buyer.balance_sats()
        listing = await listed(door, town, owner)
        request = pb.PurchaseRequest(sale_id=uuid7(), listing_id=listing, expected_price_sats=PRICE)
        bought = await way.call(PURCHASE, request, pb.PurchaseResponse, token)
        # Whatever way it comes again, it is the same sale.
        for again in ways:
            assert await again.call(PURCHASE, request, pb.PurchaseResponse, token) == bought
        assert bought.sale.buyer_id == bare(buyer.user_id)
        assert (bought.sale.meme_id, bought.sale.price_sats) == (town.memes[0], PRICE)
        assert await buyer.balance_sats() == before_sats - PRICE
        title = await the_same_by_all(
            ways, TITLE, ledger_pb.GetTitleRequest(meme_id=town.memes[0]), ledger_pb.GetTitleResponse
        )
        assert title.title.owner_id == bought.sale.buyer_id, way.name
        asked = rounds_pb.GetRoundRequest(round_id=current.round.id)
        round_ = await the_same_by_all(ways, ROUND, asked, rounds_pb.GetRoundResponse)
        assert (round_.round.id, round_.round.number) == (current.round.id, current.round.number)
        sales.append(bought.sale.id)
        owner = buyer
    assert len(set(sales)) == len(ways)
