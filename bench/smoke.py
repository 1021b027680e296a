"""`make bench-smoke`: how fast a mesh that is set up plays, and what it weighs. Prints a table.

Measured on real processes, node and Valkey: time from the start of `python -m sandbox run` (what `make setup`
does before is done) to the first open round, resident memory of every process after some rounds, and the time
from a block, the moment its announcement by the node (ZMQ `hashblock`) is heard here, to the open round as a
browser's WebSocket sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import zmq

from sandbox import play
from sandbox.launcher import House, running
from sandbox.people import Person
from sandbox.report import Report
from sandbox.settings import elsewhere
from sandbox.town import ROUND_UPDATED, Town

ROUND_S = 10.0
ROUNDS = 4
WAIT_S = 240.0

TARGETS = {
    "start, once set up, to the first open round, s": 30.0,
    "largest service, MB": 200.0,
    "whole mesh, MB": 2_500.0,
    "block announced to open round on a WebSocket, ms": 500.0,
}


async def main() -> None:
    """Plays a few rounds and prints the table."""
    with tempfile.TemporaryDirectory(prefix="satreel-bench-") as folder:
        await _measure(Path(folder))


async def _measure(folder: Path) -> None:
    seed, quiet = secrets.token_hex(8), _Quiet()
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    begun_s = time.monotonic()
    settings = elsewhere(folder, round_s=ROUND_S, grace_s=1.0, block_interval_s=3.0)
    async with running(settings, admin_addresses=[admin.wallet.address], progress=quiet.step) as house:
        spectator = Town.of(house, quiet, seed=secrets.token_hex(8))
        playing = asyncio.create_task(play.play(house, quiet, seed=seed))
        try:
            with _announcements(house.zmq_endpoint) as announced_s:
                async with asyncio.timeout(WAIT_S):
                    opened_s, delays_ms = await _follow(spectator, announced_s)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await spectator.close()
        _print(opened_s - begun_s, delays_ms, _memory(house))


@contextlib.contextmanager
def _announcements(zmq_endpoint: str) -> Iterator[dict[str, float]]:
    """When the node announced each block, by hash; kept by a thread, which a busy loop does not delay."""
    announced_s: dict[str, float] = {}
    ended = threading.Event()

    def listen() -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
            subscriber.subscribe(b"hashblock")
            subscriber.connect(zmq_endpoint)
            while not ended.is_set():
                if subscriber.poll(100):
                    _, block, *_ = subscriber.recv_multipart()
                    announced_s[block.hex()] = time.monotonic()

    listener = threading.Thread(target=listen, name="announcements")
    listener.start()
    try:
        yield announced_s
    finally:
        ended.set()
        listener.join()


async def _follow(spectator: Town, announced_s: dict[str, float]) -> tuple[float, list[float]]:
    """When the first round opened, and for each round the delay from its block; ends after some rounds."""
    opened_at_s: dict[str, float] = {}
    completed: set[str] = set()
    async with contextlib.aclosing(spectator.admin.client.follow(ROUND_UPDATED)) as events:
        async for event in events:
            now_s, played = time.monotonic(), event["roundUpdated"]
            if played["state"] == "ACTIVE":
                opened_at_s.setdefault(played["anchor"]["hash"], now_s)
            if played["state"] == "COMPLETED":
                completed.add(played["id"])
            if len(completed) >= ROUNDS:
                break
    delays_ms = [(at_s - announced_s[block]) * 1000 for block, at_s in opened_at_s.items()]
    return min(opened_at_s.values()), delays_ms


class _Quiet(Report):
    """Prints nothing."""

    def title(self, text: str) -> None:
        """Nothing."""

    def step(self, text: str) -> None:
        """Nothing."""


def _memory(house: House) -> dict[str, float]:
    """Resident MB by process; a part's children count as its own."""
    found: dict[str, float] = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [child, *child.children(recursive=True)]
            found[_name(house, child)] = sum(one.memory_info().rss for one in family) / 1e6
    return found


def _name(house: House, process: psutil.Process) -> str:
    by_pid = {part.child.pid: name for name, part in house.parts.running.items() if part.child is not None}
    return by_pid.get(process.pid) or Path(process.exe()).name


def _print(start_s: float, delays_ms: list[float], memory_mb: dict[str, float]) -> None:
    services = {
        name: mb for name, mb in memory_mb.items() if name not in {"bitcoind", "valkey-server", "aitubo"}
    }
    measured: dict[str, Any] = {
        "start, once set up, to the first open round, s": start_s,
        "largest service, MB": max(services.values()),
        "whole mesh, MB": sum(memory_mb.values()),
        "block announced to open round on a WebSocket, ms": statistics.median(delays_ms),
    }
    print(f"{'figure':50} {'measured':>10} {'target':>10}")
    for name, value in measured.items():
        print(f"{name:50} {value:10.1f} {TARGETS[name]:10.0f}")
    print(f"\nblock to open round, each: {', '.join(f'{delay:.0f}' for delay in delays_ms)} ms\n")
    print(f"{'process':20} {'MB':>8}")
    for name, mb in sorted(memory_mb.items(), key=lambda item: -item[1]):
        print(f"{name:20} {mb:8.0f}")


if __name__ == "__main__":
    asyncio.run(main())
