"""What changes on the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import strawberry
from satreel.chain.v1 import chain_service_pb2

from graphql_gateway.chain.types import BlockEvent
from graphql_gateway.context import Info
from graphql_gateway.proto import shown


@strawberry.type
class ChainSubscription:
    """The live chain."""

    @strawberry.subscription(
        description="New blocks as they come, with those that a reorganisation put aside; the best block first."
    )
    async def block_found(self, info: Info) -> AsyncIterator[BlockEvent]:
        """Ends never."""
        with info.context.live.blocks.subscribe() as news:
            tip = await info.context.services.chain.GetTip(chain_service_pb2.GetTipRequest())
            yield shown(BlockEvent, chain_service_pb2.BlockEvent(at=tip.block.seen_at, connected=[tip.block]))
            async for one in news:
                if one.WhichOneof("news") == "event":
                    yield shown(BlockEvent, one.event)
