"""Real processes: a leader and two standbys over the real stores, killed and frozen under load.

What happens to whom and what the clients want is the same in every run (not who is faster), and another with
`SATREEL_FAILOVER_SEED=n`; `SATREEL_FAILOVER_S` says for how long, two minutes by default.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.channel import ahead_of_answers
from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from tests.ledger.failover.clients import AGAIN_S, Client, History, read_balances
from tests.ledger.failover.cluster import READS, Cluster, Node, cluster
from tests.ledger.failover.disturbance import Disturbance
from tests.ledger.failover.linearizable import Write, problems
from tests.ledger.failover.truth import Moved, Truth, read_truth

SECONDS = float(os.environ.get("SATREEL_FAILOVER_S", "120"))
CLIENTS = 6
USERS = [f"u{number}" for number in range(8)]
ACCOUNTS = [f"user:{user}" for user in USERS]
FUNDS = 1_000
# As promised; it takes a lifetime of the lease and a moment.
TAKEN_OVER_WITHIN_S = 30
PATIENCE_S = 120


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints, captured or not."""

    def print_(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return print_


async def until_answered(call: Callable[[], Awaitable[object]]) -> None:
    """Repeats a command for as long as nobody answers. Raises TimeoutError in the end."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await call()
            except RemoteFailure as failure:
                if not (failure.outcome_unknown or failure.unsent):
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return


async def fund(nodes: Cluster) -> None:
    """Gives every user something."""
    deposits = [
        ledger_pb2.Deposit(
            id=uuid7(), user_id=user, amount_sats=FUNDS, txid=f"{number:064x}", block_hash="b" * 64
        )
        for number, user in enumerate(USERS)
    ]
    async with nodes.channel("chain") as channel:
        request = pb.CreditDepositsRequest(deposits=deposits)
        stub = LedgerServiceStub(channel)
        await until_answered(lambda: stub.CreditDeposits(request, timeout=1))


def payment(amount: int = 1) -> pb.CreateTransfersRequest:
    transfer = ledger_pb2.Transfer(
        id=uuid7(), kind=ledger_pb2.TRANSFER_KIND_POST, debit_account=ACCOUNTS[0], credit_account=ACCOUNTS[1],
        asset="sat", amount=amount,
    )  # fmt: skip
    return pb.CreateTransfersRequest(transfers=[transfer])


async def takeover_s(nodes: Cluster) -> float:
    """Seconds until a command is carried out again."""
    began_s = time.monotonic()
    await carried_out(nodes, payment())
    return time.monotonic() - began_s


async def carried_out(nodes: Cluster, request: pb.CreateTransfersRequest) -> None:
    async with nodes.channel("market") as channel:
        stub = LedgerServiceStub(channel)
        await until_answered(lambda: stub.CreateTransfers(request, timeout=1))


async def role_and_balance(nodes: Cluster, node: Node) -> tuple[str, int]:
    """Who the node says it is, and what it knows of the receiver of payments."""
    request = pb.BatchGetAccountsRequest(account_ids=ACCOUNTS[1:2])
    async with nodes.channel("market", node, health=READS) as channel:
        with ahead_of_answers() as said:
            found = await LedgerServiceStub(channel).BatchGetAccounts(request, timeout=PATIENCE_S)
    return said["satreel-ledger-role"], found.accounts[0].balance


async def follows(nodes: Cluster, node: Node, balance: int) -> None:
    """The node stands by and has come to this balance."""
    async with asyncio.timeout(PATIENCE_S):
        while await role_and_balance(nodes, node) != ("standby", balance):
            await asyncio.sleep(AGAIN_S)
        while not await nodes.serves(node, READS):
            await asyncio.sleep(AGAIN_S)
    assert not await nodes.serves(node)


async def refusal(nodes: Cluster, node: Node, request: pb.CreateTransfersRequest, timeout_s: float) -> str:
    """Why this node, whether it serves or not, does not carry out the command."""
    async with nodes.channel("market", node, health_checked=False) as channel:
        with pytest.raises(RemoteFailure) as failure:
            await LedgerServiceStub(channel).CreateTransfers(request, timeout=timeout_s)
    return failure.value.reason


async def test_a_standby_takes_over_from_a_killed_leader(
    tmp_path: Path, valkey_url: str, say: Callable[[str], None]
) -> None:
    async with cluster(tmp_path, valkey_url, lease_ttl_s=5) as nodes:
        await fund(nodes)
        leader = await nodes.leader()
        await takeover_s(nodes)
        await leader.kill()
        took_s = await takeover_s(nodes)
        say(f"killed: a standby had taken over after {took_s:.2f} s")
        assert took_s < TAKEN_OVER_WITHIN_S
        await leader.start()
        await follows(nodes, leader, FUNDS + 2)
    code, shown = await nodes.verified()
    assert code == 0, shown


async def test_a_standby_takes_over_from_a_frozen_leader(
    tmp_path: Path, valkey_url: str, say: Callable[[str], None]
) -> None:
    async with cluster(tmp_path, valkey_url, lease_ttl_s=5) as nodes:
        await fund(nodes)
        leader = await nodes.leader()
        await takeover_s(nodes)
        await nodes.freeze(leader)
        late = asyncio.create_task(refusal(nodes, leader, payment(100), timeout_s=PATIENCE_S))
        took_s = await takeover_s(nodes)
        say(f"frozen: a standby had taken over after {took_s:.2f} s")
        assert took_s < TAKEN_OVER_WITHIN_S
        leader.send(signal.SIGCONT)
        assert await late == "NOT_LEADER"
        await follows(nodes, leader, FUNDS + 2)
    code, shown = await nodes.verified()
    assert code == 0, shown


async def test_the_journal_alone_stops_a_late_leader(tmp_path: Path, valkey_url: str) -> None:
    """Its lease does not tell it that it lost: its write fails, it steps down and follows.

    What it answers until then is old, which the check of histories has to find.
    """
    async with cluster(tmp_path, valkey_url, lease_ttl_s=3, names=("stubborn",)) as alone:
        late_leader = alone.nodes[0]
        await fund(alone)
        async with cluster(tmp_path, valkey_url, lease_ttl_s=3, names=("a",)) as nodes:
            assert await alone.leader() is late_leader
            await alone.freeze(late_leader)
            paid = payment()
            began_s = time.monotonic()
            await carried_out(nodes, paid)
            ended_s = time.monotonic()
            late_leader.send(signal.SIGCONT)
            async with alone.channel("market", late_leader, health_checked=False) as channel:
                stub = LedgerServiceStub(channel)
                read = await read_balances(stub, ACCOUNTS, "old read", strict=True, timeout_s=PATIENCE_S)
            truth = await read_truth(tmp_path, ACCOUNTS)
            written = Write("payment", began_s, ended_s, truth.sequences[paid.transfers[0].id])
            [found] = problems([written], [read], truth.states)
            assert "after payment had ended" in found
            assert await refusal(alone, late_leader, payment(100), timeout_s=PATIENCE_S) == "NOT_LEADER"
            assert late_leader.logged('"event": "fenced"') == 1, late_leader.log.read_text()
            await follows(alone, late_leader, FUNDS + 1)
    code, shown = await nodes.verified()
    assert code == 0, shown


async def test_two_minutes_of_kills_and_freezes(
    tmp_path: Path, valkey_url: str, say: Callable[[str], None]
) -> None:
    seed = int(os.environ.get("SATREEL_FAILOVER_SEED", "1"))
    say(f"SATREEL_FAILOVER_SEED={seed} {sys.executable} -m pytest {__file__} -k two_minutes")
    history = History()
    async with cluster(tmp_path, valkey_url, lease_ttl_s=2) as nodes:
        await fund(nodes)
        disturbance = Disturbance(nodes, Random(seed))
        await play(nodes, history, disturbance, seed)
        truth = await read_truth(tmp_path, ACCOUNTS)
        check_answers(history, truth)
        await check_statements(nodes, history, truth)
        await check_sums(nodes)
    say(
        f"{len(history.asked)} commands, {len(history.reads)} reads, {history.repeated} repeated, "
        f"{history.failures} calls failed; {dict(disturbance.done)}, {len(truth.leaders)} reigns"
    )
    found = problems(writes_of(history, truth), history.reads, truth.states)
    assert not found, found[:10]
    assert len(truth.leaders) > SECONDS / 40
    code, shown = await nodes.verified()
    assert code == 0, shown


async def play(nodes: Cluster, history: History, disturbance: Disturbance, seed: int) -> None:
    """All clients on one channel, while the nodes are disturbed; ends when every command is answered."""
    stop_s = time.monotonic() + SECONDS
    async with nodes.channel("market") as channel, nodes.channel("market", health=READS) as reads:
        strict, anywhere = LedgerServiceStub(channel), LedgerServiceStub(reads)
        async with asyncio.TaskGroup() as group:
            group.create_task(disturbance.run(stop_s))
            for number in range(CLIENTS):
                random = Random(f"{seed}/{number}")
                client = Client(
                    f"client {number}", random, ACCOUNTS, history, strict=strict, anywhere=anywhere
                )
                group.create_task(client.run(stop_s))


def check_answers(history: History, truth: Truth) -> None:
    """Everybody was told what the journal says, whenever he asked."""
    assert not history.contradictions, history.contradictions[:10]
    for asked in history.asked:
        recorded = tuple(truth.applied.get(transfer.id) for transfer in asked.request.transfers)
        assert asked.applied == recorded, asked


def writes_of(history: History, truth: Truth) -> list[Write]:
    return [
        Write(asked.name, asked.began_s, asked.ended_s, truth.sequences.get(asked.request.transfers[0].id))
        for asked in history.asked
    ]


async def check_statements(nodes: Cluster, history: History, truth: Truth) -> None:
    """What was acknowledged stands once in both statements; what was refused, nowhere; nothing else does."""
    expected = Counter({("", Moved("chain:coins", account, FUNDS)): 1 for account in ACCOUNTS})
    for asked in history.asked:
        for transfer, applied in zip(asked.request.transfers, asked.applied, strict=True):
            if applied and transfer.kind == ledger_pb2.TRANSFER_KIND_POST:
                moved = Moved(transfer.debit_account, transfer.credit_account, transfer.amount)
                expected[transfer.id, moved] = 2
            elif applied and transfer.kind == ledger_pb2.TRANSFER_KIND_POST_HOLD:
                expected[transfer.id, truth.postings[transfer.id]] = 2
    assert await statements(nodes) == expected


async def statements(nodes: Cluster) -> Counter[tuple[str, Moved]]:
    """How often each posting stands in the statements of all accounts; deposits without their ids."""
    lines = Counter[tuple[str, Moved]]()
    nodes.act_as_admin()
    async with nodes.channel("gateway") as channel:
        stub = LedgerServiceStub(channel)
        for account in ACCOUNTS:
            token = None
            while token != "":
                request = pb.ListPostingsRequest(account_id=account, page_size=1_000, page_token=token or "")
                page = await stub.ListPostings(request, timeout=PATIENCE_S)
                lines.update(map(_line, page.postings))
                token = page.next_page_token
    return lines


def _line(posting: ledger_pb2.Posting) -> tuple[str, Moved]:
    moved = Moved(posting.debit_account, posting.credit_account, posting.amount)
    return "" if moved.debit == "chain:coins" else posting.transfer_id, moved


async def check_sums(nodes: Cluster) -> None:
    async with nodes.channel("chain") as channel:
        totals = await LedgerServiceStub(channel).GetTotals(pb.GetTotalsRequest(), timeout=PATIENCE_S)
    assert (totals.sum_sats, totals.users_sats, totals.coins_owed_sats) == (0, *[FUNDS * len(USERS)] * 2)
