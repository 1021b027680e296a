"""Files in an object store: a local folder by default, or what `SATREEL_CONTENT_FILES_URL` names (s3://…)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from mesh.errors import Unavailable
from services.content.domain.failures import FileNotFound
from services.content.domain.values import Sha256

PIECE_BYTES = 512 * 1024


class FilesUnavailable(Unavailable):
    """The store of files cannot be reached."""

    reason = "FILES_UNAVAILABLE"


def open_files(url: str, folder: Path) -> StoredFiles:
    """The store that the url names; "" means the folder. Credentials come from the usual AWS_ variables."""
    if url:
        return StoredFiles(from_url(url))
    return StoredFiles(LocalStore(folder, mkdir=True))


class StoredFiles:
    """The port `Files`. The content's sha256 is its name: a file never changes, and put twice it is one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, kind: str, sha256: Sha256, path: Path) -> None:
        """Stores a file."""
        with _told():
            await obstore.put_async(self._store, _key(kind, sha256), path)

    async def fetch(self, kind: str, sha256: Sha256, path: Path) -> None:
        """Copies a stored file."""
        with _told():
            found = await obstore.get_async(self._store, _key(kind, sha256))
            with await asyncio.to_thread(path.open, "wb") as file:
                async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                    await asyncio.to_thread(file.write, bytes(piece))

    async def read(self, kind: str, sha256: Sha256, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a range, in pieces."""
        while start < end:
            until = min(end, start + PIECE_BYTES)
            with _told():
                piece = await obstore.get_range_async(self._store, _key(kind, sha256), start=start, end=until)
            yield bytes(piece)
            start = until

    async def delete(self, kind: str, sha256: Sha256) -> None:
        """Removes a file, if there is one."""
        try:
            with _told():
                await obstore.delete_async(self._store, _key(kind, sha256))
        except FileNotFound:
            return


def _key(kind: str, sha256: Sha256) -> str:
    return f"{kind}/{sha256[:2]}/{sha256}"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as problem:
        raise FileNotFound from problem
    except (BaseError, OSError) as problem:
        raise FilesUnavailable(f"the store of files failed: {type(problem).__name__}") from problem
