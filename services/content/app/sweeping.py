"""The sweep: at start and from then on, whatever was forgotten is found in the records."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import Failure
from mesh.logs import logger
from services.content.app.pipeline import Pipeline
from services.content.app.uploading import Uploading

CLAIMS_EVERY = 12  # sweeps of memes between two of claims

log = logger(__name__)


async def sweep_for_ever(*, pipeline: Pipeline, uploading: Uploading, clock: Clock, every_s: float) -> None:
    """A store that is away is waited for."""
    number, overdue_s = 0, 0.0
    while True:
        try:
            found = await pipeline.sweep(overdue_s)
            if found:
                log.info("unfinished memes queued", memes=found, at_start=number == 0)
            if number % CLAIMS_EVERY == 0:
                await uploading.sweep()
            number, overdue_s = number + 1, every_s / 2
        except Failure as failure:
            log.warning("sweep failed", problem=str(failure))
        await clock.sleep(every_s)
