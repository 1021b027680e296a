"""News of blocks over WhatsOnChain's WebSocket, and by asking again and again in any case."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import aiohttp

from mesh import logs

log = logs.logger(__name__)

MESSAGE_BYTES_MAX = 1 << 20
HEARTBEAT_S = 30.0
CONNECT, PING = "{}", "{}"
RECONNECT_S, RECONNECT_S_MAX = 1.0, 60.0


class WhatsOnChainNews:
    """`ChainNews`. A message is never believed: it is a reason to ask."""

    def __init__(self, session: aiohttp.ClientSession, url: str, poll_s: float) -> None:
        self._session = session
        self._url = url
        self._poll_s = poll_s

    async def blocks(self) -> AsyncIterator[None]:
        """Yields at every message, and every `poll_s`."""
        told = asyncio.Event()
        listening = asyncio.create_task(self._listen(told)) if self._url else None
        try:
            while True:
                yield
                told.clear()
                try:
                    async with asyncio.timeout(self._poll_s):
                        await told.wait()
                except TimeoutError:
                    continue
        finally:
            if listening is not None:
                listening.cancel()

    async def transactions(self) -> AsyncIterator[bytes]:
        """None: addresses are asked for instead."""
        await asyncio.Event().wait()
        yield b""

    async def _listen(self, told: asyncio.Event) -> None:
        pause_s = RECONNECT_S
        while True:
            try:
                async with self._session.ws_connect(
                    self._url, heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX
                ) as line:
                    await line.send_str(CONNECT)
                    pause_s = RECONNECT_S
                    told.set()  # whatever came while nobody listened
                    async for message in line:
                        if message.data == PING:
                            await line.send_str(PING)
                        elif message.type is aiohttp.WSMsgType.TEXT:
                            told.set()
            except (aiohttp.ClientError, OSError, ValueError) as problem:
                log.info("no news of blocks unasked", problem=type(problem).__name__)
            await asyncio.sleep(pause_s * (1 + random.random()))  # noqa: S311 - jitter
            pause_s = min(RECONNECT_S_MAX, 2 * pause_s)
