"""Uploading and moderating memes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import strawberry
from satreel.content.v1 import content_service_pb2
from strawberry.file_uploads import Upload

from graphql_gateway.arguments import MemeId, NewId, WhyForAll, about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, Mutation
from graphql_gateway.ids import bare_id, new_or_given
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import ADMINS

CHUNK_BYTES = 256 * 1024


@part_of(Mutation)
class MemesMutation:
    """What administrators do with memes."""

    @strawberry.mutation(
        description="Uploads a picture (PNG, JPEG or GIF, at most 10 MB); an accepted one becomes a film in "
        "the background: follow `pipelineProgress`. One that breaks a rule is refused with that "
        "rule's code and leaves nothing behind. Administrators only.",
        directives=ADMINS,
    )
    async def upload_meme(
        self,
        info: Info,
        picture: Annotated[Upload, about("The picture's file, by the multipart specification.")],
        name: Annotated[str, about("Shown to everybody: 1 to 120 characters.")],
        creator_id: Annotated[strawberry.ID | None, about("Who made it; the viewer unless given.")] = None,
        id: NewId = None,
    ) -> Meme:
        """May be repeated with the same id and picture."""
        header = content_service_pb2.UploadHeader(
            meme_id=new_or_given("Meme", id),
            name=name,
            creator_id=bare_id("User", creator_id) if creator_id else "",
        )
        response = await info.context.services.content.UploadMeme(_pieces(header, picture))
        return shown(Meme, response.meme)

    @strawberry.mutation(
        description="Stops a meme that is not published yet. Administrators only.", directives=ADMINS
    )
    async def reject_meme(self, info: Info, meme_id: MemeId, reason: WhyForAll) -> Meme:
        """May be repeated."""
        request = content_service_pb2.RejectMemeRequest(meme_id=bare_id("Meme", meme_id), reason=reason)
        return shown(Meme, (await info.context.services.content.RejectMeme(request)).meme)

    @strawberry.mutation(
        description="Removes a published meme from view. Administrators only.", directives=ADMINS
    )
    async def take_down_meme(self, info: Info, meme_id: MemeId, reason: WhyForAll) -> Meme:
        """May be repeated."""
        request = content_service_pb2.TakeDownMemeRequest(meme_id=bare_id("Meme", meme_id), reason=reason)
        return shown(Meme, (await info.context.services.content.TakeDownMeme(request)).meme)


async def _pieces(
    header: content_service_pb2.UploadHeader, picture: Any
) -> AsyncIterator[content_service_pb2.UploadMemeRequest]:
    yield content_service_pb2.UploadMemeRequest(header=header)
    while piece := picture.read(CHUNK_BYTES):
        yield content_service_pb2.UploadMemeRequest(chunk=piece)
