"""Why a film is not there yet: failures of AITubo and of the check."""

from __future__ import annotations

from mesh.errors import Code, Failure, Unavailable


class RendererAway(Unavailable):
    """AITubo cannot be reached, or answered nonsense; a job that was ordered may exist."""

    reason = "RENDERER_AWAY"


class NotSent(Unavailable):
    """AITubo was not asked: no connection, or the circuit breaker is open."""

    reason = "RENDERER_NOT_ASKED"
    retry_after_s = 5.0


class RendererBusy(Failure):
    """AITubo has no time for us (403 of its front proxy, 429): nothing was done."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RENDERER_BUSY"

    def __init__(self, message: str = "", *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyRefused(Failure):
    """AITubo refuses our key: nothing is rendered until an operator sets a good one."""

    code = Code.FAILED_PRECONDITION
    reason = "RENDERER_KEY_REFUSED"
    retry_after_s = 60.0


class OrderRefused(Failure):
    """AITubo understood and said no: nothing was done."""

    code = Code.FAILED_PRECONDITION
    reason = "RENDERER_ORDER_REFUSED"


class FilmUnusable(Failure):
    """What AITubo offers as a film is too large, empty, or no film."""

    code = Code.FAILED_PRECONDITION
    reason = "FILM_UNUSABLE"


class CheckOverran(Failure):
    """Checking the film took more memory or time than it may."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "CHECK_OVERRAN"


# After these it is certain that no job was made.
NOTHING_ORDERED = (NotSent, RendererBusy, KeyRefused, OrderRefused)


def retry_after_s(failure: Failure) -> float | None:
    """When AITubo may be asked again, if the failure says so."""
    return failure.retry_after_s if isinstance(failure, NotSent | RendererBusy | KeyRefused) else None
