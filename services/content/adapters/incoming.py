"""Temporary files under the data folder; what a process that died left there is removed at the next start."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.content.app.ports import Received
from services.content.domain.failures import FileTooLarge
from services.content.domain.values import Sha256

LEFT_OVER_AFTER_S = 3600.0
BLOCK_BYTES = 1 << 20


class IncomingFolder:
    """The port `Incoming`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def clear(self) -> None:
        """Removes rooms that are older than any work can be."""
        await asyncio.to_thread(self._clear)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[Path]:
        """A folder of its own, gone afterwards."""
        room = await asyncio.to_thread(self._new_room)
        try:
            yield room
        finally:
            await asyncio.to_thread(shutil.rmtree, room, ignore_errors=True)

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[Received]:
        """Takes in a stream."""
        async with self.room() as room:
            yield await received(chunks, room / "upload", bytes_max)

    async def digest(self, path: Path) -> tuple[Sha256, int]:
        """The sha256 of a file, and its bytes."""
        return await asyncio.to_thread(_digest, path)

    def _new_room(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _clear(self) -> None:
        if not self._folder.is_dir():
            return
        for room in self._folder.iterdir():
            if room.stat().st_mtime < time.time() - LEFT_OVER_AFTER_S:
                shutil.rmtree(room, ignore_errors=True)


async def received(chunks: AsyncIterator[bytes], path: Path, bytes_max: int) -> Received:
    """Writes a stream to a file. Raises FileTooLarge as soon as it is."""
    hashed, size_bytes = hashlib.sha256(), 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > bytes_max:
                raise FileTooLarge(maximum=bytes_max)
            hashed.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    return Received(path, size_bytes, Sha256(hashed.hexdigest()))


def _digest(path: Path) -> tuple[Sha256, int]:
    with path.open("rb") as file:
        return Sha256(hashlib.file_digest(file, "sha256").hexdigest()), path.stat().st_size
