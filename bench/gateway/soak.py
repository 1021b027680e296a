"""Twenty minutes of mixed load with sockets coming and going: is memory flat, and nothing left behind?

    python -m bench.gateway.soak [--minutes 20]

Queries and a mutation over HTTP, each on a connection of its own, and subscribers of the leaderboard that
stay for seconds and leave without a word, or are gone before their first event. Meanwhile memory, tasks and
open files are sampled. It fails unless, once all have left, tasks, files and the services' open streams are
as many as before they came, and memory in the last quarter is what it was in the second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
import uvloop

from bench.document import Target, table, targets_table
from bench.gateway.load import data_of
from bench.gateway.operations import ALL
from bench.gateway.serving import Server, Site, running_site
from bench.gateway.sockets import Seen, Subscriber
from sandbox.process import LOOPBACK

SOCKETS = 100
ASKERS = 4
STAY_S_MAX = 20.0
PAUSE_S_MAX = 0.2
EVENT_S = 1.0
REST_S = 12.0
SAMPLES = 60
WARM_UP_S = 5.0
TOLD_S_MAX = 10.0
MEMORY_GROWTH_MAX_PERCENT = 5
# Keep-alive connections to the services and Redis may be one more or less.
FILES_MORE_MAX = 4
_random = random.Random(7)  # noqa: S311 - not for secrets


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway at one time."""

    at_s: float
    resident_bytes: int
    tasks: int
    files: int
    streams: int


class Soak:
    """The load, and what is seen meanwhile."""

    def __init__(self, site: Site, server: Server, told: Path) -> None:
        self._site, self._server, self._told = site, server, told
        self._begun_s = time.monotonic()
        self._seen = Seen()
        self.answers = self.visits = 0

    @property
    def messages(self) -> int:
        """Events that subscribers got."""
        return self._seen.messages

    async def under_load(self, seconds: float) -> list[Sample]:
        """Samples while clients come and go."""
        until_s = time.monotonic() + seconds
        self._site.services.order(f"publish {int(seconds / EVENT_S)} {EVENT_S}")
        samples: list[Sample] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(ASKERS):
                group.create_task(self._ask(until_s))
            for _ in range(SOCKETS):
                group.create_task(self._visit(until_s))
            while time.monotonic() < until_s:
                await asyncio.sleep(seconds / SAMPLES)
                samples.append(self._sampled(await self._tasks(), streams=-1))
        return samples

    async def at_rest(self) -> Sample:
        """When nobody is there any more."""
        await asyncio.sleep(REST_S)
        self._site.services.order("count")
        assert self._site.services.process.stdout is not None
        told = orjson.loads(await self._site.services.process.stdout.readline())
        return self._sampled(await self._tasks(), streams=told["streams"])

    async def _tasks(self) -> int:
        """Asks the gateway. Raises TimeoutError when its loop does not come round."""
        self._told.unlink(missing_ok=True)
        self._server.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(TOLD_S_MAX):
            while not (text := _text(self._told)):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        return int(text)

    def _sampled(self, tasks: int, streams: int) -> Sample:
        server, at_s = self._server, time.monotonic() - self._begun_s
        return Sample(at_s, server.resident_bytes(), tasks, server.files(), streams)

    async def _ask(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            await data_of(_random.choice(ALL), self._server)
            self.answers += 1
            await asyncio.sleep(_random.random() * PAUSE_S_MAX)

    async def _visit(self, until_s: float) -> None:
        """One after another: two of three stay a while, every third is gone before its first event."""
        loop = asyncio.get_running_loop()
        while time.monotonic() < until_s:
            _, visitor = await loop.create_connection(
                lambda: Subscriber(self._seen), LOOPBACK, self._server.port
            )
            self.visits += 1
            stay_s = min(_random.random() * STAY_S_MAX, until_s - time.monotonic())
            if self.visits % 3:
                # Who is sent away, because the gateway is overloaded or the socket fell behind, comes again.
                with suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(visitor.first, TOLD_S_MAX)
                await asyncio.sleep(max(0.0, stay_s))
            else:
                visitor.first.cancel()
                await asyncio.sleep(_random.random() * PAUSE_S_MAX)
            visitor.close()


def verdict(before: Sample, samples: Sequence[Sample], after: Sample) -> list[Target]:
    """What must hold."""
    quarter = len(samples) // 4
    early = median(sample.resident_bytes for sample in samples[quarter : 2 * quarter])
    late = median(sample.resident_bytes for sample in samples[-quarter:])
    growth = (late / early - 1) * 100
    return [
        Target("memory, last quarter against the second", MEMORY_GROWTH_MAX_PERCENT, growth, False, " %"),
        Target("tasks left behind", 1, after.tasks - before.tasks, False),
        Target("files left behind", FILES_MORE_MAX + 1, after.files - before.files, False),
        Target("streams left behind", 1, after.streams - before.streams, False),
    ]


def rendered(before: Sample, samples: Sequence[Sample], after: Sample) -> str:
    """The verdict, and a dozen of the samples."""
    step = max(1, len(samples) // 12)
    rows = [
        (
            f"{sample.at_s:,.0f}",
            f"{sample.resident_bytes / 1e6:,.1f}",
            f"{sample.tasks:,}",
            f"{sample.files:,}",
            "" if sample.streams < 0 else f"{sample.streams:,}",
        )
        for sample in (before, *samples[::step], after)
    ]
    head = ("second", "resident MB", "tasks", "open files", "streams")
    return f"{targets_table(verdict(before, samples, after))}\n\n{table(head, rows, texts=set())}\n"


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def soaked(seconds: float) -> bool:
    """Prints what was seen; whether all is well."""
    async with running_site() as site:
        told = site.folder / "tasks"
        async with site.gateway("bench.gateway.observed", str(told)) as server:
            soak = Soak(site, server, told)
            # What is used for the first time stays: code, connections, caches.
            await soak.under_load(WARM_UP_S)
            before = await soak.at_rest()
            samples = await soak.under_load(seconds)
            after = await soak.at_rest()
    print(rendered(before, samples, after))
    print(f"{soak.answers:,} answers, {soak.visits:,} sockets, {soak.messages:,} messages.")
    return all(target.met for target in verdict(before, samples, after))


def main() -> None:
    """Fails when something grows."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the load lasts")
    sys.exit(0 if uvloop.run(soaked(parser.parse_args().minutes * 60)) else 1)


if __name__ == "__main__":
    main()
