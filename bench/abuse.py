"""How soon a normal query is answered while somebody abuses the gateway: `python -m bench.abuse`.

The gateway runs in a process of its own, before fake services and a real Valkey; a second process abuses it
without pause, as fast as 8 connections can; this one asks for a leaderboard of 20, every 50 ms, signed in.
Prints a table: how the abuse was refused and how often, and how soon others were answered. Fails when one
waited longer than 500 ms, or got no answer. Limits of a minute are off, but for floods.

Two waits are told: by the clock, which counts what else this machine does, and the gateway's own: the CPU
time that its loop spent in between, the wait on a machine that has a core for it. The own one is judged.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from satreel.rounds.v1 import rounds_pb2

from graphql_gateway.process import GC_THRESHOLDS
from graphql_gateway.safety.windows import SharedWindows
from mesh.clock import SystemClock
from mesh.feeds.stream import client_of
from tests.conftest import ValkeyServer
from tests.gateway import fakes
from tests.gateway.abuse import CASES, Case
from tests.gateway.client import Client, bearer
from tests.gateway.world import World, opened, token_of

ANSWERED_S = 0.5
CASE_S = 4.0
ASKED_EVERY_S = 0.05
ABUSERS = 8
NORMAL = "{ currentRound { number leaderboard(limit: 20) { standings { rank takingsSats meme { name } } } } }"
# What a case is about must not be kept from it by the limits of a minute, but for floods.
LIMITS: dict[str, Any] = {
    "requests_per_min": 1_000_000,
    "address_requests_per_min": 1_000_000,
    "cost_per_min": 50_000_000,
}


# Whoever asks does not share the address of who floods.
ANOTHER_ADDRESS = "192.0.2.1"
FLOODED: dict[str, Any] = {"trusted_proxies": 1}


@dataclass(frozen=True)
class Seen:
    """Of one case."""

    outcomes: Counter[str]
    # Of each normal query: by the clock, and CPU time of the gateway's loop.
    waits_s: list[tuple[float, float]]
    unanswered: int


def _serve(pipe: Connection, redis_url: str, limits: dict[str, Any]) -> None:
    """Loop and garbage collection are those of `__main__`."""

    async def serve() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                aclosing(client_of(redis_url)) as redis,
                opened(Path(folder), windows=SharedWindows(redis), clock=SystemClock(), **limits) as world,
            ):
                _fill(world)
                gc.freeze()
                pipe.send(world.url)
                await asyncio.to_thread(pipe.recv)

    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(serve())


def _fill(world: World) -> None:
    ada = world.user("ada")
    memes = [world.meme(f"meme {number}", ada) for number in range(20)]
    board = world.rounds.boards[world.round().id]
    board.standings.extend(
        rounds_pb2.Standing(rank=rank, meme_id=meme.id, creator_id=ada.id, takings_sats=1_000 - rank)
        for rank, meme in enumerate(memes, 1)
    )
    board.at.CopyFrom(fakes.AT)


def _abuse(pipe: Connection, urls: dict[bool, str]) -> None:
    async def abuse(case: Case, until_s: float, outcomes: Counter[str]) -> None:
        async with Client(urls[case.is_flood]) as client:
            while time.monotonic() < until_s:
                try:
                    outcomes.update(await case.attack(client))
                except Exception as problem:
                    outcomes[type(problem).__name__] += 1

    async def one(case: Case) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        until_s = time.monotonic() + CASE_S
        await asyncio.gather(*(abuse(case, until_s, outcomes) for _ in range(ABUSERS)))
        return outcomes

    while (number := pipe.recv()) is not None:
        pipe.send(asyncio.run(one(CASES[number])))


def _loop_s(pid: int) -> float:
    """CPU time of a process's main thread (proc(5), schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def _ask(url: str, pid: int, pipe: Connection) -> tuple[list[tuple[float, float]], int]:
    """Asks as long as the abuse goes on."""
    waits_s, unanswered = [], 0
    headers = {**bearer(token_of("ada")), "X-Forwarded-For": ANOTHER_ADDRESS}
    async with Client(url) as client:
        while not pipe.poll():
            began_s, loop_s = time.monotonic(), _loop_s(pid)
            answer = await client.send("POST", json={"query": NORMAL}, headers=headers)
            waits_s.append((time.monotonic() - began_s, _loop_s(pid) - loop_s))
            unanswered += answer.status != 200 or "errors" in answer.json
            await asyncio.sleep(ASKED_EVERY_S)
    return waits_s, unanswered


def _row(name: str, seen: Seen) -> str:
    met = ", ".join(f"{outcome} {count:,}" for outcome, count in seen.outcomes.most_common(2))
    clock_s, own_s = zip(*seen.waits_s, strict=True)
    told = [1_000 * of_all(waits_s) for waits_s in (clock_s, own_s) for of_all in (median, max)]
    return f"| {name} | {met} | {len(clock_s)} | {' | '.join(f'{wait_ms:.0f}' for wait_ms in told)} |"


def main(wanted: Sequence[str]) -> int:
    """Gives the exit code. Arguments are parts of the names of cases; all cases unless given."""
    spawn = multiprocessing.get_context("spawn")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        valkey = ValkeyServer(Path(folder))
        valkey.start()
        urls, pids, servers = {}, {}, []
        for is_flood, limits in ((False, LIMITS), (True, FLOODED)):
            serving, served = spawn.Pipe()
            server = spawn.Process(target=_serve, args=(served, valkey.url, limits), daemon=True)
            server.start()
            urls[is_flood], pids[is_flood] = serving.recv(), server.pid or 0
            servers.append((server, serving))
        abusing, abused = spawn.Pipe()
        abuser = spawn.Process(target=_abuse, args=(abused, urls), daemon=True)
        abuser.start()
        print("| while | refused as | normal queries | median ms | worst ms | own median | own worst |")
        print("|---|---|---|---|---|---|---|")
        for number, case in enumerate(CASES):
            if wanted and not any(part in case.name for part in wanted):
                continue
            abusing.send(number)
            waits_s, unanswered = asyncio.run(_ask(urls[case.is_flood], pids[case.is_flood], abusing))
            seen = Seen(abusing.recv(), waits_s, unanswered)
            print(_row(case.name, seen), flush=True)
            if seen.unanswered or max(own_s for _, own_s in seen.waits_s) > ANSWERED_S:
                failed.append(case.name)
        abusing.send(None)
        abuser.join()
        for server, serving in servers:
            serving.send(None)
            server.join()
        valkey.kill()
    print(f"\nown wait longer than {1_000 * ANSWERED_S:.0f} ms: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
