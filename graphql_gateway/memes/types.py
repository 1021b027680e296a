"""Memes, their films, and their way through the pipeline."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.content.v1 import content_pb2, content_service_pb2
from strawberry import relay

from graphql_gateway.accounts.types import Title, User
from graphql_gateway.chain.types import Inscription
from graphql_gateway.context import Info
from graphql_gateway.market.types import Quote
from graphql_gateway.proto import proto_enum, proto_type, shown_all
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
    stages: list[Stage]
    created_at: datetime


@proto_type(content_pb2.Meme, loader="memes")
class Meme(relay.Node):
    """A meme."""

    id: relay.NodeID[str]
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

    @strawberry.field(description="Who made it.")
    async def creator(self: content_pb2.Meme, info: Info) -> User | None:
        """The creator."""
        return await info.context.loaders.users.load(self.creator_id)

    @strawberry.field(description="Its title: who owns it and since when; null until it is issued.")
    async def title(self: content_pb2.Meme, info: Info) -> Title | None:
        """The title in the ledger."""
        return await info.context.loaders.titles.load(self.id)

    @strawberry.field(description="Who owns it; null until its title is issued.")
    async def owner(self: content_pb2.Meme, info: Info) -> User | None:
        """The title's owner."""
        title = await info.context.loaders.titles.load(self.id)
        return None if title is None else await info.context.loaders.users.load(title.owner_id)

    @strawberry.field(description="What the market knows of it.")
    async def quote(self: content_pb2.Meme, info: Info) -> Quote | None:
        """Open listing, last price and volume."""
        return await info.context.loaders.quotes.load(self.id)

    @strawberry.field(description="Its title on chain; null until it is asked for.")
    async def inscription(self: content_pb2.Meme, info: Info) -> Inscription | None:
        """The ordinal."""
        return await info.context.loaders.inscriptions.load(self.id)

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

    @strawberry.field(description="Its versions with what happened to each, the newest first.")
    async def versions(self: content_pb2.Meme, info: Info) -> list[MemeVersion]:
        """All versions."""
        request = content_service_pb2.ListVersionsRequest(meme_id=self.id)
        response = await info.context.services.content.ListVersions(request)
        return shown_all(MemeVersion, response.versions)
