"""The BSV node: up, mining, reorganising, answering with types; and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import socket
from decimal import Decimal
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from sandbox.node import BsvNode, NodePorts, start_node
from sandbox.process import PortTaken, StartFailed, free_port
from sandbox.regtest import Regtest
from sandbox.rpc import (
    NodeLockedOut,
    NodeRefused,
    NodeRpc,
    NodeTimedOut,
    NodeUnreachable,
    coins_text,
    sats_of,
)
from sandbox.wallet import Wallet


async def test_it_mines_where_it_is_told(regtest: Regtest) -> None:
    before = await regtest.height()
    wallet = Wallet.random()
    hashes = await regtest.mine(2, wallet.address)
    assert await regtest.height() == before + 2
    assert hashes[-1] == await regtest.tip()
    block = await regtest.rpc.record("getblock", hashes[0])
    coinbase = block["tx"]
    assert isinstance(coinbase, list)
    raw_hex = await regtest.rpc.text("getrawtransaction", coinbase[0])
    assert [coin.sats for coin in wallet.receive_from(raw_hex)] != []


async def test_blocks_come_with_a_pause_between(regtest: Regtest) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert len(await regtest.mine_spaced(3, 0.05)) == 3
    assert loop.time() - begun >= 0.1


async def test_a_reorganisation_takes_a_payment_back_and_returns_it(regtest: Regtest) -> None:
    coin = await regtest.fund(Wallet.random().address, 5_000)
    [block] = await regtest.mine(1)
    height = await regtest.height()

    await regtest.invalidate(block)
    assert await regtest.height() == height - 1
    assert await regtest.rpc.record("getmempoolentry", coin.txid)

    await regtest.mine(2)
    assert await regtest.height() == height + 1
    await regtest.reconsider(block)
    assert await regtest.tip() != block
    header = await regtest.rpc.record("getblockheader", block)
    assert header["confirmations"] == -1


async def test_news_of_blocks_and_transactions_comes_over_zmq(bsv_node: BsvNode, regtest: Regtest) -> None:
    context = zmq.asyncio.Context()
    with context.socket(zmq.SUB) as subscriber:
        for topic in (b"rawtx2", b"hashblock"):
            subscriber.subscribe(topic)
        subscriber.connect(bsv_node.zmq_endpoint)
        # A subscription takes hold without saying so.
        while not await subscriber.poll(50):
            await regtest.mine(1)
        coin = await regtest.fund(Wallet.random().address, 1_000)
        [block] = await regtest.mine(1)
        seen: dict[bytes, list[bytes]] = {b"hashblock": [], b"rawtx2": []}
        async with asyncio.timeout(50):
            while block not in [item.hex() for item in seen[b"hashblock"]]:
                topic, body, _number = await subscriber.recv_multipart()
                seen[topic].append(body)
    raw_hex = await regtest.rpc.text("getrawtransaction", coin.txid)
    assert raw_hex in [item.hex() for item in seen[b"rawtx2"]]
    context.term()


async def test_errors_have_types(bsv_node: BsvNode, node_rpc: NodeRpc) -> None:
    with pytest.raises(NodeRefused) as refusal:
        await node_rpc.call("getblockhash", 10_000_000)
    assert refusal.value.code == -8
    with pytest.raises(NodeRefused, match="-32601"):
        await node_rpc.call("no-such-method")
    with pytest.raises(NodeUnreachable, match="expected an integer"):
        await node_rpc.integer("getbestblockhash")
    with pytest.raises(NodeTimedOut):
        await node_rpc.call("waitfornewblock", 5_000, timeout_s=0.1)

    stranger = bsv_node.url.replace("satreel:", "satreel:x")
    async with NodeRpc(stranger) as rpc:
        with pytest.raises(NodeLockedOut):
            await rpc.call("getblockcount")
    async with NodeRpc(f"http://a:b@127.0.0.1:{free_port()}") as rpc:
        with pytest.raises(NodeUnreachable):
            await rpc.call("getblockcount")


def test_credentials_stay_out_of_representations(bsv_node: BsvNode) -> None:
    password = bsv_node.url.split(":")[2].split("@")[0]
    assert len(password) > 20
    assert password not in repr(bsv_node)


def test_amounts_never_pass_a_float() -> None:
    assert coins_text(1) == "0.00000001"
    assert coins_text(2_100_000_000_000_001) == "21000000.00000001"
    assert sats_of(Decimal("20999999.99999999")) == 2_099_999_999_999_999
    with pytest.raises(NodeUnreachable):
        sats_of("1")


async def test_a_taken_port_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port}\b.*SATREEL_SANDBOX_FIRST_PORT"):
            await start_node(tmp_path / "node", NodePorts(rpc=free_port(), zmq=port))
    assert not (tmp_path / "node").exists()


async def test_a_node_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "regtest").write_text("a file where a folder should be")
    with pytest.raises(StartFailed, match="bitcoind ended with code"):
        await start_node(tmp_path / "node", NodePorts(rpc=free_port(), zmq=free_port()))


async def test_chain_and_password_outlive_a_restart(tmp_path: Path) -> None:
    lines: list[str] = []
    ports = NodePorts(rpc=free_port(), zmq=free_port())
    first = await start_node(tmp_path, ports, progress=lines.append)
    await Regtest(first.rpc).mine(3)
    await first.stop()
    assert first.child.exit_code == 0
    second = await start_node(tmp_path, ports)
    try:
        assert second.url == first.url
        assert await Regtest(second.rpc).height() == 3
    finally:
        await second.stop()
    assert lines[0] == "BSV node starting"
    assert lines[-1].startswith("BSV node ready")
    for secret in ("rpc.password", "node.conf"):
        assert (tmp_path / secret).stat().st_mode & 0o777 == 0o600
