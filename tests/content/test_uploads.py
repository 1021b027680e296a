"""Uploads: all or nothing, once, and never the same picture twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from mesh.errors import Failure, IdReused
from mesh.ids import uuid7
from mesh.records import Bins, InDoubt, Store, StoreUnavailable
from services.content.app.claiming import ABANDONED_AFTER_S
from services.content.app.ports import ClaimState
from services.content.domain.failures import (
    CreatorNotFound,
    Duplicate,
    FileTooLarge,
    TooSmall,
    Undecodable,
    UploadIncomplete,
    UploadOvertaken,
)
from services.content.domain.looks import Look
from services.content.domain.memes import MemeState
from services.content.domain.values import MemeId
from tests.content.world import World


def look_of(data: bytes) -> tuple[Look, str]:
    digest = hashlib.sha512(data.partition(b"\n")[0]).hexdigest()
    return Look(digest[:16], digest[16:80]), hashlib.sha256(data).hexdigest()


async def assert_nothing_left(world: World, meme_id: str) -> None:
    assert await world.memes.get(MemeId(meme_id)) is None
    assert world.files() == []
    claim = await world.claims.get(MemeId(meme_id))
    assert claim is None or claim[0].state is ClaimState.FREE
    assert world.queue.jobs == []
    assert world.told.stages == []


@pytest.mark.parametrize(
    ("order", "refusal"),
    [
        ({"creator_id": uuid7()}, CreatorNotFound),
        ({"size_bytes": 8}, UploadIncomplete),
        ({"size_bytes": 10}, UploadIncomplete),
        ({"data": b"x" * 10_000_001}, FileTooLarge),
    ],
)
async def test_a_refused_upload_leaves_nothing(
    world: World, order: dict[str, object], refusal: type[Failure]
) -> None:
    meme_id = uuid7()
    with pytest.raises(refusal):
        await world.upload(**{"data": b"a picture", "meme_id": meme_id, **order})  # type: ignore[arg-type]
    await assert_nothing_left(world, meme_id)


@pytest.mark.parametrize("refusal", [TooSmall(width=3, height=2), Undecodable()])
async def test_a_picture_that_breaks_a_rule_leaves_nothing(world: World, refusal: Failure) -> None:
    world.outside.refusals["inspect"] = [refusal]
    meme_id = uuid7()
    with pytest.raises(type(refusal)):
        await world.upload(meme_id=meme_id)
    await assert_nothing_left(world, meme_id)
    assert (await world.upload(meme_id=meme_id)).state is MemeState.UPLOADED


async def test_an_upload_that_breaks_off_leaves_nothing(world: World) -> None:
    meme_id = uuid7()
    world.store.failing = lambda what, set_name: (
        StoreUnavailable() if (what, set_name) == ("create", "memes") else None
    )
    with pytest.raises(StoreUnavailable):
        await world.upload(meme_id=meme_id)
    await assert_nothing_left(world, meme_id)


async def test_a_write_in_doubt_that_happened_is_an_accepted_upload(world: World) -> None:
    doubt = InDoubt()
    doubt.before = False  # type: ignore[attr-defined] # read by the store that fails
    world.store.failing = lambda what, set_name: doubt if (what, set_name) == ("create", "memes") else None
    meme = await world.upload()
    assert (await world.meme(meme.id)) == meme
    assert [meme_id for meme_id, _, _ in world.queue.jobs] == [meme.id]


class LateStore:
    """Whoever stops waiting for the record of a meme has not stopped its write, nor is it done yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.begun = asyncio.Event()
        self.writes: list[Callable[[], Coroutine[Any, Any, int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        if set_name != "memes":
            return await self._store.create(set_name, key, bins)
        self.writes.append(lambda: self._store.create(set_name, key, bins))
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("comes", [True, False])
async def test_who_leaves_while_the_record_is_written_leaves_all_or_nothing(
    world: World, comes: bool
) -> None:
    world.plain_store = late = cast("Any", LateStore(world.plain_store))
    world.start()
    upload = asyncio.create_task(world.upload(meme_id=(meme_id := uuid7())))
    await late.begun.wait()
    upload.cancel()
    await asyncio.wait({upload})
    assert upload.cancelled()
    if comes:
        await late.writes[0]()
    await world.clock.advance(ABANDONED_AFTER_S + 1)
    await world.uploading.sweep()
    if not comes:
        await assert_nothing_left(world, meme_id)
        return
    claim = await world.claims.get(MemeId(meme_id))
    assert claim is not None
    assert claim[0].state is ClaimState.BOUND
    await world.run()
    assert (await world.meme(meme_id)).state is MemeState.PUBLISHED
    assert any("pictures" in path for path in world.files())


async def test_the_same_upload_gives_the_same_answer(world: World) -> None:
    first = await world.upload(meme_id=(meme_id := uuid7()))
    jobs = list(world.queue.jobs)
    assert await world.upload(meme_id=meme_id) == first
    assert world.queue.jobs == jobs
    await world.run()
    assert (await world.upload(meme_id=meme_id)).state is MemeState.PUBLISHED


@pytest.mark.parametrize("other", [{"data": b"another"}, {"name": "Another"}, {"creator_id": uuid7()}])
async def test_an_id_is_used_once(world: World, other: dict[str, str]) -> None:
    before = await world.upload(meme_id=(meme_id := uuid7()))
    files = world.files()
    with pytest.raises(IdReused):
        await world.upload(meme_id=meme_id, **other)  # type: ignore[arg-type]
    assert await world.meme(meme_id) == before
    assert world.files() == files


@pytest.mark.parametrize("again", [b"a picture", b"a picture\nin another encoding"])
async def test_a_picture_is_taken_once(world: World, again: bytes) -> None:
    first = await world.upload(b"a picture")
    files, meme_id = world.files(), uuid7()
    with pytest.raises(Duplicate) as refused:
        await world.upload(again, meme_id)
    assert refused.value.metadata == {"meme_id": first.id}
    assert await world.memes.get(MemeId(meme_id)) is None
    assert world.files() == files
    assert (await world.upload(b"another picture")).state is MemeState.UPLOADED


@pytest.mark.parametrize("seed", range(8))
async def test_of_many_simultaneous_uploads_of_a_picture_one_is_taken(world: World, seed: int) -> None:
    ids = [uuid7(random_bits=(seed * 7919 + number * 104729) % 2**74) for number in range(6)]
    uploads = (
        world.upload(b"a picture\n%d" % number, meme_id)
        for number, meme_id in enumerate(ids[seed:] + ids[:seed])
    )
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(taken) == 1, outcomes
    assert all(isinstance(outcome, Duplicate | type(taken[0])) for outcome in outcomes)
    assert len(world.files()) == 1
    states = [claim[0].state for meme_id in ids if (claim := await world.claims.get(MemeId(meme_id)))]
    assert sorted(states) == sorted([ClaimState.BOUND, *[ClaimState.FREE] * (len(states) - 1)])


async def test_the_same_upload_twice_at_once_is_one(world: World) -> None:
    meme_id = uuid7()
    first, second = await asyncio.gather(world.upload(meme_id=meme_id), world.upload(meme_id=meme_id))
    assert first == second
    assert len(world.queue.jobs) == 1


async def test_a_claim_that_was_taken_over_cannot_settle(world: World) -> None:
    meme_id = MemeId(uuid7())
    look, sha256 = look_of(b"a picture")
    await world.claiming.settle(meme_id, look, sha256)  # type: ignore[arg-type]
    other, other_sha256 = look_of(b"another")
    with pytest.raises(UploadOvertaken):
        await world.claiming.settle(meme_id, other, other_sha256)  # type: ignore[arg-type]
    claim = await world.claims.get(meme_id)
    assert claim is not None
    assert claim[0].sha256 == sha256


async def test_a_picture_may_come_again_when_its_film_failed_but_not_when_it_was_taken_down(
    world: World,
) -> None:
    world.outside.facts = world.outside.facts.__class__(
        "h264", 1920, 1080, 30.0, 60, 2000, 1.0, 0.5, 500_000, ("motion smoothness 0.500",)
    )
    first = await world.upload(b"a picture")
    await world.run()
    assert (await world.meme(first.id)).reason == "QUALITY_TOO_LOW"
    second = await world.upload(b"a picture")
    await world.moderating.reject(second.id, "not funny")
    await world.run()
    with pytest.raises(Duplicate):
        await world.upload(b"a picture")
