"""Twenty minutes of mixed load with sockets coming and going: is memory flat, and nothing left behind?

    python -m bench.gateway.soak [--minutes 20] [--workers 1]

- Queries and a mutation over HTTP, each on a connection of its own.
- Subscribers of the leaderboard that stay for seconds and leave without a word, or before their first event.
- Viewers whose connection breaks in the middle of a paid viewing, who take it up and then end it.
- Readers that follow a hundred times over and take nothing, until the gateway drops them.

Meanwhile memory, tasks and open files are sampled. It fails unless, once all have left, tasks, files and the
services' open streams are as many as before they came, and memory in the last quarter is what it was in the
second. With several workers memory and files are those of all, and tasks are not counted.
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
from statistics import linear_regression, median

import orjson
import uvloop

from bench.document import Target, table, targets_table
from bench.gateway.load import data_of
from bench.gateway.operations import ALL, LEADERBOARD
from bench.gateway.services import TOKEN
from bench.gateway.serving import Server, Site, running_site
from bench.gateway.sockets import Seen, Subscriber
from mesh.ids import uuid7
from sandbox.process import LOOPBACK
from tests.gateway.client import WAIT_S, Client

SOCKETS = 100
ASKERS = 4
VIEWERS = 10
SLOW_READERS = 3
# Of one slow reader: some 200 KB a second, so that what the system keeps for it is full within a minute.
FOLLOWED = 100
SLOW_S_MAX = 120.0
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
_MEME = "{ memes(first: 1) { nodes { id } } }"
_WATCH = """subscription($meme: ID!, $id: ID!) {
  watch(memeId: $meme, budget: 3600, id: $id) { seconds stopReason }
}"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway at one time. No tasks: they were not counted."""

    at_s: float
    resident_bytes: int
    tasks: int | None
    files: int
    streams: int


class Soak:
    """The load, and what is seen meanwhile."""

    def __init__(self, site: Site, server: Server, told: Path | None) -> None:
        """`told`: where the gateway writes how many tasks it has."""
        self._site, self._server, self._told = site, server, told
        self._begun_s = time.monotonic()
        self._seen = Seen()
        self.answers = self.visits = self.taken_up = self.dropped = self.stalled = self.ended = (
            self.refused
        ) = 0

    @property
    def messages(self) -> int:
        """Events that subscribers got."""
        return self._seen.messages

    async def under_load(self, seconds: float) -> list[Sample]:
        """Samples while clients come and go."""
        until_s = time.monotonic() + seconds
        self._site.services.order(f"publish {int(seconds / EVENT_S)} {EVENT_S}")
        samples: list[Sample] = []
        async with Client(f"http://{LOOPBACK}:{self._server.port}") as client, asyncio.TaskGroup() as group:
            for _ in range(VIEWERS):
                group.create_task(self._watch(client, until_s))
            for _ in range(SLOW_READERS):
                group.create_task(self._read_nothing(client, until_s))
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

    async def _tasks(self) -> int | None:
        """Asks the gateway. Raises TimeoutError when its loop does not come round."""
        if self._told is None:
            return None
        self._told.unlink(missing_ok=True)
        self._server.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(TOLD_S_MAX):
            while not (text := _text(self._told)):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        return int(text)

    def _sampled(self, tasks: int | None, streams: int) -> Sample:
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

    async def _watch(self, client: Client, until_s: float) -> None:
        """Viewings, one after another. Those that hear nothing for long, or are ended, are counted."""
        meme = (await client.ask(_MEME))["memes"]["nodes"][0]["id"]
        while time.monotonic() < until_s:
            try:
                await self._view(client, meme)
            except TimeoutError:
                self.stalled += 1
            except ConnectionError:
                # A connection that the gateway has just ended for its idleness was to be used again.
                self.refused += 1

    async def _view(self, client: Client, meme: str) -> None:
        """A viewing that breaks twice, and goes on where it was. Raises AssertionError when it does not."""
        viewing, seconds = uuid7(), 0
        for turn in range(3):
            async with client.socket(TOKEN) as socket:
                await socket.subscribe(_WATCH, {"meme": meme, "id": viewing})
                for _ in range(_random.randint(1, 4)):
                    event = (await socket.data())["watch"]
                    assert event["seconds"] >= seconds, event
                    if event["stopReason"] is not None:
                        self.ended += 1
                        return
                    seconds = event["seconds"]
                if turn < 2:
                    socket.vanish()
                self.taken_up += turn > 0
            await asyncio.sleep(_random.random() * PAUSE_S_MAX)

    async def _read_nothing(self, client: Client, until_s: float) -> None:
        """Follows much and takes nothing, until it is dropped."""
        while time.monotonic() < until_s:
            async with client.socket() as socket:
                for number in range(FOLLOWED):
                    await socket.subscribe(LEADERBOARD, as_id=str(number))
                socket.stop_reading()
                gone_s = min(until_s, time.monotonic() + SLOW_S_MAX)
                while time.monotonic() < gone_s and self._serves(socket.port):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(EVENT_S)
                self.dropped += time.monotonic() < gone_s
                socket.vanish()

    def _serves(self, port: int) -> bool:
        """Whether the gateway still has its end of a connection."""
        return port in self._server.clients()


