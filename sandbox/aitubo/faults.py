"""Misbehaviour on request, so that tests and demos see what a bad day at AITubo looks like."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from sandbox.aitubo.film import Flaw

SLOW_S_MAX = 600.0
ORDERS_MAX = 100


class Fault(StrEnum):
    """What can go wrong. The first group answers a request wrongly, the others spoil a job."""

    HTTP_401 = "http_401"
    HTTP_403 = "http_403"
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    DROP = "drop_connection"
    NO_JSON = "no_json"

    FAIL_JOB = "fail_job"
    SLOW = "slow"

    WRONG_CODEC = Flaw.WRONG_CODEC.value
    WRONG_SIZE = Flaw.WRONG_SIZE.value
    WRONG_RATE = Flaw.WRONG_RATE.value
    BLACK_FILM = Flaw.BLACK.value
    STILL_FILM = Flaw.STILL.value
    JERKY_FILM = Flaw.JERKY.value
    TRUNCATED_FILM = Flaw.TRUNCATED.value

    @property
    def hits_requests(self) -> bool:
        """Whether it spoils an answer rather than a job."""
        return self.value.startswith("http_") or self in (Fault.DROP, Fault.NO_JSON)

    @property
    def flaw(self) -> Flaw | None:
        """How it spoils a film, if it does."""
        return Flaw(self.value) if self.value in {flaw.value for flaw in Flaw} else None


class FaultOrder(BaseModel):
    """`kind`, for the next `times` requests or jobs. `seconds` is for slow jobs."""

    model_config = ConfigDict(extra="forbid")

    kind: Fault
    times: int = Field(default=1, ge=1, le=10_000)
    seconds: float = Field(default=0.0, ge=0, le=SLOW_S_MAX)


class ControlRequest(BaseModel):
    """Body of POST /_control: forget the waiting faults first, then add these."""

    model_config = ConfigDict(extra="forbid")

    reset: bool = False
    faults: list[FaultOrder] = Field(default_factory=list, max_length=ORDERS_MAX)


@dataclass(slots=True)
class _Waiting:
    order: FaultOrder
    left: int


class Faults:
    """Two queues: faults for requests, and faults for jobs; one of each is used up at a time."""

    def __init__(self) -> None:
        self._requests: deque[_Waiting] = deque(maxlen=ORDERS_MAX)
        self._jobs: deque[_Waiting] = deque(maxlen=ORDERS_MAX)

    def apply(self, request: ControlRequest) -> None:
        """Take in a control request."""
        if request.reset:
            self._requests.clear()
            self._jobs.clear()
        for order in request.faults:
            queue = self._requests if order.kind.hits_requests else self._jobs
            queue.append(_Waiting(order, order.times))

    def for_request(self) -> FaultOrder | None:
        """The fault that this request meets."""
        return _next(self._requests)

    def for_job(self) -> FaultOrder | None:
        """The fault that this job meets."""
        return _next(self._jobs)

    def waiting(self) -> list[FaultOrder]:
        """What is still to come, for people."""
        queues = (*self._requests, *self._jobs)
        return [FaultOrder(kind=w.order.kind, times=w.left, seconds=w.order.seconds) for w in queues]


def _next(queue: deque[_Waiting]) -> FaultOrder | None:
    if not queue:
        return None
    queue[0].left -= 1
    return queue.popleft().order if queue[0].left == 0 else queue[0].order
