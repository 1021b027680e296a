"""The miner: blocks in time, blocks on demand, and patience with a node that is away."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from sandbox.miner import Miner, running_control
from sandbox.node import BsvNode
from sandbox.process import PortTaken, free_port, start_child
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc


async def test_it_mines_in_time(regtest: Regtest) -> None:
    before, lines = await regtest.height(), list[str]()
    miner = Miner(regtest, interval_s=0.05, chance=random.Random(1), report=lines.append)
    began_s = time.monotonic()
    mining = asyncio.create_task(miner.run())
    async with asyncio.timeout(50):
        while len(lines) < 10:
            await asyncio.sleep(0.01)
    mining.cancel()
    await asyncio.wait([mining])
    mined = await regtest.height() - before
    assert len(lines) in (mined, mined - 1)
    # No pause is shorter than this.
    assert mined <= (time.monotonic() - began_s) / (0.05 * 0.7) + 1


def test_pauses_stray_around_the_mean() -> None:
    miner = Miner(
        Regtest(NodeRpc("http://a:b@127.0.0.1:9")), interval_s=8, jitter=0.25, chance=random.Random(2)
    )
    pauses = [miner.next_pause_s() for _ in range(500)]
    assert 6 <= min(pauses) < 6.5
    assert 9.5 < max(pauses) <= 10
    assert sum(pauses) / 500 == pytest.approx(8, rel=0.03)


async def test_it_waits_for_a_node_that_is_away() -> None:
    lines: list[str] = []
    async with NodeRpc(f"http://a:b@127.0.0.1:{free_port()}") as rpc:
        miner = Miner(Regtest(rpc), interval_s=0.02, report=lines.append)
        mining = asyncio.create_task(miner.run())
        async with asyncio.timeout(50):
            while len(lines) < 2:
                await asyncio.sleep(0.01)
        mining.cancel()
        await asyncio.wait([mining])
    assert lines[0].startswith("no block: ")


async def test_blocks_on_demand_and_bad_demands(regtest: Regtest) -> None:
    miner = Miner(regtest, report=lambda line: None)
    before = await regtest.height()
    async with running_control(miner, 0) as url, aiohttp.ClientSession() as http:
        async with http.post(f"{url}/mine") as answer:
            assert (await answer.json())["hashes"] == [await regtest.tip()]
        async with http.post(f"{url}/mine", json={"blocks": 3}) as answer:
            assert len((await answer.json())["hashes"]) == 3
        for body in ('{"blocks": 0}', '{"blocks": 100000}', '{"blok": 1}', "[]", "no json"):
            async with http.post(f"{url}/mine", data=body) as answer:
                assert answer.status == 400
    assert await regtest.height() == before + 4


async def test_a_taken_port_is_named(regtest: Regtest) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port}.*SATREEL_SANDBOX_MINER_PORT"):
            async with running_control(Miner(regtest), port):
                pass


async def test_as_a_process_it_mines_and_ends_on_request(
    bsv_node: BsvNode, regtest: Regtest, tmp_path: Path
) -> None:
    before = await regtest.height()
    arguments = ["--interval-s", "0.1", "--port", "0", "--seed", "1"]
    child = await start_child(
        "miner",
        [sys.executable, "-m", "sandbox.miner", *arguments],
        log_path=tmp_path / "miner.log",
        env={"SATREEL_SANDBOX_MINER_NODE_URL": bsv_node.url},
    )
    async with asyncio.timeout(50):
        while await regtest.height() < before + 2:
            await asyncio.sleep(0.05)
    child.process.send_signal(signal.SIGTERM)
    assert await child.ended_within(30)
    assert child.exit_code == 0, child.log_tail()
    assert bsv_node.url not in child.log_tail()
