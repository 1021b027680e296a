"""The users: they log in, read everything, watch and pay, trade, withdraw, upload; each for ever."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import aiohttp
import grpc
from satreel.content.v1 import content_service_pb2, content_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2, identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2, market_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2, rounds_service_pb2_grpc

from mesh import tls
from mesh.authority import TRUSTED
from mesh.ids import uuid7
from sandbox.certificates import held
from sandbox.client import GraphqlError
from sandbox.people import Person
from sandbox.pictures.meme import meme_bytes
from sandbox.town import Town
from tests.replicas.clients import Caller, is_transient, rest

Thing = TypeVar("Thing")

PAUSE_S = 0.1
AT_ONCE = 4
PRICE_SATS, WITHDRAWAL_SATS, BUDGET_SATS = 1_000, 300, 20
# A viewing may be away for so long, and is taken up after so long.
SILENCE_S, TAKE_UP_S = 10.0, 0.25

# By service, what the page of a user asks for.
QUERIES = {
    "rounds": "{ rounds(first: 3) { nodes { number state takingsSats } } }",
    "content": "{ memes(first: 5) { nodes { id name state } } }",
    "ledger": "{ me { balance { balance available held } } }",
    "market": "{ listings(first: 5) { nodes { id priceSats state } } marketOverview { __typename } }",
    "chain": "{ chainTip { __typename } tip { height hash } me { depositAddress { address } } }",
    "insight": "{ metrics { __typename } }",
}
ROUNDS = """{ rounds(first: 50) { nodes { id state takingsSats result {
  feeSats creatorsSats ownersSats poolSats carriedInSats } } } }"""
ENTRIES = "{ currentRound { id state entries { meme { id } } } }"
WATCH = """subscription($meme: ID!, $budget: Sats!, $id: ID!) {
  watch(memeId: $meme, budget: $budget, id: $id) { seconds burnedSats stopReason }
}"""
LIST = """mutation($meme: ID!, $price: Sats!, $id: ID!) {
  createListing(memeId: $meme, priceSats: $price, id: $id) { id }
}"""
BUY = """mutation($listing: ID!, $price: Sats!, $id: ID!) {
  purchase(listingId: $listing, expectedPriceSats: $price, id: $id) { id priceSats feeSats }
}"""
WITHDRAW = """mutation($address: String!, $amount: Sats!, $id: ID!) {
  withdraw(address: $address, amountSats: $amount, id: $id) { id }
}"""
UPLOAD = """mutation($picture: Upload!, $name: String!, $creator: ID, $id: ID) {
  uploadMeme(picture: $picture, name: $name, creatorId: $creator, id: $id) { id }
}"""
WITHDRAWALS = "{ me { withdrawals(first: 100) { nodes { state amountSats feeSats } } } }"
STOCKED = "{ currentRound { state entryCount } }"


def bare(graphql_id: str) -> str:
    """As services call it: without GraphQL's type."""
    return base64.b64decode(graphql_id).decode().partition(":")[2]


