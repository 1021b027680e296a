"""The chain service as a process with the settings of production: WhatsOnChain and ARC, on a bad day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio
from grpc_health.v1 import health_pb2
from satreel.chain.v1 import chain_pb2
from satreel.chain.v1 import chain_service_pb2 as pb

from mesh.channel import connect
from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from sandbox.explorers.faults import Fault
from sandbox.explorers.server import Explorers, running_explorers
from sandbox.node import BsvNode
from sandbox.process import free_port
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of
from tests.chain.test_process import PATIENCE_S, Town, eventually
from tests.fixtures_explorers import ARC_KEY, WOC_KEY, explorers_settings

ANNA = uuid7()
TOKEN = "what-arc-shows"
BAD_DAY = {
    Fault.HTTP_429: 0.03,
    Fault.HTTP_500: 0.05,
    Fault.HTML: 0.05,
    Fault.RESET: 0.05,
    Fault.ANSWER_LOST: 0.05,
    Fault.CALLBACK_LOST: 0.3,
    Fault.CALLBACK_DOUBLED: 0.3,
}


@dataclass
class Mainland:
    """The processes, and the outside world that they know."""

    town: Town
    explorers: Explorers

    async def health(self, source: str) -> int:
        """What the chain service reports of a source; SERVICE_UNKNOWN before it has said anything of it."""
        address = f"127.0.0.1:{self.town.ports['chain']}"
        channel = connect(me="gateway", peer="chain", addresses=address, tls_dir=None, health_checked=False)
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        try:
            request = health_pb2.HealthCheckRequest(service=f"satreel.chain.v1.ChainService/{source}")
            reply = await check(request, timeout=PATIENCE_S)
            return int(reply.status)
        except RemoteFailure as failure:
            if failure.code is not Code.NOT_FOUND:
                raise
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        finally:
            await channel.close()


@pytest_asyncio.fixture
async def mainland(
    bsv_node: BsvNode, regtest: Regtest, valkey_url: str, tmp_path: Path
) -> AsyncIterator[Mainland]:
    await regtest.fund(
        await regtest.rpc.text("getnewaddress"), 1_000
    )  # the faucet needs a chain of some length
    async with running_explorers(explorers_settings(bsv_node, seed=7)) as explorers:
        callbacks = f"127.0.0.1:{free_port()}"
        told = {
            "SATREEL_CHAIN_NODE_URL": "",
            "SATREEL_CHAIN_NODE_ZMQ": "",
            "SATREEL_CHAIN_WOC_URL": explorers.woc_url,
            "SATREEL_CHAIN_WOC_SOCKET": explorers.woc_socket_url,
            "SATREEL_CHAIN_WOC_KEY": WOC_KEY,
            "SATREEL_CHAIN_WOC_PER_S": "100",
            "SATREEL_CHAIN_ARC_URL": explorers.arc_url,
            "SATREEL_CHAIN_ARC_KEY": ARC_KEY,
            "SATREEL_CHAIN_CALLBACK_LISTEN": callbacks,
            "SATREEL_CHAIN_CALLBACK_URL": f"http://{callbacks}/arc/callbacks",
            "SATREEL_CHAIN_CALLBACK_TOKEN": TOKEN,
            "SATREEL_CHAIN_SOURCE_TIMEOUT_S": "8",
        }
        town = Town(tmp_path, bsv_node, valkey_url, told)
        await town.start("ledger")
        await town.start("chain")
        try:
            yield Mainland(town, explorers)
        finally:
            await town.stop()


async def test_money_in_and_out_by_settings_alone_on_a_bad_day(mainland: Mainland, regtest: Regtest) -> None:
    town = mainland.town
    with town.as_user(ANNA):  # type: ignore[attr-defined]
        address = (
            await town.chain.GetDepositAddress(pb.GetDepositAddressRequest(), timeout=PATIENCE_S)
        ).address
        for kind, probability in BAD_DAY.items():
            mainland.explorers.faults.add(kind, times=None, probability=probability)
        await regtest.fund(address, 100_000)
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

        async def waits() -> bool:
            return bool(await regtest.rpc.texts("getrawmempool"))

        await eventually(waits)
        await regtest.mine()

        async def confirmed() -> bool:
            request = pb.GetWithdrawalRequest(withdrawal_id=wanted.withdrawal_id)
            found = await town.chain.GetWithdrawal(request, timeout=PATIENCE_S)
            return found.withdrawal.state == chain_pb2.WITHDRAWAL_STATE_CONFIRMED

        await eventually(confirmed)
    mainland.explorers.faults.reset()
    custody = await town.chain.GetCustody(pb.GetCustodyRequest(), timeout=PATIENCE_S)
    assert custody.difference_sats == 0
    assert sats_of(await regtest.rpc.call("getreceivedbyaddress", to, 1)) == 30_000

    async def healthy() -> bool:
        return await mainland.health("whatsonchain") == health_pb2.HealthCheckResponse.SERVING

    await eventually(healthy)
    for secret in (WOC_KEY, ARC_KEY, TOKEN, town.seed):
        assert secret not in town.log("chain")
    assert "Traceback" not in town.log("chain")


async def test_a_source_that_lies_shows_in_health(mainland: Mainland, regtest: Regtest) -> None:
    async def healthy() -> bool:
        return await mainland.health("whatsonchain") == health_pb2.HealthCheckResponse.SERVING

    await eventually(healthy)
    mainland.explorers.faults.add(Fault.BAD_WORK, times=None)
    await regtest.mine()

    async def left_out() -> bool:
        return await mainland.health("whatsonchain") == health_pb2.HealthCheckResponse.NOT_SERVING

    await eventually(left_out)
    assert "a source is left out" in mainland.town.log("chain")
