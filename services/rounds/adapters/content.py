"""Content, as rounds sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc

from services.rounds.app.ports import ContentNews, MemeNews
from services.rounds.domain.assignment import Candidate
from services.rounds.domain.values import InstantNs, MemeId, UserId

PAGE = 1_000
_GONE = {content_pb2.MEME_STATE_TAKEN_DOWN, content_pb2.MEME_STATE_REJECTED}


class ContentClient:
    """Published memes."""

    def __init__(self, stub: content_service_pb2_grpc.ContentServiceStub) -> None:
        self._stub = stub

    async def published(self, page_token: str) -> tuple[list[Candidate], str]:
        """A page of those published, oldest first, and the token of the next one."""
        response = await self._stub.ListMemes(
            content_service_pb2.ListMemesRequest(
                state=content_pb2.MEME_STATE_PUBLISHED, page_size=PAGE, page_token=page_token
            )
        )
        news = [_news(meme) for meme in response.memes]
        return [found.candidate for found in news if found.candidate], response.next_page_token

    async def read(self, meme_ids: Sequence[MemeId]) -> list[MemeNews]:
        """How memes are now; those unknown are left out."""
        response = await self._stub.BatchGetMemes(content_service_pb2.BatchGetMemesRequest(meme_ids=meme_ids))
        return [_news(meme) for meme in response.memes]

    async def watch(self, cursor: str) -> AsyncGenerator[ContentNews, None]:
        """Memes from the cursor on."""
        request = content_service_pb2.WatchContentRequest(cursor=cursor)
        async for response in self._stub.WatchContent(request):
            match response.WhichOneof("news"):
                case "snapshot":
                    yield ContentNews(response.cursor, None)
                case "event":
                    yield ContentNews(response.cursor, _news(response.event.meme))


def _news(meme: content_pb2.Meme) -> MemeNews:
    published = meme.state == content_pb2.MEME_STATE_PUBLISHED
    candidate = Candidate(
        MemeId(meme.id),
        UserId(meme.creator_id),
        meme.quality_ppm,
        InstantNs(meme.published_at.ToNanoseconds()),
    )
    return MemeNews(MemeId(meme.id), candidate if published else None, gone=meme.state in _GONE)
