"""A simple content service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc

from mesh import caller
from mesh.errors import Code, Failure
from tests.gateway.fakes.base import Feed, Log, found, missing, paged

FILM = bytes(range(256)) * 4096
POSTER = b"\xff\xd8\xff poster"
PIECE_BYTES = 100_000


class RangeInvalid(Failure):
    """The range lies outside the file."""

    code = Code.OUT_OF_RANGE
    reason = "RANGE_INVALID"


class FileForbidden(Failure):
    """The signed-in user may not see this file."""

    code = Code.PERMISSION_DENIED
    reason = "FILE_FORBIDDEN"


class FakeContent(content_service_pb2_grpc.ContentServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.memes: dict[str, content_pb2.Meme] = {}
        self.uploads: list[tuple[content_service_pb2.UploadHeader, bytes]] = []
        self.feed = Feed(
            lambda: content_service_pb2.WatchContentResponse(
                cursor="c0", snapshot=content_service_pb2.ContentSnapshot()
            )
        )

    async def BatchGetMemes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return content_service_pb2.BatchGetMemesResponse(memes=found(self.memes, request.meme_ids))

    async def ListVersions(self, request: Any, context: Any) -> Any:
        """Tells each caller something else: what must not reach another."""
        await self.log.take(request)
        stage = content_pb2.Stage(state=content_pb2.MEME_STATE_TITLING, detail=caller.current().user_id or "")
        return content_service_pb2.ListVersionsResponse(
            versions=[content_pb2.MemeVersion(version=1, stages=[stage])]
        )

    async def ListMemes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        memes = [*reversed(self.memes.values())]
        page, token = paged(memes, request.page_size, request.page_token)
        return content_service_pb2.ListMemesResponse(memes=page, next_page_token=token)

    async def UploadMeme(self, request_iterator: Any, context: Any) -> Any:
        header, picture = content_service_pb2.UploadHeader(), b""
        async for piece in request_iterator:
            if piece.WhichOneof("part") == "header":
                header = piece.header
                await self.log.take(piece)
            picture += piece.chunk
        self.uploads.append((header, picture))
        meme = content_pb2.Meme(id=header.meme_id, name=header.name, state=content_pb2.MEME_STATE_UPLOADED)
        self.memes[meme.id] = meme
        return content_service_pb2.UploadMemeResponse(meme=meme)

    async def ReadMedia(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.log.take(request)
        who, meme = caller.current(), self.memes.get(request.meme_id)
        if meme is None:
            raise missing("MEME_NOT_FOUND")
        poster = request.kind == content_pb2.MEDIA_KIND_POSTER
        if not (poster or request.vouched or who.is_admin or who.user_id == meme.creator_id):
            raise FileForbidden
        data = POSTER if poster else FILM
        if request.offset >= len(data):
            raise RangeInvalid(size=len(data))
        mime = "image/jpeg" if poster else "video/mp4"
        info = content_service_pb2.MediaInfo(mime=mime, size_bytes=len(data), sha256="ab" * 32)
        yield content_service_pb2.ReadMediaResponse(info=info)
        part = data[request.offset : request.offset + request.length if request.length else None]
        for start in range(0, len(part), PIECE_BYTES):
            yield content_service_pb2.ReadMediaResponse(chunk=part[start : start + PIECE_BYTES])

    async def WatchContent(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news