class Users:
    """What they do, and what must have come of it for them."""

    def __init__(self, town: Town, caller: Caller) -> None:
        self.town = town
        self.caller = caller
        # Viewers burn, traders sell to each other; the others read.
        self.viewers, self.withdrawer, self.other_trader = (
            town.viewers[:3],
            town.viewers[3],
            town.viewers[4],
        )
        self.first_trader = town.creators[1]
        self.traded = ""
        # What a trader's balance must have changed by.
        self.earned: dict[str, int] = {}
        self.uploaded: list[str] = []
        self.withdrawals = self.sales = self.viewings = self.resumed = 0
        # Until they are told to end what they do.
        self.going = True
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))

    async def close(self) -> None:
        """They hang up."""
        await self._http.close()

    def loops(self) -> list[Callable[[], Awaitable[None]]]:
        """What runs at once."""
        reading = [self._reads_graphql, self._reads_rest, self._reads_grpc, self._logs_in]
        acting = [self._trades, self._withdraws, self._uploads]
        return [*reading, *acting, *(lambda one=one: self._watches(one) for one in self.viewers)]

    def _each(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """One after the other, and again, until all is to end."""
        return itertools.takewhile(lambda _: self.going, itertools.cycle(things))

    async def _ask(self, kind: str, person: Person, query: str, **variables: Any) -> Any:
        return await self.caller.sent(f"GraphQL {kind}", lambda: person.client.ask(query, **variables))

    async def _reads_graphql(self) -> None:
        for service in self._each(QUERIES):
            await self._ask(service, self.withdrawer, QUERIES[service])
            await asyncio.sleep(PAUSE_S)

    async def _reads_rest(self) -> None:
        someone = self.other_trader
        paths = {
            "rounds": "/v1/rounds?pageSize=3",
            "content": "/v1/memes?pageSize=5",
            "identity": f"/v1/users/{bare(someone.user_id)}",
            "ledger": "/v1/viewings?pageSize=2",
            "market": "/v1/listings?pageSize=5",
            "chain": "/v1/blocks/tip",
            "insight": "/v1/metrics",
        }
        for service, path in self._each(paths.items()):
            url, token = self.town.house.url + path, someone.client.access_token
            await self.caller.sent(
                f"REST {service}",
                lambda url=url, token=token: rest(self._http, "GET", url, token=token),  # type: ignore[misc]
            )
            await asyncio.sleep(PAUSE_S)

    async def _reads_grpc(self) -> None:
        while self.going:
            # With the certificate of then, and who is trusted then.
            async with self._channel() as channel:
                for service, call in self._calls(channel).items():
                    await self.caller.sent(f"gRPC {service}", call)
                    await asyncio.sleep(PAUSE_S)

    async def burst(self, each: int) -> None:
        """So many calls to each service, and requests to the gateway, a few at a time."""
        async with self._channel() as channel:
            calls = {f"gRPC {name}": call for name, call in self._calls(channel).items()}
            asked = self.withdrawer.client
            calls["GraphQL ledger"] = lambda: asked.ask(QUERIES["ledger"])

            async def some() -> None:
                for _ in range(each // AT_ONCE):
                    for kind, call in calls.items():
                        await self.caller.sent(kind, call)

            await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    def _channel(self) -> grpc.aio.Channel:
        """Of a team's program, with a certificate of the mesh."""
        own = self.town.house.settings.data_dir / "team"
        own.mkdir(exist_ok=True)
        with held(self.town.house.tls_dir) as authority:
            authority.issue("gateway", into=own, serves=False)
            tls.write_public(own / TRUSTED, (self.town.house.tls_dir / TRUSTED).read_bytes())
        address = f"localhost:{self.town.house.settings.https_port}"
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(address, tls.channel_credentials(own, "gateway"), options=options)

    def _calls(self, channel: grpc.aio.Channel) -> dict[str, Callable[[], Awaitable[Any]]]:
        user = bare(self.other_trader.user_id)
        calls: dict[str, tuple[Any, Any]] = {
            "rounds": (
                rounds_service_pb2_grpc.RoundsServiceStub(channel).ListRounds,
                rounds_service_pb2.ListRoundsRequest(page_size=3),
            ),
            "ledger": (
                ledger_service_pb2_grpc.LedgerServiceStub(channel).GetTotals,
                ledger_service_pb2.GetTotalsRequest(),
            ),
            "identity": (
                identity_service_pb2_grpc.IdentityServiceStub(channel).GetUser,
                identity_service_pb2.GetUserRequest(user_id=user),
            ),
            "content": (
                content_service_pb2_grpc.ContentServiceStub(channel).ListMemes,
                content_service_pb2.ListMemesRequest(page_size=5),
            ),
            "market": (
                market_service_pb2_grpc.MarketServiceStub(channel).GetOverview,
                market_service_pb2.GetOverviewRequest(),
            ),
        }
        return {name: partial(call, request, timeout=10) for name, (call, request) in calls.items()}

    async def _logs_in(self) -> None:
        """Somebody comes anew each time; a log-in that was not answered begins with another challenge."""
        for someone in self._each((self.town.creators[2], self.town.creators[0])):
            await self.caller.sent("GraphQL log in", someone.log_in)
            await asyncio.sleep(4.0)

    async def _trades(self) -> None:
        """The title goes from one to the other and back, by GraphQL and by REST in turn."""
        seller, buyer = self.first_trader, self.other_trader
        self.earned = {seller.name: 0, buyer.name: 0}
        for number in self._each(itertools.count()):
            by_rest = bool(number % 2)
            listing_id, sale_id = uuid7(), uuid7()
            listed = await self._ask("list", seller, LIST, meme=self.traded, price=PRICE_SATS, id=listing_id)
            assert listed is not None, "nothing was listed"
            if by_rest:
                url = f"{self.town.house.url}/v1/listings/{listing_id}:purchase"
                body = {"saleId": sale_id, "expectedPriceSats": str(PRICE_SATS)}
                token = buyer.client.access_token
                sold = await self.caller.sent(
                    "REST purchase",
                    lambda url=url, token=token, body=body: rest(
                        self._http, "POST", url, token=token, body=body
                    ),  # type: ignore[misc]
                )
                assert sold is not None, "nothing was bought"
                fee = int(sold["sale"]["feeSats"])
            else:
                sold = await self._ask(
                    "purchase", buyer, BUY, listing=listing_id, price=PRICE_SATS, id=sale_id
                )
                fee = sold["purchase"]["feeSats"]
            self.earned[seller.name] += PRICE_SATS - fee
            self.earned[buyer.name] -= PRICE_SATS
            self.sales += 1
            seller, buyer = buyer, seller
            await asyncio.sleep(5 * PAUSE_S)

    async def _withdraws(self) -> None:
        """To the person's own wallet, outside."""
        while self.going:
            asked = {"address": self.withdrawer.wallet.address, "amount": WITHDRAWAL_SATS, "id": uuid7()}
            told = await self._ask("withdraw", self.withdrawer, WITHDRAW, **asked)
            if told is not None:
                self.withdrawals += 1
            await asyncio.sleep(8.0)

    async def _uploads(self) -> None:
        """A meme waits for each round."""
        admin, creator = self.town.admin, self.town.creators[0]
        for number in self._each(itertools.count(100)):
            while self.going and await self._stock() > 0:
                await asyncio.sleep(1.0)
            picture, own_id = await asyncio.to_thread(meme_bytes, number), uuid7()
            named = {"name": f"Meme {number}", "creator": creator.user_id, "id": own_id}
            told = await self.caller.sent(
                "GraphQL upload",
                lambda picture=picture, named=named: admin.client.upload(  # type: ignore[misc]
                    UPLOAD, picture, "meme", "image/png", **named
                ),
            )
            if told is not None:
                self.uploaded.append(told["uploadMeme"]["id"])
            await asyncio.sleep(15.0)

    async def _stock(self) -> int:
        told = await self._ask("stock", self.town.admin, STOCKED)
        current = (told or {}).get("currentRound")
        return 0 if current is None or current["state"] == "ACTIVE" else int(current["entryCount"])

    async def _watches(self, viewer: Person) -> None:
        """Pays for one viewing after the other, of whatever is shown."""
        while self.going:
            meme_id = await self._shown(viewer)
            if meme_id is None:
                await asyncio.sleep(0.5)
            else:
                await self._watch(viewer, meme_id)

    async def _shown(self, viewer: Person) -> str | None:
        told = await self._ask("what is shown", viewer, ENTRIES)
        current = (told or {}).get("currentRound")
        if current is None or current["state"] != "ACTIVE":
            return None
        shown = [entry["meme"]["id"] for entry in current["entries"] if entry["meme"]["id"] != self.traded]
        return shown[0] if shown else None

    async def _watch(self, viewer: Person, meme_id: str) -> None:
        """One viewing, taken up whenever its connection breaks."""
        phase, own_id, alive_s = self.caller.tally.now, uuid7(), time.monotonic()
        while True:
            why = "the connection ended"
            try:
                async for event in viewer.client.follow(WATCH, meme=meme_id, budget=BUDGET_SATS, id=own_id):
                    told, alive_s = event["watch"], time.monotonic()
                    if told["stopReason"] is not None:
                        self._ended(phase, viewer, told["stopReason"])
                        return
            except GraphqlError as problem:
                if problem.code in {"ROUND_NOT_ACTIVE", "NOT_PLAYING", "ROUND_LOCKED", "NO_ACTIVE_ROUND"}:
                    return
                why = str(problem)
                if not is_transient(problem) and problem.code != "NO_ACK":
                    phase.fails(f"viewing of {viewer.name}: {why}")
                    await asyncio.sleep(1.0)
                    return
            except (aiohttp.ClientError, OSError, TimeoutError) as problem:
                why = type(problem).__name__
            if time.monotonic() - alive_s > 3 * SILENCE_S:
                phase.fails(f"viewing of {viewer.name} could not be taken up: {why}")
                return
            self.caller.tally.now.again[f"viewing: {why[:90]}"] += 1
            self.resumed += 1
            await asyncio.sleep(TAKE_UP_S)

    def _ended(self, phase: Any, viewer: Person, reason: str) -> None:
        if reason == "SILENCE":
            phase.fails(f"viewing of {viewer.name} ended by silence")
        else:
            phase.done += 1
            self.viewings += 1
