"""ARC calls an instance that does not lead: nothing is lost, nobody is believed, and who leads asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest_asyncio
from satreel.chain.v1 import chain_pb2
from satreel.chain.v1 import chain_service_pb2 as pb
from satreel.chain.v1.chain_service_pb2_grpc import ChainServiceStub

from mesh.channel import connect
from mesh.ids import uuid7
from sandbox.explorers.server import Explorers, running_explorers
from sandbox.node import BsvNode
from sandbox.process import free_port
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of
from tests.chain.test_process import PATIENCE_S, Town, eventually
from tests.fixtures_explorers import ARC_KEY, WOC_KEY, explorers_settings

ANNA = uuid7()
TOKEN = "what-arc-shows"
STANDBY = "standby"


@dataclass
class Pair:
    """Two instances of chain: one leads, and ARC calls the other."""

    town: Town
    explorers: Explorers
    http: aiohttp.ClientSession
    # Where they take callbacks.
    leader: str
    standby: str

    async def call(self, url: str, txid: str, status: str = "MINED", token: str = TOKEN) -> int:
        """As ARC does."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self.http.post(url, json={"txid": txid, "txStatus": status}, headers=headers) as reply:
                return reply.status
        except aiohttp.ClientConnectionError:
            return 0


@pytest_asyncio.fixture
async def pair(bsv_node: BsvNode, regtest: Regtest, valkey_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    await regtest.fund(await regtest.rpc.text("getnewaddress"), 1_000)
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    leader, standby = (f"http://{place}/arc/callbacks" for place in (first, second))
    async with running_explorers(explorers_settings(bsv_node, seed=7)) as explorers:
        told = {
            "SATREEL_CHAIN_ARC_URL": explorers.arc_url,
            "SATREEL_CHAIN_ARC_KEY": ARC_KEY,
            "SATREEL_CHAIN_WOC_URL": explorers.woc_url,
            "SATREEL_CHAIN_WOC_KEY": WOC_KEY,
            "SATREEL_CHAIN_WOC_PER_S": "100",
            "SATREEL_CHAIN_CALLBACK_URL": standby,
            "SATREEL_CHAIN_CALLBACK_TOKEN": TOKEN,
        }
        town = Town(tmp_path, bsv_node, valkey_url, told)
        town.ports[STANDBY] = free_port()
        async with aiohttp.ClientSession() as http:
            pair = Pair(town, explorers, http, leader, standby)
            try:
                await town.start("ledger")
                await town.start("chain", SATREEL_CHAIN_CALLBACK_LISTEN=first)
                await town.chain.GetCustody(pb.GetCustodyRequest(), timeout=PATIENCE_S)
                await town.start("chain", instance=STANDBY, SATREEL_CHAIN_CALLBACK_LISTEN=second)
                yield pair
            finally:
                await town.stop()


async def test_whoever_is_called_money_arrives_once_and_as_the_blocks_say(
    pair: Pair, regtest: Regtest
) -> None:
    town, unknown = pair.town, "ab" * 32

    async def refused() -> bool:
        return await pair.call(pair.standby, unknown) == 503

    await eventually(refused)
    assert await pair.call(pair.leader, unknown) == 200
    for url in (pair.leader, pair.standby):
        assert await pair.call(url, unknown, token="a-token-of-somebody-else") == 401
    with town.as_user(ANNA):  # type: ignore[attr-defined]
        asked = pb.GetDepositAddressRequest()
        address = (await town.chain.GetDepositAddress(asked, timeout=PATIENCE_S)).address
        await regtest.fund(address, 100_000)
        await regtest.mine()

        async def credited() -> bool:
            found = await town.chain.ListDeposits(pb.ListDepositsRequest())
            return [one.state for one in found.deposits] == [chain_pb2.DEPOSIT_STATE_CREDITED]

        await eventually(credited)
        to = await regtest.rpc.text("getnewaddress")
        wanted = pb.RequestWithdrawalRequest(withdrawal_id=uuid7(), address=to, amount_sats=30_000)
        await town.chain.RequestWithdrawal(wanted)

        async def withdrawal() -> chain_pb2.Withdrawal:
            request = pb.GetWithdrawalRequest(withdrawal_id=wanted.withdrawal_id)
            return (await town.chain.GetWithdrawal(request, timeout=PATIENCE_S)).withdrawal

        async def sent() -> bool:
            return (await withdrawal()).txid in await regtest.rpc.texts("getrawmempool")

        await eventually(sent)
        # ARC has called the standby as often as it does, in vain; somebody who knows the token lies to both.
        await pair.explorers.called_back()
        txid = (await withdrawal()).txid
        for status in ("MINED", "REJECTED", "DOUBLE_SPEND_ATTEMPTED"):
            assert await pair.call(pair.leader, txid, status) == 200
            assert await pair.call(pair.standby, txid, status) == 503
        before = await withdrawal()
        assert before.state not in {
            chain_pb2.WITHDRAWAL_STATE_CONFIRMED, chain_pb2.WITHDRAWAL_STATE_FAILED
        }  # fmt: skip
        await regtest.mine()

        async def confirmed() -> bool:
            return (await withdrawal()).state == chain_pb2.WITHDRAWAL_STATE_CONFIRMED

        await eventually(confirmed)
    assert sats_of(await regtest.rpc.call("getreceivedbyaddress", to, 1)) == 30_000
    await _the_other_leads(pair, unknown)
    for name in ("chain", STANDBY):
        assert TOKEN not in town.log(name)
        assert "Traceback" not in town.log(name)


async def _the_other_leads(pair: Pair, txid: str) -> None:
    """It takes callbacks from then on, and its books are those of before."""
    await pair.town.kill("chain")

    async def taken() -> bool:
        return await pair.call(pair.standby, txid) == 200

    await eventually(taken)
    channel = connect(
        me="gateway", peer="chain", addresses=f"127.0.0.1:{pair.town.ports[STANDBY]}", tls_dir=None
    )
    try:
        custody = await ChainServiceStub(channel).GetCustody(pb.GetCustodyRequest(), timeout=PATIENCE_S)
        assert custody.difference_sats == 0
    finally:
        await channel.close()
