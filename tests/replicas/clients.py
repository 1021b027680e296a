"""How users' programs call: by GraphQL, by REST and by gRPC, and again where the documentation says so.

As `@satreel/client` does it: queries, and commands with an id of the client's own, are sent up to three times
when no answer comes or a service is away. A viewing whose connection breaks is taken up with its id.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import grpc

from sandbox.client import GraphqlError
from tests.replicas.tally import Tally

Answer = TypeVar("Answer")

ATTEMPTS, FIRST_PAUSE_S = 3, 0.25
# While nobody leads there is no healthy replica: whoever is told so may ask for so long.
PATIENCE_S = 30.0
TRANSIENT = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "OVERLOADED"}
TRANSIENT_HTTP = {429, 502, 503, 504}


class RestError(Exception):
    """A REST request was not answered with 200."""

    def __init__(self, status: int, body: Any) -> None:
        # Its words first: tables cut it short.
        message = body.get("message") if isinstance(body, dict) else None
        super().__init__(f"{status} {message}: {body}"[:300])
        self.status = status


async def rest(
    session: aiohttp.ClientSession, method: str, url: str, *, token: str = "", body: Any = None
) -> Any:
    """The JSON of the answer. Raises RestError."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.request(method, url, headers=headers, json=body) as response:
        told = await response.json(content_type=None)
        if response.status != 200:
            raise RestError(response.status, told)
        return told


def is_transient(problem: Exception) -> bool:
    """Whether the same may succeed in a moment."""
    match problem:
        case GraphqlError():
            told = problem.errors[0].get("extensions", {})
            return problem.code in TRANSIENT or told.get("status") in TRANSIENT
        case RestError():
            return problem.status in TRANSIENT_HTTP
        case grpc.aio.AioRpcError():
            return problem.code().name in TRANSIENT
        case _:
            return isinstance(problem, aiohttp.ClientError | TimeoutError | OSError)


class Caller:
    """Sends requests for users, and counts them."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        # Whether a leader died, so that no healthy replica can answer for it for a while.
        self.leaderless = False

    async def sent(self, kind: str, send: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """The answer, after so many attempts as the client makes; None when it failed, which is counted."""
        phase, begun_s, attempt = self.tally.now, time.monotonic(), 0
        while True:
            attempt, sent_s = attempt + 1, time.monotonic()
            try:
                answer = await send()
            except Exception as problem:
                waited_s = time.monotonic() - begun_s
                may = attempt < ATTEMPTS or (self.leaderless and waited_s < PATIENCE_S)
                if not is_transient(problem) or not may:
                    phase.fails(f"{kind}: {problem!r} after {attempt} attempts, {waited_s:.1f} s")
                    return None
                self.tally.now.sends_again(
                    f"{kind}: {_short(problem)}", begun_s=sent_s, ended_s=time.monotonic()
                )
                pause_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), 2.0)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            else:
                phase.done += 1
                phase.slowest = max(phase.slowest, (time.monotonic() - begun_s, kind))
                return answer


def _short(problem: Exception) -> str:
    if isinstance(problem, grpc.aio.AioRpcError):
        return f"{problem.code().name} {problem.details()}"[:90]
    return (str(problem) or type(problem).__name__)[:90]
