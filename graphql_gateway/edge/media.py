"""Posters, films and pictures with range requests (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from aiohttp import web
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.edge.authentication import Viewer, act_for, bearer_token
from graphql_gateway.edge.view import Parts, refusal, refused
from graphql_gateway.ids import bare_id
from mesh.errors import Code, Failure, RemoteFailure

KINDS = {
    "poster": content_pb2.MEDIA_KIND_POSTER,
    "film": content_pb2.MEDIA_KIND_FILM,
    "picture": content_pb2.MEDIA_KIND_PICTURE,
}
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_STATUS = {
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.OUT_OF_RANGE: 416,
    Code.UNAVAILABLE: 503,
}


class Media:
    """`GET /media/{meme}/{poster|film|picture}`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Streams the file, or the part of it that `Range` names."""
        try:
            return await self._get(request)
        except Failure as failure:
            status = _STATUS.get(failure.code)
            return refused(failure) if status is None else refusal(status, failure.reason, failure.message)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        meme_id, kind = bare_id("Meme", request.match_info["meme"]), KINDS[request.match_info["kind"]]
        viewer = await self._viewer(request)
        vouched = kind == content_pb2.MEDIA_KIND_FILM and await self._vouched(request, viewer, meme_id)
        act_for(viewer)
        start, end = _asked_range(request.headers.get("Range", ""))
        if start < 0:
            start, end = await self._from_end(meme_id, kind, vouched, -start), -1
        stream = self._read(meme_id, kind, vouched, start, 0 if end < 0 else end - start + 1)
        info = (await anext(stream)).info
        return await _send(request, info, start, end, stream)

    async def _viewer(self, request: web.Request) -> Viewer | None:
        token = bearer_token(request.headers.get("Authorization", ""))
        return await self._parts.authenticator.viewer_of(token) if token else None

    async def _vouched(self, request: web.Request, viewer: Viewer | None, meme_id: str) -> bool:
        """Whether a running paid viewing of this film, or the ownership of its title, stands behind the request."""
        session_id = self._parts.tickets.session_of(request.query.get("ticket", ""), meme_id)
        if session_id is not None:
            return await self._runs(session_id)
        return viewer is not None and await self._owns(viewer, meme_id)

    async def _runs(self, session_id: str) -> bool:
        request = ledger_service_pb2.GetSessionRequest(session_id=session_id)
        session = (await self._parts.services.ledger.GetSession(request)).session
        return session.stop_reason == ledger_pb2.STOP_REASON_UNSPECIFIED

    async def _owns(self, viewer: Viewer, meme_id: str) -> bool:
        try:
            request = ledger_service_pb2.GetTitleRequest(meme_id=meme_id)
            title = (await self._parts.services.ledger.GetTitle(request)).title
        except RemoteFailure as failure:
            if failure.code == Code.NOT_FOUND:
                return False
            raise
        return title.owner_id == viewer.id

    async def _from_end(self, meme_id: str, kind: int, vouched: bool, length: int) -> int:
        stream = self._read(meme_id, kind, vouched, 0, 1)
        size: int = (await anext(stream)).info.size_bytes
        await stream.aclose()
        return max(0, size - length)

    async def _read(
        self, meme_id: str, kind: int, vouched: bool, offset: int, length: int
    ) -> AsyncIterator[content_service_pb2.ReadMediaResponse]:
        request = content_service_pb2.ReadMediaRequest(
            meme_id=meme_id,
            kind=kind,  # type: ignore[arg-type] # the contract's numbers
            offset=offset,
            length=length,
            vouched=vouched,
        )
        async for piece in self._parts.services.content.ReadMedia(request):
            yield piece


def _asked_range(header: str) -> tuple[int, int]:
    """First and last byte; a last of -1 means the end, a negative first that many bytes before it.

    Anything but one plain range is answered by the whole file, as the RFC allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return 0, -1
    if found[1] == "":
        return -int(found[2]) or 0, -1
    first = int(found[1])
    last = int(found[2]) if found[2] else -1
    return (0, -1) if -1 < last < first else (first, last)


async def _send(
    request: web.Request,
    info: content_service_pb2.MediaInfo,
    start: int,
    end: int,
    pieces: AsyncIterator[content_service_pb2.ReadMediaResponse],
) -> web.StreamResponse:
    last = info.size_bytes - 1 if end < 0 else min(end, info.size_bytes - 1)
    partial = "Range" in request.headers and (start, end) != (0, -1)
    response = web.StreamResponse(status=206 if partial else 200)
    response.content_type = info.mime
    response.content_length = last - start + 1
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = f'"{info.sha256}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-store"
    if partial:
        response.headers["Content-Range"] = f"bytes {start}-{last}/{info.size_bytes}"
    await response.prepare(request)
    if request.method != "HEAD":
        async for piece in pieces:
            await response.write(piece.chunk)
    await response.write_eof()
    return response
