"""Transfers: their ids, accounts and requests, and the call that makes them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import grpc
import grpc.aio
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from bench.ledger.load import Call
from bench.ledger.plan import BATCH
from bench.ledger.server import SERVICE, Server
from mesh.ids import uuid7

FUNDS_SATS = 1_000_000_000
CALL_S_MAX = 60.0
ATTEMPTS_MAX = 100
PAUSE_S = 0.2
_NOISE_DIGITS = 18
_Answer = TypeVar("_Answer")
# The same pairs in every run.
_random = random.Random(3)  # noqa: S311 - not for secrets


class TransferRefused(Exception):  # noqa: N818 - an answer, not a fault
    """A transfer was refused that should have been made: the figures would be worth nothing."""


def fresh_ids(count: int, at_ns: int | None = None) -> list[str]:
    """As `mesh.ids.uuid7`, for many at a fraction of its cost; made now, or at another time."""
    milliseconds = f"{(at_ns or time.time_ns()) // 1_000_000:012x}"
    head = f"{milliseconds[:8]}-{milliseconds[8:]}-7"
    noise = os.urandom(count * _NOISE_DIGITS // 2).hex()
    return [
        f"{head}{noise[at : at + 3]}-8{noise[at + 3 : at + 6]}-{noise[at + 6 : at + 18]}"
        for at in range(0, count * _NOISE_DIGITS, _NOISE_DIGITS)
    ]


def people(count: int) -> list[str]:
    """So many user ids."""
    return [uuid7() for _ in range(count)]


def requests(users: Sequence[str], calls: int, size: int = BATCH) -> Iterator[bytes]:
    """Calls of `size` transfers of one satoshi between users drawn by lot."""
    for _ in range(calls):
        givers = _random.choices(users, k=size)
        takers = [_other(users, giver) for giver in givers]
        yield _request(givers, takers)


def column_requests(users: Sequence[str], calls: int) -> Iterator[bytes]:
    """The same as PostTransfers."""
    for _ in range(calls):
        givers = _random.choices(users, k=BATCH)
        takers = [_other(users, giver) for giver in givers]
        accounts = list(dict.fromkeys([*givers, *takers]))
        place = {name: at for at, name in enumerate(accounts)}
        yield pb.PostTransfersRequest(
            accounts=[f"user:{name}" for name in accounts],
            ids=fresh_ids(BATCH),
            debits=map(place.__getitem__, givers),
            credits=map(place.__getitem__, takers),
            amounts=[1] * BATCH,
        ).SerializeToString()


def gifts(giver: str, takers: Sequence[str], at_ns: int | None = None) -> bytes:
    """A call by which everyone gets a satoshi from the same user."""
    return _request([giver] * len(takers), takers, at_ns)


def _other(users: Sequence[str], giver: str) -> str:
    taker = users[int(_random.random() * len(users))]
    return taker if taker != giver else _other(users, giver)


def _request(givers: Sequence[str], takers: Sequence[str], at_ns: int | None = None) -> bytes:
    transfers = [
        ledger_pb2.Transfer(
            id=transfer_id,
            kind=ledger_pb2.TRANSFER_KIND_POST,
            debit_account=f"user:{giver}",
            credit_account=f"user:{taker}",
            asset="sat",
            amount=1,
        )
        for transfer_id, giver, taker in zip(fresh_ids(len(givers), at_ns), givers, takers, strict=True)
    ]
    return pb.CreateTransfersRequest(transfers=transfers).SerializeToString()


def transfer_call(server: Server) -> Call:
    """Sends such a request as the market would, and checks that every transfer was made."""
    send: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.CreateTransfersResponse]
    send = server.channel("market").unary_unary(
        f"/{SERVICE}/CreateTransfers", response_deserializer=pb.CreateTransfersResponse.FromString
    )

    async def call(request: bytes) -> None:
        answer = await _repeated(lambda: send(request, timeout=CALL_S_MAX))
        for result in answer.results:
            if result.reason:
                raise TransferRefused(ledger_pb2.ErrorReason.Name(result.reason), result.detail)

    return call


def column_call(server: Server) -> Call:
    """Sends transfers in columns as the market would, and checks that none was refused."""
    send: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.PostTransfersResponse]
    send = server.channel("market").unary_unary(
        f"/{SERVICE}/PostTransfers", response_deserializer=pb.PostTransfersResponse.FromString
    )

    async def call(request: bytes) -> None:
        answer = await _repeated(lambda: send(request, timeout=CALL_S_MAX))
        for result in answer.refused:
            raise TransferRefused(ledger_pb2.ErrorReason.Name(result.reason), result.detail)

    return call


async def _repeated(send: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """As callers do: where a machine is too busy the ledger may lose its lease, and asks to call again."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await send()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(PAUSE_S)
    return await send()


async def fund(server: Server, users: Sequence[str], sats: int = FUNDS_SATS) -> None:
    """A deposit for everyone."""
    send = server.channel("chain").unary_unary(
        f"/{SERVICE}/CreditDeposits",
        request_serializer=pb.CreditDepositsRequest.SerializeToString,
        response_deserializer=pb.CreditDepositsResponse.FromString,
    )
    for start in range(0, len(users), BATCH):
        part = users[start : start + BATCH]
        deposits = [
            ledger_pb2.Deposit(
                id=deposit_id, user_id=user, amount_sats=sats, txid=os.urandom(32).hex(), block_hash="b" * 64
            )
            for deposit_id, user in zip(fresh_ids(len(part)), part, strict=True)
        ]
        await send(pb.CreditDepositsRequest(deposits=deposits), timeout=CALL_S_MAX)
