"""What changes in the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime

import strawberry
from satreel.content.v1 import content_pb2

from graphql_gateway.arguments import MemeIdFilter
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.entities import Meme, Subscription
from graphql_gateway.ids import bare_id
from graphql_gateway.live.cursors import CURSOR, AfterNews, decode, encode
from graphql_gateway.live.telling import Delivery, Telling
from graphql_gateway.memes.types import Stage
from graphql_gateway.proto import shown
from graphql_gateway.safety.declared import SAME_FOR_ALL

_FEED = "content"


@strawberry.type(description="A meme moved on in the pipeline.")
class PipelineProgress:
    """One event of the pipeline."""

    cursor: str = strawberry.field(description=CURSOR)
    at: datetime = strawberry.field(description="When.")
    meme: Meme = strawberry.field(description="As it is now.")
    stage: Stage = strawberry.field(description="What happened, and how far the meme is.")


_SEEN_BY_ALL = {content_pb2.MEME_STATE_PUBLISHED, content_pb2.MEME_STATE_TAKEN_DOWN}


def _audience_of(meme: content_pb2.Meme) -> Callable[[Viewer | None], bool] | None:
    """Whom it concerns; None: everybody."""
    if meme.state in _SEEN_BY_ALL:
        return None
    return lambda viewer: viewer is not None and (viewer.is_admin or viewer.id == meme.creator_id)


@part_of(Subscription)
class MemesSubscription:
    """The live pipeline."""

    @strawberry.subscription(
        description="Memes that move on in the pipeline, from the next step on; one meme, or all. What is "
        f"not published yet concerns its creator and administrators only. {Delivery.NEWS.value}",
        metadata=SAME_FOR_ALL | Delivery.NEWS.metadata,
    )
    async def pipeline_progress(
        self, info: Info, meme_id: MemeIdFilter = None, after: AfterNews = None
    ) -> AsyncIterator[PipelineProgress]:
        """Ends never; starts with the next event, or behind a cursor."""
        meme = bare_id("Meme", meme_id) if meme_id else None
        behind = decode(_FEED, after)
        async with aclosing(info.context.live.content.events(behind)) as events:
            async for one in events:
                moved = one.event
                if meme in {None, moved.meme.id}:
                    await info.context.renew()
                    info.context.telling = Telling(
                        now=None,
                        position=one.position,
                        is_newest=one.is_newest,
                        is_past=one.is_past,
                        audience=_audience_of(moved.meme),
                    )
                    yield PipelineProgress(
                        cursor=encode(_FEED, one.cursor),
                        at=moved.at,
                        meme=shown(Meme, moved.meme),
                        stage=shown(Stage, moved.stage),
                    )
