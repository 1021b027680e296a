"""Clients that move money, repeat what got no answer, read, and write down all they were told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.channel import ahead_of_answers
from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from tests.ledger.failover.linearizable import Read
from tests.ledger.failover.truth import State

CALL_TIMEOUT_S = 2.0
AGAIN_S = 0.05
PAUSE_S_MAX = 0.04
OPEN_HOLDS_MAX = 20

Kind = ledger_pb2.TransferKind


@dataclass(slots=True)
class Asked:
    """A request and its first answer: whether each transfer applied; none until it has come."""

    name: str
    request: pb.CreateTransfersRequest
    began_s: float
    ended_s: float = math.inf
    applied: tuple[bool, ...] = ()


@dataclass(slots=True)
class History:
    """What all clients did and were told."""

    asked: list[Asked] = field(default_factory=list)
    reads: list[Read[State]] = field(default_factory=list)
    repeated: int = 0
    failures: int = 0
    contradictions: list[str] = field(default_factory=list)


class Client:
    """Does one thing after the other until `stop_s`; then asks on until its last command is answered."""

    def __init__(
        self,
        name: str,
        random: Random,
        accounts: Sequence[str],
        history: History,
        *,
        strict: LedgerServiceStub,
        anywhere: LedgerServiceStub,
    ) -> None:
        self._name = name
        self._random = random
        self._accounts = accounts
        self._history = history
        self._strict = strict
        self._anywhere = anywhere
        self._mine: list[Asked] = []
        self._holds: list[str] = []

    async def run(self, stop_s: float) -> None:
        doings: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._move, 4), (self._move_many, 2), (self._hold, 2), (self._end_hold, 2), (self._repeat, 1),
            (self._read, 5), (self._read_anywhere, 2),
        ]  # fmt: skip
        weights = [weight for _, weight in doings]
        while time.monotonic() < stop_s:
            [(do, _)] = self._random.choices(doings, weights)
            await do()
            await asyncio.sleep(self._random.uniform(0, PAUSE_S_MAX))

    async def _move(self) -> None:
        await self._ask(self._post())

    async def _move_many(self) -> None:
        """Some of them linked."""
        many = [self._post(linked=self._random.random() < 0.3) for _ in range(self._random.randint(2, 20))]
        many[-1].linked = False
        await self._ask(*many)

    async def _hold(self) -> None:
        if len(self._holds) < OPEN_HOLDS_MAX:
            hold = self._post(Kind.TRANSFER_KIND_HOLD)
            if all((await self._ask(hold)).applied):
                self._holds.append(hold.id)

    async def _end_hold(self) -> None:
        """Posts all of it or a part, or voids it; sometimes one that has ended, or was more than it kept."""
        if not self._holds:
            return
        hold_id = self._random.choice(self._holds)
        if self._random.random() < 0.8:
            self._holds.remove(hold_id)
        kind = self._random.choice((Kind.TRANSFER_KIND_POST_HOLD, Kind.TRANSFER_KIND_VOID_HOLD))
        amount = self._random.choice((0, 1, 150)) if kind == Kind.TRANSFER_KIND_POST_HOLD else 0
        await self._ask(ledger_pb2.Transfer(id=uuid7(), kind=kind, hold_id=hold_id, amount=amount))

    def _post(
        self, kind: Kind.ValueType = Kind.TRANSFER_KIND_POST, *, linked: bool = False
    ) -> ledger_pb2.Transfer:
        debit, credit = self._random.sample(self._accounts, 2)
        amount = self._random.choice((1, 10, 100, 400))
        return ledger_pb2.Transfer(
            id=uuid7(), kind=kind, debit_account=debit, credit_account=credit, asset="sat", amount=amount,
            linked=linked,
        )  # fmt: skip

    async def _ask(self, *transfers: ledger_pb2.Transfer) -> Asked:
        name = f"{self._name}/{len(self._mine)}"
        request = pb.CreateTransfersRequest(transfers=transfers)
        asked = Asked(name, request, time.monotonic())
        self._mine.append(asked)
        self._history.asked.append(asked)
        asked.applied = await self._answer(request)
        asked.ended_s = time.monotonic()
        return asked

    async def _repeat(self) -> None:
        """Something that was answered before is answered the same."""
        if self._mine:
            asked = self._random.choice(self._mine)
            self._history.repeated += 1
            if await self._answer(asked.request) != asked.applied:
                self._history.contradictions.append(f"{asked.name} was answered otherwise when repeated")

    async def _answer(self, request: pb.CreateTransfersRequest) -> tuple[bool, ...]:
        while True:
            try:
                response = await self._strict.CreateTransfers(request, timeout=CALL_TIMEOUT_S)
            except RemoteFailure as failure:
                await self._failed(failure)
            else:
                return tuple(result.reason == 0 for result in response.results)

    async def _failed(self, failure: RemoteFailure) -> None:
        """Raises it unless it says to ask again."""
        if not failure.outcome_unknown and not failure.unsent and failure.code is not Code.RESOURCE_EXHAUSTED:
            raise failure
        self._history.failures += 1
        await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        await self._balances(self._strict, strict=True)

    async def _read_anywhere(self) -> None:
        await self._balances(self._anywhere, strict=False)

    async def _balances(self, stub: LedgerServiceStub, *, strict: bool) -> None:
        try:
            read = await read_balances(stub, self._accounts, self._name, strict=strict)
        except RemoteFailure as failure:
            await self._failed(failure)
        else:
            self._history.reads.append(read)


async def read_balances(
    stub: LedgerServiceStub,
    accounts: Sequence[str],
    who: str,
    *,
    strict: bool,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Read[State]:
    """What the ledger says of the accounts, and what it says of its answer; strict: not from a standby."""
    request = pb.BatchGetAccountsRequest(account_ids=accounts)
    began_s = time.monotonic()
    with ahead_of_answers() as said:
        found = await stub.BatchGetAccounts(request, timeout=timeout_s)
    ended_s = time.monotonic()
    role = said["satreel-ledger-role"]
    if strict and role != "leader":
        raise ValueError(f"a linearizable read was answered by a {role}")
    return Read(
        f"{who} ({role}, {began_s:.3f})",
        began_s,
        ended_s,
        int(said["satreel-ledger-sequence"]),
        {account.id: (account.balance, account.held) for account in found.accounts},
        None if strict else int(said["satreel-ledger-staleness-ms"]) / 1000,
    )
