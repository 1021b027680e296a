"""Runs the gateway before fake services, and public suites and clients against it.

`python -m tests.conformance [SUITE …]` prints a table, and the problems beneath it; exit code 1 when a check
fails. Suites are the .mjs files of npm/; each tells one JSON line a check.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from satreel.rounds.v1 import rounds_service_pb2

from tests.gateway.world import FastClock, World, opened, token_of
from tools.npm import NODE, NotInstalled, install

FOLDER = Path(__file__).with_name("npm")
SUITES = ("http", "transport-ws", "sse", "uploads", "clients", "codegen", "relay")
SUITE_S_MAX = 600.0
# Short, so that nobody waits for what ends by time.
INIT_S, PING_S = 2.0, 4.0


@dataclass(frozen=True)
class Check:
    """One check of a suite; a problem says why it failed."""

    suite: str
    name: str
    problem: str = ""


@dataclass(frozen=True)
class Ran:
    """A suite that has ended."""

    suite: str
    checks: list[Check]
    seconds: float

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.problem]


async def run(suite: str, told: dict[str, Any]) -> Ran:
    """One suite; that it breaks off is a failed check of its own."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        NODE,
        f"{suite}.mjs",
        cwd=FOLDER,
        env={
            "SATREEL_CONFORMANCE": json.dumps(told),
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SUITE_S_MAX):
            output, errors = await process.communicate()
        end = "" if process.returncode == 0 else errors.decode()[-2_000:] or f"exit code {process.returncode}"
    except TimeoutError:
        process.kill()
        output, errors = await process.communicate()
        end = f"not over within {SUITE_S_MAX:g} s"
    checks = [_check(suite, line) for line in output.decode().splitlines() if line.startswith("{")]
    checks.append(Check(suite, "ran to its end, with checks", end or ("" if checks else "no check has run")))
    return Ran(suite, checks, time.monotonic() - began)


def _check(suite: str, line: str) -> Check:
    told = json.loads(line)
    return Check(suite, told["name"], told.get("problem", ""))


@asynccontextmanager
async def controlled(world: World) -> AsyncIterator[str]:
    """An address where a suite lets the fakes do what services do by themselves."""

    async def next_round(_request: web.Request) -> web.Response:
        number = world.rounds.rounds[world.rounds.current].number + 1
        event = rounds_service_pb2.RoundsEvent(round=world.round(number))
        world.rounds.feed.publish(rounds_service_pb2.WatchRoundsResponse(cursor=f"r{number}", event=event))
        return web.json_response({"number": number})

    async def uploads(_request: web.Request) -> web.Response:
        taken = [{"name": header.name, "bytes": len(picture)} for header, picture in world.content.uploads]
        world.content.uploads.clear()
        for meme in [one for one in world.content.memes.values() if not one.creator_id]:
            del world.content.memes[meme.id]
        return web.json_response(taken)

    application = web.Application()
    application.router.add_post("/rounds", next_round)
    application.router.add_delete("/uploads", uploads)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def judged(suites: list[str]) -> list[Ran]:
    """All of them, one after the other, against one gateway."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        opening = opened(
            Path(folder),
            clock=FastClock(),
            connection_init_timeout_s=INIT_S,
            ping_s=PING_S,
            call_wait_max_s=60,
        )
        async with opening as world, controlled(world) as control:
            ada = world.user("ada")
            world.user("admin", admin=True)
            world.round()
            memes = [world.meme(name, ada) for name in ("ape", "bee", "cow", "dog", "cat")]
            told = {
                "url": world.url,
                "control": control,
                "user": token_of("ada"),
                "admin": token_of("admin"),
                "meme": memes[-1].id,
                "memes": len(memes),
            }
            return [await run(suite, told) for suite in suites]


def table(ran: list[Ran]) -> str:
    """What was judged, for people."""
    lines = [f"{'suite':<14}{'checks':>8}{'passed':>8}{'seconds':>9}"]
    for one in ran:
        passed = len(one.checks) - len(one.failed)
        lines.append(f"{one.suite:<14}{len(one.checks):>8}{passed:>8}{one.seconds:>9.1f}")
    for check in (check for one in ran for check in one.failed):
        lines.append(f"\nFAILED  {check.suite}: {check.name}\n{check.problem}")
    return "\n".join(lines)


def main(suites: list[str]) -> int:
    """Gives the exit code."""
    try:
        install(FOLDER)
    except NotInstalled as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    ran = asyncio.run(judged(suites or [*SUITES]))
    sys.stdout.write(table(ran) + "\n")
    return 1 if any(one.failed for one in ran) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
