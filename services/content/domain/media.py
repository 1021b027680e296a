"""Which file a request means, and who may have it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.content.domain.failures import FileForbidden, FileNotFound, RangeInvalid
from services.content.domain.memes import Meme, MemeState
from services.content.domain.values import Sha256


class MediaKind(StrEnum):
    """The files of a meme."""

    POSTER = "poster"
    FILM = "film"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Media:
    """A file as it is kept."""

    kind: MediaKind
    mime: str
    size_bytes: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. `vouched`: the gateway saw a running paid session of theirs, or that they own the title."""

    user_id: str | None = None
    is_admin: bool = False
    vouched: bool = False


def require_allowed(meme: Meme, kind: MediaKind, viewer: Viewer) -> None:
    """Raises FileForbidden. What is not published (any more) is for its creator and administrators only."""
    if viewer.is_admin or (viewer.user_id is not None and viewer.user_id == meme.creator_id):
        return
    if meme.state is MemeState.PUBLISHED and (kind is MediaKind.POSTER or viewer.vouched):
        return
    raise FileForbidden(meme_id=meme.id)


def media_of(meme: Meme, kind: MediaKind) -> Media:
    """The file of the current version. Raises FileNotFound."""
    picture, film = meme.version.picture, meme.film
    if kind is MediaKind.PICTURE:
        return Media(kind, picture.mime, picture.size_bytes, picture.sha256)
    if film is not None and kind is MediaKind.FILM:
        return Media(kind, "video/mp4", film.size_bytes, film.sha256)
    if film is not None and film.poster_sha256 is not None:
        return Media(kind, "image/jpeg", film.poster_bytes, film.poster_sha256)
    raise FileNotFound(meme_id=meme.id, kind=kind)


def range_of(media: Media, offset: int, length: int) -> tuple[int, int]:
    """Start and end (exclusive) within the file; length 0: to the end. Raises RangeInvalid."""
    if offset >= media.size_bytes:
        raise RangeInvalid(size=media.size_bytes)
    return offset, min(media.size_bytes, offset + length) if length else media.size_bytes
