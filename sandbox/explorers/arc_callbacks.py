"""ARC's callbacks: each on its own, so that a later one can come first; tried again, spoiled on request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import aiohttp

from sandbox.explorers.arc_status import MINOR, Callback, Submission
from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import Fault, Faults

TIMEOUT_S = 5.0
BATCH_S = 0.1
ATTEMPTS_MAX = 5
FORGED_TOKEN = "a-token-of-somebody-else"  # noqa: S105 - a wrong one, on purpose

Body = dict[str, object]


class Callbacks:
    """Deliveries under way; what is not delivered when the house closes is lost."""

    def __init__(self, settings: ExplorersSettings, faults: Faults) -> None:
        self._settings, self._faults = settings, faults
        self._http: aiohttp.ClientSession | None = None
        self._deliveries: set[asyncio.Task[None]] = set()
        self._batches: dict[tuple[str, str, float], list[Body]] = {}

    def tell(self, submission: Submission) -> None:
        """Tell all who asked of the status that the transaction has now."""
        for callback in submission.callbacks:
            if callback.full or submission.status not in MINOR:
                self._deliver(submission, callback)

    async def delivered(self) -> None:
        """Returns when none is under way."""
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def close(self) -> None:
        """Give up what is under way."""
        for delivery in self._deliveries:
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def _deliver(self, submission: Submission, callback: Callback) -> None:
        fault = self._faults.take(f"CALLBACK {submission.status}")
        kind = fault.kind if fault is not None else None
        body = submission.shown(spoil_proof=kind is Fault.BAD_PROOF)
        token = FORGED_TOKEN if kind is Fault.CALLBACK_FORGED else callback.token
        delay_s = fault.seconds if fault is not None and kind is Fault.CALLBACK_LATE else 0
        times = {Fault.CALLBACK_LOST: 0, Fault.CALLBACK_DOUBLED: 2}.get(kind, 1) if kind is not None else 1
        for _ in range(times):
            if callback.batch:
                self._add_to_batch(callback.url, token, delay_s, body)
            else:
                self._start(self._post(callback.url, token, delay_s, body))

    def _add_to_batch(self, url: str, token: str, delay_s: float, body: Body) -> None:
        """One request for what comes to the same place within a moment."""
        place = (url, token, delay_s)
        if place not in self._batches:
            self._batches[place] = []
            self._start(self._post_batch(*place))
        self._batches[place].append(body)

    async def _post_batch(self, url: str, token: str, delay_s: float) -> None:
        await asyncio.sleep(BATCH_S)
        bodies = self._batches.pop((url, token, delay_s))
        await self._post(url, token, delay_s, {"count": len(bodies), "callbacks": bodies})

    def _start(self, work: Coroutine[None, None, None]) -> None:
        delivery = asyncio.create_task(work)
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _post(self, url: str, token: str, delay_s: float, body: Body) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        await asyncio.sleep(delay_s)
        for attempt in range(ATTEMPTS_MAX):
            if attempt > 0:
                await asyncio.sleep(self._settings.callback_pause_s * 2 ** (attempt - 1))
            try:
                async with self._session().post(url, json=body, headers=headers) as response:
                    if response.ok:
                        return
            except (aiohttp.ClientError, TimeoutError):
                continue

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:  # made on first use, because a session belongs to the running loop
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self._http
