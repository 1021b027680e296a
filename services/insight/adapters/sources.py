"""The streams that insight listens to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2, content_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2, identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_service_pb2, market_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2, rounds_service_pb2_grpc

from services.insight.adapters.events import (
    block_facts,
    chain_facts,
    content_facts,
    identity_facts,
    market_facts,
    round_facts,
)
from services.insight.adapters.ledger_events import ledger_facts
from services.insight.app.ports import Heard
from services.insight.domain.facts import Batch

BACKFILL_PAGE = 100


@dataclass(frozen=True, slots=True)
class Stream:
    """A `Watch…` stream as a source of facts. Its past cannot be read: a gap stays one."""

    name: str
    # Each contract has types of its own for the same shape: cursor, and heartbeat, snapshot or event.
    open: Callable[[str], AsyncIterator[Any]]
    facts: Callable[[Any], list[Batch]]

    async def watch(self, cursor: str) -> AsyncGenerator[Heard, None]:
        """Events from the cursor on."""
        async for response in self.open(cursor):
            match response.WhichOneof("news"):
                case "event":
                    yield Heard(response.cursor, tuple(self.facts(response.event)))
                case "snapshot":
                    yield Heard(response.cursor, fresh_start=True)
                case "heartbeat":
                    yield Heard(response.cursor)

    async def backfill(self) -> AsyncGenerator[list[Batch], None]:
        """Nothing."""
        nothing: tuple[list[Batch], ...] = ()
        for page in nothing:
            yield page


class RoundsStream:
    """Rounds, whose list says all that their events said."""

    name = "rounds"

    def __init__(self, stub: rounds_service_pb2_grpc.RoundsServiceStub) -> None:
        self._stub = stub

    async def watch(self, cursor: str) -> AsyncGenerator[Heard, None]:
        """Events from the cursor on."""
        request = rounds_service_pb2.WatchRoundsRequest(cursor=cursor)
        async for response in self._stub.WatchRounds(request):
            match response.WhichOneof("news"):
                case "event" if response.event.WhichOneof("subject") == "round":
                    yield Heard(response.cursor, tuple(round_facts(response.event.round)))
                case "snapshot":
                    found = tuple(round_facts(response.snapshot.round))
                    yield Heard(response.cursor, found, fresh_start=True)
                case _:
                    yield Heard(response.cursor)

    async def backfill(self) -> AsyncGenerator[list[Batch], None]:
        """What rounds say today of what happened, newest first."""
        token = ""
        while True:
            request = rounds_service_pb2.ListRoundsRequest(page_size=BACKFILL_PAGE, page_token=token)
            response = await self._stub.ListRounds(request)
            yield [batch for round_ in response.rounds for batch in round_facts(round_)]
            token = response.next_page_token
            if not token:
                return


def streams(
    *,
    identity: identity_service_pb2_grpc.IdentityServiceStub,
    content: content_service_pb2_grpc.ContentServiceStub,
    rounds: rounds_service_pb2_grpc.RoundsServiceStub,
    ledger: ledger_service_pb2_grpc.LedgerServiceStub,
    market: market_service_pb2_grpc.MarketServiceStub,
    chain: chain_service_pb2_grpc.ChainServiceStub,
) -> list[Stream | RoundsStream]:
    """All that insight listens to."""

    def opened(
        watch: Callable[[Any], Any], request: Callable[..., Any]
    ) -> Callable[[str], AsyncIterator[Any]]:
        return lambda cursor: aiter(watch(request(cursor=cursor)))

    return [
        Stream(
            "identity",
            opened(identity.WatchIdentity, identity_service_pb2.WatchIdentityRequest),
            identity_facts,
        ),
        Stream(
            "content", opened(content.WatchContent, content_service_pb2.WatchContentRequest), content_facts
        ),
        RoundsStream(rounds),
        Stream("ledger", opened(ledger.WatchLedger, ledger_service_pb2.WatchLedgerRequest), ledger_facts),
        Stream("market", opened(market.WatchMarket, market_service_pb2.WatchMarketRequest), market_facts),
        Stream("chain", opened(chain.WatchChain, chain_service_pb2.WatchChainRequest), chain_facts),
        Stream("blocks", opened(chain.WatchBlocks, chain_service_pb2.WatchBlocksRequest), block_facts),
    ]
