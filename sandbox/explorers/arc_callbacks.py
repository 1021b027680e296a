"""ARC's callbacks: each on its own, so that a later one can come first; tried again, spoiled on request."""

from __future__ import annotations

import asyncio

import aiohttp

from sandbox.explorers.arc_status import MINOR, Callback, Submission
from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import Fault, Faults

TIMEOUT_S = 5.0
FORGED_TOKEN = "a-token-of-somebody-else"  # noqa: S105 - a wrong one, on purpose


class Callbacks:
    """Deliveries under way; what is not delivered when the house closes is lost."""

    def __init__(self, settings: ExplorersSettings, faults: Faults) -> None:
        self._settings, self._faults = settings, faults
        self._http: aiohttp.ClientSession | None = None
        self._deliveries: set[asyncio.Task[None]] = set()

    def tell(self, submission: Submission) -> None:
        """Tell all who asked of the status that the transaction has now."""
        for callback in submission.callbacks:
            if callback.full or submission.status not in MINOR:
                self._deliver(submission, callback)

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
            delivery = asyncio.create_task(self._post(callback.url, token, body, delay_s))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _post(self, url: str, token: str, body: dict[str, object], delay_s: float) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        await asyncio.sleep(delay_s)
        for attempt in range(self._settings.callback_attempts):
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
