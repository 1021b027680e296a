"""Memes and their files, for those who may have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mesh.pages import page_token, read_page_token
from services.content.app.ports import Files, Memes, Shelf
from services.content.app.steps import FILMS, POSTERS
from services.content.app.uploading import PICTURES
from services.content.domain.failures import MemeNotFound
from services.content.domain.media import Media, MediaKind, Viewer, media_of, range_of, require_allowed
from services.content.domain.memes import Meme, MemeState
from services.content.domain.pages import Page
from services.content.domain.values import MemeId, UserId

_FOLDERS = {MediaKind.POSTER: POSTERS, MediaKind.FILM: FILMS, MediaKind.PICTURE: PICTURES}


class Reading:
    """Everything that changes nothing."""

    def __init__(self, *, memes: Memes, shelf: Shelf, files: Files) -> None:
        self._memes = memes
        self._shelf = shelf
        self._files = files

    async def get(self, meme_id: MemeId) -> Meme:
        """Raises MemeNotFound."""
        kept = await self._memes.get(meme_id)
        if kept is None:
            raise MemeNotFound(meme_id=meme_id)
        return kept.meme

    async def get_many(self, meme_ids: Sequence[MemeId]) -> list[Meme]:
        """Those that exist, in the order asked."""
        found = await self._memes.get_many(meme_ids)
        return [found[meme_id] for meme_id in meme_ids if meme_id in found]

    async def page(
        self, *, state: MemeState | None, creator_id: UserId | None, size: int, token: str
    ) -> Page:
        """Oldest publication first for PUBLISHED, else newest upload first. Raises PageTokenInvalid.

        A page may be shorter than asked, even empty, and still have a next one.
        """
        scope = f"memes {state or ''}/{creator_id or ''}"
        after = read_page_token(scope, token)
        if state is MemeState.PUBLISHED:
            memes, following = await self._shelf.page(creator_id=creator_id, after=after, limit=size)
        else:
            memes, following = await self._memes.page(
                state=state, creator_id=creator_id, after=after, limit=size
            )
        return Page(tuple(memes), page_token(scope, following))

    async def media(
        self, meme_id: MemeId, kind: MediaKind, viewer: Viewer, offset: int, length: int
    ) -> tuple[Media, AsyncIterator[bytes]]:
        """The file, and its bytes in this range.

        Raises MemeNotFound, FileForbidden, FileNotFound, RangeInvalid.
        """
        meme = await self.get(meme_id)
        require_allowed(meme, kind, viewer)
        media = media_of(meme, kind)
        start, end = range_of(media, offset, length)
        return media, self._files.read(_FOLDERS[kind], media.sha256, start, end)
