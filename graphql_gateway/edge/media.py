"""Posters, films and pictures with range requests (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.context import Parts
from graphql_gateway.edge.authentication import Viewer, act_for, bearer_token
from graphql_gateway.edge.refusals import refused
from graphql_gateway.ids import bare_id
from mesh import logs
from mesh.errors import Code, Failure, RemoteFailure

log = logs.logger(__name__)

KINDS = {
    "poster": content_pb2.MEDIA_KIND_POSTER,
    "film": content_pb2.MEDIA_KIND_FILM,
    "picture": content_pb2.MEDIA_KIND_PICTURE,
}
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_FOR_ALL, _FOR_ONE = "public, max-age=300", "private, no-store"


@dataclass(frozen=True, slots=True)
class Range:
    """A part that is asked for: from `first`, or the last `suffix` bytes; `last` None is the end."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Which file, and whether we vouch for whoever asks."""

    meme_id: str
    kind: str
    vouched: bool
    # A signed-in viewer may be given what others may not have: no cache on the way may keep it.
    signed_in: bool

    @property
    def caching(self) -> str:
        """What Cache-Control says."""
        return _FOR_ALL if self.kind == "poster" and not self.signed_in else _FOR_ONE


class Media:
    """`GET /media/{meme}/{poster|film|picture}`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Streams the file, or the part that `Range` names. Raises what identity, ledger and content say."""
        meme_id, kind = bare_id("Meme", request.match_info["meme"]), request.match_info["kind"]
        token = bearer_token(request.headers.get("Authorization", ""))
        viewer = await self._parts.authenticator.viewer_of(token) if token else None
        act_for(None)
        vouched = kind == "film" and await self._vouched(request, viewer, meme_id)
        act_for(viewer)
        file = File(meme_id, kind, vouched, signed_in=viewer is not None)
        asked = asked_range(request.headers.get("Range", ""))
        if asked is not None and (condition := request.headers.get("If-Range")):
            info = await self._describe(file)
            asked = asked if condition == _etag(info) else None
        try:
            return await self._send(request, file, asked)
        except RemoteFailure as failure:
            if failure.code is not Code.OUT_OF_RANGE:
                raise
            size = (await self._describe(file)).size_bytes
            return refused(failure, {"Content-Range": f"bytes */{size}"})

    async def _vouched(self, request: web.Request, viewer: Viewer | None, meme_id: str) -> bool:
        """Whether a running paid viewing of this film, or its title, stands behind the request."""
        session_id = self._parts.tickets.session_of(request.query.get("ticket", ""), meme_id)
        if session_id is not None and await self._runs(session_id):
            return True
        return viewer is not None and await self._owns(viewer, meme_id)

    async def _runs(self, session_id: str) -> bool:
        request = ledger_service_pb2.GetSessionRequest(session_id=session_id)
        try:
            session = (await self._parts.services.ledger.GetSession(request)).session
        except RemoteFailure as failure:
            if failure.code is Code.NOT_FOUND:
                return False
            raise
        return session.stop_reason == ledger_pb2.STOP_REASON_UNSPECIFIED

    async def _owns(self, viewer: Viewer, meme_id: str) -> bool:
        request = ledger_service_pb2.GetTitleRequest(meme_id=meme_id)
        try:
            return (await self._parts.services.ledger.GetTitle(request)).title.owner_id == viewer.id
        except RemoteFailure as failure:
            if failure.code is Code.NOT_FOUND:
                return False
            raise

    async def _describe(self, file: File) -> content_service_pb2.MediaInfo:
        async with aclosing(self._read(file, 0, 1)) as pieces:
            return (await anext(pieces)).info

    async def _read(
        self, file: File, offset: int, length: int
    ) -> AsyncGenerator[content_service_pb2.ReadMediaResponse, None]:
        request = content_service_pb2.ReadMediaRequest(
            meme_id=file.meme_id, kind=KINDS[file.kind], offset=offset, length=length, vouched=file.vouched
        )
        async for piece in self._parts.services.content.ReadMedia(request):
            yield piece

    async def _first(self, file: File, asked: Range) -> int:
        if asked.suffix is None:
            return asked.first
        size = (await self._describe(file)).size_bytes
        # The last 0 bytes are no range that a file could have.
        return max(0, size - asked.suffix) if asked.suffix else size

    async def _send(self, request: web.Request, file: File, asked: Range | None) -> web.StreamResponse:
        first = 0 if asked is None else await self._first(file, asked)
        length = 0 if asked is None or asked.last is None else asked.last - first + 1
        async with aclosing(self._read(file, first, length)) as pieces:
            info = (await anext(pieces)).info
            response = _head(file, info, first, asked)
            if _is_known(request.headers.get("If-None-Match", ""), info):
                return web.Response(status=304, headers=_validators(file, info))
            await response.prepare(request)
            if request.method != "HEAD":
                await _send_pieces(request, response, pieces)
            return response


async def _send_pieces(
    request: web.Request,
    response: web.StreamResponse,
    pieces: AsyncIterator[content_service_pb2.ReadMediaResponse],
) -> None:
    try:
        async for piece in pieces:
            await response.write(piece.chunk)
        await response.write_eof()
    except Failure as failure:
        # The head is sent: that the body is cut off is all that can still be told.
        log.warning("a file broke off", problem=str(failure))
        if request.transport is not None:
            request.transport.close()


def asked_range(header: str) -> Range | None:
    """The part asked for; None, the whole file, for anything but one plain range, as the RFC allows."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        return Range(suffix=int(found[2]))
    asked = Range(first=int(found[1]), last=int(found[2]) if found[2] else None)
    return None if asked.last is not None and asked.last < asked.first else asked


def _head(
    file: File, info: content_service_pb2.MediaInfo, first: int, asked: Range | None
) -> web.StreamResponse:
    end = info.size_bytes - 1
    last = end if asked is None or asked.last is None else min(asked.last, end)
    response = web.StreamResponse(status=200 if asked is None else 206, headers=_validators(file, info))
    response.content_type = info.mime
    response.content_length = last - first + 1
    if asked is not None:
        response.headers["Content-Range"] = f"bytes {first}-{last}/{info.size_bytes}"
    return response


def _validators(file: File, info: content_service_pb2.MediaInfo) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": file.caching,
        "ETag": _etag(info),
        "X-Content-Type-Options": "nosniff",
    }


def _is_known(condition: str, info: content_service_pb2.MediaInfo) -> bool:
    known = {tag.strip().removeprefix("W/") for tag in condition.split(",")}
    return bool(known & {_etag(info), "*"})


def _etag(info: content_service_pb2.MediaInfo) -> str:
    return f'"{info.sha256}"'
