"""News of content: published as the contract's events, and served to those who watch."""

from __future__ import annotations

import hashlib

from satreel.content.v1 import content_service_pb2

from mesh.feeds import Feed
from mesh.ids import uuid7
from services.content.domain.memes import Meme, Stage
from services.content.rpc import convert

FEED = "content"

_Event = content_service_pb2.ContentEvent


class FeedNews:
    """The port `News` over a feed of the mesh."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def tell(self, meme: Meme, stage: Stage) -> None:
        """Publishes what happened; told again after a crash, it is the same event with the same id."""
        event = _Event(
            id=_event_id(meme, stage),
            at=convert.timestamp(stage.at_ns),
            meme=convert.meme(meme),
            stage=convert.stage(stage),
        )
        self._feed.publish(event.SerializeToString())


async def snapshot() -> content_service_pb2.ContentSnapshot:
    """Who watches asks for the rest."""
    return content_service_pb2.ContentSnapshot()


def _event_id(meme: Meme, stage: Stage) -> str:
    """The same whenever it is told; of one meme's the later is the greater, also within a millisecond."""
    told = len(meme.version.stages)
    what = f"{meme.id}/{meme.version.number}/{told}/{stage.state}"
    digest = hashlib.sha256(what.encode()).digest()
    return uuid7(stage.at_ns, told << 64 | int.from_bytes(digest[:8], "big"))
