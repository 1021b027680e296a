"""Content's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from satreel.content.v1 import content_service_pb2 as pb
from satreel.content.v1 import content_service_pb2_grpc

from mesh import caller
from mesh.errors import InvalidArgument
from mesh.feeds import Feed, responses
from services.content.app.parts import Parts
from services.content.app.uploading import UploadOrder
from services.content.domain.media import Viewer
from services.content.domain.values import MemeId, UserId
from services.content.rpc import convert, news

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

PAGE_SIZE_DEFAULT = 50
# Only the gateway sees sessions and titles; from anybody else the word counts for nothing.
VOUCHER = "gateway"


class ContentServicer(content_service_pb2_grpc.ContentServiceServicer):
    """ContentService."""

    def __init__(self, parts: Parts, feed: Feed) -> None:
        self._parts = parts
        self._feed = feed

    async def UploadMeme(
        self, request_iterator: AsyncIterator[pb.UploadMemeRequest], context: Context
    ) -> pb.UploadMemeResponse:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("the first message of an upload is its header")
        header = first.header
        order = UploadOrder(
            MemeId(header.meme_id),
            header.name,
            UserId(header.creator_id or caller.current().require_user()),
            header.size_bytes or None,
        )
        meme = await self._parts.uploading.upload(order, _chunks(request_iterator))
        return pb.UploadMemeResponse(meme=convert.meme(meme))

    async def GetMeme(self, request: pb.GetMemeRequest, context: Context) -> pb.GetMemeResponse:
        meme = await self._parts.reading.get(MemeId(request.meme_id))
        return pb.GetMemeResponse(meme=convert.meme(meme))

    async def BatchGetMemes(
        self, request: pb.BatchGetMemesRequest, context: Context
    ) -> pb.BatchGetMemesResponse:
        memes = await self._parts.reading.get_many([MemeId(asked) for asked in request.meme_ids])
        return pb.BatchGetMemesResponse(memes=map(convert.meme, memes))

    async def ListMemes(self, request: pb.ListMemesRequest, context: Context) -> pb.ListMemesResponse:
        page = await self._parts.reading.page(
            state=convert.STATES.get(request.state),
            creator_id=UserId(request.creator_id) if request.creator_id else None,
            size=request.page_size or PAGE_SIZE_DEFAULT,
            token=request.page_token,
        )
        return pb.ListMemesResponse(memes=map(convert.meme, page.memes), next_page_token=page.next_token)

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Context
    ) -> pb.ListVersionsResponse:
        meme = await self._parts.reading.get(MemeId(request.meme_id))
        return pb.ListVersionsResponse(versions=map(convert.version, reversed(meme.versions)))

    async def RejectMeme(self, request: pb.RejectMemeRequest, context: Context) -> pb.RejectMemeResponse:
        meme = await self._parts.moderating.reject(MemeId(request.meme_id), request.reason)
        return pb.RejectMemeResponse(meme=convert.meme(meme))

    async def TakeDownMeme(
        self, request: pb.TakeDownMemeRequest, context: Context
    ) -> pb.TakeDownMemeResponse:
        meme = await self._parts.moderating.take_down(MemeId(request.meme_id), request.reason)
        return pb.TakeDownMemeResponse(meme=convert.meme(meme))

    async def ReadMedia(
        self, request: pb.ReadMediaRequest, context: Context
    ) -> AsyncIterator[pb.ReadMediaResponse]:
        who = caller.current()
        viewer = Viewer(who.user_id, who.is_admin, vouched=request.vouched and who.service == VOUCHER)
        media, pieces = await self._parts.reading.media(
            MemeId(request.meme_id), convert.KINDS[request.kind], viewer, request.offset, request.length
        )
        yield pb.ReadMediaResponse(
            info=pb.MediaInfo(mime=media.mime, size_bytes=media.size_bytes, sha256=media.sha256)
        )
        async for piece in pieces:
            yield pb.ReadMediaResponse(chunk=piece)

    async def GetPipeline(self, request: pb.GetPipelineRequest, context: Context) -> pb.GetPipelineResponse:
        figures = await self._parts.pipeline.figures()
        return pb.GetPipelineResponse(
            queued=figures.queued,
            running=figures.running,
            done_last_minute=figures.done_last_minute,
            unfinished_memes=figures.unfinished_memes,
        )

    async def WatchContent(
        self, request: pb.WatchContentRequest, context: Context
    ) -> AsyncIterator[pb.WatchContentResponse]:
        told = responses(self._feed, request.cursor, pb.WatchContentResponse, snapshot=news.snapshot)
        async with aclosing(told):
            async for response in told:
                yield response


async def _chunks(requests: AsyncIterator[pb.UploadMemeRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("an upload has one header")
        yield request.chunk
