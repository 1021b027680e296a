"""Viewing: a round with its sessions, and what a gateway reports of them.

Only this file knows what a report looks like. Seconds are real ones: before reports are sent one behind
the other, as much time has gone by as they tell of, and each line of a report tells of one second more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from bench.ledger.load import Sample, closed_loop, watched
from bench.ledger.plan import Plan
from bench.ledger.server import SERVICE, Server
from bench.ledger.site import Site
from bench.ledger.transfers import CALL_S_MAX, fund, people
from mesh.ids import uuid7
from mesh.interceptors.guards import USER_TOKEN_KEY

MEMES = 100
ROUND_S = 900
BUDGET_SATS = 600
OPENING = 64
REPORTS_UNANSWERED = 2
# Opening fifty thousand sessions takes longer than the usual silence of ten seconds.
SETTINGS = {"SATREEL_LEDGER_SESSION_SILENCE_S": "600"}
PARAMETERS = ledger_pb2.Parameters(
    version=1, platform_fee_bp=200, instant_bp=4500, creator_bp=1000, winner_bp=2000, ranks_paid=100,
    payout_min_sats=100, second_price_sats=1, free_below_s=3, session_max_s=3600, scored_seconds_max=600,
)  # fmt: skip


class ReportRefused(Exception):  # noqa: N818 - an answer, not a fault
    """A line of a report was not counted: the figures would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What viewing cost."""

    opened: Sample
    at_once: Sample
    each_second: Sample
    sessions: int


async def metered(site: Site, server: Server, plan: Plan) -> Metered:
    """Opens a round and sessions, lets seconds go by, and reports them: all at once, then one a second."""
    memes = people(MEMES)
    await _open_round(server, memes)
    viewers = people(plan.sessions)
    await fund(server, viewers, BUDGET_SATS)
    sessions = people(plan.sessions)
    opened, keys = await _open_sessions(site, server, memes, viewers, sessions)
    running_since_s = time.perf_counter()
    # The first reports lie below the free seconds; the first that is measured is number 4.
    first, last = 4, 4 + plan.reports_at_once
    warm_up, at_once = list(_reports(keys, 3, first)), list(_reports(keys, first, last))
    each_second = list(_reports(keys, last, last + plan.reports_paced))
    await asyncio.sleep(max(0.0, last + 1 - (time.perf_counter() - running_since_s)))
    gateway = _Gateway(server, len(keys))
    await gateway.send(warm_up)
    return Metered(
        opened, await gateway.send(at_once), await gateway.send(each_second, every_s=1.0), len(keys)
    )


async def _open_round(server: Server, memes: list[str]) -> None:
    content, rounds = (
        LedgerServiceStub(server.channel("content")),
        LedgerServiceStub(server.channel("rounds")),
    )
    for meme in memes:
        await content.IssueTitle(pb.IssueTitleRequest(meme_id=meme, creator_id=meme), timeout=CALL_S_MAX)
    now_s = int(time.time())
    asked = pb.OpenRoundRequest(
        round_id=uuid7(),
        parameters=PARAMETERS,
        starts_at=Timestamp(seconds=now_s - 1),
        locks_at=Timestamp(seconds=now_s + ROUND_S),
        entries=[ledger_pb2.RoundEntry(meme_id=meme, creator_id=meme, quality_ppm=900_000) for meme in memes],
    )
    await rounds.OpenRound(asked, timeout=CALL_S_MAX)


async def _open_sessions(
    site: Site, server: Server, memes: list[str], viewers: list[str], sessions: list[str]
) -> tuple[Sample, list[int]]:
    """One session each, spread over the memes, and their meter keys: fewer, where time did not suffice."""
    send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    send = server.channel("gateway").unary_unary(f"/{SERVICE}/OpenSession")
    tokens: dict[bytes, str] = {}
    keys: list[int] = []
    for number, (viewer, session) in enumerate(zip(viewers, sessions, strict=True)):
        asked = pb.OpenSessionRequest(
            session_id=session, meme_id=memes[number % MEMES], budget_sats=BUDGET_SATS
        )
        token, _ = site.signer.sign(user_id=viewer, roles=frozenset(), session_id=session)
        tokens[asked.SerializeToString()] = token

    async def call(request: bytes) -> None:
        answer = await send(request, timeout=CALL_S_MAX, metadata=((USER_TOKEN_KEY, tokens[request]),))
        keys.append(pb.OpenSessionResponse.FromString(answer).session.meter_key)

    return await closed_loop(server, call, tokens, in_flight=OPENING, seconds_max=CALL_S_MAX), keys


def _reports(keys: list[int], first_s: int, end_s: int) -> Iterator[bytes]:
    """A report for each of these seconds."""
    gateway = uuid7()
    for second in range(first_s, end_s):
        report = pb.MeterRequest(
            gateway_id=gateway, sequence=second, meter_keys=keys, seconds=[second] * len(keys)
        )
        yield report.SerializeToString()


class _Gateway:
    """One metering stream at a time."""

    def __init__(self, server: Server, lines: int) -> None:
        self._server = server
        self._lines = lines
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, pb.MeterResponse]
        self._open = server.channel("gateway").stream_stream(
            f"/{SERVICE}/Meter", response_deserializer=pb.MeterResponse.FromString
        )

    async def send(self, reports: list[bytes], every_s: float = 0.0) -> Sample:
        """Sends the reports over one stream, each when its time has come and at most two are unanswered."""
        free = asyncio.Semaphore(REPORTS_UNANSWERED)
        sent_s: deque[float] = deque()

        async def outgoing(begun_s: float) -> AsyncIterator[bytes]:
            for number, report in enumerate(reports):
                await free.acquire()
                await asyncio.sleep(max(0.0, begun_s + number * every_s - time.perf_counter()))
                sent_s.append(time.perf_counter())
                yield report

        with watched(self._server) as sample:
            async for answer in self._open(outgoing(time.perf_counter())):
                sample.latencies_ms.append((time.perf_counter() - sent_s.popleft()) * 1e3)
                free.release()
                self._check(answer)
        sample.operations = self._lines * len(reports)
        return sample

    def _check(self, answer: pb.MeterResponse) -> None:
        if len(answer.burned_sats) != self._lines:
            raise ReportRefused(f"{len(answer.burned_sats)} answers of {self._lines}")
        for receipt in answer.receipts:
            raise ReportRefused(str(receipt))
