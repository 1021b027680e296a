"""The map between contract and domain."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.content.v1 import content_pb2

from services.content.domain import memes, pictures
from services.content.domain.media import MediaKind
from services.content.domain.memes import MemeState
from services.content.domain.values import PPM

STATES = {content_pb2.MemeState.Value(f"MEME_STATE_{state}"): state for state in MemeState}
_STATE_NUMBERS = {state: number for number, state in STATES.items()}
KINDS = {
    content_pb2.MEDIA_KIND_POSTER: MediaKind.POSTER,
    content_pb2.MEDIA_KIND_FILM: MediaKind.FILM,
    content_pb2.MEDIA_KIND_PICTURE: MediaKind.PICTURE,
}


def timestamp(instant_ns: int) -> Timestamp:
    """An instant for the wire."""
    stamp = Timestamp()
    stamp.FromNanoseconds(instant_ns)
    return stamp


def meme(found: memes.Meme) -> content_pb2.Meme:
    """A meme for the wire. Nothing of its task is in it."""
    facts = found.facts
    return content_pb2.Meme(
        id=found.id,
        name=found.name,
        creator_id=found.creator_id,
        state=_STATE_NUMBERS[found.state],
        reason=content_pb2.ErrorReason.Value(f"ERROR_REASON_{found.reason or 'UNSPECIFIED'}"),
        reason_detail=found.reason_detail,
        quality=facts.quality_ppm / PPM if facts else 0.0,
        quality_ppm=facts.quality_ppm if facts else 0,
        picture=_picture(found.version.picture),
        film=None if found.film is None else _film(found.film),
        version=found.version.number,
        created_at=timestamp(found.created_ns),
        published_at=timestamp(found.published_ns) if found.published_ns else None,
    )


def version(found: memes.Version) -> content_pb2.MemeVersion:
    """A version for the wire."""
    return content_pb2.MemeVersion(
        version=found.number,
        picture=_picture(found.picture),
        film=None if found.film is None else _film(found.film),
        stages=[stage(passed) for passed in found.stages],
        created_at=timestamp(found.created_ns),
    )


def stage(passed: memes.Stage) -> content_pb2.Stage:
    """A stage for the wire."""
    return content_pb2.Stage(
        state=_STATE_NUMBERS[passed.state],
        at=timestamp(passed.at_ns),
        detail=passed.detail,
        progress=passed.progress,
    )


def _picture(found: pictures.Picture) -> content_pb2.Picture:
    return content_pb2.Picture(
        mime=found.mime,
        width=found.width,
        height=found.height,
        size_bytes=found.size_bytes,
        sha256=found.sha256,
    )


def _film(found: memes.Film) -> content_pb2.Film:
    film = content_pb2.Film(size_bytes=found.size_bytes, sha256=found.sha256)
    if (facts := found.facts) is not None:
        film.codec, film.width, film.height = facts.codec, facts.width, facts.height
        film.frame_rate, film.frames, film.duration_ms = facts.frame_rate, facts.frames, facts.duration_ms
        film.timing_regularity = facts.timing_regularity
        film.motion_smoothness = facts.motion_smoothness
    return film
