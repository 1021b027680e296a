"""What changes: one watch stream per service and process for all subscribers; and the viewing meter."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from satreel.chain.v1 import chain_service_pb2
from satreel.content.v1 import content_service_pb2
from satreel.ledger.v1 import ledger_service_pb2
from satreel.market.v1 import market_service_pb2
from satreel.rounds.v1 import rounds_service_pb2
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from graphql_gateway.live.current import CurrentRound, RoundsByNews
from graphql_gateway.live.groups import Groups
from graphql_gateway.live.meter import Meter
from graphql_gateway.live.takeovers import Takeovers
from graphql_gateway.live.watch import KEPT_MAX, Watch
from graphql_gateway.services import Services
from mesh.clock import Clock

# Of events of rounds, by the fields that they have.
ROUNDS_TOPICS = ("round", "leaderboard")
FEEDS = ("rounds", "ledger", "market", "content", "blocks")


@dataclass(frozen=True, slots=True)
class Live:
    """All that runs beside the requests."""

    rounds: Watch[rounds_service_pb2.WatchRoundsResponse]
    ledger: Watch[ledger_service_pb2.WatchLedgerResponse]
    market: Watch[market_service_pb2.WatchMarketResponse]
    content: Watch[content_service_pb2.WatchContentResponse]
    blocks: Watch[chain_service_pb2.WatchBlocksResponse]
    meter: Meter
    takeovers: Takeovers
    current_round: CurrentRound
    groups: Groups = field(default_factory=Groups)

    @classmethod
    def over(cls, services: Services, redis_url: str, clock: Clock) -> Live:
        """Follows the services' news, and what other gateways tell in Redis."""
        meter = Meter(services.ledger, clock)
        current_round = CurrentRound()
        return cls(
            rounds=Watch(
                "rounds",
                lambda cursor: services.rounds.WatchRounds(
                    rounds_service_pb2.WatchRoundsRequest(cursor=cursor)
                ),
                clock,
                topics_of=lambda event: (name for name in ROUNDS_TOPICS if event.HasField(name)),
                heed=current_round.take,
            ),
            ledger=Watch(
                "ledger",
                lambda cursor: services.ledger.WatchLedger(
                    ledger_service_pb2.WatchLedgerRequest(cursor=cursor)
                ),
                clock,
                topics_of=lambda event: (account for _, account in sats_moved(event.moved)),
            ),
            market=Watch(
                "market",
                lambda cursor: services.market.WatchMarket(
                    market_service_pb2.WatchMarketRequest(cursor=cursor)
                ),
                clock,
                keeps=KEPT_MAX,
            ),
            content=Watch(
                "content",
                lambda cursor: services.content.WatchContent(
                    content_service_pb2.WatchContentRequest(cursor=cursor)
                ),
                clock,
                keeps=KEPT_MAX,
            ),
            blocks=Watch(
                "blocks",
                lambda cursor: services.chain.WatchBlocks(
                    chain_service_pb2.WatchBlocksRequest(cursor=cursor)
                ),
                clock,
            ),
            meter=meter,
            takeovers=Takeovers(redis_url, clock, meter),
            current_round=current_round,
        )

    def before(self, services: Services) -> Services:
        """The services, but what the news tell is not asked for as long as they come."""
        rounds = RoundsByNews(services.rounds, self.rounds, self.current_round)
        return replace(services, rounds=cast("RoundsServiceStub", rounds))

    async def run(self, feeds: Collection[str] = FEEDS) -> None:
        """Keeps the streams of these names, and with the ledger's the meter. Never returns."""
        async with asyncio.TaskGroup() as group:
            for name in feeds:
                group.create_task(getattr(self, name).run(), name=f"watch {name}")
            if "ledger" in feeds:
                group.create_task(self.meter.run(), name="meter")
                group.create_task(self.takeovers.run(), name="takeovers")
            await asyncio.Event().wait()


def sats_moved(moved: ledger_service_pb2.Movements) -> Iterator[tuple[int, str]]:
    """Accounts whose satoshis were moved, with their places in the record."""
    return ((place, name) for place, name in enumerate(moved.accounts) if place not in moved.other_assets)
