"""Background jobs a minute in content with rendering left out. Prints a table.

The queue, the records and the files are real; AITubo, decoding, ledger and chain answer at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path

from mesh import logs
from mesh.clock import SystemClock
from sandbox.process import free_port
from sandbox.valkey import running_valkey
from services.content.adapters.queue import SaqQueue, open_queue, work
from services.content.app.steps import Patience
from services.content.domain.memes import MemeState
from services.content.domain.values import MemeId
from tests.content.world import World, new_world

MEMES = 300
STEPS_EACH = 4  # order, poll and download, check, title
WORKERS = 10
JOB_S_MAX = 60
WAIT_S = 120
TARGET_PER_MINUTE = 1_000


async def main() -> None:
    """Uploads memes, lets the workers at them, and prints how fast they went."""
    logs.configure(service="bench", level="error", as_json=False)
    with tempfile.TemporaryDirectory(prefix="satreel-bench-") as name:
        folder = Path(name)
        async with running_valkey(folder / "valkey", free_port()) as valkey, new_world(folder) as world:
            elapsed_s, cpu_s = await _measure(world, valkey.url)
    steps = MEMES * STEPS_EACH
    print(f"{'figure':45} {'measured':>10} {'target':>10}")
    name = "background jobs a minute, without rendering"
    print(f"{name:45} {steps / elapsed_s * 60:10.0f} {TARGET_PER_MINUTE:10}")
    print(f"{'CPU a job, ms':45} {cpu_s / steps * 1000:10.2f}")


async def _measure(world: World, redis_url: str) -> tuple[float, float]:
    world.clock = SystemClock()  # type: ignore[assignment] # real seconds for a real queue
    world.patience = Patience(poll_s=0.01)
    world.outside.answers = []
    world.start()
    async with open_queue(redis_url) as saq:
        world.pipeline._queue = world.uploading._queue = SaqQueue(saq, world.clock, JOB_S_MAX)  # noqa: SLF001 - the world has none
        memes = [(await world.upload(b"picture %d" % number)).id for number in range(MEMES)]
        begun_s, cpu_begun_s = time.monotonic(), _cpu_s()
        workers = asyncio.create_task(work(saq, world.pipeline.advance, workers=WORKERS, grace_s=1.0))
        try:
            async with asyncio.timeout(WAIT_S):
                while not await _published(world, memes):  # noqa: ASYNC110 - the records tell nobody
                    await asyncio.sleep(0.05)
            return time.monotonic() - begun_s, _cpu_s() - cpu_begun_s
        finally:
            workers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await workers


async def _published(world: World, memes: list[MemeId]) -> bool:
    found = await world.memes.get_many(memes)
    return all(meme.state is MemeState.PUBLISHED for meme in found.values())


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    asyncio.run(main())
