"""Misbehaviour on request: which answers, statuses and callbacks go wrong, how, and how often."""

from __future__ import annotations

import random
from enum import StrEnum
from fnmatch import fnmatchcase

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

SECONDS_MAX = 600.0
ORDERS_MAX = 100


class Fault(StrEnum):
    """What can go wrong."""

    # Any answer.
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    HTML = "html"  # a page with status 200
    SILENCE = "silence"  # no answer, the connection stays
    RESET = "reset"  # no answer and no effect, the connection breaks
    ANSWER_LOST = "answer_lost"  # no answer, but the effect
    SLOW = "slow"

    # What WhatsOnChain says.
    BEHIND = "behind"  # as if the newest `blocks` were not there: a lag, or a jump back
    BAD_WORK = "bad_work"  # a header without its proof of work
    BAD_LINK = "bad_link"  # a header of valid work that follows no known block
    BAD_PROOF = "bad_proof"  # a proof, of either, that leads to another Merkle root

    # What ARC says of a submission.
    DOUBLE_SPEND = "double_spend"  # sent, and said to be contested until it is mined
    SWALLOW = "swallow"  # said to be seen, and never sent; of WhatsOnChain too
    PROBLEM = "problem"  # refused with the `status`

    # ARC's callbacks.
    CALLBACK_LOST = "callback_lost"
    CALLBACK_DOUBLED = "callback_doubled"
    CALLBACK_FORGED = "callback_forged"  # with another token
    CALLBACK_LATE = "callback_late"


_ANY_REQUEST = ("GET *", "POST *")
_ANY_ANSWER = (*_ANY_REQUEST, "WS *")
_SUBMISSIONS = ("POST /arc/v1/tx", "POST /arc/v1/txs")
_CALLBACKS = ("CALLBACK *",)
_HEADERS = ("GET */header", "GET */block/headers*", "WS *")
_PLACES = {
    Fault.SILENCE: _ANY_ANSWER,
    Fault.RESET: _ANY_ANSWER,
    Fault.BEHIND: ("GET /v1/bsv/*", "POST /v1/bsv/*/txs/*", "POST /v1/bsv/*/addresses/*", "WS *"),
    Fault.BAD_WORK: _HEADERS,
    Fault.BAD_LINK: _HEADERS,
    Fault.BAD_PROOF: ("GET */proof/tsc", "GET /arc/v1/tx/*", "CALLBACK MINED"),
    Fault.DOUBLE_SPEND: _SUBMISSIONS,
    Fault.SWALLOW: (*_SUBMISSIONS, "POST */tx/raw"),
    Fault.PROBLEM: _SUBMISSIONS,
    Fault.CALLBACK_LOST: _CALLBACKS,
    Fault.CALLBACK_DOUBLED: _CALLBACKS,
    Fault.CALLBACK_FORGED: _CALLBACKS,
    Fault.CALLBACK_LATE: _CALLBACKS,
}


class FaultOrder(BaseModel):
    """`kind`, for the next `times` (None: until the reset) events that `at` matches, each with `probability`.

    An event is a request ("GET /v1/bsv/regtest/chain/info"), a callback ("CALLBACK MINED") or a header on the
    WebSocket ("WS blockHeaders"); `at` is a pattern with * and ?, by default all that the kind can spoil.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Fault
    at: str = Field(default="", max_length=200)
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seconds: float = Field(default=1.0, ge=0, le=SECONDS_MAX, description="for slow, silence, callback_late")
    blocks: int = Field(default=1, ge=1, description="for behind")
    status: int = Field(default=409, ge=400, le=599, description="for problem")

    def matches(self, event: str) -> bool:
        """Whether the event is one of those meant, and one that the kind can spoil."""
        places = _PLACES.get(self.kind, _ANY_REQUEST)
        return any(fnmatchcase(event, place) for place in places) and fnmatchcase(event, self.at or "*")


FAULT = web.RequestKey("fault", FaultOrder)
"""The fault that a request meets, for the handler whose answer it spoils."""


class ControlRequest(BaseModel):
    """Body of POST /_control: forget the waiting faults first, then add these."""

    model_config = ConfigDict(extra="forbid")

    reset: bool = False
    faults: list[FaultOrder] = Field(default_factory=list, max_length=ORDERS_MAX)


class Faults:
    """The waiting faults, oldest first. An event meets the first that matches it."""

    def __init__(self, seed: int | None = None) -> None:
        self._orders: list[FaultOrder] = []
        self._chance = random.Random(seed)  # noqa: S311 - faults, not secrets

    def add(self, kind: Fault, **fields: object) -> None:
        """Line up one fault: the fields of FaultOrder."""
        self.apply(ControlRequest(faults=[FaultOrder.model_validate({"kind": kind, **fields})]))

    def reset(self) -> None:
        """Forget all that wait."""
        self._orders.clear()

    def apply(self, request: ControlRequest) -> None:
        """Take in a control request. Raises ValueError when too many would wait."""
        kept = [] if request.reset else self._orders
        if len(kept) + len(request.faults) > ORDERS_MAX:
            raise ValueError(f"no more than {ORDERS_MAX} faults can wait")
        self._orders = [*kept, *(order.model_copy() for order in request.faults)]

    def take(self, event: str) -> FaultOrder | None:
        """The fault that this event meets, if any; used up by one."""
        for order in self._orders:
            if order.matches(event) and self._chance.random() < order.probability:
                if order.times is not None:
                    order.times -= 1
                self._orders = [waiting for waiting in self._orders if waiting.times != 0]
                return order
        return None

    def waiting(self) -> list[FaultOrder]:
        """What is still to come, for people."""
        return list(self._orders)
