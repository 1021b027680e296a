"""The process dies at every point of a meme's way, in turn; each time exactly one of all comes out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mesh.ids import uuid7
from services.content.domain.memes import MemeState
from tests.content.world import Crash, World, new_world

PICTURE = b"a picture"


async def whole_way(world: World, meme_id: str) -> None:
    await world.upload(PICTURE, meme_id)
    await world.run()


async def points_of_a_whole_way(folder: Path) -> list[str]:
    async with new_world(folder) as world:
        await whole_way(world, uuid7())
        return world.points.passed


async def test_a_crash_anywhere_gives_one_film_one_title_one_publication(tmp_path: Path) -> None:
    points = await points_of_a_whole_way(tmp_path / "whole")
    assert len(points) > 30
    for crash_at, point in enumerate(points, start=1):
        async with new_world(tmp_path / str(crash_at)) as world:
            meme_id = uuid7()
            world.start(crash_at)
            with suppress(Crash):
                await whole_way(world, meme_id)
            assert world.points.dead, point
            await world.restart()
            # Who uploaded and got no answer asks again, with the same id.
            await whole_way(world, meme_id)
            ordered = points.index("order done")
            # The one thing that may happen twice: an order whose answer died with the process.
            orders_max = 2 if crash_at - 1 in (ordered, ordered + 1) else 1
            await check_one_of_all(world, meme_id, f"{crash_at} {point}", orders_max)


async def check_one_of_all(world: World, meme_id: str, point: str, orders_max: int) -> None:
    meme = await world.meme(meme_id)
    assert meme.state is MemeState.PUBLISHED, point
    assert meme.task is None, point
    assert [stage.state.value for stage in meme.version.stages] == [
        "UPLOADED",
        "RENDERING",
        "CHECKING",
        "TITLING",
        "PUBLISHED",
    ], point
    assert list(world.outside.titles) == list(world.outside.inscribed) == [meme_id], point
    page = await world.reading.page(state=MemeState.PUBLISHED, creator_id=None, size=10, token="")
    assert [found.id for found in page.memes] == [meme_id], point
    assert 1 <= len(world.outside.jobs) <= orders_max, point
    assert len([path for path in world.files() if "incoming" not in path]) == 3, point
    told = [stage.state for told_id, stage in world.told.stages if told_id == meme_id]
    assert MemeState.PUBLISHED in told, point


async def test_a_crash_of_an_upload_that_is_never_repeated_leaves_nothing(tmp_path: Path) -> None:
    async with new_world(tmp_path / "whole") as world:
        await world.upload(PICTURE)
        points = world.points.passed
    recorded = points.index("create memes done") + 1
    for crash_at in range(1, recorded):
        async with new_world(tmp_path / str(crash_at)) as world:
            world.start(crash_at)
            with suppress(Crash):
                await world.upload(PICTURE)
            await world.restart()
            await world.clock.advance(3600)
            await world.uploading.sweep()
            assert [path for path in world.files() if "incoming" not in path] == [], points[crash_at - 1]
            # And the picture is free for another upload.
            again = await world.upload(PICTURE)
            await world.run()
            assert (await world.meme(again.id)).state is MemeState.PUBLISHED
