"""Content as the process that runs it, with everything around it: to be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc

from mesh import caller, tls
from mesh.caller import Caller
from mesh.channel import connect
from mesh.clock import SystemClock
from mesh.tokens import UserTokenSigner
from sandbox.process import Child, free_port, start_child
from tests.content.peers import Peers

START_S = PATIENCE_S = 120.0
Stub = content_service_pb2_grpc.ContentServiceStub


class ContentProcess:
    """One service, many lives."""

    def __init__(self, folder: Path, redis_url: str, peers: Peers, aitubo_url: str, aitubo_key: str) -> None:
        self._folder = folder
        self._listen = f"127.0.0.1:{free_port()}"
        private_key, public_key = tls.make_user_token_keys(folder)
        self._signer = UserTokenSigner(private_key.read_bytes(), SystemClock())
        self._settings = {
            "SATREEL_CONTENT_LISTEN": self._listen,
            "SATREEL_CONTENT_MEDIA_LISTEN": f"127.0.0.1:{free_port()}",
            "SATREEL_CONTENT_AITUBO_URL": aitubo_url,
            "SATREEL_CONTENT_AITUBO_KEY": aitubo_key,
            "SATREEL_CONTENT_POLL_S": "1",
            "SATREEL_CONTENT_SWEEP_S": "1",
            "SATREEL_REDIS_URL": redis_url,
            "SATREEL_DATA_DIR": str(folder / "data"),
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_PEERS": json.dumps(peers.addresses),
            "SATREEL_DRAIN_S": "0",
            "SATREEL_STOP_GRACE_S": "1",
        }
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def log(self) -> str:
        return (self._folder / "content.log").read_text()

    async def start(self) -> None:
        self._child = await start_child(
            "content",
            [sys.executable, "-m", "services.content"],
            log_path=self._folder / "content.log",
            env={**os.environ, **self._settings},
        )
        async with grpc.aio.insecure_channel(self._listen) as channel:
            try:
                await asyncio.wait_for(channel.channel_ready(), START_S)
            except TimeoutError:
                raise AssertionError(self.log[-3000:]) from None

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self._child is not None
        await self._child.stop()

    async def stop(self) -> int | None:
        assert self._child is not None
        await self._child.stop()
        return self._child.exit_code

    def acting(self, user_id: str, *roles: str) -> AbstractContextManager[None]:
        token, _ = self._signer.sign(user_id=user_id, roles=frozenset(roles), session_id="test")
        return caller.acting_as(Caller("", user_id, frozenset(roles), "test"), token)

    @asynccontextmanager
    async def stub(self, me: str = "gateway") -> AsyncIterator[Stub]:
        async with AsyncExitStack() as stack:
            channel = connect(me=me, peer="content", addresses=self._listen, tls_dir=None)
            stack.push_async_callback(channel.close)
            yield Stub(channel)


async def pieces(
    data: bytes, *, meme_id: str, creator_id: str = "", name: str = "A meme", size_bytes: int | None = None
) -> AsyncIterator[content_service_pb2.UploadMemeRequest]:
    header = content_service_pb2.UploadHeader(
        meme_id=meme_id,
        name=name,
        creator_id=creator_id,
        size_bytes=len(data) if size_bytes is None else size_bytes,
    )
    yield content_service_pb2.UploadMemeRequest(header=header)
    for start in range(0, len(data), 100_000):
        yield content_service_pb2.UploadMemeRequest(chunk=data[start : start + 100_000])


async def until(stub: Stub, meme_id: str, *states: int) -> content_pb2.Meme:
    request = content_service_pb2.GetMemeRequest(meme_id=meme_id)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            meme = (await stub.GetMeme(request, timeout=PATIENCE_S)).meme
            if meme.state in states:
                return meme
            await asyncio.sleep(0.1)
