"""Takes in a picture: all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, IdReused
from mesh.logs import logger
from mesh.records import Exists, InDoubt
from services.content.app.claiming import Claiming, Hold
from services.content.app.ports import Creators, Files, Incoming, Kept, Memes, News, Queue, Received, Workshop
from services.content.domain.failures import CreatorNotFound, UploadIncomplete
from services.content.domain.memes import Meme, new_meme
from services.content.domain.pictures import FILE_BYTES_MAX, Picture
from services.content.domain.values import InstantNs, MemeId, UserId

PICTURES = "pictures"
UPLOAD_S_MAX = 55.0

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadOrder:
    """What was announced. `size_bytes` None: unknown."""

    meme_id: MemeId
    name: str
    creator_id: UserId
    size_bytes: int | None


class Uploading:
    """Receives, inspects, claims, stores, records, in this order; undoes what it did when a step refuses."""

    def __init__(
        self,
        *,
        memes: Memes,
        claiming: Claiming,
        files: Files,
        incoming: Incoming,
        workshop: Workshop,
        creators: Creators,
        queue: Queue,
        news: News,
        clock: Clock,
    ) -> None:
        self._memes = memes
        self._claiming = claiming
        self._files = files
        self._incoming = incoming
        self._workshop = workshop
        self._creators = creators
        self._queue = queue
        self._news = news
        self._clock = clock
        self._under_way: WeakValueDictionary[MemeId, asyncio.Lock] = WeakValueDictionary()

    async def upload(self, order: UploadOrder, chunks: AsyncIterator[bytes]) -> Meme:
        """The meme: new, or the one that the same upload made before.

        Raises CreatorNotFound, IdReused, Duplicate, UploadIncomplete, FileTooLarge, UploadOvertaken, and the
        refusals of pictures; nothing is left behind then.
        """
        # One upload of an id at a time in this process; between processes the claim decides.
        lock = self._under_way.setdefault(order.meme_id, asyncio.Lock())
        try:
            async with asyncio.timeout(UPLOAD_S_MAX), lock:
                return await self._upload(order, chunks)
        except TimeoutError as problem:
            raise DeadlineExceeded("the upload took too long") from problem

    async def _upload(self, order: UploadOrder, chunks: AsyncIterator[bytes]) -> Meme:
        known = await self._memes.get(order.meme_id)
        if known is None and not await self._creators.exists(order.creator_id):
            raise CreatorNotFound(creator_id=order.creator_id)
        async with self._incoming.receive(chunks, FILE_BYTES_MAX) as received:
            if order.size_bytes not in (None, received.size_bytes):
                raise UploadIncomplete(announced=order.size_bytes, received=received.size_bytes)
            known = await self._memes.get(order.meme_id)
            return _same(known, order, received) if known else await self._accept(order, received)

    async def _accept(self, order: UploadOrder, received: Received) -> Meme:
        found = await self._workshop.inspect_picture(received.path)
        picture = Picture(found.mime, found.width, found.height, received.size_bytes, received.sha256)
        hold = await self._claiming.settle(order.meme_id, found.look, received.sha256)
        try:
            await self._files.put(PICTURES, received.sha256, received.path)
            meme, generation = await self._record(order, picture, received)
        except (InDoubt, asyncio.CancelledError):
            # The record may still come: whether it did, the sweep sees when it can come no more.
            raise
        except BaseException:
            await self.undo(hold)
            raise
        await self._claiming.bind(hold)
        if generation:
            self._news.tell(meme, meme.last_stage)
            await self._queue.enqueue(meme.id, generation, InstantNs(self._clock.now_ns()))
        return meme

    async def _record(self, order: UploadOrder, picture: Picture, received: Received) -> tuple[Meme, int]:
        """The meme and its generation, 0 when another attempt of the same upload was faster."""
        meme = new_meme(
            order.meme_id,
            name=order.name,
            creator_id=order.creator_id,
            picture=picture,
            at_ns=InstantNs(self._clock.now_ns()),
        )
        try:
            return meme, await self._memes.create(meme)
        except (Exists, InDoubt) as doubt:
            known = await self._memes.get(order.meme_id)
            if known is None:
                raise
            generation = known.generation if isinstance(doubt, InDoubt) else 0
            return _same(known, order, received), generation

    async def undo(self, hold: Hold) -> None:
        """Leaves nothing of an upload that came to nothing; a meme that stands after all stays whole."""
        if not hold.ours or await self._memes.get(hold.claim.meme_id) is not None:
            return
        if not await self._claiming.shared(hold.claim):
            await self._files.delete(PICTURES, hold.claim.sha256)
        await self._claiming.free(hold)

    async def sweep(self) -> None:
        """Removes what crashed uploads left."""
        for claim in await self._claiming.sweep():
            log.warning("abandoned upload removed", meme_id=claim.meme_id)
            if not await self._claiming.shared(claim):
                await self._files.delete(PICTURES, claim.sha256)


def _same(known: Kept, order: UploadOrder, received: Received) -> Meme:
    meme = known.meme
    before = (meme.name, meme.creator_id, meme.versions[0].picture.sha256)
    if before != (order.name, order.creator_id, received.sha256):
        raise IdReused(meme_id=order.meme_id)
    return meme
