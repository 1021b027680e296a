"""What changes on the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import strawberry
from satreel.chain.v1 import chain_pb2, chain_service_pb2

from graphql_gateway.chain.types import BlockEvent
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Subscription
from graphql_gateway.live.telling import Delivery, Telling
from graphql_gateway.proto import shown
from graphql_gateway.safety.declared import SAME_FOR_ALL


@part_of(Subscription)
class ChainSubscription:
    """The live chain."""

    @strawberry.subscription(
        description="The best block now, then new blocks as they come, with those that a reorganisation put "
        f"aside. {Delivery.NEWS.value}",
        metadata=SAME_FOR_ALL | Delivery.NEWS.metadata,
    )
    async def block_found(self, info: Info) -> AsyncIterator[BlockEvent]:
        """Ends never."""
        context = info.context
        with context.live.blocks.subscribe() as news:
            tip = (await context.services.chain.GetTip(chain_service_pb2.GetTipRequest())).block
            context.telling = Telling(position=news.position)
            yield _at_tip(tip)
            async for one in news:
                await context.renew()
                if one.WhichOneof("news") == "event":
                    tip = one.event.connected[-1] if one.event.connected else tip
                    context.telling = Telling(now=_at_tip(tip), position=news.position)
                    yield shown(BlockEvent, one.event)
                elif one.snapshot.hash != tip.hash:
                    tip = one.snapshot
                    context.telling = Telling(position=news.position)
                    yield _at_tip(tip)


def _at_tip(block: chain_pb2.Block) -> BlockEvent:
    return shown(BlockEvent, chain_service_pb2.BlockEvent(at=block.seen_at, connected=[block]))
