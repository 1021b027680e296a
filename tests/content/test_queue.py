"""The real queue: fast enough, forgetful without harm, and ended without losing what is at work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from mesh.clock import NS_PER_S, SystemClock
from mesh.ids import uuid7
from services.content.adapters.instance import InstanceTaken, sole_instance
from services.content.adapters.queue import SaqQueue, open_queue, work
from services.content.app.steps import Patience
from services.content.app.sweeping import sweep_for_ever
from services.content.domain.memes import MemeState
from services.content.domain.values import InstantNs, MemeId
from tests.conftest import ValkeyServer
from tests.content.world import World

PATIENCE_S = 120
MEMES = 60
STEPS_EACH = 5  # order, poll and download, check, title, conclude
STEPS_PER_MINUTE_MIN = 1_000
HEAVY = ("cv2", "av", "numpy", "scipy", "PIL", "imagehash")


def in_real_time(world: World) -> None:
    world.clock = SystemClock()  # type: ignore[assignment] # the queue counts real seconds
    world.patience = Patience(poll_s=0.01)
    world.outside.answers = []
    world.start()


@asynccontextmanager
async def at_work(world: World, redis_url: str) -> AsyncIterator[None]:
    async with open_queue(redis_url, f"test-{uuid7()}") as saq:
        queue = SaqQueue(saq, world.clock, 60)
        world.pipeline._queue = world.uploading._queue = queue
        sweep = partial(sweep_for_ever, uploading=world.uploading, clock=world.clock, every_s=0.5)
        tasks = [
            asyncio.create_task(work(saq, world.pipeline.advance, workers=10, grace_s=2.0)),
            asyncio.create_task(sweep(pipeline=world.pipeline)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def all_published(world: World, memes: list[MemeId]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await world.memes.get_many(memes)
            if all(meme.state is MemeState.PUBLISHED for meme in found.values()):
                return
            await asyncio.sleep(0.05)


async def test_how_many_jobs_there_are_is_counted_by_state(valkey_url: str) -> None:
    clock = SystemClock()
    async with open_queue(valkey_url, f"test-{uuid7()}") as saq:
        queue = SaqQueue(saq, clock, 60)
        for due_s in (0, 0, 60):
            await queue.enqueue(MemeId(uuid7()), 1, InstantNs(clock.now_ns() + due_s * NS_PER_S))
        assert await saq.counted() == {"queued": 2, "active": 0, "later": 1}
        assert await saq.dequeue() is not None
        assert await saq.counted() == {"queued": 1, "active": 1, "later": 1}


async def test_more_than_a_thousand_background_steps_a_minute(world: World, valkey_url: str) -> None:
    in_real_time(world)
    memes = [(await world.upload(b"picture %d" % number)).id for number in range(MEMES)]
    began = time.process_time()  # of this process: others may keep the machine busy
    async with at_work(world, valkey_url):
        await all_published(world, memes)
    per_minute = MEMES * (STEPS_EACH - 1) / (time.process_time() - began) * 60
    assert len(world.outside.jobs) == MEMES
    assert per_minute > STEPS_PER_MINUTE_MIN
    sys.stdout.write(f"{per_minute:.0f} background steps a minute\n")


async def test_redis_dying_with_all_its_jobs_delays_but_loses_nothing(
    world: World, own_valkey: ValkeyServer
) -> None:
    in_real_time(world)
    async with at_work(world, own_valkey.url):
        memes = [(await world.upload(b"picture %d" % number)).id for number in range(5)]
        await asyncio.to_thread(own_valkey.kill)
        memes += [(await world.upload(b"another %d" % number)).id for number in range(5)]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_valkey.start)
        await all_published(world, memes)
    assert sorted(world.outside.jobs) == sorted(memes)
    assert sorted(world.outside.titles) == sorted(memes)


async def test_a_step_at_work_ends_before_the_worker_does(world: World, valkey_url: str) -> None:
    started, may_end, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def advance(_: MemeId) -> None:
        started.set()
        await may_end.wait()
        done.set()

    async with open_queue(valkey_url, f"test-{uuid7()}") as saq:
        queue = SaqQueue(saq, world.clock, 60)
        await queue.enqueue(MemeId("m"), 1, InstantNs(0))
        await queue.enqueue(MemeId("m"), 1, InstantNs(0))
        worker = asyncio.create_task(work(saq, advance, workers=2, grace_s=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            await started.wait()
            worker.cancel()
            assert not (await asyncio.wait([worker], timeout=0.1))[0]
            may_end.set()
            with suppress(asyncio.CancelledError):
                await worker
        assert done.is_set()
        assert await saq.count("incomplete") == 0


async def test_a_start_with_a_backlog_aborts_no_step(
    world: World, valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue's own look at dead jobs runs just as the first ones are taken."""
    memes = {MemeId(f"m{number}") for number in range(40)}
    done: list[MemeId] = []

    async def advance(meme_id: MemeId) -> None:
        await asyncio.sleep(0.05)
        done.append(meme_id)

    async with open_queue(valkey_url, f"test-{uuid7()}") as saq:
        queue = SaqQueue(saq, world.clock, 60)
        for meme_id in memes:
            await queue.enqueue(meme_id, 1, InstantNs(0))
        worker = asyncio.create_task(work(saq, advance, workers=10, grace_s=2.0))
        async with asyncio.timeout(PATIENCE_S):
            while await saq.count("incomplete") or len(done) < len(memes):
                await saq.sweep()
                await asyncio.sleep(0)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        assert sorted(done) == sorted(memes)
    assert caplog.records == []


async def test_what_a_dead_worker_took_can_be_queued_anew(world: World, valkey_url: str) -> None:
    async with open_queue(valkey_url, f"test-{uuid7()}") as saq:
        queue = SaqQueue(saq, world.clock, 60)
        await queue.enqueue(MemeId("taken"), 1, InstantNs(0))
        await queue.enqueue(MemeId("at work"), 1, InstantNs(0))
        assert await saq.dequeue(PATIENCE_S)
        active = await saq.dequeue(PATIENCE_S)
        assert active is not None
        active.started = round(time.time() * 1000)
        await active.update(status="active")
        await queue.enqueue(MemeId("taken"), 1, InstantNs(0))
        assert await saq.count("queued") == 0

        assert await saq.sweep() == [saq.job_id("taken:1")]
        await queue.enqueue(MemeId("taken"), 1, InstantNs(0))
        await queue.enqueue(MemeId("at work"), 1, InstantNs(0))
        assert (await saq.count("queued"), await saq.count("active")) == (1, 1)

        active.started -= 61_000
        await active.update(status="active")
        assert await saq.sweep() == [saq.job_id("at work:1")]


async def test_an_instance_is_one_process(tmp_path: Path) -> None:
    async with sole_instance(tmp_path / "content" / "content-1.lock"):
        with pytest.raises(InstanceTaken):
            async with sole_instance(tmp_path / "content" / "content-1.lock"):
                pass
    async with sole_instance(tmp_path / "content" / "content-1.lock"):
        pass


def test_the_service_itself_imports_no_decoder() -> None:
    program = f"import sys, services.content.__main__; print([m for m in {HEAVY} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
