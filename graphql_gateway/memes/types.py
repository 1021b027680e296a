"""Memes, their films, and their way through the pipeline."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.identity.v1 import identity_pb2

from graphql_gateway.arguments import After, First
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, User
from graphql_gateway.proto import proto_enum, proto_type, shown_all
from graphql_gateway.safety.declared import CALL, PAGE, SAME_FOR_ALL, at_most, up_to
from graphql_gateway.scalars import Long


@proto_enum(content_pb2.MemeState, "MemeState")
class MemeState(enum.IntEnum):
    """Where a meme stands in the pipeline."""

    UPLOADED = 1
    RENDERING = 2
    CHECKING = 3
    TITLING = 4
    PUBLISHED = 5
    REJECTED = 6
    TAKEN_DOWN = 7


@proto_type(content_pb2.Picture)
class Picture:
    """The picture that was uploaded."""

    mime: str
    width: int
    height: int
    size_bytes: Long
    sha256: str


@proto_type(content_pb2.Film)
class Film:
    """The film and what was measured of it."""

    size_bytes: Long
    sha256: str
    codec: str
    width: int
    height: int
    frame_rate: float
    frames: int
    duration_ms: Long
    timing_regularity: float
    motion_smoothness: float


@proto_type(content_pb2.Stage)
class Stage:
    """One stage of the pipeline, as recorded."""

    state: MemeState
    at: datetime
    detail: str
    progress: float


@proto_type(content_pb2.MemeVersion)
class MemeVersion:
    """A version, never overwritten."""

    version: int
    picture: Picture | None
    film: Film | None
    stages: list[Stage] = up_to(20)
    created_at: datetime


@part_of(Meme)
class MemeFields:
    """What content knows of a meme."""

    name: str
    state: MemeState
    reason_detail: str | None
    quality: float
    picture: Picture | None
    film: Film | None
    version: int
    created_at: datetime
    published_at: datetime | None

    @strawberry.field(description="Why it was rejected or taken down, as a word for programs.")
    def reason(self: content_pb2.Meme) -> str | None:
        """The reason's name without its prefix."""
        name = content_pb2.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")
        return None if name == "UNSPECIFIED" else name

    @strawberry.field(description="Who made it.", metadata=SAME_FOR_ALL)
    async def creator(self: content_pb2.Meme, info: Info) -> User | None:
        """The creator."""
        return await info.context.loaders.users.load(self.creator_id)

    @strawberry.field(description="Where everyone may get the poster frame; null until the film is made.")
    def poster_url(self: content_pb2.Meme) -> str | None:
        """Path on this gateway."""
        return f"/media/{self.id}/poster" if self.HasField("film") else None

    @strawberry.field(
        description="Where the film is served, with ranges, to its owner, its creator and administrators; "
        "others get an address of their own within a paid viewing (`watch`). Null until it is "
        "made."
    )
    def film_url(self: content_pb2.Meme) -> str | None:
        """Path on this gateway."""
        return f"/media/{self.id}/film" if self.HasField("film") else None

    @strawberry.field(
        description="Its versions with what happened to each, the newest first.",
        directives=(*CALL, *at_most(20)),
    )
    async def versions(self: content_pb2.Meme, info: Info) -> list[MemeVersion]:
        """All versions."""
        request = content_service_pb2.ListVersionsRequest(meme_id=self.id)
        response = await info.context.services.content.ListVersions(request)
        return shown_all(MemeVersion, response.versions)


@part_of(User)
class UserMemes:
    """What content knows of a user."""

    @strawberry.field(
        description="Memes that the user made, the newest first.", directives=PAGE, metadata=SAME_FOR_ALL
    )
    async def memes(
        self: identity_pb2.User,
        info: Info,
        first: First = None,
        after: After = None,
    ) -> Connection[Meme]:
        """Made memes."""

        async def fetch(size: int, token: str) -> Page:
            request = content_service_pb2.ListMemesRequest(
                creator_id=self.id, page_size=size, page_token=token
            )
            response = await info.context.services.content.ListMemes(request)
            return Page(response.memes, response.next_page_token)

        return await connect(fetch, first=first, after=after)