def verdict(before: Sample, samples: Sequence[Sample], after: Sample) -> list[Target]:
    """What must hold."""
    quarter = len(samples) // 4
    early = median(sample.resident_bytes for sample in samples[quarter : 2 * quarter])
    late = median(sample.resident_bytes for sample in samples[-quarter:])
    growth = (late / early - 1) * 100
    return [
        Target("memory, last quarter against the second", MEMORY_GROWTH_MAX_PERCENT, growth, False, " %"),
        *(
            [Target("tasks left behind", 1, after.tasks - before.tasks, False)]
            if after.tasks is not None and before.tasks is not None
            else []
        ),
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
            "" if sample.tasks is None else f"{sample.tasks:,}",
            f"{sample.files:,}",
            "" if sample.streams < 0 else f"{sample.streams:,}",
        )
        for sample in (before, *samples[::step], after)
    ]
    head = ("second", "resident MB", "tasks", "open files", "streams")
    return f"{targets_table(verdict(before, samples, after))}\n\n{table(head, rows, texts=set())}\n"


def slope(samples: Sequence[Sample]) -> float:
    """Bytes a minute that memory grew by in the second half: a line through the samples, by least squares."""
    late = samples[len(samples) // 2 :]
    line = linear_regression([one.at_s for one in late], [one.resident_bytes for one in late])
    return line.slope * 60


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def soaked(seconds: float, workers: int) -> bool:
    """Prints what was seen; whether all is well."""
    async with running_site() as site:
        told = site.folder / "tasks" if workers == 1 else None
        program = ("bench.gateway.observed", str(told)) if told else ()
        async with site.gateway(*program, workers=workers) as server:
            soak = Soak(site, server, told)
            # What is used for the first time stays: code, connections, caches.
            await soak.under_load(WARM_UP_S)
            before = await soak.at_rest()
            samples = await soak.under_load(seconds)
            after = await soak.at_rest()
    print(rendered(before, samples, after))
    print(
        f"{soak.answers:,} answers, {soak.visits:,} sockets, {soak.messages:,} messages, "
        f"{soak.taken_up:,} viewings taken up, {soak.dropped:,} slow readers dropped; "
        f"{soak.stalled:,} viewings that heard nothing for {WAIT_S:.0f} s, {soak.ended:,} ended, "
        f"{soak.refused:,} that found no connection; "
        f"memory in the second half: {slope(samples) / 1e6:+,.2f} MB a minute."
    )
    return all(target.met for target in verdict(before, samples, after))


def main() -> None:
    """Fails when something grows."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the load lasts")
    parser.add_argument("--workers", type=int, default=1, help="processes of the gateway")
    given = parser.parse_args()
    sys.exit(0 if uvloop.run(soaked(given.minutes * 60, given.workers)) else 1)


if __name__ == "__main__":
    main()
