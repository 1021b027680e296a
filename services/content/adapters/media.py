"""The one door of content to the outside: pictures for AITubo, by links that are signed and expire."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from mesh.clock import NS_PER_S, Clock
from mesh.errors import Failure
from services.content.app.ports import Files
from services.content.app.uploading import PICTURES
from services.content.domain.containers import PictureFormat
from services.content.domain.failures import FileNotFound
from services.content.domain.pictures import Picture
from services.content.domain.values import Sha256

KEY_BYTES = 32
MIMES = {format_.value.lower(): format_.mime for format_ in PictureFormat}


class PictureLinks:
    """Makes and checks links. Every instance that shares the key serves the links of all."""

    def __init__(self, *, base_url: str, key: bytes, valid_s: float, clock: Clock) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._valid_s = valid_s
        self._clock = clock

    def link(self, picture: Picture) -> str:
        """A link to the picture that is good for a while."""
        extension = picture.mime.rpartition("/")[2]
        until_s = self._clock.now_ns() // NS_PER_S + round(self._valid_s)
        signature = self._signature(picture.sha256, picture.size_bytes, until_s)
        return (
            f"{self._base_url}/pictures/{picture.sha256}.{extension}"
            f"?size={picture.size_bytes}&until={until_s}&signature={signature}"
        )

    def allows(self, sha256: str, size_bytes: int, until_s: int, signature: str) -> bool:
        """Whether the link is ours and not over."""
        expected = self._signature(sha256, size_bytes, until_s)
        return hmac.compare_digest(expected, signature) and self._clock.now_ns() < until_s * NS_PER_S

    def _signature(self, sha256: str, size_bytes: int, until_s: int) -> str:
        signed = f"picture\n{sha256}\n{size_bytes}\n{until_s}".encode()
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()


class PictureDoor:
    """`GET /pictures/{sha256}.{extension}?size=…&until=…&signature=…`; anything else is 404."""

    def __init__(self, *, links: PictureLinks, files: Files) -> None:
        self._links = links
        self._files = files

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves within the block; gives the port."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/pictures/{sha256:[0-9a-f]{64}}.{extension:png|jpeg|gif}", self._get)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        sha256, asked = Sha256(request.match_info["sha256"]), request.query
        try:
            size_bytes, until_s = int(asked.get("size", "")), int(asked.get("until", ""))
            signature = asked.get("signature", "").encode("ascii").decode()
        except ValueError as problem:
            raise web.HTTPNotFound from problem
        if not self._links.allows(sha256, size_bytes, until_s, signature):
            raise web.HTTPNotFound
        pieces = self._files.read(PICTURES, sha256, 0, size_bytes)
        try:
            first = await anext(pieces)
        except FileNotFound as problem:
            raise web.HTTPNotFound from problem
        except Failure as problem:
            raise web.HTTPServiceUnavailable from problem
        response = web.StreamResponse(
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
        )
        response.content_type = MIMES[request.match_info["extension"]]
        response.content_length = size_bytes
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        return response


def link_key(path: Path) -> bytes:
    """The key that links are signed with, made at the first start; readable by the service's user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        # A link is made whole or not at all: of two instances that start at once, one key stays.
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()
