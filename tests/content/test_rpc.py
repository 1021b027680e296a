"""Content's contract over a real channel: every reason, the rules of who may see what, pages, news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from satreel.content.v1 import content_pb2, content_service_pb2_grpc
from satreel.content.v1 import content_service_pb2 as pb

from mesh.errors import Code, Failure, RemoteFailure
from mesh.feeds import Feed, open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.content.domain import failures
from services.content.rpc.news import FeedNews
from services.content.rpc.servicer import ContentServicer
from tests.content.process import Stub, pieces
from tests.content.world import BAD, CREATOR, World

DOMAIN = "satreel.content"


@dataclass
class House:
    server: LoopbackServer
    world: World
    stub: Stub
    rounds: Stub
    feed: Feed

    async def upload(
        self, data: bytes = b"a picture", *, user: str = CREATOR, **header: object
    ) -> pb.UploadMemeResponse:
        given = {"meme_id": uuid7(), **header}
        with self.server.user(user, roles={"admin"}):
            return await self.stub.UploadMeme(pieces(data, **given))  # type: ignore[arg-type]

    async def published(self, data: bytes = b"a picture") -> content_pb2.Meme:
        uploaded = (await self.upload(data)).meme
        await self.world.run()
        return (await self.stub.GetMeme(pb.GetMemeRequest(meme_id=uploaded.id))).meme

    async def read(
        self,
        meme_id: str,
        kind: content_pb2.MediaKind.ValueType,
        *,
        offset: int = 0,
        length: int = 0,
        vouched: bool = False,
    ) -> tuple[pb.MediaInfo, bytes]:
        request = pb.ReadMediaRequest(
            meme_id=meme_id, kind=kind, offset=offset, length=length, vouched=vouched
        )
        answers = [answer async for answer in self.stub.ReadMedia(request)]
        assert all(len(answer.chunk) <= 1 << 20 for answer in answers)
        return answers[0].info, b"".join(answer.chunk for answer in answers[1:])


@pytest.fixture
async def house(world: World, valkey_url: str) -> AsyncIterator[House]:
    async with open_feed(valkey_url, f"content-{uuid7()}") as feed:
        world.news = FeedNews(feed)
        world.start()
        servicer = ContentServicer(world.one, feed)
        adder = content_service_pb2_grpc.add_ContentServiceServicer_to_server
        async with serving("content", adder, servicer) as server:
            yield House(server, world, Stub(server.channel("gateway")), Stub(server.channel("rounds")), feed)


@asynccontextmanager
async def refused(reason: str, code: Code, **metadata: str) -> AsyncIterator[None]:
    with pytest.raises(RemoteFailure) as raised:
        yield
    failure = raised.value
    assert (failure.reason, failure.code, failure.domain) == (reason, code, DOMAIN)
    assert metadata.items() <= failure.metadata.items()
    assert f"ERROR_REASON_{reason}" in content_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum, not a dict


async def test_a_meme_is_uploaded_read_and_listed(house: House) -> None:
    meme = await house.published()
    assert meme.state == content_pb2.MEME_STATE_PUBLISHED
    assert (meme.creator_id, meme.name, meme.version) == (CREATOR, "A meme", 1)
    assert (meme.quality, meme.quality_ppm) == (0.95, 950_000)
    assert meme.film.codec == "h264"
    assert meme.published_at.ToNanoseconds() > meme.created_at.ToNanoseconds() > 0
    versions = (await house.stub.ListVersions(pb.ListVersionsRequest(meme_id=meme.id))).versions
    assert [stage.state for stage in versions[0].stages] == [1, 2, 3, 4, 5]
    assert versions[0].stages[-1].progress == 1.0
    batch = await house.rounds.BatchGetMemes(pb.BatchGetMemesRequest(meme_ids=[uuid7(), meme.id]))
    assert list(batch.memes) == [meme]
    figures = await house.stub.GetPipeline(pb.GetPipelineRequest())
    assert (figures.queued, figures.running, figures.unfinished_memes) == (0, 0, 0)
    assert figures.done_last_minute >= 5


@pytest.mark.parametrize("refusal", failures.PICTURE_REFUSALS.values())
async def test_every_refusal_of_a_picture_crosses_the_wire(house: House, refusal: type[Failure]) -> None:
    house.world.outside.refusals["inspect"] = [refusal(width=3, height=2)]
    async with refused(refusal.reason, Code.INVALID_ARGUMENT, width="3", height="2"):
        await house.upload()
    assert house.world.files() == []
    listed = await house.stub.ListMemes(pb.ListMemesRequest())
    assert list(listed.memes) == []


async def test_refused_uploads(house: House) -> None:
    first = (await house.upload()).meme
    files = house.world.files()
    async with refused("ID_REUSED", Code.ALREADY_EXISTS, meme_id=first.id):
        await house.upload(b"another", meme_id=first.id)
    async with refused("DUPLICATE", Code.ALREADY_EXISTS, meme_id=first.id):
        await house.upload()
    async with refused("CREATOR_NOT_FOUND", Code.NOT_FOUND):
        await house.upload(b"another", creator_id=uuid7())
    async with refused("CREATOR_NOT_FOUND", Code.NOT_FOUND):
        await house.upload(b"another", user=uuid7())
    async with refused("UPLOAD_INCOMPLETE", Code.INVALID_ARGUMENT, announced="3", received="7"):
        await house.upload(b"another", size_bytes=3)
    async with refused("FILE_TOO_LARGE", Code.INVALID_ARGUMENT, maximum="10000000"):
        await house.upload(bytes(10_000_001), size_bytes=0)
    for name in ("", "a\nb", "x" * 121):
        async with _invalid():
            await house.upload(b"another", name=name)
    assert house.world.files() == files
    assert [meme.id for meme in (await house.stub.ListMemes(pb.ListMemesRequest())).memes] == [first.id]


@asynccontextmanager
async def _invalid() -> AsyncIterator[None]:
    with pytest.raises(RemoteFailure) as raised:
        yield
    assert raised.value.code == Code.INVALID_ARGUMENT


async def test_an_upload_is_a_header_and_chunks(house: House) -> None:
    async def send(*parts: pb.UploadMemeRequest) -> AsyncIterator[pb.UploadMemeRequest]:
        for part in parts:
            yield part

    header = pb.UploadMemeRequest(header=pb.UploadHeader(meme_id=uuid7(), name="A meme"))
    chunk = pb.UploadMemeRequest(chunk=b"a picture")
    with house.server.user(CREATOR, roles={"admin"}):
        for parts in ((), (chunk,), (header, header), (header, pb.UploadMemeRequest())):
            async with _invalid():
                await house.stub.UploadMeme(send(*parts))
    assert house.world.files() == []


async def test_only_administrators_upload_and_moderate(house: House) -> None:
    meme = await house.published()
    with house.server.user(CREATOR):
        for call in (
            lambda: house.stub.UploadMeme(pieces(b"another", meme_id=uuid7())),
            lambda: house.stub.TakeDownMeme(pb.TakeDownMemeRequest(meme_id=meme.id, reason="because")),
            lambda: house.stub.RejectMeme(pb.RejectMemeRequest(meme_id=meme.id, reason="because")),
        ):
            with pytest.raises(RemoteFailure) as raised:
                await call()
            assert raised.value.reason == "ADMIN_REQUIRED"
    assert (await house.stub.GetMeme(pb.GetMemeRequest(meme_id=meme.id))).meme == meme


async def test_moderation(house: House) -> None:
    waiting = (await house.upload(b"one")).meme
    down = await house.published(b"two")
    reject, take_down = pb.RejectMemeRequest, pb.TakeDownMemeRequest
    with house.server.user(CREATOR, roles={"admin"}):
        async with refused("STATE_CONFLICT", Code.FAILED_PRECONDITION):
            await house.stub.RejectMeme(reject(meme_id=down.id, reason="too late"))
        async with refused("MEME_NOT_FOUND", Code.NOT_FOUND):
            await house.stub.RejectMeme(reject(meme_id=uuid7(), reason="nobody"))
        async with refused("MEME_NOT_FOUND", Code.NOT_FOUND):
            await house.stub.TakeDownMeme(take_down(meme_id=uuid7(), reason="nobody"))
        taken = (await house.stub.TakeDownMeme(take_down(meme_id=down.id, reason="stolen"))).meme
    assert taken.state == content_pb2.MEME_STATE_TAKEN_DOWN
    assert taken.reason == content_pb2.ERROR_REASON_BY_ADMINISTRATOR
    assert taken.reason_detail == "stolen"
    assert (await house.stub.GetMeme(pb.GetMemeRequest(meme_id=waiting.id))).meme.id == waiting.id


async def test_a_poor_film_is_told_by_reason_and_measurement(house: House) -> None:
    house.world.outside.facts = BAD
    meme = await house.published()
    assert meme.state == content_pb2.MEME_STATE_REJECTED
    assert meme.reason == content_pb2.ERROR_REASON_QUALITY_TOO_LOW
    assert "smoothness" in meme.reason_detail
    assert meme.film.motion_smoothness == 0.5


async def test_who_sees_what(house: House) -> None:
    film, poster, picture = (
        content_pb2.MEDIA_KIND_FILM,
        content_pb2.MEDIA_KIND_POSTER,
        content_pb2.MEDIA_KIND_PICTURE,
    )
    meme = await house.published()
    assert (await house.read(meme.id, poster))[1] == b"a poster"
    info, data = await house.read(meme.id, film, vouched=True)
    assert (info.mime, info.sha256, data) == ("video/mp4", meme.film.sha256, house.world.outside.film)
    for kind in (film, picture):
        async with refused("FILE_FORBIDDEN", Code.PERMISSION_DENIED):
            await house.read(meme.id, kind)
        with house.server.user(uuid7()):
            async with refused("FILE_FORBIDDEN", Code.PERMISSION_DENIED):
                await house.read(meme.id, kind)
        with house.server.user(CREATOR):
            assert (await house.read(meme.id, kind))[1]
        with house.server.user(uuid7(), roles={"admin"}):
            assert (await house.read(meme.id, kind))[1]
    with house.server.user(uuid7(), roles={"admin"}):
        await house.stub.TakeDownMeme(pb.TakeDownMemeRequest(meme_id=meme.id, reason="stolen"))
    for kind in (poster, film):
        async with refused("FILE_FORBIDDEN", Code.PERMISSION_DENIED):
            await house.read(meme.id, kind, vouched=True)


async def test_ranges_and_missing_files(house: House) -> None:
    kind = content_pb2.MEDIA_KIND_FILM
    waiting = (await house.upload(b"waiting")).meme
    with house.server.user(CREATOR):
        async with refused("FILE_NOT_FOUND", Code.NOT_FOUND):
            await house.read(waiting.id, kind)
    async with refused("MEME_NOT_FOUND", Code.NOT_FOUND):
        await house.read(uuid7(), kind)
    meme = await house.published()
    size = meme.film.size_bytes
    whole = house.world.outside.film
    for offset, length, data in ((3, 4, whole[3:7]), (size - 1, 0, whole[-1:]), (5, 10**15, whole[5:])):
        info, read = await house.read(meme.id, kind, offset=offset, length=length, vouched=True)
        assert (info.size_bytes, read) == (size, data)
    for offset in (size, 2**62):
        async with refused("RANGE_INVALID", Code.OUT_OF_RANGE, size=str(size)):
            await house.read(meme.id, kind, offset=offset, vouched=True)


async def test_pages(house: House) -> None:
    memes = []
    for number in range(5):
        memes.append((await house.upload(b"picture %d" % number)).meme.id)
        await house.world.run()
        await house.world.clock.advance(1)

    async def listed(**what: object) -> list[str]:
        found: list[str] = []
        token = ""
        for _ in range(20):
            answer = await house.rounds.ListMemes(
                pb.ListMemesRequest(page_size=2, page_token=token, **what)  # type: ignore[arg-type]
            )
            assert len(answer.memes) <= 2
            found += [meme.id for meme in answer.memes]
            token = answer.next_page_token
            if not token:
                return found
        raise AssertionError("the list does not end")

    published = content_pb2.MEME_STATE_PUBLISHED
    assert await listed(state=published) == memes
    assert await listed(state=published, creator_id=CREATOR) == memes
    assert await listed(state=published, creator_id=uuid7()) == []
    assert await listed() == sorted(memes, reverse=True)
    assert await listed(creator_id=CREATOR) == sorted(memes, reverse=True)
    assert await listed(state=content_pb2.MEME_STATE_REJECTED) == []
    page = await house.stub.ListMemes(pb.ListMemesRequest(state=published, page_size=2))
    for token in (page.next_page_token, "rubbish", "!!!"):
        async with refused("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT):
            await house.stub.ListMemes(pb.ListMemesRequest(page_token=token))


async def test_news(house: House) -> None:
    async with asyncio.timeout(120):
        stream = house.rounds.WatchContent(pb.WatchContentRequest())
        answers = aiter(stream)
        first = await anext(answers)
        assert first.WhichOneof("news") == "snapshot"
        meme = await house.published()
        events: list[pb.ContentEvent] = []
        while len(events) < 5:
            answer = await anext(answers)
            if answer.WhichOneof("news") == "event":
                events.append(answer.event)
        assert [event.stage.state for event in events] == [1, 2, 3, 4, 5]
        assert [event.id for event in events] == sorted(event.id for event in events)
        assert events[-1].meme == meme
        resumed = aiter(house.rounds.WatchContent(pb.WatchContentRequest(cursor=first.cursor)))
        assert (await anext(resumed)).event == events[0]
