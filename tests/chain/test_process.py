"""Real processes: chain beside the real ledger, over a real node and Valkey; killed, and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest_asyncio
from satreel.chain.v1 import chain_pb2
from satreel.chain.v1 import chain_service_pb2 as pb
from satreel.chain.v1.chain_service_pb2_grpc import ChainServiceStub
from satreel.identity.v1 import identity_service_pb2_grpc  # noqa: F401 - channels read contracts
from satreel.ledger.v1 import ledger_service_pb2 as ledger_pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh import tls
from mesh.caller import Caller, acting_as
from mesh.channel import connect
from mesh.clock import SystemClock
from mesh.ids import uuid7
from mesh.tokens import UserTokenSigner
from sandbox.node import BsvNode
from sandbox.process import Child, free_port, start_child
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of

ANNA = uuid7()
PATIENCE_S = 120


class Town:
    """Ledger and chain as processes."""

    def __init__(
        self, folder: Path, node: BsvNode, redis_url: str, told: Mapping[str, str] | None = None
    ) -> None:
        private, public = tls.make_user_token_keys(folder)
        self._signer = UserTokenSigner(private.read_bytes(), SystemClock())
        self._folder = folder
        self.node_password = str(urlsplit(node.url).password)
        self.ports = {name: free_port() for name in ("ledger", "chain", "identity")}
        self._children: dict[str, Child] = {}
        self._env = os.environ | {
            "SATREEL_PEERS": json.dumps({name: f"127.0.0.1:{port}" for name, port in self.ports.items()}),
            "SATREEL_DATA_DIR": str(folder / "data"),
            "SATREEL_REDIS_URL": redis_url,
            "SATREEL_USER_TOKEN_KEY": str(public),
            "SATREEL_DRAIN_S": "0",
            "SATREEL_CHAIN_NODE_URL": node.url,
            "SATREEL_CHAIN_NODE_ZMQ": node.zmq_endpoint,
            "SATREEL_CHAIN_BATCH_S": "0.2",
            **(told or {}),
        }
        opened = [
            connect(me=me, peer=name, addresses=f"127.0.0.1:{self.ports[name]}", tls_dir=None)
            for me, name in (("gateway", "chain"), ("chain", "ledger"))
        ]
        self.channels = opened
        self.chain, self.ledger = ChainServiceStub(opened[0]), LedgerServiceStub(opened[1])

    async def start(self, name: str, *, instance: str = "", **told: str) -> None:
        """`instance`: another one of it, where it listens and what it is told."""
        await self._start(instance or name, f"services.{name}", **told)

    async def start_mortal_chain(self, point: str) -> None:
        """The chain service that is killed at a point, see `mortal`."""
        await self._start("chain", "tests.chain.mortal", point)

    async def _start(self, name: str, *program: str, **told: str) -> None:
        part = program[0].rpartition(".")[2] if program[0].startswith("services.") else name
        env = self._env | {f"SATREEL_{part.upper()}_LISTEN": f"127.0.0.1:{self.ports[name]}"} | told
        self._children[name] = await start_child(
            name, [sys.executable, "-m", *program], log_path=self._folder / f"{name}.log", env=env
        )

    def child(self, name: str) -> Child:
        return self._children[name]

    async def kill(self, name: str) -> None:
        child = self._children.pop(name)
        child.process.send_signal(signal.SIGKILL)
        await child.process.wait()

    async def stop(self) -> None:
        for child in self._children.values():
            await child.stop()
        for channel in self.channels:
            await channel.close()

    def as_user(self, user_id: str) -> object:
        who = Caller("", user_id, frozenset({"user"}), "test")
        token, _ = self._signer.sign(user_id=user_id, roles=who.roles, session_id="test")
        return acting_as(who, token)

    @property
    def seed(self) -> str:
        return (self._folder / "data" / "chain.seed").read_text().strip()

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()


@pytest_asyncio.fixture
async def town(bsv_node: BsvNode, valkey_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    town = Town(tmp_path, bsv_node, valkey_url)
    await town.start("ledger")
    await town.start("chain")
    try:
        yield town
    finally:
        await town.stop()


async def eventually(check: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not await check():
            await asyncio.sleep(0.05)


async def test_money_in_and_out_with_the_real_ledger_and_a_kill_in_between(
    town: Town, regtest: Regtest
) -> None:
    with town.as_user(ANNA):  # type: ignore[attr-defined]
        address = (
            await town.chain.GetDepositAddress(pb.GetDepositAddressRequest(), timeout=PATIENCE_S)
        ).address
        await regtest.fund(address, 100_000)

        async def seen() -> bool:
            found = await town.chain.ListDeposits(pb.ListDepositsRequest())
            return [d.state for d in found.deposits] == [chain_pb2.DEPOSIT_STATE_SEEN]

        await eventually(seen)
        await regtest.mine()

        async def credited() -> bool:
            found = await town.chain.ListDeposits(pb.ListDepositsRequest())
            return [d.state for d in found.deposits] == [chain_pb2.DEPOSIT_STATE_CREDITED]

        await eventually(credited)
        to = await regtest.rpc.text("getnewaddress")
        wanted = pb.RequestWithdrawalRequest(withdrawal_id=uuid7(), address=to, amount_sats=30_000)
        await town.chain.RequestWithdrawal(wanted)
        await town.kill("chain")
        await town.start("chain")

        async def sent() -> bool:
            request = pb.GetWithdrawalRequest(withdrawal_id=wanted.withdrawal_id)
            found = await town.chain.GetWithdrawal(request, timeout=PATIENCE_S)
            return found.withdrawal.state == chain_pb2.WITHDRAWAL_STATE_SENT

        await eventually(sent)
        await regtest.mine()

        async def confirmed() -> bool:
            request = pb.GetWithdrawalRequest(withdrawal_id=wanted.withdrawal_id)
            found = await town.chain.GetWithdrawal(request)
            return found.withdrawal.state == chain_pb2.WITHDRAWAL_STATE_CONFIRMED

        await eventually(confirmed)
    custody = await town.chain.GetCustody(pb.GetCustodyRequest())
    assert custody.difference_sats == 0
    assert custody.owed_sats == custody.coins_sats
    account = await town.ledger.GetAccount(ledger_pb.GetAccountRequest(account_id=f"user:{ANNA}"))
    assert account.account.balance == custody.owed_sats
    received = await regtest.rpc.call("getreceivedbyaddress", to, 1)
    assert sats_of(received) == 30_000
    assert "Traceback" not in town.log("chain")
    assert town.seed not in town.log("chain")
    assert town.node_password not in town.log("chain")
