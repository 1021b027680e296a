"""The contract: its numbers, its reasons, and who may call."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub, add_LedgerServiceServicer_to_server

import services.ledger
from mesh.clock import SystemClock
from mesh.errors import Code, Failure, RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import serving
from services.ledger.adapters.archive import ArchiveUnavailable
from services.ledger.adapters.news import FeedNews
from services.ledger.app.history import HistoryBroken
from services.ledger.app.ledger import Ledger
from services.ledger.app.orders import QueueFull
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.sessions import StopReason
from services.ledger.rpc import show
from services.ledger.rpc.servicer import LedgerServicer
from tests.ledger.rpc.house import ANA, MEME, House, meter
from tests.ledger.stores import MemoryStore, journal_of


def test_the_contract_has_the_same_numbers() -> None:
    for enum, prefix, wire in (
        (Reason, "ERROR_REASON_", ledger_pb2.ErrorReason),
        (StopReason, "STOP_REASON_", ledger_pb2.StopReason),
        (RoundState, "ROUND_STATE_", ledger_pb2.RoundState),
    ):
        ours = {f"{prefix}{member.name}": int(member) for member in enum if member}
        assert ours == {name: number for name, number in wire.items() if number}


def test_every_reason_of_the_ledgers_own_failures_is_in_the_contract() -> None:
    folder = Path(services.ledger.__file__ or "").parent
    for _, name, _ in pkgutil.walk_packages([str(folder)], "services.ledger."):
        if not name.endswith("__main__"):
            import_module(name)
    found = {one.reason for one in _all_below(Failure) if one.__module__.startswith("services.ledger.")}
    assert {"QUEUE_FULL", "HISTORY_BROKEN", "ARCHIVE_UNAVAILABLE"} <= found
    # Of a class whose objects have a reason each, the class has none of its own.
    # RECORD_INVALID is of files that the command line is given.
    assert found - {Failure.reason, RecordInvalid.reason} <= {reason.name for reason in Reason}
    for one in (QueueFull, HistoryBroken, ArchiveUnavailable):
        assert one.code == Refused(Reason[one.reason], "").code


def _all_below(kind: type[Failure]) -> Iterator[type[Failure]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_below(below)


async def test_only_callers_of_the_contract(house: House) -> None:
    sides = {"debit_account": "user:a", "credit_account": "user:b", "amount": 1}
    await house.refused(house.transfer(house.gateway, **sides), "CALLER_NOT_ALLOWED")
    session = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=5)
    await house.refused(house.gateway.OpenSession(session), "USER_TOKEN_MISSING", Code.UNAUTHENTICATED)


async def test_a_standby_says_so(valkey_url: str) -> None:
    clock = SystemClock()
    async with open_feed(valkey_url, "ledger-standby") as feed:
        ledger = Ledger(
            journal_of(MemoryStore(), clock),
            FeedNews(feed, show.event),
            clock,
            queue_max=9,
            session_silence_s=10,
        )
        async with serving(
            "ledger", add_LedgerServiceServicer_to_server, LedgerServicer(ledger, feed)
        ) as server:
            stub = LedgerServiceStub(server.channel("chain"))
            deposit = ledger_pb2.Deposit(
                id=uuid7(), user_id=ANA, amount_sats=1, txid="a" * 64, block_hash="b" * 64
            )
            for call in (
                stub.CreditDeposits(pb.CreditDepositsRequest(deposits=[deposit]), timeout=60),
                stub.GetTotals(pb.GetTotalsRequest(), timeout=60),
            ):
                with pytest.raises(RemoteFailure) as failure:
                    await call
                assert failure.value.reason == "NOT_LEADER"
            gateway = LedgerServiceStub(server.channel("gateway"))
            with pytest.raises(RemoteFailure) as failure:
                await meter(gateway, (1, 1))
            assert failure.value.reason == "NOT_LEADER"
